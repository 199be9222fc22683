package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// memoryLimit is the limit in config/manager/manager.yaml. The kernel kills a manager whose resident set exceeds it.
	memoryLimit = 256 << 20
	// maxLate is how late a refresh may be: the managers' failover takes up to 20 s, and the attack is in the middle of it.
	maxLate = 25 * time.Second
)

// measurement is what an attack did.
type measurement struct {
	// notReady is the longest time for which the victim's credential was not Ready or its Secret held no valid credentials.
	notReady time.Duration
	// late is the longest delay of a refresh after status.nextRefreshTime, or of a restart of the victim's workload.
	late time.Duration
	// refreshes and restarts count the victim's.
	refreshes, restarts int
	mustRestart         bool
	// leader and standby are peak resident sets in bytes.
	leader, standby float64
	// cpu is the CPU time of both managers.
	cpu time.Duration
	// requests is the number of requests that the attacker made.
	requests int64
	// died lists managers that ended by themselves.
	died []string
}

func (m measurement) problems() (problems []string) {
	for _, check := range []struct {
		problem string
		found   bool
	}{
		{"the victim was not Ready", m.notReady > 0},
		{"the victim was refreshed too late", m.late > maxLate},
		{"the victim was not refreshed", m.refreshes == 0},
		{"the victim's workload was not restarted", m.mustRestart && m.restarts == 0},
		{"a manager exceeded the memory limit", m.leader > memoryLimit || m.standby > memoryLimit},
		{"a manager ended", len(m.died) > 0},
	} {
		if check.found {
			problems = append(problems, check.problem)
		}
	}
	return problems
}

// measure makes one attack in a new cluster.
func measure(ctx context.Context, o options, a attack) (m measurement, err error) {
	w, err := newWorld(ctx, o)
	defer func() { err = errors.Join(err, w.cleanups.Run()) }()
	if err != nil {
		return m, err
	}
	if err := a.prepare(ctx, w); err != nil {
		return m, fmt.Errorf("preparing: %w", err)
	}
	if err := w.startVictim(ctx); err != nil {
		return m, err
	}
	duration := o.duration
	if a.restart {
		duration *= 2 // a restart waits until pods hold the new credentials
	}
	during, stop := context.WithTimeout(ctx, duration)
	defer stop()
	v := &victim{world: w}
	var group errgroup.Group
	group.Go(func() error { return v.watch(during) })
	group.Go(func() error { return v.runWorkload(during) })
	group.Go(func() error { return a.attack(during, w) })
	group.Go(func() error { return w.restartLeader(during, o.duration/3) })
	err = group.Wait()
	m = v.measurement
	m.mustRestart = a.restart
	m.requests = w.requests.Load()
	err = errors.Join(err, w.usage(&m))
	return m, err
}
