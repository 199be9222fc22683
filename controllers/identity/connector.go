package identity

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/telemetry"
)

// Connector creates the STS clients of identities. Their calls are counted in the limits and in the metrics.
type Connector struct {
	Limits  *limit.Limiter
	Metrics *telemetry.Metrics
	Clock   clock.PassiveClock
	// Tracer starts a span for each STS call. It is required.
	Tracer trace.Tracer
	// Timeout bounds one STS call with the SDK's retries; awssts.DefaultTimeout if zero.
	Timeout time.Duration
}

// NewSTS returns the STS client of an identity.
func (c *Connector) NewSTS(key request.Key, config aws.Config) STS {
	client := awssts.New(awssts.Traced(config, c.Tracer, telemetry.TraceIdentity.String(key.String())), c.Clock, recorder{c, key})
	client.Timeout = c.Timeout
	return client
}

// recorder counts the requests that the SDK sends for an identity.
type recorder struct {
	*Connector
	key request.Key
}

func (r recorder) Spend() { r.Limits.Spend(r.Clock.Now(), r.key) }

func (r recorder) Requested(call string) func() { return r.Metrics.Requested(call) }

func (r recorder) HopCalled(call v1alpha1.Call, reason string) {
	r.Metrics.Called(r.key.Kind, string(call), reason)
}
