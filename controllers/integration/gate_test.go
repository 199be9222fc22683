package integration_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

// requestCounter counts an operator's requests to the API server, except for events, whose number a rate limit bounds.
type requestCounter struct {
	reads, writes, bytesWritten atomic.Int64
}

func (c *requestCounter) wrap(next http.RoundTripper) http.RoundTripper {
	return countingTransport{c, next}
}

type countingTransport struct {
	*requestCounter
	next http.RoundTripper
}

// RoundTrip counts a request and makes it.
func (t countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case strings.Contains(r.URL.Path, "/events"):
	case r.Method == http.MethodGet:
		t.reads.Add(1)
	default:
		t.writes.Add(1)
		t.bytesWritten.Add(r.ContentLength)
	}
	return t.next.RoundTrip(r)
}

// usage is what an operator process has used since its start. Reads include watches.
type usage struct {
	Reads, Writes, BytesWritten, Allocations int64
	Reconciles                               float64 // of RoleCredentials
}

// report answers each line of the input with the usage, until the input ends. The allocations exclude those of a report.
func (c *requestCounter) report(in io.Reader, out io.Writer) error {
	var own int64
	for lines := bufio.NewScanner(in); lines.Scan(); {
		begin := allocations()
		used := usage{c.reads.Load(), c.writes.Load(), c.bytesWritten.Load(), begin - own, 0}
		var err error
		if used.Reconciles, err = reconciles(); err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(used); err != nil {
			return err
		}
		own += allocations() - begin
	}
	return nil
}

func allocations() int64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.Mallocs)
}

// costs are the costs of an operation: for each of several credentials, or of one restart.
type costs struct{ stsCalls, reads, writes, bytesWritten, allocations float64 }

// bound is the most that an operation may cost, and the least and the most that five runs found.
type bound struct{ Bound, Least, Most float64 }

// quantities are the quantities of costs. The bound is the most of five runs, and their spread, and a margin: a tenth of the requests, but at
// least of one, and a smaller part of what differs only between versions of Go and Kubernetes.
var quantities = []struct {
	name, format string
	of           func(costs) float64
	margin       func(most float64) float64
}{
	{"stsCalls", "%.2f", func(c costs) float64 { return c.stsCalls }, aTenth},
	{"apiReads", "%.2f", func(c costs) float64 { return c.reads }, aTenth},
	{"apiWrites", "%.2f", func(c costs) float64 { return c.writes }, aTenth},
	{"bytesWritten", "%.0f", func(c costs) float64 { return c.bytesWritten }, func(most float64) float64 { return most / 50 }},
	{"allocations", "%.0f", func(c costs) float64 { return c.allocations }, func(most float64) float64 { return most / 20 }},
}

func aTenth(most float64) float64 { return max(most, 1) / 10 }

// gatedOperations are the measured operations, in their order. Each uses the state that those before it left.
var gatedOperations = []string{"issue", "refresh", "deletedSecret", "restartWith200", "denied"}

const (
	costsFile = "costs.yaml"
	// gateEnv is set by make bench-gate. The tests of other packages would disturb the measurement.
	gateEnv = "BENCH_GATE"
	gated   = 200 // credentials
	// deniedCredentials are few, so that none is retried meanwhile.
	deniedCredentials = 40
)

// gate measures the operations with an operator process, which reconciles one credential at a time, so that no two compete.
type gate struct {
	*harness
	namespace string
	by        *v1alpha1.ClusterIdentity
	requests  io.WriteCloser
	answers   *json.Decoder
	wait      func()
}

func (g *gate) start() {
	g.t.Helper()
	operator := g.operatorProcess(processConfig{Concurrency: 1})
	var output bytes.Buffer
	operator.Stderr = &output
	var err error
	g.requests, err = operator.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	answers, err := operator.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.answers = json.NewDecoder(answers)
	g.Expect(operator.Start()).To(Succeed())
	g.wait = func() {
		g.t.Helper()
		g.Expect(g.requests.Close()).To(Succeed())
		g.Expect(operator.Wait()).To(Succeed(), output.String)
	}
}

// used returns the usage of the operator process.
func (g *gate) used() (u usage) {
	g.t.Helper()
	_, err := io.WriteString(g.requests, "\n")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(g.answers.Decode(&u)).To(Succeed())
	return u
}

// cost returns the costs of what an operator does for each of n credentials until it is done.
func (g *gate) cost(n int, do func(), done func() bool) costs {
	g.t.Helper()
	before, calls := g.used(), len(g.sts.Calls())
	do()
	g.Eventually(done).WithTimeout(waitLimit).Should(BeTrue())
	return g.used().since(before, len(g.sts.Calls())-calls, n)
}

func (u usage) since(before usage, calls, n int) costs {
	each := func(after, before int64) float64 { return float64(after-before) / float64(n) }
	return costs{
		each(int64(calls), 0), each(u.Reads, before.Reads), each(u.Writes, before.Writes),
		each(u.BytesWritten, before.BytesWritten), each(u.Allocations, before.Allocations),
	}
}

