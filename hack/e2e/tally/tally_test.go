package tally_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/e2e/tally"
)

func send(g *WithT, t *tally.Tally, reports ...tally.Report) {
	for _, r := range reports {
		body, err := json.Marshal(r)
		g.Expect(err).NotTo(HaveOccurred())
		answer := httptest.NewRecorder()
		t.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body)))
		g.Expect(answer.Code).To(Equal(http.StatusOK))
	}
}

func TestCountOfAWorkload(t *testing.T) {
	call := func(pod string, n int, change ...func(*tally.Report)) tally.Report {
		r := tally.Report{Workload: "web", Pod: pod, Call: n, AccessKeyID: "A"}
		for _, f := range change {
			f(&r)
		}
		return r
	}
	last := func(r *tally.Report) { r.Last = true }
	failed := func(r *tally.Report) { r.Error = " refused\n" }
	key := func(id string) func(*tally.Report) { return func(r *tally.Report) { r.AccessKeyID = id } }
	for name, tc := range map[string]struct {
		reports []tally.Report
		running []string
		want    tally.Count
	}{
		"none": {},
		"a Pod that reported its last call": {
			reports: []tally.Report{call("a", 1), call("a", 2, last)},
			want:    tally.Count{Calls: 2, Pods: []string{"a"}, Keys: []string{"A"}},
		},
		"a Pod that runs": {
			reports: []tally.Report{call("a", 1)}, running: []string{"a"},
			want: tally.Count{Calls: 1, Pods: []string{"a"}, Keys: []string{"A"}},
		},
		"a Pod that is gone without a last call lost one": {
			reports: []tally.Report{call("a", 1)},
			want:    tally.Count{Calls: 1, Lost: 1, Pods: []string{"a"}, Keys: []string{"A"}},
		},
		"a call that was not reported is lost": {
			reports: []tally.Report{call("a", 1), call("a", 4, last)},
			want:    tally.Count{Calls: 2, Lost: 2, Pods: []string{"a"}, Keys: []string{"A"}},
		},
		"a repeated report counts once": {
			reports: []tally.Report{call("a", 1), call("a", 1), call("a", 2, last)},
			want:    tally.Count{Calls: 2, Pods: []string{"a"}, Keys: []string{"A"}},
		},
		"the error is that of the first failed call": {
			reports: []tally.Report{call("a", 1, failed), call("a", 2, failed, last)},
			want:    tally.Count{Calls: 2, Failed: 2, Pods: []string{"a"}, Keys: []string{"A"}, Error: "refused"},
		},
		"keys and Pods in the order of their first calls": {
			reports: []tally.Report{call("b", 1, key("B"), last), call("a", 1), call("a", 2, key("B"), last)},
			want:    tally.Count{Calls: 3, Pods: []string{"b", "a"}, Keys: []string{"B", "A"}},
		},
		"another workload's calls do not count": {
			reports: []tally.Report{{Workload: "other", Pod: "c", Call: 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var calls tally.Tally
			send(g, &calls, tc.reports...)
			g.Expect(calls.Count("web", tc.running...)).To(Equal(tc.want))
		})
	}
}

func TestKeyInUseIsTheKeyOfTheLastSuccessfulCall(t *testing.T) {
	g := NewWithT(t)
	var calls tally.Tally
	g.Expect(calls.KeyInUse("a")).To(BeEmpty())
	send(g, &calls, tally.Report{Pod: "a", Call: 1, AccessKeyID: "A"}, tally.Report{Pod: "b", Call: 1, AccessKeyID: "C"},
		tally.Report{Pod: "a", Call: 2, AccessKeyID: "B", Error: "refused"})
	g.Expect(calls.KeyInUse("a")).To(Equal("A"))
	send(g, &calls, tally.Report{Pod: "a", Call: 3, AccessKeyID: "B"})
	g.Expect(calls.KeyInUse("a")).To(Equal("B"))
}

func TestOnFailureIsCalledForAFailedCall(t *testing.T) {
	g := NewWithT(t)
	var failures []string
	calls := tally.Tally{OnFailure: func(r tally.Report) { failures = append(failures, r.Error) }}
	send(g, &calls, tally.Report{Pod: "a", Call: 1}, tally.Report{Pod: "a", Call: 2, Error: "refused"})
	g.Expect(failures).To(Equal([]string{"refused"}))
}

func TestInvalidReportsAreRejected(t *testing.T) {
	for name, body := range map[string]string{"no JSON": "x", "no call": "{}"} {
		t.Run(name, func(t *testing.T) {
			var calls tally.Tally
			answer := httptest.NewRecorder()
			calls.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
			NewWithT(t).Expect(answer.Code).To(Equal(http.StatusBadRequest))
			NewWithT(t).Expect(calls.Count("").Calls).To(BeZero())
		})
	}
}
