// Package cluster reads what the plugin looks at from the API server, and from nowhere else.
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
	"rolecredential.dev/operator/controllers/credential"
)

// Object is a credential of any kind.
type Object interface {
	client.Object
	Common() *v1alpha1.CredentialSpec
	Report() *v1alpha1.CredentialStatus
}

// Kind is a kind of credential: all that one has of its own is in its row of [Kinds].
type Kind struct {
	// Name is the kind's, Resource what kubectl calls several of it, and Short its short name.
	Name, Resource, Short string
	// NameField is the field of the spec that a session's name stands in, and NameLength how long the name may be; zero for a
	// call that takes no name.
	NameField  string
	NameLength int

	// Call of STS that credentials of this kind are issued by.
	Call v1alpha1.Call

	New     func() Object
	NewList func() client.ObjectList
	// request returns what the spec asks of STS, but for what all kinds share.
	request func(Object) credential.Request
	// set makes the spec ask for something.
	set func(Object, Ask)
}

// Ask is what a spec can be made to ask for: as much of it as rules look at, and a policy for a kind that must have one.
type Ask struct {
	RoleARN     string
	SessionName string
	Duration    *metav1.Duration
	Policy      string
}

// Kinds are the kinds of credentials. The first is what a name without a kind is of.
var Kinds = []Kind{{
	Name: "RoleCredential", Resource: "rolecredentials", Short: "rolecred", NameField: "spec.sessionName", NameLength: credential.MaxSessionName,
	Call:    v1alpha1.CallAssumeRole,
	New:     func() Object { return &v1alpha1.RoleCredential{} },
	NewList: func() client.ObjectList { return &v1alpha1.RoleCredentialList{} },
	request: typed(assumeRole),
	set: setter(func(c *v1alpha1.RoleCredential, a Ask) {
		c.Spec.RoleARN, c.Spec.SessionName, c.Spec.Duration = a.RoleARN, a.SessionName, a.Duration
	}),
}, {
	Name: "SessionCredential", Resource: "sessioncredentials", Short: "sessioncred",
	Call:    v1alpha1.CallGetSessionToken,
	New:     func() Object { return &v1alpha1.SessionCredential{} },
	NewList: func() client.ObjectList { return &v1alpha1.SessionCredentialList{} },
	request: typed(getSessionToken),
	set:     setter(func(c *v1alpha1.SessionCredential, a Ask) { c.Spec.Duration = a.Duration }),
}, {
	Name: "FederatedCredential", Resource: "federatedcredentials", Short: "fedcred", NameField: "spec.userName", NameLength: credential.MaxUserName,
	Call:    v1alpha1.CallGetFederationToken,
	New:     func() Object { return &v1alpha1.FederatedCredential{} },
	NewList: func() client.ObjectList { return &v1alpha1.FederatedCredentialList{} },
	request: typed(getFederationToken),
	set: setter(func(c *v1alpha1.FederatedCredential, a Ask) {
		c.Spec.UserName, c.Spec.Duration, c.Spec.Policy = a.SessionName, a.Duration, a.Policy
	}),
}}

func typed[T Object](request func(T) credential.Request) func(Object) credential.Request {
	return func(object Object) credential.Request { return request(object.(T)) }
}

func setter[T Object](set func(T, Ask)) func(Object, Ask) {
	return func(object Object, ask Ask) { set(object.(T), ask) }
}

// KindOf returns the kind whose credentials a call issues. It is false if there is none.
func KindOf(call v1alpha1.Call) (Kind, bool) {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Call == call })
	if i < 0 {
		return Kind{}, false
	}
	return Kinds[i], true
}

func assumeRole(c *v1alpha1.RoleCredential) credential.Request {
	return credential.Request{
		Call: v1alpha1.CallAssumeRole, RoleARN: c.Spec.RoleARN, SessionName: c.Spec.SessionName, Duration: durationOr(c.Spec.Duration, time.Hour),
		ExternalID: c.Spec.ExternalID, SourceIdentity: c.Spec.SourceIdentity, Policy: c.Spec.Policy, PolicyARNs: c.Spec.PolicyARNs,
		Tags: credential.Tags(c.Spec.Tags), TransitiveTagKeys: c.Spec.TransitiveTagKeys, MFASerialNumber: serialNumber(c.Spec.MFA),
		ServiceAccountName: c.Spec.ServiceAccountName,
	}
}

func getSessionToken(c *v1alpha1.SessionCredential) credential.Request {
	return credential.Request{
		Call: v1alpha1.CallGetSessionToken, Duration: durationOr(c.Spec.Duration, 12*time.Hour), MFASerialNumber: serialNumber(c.Spec.MFA),
	}
}

