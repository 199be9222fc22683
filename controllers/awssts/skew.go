package awssts

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/api/v1alpha1"
)

// dateResolution is how much a measurement may be wrong: a Date header has whole seconds, and the response takes time.
const dateResolution = 5 * time.Second

// maxTolerance is the largest skew that STS tolerates: beyond it, STS returns 'Signature expired: ... (... - 15 min.)' or
// 'Signature not yet current' (IAM User Guide, 'Troubleshoot Signature Version 4 signing for AWS API requests'). A Date that
// is further from the time of an accepted signature is not the server's time.
const maxTolerance = 15 * time.Minute

// Skew returns how far the clock of STS is ahead of the operator's; zero if it is within the error of a measurement. It is
// false before the first plausible response.
func (c *Client) Skew() (time.Duration, bool) { return c.skew.offset(c.clock.Now()) }

// skew measures how far the clock of STS is ahead of the operator's.
type skew struct {
	clock clock.PassiveClock
	// latest is the SDK's measurement of the last response, and plausible the last plausible measurement.
	latest, plausible atomic.Pointer[measurement]
}

type measurement struct {
	offset time.Duration
	// at has the readings of both the wall clock and the monotonic clock. Nothing sets the latter.
	at time.Time
	// rejecting is true for a response that may have rejected the time of a signature.
	rejecting bool
}

// measure adds the measurement to each attempt of a call, before the SDK decides whether to retry it.
func (s *skew) measure(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("MeasureClockSkew", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		out, metadata, err := next.HandleFinalize(ctx, in)
		return out, s.observe(metadata, err), err
	}), "Retry", middleware.After)
}

// forSignature returns how far ahead of the operator's clock a signature with a certificate must be. The SDK decides that for the other
// signatures.
func (s *skew) forSignature() time.Duration {
	now := s.clock.Now()
	if latest := s.latest.Load(); latest != nil && latest.rejecting {
		return latest.offsetAt(now)
	}
	offset, _ := s.offset(now)
	return offset
}

// observe keeps the SDK's measurement of a response. It is plausible if the Date is within maxTolerance of the signature's
// time, or of the operator's clock if the request has no signature. A larger skew becomes plausible when the server accepts
// a signature of that time, or by [skew.issuedAt].
//
// The returned metadata has no measurement if the Date is implausible, as a proxy may write it: the SDK would sign the next
// request for that time. A rejected signature is a reason to do so.
func (s *skew) observe(metadata middleware.Metadata, err error) middleware.Metadata {
	offset, ok := awsmiddleware.GetAttemptSkew(metadata)
	if !ok {
		return metadata
	}
	fromSignature, signed := dateOffSignature(metadata)
	if !signed {
		fromSignature = offset
	}
	measured := &measurement{offset, s.clock.Now(), signed && mayRejectTime(err)}
	s.latest.Store(measured)
	if fromSignature.Abs() <= maxTolerance {
		s.plausible.Store(measured)
	}
	if !signed || fromSignature.Abs() <= maxTolerance || measured.rejecting {
		return metadata
	}
	// The SDK cannot remove the skew from the metadata. Of the rest, only the request ID is used.
	trimmed := middleware.Metadata{}
	if id, ok := awsmiddleware.GetRequestIDMetadata(metadata); ok {
		awsmiddleware.SetRequestIDMetadata(&trimmed, id)
	}
	return trimmed
}

// dateOffSignature returns how far the Date of a response is ahead of the time of its request's signature. It is false
// without a Date or a signature.
func dateOffSignature(metadata middleware.Metadata) (time.Duration, bool) {
	response, ok := awsmiddleware.GetRawResponse(metadata).(*smithyhttp.Response)
	if !ok || response.Response == nil || response.Request == nil {
		return 0, false
	}
	date, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return 0, false
	}
	signed, err := time.Parse("20060102T150405Z", response.Request.Header.Get("X-Amz-Date"))
	return date.Sub(signed), err == nil
}

// mayRejectTime reports whether an error may be about the time of the signature. STS has no error code for it, and returns
// SignatureDoesNotMatch.
func mayRejectTime(err error) bool {
	if err == nil {
		return false
	}
	why, answer := classify(err)
	return why == v1alpha1.ReasonClockSkew || why == v1alpha1.ReasonInvalidSourceCredentials || answer.Code == "AccessDeniedException"
}

// issuedAt returns when STS issued credentials, by its own clock: at the time of the call, but not before earliest, which is
// their expiration less the requested duration. It corrects the skew if the expiration disagrees with it. A server whose
// credentials are from more than maxTolerance in the future issues for longer than requested, which says nothing about its
// clock.
func (s *skew) issuedAt(called, earliest time.Time) time.Time {
	answered := s.clock.Now()
	if latest := s.latest.Load(); latest != nil && answered.Add(latest.offsetAt(answered)).Sub(earliest).Abs() <= maxTolerance {
		s.plausible.Store(latest)
	}
	offset, _ := s.offset(answered)
	if behind := earliest.Sub(answered.Add(offset)); behind > dateResolution && behind <= maxTolerance {
		offset += behind
		s.plausible.Store(&measurement{offset: offset, at: answered})
	}
	issuedAt := called.Add(offset)
	if issuedAt.Before(earliest) && earliest.Sub(answered.Add(offset)) <= dateResolution {
		return earliest
	}
	return issuedAt
}

// offset returns the skew at a time of the operator's clock, as [Client.Skew] does.
func (s *skew) offset(now time.Time) (time.Duration, bool) {
	plausible := s.plausible.Load()
	if plausible == nil {
		return 0, false
	}
	offset := plausible.offsetAt(now)
	if offset.Abs() < dateResolution {
		return 0, true
	}
	return offset, true
}

// offsetAt returns the skew at a later time. If the operator's clock was set back since the measurement, the skew grows by as
// much: otherwise no credential would be due, and no call would measure the skew again. A clock that was set ahead changes
// nothing: the machine, and its monotonic clock, may have slept.
func (m measurement) offsetAt(at time.Time) time.Duration {
	passed, byWall := at.Sub(m.at), at.Round(0).Sub(m.at.Round(0))
	return m.offset + max(0, passed-byWall)
}
