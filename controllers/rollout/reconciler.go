package rollout

import (
	"context"
	"errors"
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

// Reconciler restarts the workloads that use the Secrets of one kind of credential. It is separate from the reconciler
// of the credentials, so that restarts do not delay issues. It writes only ConditionRolledOut of the status.
type Reconciler[T request.Object] struct {
	Kind       request.Kind[T]
	Client     client.Client
	Identities *identity.Resolver
	*Coordinator
	Events  telemetry.Events
	Metrics *telemetry.Metrics
	Clock   clock.PassiveClock
}

// result is the result of a pass.
type result struct {
	// Condition is ConditionRolledOut.
	metav1.Condition
	// cause is the error of the API server, for the event.
	cause error
	// next is when to reconcile again; zero for not before a change.
	next time.Time
}

// Reconcile restarts due workloads, and writes the condition.
func (r *Reconciler[T]) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	cred := r.Kind.New()
	err := r.Client.Get(ctx, req.NamespacedName, cred)
	if err != nil || !cred.GetDeletionTimestamp().IsZero() {
		r.forget(req.NamespacedName)
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if cred.Common().Rollout == nil {
		r.forget(req.NamespacedName)
		return reconcile.Result{}, r.report(ctx, cred, nil)
	}
	authorized := meta.FindStatusCondition(cred.Report().Conditions, v1alpha1.ConditionAuthorized)
	if authorized == nil || authorized.ObservedGeneration < cred.GetGeneration() {
		return reconcile.Result{}, nil // the update of the status enqueues it again
	}
	skew, err := r.skew(ctx, cred)
	if err != nil {
		return reconcile.Result{}, err
	}
	leave, wait := r.enter(req.Namespace, r.Clock)
	if wait > 0 {
		return backoff.Requeue(r.Clock.Now(), r.Clock.Now().Add(wait)), nil
	}
	defer leave()
	now := r.Clock.Now().Add(skew)
	res, err := r.reconcile(ctx, cred, *authorized, now, skew)
	if err == nil {
		err = r.report(ctx, cred, &res)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	return backoff.Requeue(now, res.next), nil
}

// reconcile authorizes the rollout, reads the workloads, decides, and restarts those that are due.
func (r *Reconciler[T]) reconcile(ctx context.Context, cred T, authorized metav1.Condition, now time.Time, skew time.Duration) (result, error) {
	key := client.ObjectKeyFromObject(cred)
	current := Credential{Name: r.name(key), Namespace: key.Namespace, Secret: request.SecretName(cred), Skew: skew}
	problem := authorized.Reason
	var err error
	if authorized.Status == metav1.ConditionTrue {
		current.Record, problem, err = r.loadRecord(ctx, cred, now)
	}
	if problem != "" || err != nil {
		r.measure(key, now, nil)
		return result{Condition: NoRollout(problem)}, err
	}
	readers, rejection, err := r.pass(ctx, cred, current, now)
	switch {
	case apierrors.IsForbidden(err) || errors.Is(err, errTooLarge):
		r.measure(key, now, nil)
		return result{Undiscovered(errors.Is(err, errTooLarge)), err, now.Add(reason.MaxWait)}, nil
	case err != nil:
		return result{}, err
	}
	r.measure(key, now, readers)
	return result{Report(now, current.Secret, readers), rejection, Next(readers)}, nil
}

// name identifies a credential among all kinds.
func (r *Reconciler[T]) name(key types.NamespacedName) string {
	return r.Kind.Name + " " + key.String()
}

// skew returns how far the clock of STS is ahead; zero if it is not known. The times of the Secret follow the clock of
// STS.
func (r *Reconciler[T]) skew(ctx context.Context, cred T) (time.Duration, error) {
	requested, _ := r.Kind.Request(cred)
	found, _, err := r.Identities.Resolve(ctx, request.IdentityRef(cred), request.ServiceAccount(cred, requested))
	if found == nil || err != nil {
		return 0, err
	}
	skew, _ := found.Skew()
	return skew, nil
}

// loadRecord returns the record of the Secret, from the Secret's metadata in the cache, or the reason of ConditionReady
// if the Secret holds no usable credential.
func (r *Reconciler[T]) loadRecord(ctx context.Context, cred T, now time.Time) (record reissue.Record, problem string, err error) {
	secret := secretstore.Metadata()
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: cred.GetNamespace(), Name: request.SecretName(cred)}, secret)
	if client.IgnoreNotFound(err) != nil {
		return record, "", err
	}
	record, ok := reissue.ParseRecord(secret.GetAnnotations())
	switch {
	case !ok || !record.ChecksumValid() || !metav1.IsControlledBy(secret, cred):
		return record, v1alpha1.ReasonNotIssued, nil
	case !now.Before(record.Expiration):
		return record, v1alpha1.ReasonExpired, nil
	default:
		return record, "", nil
	}
}

// report writes ConditionRolledOut if it changed, or removes it without a result. Events report problems and their
// end, but not regular restarts.
func (r *Reconciler[T]) report(ctx context.Context, cred T, res *result) error {
	generation, now := cred.GetGeneration(), r.Clock.Now()
	before, written, err := status.Update(ctx, r.Client, cred, func(reported *v1alpha1.CredentialStatus) {
		if res == nil {
			meta.RemoveStatusCondition(&reported.Conditions, v1alpha1.ConditionRolledOut)
			return
		}
		condition := status.Condition(res.Type, res.Status, res.Reason, "%s", res.Message)
		reported.Conditions = status.Merge(reported.Conditions, []metav1.Condition{condition}, generation, now)
	})
	if !written || res == nil {
		return err
	}
	old := meta.FindStatusCondition(before.Report().Conditions, v1alpha1.ConditionRolledOut)
	switch {
	case old != nil && old.Reason == res.Reason && old.Message == res.Message:
	case needsAttention(res.Status, res.Reason):
		r.Events.Failed(cred, telemetry.ActionRestart, res.Reason, res.Message, &reason.Error{Cause: res.cause})
	case res.Status == metav1.ConditionTrue && old != nil && needsAttention(old.Status, old.Reason):
		r.Events.Changed(cred, telemetry.ActionRestart, res.Reason, res.Message)
	}
	return nil
}

// needsAttention reports whether a rollout has a problem that a user must solve.
func needsAttention(status metav1.ConditionStatus, reason string) bool {
	return status == metav1.ConditionFalse && reason != v1alpha1.ReasonRestarting
}

// forget removes the restarts and the metrics of a credential.
func (r *Reconciler[T]) forget(key types.NamespacedName) {
	r.Slots.Forget(key.Namespace, r.name(key))
	r.Metrics.Restarting(r.Slots.Taken(r.Clock.Now()))
	r.Metrics.ForgetReaders(r.Kind.Name, key)
}

func (r *Reconciler[T]) measure(key types.NamespacedName, now time.Time, readers []Reader) {
	stale, stuck := 0, 0
	for _, reader := range readers {
		if reader.State != Fresh && reader.State != Missing {
			stale++
		}
		if reader.Stuck(now) {
			stuck++
		}
	}
	r.Metrics.Readers(r.Kind.Name, key, stale, stuck)
	r.Metrics.Restarting(r.Slots.Taken(r.Clock.Now()))
}
