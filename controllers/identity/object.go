package identity

import (
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
)

// Object is an identity of either kind.
type Object interface {
	client.Object
	Settings() *v1alpha1.IdentitySettings
	Report() *v1alpha1.IdentityStatus
}

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
			Calls: []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken, v1alpha1.CallCreateSession},
		}}
	}
	return nil
}
