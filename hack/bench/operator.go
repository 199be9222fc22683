package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/program"
	"rolecredential.dev/operator/hack/stsemulator"
	"rolecredential.dev/operator/hack/usage"
)

// The sides of a comparison: a bare client, a bare client with the operator's watches, and the operator.
const (
	sideRaw      = "raw"
	sideWatching = "watching"
	sideOperator = "operator"
)

// measurement is the result of one side with n credentials.
type measurement struct {
	Side    string `json:"side"`
	N       int    `json:"n"`
	Issue   phase  `json:"issue"`
	Refresh phase  `json:"refresh"`
	// Footprint is the resource usage of the process that issued n credentials. Restart is a start of a process with n issued credentials.
	Footprint footprint `json:"held,omitzero"`
	Restart   restart   `json:"restart,omitzero"`
}

// phase is an issue or a refresh of n credentials.
type phase struct {
	// Seconds start with the operator's process, with the change that makes all credentials due, or with a bare client's first request.
	// They end with the last status that a watch shows.
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"perSecond"`
	// PerSecondOfCalls is PerSecond counted from the operator's first STS call.
	PerSecondOfCalls float64 `json:"perSecondFromFirstSTSCall,omitempty"`
	// STSCalls and Requests are per credential.
	STSCalls float64 `json:"stsCallsEach"`
	Requests counts  `json:"requestsEach"`
	// TerminatedWatches counts, by resource, the watches that the API server terminated because the client did not receive events in time.
	TerminatedWatches counts `json:"terminatedWatches,omitempty"`
	// CPU is in seconds per 1,000 credentials, by program.
	CPU map[string]float64 `json:"cpuSecondsPer1000"`
}

// footprint is the resource usage of an idle manager.
type footprint struct {
	// RSS is the median of samples over the idle time. PeakRSS is the largest since the start of the process. FileRSS is the part of RSS
	// that the kernel can reclaim.
	RSS        float64 `json:"rssBytes"`
	PeakRSS    float64 `json:"peakRSSBytes"`
	FileRSS    float64 `json:"fileRSSBytes"`
	Heap       float64 `json:"heapBytes"`
	Goroutines float64 `json:"goroutines"`
	// IdleCPU is the share of a core.
	IdleCPU float64 `json:"idleCPU"`
}

// restart is the start of a manager whose credentials are all valid.
type restart struct {
	SecondsToIdle float64   `json:"secondsToIdle"`
	STSCalls      int       `json:"stsCalls"`
	Requests      counts    `json:"requests"`
	Footprint     footprint `json:"held"`
}

// measurePhase calls do, which issues or refreshes n credentials, and measures it.
func (e *environment) measurePhase(ctx context.Context, n int, do func(context.Context) (begin, end time.Time, err error)) (phase, error) {
	var result phase
	used, err := cpuByProgram()
	if err != nil {
		return result, err
	}
	before, err := e.apiCounters(ctx)
	if err != nil {
		return result, err
	}
	if err := e.sts.resetCalls(ctx); err != nil {
		return result, err
	}
	begin, end, err := do(ctx)
	if err != nil {
		return result, err
	}
	nowUsed, err := cpuByProgram()
	if err != nil {
		return result, err
	}
	result.CPU = map[string]float64{}
	for program, now := range nowUsed {
		result.CPU[program] = (now - used[program]).Seconds() * 1000 / float64(n)
	}
	calls, err := e.sts.issues(ctx)
	if err != nil {
		return result, err
	}
	after, err := e.apiCounters(ctx)
	if err != nil {
		return result, err
	}
	result.STSCalls, result.Requests = float64(len(calls))/float64(n), after.requests.since(before.requests).each(n)
	result.TerminatedWatches = after.terminated.since(before.terminated)
	result.Seconds = end.Sub(begin).Seconds()
	result.PerSecond = float64(n) / result.Seconds
	if len(calls) > 0 {
		result.PerSecondOfCalls = float64(n) / end.Sub(first(calls)).Seconds()
	}
	return result, nil
}

func first(calls []stsemulator.Call) time.Time {
	if len(calls) == 0 {
		return time.Time{}
	}
	return calls[0].Time
}

// measureOperator measures the issue and refresh of n credentials, the footprint after them, and a restart.
func measureOperator(ctx context.Context, e *environment, n int, idle time.Duration) (measurement, error) {
	result := measurement{Side: sideOperator, N: n}
	if _, err := e.warmUp(ctx); err != nil {
		return result, err
	}
	if _, err := e.createCredentials(ctx, "bench", n, nil); err != nil {
		return result, err
	}
	o, err := e.observe(ctx)
	if err != nil {
		return result, err
	}
	var m *manager
	if m, result.Issue, err = e.measureIssue(ctx, o, n); err != nil {
		return result, fmt.Errorf("issuing: %w", err)
	}
	if result.Refresh, err = e.measureRefresh(ctx, m, o, n); err != nil {
		return result, fmt.Errorf("refreshing: %w", err)
	}
	if result.Footprint, err = e.measureFootprint(ctx, m, idle); err != nil {
		return result, err
	}
	if err := e.profile(ctx, m, "heap", "?gc=1", fmt.Sprint("held-", n)); err != nil {
		return result, err
	}
	if err := m.Stop(); err != nil {
		return result, err
	}
	result.Restart, err = e.measureRestart(ctx, n, idle)
	return result, err
}

// measureIssue starts a manager, and measures until it has issued n credentials and is idle.
func (e *environment) measureIssue(ctx context.Context, o *observer, n int) (m *manager, issue phase, err error) {
	issue, err = e.measurePhase(ctx, n, func(ctx context.Context) (begin, end time.Time, err error) {
		if m, err = e.startManager(); err != nil {
			return begin, end, err
		}
		ctx, stop := m.whileRunning(ctx)
		defer stop()
		profiled := e.startProfile(ctx, m, n, "issue")
		end, err = o.await(ctx, longTimeout, n)
		return m.started, end, errors.Join(err, profiled())
	})
	if err != nil {
		return m, issue, err
	}
	err = m.waitUntilIdle(ctx, n)
	return m, issue, err
}

// measureRefresh makes n credentials due by one change of their issuer, and measures until the manager has refreshed them and is idle.
func (e *environment) measureRefresh(ctx context.Context, m *manager, o *observer, n int) (phase, error) {
	refresh, err := e.measurePhase(ctx, n, func(ctx context.Context) (begin, end time.Time, err error) {
		begin = time.Now()
		err = e.change(ctx, func(spec *v1alpha1.ClusterIdentitySpec) {
			spec.Endpoint = strings.Replace(spec.Endpoint, "127.0.0.1", "localhost", 1)
		})
		if err != nil {
			return begin, end, err
		}
		ctx, stop := m.whileRunning(ctx)
		defer stop()
		profiled := e.startProfile(ctx, m, n, "refresh")
		end, err = o.await(ctx, longTimeout, 2*n)
		return begin, end, errors.Join(err, profiled())
	})
	if err != nil {
		return refresh, err
	}
	return refresh, m.waitUntilIdle(ctx, n)
}

// waitUntilIdle waits until the manager has reconciled n credentials and is idle.
func (m *manager) waitUntilIdle(ctx context.Context, n int) error {
	_, err := m.idleSince(ctx, n)
	return err
}

// idleSince waits until the manager has reconciled n credentials and is idle, and returns since when.
func (m *manager) idleSince(ctx context.Context, n int) (since time.Time, err error) {
	ctx, stop := m.whileRunning(ctx)
	defer stop()
	err = program.WaitUntil(ctx, longTimeout, 50*time.Millisecond, func(ctx context.Context) error {
		found, err := m.scrape(ctx)
		if err != nil {
			return err
		}
		reconciled := found.sum("controller_runtime_reconcile_total", func(labels map[string]string) bool { return labels["controller"] == "rolecredential" })
		busy := found.sum("controller_runtime_active_workers", nil) + found.sum("workqueue_depth", nil)
		if reconciled < float64(n) || busy > 0 {
			since = time.Time{}
			return fmt.Errorf("%.0f of %d are reconciled, %.0f are queued or in work", reconciled, n, busy)
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) <= 500*time.Millisecond {
			return errors.New("the manager has just become idle")
		}
		return nil
	})
	return since, err
}

// An idle manager's memory is read every sampleEvery, and its metrics every scrapeEvery, as Prometheus does in most clusters. A scrape
// allocates memory for each credential's metrics.
const (
	sampleEvery = time.Second
	scrapeEvery = 15 * time.Second
)

// measureFootprint samples a manager while no credential is due.
func (e *environment) measureFootprint(ctx context.Context, m *manager, idle time.Duration) (footprint, error) {
	var result footprint
	before, err := usage.CPU(m.Pid())
	if err != nil {
		return result, err
	}
	var found families
	var samples figures
	for after := time.Duration(0); after < idle || found == nil; after += sampleEvery {
		if after%scrapeEvery == 0 {
			if found, err = m.scrape(ctx); err != nil {
				return result, err
			}
		}
		if err := program.Sleep(ctx, sampleEvery); err != nil {
			return result, err
		}
		used, err := usage.Memory(m.Pid())
		if err != nil {
			return result, err
		}
		samples = append(samples, used.Now)
		result.PeakRSS, result.FileRSS = used.Peak, used.Files
	}
	result.RSS = samples.median()
	used, err := usage.CPU(m.Pid())
	if err != nil {
		return result, err
	}
	result.IdleCPU = (used - before).Seconds() / (sampleEvery * time.Duration(len(samples))).Seconds()
	result.Heap, result.Goroutines = found.sum("go_memstats_heap_inuse_bytes", nil), found.sum("go_goroutines", nil)
	return result, nil
}

// measureRestart starts a manager whose n credentials are all valid.
func (e *environment) measureRestart(ctx context.Context, n int, idle time.Duration) (restart, error) {
	var result restart
	if err := e.sts.resetCalls(ctx); err != nil {
		return result, err
	}
	before, err := e.apiCounters(ctx)
	if err != nil {
		return result, err
	}
	m, err := e.startManager()
	if err != nil {
		return result, err
	}
	since, err := m.idleSince(ctx, n)
	if err != nil {
		return result, fmt.Errorf("starting with %d: %w", n, err)
	}
	result.SecondsToIdle = since.Sub(m.started).Seconds()
	if result.Footprint, err = e.measureFootprint(ctx, m, idle); err != nil {
		return result, err
	}
	if err := e.profile(ctx, m, "heap", "?gc=1", fmt.Sprint("restarted-", n)); err != nil {
		return result, err
	}
	if err := m.Stop(); err != nil { // a request is counted when it ends, a watch too
		return result, err
	}
	calls, err := e.sts.issues(ctx)
	if err != nil {
		return result, err
	}
	after, err := e.apiCounters(ctx)
	result.STSCalls, result.Requests = len(calls), after.requests.since(before.requests)
	return result, err
}
