package rollout

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/backoff"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/status"
	"rolecredential.dev/operator/controllers/telemetry"
)

// Reconciler restarts the workloads that use the Secrets of one kind of credential. It is separate from
// [Reconciler], so that restarts do not delay issues. It writes only ConditionRolledOut of the status.
type Reconciler[T request.Object] struct {
	Kind       request.Kind[T]
	Client     client.Client
	Identities *identity.Resolver
	*Coordinator
	Events  telemetry.Events
	Metrics *telemetry.Metrics
	Clock   clock.PassiveClock

	plans plans
}

// outcome is the result of a reconcile of a
type outcome struct {
	Verdict
	// cause is the error of the API server, for the event.
	cause error
	// next is when to reconcile again; zero for none before a change.
	next time.Time
}

// Reconcile restarts due workloads, and writes the condition.
func (r *Reconciler[T]) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if err := r.begin(ctx); err != nil {
		return reconcile.Result{}, err
	}
	defer r.Places.MarkChecked(r.name(req.NamespacedName))
	object := r.Kind.New()
	err := r.Client.Get(ctx, req.NamespacedName, object)
	if err != nil || !object.GetDeletionTimestamp().IsZero() {
		r.forget(req.NamespacedName)
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if object.Common().Rollout == nil {
		r.forget(req.NamespacedName)
		return reconcile.Result{}, r.report(ctx, object, nil)
	}
	ahead, err := r.ahead(ctx, object)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := r.Clock.Now().Add(ahead)
	verdict, err := r.reconcile(ctx, object, now, ahead)
	if err != nil {
		return reconcile.Result{}, err
	}
	if err := r.report(ctx, object, verdict); err != nil {
		return reconcile.Result{}, err
	}
	return backoff.Requeue(now, verdict.next), nil
}

// name identifies a credential among all kinds.
func (r *Reconciler[T]) name(key types.NamespacedName) string {
	return r.Kind.Name + " " + key.String()
}

// ahead returns how far the clock of STS is ahead; zero if it is not known. The times of the Secret follow the clock
// of STS.
func (r *Reconciler[T]) ahead(ctx context.Context, object T) (time.Duration, error) {
	asked, _ := r.Kind.Request(object)
	found, _, err := r.Identities.Resolve(ctx, request.IdentityRef(object), request.ServiceAccount(object, asked))
	if found == nil || err != nil {
		return 0, err
	}
	ahead, _ := found.Client.Skew()
	return ahead, nil
}

// reconcile checks the workloads, and restarts those that are due.
func (r *Reconciler[T]) reconcile(ctx context.Context, object T, now time.Time, ahead time.Duration) (*outcome, error) {
	key := client.ObjectKeyFromObject(object)
	held, none, err := r.loadRecord(ctx, object, now)
	if none != nil || err != nil {
		r.reset(key)
		return none, err
	}
	held.Ahead = ahead
	cause, err := r.step(ctx, object, held, now)
	switch {
	case apierrors.IsForbidden(err):
		r.reset(key)
		return &outcome{Forbidden(), err, now.Add(reason.MaxWait)}, nil
	case err != nil:
		return nil, err
	}
	readers := r.plans.get(key).readers
	r.measure(key, now, readers)
	return &outcome{Report(now, held.Secret, readers), cause, Next(now, readers)}, nil
}

// loadRecord returns the credential of the Secret, from the Secret's metadata in the cache. It returns a verdict if
// there is no credential to restart workloads for.
func (r *Reconciler[T]) loadRecord(ctx context.Context, object T, now time.Time) (Credential, *outcome, error) {
	held := Credential{Namespace: object.GetNamespace(), Secret: request.SecretName(object)}
	unknown := func(reason, format string) *outcome {
		return &outcome{Verdict: Verdict{Status: metav1.ConditionUnknown, Reason: reason, Message: fmt.Sprintf(format, held.Secret)}}
	}
	kept := secretstore.Metadata()
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: held.Namespace, Name: held.Secret}, kept)
	if client.IgnoreNotFound(err) != nil {
		return held, nil, err
	}
	record, ok := reissue.ParseRecord(kept.GetAnnotations())
	held.Record = record
	switch {
	case !ok || !record.ChecksumValid() || !metav1.IsControlledBy(kept, object):
		return held, unknown(v1alpha1.ReasonNotIssued, "Secret %s holds no credential yet, so no workload is restarted. See the condition Ready."), nil
	case !now.Before(record.Expiration):
		return held, unknown(v1alpha1.ReasonExpired, "The credential in Secret %s has expired, so no workload is restarted. See the condition Ready."), nil
	default:
		return held, nil, nil
	}
}

// step checks and restarts the workloads of a credential's plan. It returns the last rejection of a restart, and an
// error if the API server rejected a read.
func (r *Reconciler[T]) step(ctx context.Context, object T, held Credential, now time.Time) (refusal, err error) {
	p, err := r.plan(ctx, object, held, now)
	if err != nil {
		return nil, err
	}
	look, restart := Decide(now, p.readers, r.Places.Free())
	for _, i := range look {
		if _, err := r.look(ctx, p, i, now); err != nil {
			return nil, err
		}
	}
	for _, i := range restart {
		found, err := r.look(ctx, p, i, now)
		if err != nil {
			return nil, err
		}
		refused, err := r.restart(ctx, p, i, found, now)
		if err != nil {
			return nil, err
		}
		if refused != nil {
			refusal = refused
		}
	}
	return refusal, nil
}

// report writes ConditionRolledOut if it changed, or removes it without a verdict. Events report problems and their
// end, but not regular restarts.
func (r *Reconciler[T]) report(ctx context.Context, object T, verdict *outcome) error {
	generation, now := object.GetGeneration(), r.Clock.Now()
	before, written, err := status.Update(ctx, r.Client, object, func(reported *v1alpha1.CredentialStatus) {
		if verdict == nil {
			meta.RemoveStatusCondition(&reported.Conditions, v1alpha1.ConditionRolledOut)
			return
		}
		said := status.Condition(v1alpha1.ConditionRolledOut, verdict.Status, verdict.Reason, "%s", verdict.Message)
		reported.Conditions = status.Merge(reported.Conditions, []metav1.Condition{said}, generation, now)
	})
	if !written || verdict == nil {
		return err
	}
	old := meta.FindStatusCondition(before.Report().Conditions, v1alpha1.ConditionRolledOut)
	said := old != nil && old.Reason == verdict.Reason && old.Message == verdict.Message
	switch {
	case said:
	case needsAttention(verdict.Status, verdict.Reason):
		r.Events.Failed(object, telemetry.ActionRestart, verdict.Reason, verdict.Message, &reason.Error{Cause: verdict.cause})
	case verdict.Status == metav1.ConditionTrue && old != nil && needsAttention(old.Status, old.Reason):
		r.Events.Changed(object, telemetry.ActionRestart, verdict.Reason, verdict.Message)
	}
	return nil
}

// needsAttention reports whether a rollout has a problem that a user must solve.
func needsAttention(status metav1.ConditionStatus, reason string) bool {
	return status == metav1.ConditionFalse && reason != v1alpha1.ReasonRestarting
}
