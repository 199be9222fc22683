package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"rolecredential.dev/operator/hack/chaos/observer"
)

// Faults of the managers.
var managerFaults = []*fault{
	killedWhen(stsCallStarts),
	killedWhen(stsCallEnds),
	killedWhen(secretWriteStarts),
	killedWhen(secretWriteEnds),
	killedWhen(statusWriteStarts),
	killedWhen(statusWriteEnds),
	{name: "both managers are killed", kills: true, run: func(ctx context.Context, c *chaos, lasts time.Duration, _ *rand.Rand) (effects, error) {
		sleep(ctx, lasts/4)
		killed := 0
		for _, m := range c.managers {
			if m.kill() {
				killed++
			}
		}
		return effects{"killed": killed}, nil
	}},
	{name: "the leader loses its lease during an STS call", kills: true, run: leaseIsReleased},
	{name: "the leader is cut off from the API server", kills: true, run: leaderIsCutOff},
}

// The effects of a fault that needs a leader, a breakpoint or a reconcile and does not find one.
const (
	noLeader      = "times no manager led"
	alreadyArmed  = "times the breakpoint was armed already"
	notReached    = "times no manager reached the breakpoint"
	notReleasable = "times the lease could not be released"
)

func leaderIsCutOff(ctx context.Context, c *chaos, _ time.Duration, _ *rand.Rand) (effects, error) {
	leader := c.awaitLeader(ctx, time.Minute)
	if leader == nil {
		return effects{noLeader: 1}, nil
	}
	c.disruptions.Begin(observer.APIServer)
	defer c.disruptions.End(observer.APIServer, 0)
	remove := leader.proxy.inject(requestFault{share: 1, status: cutOff, matches: func(*http.Request) bool { return true }})
	defer remove()
	leader.proxy.dropWatches()
	return c.awaitSuccession(ctx, leader), nil
}

// killedWhen kills a manager that reaches a point.
func killedWhen(at point) *fault {
	return &fault{name: "a manager is killed when " + string(at), kills: true, run: func(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (effects, error) {
		armed, ok := c.breakpoints.arm(at, func(m *manager) bool { return m != nil && m.kill() })
		if !ok {
			return effects{alreadyArmed: 1}, nil
		}
		defer c.breakpoints.disarm(at, armed)
		c.triggerIssues(ctx, rng)
		select {
		case <-armed.hit:
			return effects{"killed": 1}, nil
		case <-time.After(max(3*lasts, 45*time.Second)): // time for another manager to become leader
			return effects{notReached: 1}, nil
		case <-ctx.Done():
			return nil, nil
		}
	}}
}

// leaseIsReleased gives the lease to the other manager during an STS call of the leader. For some seconds both work.
func leaseIsReleased(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (effects, error) {
	result := make(chan effects, 1)
	armed, ok := c.breakpoints.arm(stsCallStarts, func(*manager) bool {
		c.releaseLease(ctx, result)
		return false
	})
	if !ok {
		return effects{alreadyArmed: 1}, nil
	}
	c.triggerIssues(ctx, rng)
	select {
	case found := <-result:
		return found, nil
	case <-time.After(lasts + time.Minute):
		c.breakpoints.disarm(stsCallStarts, armed)
		return effects{notReached: 1}, nil
	}
}

// releaseLease releases the leader's lease and blocks its renewal. It returns after the other manager had time to take over.
func (c *chaos) releaseLease(ctx context.Context, result chan<- effects) {
	leader := c.awaitLeader(ctx, 5*time.Second) // its metrics report it later than it starts to call
	if leader == nil {
		result <- effects{noLeader: 1}
		return
	}
	remove := leader.proxy.inject(requestFault{share: 1, status: http.StatusInternalServerError, matches: func(r *http.Request) bool {
		return isLease(r) && isWrite(r)
	}})
	if err := c.cluster.release(ctx); err != nil {
		remove()
		result <- effects{notReleasable: 1}
		return
	}
	go func() {
		result <- c.awaitSuccession(ctx, leader)
		remove()
	}()
	sleep(ctx, 3*time.Second)
}
