// Package backoff decides how long a credential or an identity waits between its calls of STS.
package backoff

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
)

// A tenant can make the operator call STS in a loop: it deletes the Secret, edits the record in it, changes the spec to and fro, or
// deletes the credential and creates it again. A few calls in a row are made at once, then the waits grow as after failures.
const (
	// freeCalls with the same inputs are an issue and one repair.
	freeCalls = 2
	// freeChanges of inputs allow a user to try several specs in a row.
	freeChanges = 6
	// maxChangeWait bounds the wait for changed inputs, or for a credential that was created again: a user may try many specs.
	maxChangeWait = 30 * time.Second
	// maxUrgent is how often in a row a wait is cut short because the credentials expire soon. From 10 minutes before the expiry, halving the
	// remaining time 7 times leads to the shortest wait.
	maxUrgent = 10
	// quietTime without a call, or half the lifetime of the credentials if that is shorter, resets the waits of calls with the same inputs. A
	// refresh by default comes after that. The same time without a change of inputs resets the waits of changes.
	quietTime = 2 * reason.MaxWait
)

// Bounds of the calls that are kept after their object was deleted, for [quietTime]. A call takes about 300 bytes, so all take 3 MB.
// Beyond a bound, an object that is created again starts without a backoff, as one with another name does.
const (
	maxDeleted             = 10_000
	maxDeletedPerNamespace = 100
)

// Calls holds the last call of STS of each credential or identity, and when the next may be made. It is kept in memory: after a restart,
// the next call is made at once. Its methods may be called concurrently.
type Calls struct {
	mu   sync.Mutex
	last map[types.NamespacedName]LastCall
	// deleted holds the keys of deleted objects, the earliest deletion first.
	deleted      []deletion
	perNamespace map[string]int // deletions
}

type deletion struct {
	types.NamespacedName
	at time.Time
}

// LastCall is the last call of STS, with counts of the calls before it.
type LastCall struct {
	// Inputs is a hash of all that the result depends on.
	Inputs string
	// Failure is the result, nil for a success.
	Failure *reason.Error
	// At is when the call was made, and Next when another may be made; zero for never while the inputs stay the same.
	At, Next time.Time
	// failures, urgent and successes count calls in a row with these inputs: failed ones, waits that were cut short, and successful ones.
	failures, urgent, successes int
	// changes counts the calls in a row that had other inputs than the one before. The last was at changedAt.
	changes   int
	changedAt time.Time
	// quiet is the time without a call that resets successes; zero if no call succeeded.
	quiet time.Duration
	// deletedAt is when the object was deleted, zero if it was not.
	deletedAt time.Time
}

// Get returns the last call of an object, and an empty one if there was none.
func (b *Calls) Get(key types.NamespacedName) LastCall {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last[key]
}

// Set replaces the last call of an object.
func (b *Calls) Set(key types.NamespacedName, made LastCall) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == nil {
		b.last, b.perNamespace = map[types.NamespacedName]LastCall{}, map[string]int{}
	}
	b.last[key] = made
}

// Forget drops the last call of an object.
func (b *Calls) Forget(key types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.last, key)
}

// Deleted keeps the last call of a deleted object for a while, so that it does not escape its waits when it is created again. It returns
// false if too many are kept already.
func (b *Calls) Deleted(key types.NamespacedName, now time.Time) (kept bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.deleted) > 0 && now.Sub(b.deleted[0].at) > quietTime {
		first := b.deleted[0]
		b.deleted = b.deleted[1:]
		if b.perNamespace[first.Namespace]--; b.perNamespace[first.Namespace] == 0 {
			delete(b.perNamespace, first.Namespace)
		}
		if b.last[first.NamespacedName].deletedAt.Equal(first.at) {
			delete(b.last, first.NamespacedName)
		}
	}
	made, ok := b.last[key]
	if !ok || !made.deletedAt.IsZero() {
		return true
	}
	if len(b.deleted) >= maxDeleted || b.perNamespace[key.Namespace] >= maxDeletedPerNamespace {
		delete(b.last, key)
		return false
	}
	made.deletedAt = now
	b.last[key] = made
	b.deleted = append(b.deleted, deletion{key, now})
	b.perNamespace[key.Namespace]++
	return true
}

// Failed records a failure and returns when the next call may be made, zero for never. Left is the remaining validity of the credentials
// in use. The first failure with new inputs waits the first backoff step.
func (b *Calls) Failed(key types.NamespacedName, inputs string, f *reason.Error, now time.Time, left time.Duration) time.Time {
	made := b.Get(key).then(inputs, now)
	made.failures++
	made.Failure, made.Next = f, time.Time{}
	spread := reissue.Spread(key.String())
	wait, full := f.Retry.In(made.failures, left, spread), f.Retry.In(made.failures, 0, spread)
	if wait < full {
		if made.urgent++; made.urgent > maxUrgent { // a tenant can write any expiry into the record
			wait = full
		}
	}
	if wait > 0 {
		made.Next = now.Add(wait)
	}
	b.Set(key, made)
	return made.Next
}

// FailedForAll records a failure that is not the credential's own. The next call may be made as soon as the identity's limits allow it.
func (b *Calls) FailedForAll(key types.NamespacedName, inputs string, f *reason.Error, now time.Time) {
	made := b.Get(key).then(inputs, now)
	made.Failure, made.Next = f, now
	b.Set(key, made)
}

// Succeeded records that STS issued credentials with a lifetime.
func (b *Calls) Succeeded(key types.NamespacedName, inputs string, lifetime time.Duration, now time.Time) {
	made := b.Get(key).then(inputs, now)
	made.Failure, made.failures, made.urgent = nil, 0, 0
	made.successes++
	made.quiet = min(lifetime/2, quietTime)
	b.Set(key, made)
}

// then returns the call that follows a call.
func (m LastCall) then(inputs string, now time.Time) LastCall {
	if now.Sub(m.At) > m.quiet {
		m.successes = 0
	}
	if now.Sub(m.changedAt) > quietTime {
		m.changes = 0
	}
	if m.Inputs != inputs {
		m.changes++
		m.changedAt = now
		if m.changes <= freeChanges {
			m.failures, m.urgent, m.successes = 0, 0, 0
		}
	}
	m.Inputs, m.At, m.deletedAt = inputs, now, time.Time{}
	return m
}

// InBackoff reports whether a call with the same inputs must still wait after a failure.
func (m LastCall) InBackoff(inputs string, now time.Time) bool {
	return m.Failure != nil && m.Inputs == inputs && (m.Next.IsZero() || now.Before(m.Next) && !m.recordedInFuture(now))
}

// NextIssue is when a call may be made that does not wait after a failure with the same inputs. It is zero for at once.
func (m LastCall) NextIssue(inputs string, now time.Time) time.Time {
	var wait time.Duration
	switch {
	case m.recordedInFuture(now):
	case m.Inputs == inputs && m.successes >= freeCalls:
		wait = min(m.quiet, reason.Wait(m.successes, 0, 0))
	case m.Inputs != inputs && m.changes >= freeChanges:
		wait = min(maxChangeWait, reason.Wait(m.changes-freeChanges+1, 0, 0))
	}
	if wait == 0 || now.Sub(m.At) >= wait {
		return time.Time{}
	}
	return m.At.Add(wait)
}

// recordedInFuture reports whether the call was recorded by a clock that was ahead. Its wait would last for as long as the clock was
// ahead.
func (m LastCall) recordedInFuture(now time.Time) bool {
	return m.At.Sub(now) > reissue.ClockTolerance
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