func getFederationToken(c *v1alpha1.FederatedCredential) credential.Request {
	return credential.Request{
		Call: v1alpha1.CallGetFederationToken, SessionName: c.Spec.UserName, Duration: durationOr(c.Spec.Duration, 12*time.Hour),
		Policy: c.Spec.Policy, PolicyARNs: c.Spec.PolicyARNs, Tags: credential.Tags(c.Spec.Tags),
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

// Credential is a credential of some kind, and what it asks of STS.
type Credential struct {
	Object
	Kind    Kind
	Request credential.Request
}

// NewCredential returns an object as a credential.
func NewCredential(kind Kind, object Object) Credential {
	c := Credential{Object: object, Kind: kind, Request: kind.request(object)}
	c.Request.Identity = c.IdentityRef().String()
	c.Request.SessionName = cmp.Or(c.Request.SessionName, c.DefaultSessionName())
	// An object that was read as one of a list does not say what it is.
	object.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind.Name))
	return c
}

// Asking returns the credential with another spec.
func (c Credential) Asking(ask Ask) Credential {
	object, _ := c.DeepCopyObject().(Object)
	c.Kind.set(object, ask)
	return NewCredential(c.Kind, object)
}

// Ask is what the spec asks for.
func (c Credential) Ask() Ask {
	ask := Ask{RoleARN: c.Request.RoleARN, Duration: &metav1.Duration{Duration: c.Request.Duration}, Policy: c.Request.Policy}
	if c.Request.SessionName != c.DefaultSessionName() {
		ask.SessionName = c.Request.SessionName
	}
	return ask
}

// String is how kubectl names the credential, such as rolecredential/s3-reader.
func (c Credential) String() string { return strings.ToLower(c.Kind.Name) + "/" + c.GetName() }

// DefaultSessionName is the name of a session that the spec does not name.
func (c Credential) DefaultSessionName() string {
	if c.Kind.NameLength == 0 {
		return ""
	}
	return credential.SessionName(c.GetNamespace(), c.GetName(), c.Kind.NameLength)
}

// SecretName is the name of the Secret that holds the credential, or is to.
func (c Credential) SecretName() string {
	return cmp.Or(c.Report().SecretName, c.Common().Secret.Name, c.GetName())
}

// Condition returns a condition of the credential, nil if there is none.
func (c Credential) Condition(conditionType string) *metav1.Condition {
	return meta.FindStatusCondition(c.Report().Conditions, conditionType)
}

// Ready tells whether the Secret holds usable credentials, as far as the operator knows.
func (c Credential) Ready() bool {
	return meta.IsStatusConditionTrue(c.Report().Conditions, v1alpha1.ConditionReady)
}

// ServiceAccount is the subject of the token that is shown to STS, if tokens are the identity's source.
func (c Credential) ServiceAccount() string {
	return "system:serviceaccount:" + c.GetNamespace() + ":" + c.ServiceAccountName()
}

// ServiceAccountName is the service account that the credential names, by default the one that a pod has by default.
func (c Credential) ServiceAccountName() string {
	return cmp.Or(c.Request.ServiceAccountName, "default")
}

// MFA is the MFA device that the credential is asked for with, nil for none.
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

// IdentityRef names the identity that the credential is issued by.
func (c Credential) IdentityRef() IdentityRef {
	ref := c.Common().IdentityRef
	return IdentityRef{
		Kind:           cmp.Or(ref.Kind, v1alpha1.IdentityKindClusterIdentity),
		NamespacedName: types.NamespacedName{Namespace: c.GetNamespace(), Name: cmp.Or(ref.Name, v1alpha1.DefaultIdentityName)},
	}
}

// Ref names a credential in a namespace.
type Ref struct {
	Kind Kind
	Name string
}

func (r Ref) String() string { return strings.ToLower(r.Kind.Name) + "/" + r.Name }

// ParseRef reads NAME, of a RoleCredential, or TYPE/NAME, where the type is written in any of the ways that kubectl knows.
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
		if isCalled(kind, k.Name, k.Resource, k.Short) {
			return Ref{Kind: k, Name: name}, nil
		}
		known[i] = k.Short
	}
	return Ref{}, fmt.Errorf("there is no kind of credential called %q: it is one of %s", kind, strings.Join(known, ", "))
}

// isCalled tells whether a type is one of some names, with or without the group.
func isCalled(given string, names ...string) bool {
	for _, suffix := range []string{"." + v1alpha1.GroupVersion.Group, "." + v1alpha1.GroupVersion.Version} {
		given = strings.TrimSuffix(given, suffix)
	}
	return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(given, name) })
}
