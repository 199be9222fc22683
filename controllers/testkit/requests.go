package testkit

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
)

// Requests records the operator's writes, as "verb kind". A write that the operator must never make fails the test. Fail returns the error
// for a write, nil to accept it.
type Requests struct {
	Writes []string
	Fail   func(verb string, object client.Object) error

	t *testing.T
}

// write records a write, and returns the error that the API server returns for it.
func (r *Requests) write(ctx context.Context, c client.Reader, w Write) error {
	r.t.Helper()
	kind := KindName(w.Object)
	r.Writes = append(r.Writes, w.Verb+" "+kind)
	if stored := (&corev1.Secret{}); kind == "Secret" {
		if err := c.Get(ctx, client.ObjectKeyFromObject(w.Object), stored); err == nil {
			w.Stored = stored
		} else if !apierrors.IsNotFound(err) {
			return err
		}
	}
	if err := w.Permitted(); err != nil {
		r.t.Errorf("the operator must not make this %s of %s %s: %v", w.Verb, kind, client.ObjectKeyFromObject(w.Object), err)
	}
	if r.Fail != nil {
		return r.Fail(w.Verb, w.Object)
	}
	return nil
}

// KindName returns the kind of an object.
func KindName(object client.Object) string {
	switch object.(type) {
	case *corev1.Secret:
		return "Secret"
	case *corev1.Namespace:
		return "Namespace"
	case *v1alpha1.RoleCredential:
		return "RoleCredential"
	case *v1alpha1.SessionCredential:
		return "SessionCredential"
	case *v1alpha1.FederatedCredential:
		return "FederatedCredential"
	case *v1alpha1.ClusterIdentity:
		return "ClusterIdentity"
	case *v1alpha1.Identity:
		return "Identity"
	default:
		return object.GetObjectKind().GroupVersionKind().Kind
	}
}

// NoWatch reports each Secret as changed, so that each reconcile reads the source again.
type NoWatch struct{}

// Subscribe does nothing.
func (NoWatch) Subscribe(request.Key, types.NamespacedName, string) {}

// IsCurrent returns false.
func (NoWatch) IsCurrent(request.Key, types.NamespacedName, string) bool { return false }

// Unsubscribe does nothing.
func (NoWatch) Unsubscribe(request.Key) {}

func (r *Requests) interceptor() interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if err := r.write(ctx, c, Write{Verb: "create", Object: o}); err != nil {
				return err
			}
			return c.Create(ctx, o, options...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.UpdateOption) error {
			if err := r.write(ctx, c, Write{Verb: "update", Object: o}); err != nil {
				return err
			}
			return c.Update(ctx, o, options...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			preconditions := ptr.Deref((&client.DeleteOptions{}).ApplyOptions(options).Preconditions, metav1.Preconditions{})
			if err := r.write(ctx, c, Write{Verb: "delete", Object: o, Preconditions: preconditions}); err != nil {
				return err
			}
			return c.Delete(ctx, o, options...)
		},
		Apply: r.apply,
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			content, err := patch.Data(o)
			if err != nil {
				return err
			}
			if err := r.write(ctx, c, Write{Verb: "patch", Object: o, Content: content}); err != nil {
				return err
			}
			return c.Patch(ctx, o, patch, options...)
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, options ...client.SubResourceUpdateOption) error {
			if err := r.write(ctx, c, Write{Verb: "update " + sub, Object: o}); err != nil {
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
	patch, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err := r.write(ctx, c, Write{Verb: "apply", Object: applied, Content: patch}); err != nil {
		return err
	}
	current := &unstructured.Unstructured{}
	current.SetGroupVersionKind(applied.GetObjectKind().GroupVersionKind())
	current.SetNamespace(applied.GetNamespace())
	current.SetName(applied.GetName())
	return c.Patch(ctx, current, client.RawPatch(types.MergePatchType, patch))
}
