package rollout

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
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

// SetupWithManager adds the reconciler to a manager.
func (r *Reconciler[T]) SetupWithManager(mgr manager.Manager, tracer trace.Tracer, workers controller.Options) error {
	return builder.ControllerManagedBy(mgr).
		Named(strings.ToLower(r.Kind.Name)+"-rollout").
		For(r.Kind.New(), builder.WithPredicates(rolloutChanged)).
		WatchesMetadata(secretstore.Metadata(), enqueueRolloutOwner(mgr.GetCache(), r.Kind)).
		WithOptions(workers).
		Complete(telemetry.Spanned(tracer, r.Kind.Name, "roll out", r))
}

// rolloutChanged accepts changes of the spec and of the authorization of credentials with a rollout.
var rolloutChanged = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return hasRollout(e.Object) },
	UpdateFunc: func(e event.UpdateEvent) bool {
		changed := e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || authorization(e.ObjectOld) != authorization(e.ObjectNew)
		return changed && (hasRollout(e.ObjectOld) || hasRollout(e.ObjectNew))
	},
	DeleteFunc: func(e event.DeleteEvent) bool { return hasRollout(e.Object) },
}

// hasRollout reports whether a credential has spec.rollout, or still has its condition.
func hasRollout(object client.Object) bool {
	c := object.(request.Object)
	return c.Common().Rollout != nil || meta.FindStatusCondition(c.Report().Conditions, v1alpha1.ConditionRolledOut) != nil
}

// authorization returns ConditionAuthorized; zero if it is not set.
func authorization(object client.Object) metav1.Condition {
	return ptr.Deref(meta.FindStatusCondition(object.(request.Object).Report().Conditions, v1alpha1.ConditionAuthorized), metav1.Condition{})
}

// enqueueRolloutOwner enqueues the credential of a changed Secret if the credential has a rollout.
func enqueueRolloutOwner[T request.Object](reader client.Reader, kind request.Kind[T]) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, secret client.Object) []reconcile.Request {
		owner := metav1.GetControllerOf(secret)
		if owner == nil || owner.Kind != kind.Name || owner.APIVersion != v1alpha1.GroupVersion.String() {
			return nil
		}
		key, cred := client.ObjectKey{Namespace: secret.GetNamespace(), Name: owner.Name}, kind.New()
		if err := reader.Get(ctx, key, cred); err != nil || !hasRollout(cred) {
			return nil
		}
		return []reconcile.Request{{NamespacedName: key}}
	})
}
