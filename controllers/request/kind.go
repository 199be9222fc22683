package request

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=rolecredentials;sessioncredentials;federatedcredentials,verbs=list;watch
// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=rolecredentials/status;sessioncredentials/status;federatedcredentials/status,verbs=update

// Object is a credential of any kind.
type Object interface {
	metav1.Object
	runtime.Object
	Common() *v1alpha1.CredentialSpec
	Report() *v1alpha1.CredentialStatus
}

// IdentityObject is an identity of either kind.
type IdentityObject interface {
	metav1.Object
	runtime.Object
	Settings() *v1alpha1.IdentitySettings
	Source() v1alpha1.ClusterIdentitySource
	Rules() []v1alpha1.AllowRule
	Report() *v1alpha1.IdentityStatus
}

// List is a list of credentials of one kind.
type List interface {
	metav1.ListInterface
	runtime.Object
}

// Kind describes a kind of credential.
type Kind[T Object] struct {
	Name    string
	Call    v1alpha1.Call
	New     func() T
	NewList func() List
	// NameField is the field of the session name, and NameLength its maximum length in bytes. They are empty and zero for a call
	// without a session name.
	NameField  string
	NameLength int
	// Request returns the STS request of a spec, or a failure of ConditionIssued if STS would reject it.
	Request func(T) (Request, *reason.Error)
	// MFA returns the MFA device of a spec, nil if it has none.
	MFA func(T) *v1alpha1.MFA
}

// DefaultName returns the session name for a spec without one.
func (k Kind[T]) DefaultName(object Object) string {
	if k.NameLength == 0 {
		return ""
	}
	return SessionName(object.GetNamespace(), object.GetName(), k.NameLength)
}

// The kinds of credentials.
var (
	RoleCredential = Kind[*v1alpha1.RoleCredential]{
		Name:       "RoleCredential",
		Call:       v1alpha1.CallAssumeRole,
		New:        func() *v1alpha1.RoleCredential { return &v1alpha1.RoleCredential{} },
		NewList:    func() List { return &v1alpha1.RoleCredentialList{} },
		NameField:  "spec.sessionName",
		NameLength: MaxSessionName,
		Request:    assumeRole,
		MFA:        func(c *v1alpha1.RoleCredential) *v1alpha1.MFA { return c.Spec.MFA },
	}
	SessionCredential = Kind[*v1alpha1.SessionCredential]{
		Name:    "SessionCredential",
		Call:    v1alpha1.CallGetSessionToken,
		New:     func() *v1alpha1.SessionCredential { return &v1alpha1.SessionCredential{} },
		NewList: func() List { return &v1alpha1.SessionCredentialList{} },
		Request: getSessionToken,
		MFA:     func(c *v1alpha1.SessionCredential) *v1alpha1.MFA { return c.Spec.MFA },
	}
	FederatedCredential = Kind[*v1alpha1.FederatedCredential]{
		Name:       "FederatedCredential",
		Call:       v1alpha1.CallGetFederationToken,
		New:        func() *v1alpha1.FederatedCredential { return &v1alpha1.FederatedCredential{} },
		NewList:    func() List { return &v1alpha1.FederatedCredentialList{} },
		NameField:  "spec.userName",
		NameLength: MaxUserName,
		Request:    getFederationToken,
		MFA:        func(*v1alpha1.FederatedCredential) *v1alpha1.MFA { return nil },
	}
)

// The schema's default durations, for an object that the API server did not see.
var (
	defaultRoleDuration = metav1.Duration{Duration: time.Hour}
	defaultUserDuration = metav1.Duration{Duration: 12 * time.Hour}
)

func assumeRole(c *v1alpha1.RoleCredential) (Request, *reason.Error) {
	policy, invalid := compact(c.Spec.Policy)
	return Request{
		Identity:           IdentityName(IdentityRef(c)),
		Call:               v1alpha1.CallAssumeRole,
		RoleARN:            c.Spec.RoleARN,
		SessionName:        cmp.Or(c.Spec.SessionName, SessionName(c.Namespace, c.Name, MaxSessionName)),
		Duration:           ptr.Deref(c.Spec.Duration, defaultRoleDuration).Duration,
		ExternalID:         c.Spec.ExternalID,
		SourceIdentity:     c.Spec.SourceIdentity,
		Policy:             policy,
		PolicyARNs:         c.Spec.PolicyARNs,
		Tags:               Tags(c.Spec.Tags),
		TransitiveTagKeys:  c.Spec.TransitiveTagKeys,
		MFASerialNumber:    ptr.Deref(c.Spec.MFA, v1alpha1.MFA{}).SerialNumber,
		ServiceAccountName: c.Spec.ServiceAccountName,
	}, invalid
}

