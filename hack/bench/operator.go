package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

// The sides of a comparison: a bare client, a bare client that holds the operator's watches too, and the operator.
const (
	sideRaw      = "raw"
	sideWatching = "watching"
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
	// Seconds begin with the start of the operator's process or with the change that makes all credentials due, and with the first
	// request of a bare client. They end with the last status that a watch shows.
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"perSecond"`
	// PerSecondOfCalls is the same from the operator's first call of STS on.
	PerSecondOfCalls float64 `json:"perSecondFromFirstSTSCall,omitempty"`
	// What it took for each credential.
	STSCalls float64 `json:"stsCallsEach"`
	Requests counts  `json:"requestsEach"`
	// TerminatedWatches are the watches that the API server terminated in all, by resource, because they did not take their events in time.
	TerminatedWatches counts `json:"terminatedWatches,omitempty"`
	// CPU seconds for each 1,000 credentials, by program.
	CPU map[string]float64 `json:"cpuSecondsPer1000"`
}

// held is what it takes to hold credentials.
type held struct {
	// RSS is the median of samples over the idle time. PeakRSS is the largest since the start of the process. FileRSS is the part of RSS
	// that the kernel can take back.
	RSS        float64 `json:"rssBytes"`
	PeakRSS    float64 `json:"peakRSSBytes"`
	FileRSS    float64 `json:"fileRSSBytes"`
	Heap       float64 `json:"heapBytes"`
	Goroutines float64 `json:"goroutines"`
	// IdleCPU is the part of a core that is used while nothing is due.
	IdleCPU float64 `json:"idleCPU"`
}

// restart is a start with credentials that are all well.
type restart struct {
	SecondsToIdle float64 `json:"secondsToIdle"`
	STSCalls      int     `json:"stsCalls"`
	Requests      counts  `json:"requests"`
	Held          held    `json:"held"`
}

// watchPhase does something for n credentials and reports what it took.
func (w *world) watchPhase(ctx context.Context, n int, do func(context.Context) (begin, end time.Time, err error)) (phase, error) {
	var taken phase
	used, err := cpuByProgram()
	if err != nil {
		return taken, err
	}
	before, err := w.apiCounters(ctx)
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
	nowUsed, err := cpuByProgram()
	if err != nil {
		return taken, err
	}
	taken.CPU = map[string]float64{}
	for program, now := range nowUsed {
		taken.CPU[program] = (now - used[program]).Seconds() * 1000 / float64(n)
	}
	calls, err := w.sts.issues(ctx)
	if err != nil {
		return taken, err
	}
	after, err := w.apiCounters(ctx)
	if err != nil {
		return taken, err
	}
	taken.STSCalls, taken.Requests = float64(len(calls))/float64(n), after.requests.since(before.requests).each(n)
	taken.TerminatedWatches = after.terminated.since(before.terminated)
	taken.Seconds = end.Sub(begin).Seconds()
	taken.PerSecond = float64(n) / taken.Seconds
	if len(calls) > 0 {
		taken.PerSecondOfCalls = float64(n) / end.Sub(first(calls)).Seconds()
	}
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
	var m *manager
	if taken.Issue, err = w.watchPhase(ctx, n, func(ctx context.Context) (begin, end time.Time, err error) {
		if m, err = w.startManager(); err != nil {
			return begin, end, err
		}
		ctx, stop := m.whileRunning(ctx)
		defer stop()
		profiled := w.startProfile(ctx, m, n, "issue")
		end, err = o.await(ctx, slowly, n)
		return m.started, end, errors.Join(err, profiled())
	}); err != nil {
		return taken, fmt.Errorf("issuing: %w", err)
	}
	if err := m.settle(ctx, n); err != nil {
		return taken, err
	}
	if taken.Refresh, err = w.watchPhase(ctx, n, func(ctx context.Context) (begin, end time.Time, err error) {
		begin = time.Now()
		// Another issuer makes every credential due, by one write.
		err = w.change(ctx, func(spec *v1alpha1.ClusterIdentitySpec) {
			spec.Endpoint = strings.Replace(spec.Endpoint, "127.0.0.1", "localhost", 1)
		})
		if err != nil {
			return begin, end, err
		}
		ctx, stop := m.whileRunning(ctx)
		defer stop()
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
	ctx, stop := m.whileRunning(ctx)
	defer stop()
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

// Idle managers are looked at every sampleEvery, and their metrics are read every scrapeEvery, as Prometheus does in most clusters. A read
// allocates memory for each credential's metrics.
const (
	sampleEvery = time.Second
	scrapeEvery = 15 * time.Second
)

// measureHeld looks at a manager for a while in which nothing is due.
func (w *world) measureHeld(ctx context.Context, m *manager, idle time.Duration) (held, error) {
	var taken held
	before, err := cpu(m.Pid())
	if err != nil {
		return taken, err
	}
	var found families
	var samples figures
	for after := time.Duration(0); after < idle || found == nil; after += sampleEvery {
		if after%scrapeEvery == 0 {
			if found, err = m.scrape(ctx); err != nil {
				return taken, err
			}
		}
		if err := pause(ctx, sampleEvery); err != nil {
			return taken, err
		}
		used, err := memory(m.Pid())
		if err != nil {
			return taken, err
		}
		samples = append(samples, used.now)
		taken.PeakRSS, taken.FileRSS = used.peak, used.files
	}
	taken.RSS = samples.median()
	used, err := cpu(m.Pid())
	if err != nil {
		return taken, err
	}
	taken.IdleCPU = (used - before).Seconds() / (sampleEvery * time.Duration(len(samples))).Seconds()
	taken.Heap, taken.Goroutines = found.sum("go_memstats_heap_inuse_bytes", nil), found.sum("go_goroutines", nil)
	return taken, nil
}

// measureRestart starts a manager with n credentials that are all well.
func (w *world) measureRestart(ctx context.Context, n int, idle time.Duration) (restart, error) {
	var taken restart
	if err := w.sts.forget(ctx); err != nil {
		return taken, err
	}
	before, err := w.apiCounters(ctx)
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
	after, err := w.apiCounters(ctx)
	taken.STSCalls, taken.Requests = len(calls), after.requests.since(before.requests)
	return taken, err
}
