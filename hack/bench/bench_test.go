package main

import (
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/stsemulator"
	"rolecredential.dev/operator/hack/usage"
)

func TestFiguresAsText(t *testing.T) {
	for name, tc := range map[string]struct {
		figures figures
		want    string
	}{
		"none":                          {nil, "–"},
		"one":                           {figures{3}, "3"},
		"an odd number, in any order":   {figures{9, 1, 2}, "2 (1–9)"},
		"an even number, in the middle": {figures{4, 1, 2, 9}, "3 (1–9)"},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(tc.figures.text("%.0f")).To(Equal(tc.want))
		})
	}
}

func measurementOf(side string, n int, perSecond float64) measurement {
	return measurement{Side: side, N: n, Issue: phase{PerSecond: perSecond}, Refresh: phase{PerSecond: perSecond / 2}}
}

func TestTablesCompareTheOperatorWithBothBareClients(t *testing.T) {
	g := NewWithT(t)
	operator := measurementOf(sideOperator, 100, 100)
	operator.Issue.PerSecondOfCalls = 180
	r := results{Measurements: []measurement{
		measurementOf(sideRaw, 100, 200), measurementOf(sideWatching, 100, 125), operator, measurementOf(sideOperator, 100, 90), measurementOf(sideRaw, 100, 100), measurementOf(sideRaw, 1000, 1),
	}}
	g.Expect(r.ratio(sideRaw, 100, func(m measurement) float64 { return m.Issue.PerSecond })).To(Equal(figures{0.5, 0.9}))
	g.Expect(r.tables()).To(And(
		ContainSubstring("| issued, from the start of the process | 100 | 150 (100–200) | 125 | 95 (90–100) | 0.70 (0.50–0.90) | 0.80 |\n"),
		ContainSubstring("| issued, from the first STS call | 100 | 150 (100–200) | 125 | 135 (90–180) | 0.90 (0.90–0.90) | 1.44 |\n"),
	))
}

func TestAPIServerCountersNameTerminatedWatchesByResource(t *testing.T) {
	g := NewWithT(t)
	found, err := parseMetrics([]byte(`# TYPE apiserver_terminated_watchers_total counter
apiserver_terminated_watchers_total{group="",resource="secrets"} 3
apiserver_terminated_watchers_total{group="apps",resource="deployments"} 1
# TYPE apiserver_request_total counter
apiserver_request_total{verb="PUT",resource="rolecredentials",subresource="status",code="200"} 5
apiserver_request_total{verb="PUT",resource="rolecredentials",subresource="status",code="409"} 1
apiserver_request_total{verb="PUT",resource="leases",subresource="",code="200"} 7
`))
	g.Expect(err).NotTo(HaveOccurred())
	read := countersOf(found)
	g.Expect(read.requests).To(Equal(counts{"PUT rolecredentials/status": 6}))
	g.Expect(read.terminated.since(counts{"secrets": 1, "deployments": 1})).To(Equal(counts{"secrets": 2}))
}

func TestMaxCallsInAWindow(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var calls []stsemulator.Call
	for _, after := range []string{"0s", "500ms", "1s", "1001ms", "3s"} {
		d, err := time.ParseDuration(after)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		calls = append(calls, stsemulator.Call{Time: start.Add(d)})
	}
	NewWithT(t).Expect(maxCalls(calls, time.Second)).To(Equal(3))
}

func TestHalfOfTheCores(t *testing.T) {
	g := NewWithT(t)
	for cores, want := range map[int][2]string{2: {"0-0", "1-1"}, 3: {"0-0", "1-1"}, 8: {"0-3", "4-7"}} {
		g.Expect([2]string{half(cores, controlPlaneHalf), half(cores, othersHalf)}).To(Equal(want), "%d cores", cores)
	}
}

func TestMemoryAndCPUOfAProcess(t *testing.T) {
	g := NewWithT(t)
	used, err := usage.Memory(os.Getpid())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(used.Now).To(BeNumerically(">", used.Files))
	g.Expect(used.Files).To(BeNumerically(">", 1<<20))
	g.Expect(used.Peak).To(BeNumerically(">=", used.Now))
	_, err = usage.CPU(os.Getpid())
	g.Expect(err).NotTo(HaveOccurred())
	_, err = usage.CPU(-1)
	g.Expect(err).To(HaveOccurred())
}
