package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"rolecredential.dev/operator/hack/chaos/observer"
)

// awaitAllReady waits until all credentials are Ready with usable Secrets, and returns how long that took.
func (c *chaos) awaitAllReady(ctx context.Context, within time.Duration) (time.Duration, error) {
	start := time.Now()
	for {
		unready := c.observer.Unready()
		if len(unready) == 0 {
			return time.Since(start), nil
		}
		if time.Since(start) > within || ctx.Err() != nil {
			return 0, errors.Join(ctx.Err(), fmt.Errorf("after %s %d credentials are not Ready with a usable Secret, such as %s",
				within, len(unready), strings.Join(unready[:min(5, len(unready))], "; ")))
		}
		sleep(ctx, observer.Interval)
	}
}

// measureBaseline records the leader's resource usage: the least of several readings, since some resources come and go.
func (c *chaos) measureBaseline(ctx context.Context) error {
	return retry(ctx, func(context.Context) error {
		leader := c.leader()
		if leader == nil {
			return errors.New("no manager leads")
		}
		c.baseline = usage{}
		for range 10 {
			sleep(ctx, time.Second/2)
			now, _ := leader.status()
			c.baseline = c.baseline.least(now)
		}
		return nil
	})
}

// checkRecovery checks that all credentials become Ready after the last fault, waits until a time, and checks for leaks.
func (c *chaos) checkRecovery(ctx context.Context, until time.Time) error {
	c.logf("the last fault is over")
	took, err := c.awaitAllReady(ctx, recovery)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.results.Check(observer.Recovered, 2*recovery.Seconds(), recovery.Seconds(), err.Error)
	} else {
		c.logf("all are Ready after %s", took.Round(time.Second/10))
		c.recoveries = append(c.recoveries, took)
	}
	for _, each := range c.recoveries {
		c.results.Check(observer.Recovered, each.Seconds(), recovery.Seconds(), func() string {
			return fmt.Sprintf("all are after %s", each.Round(time.Second/10))
		})
	}
	sleep(ctx, time.Until(until))
	return c.checkLeaks(ctx)
}

// checkLeaks compares the leader's resource usage with the baseline. It waits for a minute at most: requests that a fault blocked may
// still be in flight.
func (c *chaos) checkLeaks(ctx context.Context) error {
	limit := c.baseline.plus(usage{goroutines: moreGoroutines, connections: moreConnections, series: moreSeries, resident: moreMemory})
	var now usage
	for start := time.Now(); ; sleep(ctx, time.Second) {
		if leader := c.leader(); leader != nil {
			now, _ = leader.status()
		}
		if now.leads && now.within(limit) || time.Since(start) > time.Minute || ctx.Err() != nil {
			break
		}
	}
	c.logf("the leader has %s", now)
	if !now.leads {
		return errors.Join(ctx.Err(), errors.New("no manager leads after the last fault"))
	}
	for _, resource := range []struct {
		name               string
		now, limit, before int
	}{
		{"goroutines", now.goroutines, limit.goroutines, c.baseline.goroutines},
		{"open files", now.connections, limit.connections, c.baseline.connections},
		{"series", now.series, limit.series, c.baseline.series},
	} {
		c.results.Check(observer.NoLeak, float64(resource.now), float64(resource.limit), func() string {
			return fmt.Sprintf("%d %s; before the first fault %d", resource.now, resource.name, resource.before)
		})
	}
	c.results.Check(observer.MemoryStable, float64(now.resident), float64(limit.resident), func() string {
		return fmt.Sprintf("%d MiB; before the first fault %d MiB", now.resident>>20, c.baseline.resident>>20)
	})
	return nil
}
