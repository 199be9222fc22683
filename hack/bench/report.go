package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const tablesFile = "performance-tables.md"

// write writes the results to a folder, as JSON and as tables.
func (r *results) write(folder string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	files := map[string]string{"performance.json": string(text) + "\n", tablesFile: r.tables()}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// figures are the values of one quantity over several repetitions.
type figures []float64

func (f figures) median() float64 {
	sorted := slices.Sorted(slices.Values(f))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// text returns the median, with the smallest and the largest value.
func (f figures) text(format string) string {
	if len(f) == 0 {
		return "–"
	}
	median := fmt.Sprintf(format, f.median())
	if len(f) == 1 {
		return median
	}
	return fmt.Sprintf("%s (%s–%s)", median, fmt.Sprintf(format, slices.Min(f)), fmt.Sprintf(format, slices.Max(f)))
}

// of returns a quantity of a side's measurements of n credentials.
func (r *results) of(side string, n int, quantity func(measurement) float64) (found figures) {
	for _, m := range r.Measurements {
		if m.Side == side && m.N == n {
			found = append(found, quantity(m))
		}
	}
	return found
}

// ratio divides the operator's figures by those of a bare client, repetition by repetition.
func (r *results) ratio(side string, n int, quantity func(measurement) float64) figures {
	operator, bare := r.of(sideOperator, n, quantity), r.of(side, n, quantity)
	var each figures
	for i := range min(len(operator), len(bare)) {
		each = append(each, operator[i]/bare[i])
	}
	return each
}

func (r *results) sizes() (sizes []int) {
	for _, m := range r.Measurements {
		if !slices.Contains(sizes, m.N) {
			sizes = append(sizes, m.N)
		}
	}
	return sizes
}

const mebi = 1 << 20

// rows are the rows of the operator's table.
var rows = []struct {
	name, format string
	quantity     func(measurement) float64
}{
	{"CPU of the manager, s per 1,000 issued", "%.2f", func(m measurement) float64 { return m.Issue.CPU["manager"] }},
	{"CPU of the manager, s per 1,000 refreshed", "%.2f", func(m measurement) float64 { return m.Refresh.CPU["manager"] }},
	{"CPU of etcd and kube-apiserver, s per 1,000 issued", "%.2f", func(m measurement) float64 { return m.Issue.CPU["etcd"] + m.Issue.CPU["kube-apiserver"] }},
	{"CPU of kube-controller-manager, s per 1,000 issued", "%.2f", func(m measurement) float64 { return m.Issue.CPU[controllerManagerComm] }},
	{"watches that the API server terminated, issued and refreshed", "%.0f", func(m measurement) float64 {
		return sum(m.Issue.TerminatedWatches) + sum(m.Refresh.TerminatedWatches)
	}},
	{"STS calls per issue", "%.3f", func(m measurement) float64 { return m.Issue.STSCalls }},
	{"STS calls per refresh", "%.3f", func(m measurement) float64 { return m.Refresh.STSCalls }},
	{"memory (RSS), peak of issue and refresh, MiB", "%.0f", func(m measurement) float64 { return m.Footprint.PeakRSS / mebi }},
	{"memory (RSS) after issue and refresh, MiB", "%.0f", func(m measurement) float64 { return m.Footprint.RSS / mebi }},
	{"memory (RSS), peak of a restart, MiB", "%.0f", func(m measurement) float64 { return m.Restart.Footprint.PeakRSS / mebi }},
	{"memory (RSS) after a restart, MiB", "%.0f", func(m measurement) float64 { return m.Restart.Footprint.RSS / mebi }},
	{"of which pages of files, which the kernel can reclaim, MiB", "%.0f", func(m measurement) float64 { return m.Restart.Footprint.FileRSS / mebi }},
	{"heap after a restart, MiB", "%.0f", func(m measurement) float64 { return m.Restart.Footprint.Heap / mebi }},
	{"goroutines", "%.0f", func(m measurement) float64 { return m.Footprint.Goroutines }},
	{"CPU while idle, % of a core", "%.2f", func(m measurement) float64 { return 100 * m.Restart.Footprint.IdleCPU }},
	{"start to idle with all valid, s", "%.1f", func(m measurement) float64 { return m.Restart.SecondsToIdle }},
	{"STS calls of a restart", "%.0f", func(m measurement) float64 { return float64(m.Restart.STSCalls) }},
	{"writes of a restart, without the event of the leader election", "%.0f", func(m measurement) float64 { return writes(m.Restart.Requests) }},
	{"reads of single objects of a restart", "%.0f", func(m measurement) float64 { return sumOf(m.Restart.Requests, "GET") }},
}

func writes(r counts) float64 { return max(0, sumOf(r, "POST", "PUT", "PATCH", "APPLY", "DELETE")-1) }

func sum(c counts) (sum float64) {
	for _, n := range c {
		sum += n
	}
	return sum
}

func sumOf(r counts, verbs ...string) (sum float64) {
	for what, n := range r {
		if verb, _, _ := strings.Cut(what, " "); slices.Contains(verbs, verb) {
			sum += n
		}
	}
	return sum
}

func (r *results) tables() string {
	var b strings.Builder
	if len(r.Measurements) > 0 {
		r.writeComparison(&b)
		r.writeCosts(&b)
		r.writeRequests(&b)
	}
	if l := r.Latency; l != nil {
		fmt.Fprintf(&b, "\n| One credential, otherwise idle | p50 | p99 |\n|---|---|---|\n| two writes of the bare client | %.0f ms | %.0f ms |\n| from apply to Ready | %.0f ms | %.0f ms |\n| from a deleted Secret to Ready with a new one | %.0f ms | %.0f ms |\n",
			l.Writes.P50, l.Writes.P99, l.Ready.P50, l.Ready.P99, l.Replaced.P50, l.Replaced.P99)
		fmt.Fprintf(&b, "\nAnother manager leads %.1f s after SIGTERM to the leader, and %.1f s after SIGKILL.\n", l.Terminated, l.Killed)
	}
	if d := r.Denied; d != nil {
		fmt.Fprintf(&b, "\n%d credentials that STS denies make %.0f STS calls per minute, and made %.0f events in total.\n", d.N, d.CallsPerMinute, d.Events)
	}
	if o := r.Outage; o != nil {
		fmt.Fprintf(&b, "\nAfter %.0f s without an answer from STS, %d credentials are Ready within %.1f s, with at most %d STS calls in any second at a rate limit of %d per second; during the outage there were %d.\n",
			o.OutageSeconds, o.N, o.SecondsToReady, o.MaxCallsPerSecond, o.QPS, o.CallsInOutage)
	}
	if s := r.Shards; s != nil {
		fmt.Fprintf(&b, "\nTwo managers that share %d credentials by a label issued %v, with %d STS calls, %.0f credentials per second.\n", s.N, s.Each, s.Calls, s.PerSecond)
	}
	return strings.TrimLeft(b.String(), "\n")
}

// writeComparison writes a table of the operator and the bare clients.
func (r *results) writeComparison(b *strings.Builder) {
	fmt.Fprintf(b, "| | credentials | bare client, per second | bare client with the operator's watches | the operator | ratio | ratio with watches |\n|---|---|---|---|---|---|---|\n")
	for _, phase := range []struct {
		name     string
		quantity func(measurement) float64
	}{
		{"issued, from the start of the process", func(m measurement) float64 { return m.Issue.PerSecond }},
		{"issued, from the first STS call", func(m measurement) float64 { return cmp.Or(m.Issue.PerSecondOfCalls, m.Issue.PerSecond) }},
		{"refreshed", func(m measurement) float64 { return m.Refresh.PerSecond }},
	} {
		for _, n := range r.sizes() {
			fmt.Fprintf(b, "| %s | %d | %s | %s | %s | %s | %s |\n", phase.name, n,
				r.of(sideRaw, n, phase.quantity).text("%.0f"), r.of(sideWatching, n, phase.quantity).text("%.0f"), r.of(sideOperator, n, phase.quantity).text("%.0f"),
				r.ratio(sideRaw, n, phase.quantity).text("%.2f"), r.ratio(sideWatching, n, phase.quantity).text("%.2f"))
		}
	}
}

// writeCosts writes a table of the operator's resource usage.
func (r *results) writeCosts(b *strings.Builder) {
	fmt.Fprintf(b, "\n| The operator")
	for _, n := range r.sizes() {
		fmt.Fprintf(b, " | %d", n)
	}
	fmt.Fprintf(b, " |\n|---%s|\n", strings.Repeat("|---", len(r.sizes())))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s", row.name)
		for _, n := range r.sizes() {
			fmt.Fprintf(b, " | %s", r.of(sideOperator, n, row.quantity).text(row.format))
		}
		fmt.Fprintf(b, " |\n")
	}
}

// writeRequests writes the requests to the API server per credential, for the largest number of credentials.
func (r *results) writeRequests(b *strings.Builder) {
	largest := slices.Max(r.sizes())
	for _, m := range r.Measurements {
		if m.Side != sideOperator || m.N != largest {
			continue
		}
		for _, p := range []struct {
			name     string
			requests counts
		}{{"issue", m.Issue.Requests}, {"refresh", m.Refresh.Requests}} {
			var list []string
			for _, what := range slices.Sorted(maps.Keys(p.requests)) {
				if each := p.requests[what]; each >= 0.01 {
					list = append(list, fmt.Sprintf("%s %.2f", what, each))
				}
			}
			fmt.Fprintf(b, "\nRequests per %s: %s.\n", p.name, strings.Join(list, ", "))
		}
		return
	}
}
