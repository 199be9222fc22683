package credential

import (
	"cmp"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/status"
	"rolecredential.dev/operator/controllers/telemetry"
)

// result is what a reconcile found and did. The status follows from it alone.
type result struct {
	now       time.Time     // by the clock of STS
	skew      time.Duration // how far the clock of STS is ahead of the operator's
	identity  string
	secret    string
	suspended bool
	// authorizationErr is why ConditionAuthorized is False, issueErr why ConditionIssued is, and secretErr why the Secret cannot be
	// written.
	authorizationErr, issueErr, secretErr *reason.Error
	// why is the reason to issue, NotDue if there is none.
	why reissue.Reason
	// wait says why STS has not been called although a call is due; nil if it was called, or is not due.
	wait *wait
	// record is what the Secret holds, nil if it holds no valid record of this credential. It matches the spec if current is true.
	record  *reissue.Record
	current bool
	// refreshAt is when the record is due, and retryAt when the credential is tried again, unless the limiter enqueues it earlier.
	// pruneAt is when the operator tries again to delete an old Secret. They are zero for none.
	refreshAt, retryAt, pruneAt time.Time
	// undeletable is the API server's reason for not deleting an old Secret; empty if there is none to delete.
	undeletable string
}

// wait is why a credential waits for its call of STS.
type wait struct {
	message string
	// brief is true for a wait that is too short to be shown in the status.
	brief bool
}

// withObserved returns the result with what an owned Secret holds, and why STS must be called for it.
func (r result) withObserved(desired reissue.Desired, observed reissue.Observed) result {
	r.why = reissue.Decide(r.now, desired, observed)
	if observed.Record == nil || r.why == reissue.Tampered { // the times of a tampered record may be wrong
		return r
	}
	return r.withRecord(*observed.Record, desired, r.why.Current())
}

// withRecord returns the result of a Secret with a record, which matches the spec if current is true.
func (r result) withRecord(record reissue.Record, desired reissue.Desired, current bool) result {
	r.record, r.current = &record, current
	r.refreshAt = desired.RefreshAt(record)
	return r
}

// needsCall reports whether STS must be called.
func (r result) needsCall() bool {
	return r.why != reissue.NotDue && r.refreshes() && r.issueErr == nil
}

// left is the remaining validity of the credentials in the Secret, zero if there are none.
func (r result) left() time.Duration {
	if r.record == nil {
		return 0
	}
	return max(0, r.record.Expiration.Sub(r.now))
}

func (r result) valid() bool { return r.record != nil && r.now.Before(r.record.Expiration) }

// conditions are Authorized, Issued and Ready, in the order of the steps.
func (r result) conditions() []metav1.Condition {
	return []metav1.Condition{r.authorizedCondition(), r.issuedCondition(), r.readyCondition()}
}

func (r result) authorizedCondition() metav1.Condition {
	if r.authorizationErr != nil {
		return status.False(r.authorizationErr)
	}
	return status.Condition(v1alpha1.ConditionAuthorized, metav1.ConditionTrue, v1alpha1.ReasonAllowed, "%s allows the request.", r.identity)
}

func (r result) issuedCondition() metav1.Condition {
	switch {
	case r.issueErr != nil:
		return status.False(r.issueErr)
	case r.record != nil && r.current:
		return status.Condition(v1alpha1.ConditionIssued, metav1.ConditionTrue, v1alpha1.ReasonIssued, "STS issued credentials for this spec.")
	default:
		return status.Condition(v1alpha1.ConditionIssued, metav1.ConditionUnknown, v1alpha1.ReasonNotAttempted, "STS was not called for this spec: %s", r.notCalledBecause())
	}
}

// notCalledBecause says why STS was not called.
func (r result) notCalledBecause() string {
	switch {
	case r.authorizationErr != nil:
		return "see the condition Authorized."
	case r.secretErr != nil:
		return "see the condition Ready."
	case r.wait != nil:
		return r.wait.message
	default:
		return "spec.suspend is set."
	}
}

