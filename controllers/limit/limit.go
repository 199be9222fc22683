// Package limit decides when a credential may call STS. Each identity has a rate limit, a concurrency limit and a circuit breaker,
// and a queue that serves namespaces in turn. The package is pure: it takes the time as a parameter and never blocks.
package limit

import (
	"sync"
	"time"

	"rolecredential.dev/operator/controllers/request"
)

// Request asks for one call of STS.
type Request struct {
	Identity, Credential request.Key
	// QPS is the identity's own limit of calls per second, zero for the default. An identity in a namespace cannot exceed the default.
	QPS int
	// Version changes with anything that may end a failure of the identity as a whole, and closes the circuit.
	Version string
	Class   Class
	// Expires is when the credentials in use expire, by the operator's clock; zero if there are none.
	Expires time.Time
}

// Call is the permission to call STS once. Its holder must pass it to [Limiter.Release].
type Call struct {
	request Request
	id      *identity
	granted time.Time
	probe   bool
}

// Outcome is the result of a call, as far as it matters for the identity's other calls.
type Outcome int

const (
	// Answered means that STS issued credentials, or refused the request for a reason of the request's own.
	Answered Outcome = iota
	// Throttled means that STS throttled the call. It lowers the identity's rate.
	Throttled
	// Unavailable means that the call failed for a reason that is likely to affect every call of the identity. It opens the circuit.
	Unavailable
	// NotCalled means that STS was not called, so that the call does not count.
	NotCalled
)

// Cause is why a credential waits for a call.
type Cause int

const (
	// RateLimit means that the identity has made as many calls as its rate allows.
	RateLimit Cause = iota
	// ConcurrencyLimit means that too many calls of the identity or the namespace are in flight.
	ConcurrencyLimit
	// CircuitOpen means that the identity's calls fail, so that only probes are made.
	CircuitOpen
)

// Wait says why a credential waits, and estimates for how long.
type Wait struct {
	Cause Cause
	For   time.Duration
}

// claimTimeout is how long a call stays reserved for a credential that [Limiter.Ready] returned. A worker takes far less time to get
// to it. A credential that was deleted or suspended meanwhile never claims its call.
const claimTimeout = 5 * time.Second

// Limiter holds the limits of all identities in memory: a restart forgets them. Its methods may be called concurrently.
type Limiter struct {
	// DefaultQPS is the number of calls per second of an identity that sets none, from [MinQPS] to [MaxQPS].
	DefaultQPS int
	// Slots bounds the calls in flight of all identities together. One identity, and one namespace, may use three quarters of them, so
	// that calls that hang never hold all.
	Slots int
	// Changed is called, with no lock held, when [Limiter.Ready] may return more. It must not block; it may be nil.
	Changed func()

	mu         sync.Mutex
	identities map[request.Key]*identity
	// waiting holds, for each credential in a queue or with a reserved call, the identity that it waits for.
	waiting map[request.Key]*identity
	slots   slots
}

// identity holds the limits of one identity.
type identity struct {
	request.Key
	version  string
	rate     pace
	breaker  breaker
	queue    queue
	reserved map[request.Key]*Call
}

// Acquire returns a call if the credential may call STS now. If not, the credential is queued, and [Limiter.Ready] returns its key
// once a call is reserved for it. A credential that is already queued keeps its position while its class stays the same.
func (l *Limiter) Acquire(now time.Time, r Request) (*Call, Wait) {
	call, wait := l.acquire(now, r)
	if call == nil {
		l.notify()
	}
	return call, wait
}

func (l *Limiter) acquire(now time.Time, r Request) (*Call, Wait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.configure(now, r.Identity, r.QPS)
	if id.version != r.Version {
		id.version, id.breaker = r.Version, breaker{}
	}
	if l.waiting[r.Credential] != id {
		l.cancel(now, r.Credential) // it waited for another identity
	}
	if call, ok := id.reserved[r.Credential]; ok {
		delete(id.reserved, r.Credential)
		delete(l.waiting, r.Credential)
		return call, Wait{}
	}
	l.enqueue(id, r)
	if next, ok := id.queue.next(l.hasSlot(id)); ok && next.Credential == r.Credential {
		if call := l.grant(now, id, next); call != nil {
			delete(l.waiting, r.Credential)
			return call, Wait{}
		}
	}
	return nil, l.wait(now, id, r)
}

// Release ends a call. It frees the call's slot, and the outcome sets the pace of the identity's next calls. It returns true if the
// credential is queued again because the failure is not its own: STS throttled the call, or the call was a probe. Any other failed call
// is the credential's to retry.
func (l *Limiter) Release(now time.Time, call *Call, outcome Outcome) (queued bool) {
	l.mu.Lock()
	queued = l.release(now, call, outcome)
	l.mu.Unlock()
	l.notify()
	return queued
}

// Spend counts a call that does not wait for the rate limit. The credentials in the queue wait longer for it.
func (l *Limiter) Spend(now time.Time, identity request.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id, ok := l.identities[identity]; ok {
		id.rate.spend(now)
	}
}

// Configure sets the rate of an identity, as [Limiter.Acquire] does. QPS is zero for the default.
func (l *Limiter) Configure(now time.Time, identity request.Key, qps int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.configure(now, identity, qps)
}

