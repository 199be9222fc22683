package awssts

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"k8s.io/utils/clock"
)

// dateResolution is how far two clocks may seem apart that agree: a Date header tells whole seconds, and takes its time.
const dateResolution = 5 * time.Second

// tolerance is how far from its own time AWS bears that of a signature (IAM User Guide, 'AWS Signature Version 4 for API
// requests'). Other servers bear more.
const tolerance = 5 * time.Minute

// signedOutOfTime tells whether an answer is to a request whose signature was for another time than the server's. The SDK corrects
// its time after an answer, so that this is no longer so of the next.
func signedOutOfTime(err error) bool {
	answer, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || answer.Response == nil || answer.Response.Request == nil {
		return false
	}
	answered, err := http.ParseTime(answer.Response.Header.Get("Date"))
	if err != nil {
		return false
	}
	signed, err := time.Parse("20060102T150405Z", answer.Response.Request.Header.Get("X-Amz-Date"))
	return err == nil && answered.Sub(signed).Abs() > tolerance
}

// skew is how far the clock of STS is ahead of ours, as the SDK measured it on the last answer.
type skew struct {
	clock clock.PassiveClock
	last  atomic.Pointer[measurement]
}

type measurement struct {
	ahead time.Duration
	// at is when it was measured, by both of our clocks: that of the wall, and the monotonic one, which nobody sets.
	at time.Time
}

// measure has the SDK's measurement kept with each answer, good or bad.
func (s *skew) measure(o *sts.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("KeepClockSkew", func(
			ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
		) (middleware.FinalizeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleFinalize(ctx, in)
			if measured, ok := awsmiddleware.GetAttemptSkew(metadata); ok {
				s.last.Store(&measurement{measured, s.clock.Now()})
			}
			return out, metadata, err
		}), middleware.Before)
	})
}

// now returns the measurement as it is at a time. Our clock may have been set back since, and then no credential would seem due,
// nor STS be asked, which alone could tell. One that was set ahead is taken at its word: it may also be that the machine slept,
// and the monotonic clock with it.
func (m measurement) now(at time.Time) time.Duration {
	return m.ahead + setBack(at.Sub(m.at), at.Round(0).Sub(m.at.Round(0)))
}

// setBack is by how much a clock was set back, by which less time passed than in truth.
func setBack(passed, byWall time.Duration) time.Duration { return max(0, passed-byWall) }

// Skew returns how far the clock of STS is ahead of the operator's, zero if it is no more than a measurement may err. It is
// false before the first answer.
func (c *Client) Skew() (time.Duration, bool) {
	last := c.skew.last.Load()
	if last == nil {
		return 0, false
	}
	ahead := last.now(c.clock.Now())
	if ahead.Abs() < dateResolution {
		return 0, true
	}
	return ahead, true
}

// now is the time by STS's clock, as far as it is known.
func (c *Client) now() time.Time {
	ahead, _ := c.Skew()
	return c.clock.Now().Add(ahead)
}
