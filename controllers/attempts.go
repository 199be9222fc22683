package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
)

// attempts remembers, for each object, the last call of STS that matters for when the next may be made, so that nothing but time or
// a change of what the call depends on leads to another. It is memory only: a restart tries at once.
type attempts struct {
	mu   sync.Mutex
	last map[types.NamespacedName]attempt
}

type attempt struct {
	// inputs is all that the call depended on.
	inputs string
	// failure is what came of it, nil for a success.
	failure *failure.Failure
	// failures counts how many calls in a row failed with these inputs.
	failures int
	// mends counts how many calls in a row were needed because the Secret had been deleted or edited, and uid is of the credential
	// whose Secret that was: a garbage collector deletes the Secret of a credential that was replaced.
	mends int
	uid   types.UID
	// at is when it was made, and next when another may be; zero for never, until the inputs change.
	at, next time.Time
	// woken tells that another may be made at once, because calls of others went well.
	woken bool
}

func (a *attempts) get(key types.NamespacedName) attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last[key]
}

func (a *attempts) set(key types.NamespacedName, made attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == nil {
		a.last = map[types.NamespacedName]attempt{}
	}
	a.last[key] = made
}

func (a *attempts) forget(key types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.last, key)
}

// failed records a failure, and returns it with the time of the next attempt. Left is what the old credential has to live. The
// first failure of new inputs waits the first backoff step only: failures of other inputs say nothing about them.
func (a *attempts) failed(key types.NamespacedName, inputs string, f *failure.Failure, now time.Time, left time.Duration) attempt {
	made := a.get(key)
	if made.inputs != inputs {
		made.failures = 0
	}
	made.failures++
	made.inputs, made.failure, made.at, made.next, made.woken = inputs, f, now, time.Time{}, false
	if wait := f.Retry.In(made.failures, left, credential.Spread(key.String())); wait > 0 {
		made.next = now.Add(wait)
	}
	a.set(key, made)
	return made
}

// succeeded remembers of a success that it mended a Secret, and nothing of any other.
func (a *attempts) succeeded(key types.NamespacedName, uid types.UID, why credential.Why, now time.Time) {
	if !why.Mends() {
		a.forget(key)
		return
	}
	made := a.get(key)
	if now.Sub(made.at) > 2*failure.MaxWait || made.uid != uid {
		made.mends = 0
	}
	a.set(key, attempt{mends: made.mends + 1, uid: uid, at: now})
}

// wake lets a failure be waited out no longer.
func (a *attempts) wake(key types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if made, ok := a.last[key]; ok {
		made.woken = true
		a.last[key] = made
	}
}

// waits tells whether a failure with the same inputs is still to be waited out.
func (m attempt) waits(inputs string, now time.Time) bool {
	return m.failure != nil && !m.woken && m.inputs == inputs && (m.next.IsZero() || now.Before(m.next) && !m.misdated(now))
}

// retries tells whether a call would be one more with the inputs of one that failed, which nobody but time has asked for.
func (m attempt) retries(inputs string) bool {
	return m.failure != nil && !m.woken && m.inputs == inputs
}

// misdated tells whether the attempt was made at a time that is still to come: by a clock that was ahead, and was found out since.
// Its wait would last for as long as the clock was ahead.
func (m attempt) misdated(now time.Time) bool { return m.at.Sub(now) > credential.ClockTolerance }

// mayMend is when a Secret of a credential that was deleted or edited may be mended: at once the first time, and more and more slowly
// if something keeps undoing it.
func (m attempt) mayMend(uid types.UID) time.Time {
	if m.mends < 2 || m.uid != uid {
		return time.Time{}
	}
	return m.at.Add(failure.Wait(m.mends-1, 0, 0))
}
