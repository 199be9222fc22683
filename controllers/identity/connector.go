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
	// Tracer starts a span for each STS call; nil for no spans.
	Tracer trace.Tracer
	// Timeout bounds one STS call with the SDK's retries; awssts.DefaultTimeout if zero.
	Timeout time.Duration
}

// Connect returns the STS client of an identity. It replaces the client before, which is nil if there was none.
func (c *Connector) Connect(key request.Key, config aws.Config, before STS) STS {
	replaced, _ := before.(*awssts.Client)
	client := awssts.New(c.traced(key, config), c.Clock, c.Account(key), replaced)
	client.Timeout = c.Timeout
	return client
}

// Assume returns self-refreshing credentials of a hop's role. The token, if it is not nil, authenticates the calls.
func (c *Connector) Assume(key request.Key, config aws.Config, hop request.Request, token TokenSource) aws.CredentialsProvider {
	return awssts.Hop(c.traced(key, config), hop, token, c.Account(key))
}

// Account counts the calls that the SDK makes as an identity.
func (c *Connector) Account(key request.Key) awssts.Account { return account{c, key} }

func (c *Connector) traced(key request.Key, config aws.Config) aws.Config {
	if c.Tracer == nil {
		return config
	}
	return awssts.Traced(config, c.Tracer, telemetry.TraceIdentity.String(key.String()))
}

type account struct {
	*Connector
	key request.Key
}

// Spend counts a call that does not wait for the rate limit.
func (a account) Spend() { a.Limits.Spend(a.Clock.Now(), a.key) }

// Requested measures a request.
func (a account) Requested(call string) func() { return a.Metrics.Requested(call) }

// HopCalled counts the call of a hop.
func (a account) HopCalled(call v1alpha1.Call, reason string) {
	a.Metrics.Called(a.key.Kind, string(call), reason)
}
