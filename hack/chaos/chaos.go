package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"

	"rolecredential.dev/operator/hack/chaos/observer"
)

// settings are the options of a run.
type settings struct {
	seed        uint64
	time        time.Duration
	credentials int
	faults      *regexp.Regexp
	manager     string
	assets      string
	// temporary is a folder that is deleted after the run.
	temporary string
	// dir is the folder of logs and of the result.
	dir string
	out io.Writer
}

// chaos is one run: the API server, STS, two managers, the faults and the observer.
type chaos struct {
	settings
	workload    *workload
	cluster     *controlPlane
	sts         *sts
	breakpoints *breakpoints
	managers    []*manager
	disruptions *observer.Disruptions
	results     *observer.Results
	bucket      *observer.Bucket
	observer    *observer.Observer
	start       time.Time

	// exclusive serializes the faults that delete a namespace or break an identity.
	exclusive sync.Mutex

	// clockFault keeps the operator's clock unchanged while the Date header is shifted: a manager needs a correct Date to follow a clock
	// that is set forward. Faults that shift the Date header lock it for reading.
	clockFault sync.RWMutex

	mu sync.Mutex
	// clockOffset is how far the operator's clock is set forward.
	clockOffset time.Duration
	// foreign are the foreign Secrets that exist.
	foreign map[types.UID]bool
	// leaders names the processes that led at the last change, and leaderCount counts them.
	leaders     string
	leaderCount int
	faultCounts map[string]*faultCount
	// baseline is the leader's resource usage before the first fault.
	baseline usage
	// recoveries are the times from the end of a burst until all credentials were Ready, where the next burst left time for that.
	recoveries []time.Duration
}

// faultCount is how often a fault happened, and its effects.
type faultCount struct {
	times   int
	effects effects
}

// Bounds of the checks.
const (
	// readyLag: a change of a Secret during an STS call shows when the call ends, after 10 s at most.
	readyLag = 12 * time.Second
	// settleTime: a new leader, or one that reaches the API server again, reads everything first.
	settleTime = 15 * time.Second
	// refreshSlack: after a failure, the operator backs off for at least 5 s, and otherwise for at most half of the remaining time.
	refreshSlack = 3 * time.Second
	// recovery: another manager leads after up to 20 s, and half of the credentials share a rate limit of 8 calls per second.
	recovery = 90 * time.Second
	// retriedCalls are calls without a token: the SDK repeats each call in flight at most twice.
	retriedCalls = 45
	// How much more the leader may use after the last fault than before the first. Some resources come and go with the work, new
	// outcomes add series, and the Go runtime returns memory late.
	moreGoroutines, moreConnections, moreSeries = 150, 60, 300
	moreMemory                                  = 64 << 20
)

func (c *chaos) logf(format string, args ...any) {
	fmt.Fprintf(c.out, "%7.1fs  %s\n", time.Since(c.start).Seconds(), fmt.Sprintf(format, args...))
}

// run injects the faults of a schedule, and returns whether all invariants held.
func run(ctx context.Context, s settings) (passed bool, err error) {
	rng := random(s.seed, 0)
	c := newChaos(s, newWorkload(rng, s.credentials))
	plan, err := schedule(rng, s.time, matching(s.faults))
	if err != nil {
		return false, err
	}
	logs := filepath.Join(s.dir, "logs")
	if err := errors.Join(os.RemoveAll(logs), os.MkdirAll(logs, 0o755)); err != nil { // managers append to their logs
		return false, err
	}
	c.logf("seed %d: %d credentials, %d faults in %s; logs in %s", s.seed, s.credentials, len(plan), s.time, logs)
	if c.sts, err = startSTS(c.workload.accounts(), fraction, c.breakpoints); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.sts.close()) }()
	c.sts.leader = c.leader
	c.sts.called = func(id string) { c.bucket.RecordCall(c.workload.caller(id)) }
	c.cluster, err = startControlPlane(s.assets, s.temporary, logs)
	if c.cluster.Cluster != nil {
		defer func() { err = errors.Join(err, c.cluster.close()) }()
	}
	if err != nil {
		return false, err
	}
	if err := c.execute(ctx, plan, logs); err != nil {
		return false, err
	}
	return c.report()
}

func newChaos(s settings, w *workload) *chaos {
	c := &chaos{
		settings: s, workload: w, breakpoints: &breakpoints{}, disruptions: &observer.Disruptions{}, start: time.Now(),
		foreign: map[types.UID]bool{}, faultCounts: map[string]*faultCount{},
	}
	c.results = &observer.Results{OnBreach: func(i observer.Invariant, what string) { c.logf("BROKEN: %s: %s", i, what) }}
	c.bucket = &observer.Bucket{Results: c.results, Disruptions: c.disruptions, Rates: map[string]float64{}, Retries: retriedCalls}
	for _, i := range w.identities {
		c.bucket.Rates[i.name] = float64(i.qps)
	}
	return c
}

// execute installs the operator, injects the faults, and checks that everything recovers.
func (c *chaos) execute(ctx context.Context, plan []occurrence, logs string) error {
	if err := c.cluster.Install(ctx, "."); err != nil {
		return err
	}
	c.observer = observer.New(observer.Options{
		Results: c.results, Disruptions: c.disruptions,
		Limits:     observer.Limits{ReadyLag: readyLag, Settle: settleTime, RefreshSlack: refreshSlack},
		SessionURL: c.sts.admin.URL + "/_admin/session", STSNow: c.sts.clock.Now,
	})
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	defer func() { cancel(); _ = group.Wait() }() // the first error has ended the context, and is returned as its cause
	group.Go(func() error { c.observer.Watch(ctx, c.cluster.Client); return nil })
	group.Go(func() error { c.observer.Check(ctx); return nil })
	if err := c.startManagers(ctx, group, logs); err != nil {
		return err
	}
	if err := c.createObjects(ctx); err != nil {
		return err
	}
	if _, err := c.awaitAllReady(ctx, 2*recovery); err != nil {
		return err
	}
	if err := c.measureBaseline(ctx); err != nil {
		return err
	}
	c.logf("all are Ready; the leader has %s", c.baseline)
	began := time.Now()
	if err := c.injectAll(ctx, plan); err != nil {
		return err
	}
	return c.checkRecovery(ctx, began.Add(c.time))
}

func (c *chaos) startManagers(ctx context.Context, group *errgroup.Group, logs string) error {
	path, err := c.cluster.ManagerKubeconfig(ctx)
	if err != nil {
		return err
	}
	c.disruptions.Begin(observer.Leader)
	for i, name := range []string{"manager-a", "manager-b"} {
		p, err := newProxy(c.cluster.Config, c.breakpoints, c.seed+uint64(i))
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
		m.changed = c.updateLeaders
		c.managers = append(c.managers, m)
	}
	for _, m := range c.managers {
		group.Go(func() error {
			defer m.proxy.server.Close()
			defer m.proxy.server.CloseClientConnections()
			return m.run(ctx)
		})
		group.Go(func() error { m.pollMetrics(ctx); return nil })
	}
	return nil
}

// createObjects creates the identities, namespaces and credentials.
func (c *chaos) createObjects(ctx context.Context) error {
	for _, i := range c.workload.identities {
		if i.namespace == "" {
			if err := c.createIdentity(ctx, i); err != nil {
				return err
			}
		}
	}
	for _, namespace := range c.workload.namespaces {
		if err := c.createNamespace(ctx, namespace); err != nil {
			return err
		}
	}
	return nil
}
