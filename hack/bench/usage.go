package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"rolecredential.dev/operator/hack/usage"
)

// children returns the child processes of a process, by the program's name.
func children(pid int) (map[string]int, error) {
	found := map[string]int{}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	for _, task := range tasks {
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			continue // the thread has exited
		}
		for child := range strings.FieldsSeq(string(list)) {
			name, err := os.ReadFile("/proc/" + child + "/comm")
			number, _ := strconv.Atoi(child)
			if err == nil {
				found[strings.TrimSpace(string(name))] = number
			}
		}
	}
	return found, nil
}

// cpuByProgram returns the CPU time of this process and its children, by the program's name.
func cpuByProgram() (map[string]time.Duration, error) {
	programs, err := children(os.Getpid())
	if err != nil {
		return nil, err
	}
	programs["bench"] = os.Getpid()
	used := map[string]time.Duration{}
	for program, pid := range programs {
		if used[program], err = usage.CPU(pid); err != nil {
			return nil, err
		}
	}
	return used, nil
}

type families map[string]*dto.MetricFamily

func parseMetrics(text []byte) (families, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(text))
}

// sum adds the counters or gauges of a family whose labels match.
func (f families) sum(name string, where func(labels map[string]string) bool) float64 {
	var sum float64
	for _, metric := range f[name].GetMetric() {
		if where == nil || where(labelsOf(metric)) {
			sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return sum
}

// scrape reads the manager's metrics.
func (m *manager) scrape(ctx context.Context) (families, error) {
	text, err := get(ctx, "http://"+m.metrics+"/metrics")
	if err != nil {
		return nil, err
	}
	return parseMetrics(text)
}

// apiCounters are counters of the API server: requests by verb and resource, without those for leases; and watches that it terminated
// because their channel was full, by resource.
type apiCounters struct{ requests, terminated counts }

// counts are counters by name.
type counts map[string]float64

// apiCounters reads the API server's metrics.
func (e *environment) apiCounters(ctx context.Context) (apiCounters, error) {
	text, err := e.clientset.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return apiCounters{}, err
	}
	found, err := parseMetrics(text)
	if err != nil {
		return apiCounters{}, err
	}
	return countersOf(found), nil
}

func countersOf(found families) apiCounters {
	counters := apiCounters{requests: counts{}, terminated: counts{}}
	for _, metric := range found["apiserver_request_total"].GetMetric() {
		labels := labelsOf(metric)
		what := labels["verb"] + " " + labels["resource"]
		if labels["subresource"] != "" {
			what += "/" + labels["subresource"]
		}
		if labels["resource"] != "leases" && labels["resource"] != "" {
			counters.requests[what] += metric.GetCounter().GetValue()
		}
	}
	for _, metric := range found["apiserver_terminated_watchers_total"].GetMetric() {
		counters.terminated[labelsOf(metric)["resource"]] += metric.GetCounter().GetValue()
	}
	return counters
}

func labelsOf(metric *dto.Metric) map[string]string {
	labels := map[string]string{}
	for _, pair := range metric.GetLabel() {
		labels[pair.GetName()] = pair.GetValue()
	}
	return labels
}

// since returns the increments since an earlier reading, without zeros.
func (c counts) since(before counts) counts {
	added := counts{}
	for what, n := range c {
		if n > before[what] {
			added[what] = n - before[what]
		}
	}
	return added
}

// each divides the counts by n.
func (c counts) each(n int) counts {
	share := counts{}
	for what, count := range c {
		share[what] = count / float64(n)
	}
	return share
}
