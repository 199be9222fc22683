package controllers

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/identity"
)

// Attributes of a reconcile's span, beside those of awssts. docs/logs.md lists them all.
const (
	traceNamespace = attribute.Key("k8s.namespace.name")
	traceKind      = attribute.Key("rolecredential.kind")
	traceName      = attribute.Key("rolecredential.name")
	traceIdentity  = attribute.Key("rolecredential.identity")
	traceWhy       = attribute.Key("rolecredential.why")
)

// tracer returns what starts the operator's spans, nil for none.
func tracer(spans trace.TracerProvider) trace.Tracer {
	if spans == nil {
		return nil
	}
	return spans.Tracer("rolecredential.dev/operator")
}

// traced has the calls of STS that are made as an identity be spans.
func (p *dependencies) traced(key identity.Key, config aws.Config) aws.Config {
	if p.tracer == nil {
		return config
	}
	return awssts.Traced(config, p.tracer, traceIdentity.String(identityLabel(key)))
}

// identityLabel is an identity as logs and spans give it: its kind, and its name with its namespace if it has one.
func identityLabel(key identity.Key) string { return key.Kind + " " + key.Label() }

// spanned has each reconcile of a kind be a span, named by what is done, and its log name the trace.
func (p *dependencies) spanned(kind, what string, reconciler reconcile.Reconciler) reconcile.Reconciler {
	if p.tracer == nil {
		return reconciler
	}
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		ctx, span := p.tracer.Start(ctx, what+" "+kind, trace.WithAttributes(traceKind.String(kind), traceNamespace.String(req.Namespace), traceName.String(req.Name)))
		defer span.End()
		if span.IsRecording() {
			ctx = log.IntoContext(ctx, log.FromContext(ctx).WithValues("traceID", span.SpanContext().TraceID()))
		}
		result, err := reconciler.Reconcile(ctx, req)
		if err != nil { // of the API server, whose text may quote what it was sent
			span.SetStatus(codes.Error, string(apierrors.ReasonForError(err)))
		}
		return result, err
	})
}

// log writes the log line of a call that was made or rejected, and the same to the span of the reconcile.
func (a attempt) log(ctx context.Context, message string, why credential.ReissueReason, reason, requestID string, more ...any) {
	log.FromContext(ctx).Info(message, append([]any{
		"why", why, "call", a.call(), "identity", identityLabel(a.identity.Key), "reason", reason, "requestID", requestID,
	}, more...)...)
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(traceIdentity.String(identityLabel(a.identity.Key)), awssts.TraceCall.String(string(a.call())), traceWhy.String(string(why)), awssts.TraceReason.String(reason))
	if requestID != "" {
		span.SetAttributes(awssts.TraceRequestID.String(requestID))
	}
	if reason != v1alpha1.ReasonIssued {
		span.SetStatus(codes.Error, reason)
	}
}
