package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/backoff"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/status"
)

// nextVerification returns the earliest time of another verification, and whether it is still to come.
func nextVerification(last backoff.LastCall, now time.Time) (time.Time, bool) {
	since := now.Sub(last.At)
	return last.At.Add(minVerifyInterval), since >= 0 && since < minVerifyInterval // a clock that was set back does not count
}

// verify returns the state of an identity, and of the certificate of its source.
func (r *Reconciler[T]) verify(ctx context.Context, found T, now time.Time) (verdict, error) {
	resolved, problem, err := r.Identities.ResolveObject(ctx, found, types.NamespacedName{})
	if err != nil {
		return verdict{}, err
	}
	if problem != nil {
		return verdict{ready: status.False(problem), failure: problem, next: problem.Retry.From(now)}.withCertificate(found, resolved), nil
	}
	v, err := r.verifyCaller(ctx, found, resolved, now)
	return v.withCertificate(found, resolved), err
}

// withCertificate completes the state of an identity with the expiry of its source, and with the state of the source's certificate,
// which is checked again when it expires.
func (v verdict) withCertificate(found Object, resolved *Identity) verdict {
	if resolved != nil {
		v.expires = resolved.connection.authenticator.expires
	}
	if _, ok := sourceOf(found).(certificate); !ok {
		return v
	}
	switch {
	case resolved != nil && !certificateReasons[v.ready.Reason]:
		v.conditions = append(v.conditions, status.Condition(v1alpha1.ConditionCertificateValid, metav1.ConditionTrue, v1alpha1.ReasonCertificateUsable,
			"The certificate is valid. It expires at the time in status.sourceExpiration."))
		if at := resolved.expires().Add(time.Second); v.next.IsZero() || at.Before(v.next) {
			v.next = at
		}
	case certificateReasons[v.ready.Reason]:
		v.conditions = append(v.conditions, status.Condition(v1alpha1.ConditionCertificateValid, metav1.ConditionFalse, v.ready.Reason, "%s", v.ready.Message))
	}
	return v
}

// certificateReasons are the reasons of a certificate that is not valid.
var certificateReasons = map[string]bool{
	v1alpha1.ReasonInvalidSecret: true, v1alpha1.ReasonCertificateExpired: true, v1alpha1.ReasonCertificateNotYetValid: true,
}

// verifyCaller calls GetCallerIdentity, unless the last result is still valid or the operator is backing off.
func (r *Reconciler[T]) verifyCaller(ctx context.Context, found T, resolved *Identity, now time.Time) (verdict, error) {
	r.Limits.Configure(now, resolved.Key, int(resolved.STSQPS))
	if message := resolved.notVerifiable(); message != "" {
		return verdict{
			ready:         status.Condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNotVerifiable, "%s", message),
			secretVersion: resolved.SecretVersion,
		}, nil
	}
	key := client.ObjectKeyFromObject(found)
	last := r.backoff.Get(key)
	skewed := meta.IsStatusConditionFalse(found.Report().Conditions, v1alpha1.ConditionClockInSync) // the status does not contain the skew
	if last.Inputs != resolved.Version && reportsOn(found, resolved) && !skewed {
		// After a restart, the status is as current as a new call. The next call waits for its interval.
		last = backoff.LastCall{Inputs: resolved.Version, Next: verifyAt(resolved, now)}
		r.backoff.Set(key, last)
	}
	reported := found.Report()
	known := verdict{caller: awssts.Caller{AccountID: reported.AccountID, ARN: reported.ARN, UserID: reported.UserID}, secretVersion: resolved.SecretVersion, next: last.Next}
	switch next, early := nextVerification(last, now); {
	case last.InBackoff(resolved.Version, now):
		known.ready, known.failure = status.False(last.Failure), last.Failure
		return known, nil
	case last.Inputs == resolved.Version && now.Before(last.Next) && reportsOn(found, resolved):
		known.ready = *meta.FindStatusCondition(found.Report().Conditions, v1alpha1.ConditionReady)
		return known, nil
	case early:
		return verdict{postponed: true, next: next}, nil
	}
	return r.callSTS(ctx, resolved, known, now)
}

// clockCondition returns the condition ClockInSync and the skew. The message does not contain the skew, which changes
// with each response; a metric does.
func clockCondition(resolved *Identity) ([]metav1.Condition, *time.Duration) {
	skew, known := resolved.Skew()
	if !known {
		return nil, nil
	}
	c := status.Condition(v1alpha1.ConditionClockInSync, metav1.ConditionTrue, v1alpha1.ReasonInSync, "The clocks of STS and of the operator agree.")
	if !resolved.ClockInSync() {
		c = status.Condition(v1alpha1.ConditionClockInSync, metav1.ConditionFalse, v1alpha1.ReasonClockSkew,
			"The clocks of STS and of the operator differ by more than a minute. Set the clock of the operator's node. Until then, refreshes follow the clock of STS.")
	}
	return []metav1.Condition{c}, &skew
}

