package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	ctrlsource "sigs.k8s.io/controller-runtime/pkg/source"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/backoff"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/status"
	"rolecredential.dev/operator/controllers/telemetry"
)

// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=clusteridentities;identities,verbs=list;watch
// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=clusteridentities/status;identities/status,verbs=update

const (
	// verifyInterval is how often the operator calls GetCallerIdentity for an identity that is Ready, less up to a tenth.
	// No credential depends on the call.
	verifyInterval = reissue.MaxRequeue
	// minVerifyInterval is the shortest time between two verifications of an identity of one name. It keeps a loop of edits
	// from causing a call for each.
	minVerifyInterval = 5 * time.Second

	callGetCallerIdentity = "GetCallerIdentity"
)

// Reconciler reports whether identities of one kind are usable, and which caller STS sees.
type Reconciler[T Object] struct {
	New        func() T
	Client     client.Client
	Identities *Resolver
	Limits     *limit.Limiter
	Events     telemetry.Events
	Metrics    *telemetry.Metrics
	Clock      clock.PassiveClock

	backoff backoff.Calls
}

// SetupWithManager adds the reconciler to a manager. A change of an identity's source Secret enqueues the identity, and so
// does permitted, when the limiter reserves a call for it.
func (r *Reconciler[T]) SetupWithManager(mgr manager.Manager, sources *Watcher, permitted ctrlsource.Source, tracer trace.Tracer, workers controller.Options) error {
	kind := KeyOf(r.New()).Kind
	self := func(_ context.Context, name types.NamespacedName) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: name}}
	}
	return builder.ControllerManagedBy(mgr).
		For(r.New(), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(sources.Source(kind, self)).
		WatchesRawSource(permitted).
		WithOptions(workers).
		Complete(telemetry.Spanned(tracer, kind, "verify", r))
}

// verdict is the result of a verification.
type verdict struct {
	// waits is true if a verification is due that may not be made yet. The status stays as it is.
	waits bool
	ready metav1.Condition
	// clock is ConditionClockInSync. ahead is how far the clock of STS is ahead. Both are nil if it is not known.
	clock *metav1.Condition
	ahead *time.Duration
	// caller is nil if it is not known.
	caller        *awssts.Caller
	secretVersion string
	failure       *reason.Error
	// certificate is ConditionCertificateValid, nil if there is no certificate.
	certificate *metav1.Condition
	// expires is when the certificate or token in the source's Secret expires; zero if neither does.
	expires time.Time
	// next is the time of the next verification; zero for none before a change.
	next time.Time
}

// Reconcile verifies an identity, and writes its status if it changed.
func (r *Reconciler[T]) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	found := r.New()
	if err := r.Client.Get(ctx, req.NamespacedName, found); err != nil {
		if apierrors.IsNotFound(err) {
			return r.forget(request.Key{Kind: KeyOf(found).Kind, NamespacedName: req.NamespacedName}), nil
		}
		return reconcile.Result{}, err
	}
	now := r.Clock.Now()
	v, err := r.verify(ctx, found, now)
	if err != nil || v.waits {
		return backoff.Requeue(now, v.next), err
	}
	r.Metrics.Identity(KeyOf(found).Label(), v.ready.Status == metav1.ConditionTrue)
	r.Metrics.SourceExpiration(KeyOf(found).Kind, KeyOf(found).NamespacedName, v.expires)
	if v.ahead != nil {
		r.Metrics.ClockSkew(KeyOf(found).Label(), *v.ahead)
	}
	if err := r.report(ctx, found, v, now); err != nil {
		return reconcile.Result{}, err
	}
	return backoff.Requeue(r.Clock.Now(), v.next), nil
}

// forget drops what is known of a deleted identity. The time of its last verification and its rate limit are kept for
// minVerifyInterval, so that a new identity of the same name does not escape them.
func (r *Reconciler[T]) forget(identity request.Key) reconcile.Result {
	r.Metrics.ForgetIdentity(identity.Label())
	r.Metrics.SourceExpiration(identity.Kind, identity.NamespacedName, time.Time{})
	r.Identities.Forget(identity)
	now := r.Clock.Now()
	if next, early := nextVerification(r.backoff.Get(identity.NamespacedName), now); early {
		return backoff.Requeue(now, next)
	}
	r.backoff.Forget(identity.NamespacedName)
	r.Limits.Forget(now, identity)
	return reconcile.Result{}
}

