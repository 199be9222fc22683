package limit

import (
	"time"

	"rolecredential.dev/operator/controllers/request"
)

// identity holds the limits of one identity.
type identity struct {
	request.Key
	version  string
	rate     pace
	breaker  breaker
	queue    queue
	bounds   []bound
	reserved map[request.Key]*Permit
	inFlight int       // calls in flight and reserved ones
	serveAt  time.Time // when the next call may be made; zero if only another method can change that
}

// due is when [Limiter.Ready] must visit the identity again, zero for no time.
func (id *identity) due() time.Time {
	due := id.serveAt
	for _, permit := range id.reserved {
		if at := permit.expires(); due.IsZero() || at.Before(due) {
			due = at
		}
	}
	return due
}

// nextCall is when an identity may call again if it has a slot, or zero if that depends on the outcome of a probe.
func (id *identity) nextCall(now time.Time) time.Time {
	if id.breaker.probing {
		return time.Time{}
	}
	return now.Add(max(id.breaker.until(now), id.rate.until(now, 1)))
}

// probeInterval is how often an identity may call while its calls fail. It is about as long as the SDK's three attempts of one call
// take. An outage is found to be over within this time, and one that lasts costs 20 calls a minute.
const probeInterval = 3 * time.Second

// breaker is a circuit breaker: once a call fails for a reason that affects every call of the identity, only probes are made, until one
// is answered.
type breaker struct {
	// probing is true while a probe is in flight, and nextProbe is when the next may start; zero while the circuit is closed.
	probing   bool
	nextProbe time.Time
}

func (b *breaker) open() bool { return !b.nextProbe.IsZero() }

func (b *breaker) allows(now time.Time) bool { return !b.probing && !now.Before(b.nextProbe) }

// start records that a call starts, and returns whether it is a probe.
func (b *breaker) start() (probe bool) {
	b.probing = b.open()
	return b.probing
}

// until is how long it is until the next call is allowed, as far as that is known.
func (b *breaker) until(now time.Time) time.Duration { return max(0, b.nextProbe.Sub(now)) }

// record takes the outcome of a call into account. A probe that was not made leaves the breaker as it was.
func (b *breaker) record(now time.Time, probe bool, outcome Outcome) {
	if probe {
		b.probing = false
	}
	switch outcome {
	case Answered, Throttled:
		*b = breaker{}
	case Unavailable:
		b.nextProbe = now.Add(probeInterval)
	case NotCalled:
	}
}
