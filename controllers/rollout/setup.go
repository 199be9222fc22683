package rollout

import (
	"context"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/telemetry"
)

// DefaultMaxConcurrent is the maximum number of workloads that restart at the same time.
const DefaultMaxConcurrent = 5

// Coordinator is shared by the rollout reconcilers of all kinds.
type Coordinator struct {
	Workloads Cluster
	// Places limits the restarts of all kinds together.
	Places *Places

	mu      sync.Mutex
	begun   bool
	awaited []func(context.Context) error
}

// begin blocks all places until every credential with a rollout is checked once: only the workloads show which
// restarts the previous manager left in progress.
func (r *Coordinator) begin(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun {
		return nil
	}
	for _, await := range r.awaited {
		if err := await(ctx); err != nil {
			return err
		}
	}
	r.begun = true
	return nil
}

// SetupWithManager adds the reconciler to a manager.
func (r *Reconciler[T]) SetupWithManager(mgr manager.Manager, tracer trace.Tracer, workers controller.Options) error {
	r.Coordinator.awaited = append(r.Coordinator.awaited, func(ctx context.Context) error {
		list := r.Kind.NewList()
		if err := mgr.GetCache().List(ctx, list); err != nil {
			return err
		}
		return meta.EachListItem(list, func(item runtime.Object) error {
			if object, ok := item.(T); ok && hasRollout(object) {
				r.Places.Await(r.name(client.ObjectKeyFromObject(object)))
			}
			return nil
		})
	})
	return builder.ControllerManagedBy(mgr).
		Named(strings.ToLower(r.Kind.Name)+"-rollout").
		For(r.Kind.New(), builder.WithPredicates(rolloutChanged)).
		WatchesMetadata(secretstore.Metadata(), enqueueRolloutOwner(mgr.GetCache(), r.Kind)).
		WithOptions(workers).
		Complete(telemetry.Spanned(tracer, r.Kind.Name, "roll out", r))
}

// rolloutChanged accepts spec changes of credentials with a rollout, and the removal of the
var rolloutChanged = predicate.And(predicate.GenerationChangedPredicate{}, predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return hasRollout(e.Object) },
	UpdateFunc: func(e event.UpdateEvent) bool { return hasRollout(e.ObjectOld) || hasRollout(e.ObjectNew) },
	DeleteFunc: func(e event.DeleteEvent) bool { return hasRollout(e.Object) },
})

// hasRollout reports whether a credential has spec.rollout, or still has its condition.
func hasRollout(object client.Object) bool {
	c, ok := object.(request.Object)
	return ok && (c.Common().Rollout != nil || meta.FindStatusCondition(c.Report().Conditions, v1alpha1.ConditionRolledOut) != nil)
}

// enqueueRolloutOwner enqueues the credential of a changed Secret if it has a
func enqueueRolloutOwner[T request.Object](reader client.Reader, kind request.Kind[T]) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, kept client.Object) []reconcile.Request {
		owner := metav1.GetControllerOf(kept)
		if owner == nil || owner.Kind != kind.Name || owner.APIVersion != v1alpha1.GroupVersion.String() {
			return nil
		}
		key, object := client.ObjectKey{Namespace: kept.GetNamespace(), Name: owner.Name}, kind.New()
		if err := reader.Get(ctx, key, object); err != nil || !hasRollout(object) {
			return nil
		}
		return []reconcile.Request{{NamespacedName: key}}
	})
}
