// Package reason describes failures: a reason and a message that stay the same while the cause does, and when to retry.
package reason

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"rolecredential.dev/operator/api/v1alpha1"
)

// Error is a failure on the way from a spec to a Secret. Equal failures are equal byte by byte except for the Cause, so that the status
// changes only when something changed.
type Error struct {
	// Condition is the type of the condition that becomes False, with Reason and Message. The message says what is wrong, then what to do.
	Condition, Reason, Message string
	// Call is the STS call that failed, nil if there was none.
	Call  *v1alpha1.FailedCall
	Retry Retry
	// Cause is the original error, for the log and an event only. It may be nil.
	Cause error
}

// Error returns the reason and the message.
func (f *Error) Error() string { return f.Reason + ": " + f.Message }

// Unwrap returns the cause.
func (f *Error) Unwrap() error { return f.Cause }

// As returns the failure in an error's chain, and false if there is none.
func As(err error) (*Error, bool) { return errors.AsType[*Error](err) }

// Denied returns a failure of ConditionAuthorized. It is retried after a change of the identity, its source's Secret, the namespace or
// the spec, which are watched.
func Denied(reason, format string, args ...any) *Error {
	return &Error{Condition: v1alpha1.ConditionAuthorized, Reason: reason, Message: fmt.Sprintf(format, args...), Retry: Never}
}

// NotSent returns a failure of ConditionIssued for a request that is not sent, because STS would always reject it. It is retried after a
// change of the spec or of an object that it names.
func NotSent(reason, format string, args ...any) *Error {
	return &Error{Condition: v1alpha1.ConditionIssued, Reason: reason, Message: fmt.Sprintf(format, args...) + " STS was not called.", Retry: Never}
}

// NoToken returns a failure of ConditionIssued for a missing token. Neither service accounts nor OIDC providers are watched.
func NoToken(err *TokenError) *Error {
	return &Error{Condition: v1alpha1.ConditionIssued, Reason: err.Reason, Message: err.Message + " STS was not called.", Retry: Backoff, Cause: err}
}

// Cut returns the first bytes of a text, with an ellipsis if it is longer.
func Cut(text string, length int) string {
	if len(text) <= length {
		return text
	}
	return strings.ToValidUTF8(text[:length], "") + "…"
}

// Retry is when to retry: [Backoff], [Never] or [After] a while. A change of something that the failure depends on is tried at once.
type Retry struct {
	backoff bool
	after   time.Duration
}

// Backoff retries after [Wait], later each time.
var Backoff = Retry{backoff: true}

// Never is for a spec that cannot work. It is not for a rejection by STS: nothing reports a changed trust policy.
var Never = Retry{}

// After retries after d.
func After(d time.Duration) Retry { return Retry{after: d} }

// In returns how long to wait after the nth failure in a row, n from 1. The result is zero for [Never]. Left and spread are those of
// [Wait].
func (r Retry) In(n int, left time.Duration, spread float64) time.Duration {
	if r.backoff {
		return Wait(n, left, spread)
	}
	return r.after
}

// From returns when to retry after a first failure now, zero for [Never].
func (r Retry) From(now time.Time) time.Time {
	wait := r.In(1, 0, 0)
	if wait == 0 {
		return time.Time{}
	}
	return now.Add(wait)
}

// Bounds of [Wait].
const (
	// MinWait is as long as the SDK waits between the three attempts of one call.
	MinWait = 5 * time.Second
	// MaxWait bounds how late a change in AWS is noticed, which nothing reports.
	MaxWait = 5 * time.Minute
)

// Wait returns how long to wait after the nth failure in a row: MinWait, doubled with each failure up to MaxWait, plus up to a quarter
// by spread, from 0 to 1. Left is the remaining validity of the credentials in use, zero for none. The wait is at most half of it, so that
// there is a retry before the expiry, but at least MinWait unless they expire earlier.
func Wait(n int, left time.Duration, spread float64) time.Duration {
	wait := MinWait
	for ; n > 1 && wait < MaxWait; n-- {
		wait *= 2
	}
	wait = min(wait, MaxWait)
	wait += time.Duration(float64(wait/4) * spread)
	if left > 0 {
		wait = min(wait, max(left/2, MinWait), max(left, time.Second))
	}
	return wait
}

// SourceError is a failure of an identity's source: STS was not called.
type SourceError struct{ Err error }

func (e *SourceError) Error() string { return "source credentials: " + e.Err.Error() }

// Unwrap returns the source's error.
func (e *SourceError) Unwrap() error { return e.Err }

// HopError is a failure of a call for a role of the identity's chain.
type HopError struct {
	RoleARN string
	// Call is the call as AWS names it; AssumeRole if empty.
	Call v1alpha1.Call
	// OptionalFields are the optional fields of the hop that are set.
	OptionalFields []string
	Err            error
}

func (e *HopError) Error() string { return "hop " + e.RoleARN + ": " + e.Err.Error() }

// Unwrap returns the error of STS, or of the hop before.
func (e *HopError) Unwrap() error { return e.Err }

// TokenError is a failure to get a web identity token that may be sent: STS was not called.
type TokenError struct {
	// Reason is that of ConditionIssued. Message says what is wrong and what to do. Both stay the same while the cause does.
	Reason, Message string
	// Err is the error of the API server or the OIDC provider; nil if the token itself is the cause.
	Err error
}

func (e *TokenError) Error() string {
	if e.Err == nil {
		return "web identity token: " + e.Reason
	}
	return "web identity token: " + e.Err.Error()
}

// Unwrap returns Err.
func (e *TokenError) Unwrap() error { return e.Err }
