package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	ctrl "sigs.k8s.io/controller-runtime"
)

// flushTimeout bounds how long a manager that ends waits for a collector to take its last spans.
const flushTimeout = 5 * time.Second

// tracing returns where spans go, nil for nowhere: that is so unless the environment names a collector, by the variables that
// OpenTelemetry's specification has for all programs ('OpenTelemetry Protocol Exporter', 'Environment Variable Specification'). The
// SDK reads the rest of them itself. End sends what is left, and is to be called when no span is begun any more.
func tracing(ctx context.Context) (spans trace.TracerProvider, end func(), err error) {
	if !asked() {
		return nil, func() {}, nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := os.Getenv(name); protocol != "" && protocol != "grpc" {
			return nil, nil, fmt.Errorf("%s is %q: spans are sent by grpc only, to the collector's port 4317 as a rule", name, protocol)
		}
	}
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("sending spans: %w", err)
	}
	of, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "rolecredential"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	log := ctrl.Log.WithName("tracing")
	otel.SetLogger(log)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Error(err, "spans were lost") }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(of))
	return provider, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Error(err, "the last spans were lost")
		}
	}, nil
}

// asked tells whether the environment names a collector.
func asked() bool {
	if os.Getenv("OTEL_SDK_DISABLED") == "true" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != ""
}
