package credential

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/telemetry"
)

// credentialChanged accepts a new spec and a new request to refresh, which is the only annotation in the cache.
var credentialChanged = predicate.Or[client.Object](identity.SpecChanged, predicate.AnnotationChangedPredicate{})

// SetupWithManager adds the reconciler and its watches to a manager. A change of an identity's source Secret enqueues the identity's
// credentials. The dispatcher enqueues credentials whose STS call may be made.
func (r *Reconciler[T]) SetupWithManager(
	ctx context.Context, mgr manager.Manager, sources *identity.Watcher, dispatcher *Dispatcher, tracer trace.Tracer, workers controller.Options,
) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, r.Kind.New(), identityIndex, indexIdentity); err != nil {
		return fmt.Errorf("indexing by identity: %w", err)
	}
	mapper := requestMapper[T]{reader: mgr.GetCache(), kind: r.Kind}
	specChanged := builder.WithPredicates(identity.SpecChanged)
	return builder.ControllerManagedBy(mgr).
		For(r.Kind.New(), builder.WithPredicates(credentialChanged)).
		Watches(&v1alpha1.ClusterIdentity{}, mapper.ofIdentity(v1alpha1.IdentityKindClusterIdentity), specChanged).
		Watches(&v1alpha1.Identity{}, mapper.ofIdentity(v1alpha1.IdentityKindIdentity), specChanged).
		WatchesMetadata(NamespaceMetadata(), mapper.ofNamespace(), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesMetadata(secretstore.Metadata(), enqueueOwner(r.Kind.Name), builder.WithPredicates(ignoreOwnWrites(r.Secrets))).
		WatchesRawSource(sources.Source(string(v1alpha1.IdentityKindClusterIdentity), mapper.byIdentity(v1alpha1.IdentityKindClusterIdentity))).
		WatchesRawSource(sources.Source(string(v1alpha1.IdentityKindIdentity), mapper.byIdentity(v1alpha1.IdentityKindIdentity))).
		WatchesRawSource(dispatcher.Source(r.Kind.Name)).
		WithOptions(workers).
		Complete(telemetry.Spanned(tracer, r.Kind.Name, "issue", r))
}

// NamespaceMetadata returns an empty Namespace whose metadata alone is read or watched.
func NamespaceMetadata() *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
}

// identityIndex is the name of the index of credentials by the identity that they name.
const identityIndex = "identity"

func indexIdentity(object client.Object) []string {
	ref := request.IdentityRef(object.(request.Object))
	key := request.Key{Kind: string(ref.Kind), NamespacedName: types.NamespacedName{Name: ref.Name}}
	if ref.Kind == v1alpha1.IdentityKindIdentity {
		key.Namespace = object.GetNamespace()
	}
	return []string{key.String()}
}

// requestMapper finds the credentials of a kind that something else concerns.
type requestMapper[T request.Object] struct {
	reader client.Reader
	kind   request.Kind[T]
}

func (m requestMapper[T]) list(ctx context.Context, options ...client.ListOption) []reconcile.Request {
	list := m.kind.NewList()
	if err := m.reader.List(ctx, list, append(options, client.UnsafeDisableDeepCopy)...); err != nil { // only keys are read
		// The reader is a cache that holds all of them.
		log.FromContext(ctx).Error(err, "listing the credentials that a change concerns", "kind", m.kind.Name)
		return nil
	}
	requests := make([]reconcile.Request, 0, meta.LenList(list))
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(item.(client.Object))})
		return nil
	})
	return requests
}

func (m requestMapper[T]) byIdentity(kind v1alpha1.IdentityKind) func(context.Context, types.NamespacedName) []reconcile.Request {
	return func(ctx context.Context, name types.NamespacedName) []reconcile.Request {
		return m.list(ctx, client.MatchingFields{identityIndex: request.Key{Kind: string(kind), NamespacedName: name}.String()})
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
		name, ok := secretstore.CredentialOf(kind, object)
		if !ok {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: name}}}
	})
}

// ignoreOwnWrites accepts a Secret that is not at the version that the operator last wrote or verified.
func ignoreOwnWrites(secrets *secretstore.Store) predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !secrets.IsCurrent(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool { return !secrets.IsCurrent(e.ObjectNew) },
		DeleteFunc: func(e event.DeleteEvent) bool {
			secrets.Forget(e.Object)
			return true
		},
	}
}
