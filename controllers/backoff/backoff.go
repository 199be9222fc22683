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
	// At is when the call was made.
	At time.Time
	// Next is when another call with the same inputs may be made, zero for never: after a failure, or when a verified identity is verified
	// again. A credential's success leaves it as it was.
	Next time.Time
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
func (b *Calls) Set(key types.NamespacedName, call LastCall) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == nil {
		b.last, b.perNamespace = map[types.NamespacedName]LastCall{}, map[string]int{}
	}
	b.last[key] = call
}

// Forget drops the last call of an object.
func (b *Calls) Forget(key types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.last, key)
}

// Deleted keeps the last call of a deleted object for a while, so that it does not escape its waits when it is created again. It returns
// false if too many are kept already.
func (b *Calls) Deleted(key types.NamespacedName, now time.Time) (remembered bool) {
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
	call, ok := b.last[key]
	if !ok || !call.deletedAt.IsZero() {
		return true
	}
	if len(b.deleted) >= maxDeleted || b.perNamespace[key.Namespace] >= maxDeletedPerNamespace {
		delete(b.last, key)
		return false
	}
	call.deletedAt = now
	b.last[key] = call
	b.deleted = append(b.deleted, deletion{key, now})
	b.perNamespace[key.Namespace]++
	return true
}

// Failed records a failure and returns when the next call may be made, zero for never. Left is the remaining validity of the credentials
// in use. The first failure with new inputs waits the first backoff step.
func (b *Calls) Failed(key types.NamespacedName, inputs string, f *reason.Error, now time.Time, left time.Duration) time.Time {
	call := b.Get(key).then(inputs, now)
	call.failures++
	call.Failure, call.Next = f, time.Time{}
	spread := reissue.Spread(key.String())
	wait, full := f.Retry.In(call.failures, left, spread), f.Retry.In(call.failures, 0, spread)
	if wait < full {
		if call.urgent++; call.urgent > maxUrgent { // a tenant can write any expiry into the record
			wait = full
		}
	}
	if wait > 0 {
		call.Next = now.Add(wait)
	}
	b.Set(key, call)
	return call.Next
}

// FailedForAll records a failure that is not the credential's own. The next call may be made as soon as the identity's limits allow it.
func (b *Calls) FailedForAll(key types.NamespacedName, inputs string, f *reason.Error, now time.Time) {
	call := b.Get(key).then(inputs, now)
	call.Failure, call.Next = f, now
	b.Set(key, call)
}

// Succeeded records that STS issued credentials with a lifetime.
func (b *Calls) Succeeded(key types.NamespacedName, inputs string, lifetime time.Duration, now time.Time) {
	call := b.Get(key).then(inputs, now)
	call.Failure, call.failures, call.urgent = nil, 0, 0
	call.successes++
	call.quiet = min(lifetime/2, quietTime)
	b.Set(key, call)
}

// then returns the call that follows a call.
func (last LastCall) then(inputs string, now time.Time) LastCall {
	if now.Sub(last.At) > last.quiet {
		last.successes = 0
	}
	if now.Sub(last.changedAt) > quietTime {
		last.changes = 0
	}
	if last.Inputs != inputs {
		last.changes++
		last.changedAt = now
		if last.changes <= freeChanges {
			last.failures, last.urgent, last.successes = 0, 0, 0
		}
	}
	last.Inputs, last.At, last.deletedAt = inputs, now, time.Time{}
	return last
}

// InBackoff reports whether a call with the same inputs must still wait after a failure.
func (last LastCall) InBackoff(inputs string, now time.Time) bool {
	return last.Failure != nil && last.Inputs == inputs && (last.Next.IsZero() || now.Before(last.Next) && !last.recordedInFuture(now))
}

// NextIssue returns when a call that is not in backoff may be made, since calls in a row are limited; zero for at once.
func (last LastCall) NextIssue(inputs string, now time.Time) time.Time {
	var wait time.Duration
	switch {
	case last.recordedInFuture(now):
	case last.Inputs == inputs && last.successes >= freeCalls:
		wait = min(last.quiet, reason.Wait(last.successes, 0, 0))
	case last.Inputs != inputs && last.changes >= freeChanges:
		wait = min(maxChangeWait, reason.Wait(last.changes-freeChanges+1, 0, 0))
	}
	if wait == 0 || now.Sub(last.At) >= wait {
		return time.Time{}
	}
	return last.At.Add(wait)
}

// recordedInFuture reports whether the call was recorded by a clock that was ahead. Its wait would last for as long as the clock was
// ahead.
func (last LastCall) recordedInFuture(now time.Time) bool {
	return last.At.Sub(now) > reissue.ClockTolerance
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
