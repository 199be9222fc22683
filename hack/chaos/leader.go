package main

import (
	"context"
	"fmt"
	"time"

	"rolecredential.dev/operator/hack/chaos/observer"
)

// leader returns the manager that leads, nil for none.
func (c *chaos) leader() *manager {
	for _, m := range c.managers {
		if now, _ := m.status(); now.leads {
			return m
		}
	}
	return nil
}

// awaitLeader waits until a manager leads. It returns nil if none does within the bound.
func (c *chaos) awaitLeader(ctx context.Context, within time.Duration) *manager {
	for start := time.Now(); ; sleep(ctx, observer.Interval) {
		if leader := c.leader(); leader != nil || time.Since(start) > within || ctx.Err() != nil {
			return leader
		}
	}
}

// updateLeaders records a change of leaders as a disruption.
func (c *chaos) updateLeaders() {
	count, leaders := 0, ""
	for _, m := range c.managers {
		if now, starts := m.status(); now.leads {
			count++
			leaders += fmt.Sprintf("%s/%d ", m.name, starts)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if leaders == c.leaders {
		return
	}
	switch {
	case count > 0 && c.leaderCount == 0:
		c.disruptions.End(observer.Leader, 0)
	case count == 0 && c.leaderCount > 0:
		c.disruptions.Begin(observer.Leader)
	default:
		c.disruptions.Mark(observer.Leader)
	}
	c.leaders, c.leaderCount = leaders, count
	c.bucket.SetLeaders(count)
}

// awaitSuccession waits until another process leads, and the former leader's process has exited.
func (c *chaos) awaitSuccession(ctx context.Context, former *manager) effects {
	_, before := former.status()
	otherLed := false
	for start := time.Now(); time.Since(start) < time.Minute && ctx.Err() == nil; sleep(ctx, observer.Interval) {
		for _, m := range c.managers {
			if now, _ := m.status(); m != former && now.leads {
				otherLed = true
			}
		}
		if _, now := former.status(); now > before {
			found := effects{"times the former leader exited": 1}
			if otherLed {
				found["times the other manager led"] = 1
			}
			return found
		}
	}
	return effects{"times the former leader kept running": 1}
}
