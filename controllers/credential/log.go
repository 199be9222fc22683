package credential

import (
	"context"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/telemetry"
)

// log writes the log line of a call that was made or rejected, and the same to the span of the reconcile.
func (a attempt) log(ctx context.Context, message string, why reissue.Reason, reason, requestID string, more ...any) {
	log.FromContext(ctx).Info(message, append([]any{
		"why", why, "call", a.call(), "identity", a.identity.Key.String(), "reason", reason, "requestID", requestID,
	}, more...)...)
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(telemetry.TraceIdentity.String(a.identity.Key.String()), awssts.TraceCall.String(string(a.call())), telemetry.TraceWhy.String(string(why)), awssts.TraceReason.String(reason))
	if requestID != "" {
		span.SetAttributes(awssts.TraceRequestID.String(requestID))
	}
	if reason != v1alpha1.ReasonIssued {
		span.SetStatus(codes.Error, reason)
	}
}