func (r result) readyCondition() metav1.Condition {
	if r.secretErr != nil {
		return status.False(r.secretErr)
	}
	code, message := v1alpha1.ReasonIssued, fmt.Sprintf("Secret %s holds valid credentials of this spec.", r.secret)
	switch {
	case r.record == nil:
		code, message = v1alpha1.ReasonNotIssued, fmt.Sprintf("Secret %s holds no credential yet: %s", r.secret, r.cause())
	case !r.valid():
		code, message = v1alpha1.ReasonExpired, fmt.Sprintf("The credential in Secret %s has expired: %s", r.secret, r.cause())
	case !r.current:
		code, message = v1alpha1.ReasonOutdated, fmt.Sprintf("Secret %s holds valid credentials, but of an earlier spec: %s", r.secret, r.cause())
	}
	state := metav1.ConditionFalse
	if code == v1alpha1.ReasonIssued {
		state = metav1.ConditionTrue
	}
	if r.suspended {
		code = v1alpha1.ReasonSuspended
		if state == metav1.ConditionTrue {
			message += " They are not refreshed: spec.suspend is set."
		}
	}
	if r.undeletable != "" {
		message += fmt.Sprintf(" The operator cannot delete a Secret of an earlier spec.secret.name (%s). Check admission policies and the operator's RBAC in this namespace; "+
			"the manager's log holds the error.", r.undeletable)
	}
	return status.Condition(v1alpha1.ConditionReady, state, code, "%s", message)
}

// cause names the condition that says why there are no valid credentials.
func (r result) cause() string {
	switch {
	case r.suspended:
		return "spec.suspend is set."
	case r.authorizationErr != nil:
		return "see the condition Authorized."
	default:
		return "see the condition Issued."
	}
}

// next is when to reconcile again, zero if only a change requires it.
func (r result) next() time.Time {
	next := r.retryAt
	if r.record == nil {
		return next
	}
	var due time.Time
	if r.refreshes() {
		due = r.refreshAt
	}
	for _, at := range [...]time.Time{due, r.record.Expiration, r.pruneAt} { // Ready turns False at the expiry
		if at.After(r.now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// refreshes reports whether the credential will be refreshed when it is due, as things are.
func (r result) refreshes() bool {
	permanent := r.issueErr != nil && r.issueErr.Retry == reason.Never
	return !r.suspended && r.secretErr == nil && r.authorizationErr == nil && !permanent
}

// applyTo writes the result to a status, at a time of the operator's clock. A value that the result does not have is cleared.
func (r result) applyTo(reported *v1alpha1.CredentialStatus, generation int64, now time.Time) {
	reported.Conditions = status.Merge(reported.Conditions, r.conditions(), generation, now)
	reported.ObservedGeneration = generation
	reported.FailedCall = nil
	if r.issueErr != nil {
		reported.FailedCall = r.issueErr.Call.DeepCopy()
	}
	var record reissue.Record
	reported.SecretName, reported.Expiration, reported.LastRefreshTime, reported.NextRefreshTime = "", nil, nil, nil
	if r.record != nil {
		record = *r.record
		reported.SecretName = r.secret
		reported.Expiration, reported.LastRefreshTime = at(record.Expiration), at(record.IssuedAt)
		if r.refreshes() {
			reported.NextRefreshTime = at(r.refreshAt)
		}
	}
	reported.AccessKeyID, reported.PrincipalARN, reported.PackedPolicySize = record.AccessKeyID, record.PrincipalARN, record.PackedPolicySize
	reported.LastHandledRefreshRequest = record.RefreshRequest
}

// sample is the result for metrics.
func (r result) sample() telemetry.CredentialState {
	sample := telemetry.CredentialState{ClockSkew: r.skew, Suspended: r.suspended}
	if r.record != nil {
		sample.IssuedAt, sample.Expiration = r.record.IssuedAt, r.record.Expiration
		if r.refreshes() {
			sample.RefreshAt = r.refreshAt
		}
	}
	if f := cmp.Or(r.authorizationErr, r.issueErr, r.secretErr); f != nil {
		sample.Failing = f.Reason
	}
	return sample
}

func at(t time.Time) *metav1.Time { return &metav1.Time{Time: t.Truncate(time.Second)} }

// failure returns the failure of a condition, nil if there is none.
func (r result) failure(conditionType string) *reason.Error {
	for _, f := range []*reason.Error{r.authorizationErr, r.issueErr, r.secretErr} {
		if f != nil && f.Condition == conditionType {
			return f
		}
	}
	return nil
}
