package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// injectAll injects the faults of a schedule, burst by burst.
func (c *chaos) injectAll(ctx context.Context, plan []occurrence) error {
	start := time.Now()
	for len(plan) > 0 {
		next := slices.IndexFunc(plan, func(o occurrence) bool { return o.burst != plan[0].burst })
		if next < 0 {
			next = len(plan)
		}
		if err := errors.Join(c.injectBurst(ctx, start, plan[:next]), context.Cause(ctx)); err != nil {
			return err
		}
		if plan = plan[next:]; len(plan) > 0 { // checkRecovery follows the last burst
			c.awaitRecovery(ctx, time.Until(start.Add(plan[0].at)))
		}
	}
	return nil
}

// injectBurst injects the faults of one burst, and returns when all are over.
func (c *chaos) injectBurst(ctx context.Context, start time.Time, plan []occurrence) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, o := range plan {
		sleep(ctx, time.Until(start.Add(o.at)))
		if ctx.Err() != nil { // a fault could not be injected, or the run was interrupted
			break
		}
		c.logf("burst %d: %s", o.burst+1, o.fault.name)
		group.Go(func() error {
			found, err := o.fault.run(ctx, c, o.lasts, random(o.seed, 0))
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("injecting the fault %q: %w", o.fault.name, err)
			}
			c.count(o.fault, found)
			return nil
		})
	}
	return group.Wait()
}

// awaitRecovery records how long it takes after a burst until all credentials are Ready, unless the next burst starts before.
func (c *chaos) awaitRecovery(ctx context.Context, left time.Duration) {
	took, err := c.awaitAllReady(ctx, left)
	if err != nil {
		c.logf("recovery: %s", err)
		return
	}
	c.logf("recovery: all are Ready after %s", took.Round(time.Second/10))
	c.recoveries = append(c.recoveries, took)
}

func (c *chaos) count(f *fault, found effects) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.faultCounts[f.name] == nil {
		c.faultCounts[f.name] = &faultCount{effects: effects{}}
	}
	c.faultCounts[f.name].times++
	c.faultCounts[f.name].effects.add(found)
}
