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

// IdentityRef is the kind and name of an identity. The namespace is the credential's, and is ignored for a cluster-scoped kind.
type IdentityRef struct {
	Kind v1alpha1.IdentityKind
	types.NamespacedName
}

// String returns the kind and name, in the form of the operator's messages.
func (r IdentityRef) String() string { return string(r.Kind) + " " + r.Name }

// Path returns the identity's name for kubectl, such as clusteridentity/default.
func (r IdentityRef) Path() string { return strings.ToLower(string(r.Kind)) + "/" + r.Name }

// Args returns the arguments that name the identity for kubectl, with -n if its kind is namespaced.
func (r IdentityRef) Args() []string {
	if identityKinds[r.Kind].clusterScoped {
		return []string{r.Path()}
	}
	return []string{r.Path(), "-n", r.Namespace}
}

// Resource returns the plural of the kind.
func (r IdentityRef) Resource() string { return identityKinds[r.Kind].resource }

// Identity is an identity of any kind.
type Identity struct {
	IdentityRef
	Region, Endpoint, CABundle string
	// Source describes the source of the identity's own credentials. SourceSecret is set if it reads a Secret, and SourceKey if it
	// reads one key of that.
	Source       string
	SourceType   SourceType
	SourceSecret *types.NamespacedName
	SourceKey    string
	// Audience is set if the source is serviceAccount, RolesAnywhere if it is x509, and OIDC if it is oidc.
	Audience      string
	RolesAnywhere *v1alpha1.RolesAnywhereSettings
	OIDC          *v1alpha1.OIDCSettings
	Chain         []v1alpha1.Hop
	SessionTags   *v1alpha1.SessionTags
	// Rules are the allow rules of the identity. An Identity has none in its spec: Namespaced is set, and one rule allows its namespace
	// everything.
	Rules      []v1alpha1.AllowRule
	Namespaced bool
	Conditions []metav1.Condition
	// FailedCall is the STS call that failed, nil if there was none.
	FailedCall *v1alpha1.FailedCall
	// ARN is the caller's ARN, empty while it is not verified.
	ARN string
}

// SourceType is the field of spec.source that is set. It is empty if this version of the plugin does not know the source.
type SourceType string

// Types of sources.
const (
	SourceAmbient          SourceType = "ambient"
	SourceAccessKey        SourceType = "accessKey"
	SourceServiceAccount   SourceType = "serviceAccount"
	SourceX509             SourceType = "x509"
	SourceOIDC             SourceType = "oidc"
	SourceWebIdentityToken SourceType = "webIdentityToken"
)

// Call returns a call of a credential's spec as AWS names it: the source may replace AssumeRole with a call of its own.
func (i Identity) Call(call v1alpha1.Call) v1alpha1.Call {
	if call != v1alpha1.CallAssumeRole || len(i.Chain) > 0 {
		return call
	}
	switch i.SourceType {
	case SourceX509:
		return v1alpha1.CallCreateSession
	case SourceServiceAccount, SourceOIDC, SourceWebIdentityToken:
		return v1alpha1.CallAssumeRoleWithWebIdentity
	default:
		return call
	}
}

// Roles returns the roles of the chain.
func (i Identity) Roles() (arns []string) {
	for _, hop := range i.Chain {
		arns = append(arns, hop.RoleARN)
	}
	return arns
}

// identityKind describes a kind of identity.
type identityKind struct {
	resource, short string
	clusterScoped   bool
	get             func(context.Context, client.Reader, types.NamespacedName) (Identity, error)
}

