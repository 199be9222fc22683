// Package tally counts the calls that clients in Pods make, as they report them one by one. What is not reported is counted too:
// each client numbers its calls.
package tally

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Report is what a client says of one call.
type Report struct {
	// Workload is what the client is a Pod of, and Pod what tells that from all others.
	Workload, Pod string
	// Call is the call's number, from 1.
	Call int
	// AccessKeyID is the key that it was made with.
	AccessKeyID string
	// Error is empty if the call succeeded.
	Error string `json:",omitempty"`
	// Last tells that the client has ended after this call, in good order.
	Last bool `json:",omitempty"`
}

// Tally keeps the reports. It is an http.Handler that takes one by POST.
type Tally struct {
	// OnFailure, if set, is told of each call that failed, as it comes in.
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

// Count is what is known of a workload's calls.
type Count struct {
	Calls, Failed int
	// Lost are calls that were not reported: one is missing between others, or its client ended in the middle of it.
	Lost int
	// Pods and Keys are those that made calls, in the order of their first.
	Pods, Keys []string
	// Error is that of the first call that failed.
	Error string
}

func (c Count) String() string {
	return fmt.Sprintf("%d S3 calls, %d failed, by %d Pods with %d keys", c.Calls, c.Failed, len(c.Pods), len(c.Keys))
}

// Count counts a workload's calls, those of all workloads if the name is empty. Pods that are gone are to have said that they
// end; those that still run are listed.
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
		if calls[r.Pod][r.Call] { // the same again, since the answer to the first was lost
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

// KeyInUse returns the key of a Pod's last call that succeeded.
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
