// Package cluster reads credentials, identities, Secrets and pods from the API server.
package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
)

// Object is a credential of any kind.
type Object interface {
	client.Object
	Common() *v1alpha1.CredentialSpec
	Report() *v1alpha1.CredentialStatus
}

// Kind describes a kind of credential. [Kinds] has one entry for each.
type Kind struct {
	// Name is the API kind, Resource its plural and Short its short name.
	Name, Resource, Short string
	// NameField is the field of the session name, and NameLength its maximum length. They are empty and zero for a
	// call without a session name.
	NameField  string
	NameLength int

	// Call is the STS call that issues this kind.
	Call v1alpha1.Call

	New     func() Object
	NewList func() client.ObjectList
	// request returns the STS request of the spec, without the fields that all kinds share.
	request func(Object) request.Request
	// set copies fields to the spec.
	set func(Object, RequestFields)
}

// RequestFields are the fields of a spec that allow rules concern, and the policy, which is required for a FederatedCredential.
type RequestFields struct {
	RoleARN     string
	SessionName string
	Duration    *metav1.Duration
	Policy      string
}

// Kinds lists the kinds of credentials. A name without a kind is of the first.
var Kinds = []Kind{{
	Name: "RoleCredential", Resource: "rolecredentials", Short: "rolecred", NameField: "spec.sessionName", NameLength: request.MaxSessionName,
	Call:    v1alpha1.CallAssumeRole,
	New:     func() Object { return &v1alpha1.RoleCredential{} },
	NewList: func() client.ObjectList { return &v1alpha1.RoleCredentialList{} },
	request: typed(assumeRole),
	set: setter(func(c *v1alpha1.RoleCredential, f RequestFields) {
		c.Spec.RoleARN, c.Spec.SessionName, c.Spec.Duration = f.RoleARN, f.SessionName, f.Duration
	}),
}, {
	Name: "SessionCredential", Resource: "sessioncredentials", Short: "sessioncred",
	Call:    v1alpha1.CallGetSessionToken,
	New:     func() Object { return &v1alpha1.SessionCredential{} },
	NewList: func() client.ObjectList { return &v1alpha1.SessionCredentialList{} },
	request: typed(getSessionToken),
	set:     setter(func(c *v1alpha1.SessionCredential, f RequestFields) { c.Spec.Duration = f.Duration }),
}, {
	Name: "FederatedCredential", Resource: "federatedcredentials", Short: "fedcred", NameField: "spec.userName", NameLength: request.MaxUserName,
	Call:    v1alpha1.CallGetFederationToken,
	New:     func() Object { return &v1alpha1.FederatedCredential{} },
	NewList: func() client.ObjectList { return &v1alpha1.FederatedCredentialList{} },
	request: typed(getFederationToken),
	set: setter(func(c *v1alpha1.FederatedCredential, f RequestFields) {
		c.Spec.UserName, c.Spec.Duration, c.Spec.Policy = f.SessionName, f.Duration, f.Policy
	}),
}}

func typed[T Object](of func(T) request.Request) func(Object) request.Request {
	return func(object Object) request.Request { return of(object.(T)) }
}

func setter[T Object](set func(T, RequestFields)) func(Object, RequestFields) {
	return func(object Object, fields RequestFields) { set(object.(T), fields) }
}

// KindOf returns the kind that a call issues. It returns false if there is none.
func KindOf(call v1alpha1.Call) (Kind, bool) {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Call == call })
	if i < 0 {
		return Kind{}, false
	}
	return Kinds[i], true
}

func assumeRole(c *v1alpha1.RoleCredential) request.Request {
	return request.Request{
		Call: v1alpha1.CallAssumeRole, RoleARN: c.Spec.RoleARN, SessionName: c.Spec.SessionName, Duration: durationOr(c.Spec.Duration, time.Hour),
		ExternalID: c.Spec.ExternalID, SourceIdentity: c.Spec.SourceIdentity, Policy: c.Spec.Policy, PolicyARNs: c.Spec.PolicyARNs,
		Tags: request.Tags(c.Spec.Tags), TransitiveTagKeys: c.Spec.TransitiveTagKeys, MFASerialNumber: serialNumber(c.Spec.MFA),
		ServiceAccountName: c.Spec.ServiceAccountName,
	}
}

func getSessionToken(c *v1alpha1.SessionCredential) request.Request {
	return request.Request{
		Call: v1alpha1.CallGetSessionToken, Duration: durationOr(c.Spec.Duration, 12*time.Hour), MFASerialNumber: serialNumber(c.Spec.MFA),
	}
}

func getFederationToken(c *v1alpha1.FederatedCredential) request.Request {
	return request.Request{
		Call: v1alpha1.CallGetFederationToken, SessionName: c.Spec.UserName, Duration: durationOr(c.Spec.Duration, 12*time.Hour),
		Policy: c.Spec.Policy, PolicyARNs: c.Spec.PolicyARNs, Tags: request.Tags(c.Spec.Tags),
	}
}

func durationOr(d *metav1.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.Duration
}

