package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/otlpreceiver"
	"rolecredential.dev/operator/hack/stsemulator"
)

// exportSpans makes the operator send its spans to a receiver. The returned function returns all spans so far.
func (h *harness) exportSpans() func() []otlpreceiver.Span {
	h.t.Helper()
	receiver, err := otlpreceiver.Start()
	h.Expect(err).NotTo(HaveOccurred())
	h.t.Cleanup(func() { h.Expect(receiver.Stop()).To(Succeed()) })
	exporter, err := otlptracegrpc.New(h.ctx, otlptracegrpc.WithEndpointURL(receiver.URL))
	h.Expect(err).NotTo(HaveOccurred())
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	h.options.Spans = provider
	return func() []otlpreceiver.Span {
		h.t.Helper()
		h.Expect(provider.ForceFlush(h.ctx)).To(Succeed())
		return receiver.Spans()
	}
}

// logLine is a line of the log by key.
type logLine map[string]any

// logLines returns the lines of the log about an object.
func (h *harness) logLines(kind, name string) []logLine {
	h.t.Helper()
	var found []logLine
	for text := range strings.Lines(h.logs.String()) {
		var parsed logLine
		h.Expect(json.Unmarshal([]byte(text), &parsed)).To(Succeed(), text)
		cancelled := strings.HasSuffix(fmt.Sprint(parsed["error"]), context.Canceled.Error()) // at shutdown
		if parsed["controllerKind"] == kind && parsed["name"] == name && !cancelled {
			found = append(found, parsed)
		}
	}
	return found
}

// documentedKeys returns the keys in the table of docs/logs.md under a heading.
func documentedKeys(h *harness, heading string) []string {
	h.t.Helper()
	page, err := os.ReadFile("../../docs/logs.md")
	h.Expect(err).NotTo(HaveOccurred())
	_, section, found := strings.Cut(string(page), "\n## "+heading+"\n")
	h.Expect(found).To(BeTrue(), heading)
	section, _, _ = strings.Cut(section, "\n## ")
	var keys []string
	for _, row := range regexp.MustCompile("(?m)^(?:-|\\|) (`[^|:]+`)(?::| \\|)").FindAllStringSubmatch(section, -1) {
		for _, key := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			keys = append(keys, key[1])
		}
	}
	h.Expect(keys).NotTo(BeEmpty())
	return keys
}

