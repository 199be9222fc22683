package awssts

import (
	"context"
	"errors"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go/middleware"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Attributes of a span. Those that OpenTelemetry's semantic conventions have are theirs.
const (
	TraceReason    = attribute.Key("rolecredential.reason")
	TraceRequestID = attribute.Key("aws.request_id")
	TraceCall      = attribute.Key("rpc.method")

	traceSystem   = attribute.Key("rpc.system")
	traceService  = attribute.Key("rpc.service")
	traceStatus   = attribute.Key("http.response.status_code")
	traceAttempts = attribute.Key("rolecredential.attempts")
)

// Traced has each call of STS that is made with a config be a span with these attributes, in which are the SDK's own retries. Nothing
// of the request is in it, nor of the answer but its id and its status: an answer to a wrong signature quotes what was signed.
func Traced(config aws.Config, tracer trace.Tracer, attributes ...attribute.KeyValue) aws.Config {
	config.APIOptions = append(slices.Clone(config.APIOptions), func(stack *middleware.Stack) error {
		return stack.Initialize.Add(traced{tracer, stack.ID(), attributes}, middleware.Before)
	})
	return config
}

type traced struct {
	tracer     trace.Tracer
	call       string
	attributes []attribute.KeyValue
}

func (traced) ID() string { return "rolecredential/traced" }

func (t traced) HandleInitialize(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
	ctx, span := t.tracer.Start(ctx, "STS "+t.call, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(t.attributes...),
		trace.WithAttributes(traceSystem.String("aws-api"), traceService.String("STS"), TraceCall.String(t.call)))
	defer span.End()
	out, metadata, err := next.HandleInitialize(ctx, in)
	id := requestID(metadata)
	if err != nil {
		reason, _ := classify(err)
		span.SetAttributes(TraceReason.String(reason))
		span.SetStatus(codes.Error, reason)
	}
	if err != nil && !notAsked(err) { // what a hop was answered stands in its own span
		id = RequestID(err)
		if code := status(err); code != 0 {
			span.SetAttributes(traceStatus.Int(code))
		}
	}
	if id != "" {
		span.SetAttributes(TraceRequestID.String(id))
	}
	if attempts, ok := retry.GetAttemptResults(metadata); ok {
		span.SetAttributes(traceAttempts.Int(len(attempts.Results)))
	}
	return out, metadata, err
}

// RequestID returns the id that STS gave the call which an error is of, empty if it gave none. It is for logs and spans: no two are
// alike.
func RequestID(err error) string {
	answer, ok := errors.AsType[interface {
		error
		ServiceRequestID() string
	}](err)
	if !ok {
		return ""
	}
	return cleanID(answer.ServiceRequestID())
}

// requestID returns the id of a call that went well.
func requestID(metadata middleware.Metadata) string {
	id, _ := awsmiddleware.GetRequestIDMetadata(metadata)
	return cleanID(id)
}

// plainID is an id as those of AWS are, UUIDs, and of servers like it. No secret is, nor the code of an MFA device, which a strange
// server could say back.
var plainID = regexp.MustCompile(`^[0-9A-Fa-f-]{16,64}$`)

func cleanID(id string) string {
	if !plainID.MatchString(id) {
		return ""
	}
	return id
}
