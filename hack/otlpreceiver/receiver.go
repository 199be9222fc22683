// Package otlpreceiver is an OpenTelemetry collector for tests. It stores the received spans.
package otlpreceiver

import (
	"context"
	"net"
	"slices"
	"strconv"
	"sync"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// Receiver receives spans over gRPC, on loopback and without TLS.
type Receiver struct {
	collector.UnimplementedTraceServiceServer

	// URL is the value for OTEL_EXPORTER_OTLP_ENDPOINT.
	URL string

	server *grpc.Server
	served chan error
	mu     sync.Mutex
	spans  []*tracev1.ResourceSpans
}

// Start starts a receiver on a free port.
func Start() (*Receiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Receiver{URL: "http://" + listener.Addr().String(), server: grpc.NewServer(), served: make(chan error, 1)}
	collector.RegisterTraceServiceServer(r.server, r)
	go func() { r.served <- r.server.Serve(listener) }()
	return r, nil
}

// Stop stops the receiver and closes its connections.
func (r *Receiver) Stop() error {
	r.server.Stop()
	return <-r.served
}

// Export is the collector's only method.
func (r *Receiver) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = append(r.spans, request.GetResourceSpans()...)
	return &collector.ExportTraceServiceResponse{}, nil
}

// Received returns all received spans, in order.
func (r *Receiver) Received() []*tracev1.ResourceSpans {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.spans)
}

// Span is a span with its attributes by key.
type Span struct {
	*tracev1.Span

	Attributes map[string]string
	// Resource are the attributes of the sender.
	Resource map[string]string
}

// Spans returns all received spans.
func (r *Receiver) Spans() []Span {
	var spans []Span
	for _, batch := range r.Received() {
		for _, scope := range batch.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				spans = append(spans, Span{span, byKey(span.GetAttributes()), byKey(batch.GetResource().GetAttributes())})
			}
		}
	}
	return spans
}

func byKey(attributes []*common.KeyValue) map[string]string {
	found := map[string]string{}
	for _, a := range attributes {
		found[a.GetKey()] = a.GetValue().GetStringValue()
		if number, ok := a.GetValue().GetValue().(*common.AnyValue_IntValue); ok {
			found[a.GetKey()] = strconv.FormatInt(number.IntValue, 10)
		}
	}
	return found
}
