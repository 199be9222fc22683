package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/telemetry"
)

// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=clusteridentities;identities,verbs=list;watch
// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=clusteridentities/status;identities/status,verbs=update

// verifyInterval is how often the operator calls GetCallerIdentity for an identity that is Ready, less up to a tenth.
// No credential depends on the call.
const verifyInterval = credential.MaxRequeue

const callGetCallerIdentity = "GetCallerIdentity"

// IdentityReconciler reports whether identities of one kind are usable, and which caller STS sees.
type IdentityReconciler[T identity.Object] struct {
	New        func() T
	Client     client.Client
	Identities *identity.Resolver[STS]
	Limits     *limit.Limiter
	Events     telemetry.Events
	Metrics    *telemetry.Metrics
	Clock      clock.PassiveClock

	backoff backoff
}

// verdict is the result of a verification.
type verdict struct {
	ready metav1.Condition
	// clock is ConditionClockInSync. ahead is how far the clock of STS is ahead. Both are nil if it is not known.
	clock *metav1.Condition
	ahead *time.Duration
	// caller is nil if it is not known.
	caller        *awssts.Caller
	secretVersion string
	failure       *failure.Failure
	// next is the time of the next verification; zero for none before a change.
	next time.Time
}

// Reconcile verifies an identity, and writes its status if it changed.
func (r *IdentityReconciler[T]) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	found := r.New()
	if err := r.Client.Get(ctx, req.NamespacedName, found); err != nil {
		if apierrors.IsNotFound(err) {
			r.backoff.forget(req.NamespacedName)
			gone := identity.Key{Kind: identity.KeyOf(found).Kind, NamespacedName: req.NamespacedName}
			r.Metrics.ForgetIdentity(gone.Label())
			r.Identities.Forget(gone)
			r.Limits.Forget(r.Clock.Now(), limit.Key(gone))
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	now := r.Clock.Now()
	v, err := r.verify(ctx, found, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	r.Metrics.Identity(identity.KeyOf(found).Label(), v.ready.Status == metav1.ConditionTrue)
	if v.ahead != nil {
		r.Metrics.ClockSkew(identity.KeyOf(found).Label(), *v.ahead)
	}
	if err := r.report(ctx, found, v, now); err != nil {
		return reconcile.Result{}, err
	}
	return requeue(r.Clock.Now(), v.next), nil
}

// verify calls GetCallerIdentity, unless the last result is still valid or the operator is backing off.
func (r *IdentityReconciler[T]) verify(ctx context.Context, found T, now time.Time) (verdict, error) {
	configured, problem, err := r.Identities.Configure(ctx, found, types.NamespacedName{})
	if err != nil {
		return verdict{}, err
	}
	if problem != nil {
		return verdict{ready: isFalse(problem), failure: problem, next: problem.Retry.From(now)}, nil
	}
	r.Limits.Configure(now, limit.Key(configured.Key), configured.QPS)
	if configured.ServiceAccount != "" {
		return verdict{ready: condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNotVerifiable,
			"Each credential calls STS with a token of its own service account, so this identity has no caller to verify.")}, nil
	}
	key := client.ObjectKeyFromObject(found)
	last := r.backoff.get(key)
	skewed := meta.IsStatusConditionFalse(found.Report().Conditions, v1alpha1.ConditionClockInSync) // the status does not contain the skew
	if last.inputs != configured.Version && reportsOn(found, configured) && !skewed {
		// After a restart, the status is as current as a new call. The next call waits for its interval.
		last = attempted{inputs: configured.Version, next: now.Add(spreadVerify(identity.KeyOf(found).Label()))}
		r.backoff.set(key, last)
	}
	switch {
	case last.inBackoff(configured.Version, now):
		return verdict{ready: isFalse(last.failure), failure: last.failure, caller: callerOf(found), secretVersion: configured.SecretVersion, next: last.next}, nil
	case last.inputs == configured.Version && now.Before(last.next) && reportsOn(found, configured):
		ready := *meta.FindStatusCondition(found.Report().Conditions, v1alpha1.ConditionReady)
		return verdict{ready: ready, caller: callerOf(found), secretVersion: configured.SecretVersion, next: last.next}, nil
	}
	return r.callSTS(ctx, found, configured, now)
}

// clockCondition returns the condition ClockInSync and the skew. The message does not contain the skew, which changes
// with each response; a metric does.
func clockCondition(sts STS) (*metav1.Condition, *time.Duration) {
	ahead, known := sts.Skew()
	if !known {
		return nil, nil
	}
	c := condition(v1alpha1.ConditionClockInSync, metav1.ConditionTrue, v1alpha1.ReasonInSync, "The clocks of STS and of the operator agree.")
	if !clockInSync(sts) {
		c = condition(v1alpha1.ConditionClockInSync, metav1.ConditionFalse, v1alpha1.ReasonClockSkew,
			"The clocks of STS and of the operator differ by more than a minute. Set the clock of the operator's node. Until then, refreshes follow the clock of STS.")
	}
	return &c, &ahead
}

// clockInSync reports whether the clock of STS is known and agrees with the operator's.
func clockInSync(sts STS) bool {
	ahead, known := sts.Skew()
	return known && ahead.Abs() <= credential.ClockTolerance
}

func spreadVerify(name string) time.Duration {
	return verifyInterval - time.Duration(credential.Spread(name)*float64(verifyInterval/10))
}

// reportsOn reports whether the status is True for the identity's current spec and Secret.
func reportsOn(found identity.Object, configured *identity.Identity[STS]) bool {
	return meta.IsStatusConditionTrue(found.Report().Conditions, v1alpha1.ConditionReady) &&
		found.Report().ObservedGeneration == found.GetGeneration() && found.Report().ObservedSecretVersion == configured.SecretVersion
}

// callerOf returns the caller in the identity's status; nil if it has none.
func callerOf(found identity.Object) *awssts.Caller {
	status := found.Report()
	if status.ARN == "" && status.AccountID == "" {
		return nil
	}
	return &awssts.Caller{AccountID: status.AccountID, ARN: status.ARN, UserID: status.UserID}
}

func (r *IdentityReconciler[T]) callSTS(ctx context.Context, found T, configured *identity.Identity[STS], now time.Time) (verdict, error) {
	key := client.ObjectKeyFromObject(found)
	v := verdict{caller: callerOf(found), secretVersion: configured.SecretVersion}
	r.Limits.Spend(now, limit.Key(configured.Key)) // one call an hour does not wait
	caller, err := configured.Client.Caller(ctx)
	switch {
	case err == nil:
		v.caller = &caller
		r.Limits.Succeeded(r.Clock.Now(), limit.Key(configured.Key))
		v.ready = condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonVerified, "The caller is %s.", caller.ARN)
		if caller.ARN == "" {
			v.ready = condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNotVerifiable,
				"The server's GetCallerIdentity returned no ARN, so the caller is not known. Credentials are issued anyway.")
		}
	case errors.Is(err, awssts.ErrNoCallerIdentity):
		v.caller = nil
		v.ready = condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNotVerifiable,
			"The server does not support GetCallerIdentity, so the caller is not known. Credentials are issued anyway.")
	case ctx.Err() != nil:
		return verdict{}, ctx.Err()
	default:
		v.failure = awssts.Classify(err, failure.Subject{
			Identity: configured.Name, Call: callGetCallerIdentity, Endpoint: configured.Endpoint, Region: configured.Region, ClockInSync: clockInSync(configured.Client),
		})
		v.failure.Condition = v1alpha1.ConditionReady
		v.ready = isFalse(v.failure)
		switch v.failure.Reason {
		case v1alpha1.ReasonInvalidSourceCredentials:
			configured.Refused()
		case v1alpha1.ReasonThrottled:
			r.Limits.Throttled(r.Clock.Now(), now, limit.Key(configured.Key))
		}
		log.FromContext(ctx).Info("failed to verify the identity", "reason", v.failure.Reason, "requestID", awssts.RequestID(err), "cause", fmt.Sprint(v.failure.Cause))
		v.next = r.backoff.failed(key, configured.Version, v.failure, now, 0)
	}
	if _, hop := errors.AsType[*failure.HopError](err); !hop { // calls of hops are counted separately
		r.Metrics.Called(configured.Key.Kind, callGetCallerIdentity, v.ready.Reason)
	}
	v.clock, v.ahead = clockCondition(configured.Client)
	if v.failure == nil {
		v.next = now.Add(spreadVerify(identity.KeyOf(found).Label()))
		r.backoff.set(key, attempted{inputs: configured.Version, at: now, next: v.next})
	}
	return v, nil
}

func (r *IdentityReconciler[T]) report(ctx context.Context, found T, v verdict, now time.Time) error {
	before, _ := found.DeepCopyObject().(T)
	status := found.Report()
	var current []metav1.Condition
	if v.clock != nil {
		current = append(current, *v.clock)
	}
	current = append(current, v.ready) // last, so that the event reports it when the identity is ready
	status.Conditions = withConditions(status.Conditions, current, found.GetGeneration(), now)
	status.ObservedGeneration, status.ObservedSecretVersion = found.GetGeneration(), v.secretVersion
	status.FailedCall = nil
	if v.failure != nil {
		status.FailedCall = v.failure.Call.DeepCopy()
	}
	status.AccountID, status.ARN, status.UserID = "", "", ""
	if v.caller != nil {
		status.AccountID, status.ARN, status.UserID = v.caller.AccountID, v.caller.ARN, v.caller.UserID
	}
	if apiequality.Semantic.DeepEqual(before.Report(), status) {
		return nil
	}
	if written, err := writeStatus(ctx, r.Client, found); !written {
		return err
	}
	announce(r.Events, found, telemetry.ActionVerify, before.Report().Conditions, status.Conditions, func(string) *failure.Failure { return v.failure })
	return nil
}
