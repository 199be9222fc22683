package controllers

import (
	"cmp"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/telemetry"
)

// outcome is what a reconcile found and did. The status follows from it and from nothing else.
type outcome struct {
	now       time.Time     // by the clock of STS
	ahead     time.Duration // how far that is ahead of the operator's
	identity  string
	secret    string
	suspended bool
	// denied is why ConditionAuthorized is False, failed why ConditionIssued is, and unwritable why the Secret cannot be ours.
	denied, failed, unwritable *failure.Failure
	// waiting is why STS is not asked yet though nothing is wrong.
	waiting string
	// turnIn is how long it is until the credential's turn to ask STS may come; zero if it does not wait for that.
	turnIn time.Duration
	// record is of what the Secret holds, nil if it holds nothing of ours, and current tells whether that is of this spec.
	record  *credential.Record
	current bool
	// refreshAt is when the record is due, retryAt when the next attempt is made, and pruneAt when the operator tries again to
	// delete an old Secret; zero for none.
	refreshAt, retryAt, pruneAt time.Time
	// undeletable is the API server's reason for not deleting an old Secret; empty if there is none to delete.
	undeletable string
}

func (o outcome) valid() bool { return o.record != nil && o.now.Before(o.record.Expiration) }

// conditions are Authorized, Issued and Ready, in the order of the way.
func (o outcome) conditions() []metav1.Condition {
	return []metav1.Condition{o.authorized(), o.issued(), o.ready()}
}

func (o outcome) authorized() metav1.Condition {
	if o.denied != nil {
		return isFalse(o.denied)
	}
	return condition(v1alpha1.ConditionAuthorized, metav1.ConditionTrue, v1alpha1.ReasonAllowed, "%s allows the request.", o.identity)
}

func (o outcome) issued() metav1.Condition {
	switch {
	case o.failed != nil:
		return isFalse(o.failed)
	case o.record != nil && o.current:
		return condition(v1alpha1.ConditionIssued, metav1.ConditionTrue, v1alpha1.ReasonIssued, "STS issued the credential that this spec asks for.")
	default:
		return condition(v1alpha1.ConditionIssued, metav1.ConditionUnknown, v1alpha1.ReasonNotAttempted, "STS was not asked for this spec: %s", o.hindrance())
	}
}

// hindrance says why STS was not asked.
func (o outcome) hindrance() string {
	switch {
	case o.denied != nil:
		return "see the condition Authorized."
	case o.unwritable != nil:
		return "see the condition Ready."
	case o.waiting != "":
		return o.waiting
	default:
		return "spec.suspend is set."
	}
}

func (o outcome) ready() metav1.Condition {
	if o.unwritable != nil {
		return isFalse(o.unwritable)
	}
	reason, message := v1alpha1.ReasonIssued, fmt.Sprintf("Secret %s holds valid credentials of this spec.", o.secret)
	switch {
	case o.record == nil:
		reason, message = v1alpha1.ReasonNotIssued, fmt.Sprintf("Secret %s holds no credential yet: %s", o.secret, o.cause())
	case !o.valid():
		reason, message = v1alpha1.ReasonExpired, fmt.Sprintf("The credential in Secret %s has expired: %s", o.secret, o.cause())
	case !o.current:
		reason, message = v1alpha1.ReasonOutdated, fmt.Sprintf("Secret %s holds valid credentials, but of an earlier spec: %s", o.secret, o.cause())
	}
	status := metav1.ConditionFalse
	if reason == v1alpha1.ReasonIssued {
		status = metav1.ConditionTrue
	}
	if o.suspended {
		reason = v1alpha1.ReasonSuspended
		if status == metav1.ConditionTrue {
			message += " They are not refreshed: spec.suspend is set."
		}
	}
	if o.undeletable != "" {
		message += fmt.Sprintf(" The operator cannot delete a Secret of an earlier spec.secret.name (%s). Check admission policies and the operator's RBAC in this namespace; "+
			"the manager's log holds the error.", o.undeletable)
	}
	return condition(v1alpha1.ConditionReady, status, reason, "%s", message)
}

// cause says where to read why there is no good credential.
func (o outcome) cause() string {
	switch {
	case o.suspended:
		return "spec.suspend is set."
	case o.denied != nil:
		return "see the condition Authorized."
	default:
		return "see the condition Issued."
	}
}

// next is when to look again, zero for when something changes.
func (o outcome) next() time.Time {
	next := o.retryAt
	if o.record == nil {
		return next
	}
	var due time.Time
	if o.refreshes() {
		due = o.refreshAt
	}
	for _, at := range [...]time.Time{due, o.record.Expiration, o.pruneAt} { // at the latter Ready turns False
		if at.After(o.now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// refreshes tells whether the credential will be refreshed when it is due, as things stand.
func (o outcome) refreshes() bool {
	hopeless := o.failed != nil && o.failed.Retry == failure.Never
	return !o.suspended && o.unwritable == nil && o.denied == nil && !hopeless
}

// report writes the outcome to a status, at a time of the operator's own clock. A time or value that the outcome does not have
// is cleared.
func (o outcome) report(status *v1alpha1.CredentialStatus, generation int64, now time.Time) {
	status.Conditions = withConditions(status.Conditions, o.conditions(), generation, now)
	status.ObservedGeneration = generation
	status.FailedCall = nil
	if o.failed != nil {
		status.FailedCall = o.failed.Call.DeepCopy()
	}
	var held credential.Record
	status.SecretName, status.Expiration, status.LastRefreshTime, status.NextRefreshTime = "", nil, nil, nil
	if o.record != nil {
		held = *o.record
		status.SecretName = o.secret
		status.Expiration, status.LastRefreshTime = at(held.Expiration), at(held.IssuedAt)
		if o.refreshes() {
			status.NextRefreshTime = at(o.refreshAt)
		}
	}
	status.AccessKeyID, status.PrincipalARN, status.PackedPolicySize = held.AccessKeyID, held.PrincipalARN, held.PackedPolicySize
	status.LastHandledRefreshRequest = held.RefreshRequest
}

// told is the outcome as metrics tell it.
func (o outcome) told() telemetry.Held {
	told := telemetry.Held{Ahead: o.ahead, Suspended: o.suspended}
	if o.record != nil {
		told.IssuedAt, told.Expiration = o.record.IssuedAt, o.record.Expiration
		if o.refreshes() {
			told.RefreshAt = o.refreshAt
		}
	}
	if f := cmp.Or(o.denied, o.failed, o.unwritable); f != nil {
		told.Failing = f.Reason
	}
	return told
}

func at(t time.Time) *metav1.Time { return &metav1.Time{Time: t.Truncate(time.Second)} }

// failure returns the failure behind a condition, nil if there is none.
func (o outcome) failure(conditionType string) *failure.Failure {
	for _, f := range []*failure.Failure{o.denied, o.failed, o.unwritable} {
		if f != nil && f.Condition == conditionType {
			return f
		}
	}
	return nil
}