// nextVerification returns the earliest time of another verification, and whether it is still to come.
func nextVerification(last backoff.Call, now time.Time) (time.Time, bool) {
	since := now.Sub(last.At)
	return last.At.Add(minVerifyInterval), since >= 0 && since < minVerifyInterval // a clock that was set back does not count
}

// verify returns the state of an identity, and of the certificate of its source.
func (r *Reconciler[T]) verify(ctx context.Context, found T, now time.Time) (verdict, error) {
	configured, problem, err := r.Identities.Configure(ctx, found, types.NamespacedName{})
	if err != nil {
		return verdict{}, err
	}
	if problem != nil {
		return verdict{ready: status.False(problem), failure: problem, next: problem.Retry.From(now)}.withCertificate(found, configured), nil
	}
	v, err := r.verifyCaller(ctx, found, configured, now)
	return v.withCertificate(found, configured), err
}

// withCertificate completes the state of an identity with the expiry of its source, and with the state of the source's certificate,
// which is checked again when it expires.
func (v verdict) withCertificate(found Object, configured *Identity) verdict {
	if configured != nil {
		v.expires = configured.connection.auth.expires
	}
	if _, ok := sourceOf(found).(certificate); !ok {
		return v
	}
	var c metav1.Condition
	switch {
	case configured != nil && !certificateReasons[v.ready.Reason]:
		c = status.Condition(v1alpha1.ConditionCertificateValid, metav1.ConditionTrue, v1alpha1.ReasonCertificateUsable, "The certificate is valid. It expires at the time in status.sourceExpiration.")
		ahead, _ := configured.Skew()
		if at := v.expires.Add(time.Second - ahead); v.next.IsZero() || at.Before(v.next) {
			v.next = at
		}
	case certificateReasons[v.ready.Reason]:
		c = status.Condition(v1alpha1.ConditionCertificateValid, metav1.ConditionFalse, v.ready.Reason, "%s", v.ready.Message)
	default: // there is no certificate to report on
		return v
	}
	v.certificate = &c
	return v
}

// certificateReasons are the reasons of a certificate that is not valid.
var certificateReasons = map[string]bool{
	v1alpha1.ReasonInvalidSecret: true, v1alpha1.ReasonCertificateExpired: true, v1alpha1.ReasonCertificateNotYetValid: true,
}

// verifyCaller calls GetCallerIdentity, unless the last result is still valid or the operator is backing off.
func (r *Reconciler[T]) verifyCaller(ctx context.Context, found T, configured *Identity, now time.Time) (verdict, error) {
	r.Limits.Configure(now, configured.Key, configured.QPS)
	if message := configured.notVerifiable(); message != "" {
		return verdict{
			ready:         status.Condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNotVerifiable, "%s", message),
			secretVersion: configured.SecretVersion,
		}, nil
	}
	key := client.ObjectKeyFromObject(found)
	last := r.backoff.Get(key)
	skewed := meta.IsStatusConditionFalse(found.Report().Conditions, v1alpha1.ConditionClockInSync) // the status does not contain the skew
	if last.Inputs != configured.Version && reportsOn(found, configured) && !skewed {
		// After a restart, the status is as current as a new call. The next call waits for its interval.
		last = backoff.Call{Inputs: configured.Version, Next: verifyAt(configured, now)}
		r.backoff.Set(key, last)
	}
	known := verdict{caller: callerOf(found), secretVersion: configured.SecretVersion, next: last.Next}
	switch next, early := nextVerification(last, now); {
	case last.InBackoff(configured.Version, now):
		known.ready, known.failure = status.False(last.Failure), last.Failure
		return known, nil
	case last.Inputs == configured.Version && now.Before(last.Next) && reportsOn(found, configured):
		known.ready = *meta.FindStatusCondition(found.Report().Conditions, v1alpha1.ConditionReady)
		return known, nil
	case early:
		return verdict{waits: true, next: next}, nil
	}
	return r.callSTS(ctx, configured, known, now)
}