func serialNumber(device *v1alpha1.MFA) string {
	if device == nil {
		return ""
	}
	return device.SerialNumber
}

// Credential is a credential of any kind and its STS request.
type Credential struct {
	Object
	Kind    Kind
	Request request.Request
}

// NewCredential returns the credential of an object. It sets the object's apiVersion and kind.
func NewCredential(kind Kind, object Object) Credential {
	c := Credential{Object: object, Kind: kind, Request: kind.request(object)}
	c.Request.Identity = c.IdentityRef().String()
	c.Request.SessionName = cmp.Or(c.Request.SessionName, c.DefaultSessionName())
	// Items of a typed list have no apiVersion and kind.
	object.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind.Name))
	return c
}

// WithRequestFields returns a copy of the credential with these fields in its spec.
func (c Credential) WithRequestFields(fields RequestFields) Credential {
	object, _ := c.DeepCopyObject().(Object)
	c.Kind.set(object, fields)
	return NewCredential(c.Kind, object)
}

// RequestFields returns these fields of the spec, with the default duration.
func (c Credential) RequestFields() RequestFields {
	fields := RequestFields{RoleARN: c.Request.RoleARN, Duration: &metav1.Duration{Duration: c.Request.Duration}, Policy: c.Request.Policy}
	if c.Request.SessionName != c.DefaultSessionName() {
		fields.SessionName = c.Request.SessionName
	}
	return fields
}

// String returns the credential's name for kubectl, such as rolecredential/s3-reader.
func (c Credential) String() string { return strings.ToLower(c.Kind.Name) + "/" + c.GetName() }

// DefaultSessionName returns the session name for a spec without one.
func (c Credential) DefaultSessionName() string {
	if c.Kind.NameLength == 0 {
		return ""
	}
	return request.SessionName(c.GetNamespace(), c.GetName(), c.Kind.NameLength)
}

// SecretName returns the name of the Secret: the current one, or else the one in the spec.
func (c Credential) SecretName() string {
	return cmp.Or(c.Report().SecretName, c.Common().Secret.Name, c.GetName())
}

// Condition returns a condition of the credential, nil if there is none.
func (c Credential) Condition(conditionType string) *metav1.Condition {
	return meta.FindStatusCondition(c.Report().Conditions, conditionType)
}

// Ready reports whether the condition Ready is True.
func (c Credential) Ready() bool {
	return meta.IsStatusConditionTrue(c.Report().Conditions, v1alpha1.ConditionReady)
}

// ServiceAccount returns the subject of the token that the operator sends to STS if the identity's source is serviceAccount.
func (c Credential) ServiceAccount() string {
	return "system:serviceaccount:" + c.GetNamespace() + ":" + c.ServiceAccountName()
}

// ServiceAccountName returns the name of the credential's service account.
func (c Credential) ServiceAccountName() string {
	return cmp.Or(c.Request.ServiceAccountName, "default")
}

// MFA returns the MFA device of the spec, nil if it has none.
func (c Credential) MFA() *v1alpha1.MFA {
	switch object := c.Object.(type) {
	case *v1alpha1.RoleCredential:
		return object.Spec.MFA
	case *v1alpha1.SessionCredential:
		return object.Spec.MFA
	default:
		return nil
	}
}

// IdentityRef returns the reference to the credential's identity, with defaults.
func (c Credential) IdentityRef() IdentityRef {
	ref := c.Common().IdentityRef
	return IdentityRef{
		Kind:           cmp.Or(ref.Kind, v1alpha1.IdentityKindClusterIdentity),
		NamespacedName: types.NamespacedName{Namespace: c.GetNamespace(), Name: cmp.Or(ref.Name, v1alpha1.DefaultIdentityName)},
	}
}

// Ref is the kind and name of a credential.
type Ref struct {
	Kind Kind
	Name string
}

func (r Ref) String() string { return strings.ToLower(r.Kind.Name) + "/" + r.Name }

// ParseRef parses NAME (a RoleCredential) or TYPE/NAME. The type may have any form that kubectl accepts.
func ParseRef(arg string) (Ref, error) {
	kind, name, typed := strings.Cut(arg, "/")
	if !typed {
		kind, name = Kinds[0].Resource, arg
	}
	if name == "" || strings.Contains(name, "/") {
		return Ref{}, fmt.Errorf("%q is not NAME or TYPE/NAME", arg)
	}
	known := make([]string, len(Kinds))
	for i, k := range Kinds {
		if matchesKind(kind, k.Name, k.Resource, k.Short) {
			return Ref{Kind: k, Name: name}, nil
		}
		known[i] = k.Short
	}
	return Ref{}, fmt.Errorf("unknown credential type %q: use one of %s", kind, strings.Join(known, ", "))
}

// matchesKind reports whether a type equals one of the names, with or without the API group.
func matchesKind(given string, names ...string) bool {
	for _, suffix := range []string{"." + v1alpha1.GroupVersion.Group, "." + v1alpha1.GroupVersion.Version} {
		given = strings.TrimSuffix(given, suffix)
	}
	return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(given, name) })
}
