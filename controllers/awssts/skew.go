package awssts

import (
	"context"
	"sync/atomic"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
)

// dateResolution is how far two clocks may seem apart that agree: a Date header tells whole seconds, and takes its time.
const dateResolution = 5 * time.Second

// skew is how far the clock of STS is ahead of ours, as the SDK measured it on the last answer.
type skew struct{ last atomic.Pointer[time.Duration] }

// measure has the SDK's measurement kept with each answer, good or bad.
func (s *skew) measure(o *sts.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("KeepClockSkew", func(
			ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
		) (middleware.FinalizeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleFinalize(ctx, in)
			if measured, ok := awsmiddleware.GetAttemptSkew(metadata); ok {
				s.last.Store(&measured)
			}
			return out, metadata, err
		}), middleware.Before)
	})
}

// Skew returns how far the clock of STS is ahead of the operator's, zero if it is no more than a measurement may err. It is
// false before the first answer.
func (c *Client) Skew() (time.Duration, bool) {
	last := c.skew.last.Load()
	if last == nil {
		return 0, false
	}
	if last.Abs() < dateResolution {
		return 0, true
	}
	return *last, true
}

// now is the time by STS's clock, as far as it is known.
func (c *Client) now() time.Time {
	ahead, _ := c.Skew()
	return c.clock.Now().Add(ahead)
}
