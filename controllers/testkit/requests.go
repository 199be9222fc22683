package testkit

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
)

// Requests records the writes that the API server received, as "verb kind". Fail returns the error for a write, nil to accept it.
type Requests struct {
	Writes []string
	Fail   func(verb string, object client.Object) error
}

func (r *Requests) write(verb string, object client.Object) error {
	r.Writes = append(r.Writes, verb+" "+KindName(object))
	if r.Fail != nil {
		return r.Fail(verb, object)
	}
	return nil
}

// KindName returns the kind of an object.
func KindName(object client.Object) string {
	switch object.(type) {
	case *corev1.Secret:
		return "Secret"
	case *v1alpha1.RoleCredential:
		return "RoleCredential"
	case *v1alpha1.ClusterIdentity:
		return "ClusterIdentity"
	case *v1alpha1.Identity:
		return "Identity"
	default:
		return object.GetObjectKind().GroupVersionKind().Kind
	}
}

// noWatch reports each Secret as changed, so that each reconcile reads the source again.
type noWatch struct{}

func (noWatch) Subscribe(request.Key, types.NamespacedName, string)      {}
func (noWatch) IsCurrent(request.Key, types.NamespacedName, string) bool { return false }
func (noWatch) Unsubscribe(request.Key)                                  {}

func (r *Requests) interceptor() interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if err := r.write("create", o); err != nil {
				return err
			}
			return c.Create(ctx, o, options...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.UpdateOption) error {
			if err := r.write("update", o); err != nil {
				return err
			}
			return c.Update(ctx, o, options...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			if err := r.write("delete", o); err != nil {
				return err
			}
			return c.Delete(ctx, o, options...)
		},
		Apply: r.apply,
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			if err := r.write("patch", o); err != nil {
				return err
			}
			return c.Patch(ctx, o, patch, options...)
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, options ...client.SubResourceUpdateOption) error {
			if err := r.write("update "+sub, o); err != nil {
				return err
			}
			return c.SubResource(sub).Update(ctx, o, options...)
		},
	}
}

// apply stores an apply configuration as a merge patch. The fake client applies all fields of a type that it knows, also those that are not
// given.
func (r *Requests) apply(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, _ ...client.ApplyOption) error {
	applied, ok := o.(client.Object)
	if !ok {
		return fmt.Errorf("an apply of a %T", o)
	}
	if err := r.write("apply", applied); err != nil {
		return err
	}
	// For known types, the fake client applies all fields, also absent ones.
	patch, err := json.Marshal(o)
	if err != nil {
		return err
	}
	current := &unstructured.Unstructured{}
	current.SetGroupVersionKind(applied.GetObjectKind().GroupVersionKind())
	current.SetNamespace(applied.GetNamespace())
	current.SetName(applied.GetName())
	return c.Patch(ctx, current, client.RawPatch(types.MergePatchType, patch))
}
