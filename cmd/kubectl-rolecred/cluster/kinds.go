// Package cluster reads credentials, identities, Secrets and pods from the API server.
package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
)

// Object is a credential of any kind.
type Object = request.Object

// Kind describes a kind of credential. [Kinds] has one entry for each.
type Kind struct {
	// Name is the API kind, Resource its plural and Short its short name.
	Name, Resource, Short string
	// NameField is the field of the session name, empty for a call without one.
	NameField string
	// Call is the STS call that issues this kind.
	Call v1alpha1.Call

	New         func() Object
	NewList     func() request.List
	defaultName func(Object) string
	// request returns the STS request of the spec, also of one that STS would reject.
	request func(Object) request.Request
	mfa     func(Object) *v1alpha1.MFA
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
var Kinds = []Kind{
	newKind(request.RoleCredential, "rolecred", func(c *v1alpha1.RoleCredential, f RequestFields) {
		c.Spec.RoleARN, c.Spec.SessionName, c.Spec.Duration = f.RoleARN, f.SessionName, f.Duration
	}),
	newKind(request.SessionCredential, "sessioncred", func(c *v1alpha1.SessionCredential, f RequestFields) { c.Spec.Duration = f.Duration }),
	newKind(request.FederatedCredential, "fedcred", func(c *v1alpha1.FederatedCredential, f RequestFields) {
		c.Spec.UserName, c.Spec.Duration, c.Spec.Policy = f.SessionName, f.Duration, f.Policy
	}),
}

// newKind returns the plugin's view of a kind of the operator, without its type parameter.
func newKind[T Object](kind request.Kind[T], short string, set func(T, RequestFields)) Kind {
	return Kind{
		Name: kind.Name, Resource: strings.ToLower(kind.Name) + "s", Short: short, NameField: kind.NameField, Call: kind.Call,
		New:         func() Object { return kind.New() },
		NewList:     kind.NewList,
		defaultName: kind.DefaultName,
		request: func(object Object) request.Request {
			r, _ := kind.Request(object.(T))
			return r
		},
		mfa: func(object Object) *v1alpha1.MFA { return kind.MFA(object.(T)) },
		set: func(object Object, fields RequestFields) { set(object.(T), fields) },
	}
}

// KindOf returns the kind that a call issues. It returns false if there is none. CreateSession issues the same kind as AssumeRole, for
// identities with the source x509.
func KindOf(call v1alpha1.Call) (Kind, bool) {
	if call == v1alpha1.CallCreateSession {
		call = v1alpha1.CallAssumeRole
	}
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Call == call })
	if i < 0 {
		return Kind{}, false
	}
	return Kinds[i], true
}

// Credential is a credential of any kind and its STS request.
type Credential struct {
	Object
	Kind    Kind
	Request request.Request
}

// NewCredential returns the credential of an object. It sets the object's apiVersion and kind.
func NewCredential(kind Kind, object Object) Credential {
	// Items of a typed list have no apiVersion and kind.
	object.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind.Name))
	return Credential{Object: object, Kind: kind, Request: kind.request(object)}
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
func (c Credential) DefaultSessionName() string { return c.Kind.defaultName(c.Object) }

// SecretName returns the name of the Secret: the current one, or else the one in the spec.
func (c Credential) SecretName() string {
	return cmp.Or(c.Report().SecretName, request.SecretName(c.Object))
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
	return request.ServiceAccount(c.Object, c.Request).Name
}

// MFA returns the MFA device of the spec, nil if it has none.
func (c Credential) MFA() *v1alpha1.MFA { return c.Kind.mfa(c.Object) }

// IdentityRef returns the reference to the credential's identity, with defaults.
func (c Credential) IdentityRef() IdentityRef {
	ref := request.IdentityRef(c.Object)
	return IdentityRef{Kind: ref.Kind, NamespacedName: types.NamespacedName{Namespace: c.GetNamespace(), Name: ref.Name}}
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
