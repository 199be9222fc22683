package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	// memoryLimit is the limit in config/manager/manager.yaml. The kernel kills a manager whose resident set exceeds it.
	memoryLimit = 256 * mebibyte
	// maxLate is how late a refresh may be: the managers' failover takes up to 20 s, and the attack is in the middle of it.
	maxLate = 25 * time.Second
)

// bounds are the most that an attack may cause. Zero stands for the default, or for no bound if there is none.
type bounds struct {
	// growth is how much more memory a manager may take than before the attack, in bytes; defaultGrowth if zero.
	growth float64
	// cpu is the CPU time of both managers in relation to the duration of the attack; defaultCPU if zero.
	cpu float64
	// calls is the number of STS calls, except for the victim's.
	calls int
	// hanging is the number of STS calls in flight at the attacker's own endpoint.
	hanging int
	// events is the number of events in the attacker's namespace.
	events int
}

const (
	// defaultGrowth leaves room for the garbage of the attacker's objects, which the managers watch. It is three times the growth
	// that was measured for most attacks.
	defaultGrowth = 64 * mebibyte
	// defaultCPU is one core. It is five times the most that was measured, since a faster API server accepts more requests.
	defaultCPU = 1
)

// measurement is what an attack did.
type measurement struct {
	most     bounds
	duration time.Duration
	// notReady is the longest time for which the victim's credential was not Ready or its Secret held no valid credentials.
	notReady time.Duration
	// late is the longest delay of a refresh after status.nextRefreshTime.
	late time.Duration
	// refreshes and restarts count the victim's.
	refreshes, restarts int
	mustRestart         bool
	// rest is the larger resident set of the managers before the attack, and leader and standby are the peaks, in bytes.
	rest, leader, standby float64
	// cpu is the CPU time of both managers.
	cpu time.Duration
	// requests is the number of requests that the attacker made, and calls, hanging and events count what the bounds limit.
	requests               int64
	calls, hanging, events int
	// died lists managers that ended by themselves.
	died []string
}

// check finds one problem of an attack.
type check struct {
	problem string
	found   func(measurement) bool
}

// checks find all problems. A mutation names one of them.
var checks = []check{
	{"the victim was not Ready", func(m measurement) bool { return m.notReady > 0 }},
	{"the victim was refreshed too late", func(m measurement) bool { return m.late > maxLate }},
	{"the victim was not refreshed", func(m measurement) bool { return m.refreshes == 0 }},
	{"the victim's workload was not restarted", func(m measurement) bool { return m.mustRestart && m.restarts == 0 }},
	{"a manager exceeded the memory limit", func(m measurement) bool { return max(m.leader, m.standby) > memoryLimit }},
	{"a manager grew too much", func(m measurement) bool {
		return max(m.leader, m.standby)-m.rest > cmp.Or(m.most.growth, defaultGrowth)
	}},
	{"the managers took too much CPU time", func(m measurement) bool { return m.cpu.Seconds()/m.duration.Seconds() > cmp.Or(m.most.cpu, defaultCPU) }},
	{"STS was called too often", func(m measurement) bool { return exceeds(m.calls, m.most.calls) }},
	{"too many calls were in flight", func(m measurement) bool { return exceeds(m.hanging, m.most.hanging) }},
	{"too many events were written", func(m measurement) bool { return exceeds(m.events, m.most.events) }},
	{"a manager ended", func(m measurement) bool { return len(m.died) > 0 }},
}

// exceeds reports whether a number exceeds a bound that is not zero.
func exceeds(n, bound int) bool { return bound > 0 && n > bound }

func (m measurement) problems() (problems []string) {
	for _, check := range checks {
		if check.found(m) {
			problems = append(problems, check.problem)
		}
	}
	return problems
}

// measure makes one attack in a new cluster.
func measure(ctx context.Context, o options, a attack) (m measurement, err error) {
	w, err := newWorld(ctx, o, cmp.Or(a.qps, defaultQPS))
	defer func() { err = errors.Join(err, w.cleanups.Run()) }()
	if err != nil {
		return m, err
	}
	if err := a.setUp(ctx, w); err != nil {
		return m, fmt.Errorf("preparing: %w", err)
	}
	if err := w.startVictim(ctx); err != nil {
		return m, err
	}
	rest, err := w.resident()
	if err != nil {
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
	m.most, m.duration, m.mustRestart, m.rest = a.most, duration, a.restart, rest
	m.requests, m.hanging = w.requests.Load(), w.hanging.peak()
	err = errors.Join(err, w.usage(&m), w.count(ctx, &m))
	return m, err
}

// count writes into a measurement how many STS calls were not the victim's, and how many events the attacker's namespace has.
func (w *world) count(ctx context.Context, m *measurement) error {
	calls, err := stsemulator.FetchCalls(ctx, http.DefaultClient, w.stsURL)
	if err != nil {
		return err
	}
	for _, call := range calls {
		if call.Parameters.Get("RoleArn") != victimRole {
			m.calls++
		}
	}
	var events eventsv1.EventList
	if err := w.Client.List(ctx, &events, client.InNamespace(attackerNamespace)); err != nil {
		return err
	}
	m.events = len(events.Items)
	return nil
}