// clockCondition returns the condition ClockInSync and the skew. The message does not contain the skew, which changes
// with each response; a metric does.
func clockCondition(configured *Identity) (*metav1.Condition, *time.Duration) {
	ahead, known := configured.Skew()
	if !known {
		return nil, nil
	}
	c := status.Condition(v1alpha1.ConditionClockInSync, metav1.ConditionTrue, v1alpha1.ReasonInSync, "The clocks of STS and of the operator agree.")
	if !configured.ClockInSync() {
		c = status.Condition(v1alpha1.ConditionClockInSync, metav1.ConditionFalse, v1alpha1.ReasonClockSkew,
			"The clocks of STS and of the operator differ by more than a minute. Set the clock of the operator's node. Until then, refreshes follow the clock of STS.")
	}
	return &c, &ahead
}

// verifyAt returns when to verify a ready identity again: after verifyInterval, or when the source's token expires.
func verifyAt(configured *Identity, now time.Time) time.Time {
	next := now.Add(verifyInterval - time.Duration(reissue.Spread(configured.Key.Label())*float64(verifyInterval/10)))
	if expires := configured.expires(); !expires.IsZero() && expires.Before(next) {
		return expires
	}
	return next
}

// reportsOn reports whether the status is True for the identity's current spec and Secret.
func reportsOn(found Object, configured *Identity) bool {
	return meta.IsStatusConditionTrue(found.Report().Conditions, v1alpha1.ConditionReady) &&
		found.Report().ObservedGeneration == found.GetGeneration() && found.Report().ObservedSecretVersion == configured.SecretVersion
}

// callerOf returns the caller in the identity's status; nil if it has none.
func callerOf(found Object) *awssts.Caller {
	status := found.Report()
	if status.ARN == "" && status.AccountID == "" {
		return nil
	}
	return &awssts.Caller{AccountID: status.AccountID, ARN: status.ARN, UserID: status.UserID}
}

// callSTS calls GetCallerIdentity if the limiter permits it, and completes what is known of the identity.
func (r *Reconciler[T]) callSTS(ctx context.Context, configured *Identity, known verdict, now time.Time) (verdict, error) {
	identity := configured.Key
	permit, _ := r.Limits.Acquire(now, limit.Request{
		Identity: identity, Credential: identity, QPS: configured.QPS, Version: configured.Version, Class: limit.Missing,
	})
	if permit == nil {
		return verdict{waits: true, next: now.Add(limit.Recheck)}, nil
	}
	outcome := limit.NotCalled // also if the call panics
	defer func() {
		r.Limits.Release(r.Clock.Now(), permit, outcome)
		r.Limits.Cancel(r.Clock.Now(), identity) // the retry has a backoff of its own
	}()
	caller, err := configured.Caller(ctx)
	if ctx.Err() != nil {
		return verdict{}, ctx.Err()
	}
	v := verified(configured, known, caller, err)
	if v.failure == nil {
		if !errors.Is(err, errNoCaller) {
			outcome = limit.Answered
		}
		v.next = verifyAt(configured, now)
		r.backoff.Set(identity.NamespacedName, backoff.Call{Inputs: configured.Version, At: now, Next: v.next})
	} else {
		// A failed verification opens no circuit: each credential first reports what its own call failed with.
		if outcome = OutcomeOf(v.failure); outcome == limit.Unavailable {
			outcome = limit.NotCalled
		}
		if v.failure.Reason == v1alpha1.ReasonInvalidSourceCredentials {
			configured.InvalidateCredentials()
		}
		log.FromContext(ctx).Info("failed to verify the identity", "reason", v.failure.Reason, "requestID", awssts.RequestID(err), "cause", fmt.Sprint(v.failure.Cause))
		v.next = r.backoff.Failed(identity.NamespacedName, configured.Version, v.failure, now, 0)
	}
	if _, hop := errors.AsType[*reason.HopError](err); !hop && !errors.Is(err, errNoCaller) { // calls of hops are counted separately
		r.Metrics.Called(identity.Kind, callGetCallerIdentity, v.ready.Reason)
	}
	v.clock, v.ahead = clockCondition(configured)
	return v, nil
}

