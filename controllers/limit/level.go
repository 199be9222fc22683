package limit

import (
	"time"

	"rolecredential.dev/operator/controllers/request"
)

// Level is the state of one identity's limits, for metrics.
type Level struct {
	Identity request.Key
	// Tokens is the number of calls that can be made at once; it is negative if calls were made ahead of the rate.
	Tokens float64
	// Rate is the present number of calls per second, and Limit what it is while STS does not throttle.
	Rate, Limit float64
	// Waiting counts the credentials that wait, by class.
	Waiting map[Class]int
	// InFlight counts the calls in flight and the reserved ones.
	InFlight int
	// Throttled counts the calls that STS throttled.
	Throttled int
	// CircuitOpen is true while only probes are made.
	CircuitOpen bool
}

// Levels returns the state of every identity's limits, in no order.
func (l *Limiter) Levels(now time.Time) []Level {
	l.mu.Lock()
	defer l.mu.Unlock()
	levels := make([]Level, 0, len(l.identities))
	for key, id := range l.identities {
		level := Level{
			Identity: key, Tokens: id.rate.tokens(now), Rate: id.rate.rate(), Limit: id.rate.limit, Waiting: map[Class]int{},
			InFlight: id.inFlight, Throttled: id.rate.throttles, CircuitOpen: id.breaker.open(),
		}
		for _, element := range id.queue.byCredential {
			level.Waiting[element.Value.(Request).Class]++
		}
		levels = append(levels, level)
	}
	return levels
}
