// Package backoff records failed STS calls and repairs, and when the next call may be made.
package backoff

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
)

// Calls holds, for each credential or identity, the last call of STS that failed or repaired a Secret, and when the next may be made.
// It is kept in memory: after a restart, the next call is made at once. Its methods may be called concurrently.
type Calls struct {
	mu   sync.Mutex
	last map[types.NamespacedName]Call
}

// Call is a call of STS that was made.
type Call struct {
	// inputs is a hash of all that the result depends on.
	Inputs string
	// failure is the result, nil for a success.
	Failure *reason.Error
	// failures counts the calls in a row that failed with these inputs.
	failures int
	// repairs counts the calls in a row that were made because the Secret had been deleted or changed, and uid is the UID of the
	// credential that they were made for: a garbage collector deletes the Secret of a credential that was replaced.
	repairs int
	uid     types.UID
	// at is when the call was made, and next when another may be made; zero for never while the inputs stay the same.
	At, Next time.Time
}

func (b *Calls) Get(key types.NamespacedName) Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last[key]
}

func (b *Calls) Set(key types.NamespacedName, made Call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == nil {
		b.last = map[types.NamespacedName]Call{}
	}
	b.last[key] = made
}

func (b *Calls) Forget(key types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.last, key)
}

// Failed records a failure and returns when the next call may be made, zero for never. Left is the remaining validity of the credentials
// in use. The first failure with new inputs waits the first backoff step.
func (b *Calls) Failed(key types.NamespacedName, inputs string, f *reason.Error, now time.Time, left time.Duration) time.Time {
	made := b.Get(key)
	if made.Inputs != inputs {
		made.failures = 0
	}
	made.failures++
	made.Inputs, made.Failure, made.At, made.Next = inputs, f, now, time.Time{}
	if wait := f.Retry.In(made.failures, left, reissue.Spread(key.String())); wait > 0 {
		made.Next = now.Add(wait)
	}
	b.Set(key, made)
	return made.Next
}

// FailedForAll records a failure that is not the credential's own. The next call may be made as soon as the identity's limits allow it.
func (b *Calls) FailedForAll(key types.NamespacedName, inputs string, f *reason.Error, now time.Time) {
	made := b.Get(key)
	made.Inputs, made.Failure, made.At, made.Next = inputs, f, now, now
	b.Set(key, made)
}

// Succeeded forgets failures. Of a success it records only that it repaired a Secret.
func (b *Calls) Succeeded(key types.NamespacedName, uid types.UID, why reissue.Reason, now time.Time) {
	if !why.IsRepair() {
		b.Forget(key)
		return
	}
	made := b.Get(key)
	if now.Sub(made.At) > 2*reason.MaxWait || made.uid != uid {
		made.repairs = 0
	}
	b.Set(key, Call{repairs: made.repairs + 1, uid: uid, At: now})
}

// InBackoff reports whether a call with the same inputs must still wait after a failure.
func (m Call) InBackoff(inputs string, now time.Time) bool {
	return m.Failure != nil && m.Inputs == inputs && (m.Next.IsZero() || now.Before(m.Next) && !m.recordedInFuture(now))
}

// recordedInFuture reports whether the call was recorded by a clock that was ahead. Its wait would last for as long as the clock was
// ahead.
func (m Call) recordedInFuture(now time.Time) bool {
	return m.At.Sub(now) > reissue.ClockTolerance
}

// NextRepairAllowed is when the deleted or changed Secret of a credential may be issued again: at once the first time, then with growing
// waits if something keeps undoing it.
func (m Call) NextRepairAllowed(uid types.UID) time.Time {
	if m.repairs < 2 || m.uid != uid {
		return time.Time{}
	}
	return m.At.Add(reason.Wait(m.repairs-1, 0, 0))
}

// OrdinaryPriority is the priority of a requeued object. Without it, an object would keep the low priority of the first list.
const OrdinaryPriority = 0

// Requeue reconciles an object again at a time, or only after a change if that is zero.
func Requeue(now, next time.Time) reconcile.Result {
	if next.IsZero() {
		return reconcile.Result{}
	}
	return reconcile.Result{RequeueAfter: reissue.Requeue(now, next), Priority: new(OrdinaryPriority)}
}