func TestIssueLogsOneLineAndIdleReconcileLogsNone(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.atDefaultVerbosity()
	spans := h.exportSpans()
	h.start()
	namespace := h.namespace(nil)
	by := h.identity()
	h.eventually(by, "Ready", "True Verified")
	created := h.credential(namespace, "logged", by)
	h.eventually(created, "Ready", "True Issued")
	logged := func() []logLine { return h.logLines("RoleCredential", "logged") }
	h.Eventually(logged).WithTimeout(waitLimit).Should(HaveLen(1))
	issued := logged()[0]
	last := h.sts.Calls()[len(h.sts.Calls())-1]
	for key, want := range map[string]any{
		"level": "info", "msg": "issued", "namespace": namespace, "why": "Missing", "call": "AssumeRole", "identity": "ClusterIdentity " + by.Name, "reason": "Issued",
		"requestID": last.RequestID, "accessKeyID": created.Status.AccessKeyID, "principalARN": created.Status.PrincipalARN, "expiration": created.Status.Expiration.UTC().Format("2006-01-02T15:04:05Z"),
	} {
		h.Expect(issued).To(HaveKeyWithValue(key, want), key)
	}

	// Changes of a dependency cause reconciles that issue nothing.
	before := h.reconciles()
	for i := range 5 {
		update(h, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, func(n *corev1.Namespace) {
			n.Labels = map[string]string{"change": fmt.Sprint(i)}
		})
		h.Eventually(h.reconciles).WithTimeout(waitLimit).Should(BeNumerically(">", before+float64(i)))
	}
	h.Expect(logged()).To(HaveLen(1))

	// A denied call logs one line too.
	refused := h.credential(namespace, "refused", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::123456789012:role/Nobody" })
	h.eventually(refused, "Issued", "False AccessDenied")
	for i := range 3 {
		update(h, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, func(n *corev1.Namespace) {
			n.Labels = map[string]string{"another-change": fmt.Sprint(i)}
		})
	}
	h.stop()
	h.Expect(logged()).To(HaveLen(1))
	failed := h.logLines("RoleCredential", "refused")
	h.Expect(failed).To(HaveLen(h.issues() - 1)) // the operator may have retried since
	h.Expect(failed[0]).To(And(HaveKeyWithValue("msg", "no new credential"), HaveKeyWithValue("reason", "AccessDenied"), HaveKeyWithValue("cause", ContainSubstring("is not authorized"))))
	h.Expect(h.statuses(created, refused)).NotTo(Or(ContainSubstring(last.RequestID), ContainSubstring(fmt.Sprint(failed[0]["requestID"]))))

	// docs/logs.md lists all keys, and the spans have the same values as the lines.
	h.Expect(documentedKeys(h, "Keys of the log")).To(ContainElements(slices.Collect(maps.Keys(issued))))
	h.Expect(documentedKeys(h, "Keys of the log")).To(ContainElements(slices.Collect(maps.Keys(failed[0]))))
	byTrace := map[string]otlpreceiver.Span{}
	for _, span := range spans() {
		h.Expect(documentedKeys(h, "Attributes of spans")).To(ContainElements(slices.Collect(maps.Keys(span.Attributes))))
		if strings.HasPrefix(span.GetName(), "issue ") {
			byTrace[fmt.Sprintf("%x", span.GetTraceId())] = span
		}
	}
	for _, l := range []logLine{issued, failed[0]} {
		h.Expect(byTrace).To(HaveKey(l["traceID"]))
		h.Expect(byTrace[fmt.Sprint(l["traceID"])].Attributes).To(Equal(map[string]string{
			"rolecredential.kind": "RoleCredential", "k8s.namespace.name": namespace, "rolecredential.name": fmt.Sprint(l["name"]),
			"rolecredential.identity": fmt.Sprint(l["identity"]), "rpc.method": fmt.Sprint(l["call"]), "rolecredential.why": fmt.Sprint(l["why"]),
			"rolecredential.reason": fmt.Sprint(l["reason"]), "aws.request_id": fmt.Sprint(l["requestID"]),
		}))
	}
}

func TestSTSCallIsSpanOfReconcile(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	spans := h.exportSpans()
	h.start()
	namespace := h.namespace(nil)
	by := h.createChain(threeHops)
	h.eventually(h.credential(namespace, "traced", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = lastARN }), "Ready", "True Issued")
	h.eventually(by, "Ready", "True Verified")
	h.stop()
	byID := map[string]otlpreceiver.Span{}
	parents := map[string][]string{}
	all := spans()
	for _, span := range all {
		byID[string(span.GetSpanId())] = span
	}
	for _, span := range all {
		parent := byID[string(span.GetParentSpanId())]
		parents[span.GetName()] = append(parents[span.GetName()], parent.GetName())
		h.Expect(parent.GetTraceId()).To(Or(BeEmpty(), Equal(span.GetTraceId())))
	}
	h.Expect(parents["issue RoleCredential"]).To(HaveEach(""))
	h.Expect(parents["verify ClusterIdentity"]).To(HaveEach(""))
	h.Expect(parents["STS GetCallerIdentity"]).To(HaveEach("verify ClusterIdentity"))
	// A hop's call is a span of the call that first required it.
	own := slices.DeleteFunc(slices.Clone(parents["STS AssumeRole"]), func(parent string) bool { return strings.HasPrefix(parent, "STS ") })
	h.Expect(own).To(Equal([]string{"issue RoleCredential"}))
	h.Expect(parents["STS AssumeRole"]).To(HaveLen(4))
}

// statuses returns the statuses of credentials as JSON.
func (h *harness) statuses(credentials ...*v1alpha1.RoleCredential) string {
	h.t.Helper()
	var statuses []v1alpha1.RoleCredentialStatus
	for _, c := range credentials {
		h.state(c, "Ready")()
		statuses = append(statuses, c.Status)
	}
	text, err := json.Marshal(statuses)
	h.Expect(err).NotTo(HaveOccurred())
	return string(text)
}
