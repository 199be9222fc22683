package cluster

import (
	"cmp"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
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
	if identityKinds[r.Kind].scope == meta.RESTScopeRoot {
		return []string{r.Path()}
	}
	return []string{r.Path(), "-n", r.Namespace}
}

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
	scope           meta.RESTScope
	new             func() request.IdentityObject
}

// identityKinds has an entry for each kind of identity.
var identityKinds = map[v1alpha1.IdentityKind]identityKind{
	v1alpha1.IdentityKindClusterIdentity: {"clusteridentities", "clusterid", meta.RESTScopeRoot, func() request.IdentityObject { return &v1alpha1.ClusterIdentity{} }},
	v1alpha1.IdentityKindIdentity:        {"identities", "stsid", meta.RESTScopeNamespace, func() request.IdentityObject { return &v1alpha1.Identity{} }},
}

// newIdentity returns the identity of an object. The source stays unknown if it is newer than this version of the plugin.
func newIdentity(ref IdentityRef, found request.IdentityObject) Identity {
	settings, status := found.Settings(), found.Report()
	identity := Identity{
		IdentityRef: ref, Region: settings.Region, Endpoint: settings.Endpoint, CABundle: settings.CABundle, Chain: settings.Chain, SessionTags: settings.SessionTags,
		Source: "unknown", Rules: found.Rules(), Namespaced: found.GetNamespace() != "", Conditions: status.Conditions, FailedCall: status.FailedCall, ARN: status.ARN,
	}
	switch source := found.Source(); {
	case source.Ambient != nil:
		identity.SourceType, identity.Source = SourceAmbient, string(SourceAmbient)
	case source.AccessKey != nil:
		identity = identity.withSecret(SourceAccessKey, source.AccessKey.SecretRef)
	case source.X509 != nil:
		identity = identity.withSecret(SourceX509, source.X509.SecretRef)
		identity.RolesAnywhere = &source.X509.RolesAnywhereSettings
	case source.OIDC != nil:
		identity = identity.withSecretKey(SourceOIDC, source.OIDC.ClientSecretRef)
		identity.OIDC = &source.OIDC.OIDCSettings
	case source.WebIdentityToken != nil:
		identity = identity.withSecretKey(SourceWebIdentityToken, source.WebIdentityToken.SecretRef)
	case source.ServiceAccount != nil:
		identity.SourceType, identity.Audience = SourceServiceAccount, cmp.Or(source.ServiceAccount.Audience, "sts.amazonaws.com")
		identity.Source = "serviceAccount, audience " + identity.Audience
	}
	return identity
}

func (i Identity) withSecret(source SourceType, ref v1alpha1.SecretReference) Identity {
	i.SourceType, i.SourceSecret = source, new(types.NamespacedName(ref))
	i.Source = string(source) + " in Secret " + i.SourceSecret.String()
	return i
}

func (i Identity) withSecretKey(source SourceType, ref v1alpha1.NamespacedSecretKeyReference) Identity {
	i.SourceKey = ref.Key
	return i.withSecret(source, v1alpha1.SecretReference{Namespace: ref.Namespace, Name: ref.Name})
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
