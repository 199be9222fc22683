package awssts

import (
	"context"
	"errors"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go/middleware"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Attributes of a span, with the names of OpenTelemetry's semantic conventions where there is one.
const (
	TraceReason    = attribute.Key("rolecredential.reason")
	TraceRequestID = attribute.Key("aws.request_id")
	TraceCall      = attribute.Key("rpc.method")

	traceSystem   = attribute.Key("rpc.system")
	traceService  = attribute.Key("rpc.service")
	traceStatus   = attribute.Key("http.response.status_code")
	traceAttempts = attribute.Key("rolecredential.attempts")
)

// Traced returns a config with which each STS call is a span with these attributes. The span includes the SDK's retries. It
// contains nothing of the request, and only the ID and status of the response: a response to a wrong signature quotes the
// signed request.
func Traced(config aws.Config, tracer trace.Tracer, attributes ...attribute.KeyValue) aws.Config {
	config.APIOptions = append(slices.Clone(config.APIOptions), func(stack *middleware.Stack) error {
		call := stack.ID()
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("rolecredential/traced", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			service := middleware.GetServiceID(ctx)
			ctx, span := tracer.Start(ctx, service+" "+call, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...),
				trace.WithAttributes(traceSystem.String("aws-api"), traceService.String(service), TraceCall.String(call)))
			defer span.End()
			out, metadata, err := next.HandleInitialize(ctx, in)
			describe(span, metadata, err)
			return out, metadata, err
		}), middleware.Before)
	})
	return config
}

func describe(span trace.Span, metadata middleware.Metadata, err error) {
	id := idOfResponse(metadata)
	if err != nil {
		why, _ := classify(err)
		span.SetAttributes(TraceReason.String(why))
		span.SetStatus(codes.Error, why)
	}
	if err != nil && !notCalled(err) { // a hop has a span of its own
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
}

// RequestID returns the ID that STS gave to the call of an error; empty if it gave none. Each call has another, so it is for
// logs and spans only.
func RequestID(err error) string {
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		return plainID.FindString(response.ServiceRequestID())
	}
	return ""
}

// idOfResponse returns the ID of a successful call.
func idOfResponse(metadata middleware.Metadata) string {
	id, _ := awsmiddleware.GetRequestIDMetadata(metadata)
	return plainID.FindString(id)
}

// plainID matches the form of IDs of AWS and of compatible servers. No secret and no MFA code has it: a server could return one.
var plainID = regexp.MustCompile(`^[0-9A-Fa-f-]{16,64}$`)
