package identity

import (
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
)

// Object is an identity of either kind.
type Object = request.IdentityObject

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
