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

// fault is a fault that the schedule can inject.
type fault struct {
	name string
	// kills is whether it ends a manager's process.
	kills bool
	// throughout is whether it lasts until the burst is over.
	throughout bool
	run        inject
}

// inject causes a fault for a duration, and returns its effects. Random choices come from rng alone, so that a seed repeats them.
type inject func(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (effects, error)

// effects count what a fault caused.
type effects map[string]int

func (e effects) add(other effects) {
	for what, n := range other {
		e[what] += n
	}
}

func (e effects) String() string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(e)) {
		parts = append(parts, fmt.Sprintf("%d %s", e[what], what))
	}
	return strings.Join(parts, ", ")
}

var faults = slices.Concat(stsFaults, apiFaults, managerFaults, clockFaults, objectFaults)

// matching returns the faults whose names match.
func matching(names interface{ MatchString(string) bool }) (chosen []*fault) {
	for _, f := range faults {
		if names.MatchString(f.name) {
			chosen = append(chosen, f)
		}
	}
	return chosen
}

// Faults of STS.
var stsFaults = []*fault{
	{name: "STS is down", run: stsFault(0, func(*rand.Rand) stsemulator.Fault { return stsemulator.Fault{Kind: stsemulator.FaultOutage} })},
	{name: "STS hangs", run: stsFault(0, hang)},
	{name: "STS hangs for longer", throughout: true, run: stsFault(0, hang)},
	{name: "STS resets connections", run: stsFault(0, func(*rand.Rand) stsemulator.Fault { return stsemulator.Fault{Kind: stsemulator.FaultReset} })},
	{name: "STS answers with garbage", run: stsFault(0, func(*rand.Rand) stsemulator.Fault { return stsemulator.Fault{Kind: stsemulator.FaultGarbage} })},
	{name: "STS is slow", run: stsFault(0, func(rng *rand.Rand) stsemulator.Fault {
		latency := 500*time.Millisecond + time.Duration(rng.Int64N(int64(1500*time.Millisecond)))
		return stsemulator.Fault{Kind: stsemulator.FaultLatency, Duration: metav1.Duration{Duration: latency}}
	})},
	{name: "STS answers 500 or 503", run: stsFault(0, func(rng *rand.Rand) stsemulator.Fault {
		code := []string{"InternalFailure", "ServiceUnavailable"}[rng.IntN(2)]
		return stsemulator.Fault{Kind: stsemulator.FaultError, Code: code}
	})},
	{name: "STS throttles", run: stsFault(afterThrottling, func(*rand.Rand) stsemulator.Fault {
		return stsemulator.Fault{Kind: stsemulator.FaultThrottle, Rate: 2}
	})},
	{name: "STS's clock is off", run: stsClockIsOff},
	{name: "a proxy writes a wrong Date", run: dateIsWrong},
}

func hang(*rand.Rand) stsemulator.Fault { return stsemulator.Fault{Kind: stsemulator.FaultHang} }

// afterThrottling is how long a throttled identity needs to reach its full rate again: the rate falls to a call in two seconds at the
// lowest, and grows by a twentieth of the full rate per second.
const afterThrottling = time.Minute

