// Package limit decides when a credential may call STS. Each identity has a rate limit, a circuit breaker and a queue that serves
// namespaces in turn. Concurrency limits bound the calls in flight of an identity, of a namespace and in all. The package is pure: it
// takes the time as a parameter and never blocks.
package limit

import (
	"sync"
	"time"

	"rolecredential.dev/operator/controllers/request"
)

// Request is a request for one call of STS.
type Request struct {
	Identity, Credential request.Key
	// QPS is the identity's own limit of calls per second, zero for the default. An identity in a namespace cannot exceed the default.
	QPS int
	// Version changes with anything that may end a failure of the identity as a whole. A new version closes the circuit.
	Version string
	Class   Class
}

// Permit allows one call of STS. Its holder must pass it to [Limiter.Release].
type Permit struct {
	request Request
	id      *identity
	granted time.Time
	probe   bool
}

// expires is when a permit that no worker claimed is given back.
func (p *Permit) expires() time.Time { return p.granted.Add(claimTimeout) }

// Outcome is the result of a call, as far as it matters for the identity's other calls.
type Outcome int

// Outcomes of a call.
const (
	Answered    Outcome = iota // STS issued credentials, or refused the request for a reason of the request's own
	Throttled                  // STS throttled the call: the identity's rate is lowered
	Unavailable                // a failure that is likely to affect every call of the identity: the circuit opens
	NotCalled                  // STS was not called: the call does not count
)

// Cause is why a credential waits for a call.
type Cause int

// Causes of a wait.
const (
	RateLimit        Cause = iota // the identity has made as many calls as its rate allows
	ConcurrencyLimit              // too many calls are in flight
	CircuitOpen                   // the identity's calls fail, so that only probes are made
)

// Recheck is when an object that waits for a call is reconciled again, for its class or the cause of its wait may have changed.
// [Limiter.Ready] returns it earlier if a call becomes possible.
const Recheck = time.Minute

// Wait says why a credential waits, and estimates for how long.
type Wait struct {
	Cause Cause
	For   time.Duration
}

// claimTimeout is how long a permit stays reserved. A worker claims it far sooner, unless the credential was deleted or suspended.
const claimTimeout = 5 * time.Second

// Limiter holds the limits of all identities in memory: a restart forgets them. Its methods may be called concurrently.
type Limiter struct {
	// DefaultQPS is the number of calls per second of an identity that sets none, from [MinQPS] to [MaxQPS].
	DefaultQPS int
	// Slots bounds the calls in flight of all identities together.
	Slots int
	// Changed receives a value when [Limiter.Ready] may return more. It must have room for one value; it may be nil.
	Changed chan struct{}

	mu         sync.Mutex
	identities map[request.Key]*identity
	// waiting holds, for each credential in a queue or with a reserved permit, the identity that it waits for.
	waiting map[request.Key]*identity
	shares  map[request.Key]*share
	next    time.Time // when Ready visits all identities, zero for never
	ready   []*Permit // the permits reserved since the last Ready
	steps   int       // the requests that were considered, for tests
}

// Acquire returns a permit if the credential may call STS now. If not, the credential is queued, and [Limiter.Ready] returns its key
// once a permit is reserved for it. A credential that is already queued keeps its position while its class stays the same.
func (l *Limiter) Acquire(now time.Time, r Request) (*Permit, Wait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.configure(now, r.Identity, r.QPS)
	if id.version != r.Version {
		id.version, id.breaker = r.Version, breaker{}
	}
	if l.waiting[r.Credential] != id {
		l.cancel(now, r.Credential) // it waited for another identity
	}
	if permit, ok := id.reserved[r.Credential]; ok {
		delete(id.reserved, r.Credential)
		delete(l.waiting, r.Credential)
		return permit, Wait{}
	}
	l.enqueue(id, r)
	for permit := l.grant(now, id); permit != nil; permit = l.grant(now, id) {
		if permit.request.Credential == r.Credential {
			delete(l.waiting, r.Credential)
			return permit, Wait{}
		}
		l.reserve(permit)
	}
	return nil, l.wait(now, id)
}

// Release gives back the permit of a call that returned. It frees the slot, and the outcome sets the pace of the identity's next calls. It
// returns true if the credential is queued again because the failure is not its own: STS throttled the call, or the call was a probe. Any
// other failed call is the credential's to retry.
func (l *Limiter) Release(now time.Time, permit *Permit, outcome Outcome) (queued bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.release(now, permit, outcome)
}

// Configure sets the rate of an identity, as [Limiter.Acquire] does. QPS is zero for the default.
func (l *Limiter) Configure(now time.Time, identity request.Key, qps int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serve(now, l.configure(now, identity, qps))
}

// Spend counts a call that does not wait for the rate limit. The credentials in the queue wait longer for it.
func (l *Limiter) Spend(now time.Time, identity request.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id, ok := l.identities[identity]; ok {
		id.rate.spend(now)
	}
}

// Ready returns the keys of the credentials that calls were reserved for since it last returned. They should be reconciled at once. The
// time is when to call Ready again, or zero if only another method can change what it returns.
func (l *Limiter) Ready(now time.Time) (ready []request.Key, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.next.IsZero() && !now.Before(l.next) {
		l.serveDue(now)
	}
	for _, permit := range l.ready {
		if credential := permit.request.Credential; permit.id.reserved[credential] == permit {
			ready = append(ready, credential)
		}
	}
	l.ready = nil
	return ready, l.next
}

