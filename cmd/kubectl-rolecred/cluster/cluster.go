package cluster

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
)

// Cluster reads from the API server with the user's permissions.
type Cluster struct {
	Client client.Client
	// Namespace of all names without one.
	Namespace string
}

// Scheme returns a scheme with the kinds that the plugin reads.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// New returns a cluster for a client configuration.
func New(config *rest.Config, namespace string) (*Cluster, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper()})
	if err != nil {
		return nil, err
	}
	return &Cluster{Client: c, Namespace: namespace}, nil
}

// mapper returns a static mapper of the kinds that the plugin reads, which saves discovery requests.
func mapper() meta.RESTMapper {
	known := meta.NewDefaultRESTMapper(nil)
	for _, kind := range Kinds {
		known.Add(v1alpha1.GroupVersion.WithKind(kind.Name), meta.RESTScopeNamespace)
	}
	for kind, row := range identityKinds {
		known.Add(v1alpha1.GroupVersion.WithKind(string(kind)), row.scope)
	}
	for kind, scope := range map[string]meta.RESTScope{"Secret": meta.RESTScopeNamespace, "Pod": meta.RESTScopeNamespace, "Namespace": meta.RESTScopeRoot} {
		known.Add(corev1.SchemeGroupVersion.WithKind(kind), scope)
	}
	return known
}

// Credential reads a credential.
func (c *Cluster) Credential(ctx context.Context, ref Ref) (Credential, error) {
	object := ref.Kind.New()
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: ref.Name}, object); err != nil {
		return Credential{}, err
	}
	return NewCredential(ref.Kind, object), nil
}

// Credentials lists the credentials of all kinds in a namespace, or in all namespaces if it is empty. If some kinds cannot be listed, it
// returns the others and an error.
func (c *Cluster) Credentials(ctx context.Context, namespace string) ([]Credential, error) {
	var found []Credential
	var errs []error
	for _, kind := range Kinds {
		list := kind.NewList()
		if err := c.Client.List(ctx, list, client.InNamespace(namespace)); err != nil {
			errs = append(errs, err)
			continue
		}
		_ = meta.EachListItem(list, func(item runtime.Object) error {
			if object, ok := item.(Object); ok {
				found = append(found, NewCredential(kind, object))
			}
			return nil
		})
	}
	return found, errors.Join(errs...)
}

// Identity reads an identity.
func (c *Cluster) Identity(ctx context.Context, ref IdentityRef) (Identity, error) {
	kind, known := identityKinds[ref.Kind]
	if !known {
		return Identity{}, fmt.Errorf("this version of the plugin does not know the identity kind %s", ref.Kind)
	}
	name := ref.NamespacedName
	if kind.scope == meta.RESTScopeRoot {
		name.Namespace = ""
	}
	found := kind.new()
	if err := c.Client.Get(ctx, name, found); err != nil {
		return Identity{IdentityRef: ref}, err
	}
	return newIdentity(ref, found), nil
}

// NamespaceLabels reads the labels of a namespace.
func (c *Cluster) NamespaceLabels(ctx context.Context, name string) (map[string]string, error) {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"})
	err := c.Client.Get(ctx, client.ObjectKey{Name: name}, namespace)
	return namespace.Labels, err
}

// Pods lists the pods of a namespace.
func (c *Cluster) Pods(ctx context.Context, namespace string) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := c.Client.List(ctx, &list, client.InNamespace(namespace))
	return list.Items, err
}
