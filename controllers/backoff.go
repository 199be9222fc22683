package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
)

// backoff holds, for each credential or identity, the last call of STS that failed or repaired a Secret, and when the next may be made.
// It is kept in memory: after a restart, the next call is made at once. Its methods may be called concurrently.
type backoff struct {
	mu   sync.Mutex
	last map[types.NamespacedName]attempted
}

// attempted is a call of STS that was made.
type attempted struct {
	// inputs is a hash of all that the result depends on.
	inputs string
	// failure is the result, nil for a success.
	failure *failure.Failure
	// failures counts the calls in a row that failed with these inputs.
	failures int
	// repairs counts the calls in a row that were made because the Secret had been deleted or changed, and uid is the UID of the
	// credential that they were made for: a garbage collector deletes the Secret of a credential that was replaced.
	repairs int
	uid     types.UID
	// at is when the call was made, and next when another may be made; zero for never while the inputs stay the same.
	at, next time.Time
}

func (b *backoff) get(key types.NamespacedName) attempted {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last[key]
}

func (b *backoff) set(key types.NamespacedName, made attempted) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == nil {
		b.last = map[types.NamespacedName]attempted{}
	}
	b.last[key] = made
}

func (b *backoff) forget(key types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.last, key)
}

// failed records a failure and returns when the next call may be made, zero for never. Left is the remaining validity of the credentials
// in use. The first failure with new inputs waits the first backoff step.
func (b *backoff) failed(key types.NamespacedName, inputs string, f *failure.Failure, now time.Time, left time.Duration) time.Time {
	made := b.get(key)
	if made.inputs != inputs {
		made.failures = 0
	}
	made.failures++
	made.inputs, made.failure, made.at, made.next = inputs, f, now, time.Time{}
	if wait := f.Retry.In(made.failures, left, credential.Spread(key.String())); wait > 0 {
		made.next = now.Add(wait)
	}
	b.set(key, made)
	return made.next
}

// failedForAll records a failure that is not the credential's own. The next call may be made as soon as the identity's limits allow it.
func (b *backoff) failedForAll(key types.NamespacedName, inputs string, f *failure.Failure, now time.Time) {
	made := b.get(key)
	made.inputs, made.failure, made.at, made.next = inputs, f, now, now
	b.set(key, made)
}

// succeeded forgets failures. Of a success it records only that it repaired a Secret.
func (b *backoff) succeeded(key types.NamespacedName, uid types.UID, why credential.ReissueReason, now time.Time) {
	if !why.IsRepair() {
		b.forget(key)
		return
	}
	made := b.get(key)
	if now.Sub(made.at) > 2*failure.MaxWait || made.uid != uid {
		made.repairs = 0
	}
	b.set(key, attempted{repairs: made.repairs + 1, uid: uid, at: now})
}

// inBackoff reports whether a call with the same inputs must still wait after a failure.
func (m attempted) inBackoff(inputs string, now time.Time) bool {
	return m.failure != nil && m.inputs == inputs && (m.next.IsZero() || now.Before(m.next) && !m.recordedInFuture(now))
}

// recordedInFuture reports whether the call was recorded by a clock that was ahead. Its wait would last for as long as the clock was
// ahead.
func (m attempted) recordedInFuture(now time.Time) bool {
	return m.at.Sub(now) > credential.ClockTolerance
}

// nextRepairAllowed is when the deleted or changed Secret of a credential may be issued again: at once the first time, then with growing
// waits if something keeps undoing it.
func (m attempted) nextRepairAllowed(uid types.UID) time.Time {
	if m.repairs < 2 || m.uid != uid {
		return time.Time{}
	}
	return m.at.Add(failure.Wait(m.repairs-1, 0, 0))
}
