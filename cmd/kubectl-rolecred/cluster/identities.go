package cluster

import (
	"cmp"
	"context"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
)

// IdentityRef names an identity of any kind. The namespace is that of the credential, and means nothing to a kind without one.
type IdentityRef struct {
	Kind v1alpha1.IdentityKind
	types.NamespacedName
}

// String is the kind and name, as the operator's messages give it.
func (r IdentityRef) String() string { return string(r.Kind) + " " + r.Name }

// Path is how kubectl names the identity, such as clusteridentity/default.
func (r IdentityRef) Path() string { return strings.ToLower(string(r.Kind)) + "/" + r.Name }

// Args are what kubectl finds the identity by, with its namespace if it is in one.
func (r IdentityRef) Args() []string {
	if identityKinds[r.Kind].clusterScoped {
		return []string{r.Path()}
	}
	return []string{r.Path(), "-n", r.Namespace}
}

// Resource is what kubectl calls several identities of the kind.
func (r IdentityRef) Resource() string { return identityKinds[r.Kind].resource }

// Identity is an identity of any kind, as all verbs look at it.
type Identity struct {
	IdentityRef
	Region, Endpoint, CABundle string
	// Source says where the identity's own credentials come from. SourceSecret names their Secret, if they are in one, and
	// Audience whom tokens of service accounts are for, if they are the source.
	Source       string
	SourceSecret *types.NamespacedName
	Audience     string
	Chain        []v1alpha1.Hop
	SessionTags  *v1alpha1.SessionTags
	// Rules are what the identity allows. If Own is set it has none that anybody wrote: it is the namespace's own, which may use
	// it for all that it can do.
	Rules      []v1alpha1.AllowRule
	Own        bool
	Conditions []metav1.Condition
	// FailedCall is the STS call that failed, nil if there was none.
	FailedCall *v1alpha1.FailedCall
	// ARN is who STS takes the identity for, empty while it is not known.
	ARN string
}

// Roles lists the roles of the chain.
func (i Identity) Roles() (arns []string) {
	for _, hop := range i.Chain {
		arns = append(arns, hop.RoleARN)
	}
	return arns
}

// identityKind is a kind of identity.
type identityKind struct {
	resource, short string
	clusterScoped   bool
	get             func(context.Context, client.Reader, types.NamespacedName) (Identity, error)
}

// identityKinds are the kinds of identities: all that one has of its own is in its row.
var identityKinds = map[v1alpha1.IdentityKind]identityKind{
	v1alpha1.IdentityKindClusterIdentity: {resource: "clusteridentities", short: "clusterid", clusterScoped: true, get: clusterIdentity},
	v1alpha1.IdentityKindIdentity:        {resource: "identities", short: "stsid", get: namespacedIdentity},
}

func clusterIdentity(ctx context.Context, reader client.Reader, name types.NamespacedName) (Identity, error) {
	found := &v1alpha1.ClusterIdentity{}
	if err := reader.Get(ctx, client.ObjectKey{Name: name.Name}, found); err != nil {
		return Identity{}, err
	}
	identity := newIdentity(found.Settings(), found.Report())
	if found.Spec.Allow != nil {
		identity.Rules = *found.Spec.Allow
	}
	if found.Spec.Source.Ambient != nil {
		identity.Source = "ambient"
	}
	if key := found.Spec.Source.AccessKey; key != nil {
		identity = identity.fromSecret(key.SecretRef.Namespace, key.SecretRef.Name)
	}
	return identity.fromTokens(found.Spec.Source.ServiceAccount), nil
}

func namespacedIdentity(ctx context.Context, reader client.Reader, name types.NamespacedName) (Identity, error) {
	found := &v1alpha1.Identity{}
	if err := reader.Get(ctx, name, found); err != nil {
		return Identity{}, err
	}
	identity := newIdentity(found.Settings(), found.Report())
	identity.Own = true
	identity.Rules = []v1alpha1.AllowRule{{
		Namespaces: []string{found.Namespace}, RoleARNs: []string{"*"}, SessionNames: []string{"*"},
		Calls: []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken},
	}}
	if key := found.Spec.Source.AccessKey; key != nil {
		identity = identity.fromSecret(found.Namespace, key.SecretRef.Name)
	}
	return identity.fromTokens(found.Spec.Source.ServiceAccount), nil
}

// newIdentity returns what all kinds share, with the source that is left if this version knows none.
func newIdentity(settings *v1alpha1.IdentitySettings, status *v1alpha1.IdentityStatus) Identity {
	return Identity{
		Region: settings.Region, Endpoint: settings.Endpoint, CABundle: settings.CABundle, Chain: settings.Chain, SessionTags: settings.SessionTags,
		Source: "unknown", Conditions: status.Conditions, FailedCall: status.FailedCall, ARN: status.ARN,
	}
}

func (i Identity) fromSecret(namespace, name string) Identity {
	i.SourceSecret = &types.NamespacedName{Namespace: namespace, Name: name}
	i.Source = "accessKey in Secret " + i.SourceSecret.String()
	return i
}

func (i Identity) fromTokens(source *v1alpha1.ServiceAccountSource) Identity {
	if source != nil {
		i.Audience = cmp.Or(source.Audience, "sts.amazonaws.com")
		i.Source = "serviceAccount, for " + i.Audience
	}
	return i
}

// ParseIdentityRef reads TYPE/NAME of an identity. It is false if the type is that of no identity.
func ParseIdentityRef(arg, namespace string) (IdentityRef, bool) {
	given, name, typed := strings.Cut(arg, "/")
	if !typed || name == "" {
		return IdentityRef{}, false
	}
	for kind, row := range identityKinds {
		if isCalled(given, string(kind), row.resource, row.short) {
			return IdentityRef{Kind: kind, NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}, true
		}
	}
	return IdentityRef{}, false
}
