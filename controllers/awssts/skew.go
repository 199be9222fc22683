package awssts

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/api/v1alpha1"
)

// dateResolution is how far two clocks may seem apart that agree: a Date header tells whole seconds, and takes its time.
const dateResolution = 5 * time.Second

// maxTolerance is the most that STS tolerates in practice: beyond it STS answers 'Signature expired: ... (... - 15 min.)' or
// 'Signature not yet current' (IAM User Guide, 'Troubleshoot Signature Version 4 signing for AWS API requests'). A Date header that
// is further from the time of a signature which the server accepted cannot be the server's time.
const maxTolerance = 15 * time.Minute

// dateOffSignature returns how far the Date header of an answer is ahead of the time that its request was signed for. It is false
// without a Date, and for a request without a signature.
func dateOffSignature(answer *smithyhttp.Response) (time.Duration, bool) {
	if answer == nil || answer.Response == nil || answer.Request == nil {
		return 0, false
	}
	answered, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return 0, false
	}
	signed, err := time.Parse("20060102T150405Z", answer.Request.Header.Get("X-Amz-Date"))
	return answered.Sub(signed), err == nil
}

// ignoreImplausibleDate keeps the SDK from signing for the time of a Date header that is implausible, as a proxy may write one:
// further from the time of the signature than maxTolerance, in an answer that does not refuse the signature. Only a refusal is a
// reason to sign for another time.
func ignoreImplausibleDate(o *sts.Options) {
	o.APIOptions = append(o.APIOptions, inEachAttempt("IgnoreImplausibleDate", func(metadata middleware.Metadata, err error) middleware.Metadata {
		off, signed := dateOffSignature(rawResponse(metadata))
		if !signed || off.Abs() <= maxTolerance || mayRefuseTime(err) {
			return metadata
		}
		// The SDK has no way to take the skew out of the metadata. Of the rest, only the request id is used.
		kept := middleware.Metadata{}
		if id, ok := awsmiddleware.GetRequestIDMetadata(metadata); ok {
			awsmiddleware.SetRequestIDMetadata(&kept, id)
		}
		return kept
	}))
}

// mayRefuseTime reports whether an error may be that the server refuses the time of the signature. Servers have no error code of their
// own for it: STS answers SignatureDoesNotMatch.
func mayRefuseTime(err error) bool {
	if err == nil {
		return false
	}
	reason, answer := classify(err)
	return reason == v1alpha1.ReasonClockSkew || reason == v1alpha1.ReasonInvalidSourceCredentials || answer.Code == "AccessDeniedException"
}

// inEachAttempt runs a function on the result of each attempt of a call, before the SDK decides whether and how to repeat it.
func inEachAttempt(name string, f func(middleware.Metadata, error) middleware.Metadata) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc(name, func(
			ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
		) (middleware.FinalizeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleFinalize(ctx, in)
			return out, f(metadata, err), err
		}), "Retry", middleware.After)
	}
}

func rawResponse(metadata middleware.Metadata) *smithyhttp.Response {
	answer, _ := awsmiddleware.GetRawResponse(metadata).(*smithyhttp.Response)
	return answer
}

// skew is how far the clock of STS is ahead of ours.
type skew struct {
	clock clock.PassiveClock
	// heard is what the SDK measured on the last answer, and last the last measurement that is plausible.
	heard, last atomic.Pointer[measurement]
}

type measurement struct {
	ahead time.Duration
	// at is when it was measured, by both of our clocks: that of the wall, and the monotonic one, which nobody sets.
	at time.Time
}

// measure keeps the SDK's measurement on each answer, good or bad. It is plausible if the Date is that of the signature, or of our
// own clock where the request has no signature, within maxTolerance. A larger skew becomes plausible when the server accepts a
// signature of that time, or by [skew.correct].
func (s *skew) measure(o *sts.Options) {
	o.APIOptions = append(o.APIOptions, inEachAttempt("KeepClockSkew", func(metadata middleware.Metadata, _ error) middleware.Metadata {
		ahead, ok := awsmiddleware.GetAttemptSkew(metadata)
		if !ok {
			return metadata
		}
		measured := &measurement{ahead, s.clock.Now()}
		s.heard.Store(measured)
		off, signed := dateOffSignature(rawResponse(metadata))
		if !signed {
			off = ahead
		}
		if off.Abs() <= maxTolerance {
			s.last.Store(measured)
		}
		return metadata
	}))
}

// correct compares the skew with credentials that STS has just issued, which it cannot have done before earliest: their expiration
// less the duration that was asked for. It returns the skew. A server whose credentials seem to come from further in the future than
// maxTolerance issues for longer than asked, and says nothing about its clock.
func (s *skew) correct(answered, earliest time.Time) time.Duration {
	if heard := s.heard.Load(); heard != nil && answered.Add(heard.now(answered)).Sub(earliest).Abs() <= maxTolerance {
		s.last.Store(heard)
	}
	ahead, _ := s.ahead(answered)
	if behind := earliest.Sub(answered.Add(ahead)); behind > dateResolution && behind <= maxTolerance {
		ahead += behind
		s.last.Store(&measurement{ahead, answered})
	}
	return ahead
}

// ahead returns the skew at a time of our clock, zero if it is no more than a measurement may err. It is false before the first
// plausible measurement.
func (s *skew) ahead(now time.Time) (time.Duration, bool) {
	last := s.last.Load()
	if last == nil {
		return 0, false
	}
	ahead := last.now(now)
	if ahead.Abs() < dateResolution {
		return 0, true
	}
	return ahead, true
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
// false before the first plausible answer.
func (c *Client) Skew() (time.Duration, bool) { return c.skew.ahead(c.clock.Now()) }

// now is the time by STS's clock, as far as it is known.
func (c *Client) now() time.Time {
	ahead, _ := c.Skew()
	return c.clock.Now().Add(ahead)
}
