// Package credential says what a credential is, what was asked for it, and why and when it is due. It is pure: it takes the
// time, and does nothing.
package request

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/ptr"

	"rolecredential.dev/operator/api/v1alpha1"
)

// Credentials is what STS issued.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey RedactedString
	SessionToken    RedactedString
	// IssuedAt is when STS was asked, by the clock of STS.
	IssuedAt time.Time
	// Expiration is what STS said, which may be another than what it was asked for.
	Expiration time.Time
	// PrincipalARN of the session; empty from servers that give none.
	PrincipalARN string
	// PackedPolicySize is in percent of what STS allows; nil if STS did not say.
	PackedPolicySize *int32
	// RequestID is what STS calls the call, for the log and the span alone; empty from servers that give none.
	RequestID string
}

// RedactedString is a string that no log, event or error prints.
type RedactedString string

const redacted = "[redacted]"

func (RedactedString) String() string { return redacted }

// GoString keeps %#v from printing the secret.
func (RedactedString) GoString() string { return redacted }

// MarshalText keeps encoders from printing the secret.
func (RedactedString) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Request is all that a spec asks of STS. Its hash is stored in the Secret, so the names in the tags never change: another name would
// reissue every credential.
type Request struct {
	// Identity is the kind and name of the identity that the spec names.
	Identity          string        `json:"Identity"`
	Call              v1alpha1.Call `json:"Call"`
	RoleARN           string        `json:"RoleARN"`
	SessionName       string        `json:"SessionName"`
	Duration          time.Duration `json:"Duration"`
	ExternalID        string        `json:"ExternalID"`
	SourceIdentity    string        `json:"SourceIdentity"`
	Policy            string        `json:"Policy"`
	PolicyARNs        []string      `json:"PolicyARNs"`
	Tags              []Tag         `json:"Tags"`
	TransitiveTagKeys []string      `json:"TransitiveTagKeys"`
	// MFASerialNumber of the device whose code goes with the call; empty for none.
	MFASerialNumber string `json:"MFASerialNumber,omitempty"`
	// ServiceAccountName that the spec names, whose token goes with the call if that is the identity's source.
	ServiceAccountName string `json:"ServiceAccountName,omitempty"`
}

// CallAuth authenticates a call beside its signature. Fields that the call does not need are empty.
type CallAuth struct {
	// MFACode is the code of the moment of an MFA device.
	MFACode RedactedString
	// WebIdentityToken takes the place of a signature.
	WebIdentityToken RedactedString
}

// OptionalFields lists the fields that are set, among those that STS does not require.
func (r Request) OptionalFields() (fields []string) {
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"policy", r.Policy != ""},
		{"policyARNs", len(r.PolicyARNs) > 0},
		{"externalID", r.ExternalID != ""},
		{"sourceIdentity", r.SourceIdentity != ""},
		{"tags", len(r.Tags) > 0},
		{"transitiveTagKeys", len(r.TransitiveTagKeys) > 0},
		{"mfa", r.MFASerialNumber != ""},
	} {
		if field.set {
			fields = append(fields, field.name)
		}
	}
	return fields
}

// NotWithWebIdentity lists the fields of the spec that AssumeRoleWithWebIdentity has no parameter for (API Reference,
// 'AssumeRoleWithWebIdentity').
func (r Request) NotWithWebIdentity() (fields []string) {
	for _, field := range r.OptionalFields() {
		if slices.Contains([]string{"externalID", "sourceIdentity", "tags", "mfa"}, field) {
			fields = append(fields, "spec."+field)
		}
	}
	return fields
}

// Sendable is true for a text that a header of HTTP can carry: one without control characters (RFC 9110, 'Field Values').
func Sendable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// LongTermOnly tells whether STS takes the call from an IAM user's own access key only, and not from a session (AWS Security
// Token Service API Reference, 'GetSessionToken' and 'GetFederationToken'). An MFA device is a user's too.
func (r Request) LongTermOnly() bool {
	return r.Call != v1alpha1.CallAssumeRole || r.MFASerialNumber != ""
}

// maxTags is how many tags STS takes.
const maxTags = 50

// OverridesReservedTag returns an error if the request asks for a tag of one of the stamps' keys itself, which AWS compares without regard to
// case.
func (r Request) OverridesReservedTag(stamps []Tag) error {
	for _, stamp := range stamps {
		if slices.ContainsFunc(r.Tags, func(t Tag) bool { return strings.EqualFold(t.Key, stamp.Key) }) {
			return fmt.Errorf("the tag %s says who asked, and is the identity's to stamp: choose another key", stamp.Key)
		}
	}
	return nil
}

// WithSessionTags returns the request with further tags, transitive if transitive is true. It returns an error if the request sets one itself, or then
// has too many.
func (r Request) WithSessionTags(stamps []Tag, transitive bool) (Request, error) {
	if err := r.OverridesReservedTag(stamps); err != nil {
		return r, err
	}
	if len(r.Tags)+len(stamps) > maxTags {
		return r, fmt.Errorf("there are %d tags, and the identity stamps another %d: together they may be %d", len(r.Tags), len(stamps), maxTags)
	}
	r.Tags = slices.Concat(r.Tags, stamps)
	if transitive {
		r.TransitiveTagKeys = slices.Clone(r.TransitiveTagKeys)
		for _, stamp := range stamps {
			r.TransitiveTagKeys = append(r.TransitiveTagKeys, stamp.Key)
		}
	}
	return r, nil
}

// Tag is a session tag.
type Tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

// Tags returns the tags of a spec.
func Tags(asked []v1alpha1.Tag) (tags []Tag) {
	for _, tag := range asked {
		tags = append(tags, Tag{Key: tag.Key, Value: ptr.Deref(tag.Value, "")})
	}
	return tags
}

// Hash tells requests apart: two that differ in any field have different hashes, and the order of what has none does not
// count.
func (r Request) Hash() string {
	r.PolicyARNs = slices.Sorted(slices.Values(r.PolicyARNs))
	r.TransitiveTagKeys = slices.Sorted(slices.Values(r.TransitiveTagKeys))
	r.Tags = slices.SortedFunc(slices.Values(r.Tags), func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
	return Hash(r)
}

// Hash is the SHA-256 of v as JSON, in which no two values are the same text, since strings are quoted and keys sorted. It
// is for values made of strings, numbers, lists and maps, which always have such a text.
func Hash(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// How long the names of sessions may be, by the bounds of STS.
const (
	MaxSessionName  = 64 // of a role session
	MaxUserName     = 32 // of a federated user
	sessionNameHash = 16 // hex digits: as long as no tenant can search for a collision
)

// SessionName is the default name of an object's sessions: <namespace>.<name>, which no object of another namespace can have,
// since a namespace's name holds no dot. One that would not be shorter than the length that STS allows is cut to just that, and
// ends in '-' and a hash of the whole, so that it is no shorter one's either.
func SessionName(namespace, name string, length int) string {
	full := namespace + "." + name
	if len(full) < length {
		return full
	}
	sum := sha256.Sum256([]byte(full))
	return full[:length-1-sessionNameHash] + "-" + hex.EncodeToString(sum[:])[:sessionNameHash]
}