// verifyAt returns when to verify a ready identity again: after verifyInterval, or when the source's token expires.
func verifyAt(resolved *Identity, now time.Time) time.Time {
	next := now.Add(verifyInterval - time.Duration(reissue.Spread(resolved.Key.Label())*float64(verifyInterval/10)))
	if expires := resolved.expires(); !expires.IsZero() && expires.Before(next) {
		return expires
	}
	return next
}

// reportsOn reports whether the status is True for the identity's current spec and Secret.
func reportsOn(found Object, resolved *Identity) bool {
	return meta.IsStatusConditionTrue(found.Report().Conditions, v1alpha1.ConditionReady) &&
		found.Report().ObservedGeneration == found.GetGeneration() && found.Report().ObservedSecretVersion == resolved.SecretVersion
}

// callSTS calls GetCallerIdentity if the limiter permits it, and completes what is known of the identity.
func (r *Reconciler[T]) callSTS(ctx context.Context, resolved *Identity, known verdict, now time.Time) (verdict, error) {
	identity := resolved.Key
	permit, _ := r.Limits.Acquire(now, limit.Request{
		Identity: identity, Credential: identity, QPS: int(resolved.STSQPS), Version: resolved.Version, Class: limit.Missing,
	})
	if permit == nil {
		return verdict{postponed: true, next: now.Add(limit.Recheck)}, nil
	}
	outcome := limit.NotCalled // also if the call panics
	defer func() {
		r.Limits.Release(r.Clock.Now(), permit, outcome)
		r.Limits.Cancel(r.Clock.Now(), identity) // the retry has a backoff of its own
	}()
	caller, err := resolved.Caller(ctx)
	if ctx.Err() != nil {
		return verdict{}, ctx.Err()
	}
	v := verified(resolved, known, caller, err)
	if v.failure == nil {
		if !errors.Is(err, errNoCaller) {
			outcome = limit.Answered
		}
		v.next = verifyAt(resolved, now)
		r.backoff.Set(identity.NamespacedName, backoff.LastCall{Inputs: resolved.Version, At: now, Next: v.next})
	} else {
		// A failed verification opens no circuit: each credential first reports what its own call failed with.
		if outcome = OutcomeOf(v.failure); outcome == limit.Unavailable {
			outcome = limit.NotCalled
		}
		if v.failure.Reason == v1alpha1.ReasonInvalidSourceCredentials {
			resolved.InvalidateCredentials()
		}
		log.FromContext(ctx).Info("failed to verify the identity", "reason", v.failure.Reason, "requestID", awssts.RequestID(err), "cause", fmt.Sprint(v.failure.Cause))
		v.next = r.backoff.Failed(identity.NamespacedName, resolved.Version, v.failure, now, 0)
	}
	if _, hop := errors.AsType[*reason.HopError](err); !hop && !errors.Is(err, errNoCaller) { // calls of hops are counted separately
		r.Metrics.Called(identity.Kind, callGetCallerIdentity, v.ready.Reason)
	}
	v.conditions, v.skew = clockCondition(resolved)
	return v, nil
}

// verified completes what is known of an identity with the result of GetCallerIdentity.
func verified(resolved *Identity, v verdict, caller awssts.Caller, err error) verdict {
	ready := func(code, message string, args ...any) metav1.Condition {
		return status.Condition(v1alpha1.ConditionReady, metav1.ConditionTrue, code, message, args...)
	}
	switch {
	case errors.Is(err, errNoCaller):
		v.caller = awssts.Caller{}
		v.ready = ready(v1alpha1.ReasonNotVerifiable, "The source has a token, which each credential calls STS with, so this identity has no caller to verify.")
	case errors.Is(err, awssts.ErrNoCallerIdentity):
		v.caller = awssts.Caller{}
		v.ready = ready(v1alpha1.ReasonNotVerifiable, "The server does not support GetCallerIdentity, so the caller is not known. Credentials are issued anyway.")
	case err != nil:
		v.failure = awssts.Classify(err, resolved.Subject(callGetCallerIdentity))
		v.failure.Condition = v1alpha1.ConditionReady
		v.ready = status.False(v.failure)
	case caller.ARN == "":
		v.caller = caller
		v.ready = ready(v1alpha1.ReasonNotVerifiable, "The server's GetCallerIdentity returned no usable ARN, so the caller is not known. Credentials are issued anyway.")
	default:
		v.caller = caller
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