// verified completes what is known of an identity with the result of GetCallerIdentity.
func verified(configured *Identity, v verdict, caller awssts.Caller, err error) verdict {
	ready := func(code, message string, args ...any) metav1.Condition {
		return status.Condition(v1alpha1.ConditionReady, metav1.ConditionTrue, code, message, args...)
	}
	switch {
	case errors.Is(err, errNoCaller):
		v.caller = nil
		v.ready = ready(v1alpha1.ReasonNotVerifiable, "The source has a token, which each credential calls STS with, so this identity has no caller to verify.")
	case errors.Is(err, awssts.ErrNoCallerIdentity):
		v.caller = nil
		v.ready = ready(v1alpha1.ReasonNotVerifiable, "The server does not support GetCallerIdentity, so the caller is not known. Credentials are issued anyway.")
	case err != nil:
		v.failure = awssts.Classify(err, reason.Subject{
			Identity: configured.Name, Call: callGetCallerIdentity, Endpoint: configured.Endpoint, SessionEndpoint: configured.SessionEndpoint(),
			Region: configured.Region, SendsName: configured.AcceptsSessionName(), ClockInSync: configured.ClockInSync(),
		})
		v.failure.Condition = v1alpha1.ConditionReady
		v.ready = status.False(v.failure)
	case caller.ARN == "":
		v.caller = &caller
		v.ready = ready(v1alpha1.ReasonNotVerifiable, "The server's GetCallerIdentity returned no usable ARN, so the caller is not known. Credentials are issued anyway.")
	default:
		v.caller = &caller
		v.ready = ready(v1alpha1.ReasonVerified, "The caller is %s.", caller.ARN)
	}
	return v
}

// identityWide are the reasons that are likely to affect every call of an identity.
var identityWide = map[string]bool{
	v1alpha1.ReasonSTSUnreachable: true, v1alpha1.ReasonSTSError: true, v1alpha1.ReasonInvalidSourceCredentials: true,
	v1alpha1.ReasonRegionDisabled: true, v1alpha1.ReasonClockSkew: true,
	v1alpha1.ReasonTokenExpired: true, v1alpha1.ReasonTokenNotYetValid: true,
	v1alpha1.ReasonClientRejected: true, v1alpha1.ReasonProviderUnreachable: true, v1alpha1.ReasonProviderError: true,
}

// OutcomeOf returns what a failure means for the identity's other calls.
func OutcomeOf(f *reason.Error) limit.Outcome {
	switch {
	case f.Reason == v1alpha1.ReasonTokenNotIssued: // STS was not called
		return limit.NotCalled
	case f.Reason == v1alpha1.ReasonThrottled:
		return limit.Throttled
	case identityWide[f.Reason]:
		return limit.Unavailable
	default:
		return limit.Answered
	}
}

func (r *Reconciler[T]) report(ctx context.Context, found T, v verdict, now time.Time) error {
	before, _ := found.DeepCopyObject().(T)
	reported := found.Report()
	var current []metav1.Condition
	if v.clock != nil {
		current = append(current, *v.clock)
	}
	if v.certificate != nil {
		current = append(current, *v.certificate)
	} else {
		meta.RemoveStatusCondition(&reported.Conditions, v1alpha1.ConditionCertificateValid)
	}
	current = append(current, v.ready) // last, so that the event reports it when the identity is ready
	reported.Conditions = status.Merge(reported.Conditions, current, found.GetGeneration(), now)
	reported.ObservedGeneration, reported.ObservedSecretVersion = found.GetGeneration(), v.secretVersion
	reported.FailedCall, reported.SourceExpiration = nil, nil
	if !v.expires.IsZero() {
		reported.SourceExpiration = new(metav1.NewTime(v.expires))
	}
	if v.failure != nil {
		reported.FailedCall = v.failure.Call.DeepCopy()
	}
	reported.AccountID, reported.ARN, reported.UserID = "", "", ""
	if v.caller != nil {
		reported.AccountID, reported.ARN, reported.UserID = v.caller.AccountID, v.caller.ARN, v.caller.UserID
	}
	if apiequality.Semantic.DeepEqual(before.Report(), reported) {
		return nil
	}
	if written, err := status.Write(ctx, r.Client, found); !written {
		return err
	}
	status.Announce(r.Events, found, telemetry.ActionVerify, before.Report().Conditions, reported.Conditions, func(string) *reason.Error { return v.failure })
	return nil
}
