package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/hack/chaos/observer"
	"rolecredential.dev/operator/hack/stsemulator"
)

// fault is one that the schedule draws from.
type fault struct {
	name string
	// kills tells that it ends a manager's process.
	kills bool
	// throughout tells that it lasts until the storm is over.
	throughout bool
	// run lets it happen for a while, and says what was seen of it. It draws what it needs from rng, and nothing else.
	run func(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (seen, error)
}

// seen counts what was seen of a fault.
type seen map[string]int

func (s seen) add(other seen) {
	for what, n := range other {
		s[what] += n
	}
}

func (s seen) String() string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(s)) {
		parts = append(parts, fmt.Sprintf("%d %s", s[what], what))
	}
	return strings.Join(parts, ", ")
}

var faults = slices.Concat(stsFaults, apiFaults, managerFaults, clockFaults, objectFaults)

// What goes wrong with STS.
var stsFaults = []*fault{
	{name: "STS is down", run: ofSTS(0, func(*rand.Rand) stsemulator.Fault { return stsemulator.Fault{Kind: stsemulator.FaultOutage} })},
	{name: "STS hangs", run: ofSTS(0, hang)},
	{name: "STS hangs for longer", throughout: true, run: ofSTS(0, hang)},
	{name: "STS resets connections", run: ofSTS(0, func(*rand.Rand) stsemulator.Fault { return stsemulator.Fault{Kind: stsemulator.FaultReset} })},
	{name: "STS answers with garbage", run: ofSTS(0, func(*rand.Rand) stsemulator.Fault { return stsemulator.Fault{Kind: stsemulator.FaultGarbage} })},
	{name: "STS is slow", run: ofSTS(0, func(rng *rand.Rand) stsemulator.Fault {
		return stsemulator.Fault{Kind: stsemulator.FaultLatency, Duration: metav1.Duration{Duration: 500*time.Millisecond + time.Duration(rng.Int64N(int64(1500*time.Millisecond)))}}
	})},
	{name: "STS answers 500 or 503", run: ofSTS(0, func(rng *rand.Rand) stsemulator.Fault {
		code := []string{"InternalFailure", "ServiceUnavailable"}[rng.IntN(2)]
		return stsemulator.Fault{Kind: stsemulator.FaultError, Code: code}
	})},
	{name: "STS throttles", run: ofSTS(afterThrottling, func(*rand.Rand) stsemulator.Fault { return stsemulator.Fault{Kind: stsemulator.FaultThrottle, Rate: 2} })},
	{name: "STS's clock is off", run: stsClockIsOff},
	{name: "a proxy writes a wrong Date", run: dateIsWrong},
}

func hang(*rand.Rand) stsemulator.Fault { return stsemulator.Fault{Kind: stsemulator.FaultHang} }

// afterThrottling is as long as an identity takes that was slowed down to the least, a call in two seconds, to make all the calls of its
// budget again: it grows by a twentieth a second.
const afterThrottling = time.Minute

