// Package failure says what went wrong in words that stay the same for as long as the cause does, and when to try again.
package reason

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"rolecredential.dev/operator/api/v1alpha1"
)

// Error is a step of the way from a spec to a Secret that went wrong. The same cause is byte for byte the same Error but
// for its Cause, so that a status written from it changes only when something changed.
type Error struct { //nolint:errname // it is named with its package: reason.Error
	// Condition is the type of the condition that turns False.
	Condition string
	// Reason is that condition's reason.
	Reason string
	// Message says what is wrong and what to do. It holds nothing that changes from one try to the next.
	Message string
	// Call is the STS call that failed, nil if there was none.
	Call *v1alpha1.FailedCall
	// Retry says when to try again.
	Retry Retry
	// Cause is the error as it came, for the log and an event only. It may be nil.
	Cause error
}

// Error returns the reason and the message.
func (f *Error) Error() string { return f.Reason + ": " + f.Message }

// Unwrap returns the cause.
func (f *Error) Unwrap() error { return f.Cause }

// As returns the failure in an error's chain, and false if there is none.
func As(err error) (*Error, bool) { return errors.AsType[*Error](err) }

// Is reports whether an error is a failure.
func Is(err error) bool {
	_, ok := As(err)
	return ok
}

// Denied returns a failure of ConditionAuthorized. It waits for a change of the identity, its source's Secret, the namespace or
// the spec, all of which are watched.
func Denied(reason, format string, args ...any) *Error {
	return &Error{Condition: v1alpha1.ConditionAuthorized, Reason: reason, Message: fmt.Sprintf(format, args...), Retry: Never}
}

// NotCalled returns a failure of ConditionIssued for what STS could only refuse. It waits for a change of the spec, or of what
// the spec names.
func NotCalled(reason, format string, args ...any) *Error {
	return &Error{Condition: v1alpha1.ConditionIssued, Reason: reason, Message: fmt.Sprintf(format, args...) + " STS was not called.", Retry: Never}
}

// NoToken returns a failure of ConditionIssued for a token that could not be had. A service account may come unseen.
func NoToken(err *TokenError) *Error {
	return &Error{Condition: v1alpha1.ConditionIssued, Reason: v1alpha1.ReasonTokenNotIssued, Message: err.Message + " STS was not called.", Retry: Backoff, Cause: err}
}

// Cut returns a text's first bytes, of a longer one with a sign that there was more.
func Cut(text string, length int) string {
	if len(text) <= length {
		return text
	}
	return strings.ToValidUTF8(text[:length], "") + "…"
}

// Retry is when to try again: [Backoff], [Never] or [After] a while. Whatever it is, a change of something that the failure
// depends on is tried at once.
type Retry struct {
	backoff bool
	after   time.Duration
}

// Backoff tries again after [Wait], more slowly each time.
var Backoff = Retry{backoff: true}

// Never waits for a change: for what the spec itself makes impossible. A refusal by STS is not such a case, since a trust
// policy can change unseen.
var Never = Retry{}

// After tries again after d.
func After(d time.Duration) Retry { return Retry{after: d} }

// In returns how long to wait after the nth try in a row failed, n from 1, while the old credential has left to live, zero
// if there is none. The result is zero for [Never]. Spread, from 0 to 1, moves it within its jitter.
func (r Retry) In(n int, left time.Duration, spread float64) time.Duration {
	if r.backoff {
		return Wait(n, left, spread)
	}
	return r.after
}

// From returns when to try again after a first failure now, zero for [Never].
func (r Retry) From(now time.Time) time.Time {
	wait := r.In(1, 0, 0)
	if wait == 0 {
		return time.Time{}
	}
	return now.Add(wait)
}

// Bounds of [Wait].
const (
	// MinWait is no shorter than what the SDK's own retryer waits between the three attempts of one call, so that a call
	// that failed is not repeated faster than the SDK would have.
	MinWait = 5 * time.Second
	// MaxWait bounds how late a change in AWS, which nothing tells us of, is noticed.
	MaxWait = 5 * time.Minute
)

// Wait returns how long to wait after the nth failure in a row: MinWait, doubled with each failure up to MaxWait, then
// lengthened by up to a quarter by spread. While a credential has left to live, the wait is at most half of that, so that
// there is always another try before the end, but never under MinWait unless the end itself is nearer.
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

// SourceError is the failure of an identity's own source of credentials: STS was not called.
type SourceError struct{ Err error }

func (e *SourceError) Error() string { return "source credentials: " + e.Err.Error() }

// Unwrap returns what the source said.
func (e *SourceError) Unwrap() error { return e.Err }

// HopError is the failure of a call for a role on the way to the one asked for.
type HopError struct {
	RoleARN string
	// WebIdentity tells that a service account's token was shown for the role.
	WebIdentity bool
	// OptionalFields are the optional fields of the hop that are set.
	OptionalFields []string
	Err            error
}

func (e *HopError) Error() string { return "hop " + e.RoleARN + ": " + e.Err.Error() }

// Unwrap returns what STS said, or the error of the hop before.
func (e *HopError) Unwrap() error { return e.Err }

// TokenError is the failure of a service account's token to be had: STS was not called.
type TokenError struct {
	// Message says what is wrong and what to do, and stays the same for as long as the cause does.
	Message string
	Err     error
}

func (e *TokenError) Error() string { return "token of a service account: " + e.Err.Error() }

// Unwrap returns what the API server said.
func (e *TokenError) Unwrap() error { return e.Err }
