package integration_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

// requests counts the API server's writes and reads of Secrets by verb and resource, from its own metrics. It excludes leases and
// tokens.
func (h *harness) requests() map[string]int {
	h.t.Helper()
	return h.countRequests(func(verb, resource string) bool {
		switch verb {
		case "LIST", "WATCH", "CONNECT":
			return false
		case "GET":
			return resource == "secrets"
		}
		return slices.Contains([]string{"secrets", "rolecredentials", "clusteridentities", "events"}, resource)
	})
}

// reads counts the API server's reads of workloads and pods.
func (h *harness) reads() map[string]int {
	h.t.Helper()
	return h.countRequests(func(verb, resource string) bool {
		return slices.Contains([]string{"GET", "LIST", "WATCH"}, verb) && slices.Contains([]string{"deployments", "statefulsets", "daemonsets", "rollouts", "pods"}, resource)
	})
}

// countRequests counts the included requests, without conflicts, which the client retries.
func (h *harness) countRequests(include func(verb, resource string) bool) map[string]int {
	h.t.Helper()
	client, err := discovery.NewDiscoveryClientForConfig(adminConfig)
	h.Expect(err).NotTo(HaveOccurred())
	text, err := client.RESTClient().Get().AbsPath("/metrics").DoRaw(h.ctx)
	h.Expect(err).NotTo(HaveOccurred())
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	h.Expect(err).NotTo(HaveOccurred())
	requests := map[string]int{}
	for _, metric := range families["apiserver_request_total"].GetMetric() {
		label := labelsOf(metric)
		if !include(label["verb"], label["resource"]) || label["code"] == "409" {
			continue
		}
		resource := label["resource"]
		if label["subresource"] != "" {
			resource += "/" + label["subresource"]
		}
		requests[label["verb"]+" "+resource] += int(metric.GetCounter().GetValue())
	}
	return requests
}

func labelsOf(metric *dto.Metric) map[string]string {
	labels := map[string]string{}
	for _, pair := range metric.GetLabel() {
		labels[pair.GetName()] = pair.GetValue()
	}
	return labels
}

// since returns the requests since an earlier count.
func (h *harness) since(before map[string]int) map[string]int {
	h.t.Helper()
	after := h.requests()
	for request, n := range before {
		after[request] -= n
	}
	maps.DeleteFunc(after, func(_ string, n int) bool { return n == 0 })
	return after
}

// reconciles counts the reconciles of RoleCredentials in this process.
func reconciles() (sum float64, err error) {
	families, err := metrics.Registry.Gather()
	for _, family := range families {
		if family.GetName() != "controller_runtime_reconcile_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if labelsOf(metric)["controller"] == "rolecredential" {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return sum, err
}

func (h *harness) reconciles() float64 {
	h.t.Helper()
	sum, err := reconciles()
	h.Expect(err).NotTo(HaveOccurred())
	return sum
}

func TestIssueCostsOneCallAndTwoWrites(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := h.identity()
	h.eventually(by, "Ready", "True Verified")
	h.Eventually(h.events(by)).WithTimeout(waitLimit).Should(HaveLen(1))

	before, calls := h.requests(), len(h.sts.Calls())
	created := h.credential(namespace, "costs", by)
	h.eventually(created, "Ready", "True Issued")
	h.Eventually(h.events(created)).WithTimeout(waitLimit).Should(Equal([]string{"Normal Issued"}))
	h.Expect(h.since(before)).To(Equal(map[string]int{
		"POST rolecredentials": 1, // from the test
		"POST secrets":         1, "PUT rolecredentials/status": 1, "POST events": 1,
	}))
	h.Expect(h.sts.Calls()).To(HaveLen(calls + 1))

	before = h.requests()
	h.refresh(created, "1")
	h.Eventually(func() string { h.state(created, "Ready")(); return created.Status.LastHandledRefreshRequest }).WithTimeout(waitLimit).Should(Equal("1"))
	h.Expect(h.since(before)).To(Equal(map[string]int{
		"PATCH rolecredentials": 1, // from the test
		"PUT secrets":           1, "PUT rolecredentials/status": 1,
	}))
	h.Expect(h.sts.Calls()).To(HaveLen(calls + 2))
	h.Expect(h.events(created)()).To(HaveLen(1)) // a routine refresh is not an event
}

func TestRestartWithReadyCredentialsCostsNoCallsAndWrites(t *testing.T) {
	const credentials = 100
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := h.identity()
	for i := range credentials {
		h.credential(namespace, fmt.Sprintf("healthy-%d", i), by)
	}
	h.Eventually(func() int { return h.ready(namespace) }).WithTimeout(waitLimit).Should(Equal(credentials))
	h.eventually(by, "Ready", "True Verified")
	h.stop()
	restart := func() {
		reconciles := h.reconciles()
		h.start()
		h.Eventually(h.reconciles).WithTimeout(waitLimit).Should(BeNumerically(">=", reconciles+credentials))
		h.stop() // completes running reconciles, so that the count includes their writes
	}
	restart() // h.stop does not wait for events: the last ones of the first manager arrive during this restart

	before, calls := h.requests(), len(h.sts.Calls())
	restart()
	requested := h.since(before)
	h.Expect(requested["GET secrets"]).To(BeNumerically("<", credentials)) // of the identity until its watch starts, and none of the credentials
	delete(requested, "GET secrets")
	h.Expect(requested).To(BeEmpty())
	h.Expect(h.sts.Calls()).To(HaveLen(calls))
}

func TestRepeatedFailuresKeepStatusUnchanged(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := h.identity()
	h.eventually(by, "Ready", "True Verified")
	created := h.credential(namespace, "denied", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::123456789012:role/Nobody" })
	h.eventually(created, "Issued", "False AccessDenied")
	h.Eventually(h.events(created)).WithTimeout(waitLimit).Should(Equal([]string{"Warning AccessDenied"}))
	first := created.Status.DeepCopy()
	before := h.requests()
	for i := range 4 { // each new refresh request causes one immediate call
		h.refresh(created, fmt.Sprint(i))
		h.Eventually(h.issues).WithTimeout(waitLimit).Should(Equal(i + 2))
	}
	h.stop()
	h.Expect(h.state(created, "Issued")()).To(Equal("False AccessDenied"))
	h.Expect(&created.Status).To(Equal(first))
	h.Expect(h.since(before)).To(Equal(map[string]int{
		"PATCH rolecredentials": 4, // from the test
		"GET secrets":           4, // no Secret exists that the operator could watch
	}))
	ids := map[string]bool{}
	for _, call := range h.sts.Calls() {
		ids[call.RequestID] = true
	}
	h.Expect(ids).To(HaveLen(6)) // one for GetCallerIdentity, and one for each of the five denied calls
}