// stsFault is a fault of the emulator, with an effect that lasts for a duration after it.
func stsFault(after time.Duration, choose func(*rand.Rand) stsemulator.Fault) inject {
	return func(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (effects, error) {
		c.disruptions.Begin(observer.STS)
		defer c.disruptions.End(observer.STS, after)
		return c.injectSTSFault(ctx, lasts, choose(rng))
	}
}

// injectSTSFault injects a fault of the emulator, and returns the answers in that time.
func (c *chaos) injectSTSFault(ctx context.Context, lasts time.Duration, f stsemulator.Fault) (effects, error) {
	before := c.sts.counts()
	id, err := c.sts.SetFault(f)
	if err != nil {
		return nil, err
	}
	sleep(ctx, lasts)
	c.sts.ClearFault(id)
	return c.sts.since(before), nil
}

// eitherWay returns a duration or its negative.
func eitherWay(rng *rand.Rand, d time.Duration) time.Duration {
	if rng.IntN(2) == 0 {
		return -d
	}
	return d
}

// stsClockOff is how far the clock of STS is off: ten minutes, at the scale of the sessions' lifetimes.
const stsClockOff = 20 * time.Second

func stsClockIsOff(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (effects, error) {
	before := c.sts.counts()
	c.sts.clock.set(eitherWay(rng, stsClockOff))
	c.disruptions.Mark(observer.STS)
	sleep(ctx, lasts)
	c.sts.clock.set(0)
	c.disruptions.Mark(observer.STS)
	return c.sts.since(before), nil
}

// dateOff is how far a proxy's Date header is off: more than STS tolerates for a signature.
const dateOff = 5 * time.Hour

// dateIsWrong shifts the Date header of each answer of STS, and nothing else. The operator has to ignore the header, so that this is a
// disruption only while the operator's own clock is off: a manager that starts then depends on the header.
func dateIsWrong(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (effects, error) {
	offset := eitherWay(rng, dateOff)
	c.clockFault.RLock()
	defer c.clockFault.RUnlock()
	if c.operatorClockOffset() != 0 {
		c.disruptions.Begin(observer.STS)
		defer c.disruptions.End(observer.STS, 0)
	}
	return c.injectSTSFault(ctx, lasts, stsemulator.Fault{Kind: stsemulator.FaultSkewedDate, Duration: metav1.Duration{Duration: offset}})
}

// Faults of the API server, and of the connection to it.
var apiFaults = []*fault{
	{name: "the API server is killed and comes back", run: func(ctx context.Context, c *chaos, lasts time.Duration, _ *rand.Rand) (effects, error) {
		c.disruptions.Begin(observer.APIServer)
		defer c.disruptions.End(observer.APIServer, 0)
		start := time.Now()
		err := c.cluster.restart(ctx, lasts/4)
		return effects{"s without it": int(time.Since(start).Seconds())}, err
	}},
	{name: "etcd is paused", run: func(ctx context.Context, c *chaos, lasts time.Duration, _ *rand.Rand) (effects, error) {
		c.disruptions.Begin(observer.APIServer)
		defer c.disruptions.End(observer.APIServer, 0)
		return effects{"s of pause": int(lasts.Seconds() / 2)}, c.cluster.pauseEtcd(ctx, lasts/2)
	}},
	{name: "the API server is slow", run: apiFault("requests delayed", requestFault{share: 1, delay: 1200 * time.Millisecond})},
	{name: "the API server answers 409", run: apiFault("writes rejected", requestFault{share: 0.5, matches: isWriteOfObjects, status: http.StatusConflict})},
	{name: "the API server answers 429", run: apiFault("requests rejected", requestFault{share: 0.5, status: http.StatusTooManyRequests})},
	{name: "the API server answers 500", run: apiFault("requests rejected", requestFault{share: 0.5, status: http.StatusInternalServerError})},
	{name: "watches are dropped", run: func(ctx context.Context, c *chaos, lasts time.Duration, _ *rand.Rand) (effects, error) {
		dropped := 0
		for end := time.Now().Add(lasts); time.Now().Before(end) && ctx.Err() == nil; sleep(ctx, time.Second) {
			for _, m := range c.managers {
				dropped += m.proxy.dropWatches()
			}
		}
		return effects{"watches dropped": dropped}, nil
	}},
}

func isWriteOfObjects(r *http.Request) bool { return isWrite(r) && !isLease(r) }

// apiFault is a fault of the requests of both managers.
func apiFault(effect string, f requestFault) inject {
	return func(ctx context.Context, c *chaos, lasts time.Duration, _ *rand.Rand) (effects, error) {
		c.disruptions.Begin(observer.APIServer)
		defer c.disruptions.End(observer.APIServer, 0)
		count := 0
		var removals []func() int
		for _, m := range c.managers {
			removals = append(removals, m.proxy.inject(f))
		}
		sleep(ctx, lasts)
		for _, remove := range removals {
			count += remove()
		}
		return effects{effect: count}, nil
	}
}

// Faults of the operator's clock. They set the wall clock of the managers alone, whose monotonic clock is unchanged. The clock stays as it
// is set until the next of these faults.
var clockFaults = []*fault{
	{name: "the operator's clock is set 10 min back", run: operatorClock(-10 * time.Minute)},
	{name: "the operator's clock is set 10 min forward", run: operatorClock(10 * time.Minute)},
}

func operatorClock(offset time.Duration) inject {
	return func(_ context.Context, c *chaos, _ time.Duration, _ *rand.Rand) (effects, error) {
		c.clockFault.Lock()
		defer c.clockFault.Unlock()
		c.mu.Lock()
		defer c.mu.Unlock()
		found := effects{fmt.Sprintf("steps of %s", (offset - c.clockOffset).Abs()): 1}
		c.clockOffset = offset
		for _, m := range c.managers {
			if err := m.clock.SetOffset(offset); err != nil {
				return nil, err
			}
		}
		return found, nil
	}
}

// operatorClockOffset is how far the operator's clock is set forward.
func (c *chaos) operatorClockOffset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clockOffset
}