// ofSTS is a fault of the emulator's, which has an effect until a while after it.
func ofSTS(after time.Duration, draw func(*rand.Rand) stsemulator.Fault) func(context.Context, *chaos, time.Duration, *rand.Rand) (seen, error) {
	return func(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (seen, error) {
		before := c.sts.counts()
		c.weather.Begin(observer.OfSTS)
		defer c.weather.End(after, observer.OfSTS)
		id, err := c.sts.SetFault(draw(rng))
		if err != nil {
			return nil, err
		}
		pause(ctx, lasts)
		c.sts.ClearFault(id)
		return c.sts.since(before), nil
	}
}

// clockOff is how far the clock of STS is off: ten minutes, at the scale of the sessions' lifetimes.
const clockOff = 20 * time.Second

func stsClockIsOff(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (seen, error) {
	ahead := clockOff
	if rng.IntN(2) == 0 {
		ahead = -clockOff
	}
	before := c.sts.counts()
	c.sts.clock.set(ahead)
	c.weather.Gust(observer.OfSTS)
	pause(ctx, lasts)
	c.sts.clock.set(0)
	c.weather.Gust(observer.OfSTS)
	return c.sts.since(before), nil
}

// dateOff is how far a proxy's Date header is off: further than any signature may be.
const dateOff = 5 * time.Hour

// dateIsWrong shifts the Date header of each answer of STS, and nothing else. The operator has to ignore it, so that no promise is
// suspended, except while the operator's own clock is off: a manager that starts then has no other way to find that out.
func dateIsWrong(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (seen, error) {
	ahead := dateOff
	if rng.IntN(2) == 0 {
		ahead = -dateOff
	}
	c.clockFault.RLock()
	defer c.clockFault.RUnlock()
	if c.operatorAhead() != 0 {
		c.weather.Begin(observer.OfSTS)
		defer c.weather.End(0, observer.OfSTS)
	}
	before := c.sts.counts()
	id, err := c.sts.SetFault(stsemulator.Fault{Kind: stsemulator.FaultSkewedDate, Duration: metav1.Duration{Duration: ahead}})
	if err != nil {
		return nil, err
	}
	pause(ctx, lasts)
	c.sts.ClearFault(id)
	return c.sts.since(before), nil
}

// What goes wrong with the API server, or on the way to it.
var apiFaults = []*fault{
	{name: "the API server is killed and comes back", run: func(ctx context.Context, c *chaos, lasts time.Duration, _ *rand.Rand) (seen, error) {
		c.weather.Begin(observer.OfAPI)
		defer c.weather.End(0, observer.OfAPI)
		start := time.Now()
		err := c.cluster.restart(ctx, lasts/4)
		return seen{"s without it": int(time.Since(start).Seconds())}, err
	}},
	{name: "etcd is paused", run: func(ctx context.Context, c *chaos, lasts time.Duration, _ *rand.Rand) (seen, error) {
		c.weather.Begin(observer.OfAPI)
		defer c.weather.End(0, observer.OfAPI)
		return seen{"s of pause": int(lasts.Seconds() / 2)}, c.cluster.pauseEtcd(ctx, lasts/2)
	}},
	{name: "the API server is slow", run: ofAPI("requests held up", func() *ill { return &ill{share: 1, delay: 1200 * time.Millisecond} })},
	{name: "the API server answers 409", run: ofAPI("writes refused", func() *ill { return &ill{share: 0.5, matches: isWriteOfObjects, status: http.StatusConflict} })},
	{name: "the API server answers 429", run: ofAPI("requests refused", func() *ill { return &ill{share: 0.5, status: http.StatusTooManyRequests} })},
	{name: "the API server answers 500", run: ofAPI("requests refused", func() *ill { return &ill{share: 0.5, status: http.StatusInternalServerError} })},
	{name: "watches are dropped", run: func(ctx context.Context, c *chaos, lasts time.Duration, _ *rand.Rand) (seen, error) {
		dropped := 0
		for end := time.Now().Add(lasts); time.Now().Before(end) && ctx.Err() == nil; pause(ctx, time.Second) {
			for _, m := range c.managers {
				dropped += m.proxy.dropWatches()
			}
		}
		return seen{"watches dropped": dropped}, nil
	}},
}

func isWriteOfObjects(r *http.Request) bool { return isWrite(r) && !isLease(r) }

// ofAPI is something that goes wrong on the way of both managers.
func ofAPI(what string, draw func() *ill) func(context.Context, *chaos, time.Duration, *rand.Rand) (seen, error) {
	return func(ctx context.Context, c *chaos, lasts time.Duration, _ *rand.Rand) (seen, error) {
		c.weather.Begin(observer.OfAPI)
		defer c.weather.End(0, observer.OfAPI)
		found := draw()
		var ends []func()
		for _, m := range c.managers {
			ends = append(ends, m.proxy.set(found))
		}
		pause(ctx, lasts)
		for _, end := range ends {
			end()
		}
		return seen{what: found.count()}, nil
	}
}

// What goes wrong with the managers.
var managerFaults = []*fault{
	killedWhen(stsAsked),
	killedWhen(stsAnswered),
	killedWhen(secretAsked),
	killedWhen(secretWritten),
	killedWhen(statusAsked),
	killedWhen(statusWritten),
	{name: "both managers are killed", kills: true, run: func(ctx context.Context, c *chaos, lasts time.Duration, _ *rand.Rand) (seen, error) {
		pause(ctx, lasts/4)
		killed := 0
		for _, m := range c.managers {
			if m.kill() {
				killed++
			}
		}
		return seen{"killed": killed}, nil
	}},
	{name: "the lease is taken away while STS is asked", kills: true, run: leaseIsTaken},
	{name: "the leader is cut off from the API server", kills: true, run: func(ctx context.Context, c *chaos, _ time.Duration, _ *rand.Rand) (seen, error) {
		leader := c.awaitLeader(ctx, time.Minute)
		if leader == nil {
			return seen{"times none led": 1}, nil
		}
		c.weather.Begin(observer.OfAPI)
		defer c.weather.End(0, observer.OfAPI)
		end := leader.proxy.set(&ill{share: 1, status: -1, matches: func(*http.Request) bool { return true }})
		defer end()
		leader.proxy.dropWatches()
		return succession(ctx, c, leader), nil
	}},
}

// killedWhen kills a manager when it comes to a point.
func killedWhen(at point) *fault {
	return &fault{name: "a manager is killed when " + string(at), kills: true, run: func(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (seen, error) {
		armed, ok := c.traps.arm(at, func(m *manager) bool { return m != nil && m.kill() })
		if !ok {
			return seen{"times set already": 1}, nil
		}
		defer c.traps.disarm(at, armed)
		c.cause(ctx, rng)
		select {
		case <-armed.sprung:
			return seen{"killed": 1}, nil
		case <-time.After(max(3*lasts, 45*time.Second)): // none may lead as yet
			return seen{"times none came by": 1}, nil
		case <-ctx.Done():
			return nil, nil
		}
	}}
}

// leaseIsTaken gives the lease to the other manager while the leader waits for STS. For some seconds both work.
func leaseIsTaken(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (seen, error) {
	what := make(chan seen, 1)
	armed, ok := c.traps.arm(stsAsked, func(*manager) bool {
		leader := c.awaitLeader(ctx, 5*time.Second) // which is told a little later than it calls
		if leader == nil {
			what <- seen{"times none led": 1}
			return false
		}
		end := leader.proxy.set(&ill{share: 1, status: http.StatusInternalServerError, matches: func(r *http.Request) bool { return isLease(r) && isWrite(r) }})
		if err := c.cluster.release(ctx); err != nil {
			end()
			what <- seen{"times it could not be taken": 1}
			return false
		}
		go func() {
			what <- succession(ctx, c, leader)
			end()
		}()
		pause(ctx, 3*time.Second) // STS takes its time, and the other manager takes over
		return false
	})
	if !ok {
		return seen{"times set already": 1}, nil
	}
	c.cause(ctx, rng)
	select {
	case found := <-what:
		return found, nil
	case <-time.After(lasts + time.Minute):
		c.traps.disarm(stsAsked, armed)
		return seen{"times none came by": 1}, nil
	}
}

// succession waits until another process leads, and the former leader's has ended.
func succession(ctx context.Context, c *chaos, former *manager) seen {
	_, before := former.now()
	other := false
	for start := time.Now(); time.Since(start) < time.Minute && ctx.Err() == nil; pause(ctx, observer.Interval) {
		for _, m := range c.managers {
			if now, _ := m.now(); m != former && now.leads {
				other = true
			}
		}
		if _, now := former.now(); now > before {
			found := seen{"times the former leader ended itself": 1}
			if other {
				found["times the other led"] = 1
			}
			return found
		}
	}
	return seen{"times the leader went on": 1}
}

// What goes wrong with the operator's clock: that of its processes alone is set, and their monotonic time goes on. It stays as it was
// set, until it is set again.
var clockFaults = []*fault{
	{name: "the operator's clock is set 10 min behind", run: operatorClock(-10 * time.Minute)},
	{name: "the operator's clock is set 10 min ahead", run: operatorClock(10 * time.Minute)},
}

func operatorClock(ahead time.Duration) func(context.Context, *chaos, time.Duration, *rand.Rand) (seen, error) {
	return func(_ context.Context, c *chaos, _ time.Duration, _ *rand.Rand) (seen, error) {
		c.clockFault.Lock()
		defer c.clockFault.Unlock()
		c.mu.Lock()
		defer c.mu.Unlock()
		found := seen{fmt.Sprintf("steps of %s", (ahead - c.ahead).Abs()): 1}
		c.ahead = ahead
		for _, m := range c.managers {
			if err := m.clock.Step(ahead); err != nil {
				return nil, err
			}
		}
		return found, nil
	}
}

// operatorAhead is how far the operator's clock is set ahead.
func (c *chaos) operatorAhead() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead
}