// identityKinds has an entry for each kind of identity.
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
	switch source := found.Spec.Source; {
	case source.Ambient != nil:
		identity.SourceType, identity.Source = SourceAmbient, string(SourceAmbient)
	case source.AccessKey != nil:
		ref := source.AccessKey.SecretRef
		identity = identity.withSecret(SourceAccessKey, ref.Namespace, ref.Name)
	case source.X509 != nil:
		ref := source.X509.SecretRef
		identity = identity.withSecret(SourceX509, ref.Namespace, ref.Name)
		identity.RolesAnywhere = &source.X509.RolesAnywhereSettings
	case source.OIDC != nil:
		ref := source.OIDC.ClientSecretRef
		identity = identity.withSecret(SourceOIDC, ref.Namespace, ref.Name)
		identity.SourceKey, identity.OIDC = ref.Key, &source.OIDC.OIDCSettings
	case source.WebIdentityToken != nil:
		ref := source.WebIdentityToken.SecretRef
		identity = identity.withSecret(SourceWebIdentityToken, ref.Namespace, ref.Name)
		identity.SourceKey = ref.Key
	case source.ServiceAccount != nil:
		identity = identity.withServiceAccounts(*source.ServiceAccount)
	}
	return identity, nil
}

func namespacedIdentity(ctx context.Context, reader client.Reader, name types.NamespacedName) (Identity, error) {
	found := &v1alpha1.Identity{}
	if err := reader.Get(ctx, name, found); err != nil {
		return Identity{}, err
	}
	identity := newIdentity(found.Settings(), found.Report())
	identity.Namespaced = true
	identity.Rules = []v1alpha1.AllowRule{{
		Namespaces: []string{found.Namespace}, RoleARNs: []string{"*"}, SessionNames: []string{"*"},
		Calls: []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken, v1alpha1.CallCreateSession},
	}}
	switch source := found.Spec.Source; {
	case source.AccessKey != nil:
		identity = identity.withSecret(SourceAccessKey, found.Namespace, source.AccessKey.SecretRef.Name)
	case source.X509 != nil:
		identity = identity.withSecret(SourceX509, found.Namespace, source.X509.SecretRef.Name)
		identity.RolesAnywhere = &source.X509.RolesAnywhereSettings
	case source.OIDC != nil:
		identity = identity.withSecret(SourceOIDC, found.Namespace, source.OIDC.ClientSecretRef.Name)
		identity.SourceKey, identity.OIDC = source.OIDC.ClientSecretRef.Key, &source.OIDC.OIDCSettings
	case source.WebIdentityToken != nil:
		identity = identity.withSecret(SourceWebIdentityToken, found.Namespace, source.WebIdentityToken.SecretRef.Name)
		identity.SourceKey = source.WebIdentityToken.SecretRef.Key
	case source.ServiceAccount != nil:
		identity = identity.withServiceAccounts(*source.ServiceAccount)
	}
	return identity, nil
}

// newIdentity returns the fields that all kinds share. The source stays unknown if it is newer than this version of the plugin.
func newIdentity(settings *v1alpha1.IdentitySettings, status *v1alpha1.IdentityStatus) Identity {
	return Identity{
		Region: settings.Region, Endpoint: settings.Endpoint, CABundle: settings.CABundle, Chain: settings.Chain, SessionTags: settings.SessionTags,
		Source: "unknown", Conditions: status.Conditions, FailedCall: status.FailedCall, ARN: status.ARN,
	}
}

func (i Identity) withSecret(source SourceType, namespace, name string) Identity {
	i.SourceType, i.SourceSecret = source, &types.NamespacedName{Namespace: namespace, Name: name}
	i.Source = string(source) + " in Secret " + i.SourceSecret.String()
	return i
}

func (i Identity) withServiceAccounts(source v1alpha1.ServiceAccountSource) Identity {
	i.SourceType, i.Audience = SourceServiceAccount, cmp.Or(source.Audience, "sts.amazonaws.com")
	i.Source = "serviceAccount, audience " + i.Audience
	return i
}

// ParseIdentityRef parses TYPE/NAME of an identity. It returns false if the type is not a kind of identity.
func ParseIdentityRef(arg, namespace string) (IdentityRef, bool) {
	given, name, typed := strings.Cut(arg, "/")
	if !typed || name == "" {
		return IdentityRef{}, false
	}
	for kind, row := range identityKinds {
		if matchesKind(given, string(kind), row.resource, row.short) {
			return IdentityRef{Kind: kind, NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}, true
		}
	}
	return IdentityRef{}, false
}
