package controllers

import (
	"context"
	"strings"
	"sync"

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
	"rolecredential.dev/operator/controllers/rollout"
	"rolecredential.dev/operator/controllers/secret"
)

// defaultMaxConcurrentRollouts is the maximum number of workloads that restart at the same time.
const defaultMaxConcurrentRollouts = 5

// rollouts is shared by the rollout reconcilers of all kinds.
type rollouts struct {
	workloads rollout.Cluster
	places    *rollout.Places

	mu      sync.Mutex
	begun   bool
	awaited []func(context.Context) error
}

// begin blocks all places until every credential with a rollout is checked once: only the workloads show which
// restarts the previous manager left in progress.
func (r *rollouts) begin(ctx context.Context) error {
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

func setupRollouts[T Object](mgr manager.Manager, p *dependencies, kind Kind[T], workers controller.Options) error {
	r := &RolloutReconciler[T]{
		Kind: kind, Client: p.client, Identities: p.identities, Workloads: p.rollouts.workloads, Places: p.rollouts.places, Begin: p.rollouts.begin,
		Events: p.events, Metrics: p.metrics, Clock: p.clock,
	}
	p.rollouts.awaited = append(p.rollouts.awaited, func(ctx context.Context) error {
		list := kind.NewList()
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
		Named(strings.ToLower(kind.Name)+"-rollout").
		For(kind.New(), builder.WithPredicates(rolloutChanged)).
		WatchesMetadata(secret.Metadata(), enqueueRolloutOwner(mgr.GetCache(), kind)).
		WithOptions(workers).
		Complete(p.spanned(kind.Name, "roll out", r))
}

// rolloutChanged accepts spec changes of credentials with a rollout, and the removal of the rollout.
var rolloutChanged = predicate.And(predicate.GenerationChangedPredicate{}, predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return hasRollout(e.Object) },
	UpdateFunc: func(e event.UpdateEvent) bool { return hasRollout(e.ObjectOld) || hasRollout(e.ObjectNew) },
	DeleteFunc: func(e event.DeleteEvent) bool { return hasRollout(e.Object) },
})

// hasRollout reports whether a credential has spec.rollout, or still has its condition.
func hasRollout(object client.Object) bool {
	c, ok := object.(Object)
	return ok && (c.Common().Rollout != nil || meta.FindStatusCondition(c.Report().Conditions, v1alpha1.ConditionRolledOut) != nil)
}

// enqueueRolloutOwner enqueues the credential of a changed Secret if it has a rollout.
func enqueueRolloutOwner[T Object](reader client.Reader, kind Kind[T]) handler.EventHandler {
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
