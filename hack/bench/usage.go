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
)

// ticks is how many a second of CPU time is in /proc, on every Linux that Go runs on (USER_HZ).
const ticks = 100

// cpu is the CPU time that a process has used.
func cpu(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The program's name, in parentheses, may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("/proc/%d/stat: %q %q", pid, fields[11], fields[12])
	}
	return time.Duration(user+system) * time.Second / ticks, nil
}

// memory is a process's resident set now, and the largest it ever was, in bytes.
func memory(pid int) (now, peak float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kilobytes, _ := strconv.ParseFloat(fields[1], 64) // of other lines it is none
		switch fields[0] {
		case "VmRSS:":
			now = kilobytes * 1024
		case "VmHWM:":
			peak = kilobytes * 1024
		}
	}
	return now, peak, nil
}

// children are the processes that this one started, by their program's name.
func children(pid int) (map[string]int, error) {
	found := map[string]int{}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	for _, task := range tasks {
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			continue // a thread that ended
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

type families map[string]*dto.MetricFamily

func parseMetrics(text []byte) (families, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(text))
}

// sum is of a family's counters or gauges whose labels are so.
func (f families) sum(name string, where func(labels map[string]string) bool) float64 {
	var sum float64
	for _, metric := range f[name].GetMetric() {
		labels := map[string]string{}
		for _, pair := range metric.GetLabel() {
			labels[pair.GetName()] = pair.GetValue()
		}
		if where == nil || where(labels) {
			sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return sum
}

// metrics are the manager's.
func (m *manager) scrape(ctx context.Context) (families, error) {
	text, err := get(ctx, "http://"+m.metrics+"/metrics")
	if err != nil {
		return nil, err
	}
	return parseMetrics(text)
}

// requests are how many the API server answered, by verb and resource, but for those of the bench's own and of leader election.
type requests map[string]float64

func (w *world) requests(ctx context.Context) (requests, error) {
	text, err := w.clientset.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	found, err := parseMetrics(text)
	if err != nil {
		return nil, err
	}
	counted := requests{}
	for _, metric := range found["apiserver_request_total"].GetMetric() {
		labels := map[string]string{}
		for _, pair := range metric.GetLabel() {
			labels[pair.GetName()] = pair.GetValue()
		}
		what := labels["verb"] + " " + labels["resource"]
		if labels["subresource"] != "" {
			what += "/" + labels["subresource"]
		}
		if labels["resource"] != "leases" && labels["resource"] != "" {
			counted[what] += metric.GetCounter().GetValue()
		}
	}
	return counted, nil
}

// since is what was asked after an earlier count.
func (r requests) since(before requests) requests {
	asked := requests{}
	for what, n := range r {
		if n > before[what] {
			asked[what] = n - before[what]
		}
	}
	return asked
}

// each is for each of n.
func (r requests) each(n int) requests {
	share := requests{}
	for what, count := range r {
		share[what] = count / float64(n)
	}
	return share
}
