package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"

	"rolecredential.dev/operator/hack/chaos/observer"
)

// settings are what a run is told.
type settings struct {
	seed        uint64
	time        time.Duration
	credentials int
	faults      *regexp.Regexp
	manager     string
	assets      string
	// temporary is a folder that goes with the run.
	temporary string
	// dir is where logs and the result are left.
	dir string
	out io.Writer
}

// chaos is all that runs.
type chaos struct {
	settings
	world    *world
	cluster  *controlPlane
	sts      *sts
	traps    *traps
	managers []*manager
	weather  *observer.Weather
	ledger   *observer.Ledger
	bucket   *observer.Bucket
	observer *observer.Observer
	start    time.Time

	// doom is held by who deletes a namespace or breaks an identity.
	doom sync.Mutex

	// clockFault keeps the operator's clock from being set while the Date header is shifted: without a right Date a manager cannot
	// follow a clock that is set ahead. Faults that shift the Date header hold it for reading.
	clockFault sync.RWMutex

	mu sync.Mutex
	// ahead is how far the operator's clock is set ahead.
	ahead time.Duration
	// planted are the foreign Secrets.
	planted map[types.UID]bool
	// led is who was seen leading last, and leaders how many were.
	led     string
	leaders int
	tally   map[string]*tally
	// calm is what the leader told of itself before the first fault.
	calm reading
	// recoveries are how long it took after each storm until all were well, where that was seen.
	recoveries []time.Duration
}

// tally is what became of a fault.
type tally struct {
	times int
	seen  seen
}

// Limits of what may pass until all is well.
const (
	// honest is how long Ready=True may stand on what is no good, and settled how long after a fault of the API server or a change of
	// leaders that counts: a new leader reads everything first.
	honest, settled = 12 * time.Second, 15 * time.Second
	// tenth is added to a tenth of a life, for what a loaded machine takes.
	tenth = 3 * time.Second
	// recovery is how long after the last fault all must be well.
	recovery = 90 * time.Second
	// unasked is how many calls come before their tokens: each call under way may be repeated twice.
	unasked = 45
	// What the leader may have more in the end than before the first fault.
	moreGoroutines, moreConnections, moreSeries = 150, 60, 300
	moreMemory                                  = 64 << 20
)

func (c *chaos) say(format string, args ...any) {
	fmt.Fprintf(c.out, "%7.1fs  %s\n", time.Since(c.start).Seconds(), fmt.Sprintf(format, args...))
}

// run runs all of it, and tells whether all invariants held.
func run(ctx context.Context, s settings) (held bool, err error) {
	c := &chaos{
		settings: s, traps: &traps{}, weather: &observer.Weather{}, start: time.Now(),
		planted: map[types.UID]bool{}, tally: map[string]*tally{},
	}
	c.ledger = &observer.Ledger{OnBreach: func(i observer.Invariant, what string) { c.say("BROKEN: %s: %s", i, what) }}
	rng := random(s.seed, 0)
	c.world = newWorld(rng, s.credentials)
	c.bucket = &observer.Bucket{Ledger: c.ledger, Weather: c.weather, Rates: map[string]float64{}, Unasked: unasked}
	for _, i := range c.world.identities {
		c.bucket.Rates[i.name] = float64(i.qps)
	}
	var chosen []*fault
	for _, f := range faults {
		if s.faults.MatchString(f.name) {
			chosen = append(chosen, f)
		}
	}
	plan, err := schedule(rng, s.time, chosen)
	if err != nil {
		return false, err
	}
	logs := filepath.Join(s.dir, "logs")
	if err := errors.Join(os.RemoveAll(logs), os.MkdirAll(logs, 0o755)); err != nil { // managers add to what is there
		return false, err
	}
	c.say("seed %d: %d credentials, %d faults in %s; logs in %s", s.seed, s.credentials, len(plan), s.time, logs)
	if c.sts, err = startSTS(c.world.accounts(), fraction, c.traps); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.sts.close()) }()
	c.sts.leader = c.leader
	c.sts.called = func(id string) { c.bucket.Called(c.world.caller(id)) }
	c.cluster, err = startControlPlane(s.assets, s.temporary, logs)
	if c.cluster.Cluster != nil {
		defer func() { err = errors.Join(err, c.cluster.close()) }()
	}
	if err != nil {
		return false, err
	}
	if err := c.play(ctx, plan, logs); err != nil {
		return false, err
	}
	return c.report()
}

