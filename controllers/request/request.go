// Package request turns the spec of each kind of credential into an STS request, and hashes it. It is pure.
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
	"rolecredential.dev/operator/controllers/rolesanywhere"
)

// Credentials are session credentials that STS issued.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey RedactedString
	SessionToken    RedactedString
	// IssuedAt is the time of the call, by the clock of STS.
	IssuedAt time.Time
	// Expiration is that of the response. It may differ from the requested duration.
	Expiration time.Time
	// PrincipalARN is the session's. It is empty if the server returned none.
	PrincipalARN string
	// PackedPolicySize is in percent of what STS allows, nil if the server returned none.
	PackedPolicySize *int32
	// RequestID identifies the call in the log and the span. It is empty if the server returned none.
	RequestID string
}

// RedactedString is a secret. Logs, events and errors print a placeholder.
type RedactedString string

const redacted = "[redacted]"

func (RedactedString) String() string { return redacted }

// GoString keeps %#v from printing the secret.
func (RedactedString) GoString() string { return redacted }

// MarshalText keeps encoders from printing the secret.
func (RedactedString) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Request is an STS request. The record in the Secret has its hash, so the names in the JSON tags must not change: a new name would
// reissue every credential.
type Request struct {
	// Identity is the kind and name of the spec's identity.
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
	// MFASerialNumber identifies the device whose code authenticates the call. It is empty for a call without a code.
	MFASerialNumber string `json:"MFASerialNumber,omitempty"`
	// ServiceAccountName is that of the spec. Its token authenticates the call if the identity's source is serviceAccount.
	ServiceAccountName string `json:"ServiceAccountName,omitempty"`
}

// CallAuth authenticates a call in addition to its signature. Fields that the call does not need are empty.
type CallAuth struct {
	// MFACode is the current code of the MFA device.
	MFACode RedactedString
	// WebIdentityToken replaces the signature.
	WebIdentityToken RedactedString
	// RolesAnywhere replaces AssumeRole with CreateSession of IAM Roles Anywhere, which its certificate signs.
	RolesAnywhere *rolesanywhere.Source
}

// OptionalFields returns the fields of the spec that are set although STS does not require them.
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

// OptionalFieldPaths returns the paths of [Request.OptionalFields] in a credential.
func (r Request) OptionalFieldPaths() (paths []string) {
	for _, field := range r.OptionalFields() {
		paths = append(paths, "spec."+field)
	}
	return paths
}

// FieldsWithoutParameter returns the fields that are set although a call, as AWS names it, has no parameter for them (API Reference,
// 'AssumeRoleWithWebIdentity'; IAM Roles Anywhere User Guide, 'IAM Roles Anywhere CreateSession API'). nameField is the field of a session
// name that a CreateSession would not take; it is empty if there is none. AssumeRole takes all fields, and the schemas of the other kinds
// have no others.
func (r Request) FieldsWithoutParameter(call v1alpha1.Call, nameField string) (fields []string) {
	switch call {
	case v1alpha1.CallAssumeRoleWithWebIdentity:
		return slices.DeleteFunc(r.OptionalFieldPaths(), func(path string) bool {
			return !slices.Contains([]string{"spec.externalID", "spec.sourceIdentity", "spec.tags", "spec.mfa"}, path)
		})
	case v1alpha1.CallCreateSession:
		if nameField != "" {
			fields = []string{nameField}
		}
		return append(fields, r.OptionalFieldPaths()...)
	default:
		return nil
	}
}

// Sendable reports whether a text is valid in an HTTP header: it has no control characters (RFC 9110, 'Field Values').
func Sendable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// LongTermOnly reports whether STS accepts the call only with an IAM user's access key, and not with session credentials (API
// Reference, 'GetSessionToken' and 'GetFederationToken'). A call with MFA needs such a key too, since a device belongs to a user.
func (r Request) LongTermOnly() bool {
	return r.Call != v1alpha1.CallAssumeRole || r.MFASerialNumber != ""
}

// maxTags is the maximum number of session tags of a call.
const maxTags = 50

// ReservedTags are the keys of the session tags that the operator sets for credentials, without values.
var ReservedTags = []Tag{{Key: "kubernetes-cluster"}, {Key: "kubernetes-namespace"}, {Key: "kubernetes-name"}, {Key: "kubernetes-uid"}, {Key: "kubernetes-kind"}}

// OverridesReservedTag returns an error if a tag of the request has the key of a session tag of the identity. AWS compares keys
// without regard to case.
func (r Request) OverridesReservedTag(sessionTags []Tag) error {
	for _, reserved := range sessionTags {
		if slices.ContainsFunc(r.Tags, func(t Tag) bool { return strings.EqualFold(t.Key, reserved.Key) }) {
			return fmt.Errorf("the tag %s is reserved for the identity, which sets it: choose another key", reserved.Key)
		}
	}
	return nil
}

// WithSessionTags returns the request with the session tags of the identity, which are transitive if transitive is true. It returns
// an error if the request overrides one of them, or would have too many tags.
func (r Request) WithSessionTags(sessionTags []Tag, transitive bool) (Request, error) {
	if err := r.OverridesReservedTag(sessionTags); err != nil {
		return r, err
	}
	if len(r.Tags)+len(sessionTags) > maxTags {
		return r, fmt.Errorf("the request has %d tags, and the identity adds %d: the limit is %d", len(r.Tags), len(sessionTags), maxTags)
	}
	r.Tags = slices.Concat(r.Tags, sessionTags)
	if transitive {
		r.TransitiveTagKeys = slices.Clone(r.TransitiveTagKeys)
		for _, tag := range sessionTags {
			r.TransitiveTagKeys = append(r.TransitiveTagKeys, tag.Key)
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
func Tags(specified []v1alpha1.Tag) (tags []Tag) {
	for _, tag := range specified {
		tags = append(tags, Tag{Key: tag.Key, Value: ptr.Deref(tag.Value, "")})
	}
	return tags
}

// Hash returns a hash that differs for requests that differ in any field. It ignores the order of policies and tags.
func (r Request) Hash() string {
	r.PolicyARNs = slices.Sorted(slices.Values(r.PolicyARNs))
	r.TransitiveTagKeys = slices.Sorted(slices.Values(r.TransitiveTagKeys))
	r.Tags = slices.SortedFunc(slices.Values(r.Tags), func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
	return Hash(r)
}

// Hash returns the SHA-256 of v as JSON. It panics if v has no JSON encoding.
func Hash(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// The maximum lengths of names in STS, in bytes.
const (
	MaxSessionName  = 64 // of a role session
	MaxUserName     = 32 // of a federated user
	sessionNameHash = 16 // hex digits: too many for a tenant to find a collision
)

// SessionName returns the default session name, <namespace>.<name>. No object of another namespace has the same, because the name of
// a namespace contains no dot. A name of the maximum length or longer is cut to it, and ends in '-' and a hash of the whole name, so
// that it differs from each shorter one.
func SessionName(namespace, name string, length int) string {
	full := namespace + "." + name
	if len(full) < length {
		return full
	}
	sum := sha256.Sum256([]byte(full))
	return full[:length-1-sessionNameHash] + "-" + hex.EncodeToString(sum[:])[:sessionNameHash]
}
