// Package tally counts the calls that clients in Pods report. It detects unreported calls too, since each client numbers its calls.
package tally

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Report is a client's report of one call.
type Report struct {
	// Workload is the name of the client's workload, and Pod the UID of its Pod.
	Workload, Pod string
	// Call is the number of the call, from 1.
	Call int
	// AccessKeyID is the key of the call.
	AccessKeyID string
	// Error is empty if the call succeeded.
	Error string `json:",omitempty"`
	// Last is whether the client exits after this call.
	Last bool `json:",omitempty"`
}

// Tally stores the reports. It is an http.Handler that accepts a report by POST.
type Tally struct {
	// OnFailure, if set, is called for each report of a failed call.
	OnFailure func(Report)

	mu      sync.Mutex
	reports []Report
}

func (t *Tally) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var report Report
	if err := json.NewDecoder(r.Body).Decode(&report); err != nil || report.Call < 1 {
		http.Error(w, "want a report", http.StatusBadRequest)
		return
	}
	if report.Error != "" && t.OnFailure != nil {
		t.OnFailure(report)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reports = append(t.reports, report)
}

// Count is a summary of a workload's calls.
type Count struct {
	Calls, Failed int
	// Lost counts the calls that were not reported: gaps in the numbers, and a client that exited without a last call.
	Lost int
	// Pods and Keys are in the order of their first calls.
	Pods, Keys []string
	// Error is the error of the first failed call.
	Error string
}

func (c Count) String() string {
	return fmt.Sprintf("%d S3 calls, %d failed, by %d Pods with %d keys", c.Calls, c.Failed, len(c.Pods), len(c.Keys))
}

// Count counts a workload's calls, or those of all workloads for an empty name. Pods that still run are given; all others must have
// reported their last call.
func (t *Tally) Count(workload string, running ...string) Count {
	t.mu.Lock()
	defer t.mu.Unlock()
	var c Count
	highest, ended := map[string]int{}, map[string]bool{}
	calls := map[string]map[int]bool{}
	for _, r := range t.reports {
		if workload != "" && r.Workload != workload {
			continue
		}
		if calls[r.Pod] == nil {
			calls[r.Pod] = map[int]bool{}
			c.Pods = append(c.Pods, r.Pod)
		}
		ended[r.Pod] = ended[r.Pod] || r.Last
		highest[r.Pod] = max(highest[r.Pod], r.Call)
		if calls[r.Pod][r.Call] { // a repeated report: the client did not receive the response to the first
			continue
		}
		calls[r.Pod][r.Call] = true
		c.Calls++
		if r.AccessKeyID != "" && !slices.Contains(c.Keys, r.AccessKeyID) {
			c.Keys = append(c.Keys, r.AccessKeyID)
		}
		if r.Error != "" {
			c.Failed++
			if c.Error == "" {
				c.Error = strings.TrimSpace(r.Error)
			}
		}
	}
	for _, pod := range c.Pods {
		c.Lost += highest[pod] - len(calls[pod])
		if !ended[pod] && !slices.Contains(running, pod) {
			c.Lost++
		}
	}
	return c
}

// KeyInUse returns the key of a Pod's last successful call.
func (t *Tally) KeyInUse(pod string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range slices.Backward(t.reports) {
		if r.Pod == pod && r.Error == "" {
			return r.AccessKeyID
		}
	}
	return ""
}