// Succeeded lets a throttled identity recover after a call that did not wait for the rate limit.
func (l *Limiter) Succeeded(now time.Time, identity request.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id, ok := l.identities[identity]; ok {
		id.rate.succeeded(now)
	}
}

// Throttled lowers the rate of an identity after STS throttled a call, made at a time, that did not wait for the rate limit.
func (l *Limiter) Throttled(now, made time.Time, identity request.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id, ok := l.identities[identity]; ok {
		id.rate.throttled(now, made)
	}
}

// Ready reserves the calls that can be made now for the credentials that wait, and returns the keys of these credentials. They should
// be reconciled at once. The time is when Ready may return more, or zero if only another method can change that.
func (l *Limiter) Ready(now time.Time) (ready []request.Key, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range l.identities {
		for credential, call := range id.reserved {
			if expires := call.granted.Add(claimTimeout); now.Before(expires) {
				next = earlier(next, expires)
			} else {
				l.cancel(now, credential)
			}
		}
		for request, ok := id.queue.next(l.hasSlot(id)); ok; request, ok = id.queue.next(l.hasSlot(id)) {
			call := l.grant(now, id, request)
			if call == nil {
				next = earlier(next, id.nextCall(now))
				break
			}
			id.reserved[request.Credential] = call
			ready = append(ready, request.Credential)
			next = earlier(next, now.Add(claimTimeout))
		}
	}
	return ready, next
}

// Cancel removes a credential from the queue that it waits in, and gives back a call that is reserved for it.
func (l *Limiter) Cancel(now time.Time, credential request.Key) {
	l.mu.Lock()
	cancelled := l.cancel(now, credential)
	l.mu.Unlock()
	if cancelled {
		l.notify()
	}
}

// Forget removes an identity that was deleted. Its calls in flight keep their slots until they are released.
func (l *Limiter) Forget(now time.Time, identity request.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id, ok := l.identities[identity]
	if !ok {
		return
	}
	for credential, other := range l.waiting {
		if other == id {
			l.cancel(now, credential)
		}
	}
	delete(l.identities, identity)
}

// configure returns the limits of an identity and sets its rate.
func (l *Limiter) configure(now time.Time, key request.Key, qps int) *identity {
	if qps == 0 || key.Namespace != "" && qps > l.DefaultQPS {
		qps = l.DefaultQPS
	}
	id, ok := l.identities[key]
	if !ok {
		if l.identities == nil {
			l.identities, l.waiting = map[request.Key]*identity{}, map[request.Key]*identity{}
		}
		id = &identity{Key: key, rate: newPace(qps), reserved: map[request.Key]*Call{}}
		l.identities[key] = id
	}
	id.rate.setLimit(now, qps)
	return id
}

func (l *Limiter) enqueue(id *identity, r Request) {
	id.queue.add(r)
	l.waiting[r.Credential] = id
}

// grant takes the request that is next in an identity's queue and returns its call, or nil if the identity may not call now.
func (l *Limiter) grant(now time.Time, id *identity, r Request) *Call {
	if !id.breaker.allows(now) || !id.rate.take(now) {
		return nil
	}
	id.queue.remove(r.Credential)
	l.slots.take(r)
	return &Call{request: r, id: id, granted: now, probe: id.breaker.start()}
}

func (l *Limiter) release(now time.Time, call *Call, outcome Outcome) (queued bool) {
	l.slots.free(call.request)
	id := call.id
	id.breaker.record(now, call.probe, outcome)
	switch outcome {
	case Answered:
		id.rate.succeeded(now)
	case Throttled:
		id.rate.throttled(now, call.granted)
	case NotCalled:
		id.rate.giveBack(now)
	case Unavailable:
	}
	queued = outcome == Throttled || outcome == Unavailable && call.probe
	if queued && l.identities[id.Key] == id { // the identity was not deleted during the call
		l.enqueue(id, call.request)
	}
	return queued
}

func (l *Limiter) cancel(now time.Time, credential request.Key) bool {
	id, ok := l.waiting[credential]
	if !ok {
		return false
	}
	delete(l.waiting, credential)
	id.queue.remove(credential)
	if call, ok := id.reserved[credential]; ok {
		delete(id.reserved, credential)
		l.release(now, call, NotCalled)
	}
	return true
}

func (l *Limiter) hasSlot(id *identity) func(namespace string) bool {
	return func(namespace string) bool { return l.slots.has(l.Slots, id.Key, namespace) }
}

// wait says why a request is not granted. The estimate takes the whole queue to go first.
func (l *Limiter) wait(now time.Time, id *identity, r Request) Wait {
	wait := Wait{RateLimit, id.rate.until(now, float64(id.queue.len()))}
	switch {
	case !id.breaker.allows(now):
		return Wait{CircuitOpen, max(wait.For, id.breaker.until(now))}
	case !l.slots.has(l.Slots, r.Identity, r.Credential.Namespace):
		return Wait{ConcurrencyLimit, wait.For}
	default:
		return wait
	}
}

// nextCall is when an identity may call again if it has a slot, or zero if that depends on the outcome of a probe.
func (id *identity) nextCall(now time.Time) time.Time {
	if id.breaker.probing {
		return time.Time{}
	}
	return now.Add(max(id.breaker.until(now), id.rate.until(now, 1)))
}

func (l *Limiter) notify() {
	if l.Changed != nil {
		l.Changed()
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
