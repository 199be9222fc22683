package awssts_test

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/hack/stsemulator"
)

// spans keeps those of a client that is made with traced.
type spans struct{ exporter *tracetest.InMemoryExporter }

func (s *spans) traced() func(*aws.Config) {
	s.exporter = tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(s.exporter))
	return func(c *aws.Config) {
		*c = awssts.Traced(*c, provider.Tracer("test"), attribute.String("rolecredential.identity", "ClusterIdentity default"))
	}
}

// recorded returns the attributes of each span.
func (s *spans) recorded() []map[string]string {
	var recorded []map[string]string
	for _, span := range s.exporter.GetSpans() {
		one := map[string]string{"name": span.Name, "status": span.Status.Code.String() + " " + span.Status.Description}
		for _, a := range span.Attributes {
			one[string(a.Key)] = a.Value.String()
		}
		recorded = append(recorded, one)
	}
	return recorded
}

// span returns the attributes of a call's span, with the differences from a successful one.
func span(call, requestID string, differs map[string]string) map[string]string {
	recorded := map[string]string{
		"name": "STS " + call, "status": "Unset ", "rolecredential.identity": "ClusterIdentity default", "rpc.system": "aws-api", "rpc.service": "STS", "rpc.method": call,
		"aws.request_id": requestID, "rolecredential.attempts": "1",
	}
	for key, value := range differs {
		if recorded[key] = value; value == "" {
			delete(recorded, key)
		}
	}
	return recorded
}

func TestCallIsASpanWithItsRequestID(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	var recorder spans
	client := e.client(operatorKey, recorder.traced())
	for _, r := range []request.Request{
		reads(),
		{Call: v1alpha1.CallGetSessionToken, Duration: reads().Duration},
		{Call: v1alpha1.CallGetFederationToken, SessionName: "reader", Duration: reads().Duration, Policy: `{"Version":"2012-10-17","Statement":[]}`},
	} {
		issued, err := client.Issue(t.Context(), r, request.CallAuth{})
		g.Expect(err).NotTo(HaveOccurred())
		calls := e.Calls()
		g.Expect(issued.RequestID).To(Equal(calls[len(calls)-1].RequestID))
		recorded := recorder.recorded()
		g.Expect(recorded[len(recorded)-1]).To(Equal(span(string(r.Call), issued.RequestID, nil)))
	}
	_, err := client.Caller(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(recorder.recorded()).To(HaveLen(4))
	g.Expect(recorder.recorded()[3]).To(Equal(span("GetCallerIdentity", e.Calls()[3].RequestID, nil)))
}

func TestFailedCallIsASpanWithItsReason(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	session, err := e.client(operatorKey).Issue(t.Context(), reads(), request.CallAuth{})
	g.Expect(err).NotTo(HaveOccurred())
	wrong := keysOf(session)
	wrong.SecretAccessKey = "a-wrong-secret-access-key"
	var recorder spans
	_, err = e.client(wrong, recorder.traced()).Issue(t.Context(), reads(), request.CallAuth{})
	g.Expect(err).To(MatchError(ContainSubstring(wrong.SessionToken)), "the answer quotes no request")
	refused := e.Calls()[1]
	g.Expect(awssts.RequestID(err)).To(Equal(refused.RequestID))
	g.Expect(recorder.recorded()).To(ConsistOf(span("AssumeRole", refused.RequestID, map[string]string{
		"status": "Error InvalidSourceCredentials", "rolecredential.reason": "InvalidSourceCredentials", "http.response.status_code": "403",
	})))
	for _, s := range recorder.exporter.GetSpans() {
		g.Expect(s.Events).To(BeEmpty())
	}
}

func TestHopIsASpanWithinItsCall(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	var recorder spans
	traced := recorder.traced()
	config := configFor(e.endpoint.URL, operatorKey)
	traced(&config)
	config.Credentials = hop(config, reads(func(r *request.Request) { r.RoleARN = "arn:aws:iam::123456789012:role/Nobody" }), nil, &ledger{})
	_, err := newCaller(config, e.clock, &ledger{}).Issue(t.Context(), reads(), request.CallAuth{})
	g.Expect(err).To(HaveOccurred())
	id := e.Calls()[0].RequestID
	denied := map[string]string{"status": "Error AccessDenied", "rolecredential.reason": "AccessDenied"}
	within, without := span("AssumeRole", id, denied), span("AssumeRole", "", denied)
	within["http.response.status_code"] = "403"
	delete(without, "aws.request_id")
	g.Expect(recorder.recorded()).To(Equal([]map[string]string{within, without})) // the outer span ends last; its call was not sent
	ended := recorder.exporter.GetSpans()
	g.Expect(ended[0].Parent.SpanID()).To(Equal(ended[1].SpanContext.SpanID()))
	g.Expect(awssts.RequestID(err)).To(Equal(id))
}

func TestMalformedRequestIDIsDropped(t *testing.T) {
	for id, want := range map[string]bool{
		"79b4b704-6132-4adb-820a-3cf78eff843a": true,
		"c6104cbe-af31-11e0-8154-cbc7ccf896c7": true,
		"1879F6B2C7B6B2C7":                     true, // MinIO's
		"123456":                               false,
		"a secret, it may be":                  false,
		"wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEK": false,
	} {
		t.Run(id, func(t *testing.T) {
			g := NewWithT(t)
			var recorder spans
			url := answer{http.StatusForbidden, `<ErrorResponse><Error><Code>AccessDenied</Code></Error><RequestId>` + id + `</RequestId></ErrorResponse>`}.dated(t, now)
			_, err := client(url, serve(t, stsemulator.Options{}).clock, operatorKey, recorder.traced()).Issue(t.Context(), reads(), request.CallAuth{})
			g.Expect(err).To(MatchError(ContainSubstring(id)))
			g.Expect(awssts.RequestID(err) == id).To(Equal(want))
			_, recorded := recorder.recorded()[0]["aws.request_id"]
			g.Expect(recorded).To(Equal(want))
		})
	}
}
