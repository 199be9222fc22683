package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Attributes of a reconcile's span, beside those of package awssts. docs/logs.md lists them all.
const (
	TraceNamespace = attribute.Key("k8s.namespace.name")
	TraceKind      = attribute.Key("rolecredential.kind")
	TraceName      = attribute.Key("rolecredential.name")
	TraceIdentity  = attribute.Key("rolecredential.identity")
	TraceWhy       = attribute.Key("rolecredential.why")
)

// Spanned returns a reconciler that starts a span for each reconcile of a kind, named after what it does. If the span is recorded, its log
// lines hold the trace ID.
func Spanned(tracer trace.Tracer, kind, what string, reconciler reconcile.Reconciler) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		ctx, span := tracer.Start(ctx, what+" "+kind, trace.WithAttributes(TraceKind.String(kind), TraceNamespace.String(req.Namespace), TraceName.String(req.Name)))
		defer span.End()
		if span.IsRecording() {
			ctx = log.IntoContext(ctx, log.FromContext(ctx).WithValues("traceID", span.SpanContext().TraceID()))
		}
		result, err := reconciler.Reconcile(ctx, req)
		if err != nil { // the API server's text may quote the object
			span.SetStatus(codes.Error, string(apierrors.ReasonForError(err)))
		}
		return result, err
	})
}
