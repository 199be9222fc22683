package controllers

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/secret"
)

// specChanged lets through a new spec and a new request to refresh, but not a status that we wrote ourselves.
var specChanged = predicate.Or(predicate.GenerationChangedPredicate{}, predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetAnnotations()[v1alpha1.RefreshAnnotation] != e.ObjectNew.GetAnnotations()[v1alpha1.RefreshAnnotation]
	},
})

// labelsChanged lets through a namespace that a rule may now select, or no longer.
var labelsChanged = predicate.LabelChangedPredicate{}

// identityIndex is the name of the index of credentials by the identity that they name.
const identityIndex = "identity"

func indexIdentity(object client.Object) []string {
	credential, ok := object.(Object)
	if !ok {
		return nil
	}
	ref := identityRef(credential)
	if ref.Kind == v1alpha1.IdentityKindIdentity {
		return []string{identityKey(ref.Kind, types.NamespacedName{Namespace: object.GetNamespace(), Name: ref.Name})}
	}
	return []string{identityKey(ref.Kind, types.NamespacedName{Name: ref.Name})}
}

func identityKey(kind v1alpha1.IdentityKind, name types.NamespacedName) string {
	return string(kind) + "/" + name.String()
}

// requestMapper finds the credentials of a kind that something else concerns.
type requestMapper[T Object] struct {
	reader client.Reader
	kind   Kind[T]
}

func (m requestMapper[T]) list(ctx context.Context, options ...client.ListOption) []reconcile.Request {
	list := m.kind.NewList()
	if err := m.reader.List(ctx, list, options...); err != nil {
		// The reader is a cache that holds all of them.
		log.FromContext(ctx).Error(err, "listing the credentials that a change concerns", "kind", m.kind.Name)
		return nil
	}
	requests := make([]reconcile.Request, 0, meta.LenList(list))
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		if object, ok := item.(client.Object); ok {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)})
		}
		return nil
	})
	return requests
}

func (m requestMapper[T]) byIdentity(kind v1alpha1.IdentityKind) func(context.Context, types.NamespacedName) []reconcile.Request {
	return func(ctx context.Context, name types.NamespacedName) []reconcile.Request {
		return m.list(ctx, client.MatchingFields{identityIndex: identityKey(kind, name)})
	}
}

func (m requestMapper[T]) ofIdentity(kind v1alpha1.IdentityKind) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, object client.Object) []reconcile.Request {
		return m.byIdentity(kind)(ctx, client.ObjectKeyFromObject(object))
	})
}

func (m requestMapper[T]) ofNamespace() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, object client.Object) []reconcile.Request {
		return m.list(ctx, client.InNamespace(object.GetName()))
	})
}

// enqueueOwner enqueues the credential of a kind that a changed Secret belongs to. A Secret that lost its owner reference, or was
// restored without one, belongs to the credential that its record names.
func enqueueOwner(kind string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, object client.Object) []reconcile.Request {
		name, ok := secret.CredentialOf(kind, object)
		if !ok {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: name}}}
	})
}

// ignoreOwnWrites lets through a Secret that is not as the operator itself left it.
func ignoreOwnWrites(secrets *secret.Store, kind client.Object) predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !secrets.IsOwnWrite(kind, e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool { return !secrets.IsOwnWrite(kind, e.ObjectNew) },
	}
}

// enqueueSelf enqueues the subscriber.
func enqueueSelf(_ context.Context, name types.NamespacedName) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: name}}
}

// secretChanges enqueues the objects that a change of a single Secret affects, by their subscriber.
func secretChanges(watcher *secret.Watcher, kind string, affected func(context.Context, types.NamespacedName) []reconcile.Request) source.Source {
	return source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		watcher.OnChange(kind, func(waiter types.NamespacedName) {
			for _, request := range affected(ctx, waiter) {
				queue.Add(request)
			}
		})
		return nil
	})
}