// measure returns the costs of all operations.
func (g *gate) measure() map[string]costs {
	g.t.Helper()
	g.namespace = g.harness.namespace(nil)
	g.start()
	g.eventually(g.by, "Ready", "True Verified")
	create := func(prefix string, n int, change ...func(*v1alpha1.RoleCredential)) func() {
		return func() {
			for i := range n {
				g.credential(g.namespace, fmt.Sprintf("%s-%03d", prefix, i), g.by, change...)
			}
		}
	}
	allReady := func() bool { return g.ready(g.namespace) == gated }
	found := map[string]costs{}
	found["issue"] = g.cost(gated, create("ready", gated), allReady)
	found["refresh"] = g.cost(gated, g.refreshAll, g.allRefreshed)
	found["deletedSecret"] = g.cost(gated, func() {
		g.Expect(admin.DeleteAllOf(g.ctx, &corev1.Secret{}, client.InNamespace(g.namespace))).To(Succeed())
	}, func() bool { return len(g.secrets()) == gated && allReady() })
	g.wait()

	calls := len(g.sts.Calls())
	g.start()
	g.Eventually(func() float64 { return g.used().Reconciles }).WithTimeout(waitLimit).WithPolling(200 * time.Millisecond).Should(BeNumerically(">=", gated))
	found["restartWith200"] = g.used().since(usage{}, len(g.sts.Calls())-calls, 1)
	found["denied"] = g.cost(deniedCredentials, create("denied", deniedCredentials, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::123456789012:role/Nobody" }),
		func() bool {
			return g.countWithStatus(g.namespace, v1alpha1.ConditionIssued, metav1.ConditionFalse) == deniedCredentials
		})
	g.wait()
	for _, kind := range []client.Object{&v1alpha1.RoleCredential{}, &corev1.Secret{}} { // the next restart has its own 200 only
		g.Expect(admin.DeleteAllOf(g.ctx, kind, client.InNamespace(g.namespace))).To(Succeed())
	}
	return found
}

func (g *gate) credentials() []v1alpha1.RoleCredential {
	g.t.Helper()
	var list v1alpha1.RoleCredentialList
	g.Expect(admin.List(g.ctx, &list, client.InNamespace(g.namespace))).To(Succeed())
	return list.Items
}

func (g *gate) secrets() []corev1.Secret {
	g.t.Helper()
	var list corev1.SecretList
	g.Expect(admin.List(g.ctx, &list, client.InNamespace(g.namespace))).To(Succeed())
	return list.Items
}

func (g *gate) refreshAll() {
	g.t.Helper()
	for _, c := range g.credentials() {
		g.refresh(&c, "1")
	}
}

func (g *gate) allRefreshed() bool {
	g.t.Helper()
	return !slices.ContainsFunc(g.credentials(), func(c v1alpha1.RoleCredential) bool { return c.Status.LastHandledRefreshRequest != "1" })
}

// TestCostsStayWithinBounds measures the costs of each operation, and compares them with the bounds in testdata. With -update, it measures
// five times, and writes the bounds.
func TestCostsStayWithinBounds(t *testing.T) {
	if os.Getenv(gateEnv) == "" {
		t.Skip("make bench-gate runs this test alone")
	}
	file := filepath.Join("testdata", costsFile)
	h := newHarness(t, stsemulator.Options{})
	h.stop = func() {}
	g := &gate{harness: h, by: h.identity(func(i *v1alpha1.ClusterIdentity) { i.Spec.STSQPS = 1000 })}
	if *writeGolden {
		var runs []map[string]costs
		for range 5 {
			runs = append(runs, g.measure())
		}
		g.Expect(os.WriteFile(file, []byte(boundsOf(runs)), 0o600)).To(Succeed())
		return
	}
	text, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	var bounds map[string]map[string]bound
	g.Expect(yaml.UnmarshalStrict(text, &bounds)).To(Succeed())
	found := g.measure()
	for _, operation := range gatedOperations {
		for _, q := range quantities {
			most, ok := bounds[operation][q.name]
			g.Expect(ok).To(BeTrue(), "%s has no bound of %s of %s; run make bench-gate BENCH_ARGS=-update", file, q.name, operation)
			t.Logf("%-14s  %-12s  %10.2f  at most %10.2f", operation, q.name, q.of(found[operation]), most.Bound)
			if q.of(found[operation]) > most.Bound {
				t.Errorf("%s: %.2f %s, more than the bound %.2f; find the cause, or measure again with make bench-gate BENCH_ARGS=-update, and say why in the commit", operation, q.of(found[operation]), q.name, most.Bound)
			}
		}
	}
}

// boundsOf returns the content of the file of bounds for several runs.
func boundsOf(runs []map[string]costs) string {
	text := "# The most that each operation may cost: for one credential, or for one restart with 200. least and most are of five runs.\n" +
		"# make bench-gate compares a run with these bounds. To measure again: make bench-gate BENCH_ARGS=-update\n"
	for _, operation := range gatedOperations {
		text += operation + ":\n"
		for _, q := range quantities {
			var all []float64
			for _, run := range runs {
				all = append(all, q.of(run[operation]))
			}
			least, most := slices.Min(all), slices.Max(all)
			format := strings.ReplaceAll("  %s: {bound: %f, least: %f, most: %f}\n", "%f", q.format)
			text += fmt.Sprintf(format, q.name, most+(most-least)+q.margin(most), least, most)
		}
	}
	return text
}