func getSessionToken(c *v1alpha1.SessionCredential) (Request, *reason.Error) {
	return Request{
		Identity:        IdentityName(IdentityRef(c)),
		Call:            v1alpha1.CallGetSessionToken,
		Duration:        ptr.Deref(c.Spec.Duration, defaultUserDuration).Duration,
		MFASerialNumber: ptr.Deref(c.Spec.MFA, v1alpha1.MFA{}).SerialNumber,
	}, nil
}

func getFederationToken(c *v1alpha1.FederatedCredential) (Request, *reason.Error) {
	policy, invalid := compact(c.Spec.Policy)
	return Request{
		Identity:    IdentityName(IdentityRef(c)),
		Call:        v1alpha1.CallGetFederationToken,
		SessionName: cmp.Or(c.Spec.UserName, SessionName(c.Namespace, c.Name, MaxUserName)),
		Duration:    ptr.Deref(c.Spec.Duration, defaultUserDuration).Duration,
		Policy:      policy,
		PolicyARNs:  c.Spec.PolicyARNs,
		Tags:        Tags(c.Spec.Tags),
	}, invalid
}

// maxPolicy is the maximum length of a session policy in characters (API Reference, 'AssumeRole', Policy).
const maxPolicy = 2048

// compact returns a policy without white space, which STS would count and some servers parse wrongly. It returns a failure if
// the policy is not JSON, or is still too long.
func compact(policy string) (string, *reason.Error) {
	if policy == "" {
		return "", nil
	}
	var compacted bytes.Buffer
	if err := json.Compact(&compacted, []byte(policy)); err != nil {
		line := 1
		// Errors of Compact have no offset.
		if invalid, ok := errors.AsType[*json.SyntaxError](json.Unmarshal([]byte(policy), &json.RawMessage{})); ok {
			line += strings.Count(policy[:max(invalid.Offset-1, 0)], "\n")
		}
		return policy, reason.NotSent(v1alpha1.ReasonMalformedPolicy, "spec.policy is not JSON: line %d: %s.", line, err)
	}
	if length := utf8.RuneCount(compacted.Bytes()); length > maxPolicy {
		return compacted.String(), reason.NotSent(v1alpha1.ReasonPolicyTooLarge, "spec.policy has %d characters without white space, and STS accepts %d. "+
			"Shorten it, or move it to a managed policy and name that in spec.policyARNs.", length, maxPolicy)
	}
	return compacted.String(), nil
}

// IdentityRef returns the reference to a credential's identity, with the schema's defaults.
func IdentityRef(object Object) v1alpha1.IdentityReference {
	ref := object.Common().IdentityRef
	return v1alpha1.IdentityReference{
		Kind: cmp.Or(ref.Kind, v1alpha1.IdentityKindClusterIdentity),
		Name: cmp.Or(ref.Name, v1alpha1.DefaultIdentityName),
	}
}

// IdentityName returns the kind and name of an identity, for messages.
func IdentityName(ref v1alpha1.IdentityReference) string { return string(ref.Kind) + " " + ref.Name }

// ServiceAccount returns the name of a credential's service account. The default is the one that pods have by default.
func ServiceAccount(object Object, r Request) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: cmp.Or(r.ServiceAccountName, "default")}
}

// SecretName returns the name of a credential's Secret.
func SecretName(object Object) string { return cmp.Or(object.Common().Secret.Name, object.GetName()) }

// Key identifies an object of one of the operator's kinds.
type Key struct {
	Kind string
	types.NamespacedName
}

// Label returns namespace/name, or the name alone if there is no namespace.
func (k Key) Label() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.NamespacedName.String()
}

// String returns the kind and the label.
func (k Key) String() string { return k.Kind + " " + k.Label() }
