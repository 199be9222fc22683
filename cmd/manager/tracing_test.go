package main

import (
	"os"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/otlpreceiver"
)

func TestEnvironmentConfiguresTheCollector(t *testing.T) {
	receiver, err := otlpreceiver.Start()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { NewWithT(t).Expect(receiver.Stop()).To(Succeed()) })
	for name, tc := range map[string]struct {
		environment map[string]string
		wantName    string // of the service; empty for no spans
		wantErr     string
	}{
		"no variable":                     {},
		"to the collector of all signals": {environment: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.URL}, wantName: "rolecredential"},
		"to the collector of traces":      {environment: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": receiver.URL}, wantName: "rolecredential"},
		"under another name":              {environment: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.URL, "OTEL_SERVICE_NAME": "sts-eu"}, wantName: "sts-eu"},
		"the SDK is disabled":             {environment: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.URL, "OTEL_SDK_DISABLED": "true"}},
		"traces are disabled":             {environment: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.URL, "OTEL_TRACES_EXPORTER": "none"}},
		"an unsupported protocol":         {environment: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, wantErr: "set it to grpc"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for _, set := range os.Environ() {
				if name, _, _ := strings.Cut(set, "="); strings.HasPrefix(name, "OTEL_") {
					t.Setenv(name, "")
				}
			}
			for name, value := range tc.environment {
				t.Setenv(name, value)
			}
			before := len(receiver.Spans())
			spans, end, err := tracing(t.Context())
			if tc.wantErr != "" {
				g.Expect(err).To(MatchError(ContainSubstring(tc.wantErr)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			if tc.wantName == "" {
				g.Expect(spans).To(BeNil())
				g.Expect(exporting()).To(BeFalse())
				end()
				return
			}
			g.Eventually(exporting).Should(BeTrue())
			_, span := spans.Tracer("test").Start(t.Context(), "a span")
			span.End()
			end()
			g.Eventually(exporting).Should(BeFalse())
			g.Expect(receiver.Spans()).To(HaveLen(before + 1))
			got := receiver.Spans()[before]
			g.Expect(got.GetName()).To(Equal("a span"))
			g.Expect(got.Resource).To(And(HaveKeyWithValue("service.name", tc.wantName), HaveKeyWithValue("service.version", version)))
		})
	}
}

// exporting reports whether a goroutine of OpenTelemetry's SDK or exporter runs.
func exporting() bool {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strings.Contains(string(stacks), "go.opentelemetry.io/otel/sdk/trace.")
}
