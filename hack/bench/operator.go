package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

// The two sides of a comparison.
const (
	sideRaw      = "raw"
	sideOperator = "operator"
)

// measurement is what was measured of n credentials on one side.
type measurement struct {
	Side    string `json:"side"`
	N       int    `json:"n"`
	Issue   phase  `json:"issue"`
	Refresh phase  `json:"refresh"`
	// Held is how n issued credentials are held by the process that issued them, and Restart how by one that finds them.
	Held    held    `json:"held,omitzero"`
	Restart restart `json:"restart,omitzero"`
}

// phase is something done for each of n credentials.
type phase struct {
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"perSecond"`
	// What it took for each credential.
	STSCalls float64  `json:"stsCallsEach"`
	Requests requests `json:"requestsEach"`
	// CPU seconds for each 1,000 credentials, by program.
	CPU map[string]float64 `json:"cpuSecondsPer1000"`
}

// held is what it takes to hold credentials.
type held struct {
	RSS        float64 `json:"rssBytes"`
	PeakRSS    float64 `json:"peakRSSBytes"`
	Heap       float64 `json:"heapBytes"`
	Goroutines float64 `json:"goroutines"`
	// IdleCPU is the part of a core that is used while nothing is due.
	IdleCPU float64 `json:"idleCPU"`
}

// restart is a start with credentials that are all well.
type restart struct {
	SecondsToIdle float64  `json:"secondsToIdle"`
	STSCalls      int      `json:"stsCalls"`
	Requests      requests `json:"requests"`
	Held          held     `json:"held"`
}

// watchPhase does something for n credentials and tells what it took. With a manager, it began with the first call of STS.
func (w *world) watchPhase(ctx context.Context, n int, m *manager, do func(context.Context) (begin, end time.Time, err error)) (phase, error) {
	var taken phase
	programs, err := children(os.Getpid())
	if err != nil {
		return taken, err
	}
	programs["bench"] = os.Getpid()
	used := map[string]time.Duration{}
	for program, pid := range programs {
		if used[program], err = cpu(pid); err != nil {
			return taken, err
		}
	}
	before, err := w.requests(ctx)
	if err != nil {
		return taken, err
	}
	if err := w.sts.forget(ctx); err != nil {
		return taken, err
	}
	begin, end, err := do(ctx)
	if err != nil {
		return taken, err
	}
	taken.CPU = map[string]float64{}
	for program, pid := range programs {
		now, err := cpu(pid)
		if err != nil {
			return taken, err
		}
		taken.CPU[program] = (now - used[program]).Seconds() * 1000 / float64(n)
	}
	calls, err := w.sts.issues(ctx)
	if err != nil {
		return taken, err
	}
	if m != nil {
		begin = first(calls)
	}
	after, err := w.requests(ctx)
	if err != nil {
		return taken, err
	}
	taken.STSCalls, taken.Requests = float64(len(calls))/float64(n), after.since(before).each(n)
	taken.Seconds = end.Sub(begin).Seconds()
	taken.PerSecond = float64(n) / taken.Seconds
	return taken, nil
}

func first(calls []stsemulator.Call) time.Time {
	if len(calls) == 0 {
		return time.Time{}
	}
	return calls[0].Time
}

// measureOperator measures how fast the operator issues n credentials and refreshes them, what it takes to hold them, and what a
// restart costs.
func measureOperator(ctx context.Context, w *world, n int, idle time.Duration) (measurement, error) {
	taken := measurement{Side: sideOperator, N: n}
	if _, err := w.warmUp(ctx); err != nil {
		return taken, err
	}
	if _, err := w.prepare(ctx, "bench", n, nil); err != nil {
		return taken, err
	}
	o, err := w.observe(ctx)
	if err != nil {
		return taken, err
	}
	m, err := w.startManager()
	if err != nil {
		return taken, err
	}
	if taken.Issue, err = w.watchPhase(ctx, n, m, func(ctx context.Context) (begin, end time.Time, err error) {
		profiled := w.startProfile(ctx, m, n, "issue")
		end, err = o.await(ctx, slowly, n)
		return begin, end, errors.Join(err, profiled())
	}); err != nil {
		return taken, fmt.Errorf("issuing: %w", err)
	}
	if err := m.settle(ctx, n); err != nil {
		return taken, err
	}
	if taken.Refresh, err = w.watchPhase(ctx, n, m, func(ctx context.Context) (begin, end time.Time, err error) {
		// Another issuer makes every credential due, by one write.
		err = w.change(ctx, func(spec *v1alpha1.ClusterIdentitySpec) {
			spec.Endpoint = strings.Replace(spec.Endpoint, "127.0.0.1", "localhost", 1)
		})
		if err != nil {
			return begin, end, err
		}
		profiled := w.startProfile(ctx, m, n, "refresh")
		end, err = o.await(ctx, slowly, 2*n)
		return begin, end, errors.Join(err, profiled())
	}); err != nil {
		return taken, fmt.Errorf("refreshing: %w", err)
	}
	if err := m.settle(ctx, n); err != nil {
		return taken, err
	}
	if taken.Held, err = w.measureHeld(ctx, m, idle); err != nil {
		return taken, err
	}
	if err := w.profile(ctx, m, "heap", "?gc=1", fmt.Sprint("held-", n)); err != nil {
		return taken, err
	}
	if err := m.End(); err != nil {
		return taken, err
	}
	taken.Restart, err = w.measureRestart(ctx, n, idle)
	return taken, err
}

// settle waits until the manager has looked at n credentials and has nothing more to do.
func (m *manager) settle(ctx context.Context, n int) error {
	_, err := m.idleSince(ctx, n)
	return err
}

// idleSince waits until the manager has looked at n credentials and has nothing more to do, and returns since when.
func (m *manager) idleSince(ctx context.Context, n int) (since time.Time, err error) {
	err = await(ctx, slowly, 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		found, err := m.scrape(ctx)
		if err != nil { // it does not serve them yet
			return false, ctx.Err()
		}
		seen := found.sum("controller_runtime_reconcile_total", func(labels map[string]string) bool { return labels["controller"] == "rolecredential" })
		busy := found.sum("controller_runtime_active_workers", nil) + found.sum("workqueue_depth", nil)
		if seen < float64(n) || busy > 0 {
			since = time.Time{}
			return false, nil
		}
		if since.IsZero() {
			since = time.Now()
		}
		return time.Since(since) > 500*time.Millisecond, nil
	})
	return since, err
}

// measureHeld looks at a manager for a while in which nothing is due.
func (w *world) measureHeld(ctx context.Context, m *manager, idle time.Duration) (held, error) {
	var taken held
	before, err := cpu(m.Pid())
	if err != nil {
		return taken, err
	}
	select {
	case <-time.After(idle):
	case <-ctx.Done():
		return taken, ctx.Err()
	}
	after, err := cpu(m.Pid())
	if err != nil {
		return taken, err
	}
	taken.IdleCPU = (after - before).Seconds() / idle.Seconds()
	if taken.RSS, taken.PeakRSS, err = memory(m.Pid()); err != nil {
		return taken, err
	}
	found, err := m.scrape(ctx)
	if err != nil {
		return taken, err
	}
	taken.Heap, taken.Goroutines = found.sum("go_memstats_heap_inuse_bytes", nil), found.sum("go_goroutines", nil)
	return taken, nil
}

// measureRestart starts a manager with n credentials that are all well.
func (w *world) measureRestart(ctx context.Context, n int, idle time.Duration) (restart, error) {
	var taken restart
	if err := w.sts.forget(ctx); err != nil {
		return taken, err
	}
	before, err := w.requests(ctx)
	if err != nil {
		return taken, err
	}
	m, err := w.startManager()
	if err != nil {
		return taken, err
	}
	since, err := m.idleSince(ctx, n)
	if err != nil {
		return taken, fmt.Errorf("starting with %d: %w", n, err)
	}
	taken.SecondsToIdle = since.Sub(m.started).Seconds()
	if taken.Held, err = w.measureHeld(ctx, m, idle); err != nil {
		return taken, err
	}
	if err := w.profile(ctx, m, "heap", "?gc=1", fmt.Sprint("restarted-", n)); err != nil {
		return taken, err
	}
	if err := m.End(); err != nil { // what it asked last is counted then, its watches too
		return taken, err
	}
	calls, err := w.sts.issues(ctx)
	if err != nil {
		return taken, err
	}
	after, err := w.requests(ctx)
	taken.STSCalls, taken.Requests = len(calls), after.since(before)
	return taken, err
}