// play lets the operator work, and things go wrong.
func (c *chaos) play(ctx context.Context, plan []occurrence, logs string) error {
	if err := c.cluster.Install(ctx); err != nil {
		return err
	}
	c.observer = observer.New(observer.Options{
		Ledger: c.ledger, Weather: c.weather, Limits: observer.Limits{Honest: honest, Settle: settled, Tenth: tenth},
		Holder: c.sts.admin.URL + "/_admin/holder", STSNow: c.sts.clock.Now,
	})
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	defer func() { cancel(); _ = group.Wait() }() // what went wrong is told already
	group.Go(func() error { c.observer.View(ctx, c.cluster.Client); return nil })
	group.Go(func() error { c.observer.Watch(ctx); return nil })
	if err := c.startManagers(ctx, group, logs); err != nil {
		return err
	}
	if err := c.populate(ctx); err != nil {
		return err
	}
	if _, err := c.untilWell(ctx, 2*recovery); err != nil {
		return err
	}
	if err := c.baseline(ctx); err != nil {
		return err
	}
	c.say("all are Ready; the leader has %s", c.calm)
	began := time.Now()
	if err := c.storms(ctx, plan); err != nil {
		return err
	}
	return c.aftermath(ctx, began.Add(c.time))
}

func (c *chaos) startManagers(ctx context.Context, group *errgroup.Group, logs string) error {
	path, err := c.cluster.ManagerKubeconfig(ctx)
	if err != nil {
		return err
	}
	c.weather.Begin(observer.OfLeader)
	for i, name := range []string{"manager-a", "manager-b"} {
		p, err := newProxy(c.cluster.Config, c.traps, c.seed+uint64(i))
		if err != nil {
			return err
		}
		kubeconfig, err := clientcmd.LoadFromFile(path)
		if err != nil {
			return err
		}
		m, err := newManager(name, c.manager, logs, kubeconfig, c.cluster.Cluster, p)
		if err != nil {
			return err
		}
		m.changed = c.lead
		c.managers = append(c.managers, m)
	}
	for _, m := range c.managers {
		group.Go(func() error {
			defer m.proxy.server.Close()
			defer m.proxy.server.CloseClientConnections()
			return m.keep(ctx)
		})
		group.Go(func() error { m.follow(ctx); return nil })
	}
	return nil
}

// leader is the manager that leads, nil if none does.
func (c *chaos) leader() *manager {
	for _, m := range c.managers {
		if now, _ := m.now(); now.leads {
			return m
		}
	}
	return nil
}

// awaitLeader waits for a manager that leads. It is nil if none comes to.
func (c *chaos) awaitLeader(ctx context.Context, within time.Duration) *manager {
	for start := time.Now(); ; pause(ctx, observer.Interval) {
		if leader := c.leader(); leader != nil || time.Since(start) > within || ctx.Err() != nil {
			return leader
		}
	}
}

// lead takes note of who leads now.
func (c *chaos) lead() {
	leaders, led := 0, ""
	for _, m := range c.managers {
		if now, starts := m.now(); now.leads {
			leaders++
			led += fmt.Sprintf("%s/%d ", m.name, starts)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if led == c.led {
		return
	}
	switch {
	case leaders > 0 && c.leaders == 0:
		c.weather.End(0, observer.OfLeader)
	case leaders == 0 && c.leaders > 0:
		c.weather.Begin(observer.OfLeader)
	default:
		c.weather.Gust(observer.OfLeader)
	}
	c.led, c.leaders = led, leaders
	c.bucket.Lead(leaders)
}

// populate makes the world.
func (c *chaos) populate(ctx context.Context) error {
	for _, i := range c.world.identities {
		if i.namespace == "" {
			if err := c.makeIdentity(ctx, i); err != nil {
				return err
			}
		}
	}
	for _, namespace := range c.world.namespaces {
		if err := c.make(ctx, namespace); err != nil {
			return err
		}
	}
	return nil
}

// untilWell waits until all credentials are Ready with good Secrets, and says how long that took.
func (c *chaos) untilWell(ctx context.Context, within time.Duration) (time.Duration, error) {
	start := time.Now()
	for {
		unready := c.observer.Unready()
		if len(unready) == 0 {
			return time.Since(start), nil
		}
		if time.Since(start) > within || ctx.Err() != nil {
			return 0, errors.Join(ctx.Err(), fmt.Errorf("after %s %d are not well, such as %s", within, len(unready), strings.Join(unready[:min(5, len(unready))], "; ")))
		}
		pause(ctx, observer.Interval)
	}
}

// baseline waits for what the leader tells of itself when all is well.
func (c *chaos) baseline(ctx context.Context) error {
	return insist(ctx, func(context.Context) error {
		leader := c.leader()
		if leader == nil {
			return errors.New("no manager leads")
		}
		c.calm = reading{}
		for range 10 { // what comes and goes is left out
			pause(ctx, time.Second/2)
			c.calm = c.calm.least(leader)
		}
		return nil
	})
}

// storms lets each fault of the schedule happen at its time.
func (c *chaos) storms(ctx context.Context, plan []occurrence) error {
	start := time.Now()
	for len(plan) > 0 {
		next := slices.IndexFunc(plan, func(o occurrence) bool { return o.storm != plan[0].storm })
		until := c.time
		if next < 0 {
			next = len(plan)
		} else {
			until = plan[next].at
		}
		if err := errors.Join(c.storm(ctx, start, plan[:next]), context.Cause(ctx)); err != nil {
			return err
		}
		if plan = plan[next:]; len(plan) > 0 { // of the last calm, the aftermath tells
			c.calmDown(ctx, time.Until(start.Add(until)))
		}
	}
	return nil
}

// storm lets the faults of one storm happen, and returns when all are over.
func (c *chaos) storm(ctx context.Context, start time.Time, plan []occurrence) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, o := range plan {
		pause(ctx, time.Until(start.Add(o.at)))
		if ctx.Err() != nil { // by one that could not be let happen, or from outside
			break
		}
		c.say("storm %d: %s", o.storm+1, o.fault.name)
		group.Go(func() error {
			found, err := o.fault.run(ctx, c, o.lasts, random(o.seed, 0))
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("letting it happen that %s: %w", o.fault.name, err)
			}
			c.count(o.fault, found)
			return nil
		})
	}
	return group.Wait()
}