// serveDue takes back the calls that were not claimed in time, and serves the identities whose time has come. It visits all identities,
// but considers no request of those that are not due.
func (l *Limiter) serveDue(now time.Time) {
	l.next = time.Time{}
	for _, id := range l.identities {
		for credential, permit := range id.reserved {
			if !now.Before(permit.expires()) {
				l.cancel(now, credential)
			}
		}
		if !id.serveAt.IsZero() && !now.Before(id.serveAt) {
			id.serveAt = time.Time{}
			l.serve(now, id)
		}
		l.visitAt(id.due())
	}
}

// visitAt makes [Limiter.Ready] visit all identities at a time, or earlier; zero for no time.
func (l *Limiter) visitAt(at time.Time) {
	if !at.IsZero() && (l.next.IsZero() || at.Before(l.next)) {
		l.next = at
		l.notify()
	}
}

// Cancel removes a credential from the queue that it waits in, and gives back a permit that is reserved for it.
func (l *Limiter) Cancel(now time.Time, credential request.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel(now, credential)
}

// Forget removes an identity that was deleted. Its calls in flight keep their slots until they are released.
func (l *Limiter) Forget(now time.Time, identity request.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id, ok := l.identities[identity]
	if !ok {
		return
	}
	delete(l.identities, identity)
	for credential := range id.queue.byCredential {
		l.cancel(now, credential)
	}
	for credential := range id.reserved {
		l.cancel(now, credential)
	}
}

// notify makes the receiver of Changed call [Limiter.Ready].
func (l *Limiter) notify() {
	select {
	case l.Changed <- struct{}{}:
	default: // the last value was not received yet
	}
}

// configure returns the limits of an identity and sets its rate.
func (l *Limiter) configure(now time.Time, key request.Key, qps int) *identity {
	if qps == 0 || key.Namespace != "" && qps > l.DefaultQPS {
		qps = l.DefaultQPS
	}
	id, ok := l.identities[key]
	if !ok {
		if l.identities == nil {
			l.identities, l.waiting, l.shares = map[request.Key]*identity{}, map[request.Key]*identity{}, map[request.Key]*share{}
		}
		id = &identity{Key: key, rate: newPace(qps), reserved: map[request.Key]*Permit{}}
		id.bounds = l.bounds(id)
		l.identities[key] = id
	}
	id.rate.setLimit(now, qps)
	return id
}

func (l *Limiter) enqueue(id *identity, r Request) {
	id.queue.add(r)
	l.waiting[r.Credential] = id
}

// grant takes the next request out of an identity's queue and returns a permit for it. It returns nil if the identity may not call now.
// The identity is then served again when a slot is free or its time has come.
func (l *Limiter) grant(now time.Time, id *identity) *Permit {
	r, ok := id.queue.next()
	if !ok {
		return nil
	}
	l.steps++
	if full := l.full(id); full != nil {
		full.blocked[id] = struct{}{}
		return nil
	}
	if !id.breaker.allows(now) || !id.rate.takeToken(now) {
		if at := id.nextCall(now); !at.IsZero() && (id.serveAt.IsZero() || at.Before(id.serveAt)) {
			id.serveAt = at
			l.visitAt(at)
		}
		return nil
	}
	id.queue.serve(r.Credential)
	l.acquireSlots(id)
	return &Permit{request: r, id: id, granted: now, probe: id.breaker.start()}
}

func (l *Limiter) reserve(permit *Permit) {
	permit.id.reserved[permit.request.Credential] = permit
	l.ready = append(l.ready, permit)
	l.visitAt(permit.expires())
	l.notify()
}

// serve reserves permits for the calls that an identity can make now.
func (l *Limiter) serve(now time.Time, id *identity) {
	for permit := l.grant(now, id); permit != nil; permit = l.grant(now, id) {
		l.reserve(permit)
	}
}

func (l *Limiter) release(now time.Time, permit *Permit, outcome Outcome) (queued bool) {
	id := permit.id
	id.breaker.record(now, permit.probe, outcome)
	switch outcome {
	case Answered:
		id.rate.succeeded(now)
	case Throttled:
		id.rate.throttled(now, permit.granted)
	case NotCalled:
		id.rate.giveBack(now)
	case Unavailable:
	}
	queued = (outcome == Throttled || outcome == Unavailable && permit.probe) && l.identities[id.Key] == id
	if queued {
		l.enqueue(id, permit.request)
	}
	l.releaseSlots(now, id)
	l.serve(now, id)
	return queued
}

func (l *Limiter) cancel(now time.Time, credential request.Key) {
	id, ok := l.waiting[credential]
	if !ok {
		return
	}
	delete(l.waiting, credential)
	id.queue.remove(credential)
	if permit, ok := id.reserved[credential]; ok {
		delete(id.reserved, credential)
		l.release(now, permit, NotCalled)
	}
}

// wait says why a request is not granted. The estimate takes the whole queue to go first.
func (l *Limiter) wait(now time.Time, id *identity) Wait {
	wait := Wait{RateLimit, id.rate.until(now, float64(id.queue.len()))}
	if !id.breaker.allows(now) {
		return Wait{CircuitOpen, max(wait.For, id.breaker.until(now))}
	}
	if l.full(id) != nil {
		wait.Cause = ConcurrencyLimit
	}
	return wait
}
