package identity

import (
	"cmp"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
)

// newObject returns an empty object of a reference's kind, and its key for a credential in a namespace. The object is
// nil for a kind that only a newer CRD has.
func newObject(ref v1alpha1.IdentityReference, namespace string) (Object, types.NamespacedName) {
	switch ref.Kind {
	case v1alpha1.IdentityKindIdentity:
		return &v1alpha1.Identity{}, types.NamespacedName{Namespace: namespace, Name: ref.Name}
	case v1alpha1.IdentityKindClusterIdentity:
		return &v1alpha1.ClusterIdentity{}, types.NamespacedName{Name: ref.Name}
	default:
		return nil, types.NamespacedName{}
	}
}

// KeyOf returns an identity's key.
func KeyOf(found Object) request.Key {
	kind := v1alpha1.IdentityKindClusterIdentity
	if _, ok := found.(*v1alpha1.Identity); ok {
		kind = v1alpha1.IdentityKindIdentity
	}
	return request.Key{Kind: string(kind), NamespacedName: client.ObjectKeyFromObject(found)}
}

// rules returns the allow rules of an identity. An Identity allows its own namespace all requests.
func rules(found Object) []v1alpha1.AllowRule {
	switch found := found.(type) {
	case *v1alpha1.ClusterIdentity:
		if found.Spec.Allow != nil {
			return *found.Spec.Allow
		}
	case *v1alpha1.Identity:
		return []v1alpha1.AllowRule{{
			Namespaces: []string{found.Namespace}, RoleARNs: []string{"*"}, SessionNames: []string{"*"},
			Calls: []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken},
		}}
	}
	return nil
}

// source is the source of an identity's credentials. It is empty for an object without a known source.
type source struct {
	// ambient is set for the operator's own credentials, which only a ClusterIdentity can select.
	ambient bool
	// secret is the Secret with an access key; nil for another source.
	secret *types.NamespacedName
	// audience is the audience of service account tokens; empty for another source.
	audience string
}

func (s source) String() string {
	switch {
	case s.secret != nil:
		return "accessKey " + s.secret.String()
	case s.audience != "":
		return "serviceAccount for " + s.audience
	case s.ambient:
		return "ambient"
	default:
		return "none"
	}
}

// defaultAudience is the schema's default, for objects that the API server did not default.
const defaultAudience = "sts.amazonaws.com"

func sourceOf(found Object) source {
	var account *v1alpha1.ServiceAccountSource
	switch found := found.(type) {
	case *v1alpha1.ClusterIdentity:
		if key := found.Spec.Source.AccessKey; key != nil {
			return source{secret: &types.NamespacedName{Namespace: key.SecretRef.Namespace, Name: key.SecretRef.Name}}
		}
		if found.Spec.Source.Ambient != nil {
			return source{ambient: true}
		}
		account = found.Spec.Source.ServiceAccount
	case *v1alpha1.Identity:
		if key := found.Spec.Source.AccessKey; key != nil {
			return source{secret: &types.NamespacedName{Namespace: found.Namespace, Name: key.SecretRef.Name}}
		}
		account = found.Spec.Source.ServiceAccount
	}
	if account == nil {
		return source{}
	}
	return source{audience: cmp.Or(account.Audience, defaultAudience)}
}