// calmDown sees how soon all is well after a storm, if that is before the next.
func (c *chaos) calmDown(ctx context.Context, left time.Duration) {
	took, err := c.untilWell(ctx, left)
	if err != nil {
		c.say("calm: %s", err)
		return
	}
	c.say("calm: all are well after %s", took.Round(time.Second/10))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recoveries = append(c.recoveries, took)
}

func (c *chaos) count(f *fault, found seen) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tally[f.name] == nil {
		c.tally[f.name] = &tally{seen: seen{}}
	}
	c.tally[f.name].times++
	c.tally[f.name].seen.add(found)
}

// aftermath checks that all becomes well again, and stays so until a time, and that nothing was left behind.
func (c *chaos) aftermath(ctx context.Context, until time.Time) error {
	c.say("the last fault is over")
	took, err := c.untilWell(ctx, recovery)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.ledger.Check(observer.Recovered, 2*recovery.Seconds(), recovery.Seconds(), err.Error)
	} else {
		c.say("all are well after %s", took.Round(time.Second/10))
		c.recoveries = append(c.recoveries, took)
		for _, each := range c.recoveries {
			c.ledger.Check(observer.Recovered, each.Seconds(), recovery.Seconds(), func() string { return fmt.Sprintf("all are after %s", each.Round(time.Second/10)) })
		}
	}
	pause(ctx, time.Until(until))
	return c.leftovers(ctx)
}

// leftovers compares what the leader has with what it had before the first fault. What a fault left waiting may end meanwhile.
func (c *chaos) leftovers(ctx context.Context) error {
	var now reading
	for start := time.Now(); ; pause(ctx, time.Second) {
		if leader := c.leader(); leader != nil {
			now, _ = leader.now()
		}
		tight := now.leads && now.goroutines <= c.calm.goroutines+moreGoroutines && now.connections <= c.calm.connections+moreConnections &&
			now.series <= c.calm.series+moreSeries && now.resident <= c.calm.resident+moreMemory
		if tight || time.Since(start) > time.Minute || ctx.Err() != nil {
			break
		}
	}
	c.say("the leader has %s", now)
	if !now.leads {
		return errors.Join(ctx.Err(), errors.New("no manager leads in the end"))
	}
	for _, of := range []struct {
		what             string
		now, before, may int
	}{
		{"goroutines", now.goroutines, c.calm.goroutines, moreGoroutines},
		{"open files", now.connections, c.calm.connections, moreConnections},
		{"series", now.series, c.calm.series, moreSeries},
	} {
		c.ledger.Check(observer.Tight, float64(of.now), float64(of.before+of.may), func() string {
			return fmt.Sprintf("%d %s; before the first fault %d", of.now, of.what, of.before)
		})
	}
	c.ledger.Check(observer.Level, float64(now.resident), float64(c.calm.resident+moreMemory), func() string {
		return fmt.Sprintf("%d MiB; before the first fault %d MiB", now.resident>>20, c.calm.resident>>20)
	})
	return nil
}
