package testkit

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
)

// Shop returns the metadata of the namespace shop.
func Shop() *metav1.PartialObjectMetadata {
	namespace := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	namespace.Name = "shop"
	namespace.Labels = map[string]string{"team": "shop"}
	return namespace
}

// NamespaceShop returns the namespace shop.
func NamespaceShop() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: Shop().Labels}}
}

// Bootstrap returns the Secret with the access key of the default identity.
func Bootstrap() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "rolecredential-system", Name: "bootstrap"},
		Data:       map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("AKIASOURCE"), "AWS_SECRET_ACCESS_KEY": []byte("source-secret")},
	}
}

// DefaultIdentity returns a ClusterIdentity that allows the namespace shop all roles of an account.
func DefaultIdentity() *v1alpha1.ClusterIdentity {
	return &v1alpha1.ClusterIdentity{
		ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "identity-uid", Generation: 1},
		Spec: v1alpha1.ClusterIdentitySpec{
			IdentitySettings: v1alpha1.IdentitySettings{Region: "eu-west-1"},

			Source: v1alpha1.ClusterIdentitySource{AccessKey: &v1alpha1.AccessKeySource{SecretRef: v1alpha1.SecretReference{Namespace: "rolecredential-system", Name: "bootstrap"}}},
			Allow: &[]v1alpha1.AllowRule{{
				Namespaces: []string{"shop"}, RoleARNs: []string{"arn:aws:iam::123456789012:role/*"}, MaxDuration: &metav1.Duration{Duration: 2 * time.Hour},
			}},
		},
	}
}

// Reader returns the RoleCredential shop/s3-reader.
func Reader() *v1alpha1.RoleCredential {
	c := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader", UID: "credential-uid", Generation: 1}}
	c.Spec.RoleARN = "arn:aws:iam::123456789012:role/S3Reader"
	return c
}

// World returns all objects that the Reader requires. The given objects replace those of the same kind and name.
func World(replaced ...client.Object) []client.Object {
	objects := []client.Object{NamespaceShop(), Bootstrap(), DefaultIdentity(), Reader()}
	for _, object := range replaced {
		same := func(o client.Object) bool {
			return KindName(o) == KindName(object) && client.ObjectKeyFromObject(o) == client.ObjectKeyFromObject(object)
		}
		objects = append(slices.DeleteFunc(objects, same), object)
	}
	return objects
}

// Without returns the objects except one.
func Without(object client.Object, objects []client.Object) []client.Object {
	return slices.DeleteFunc(objects, func(o client.Object) bool {
		return KindName(o) == KindName(object) && client.ObjectKeyFromObject(o) == client.ObjectKeyFromObject(object)
	})
}

// Changed calls f with an object and returns the object.
func Changed[T any](object T, f func(T)) T {
	f(object)
	return object
}

// ForeignSecret returns a Secret with the name of the Reader's Secret that does not belong to the Reader.
func ForeignSecret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader", Labels: map[string]string{"of": "another"}},
		Data:       map[string][]byte{"password": []byte("theirs")},
		Type:       corev1.SecretTypeOpaque,
	}
}
