package awssts

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// Account is told of the calls of STS that nobody asked for by themselves.
type Account interface {
	// Spend is called for each: a call that the SDK repeats, and one of a hop.
	Spend()
	// HopCalled is called with what came of a hop's call, a reason of ConditionIssued.
	HopCalled(call v1alpha1.Call, reason string)
	// Requested is called before each request of STS, and what it returns when that is answered or given up.
	Requested(call string) (answered func())
}

// measure tells an account of each request.
func measure(account Account) func(*sts.Options) {
	return func(o *sts.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("MeasureRequest", func(
				ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
			) (middleware.DeserializeOutput, middleware.Metadata, error) {
				defer account.Requested(middleware.GetOperationName(ctx))()
				return next.HandleDeserialize(ctx, in)
			}), middleware.After) // next to the request itself
		})
	}
}

// sparing is a retryer that repeats no call which would only fail again.
type sparing struct {
	aws.Retryer
	account Account
}

// spare has the SDK repeat calls sparingly, and read no more of an answer than one can be.
func spare(account Account) func(*sts.Options) {
	return func(o *sts.Options) {
		o.Retryer = sparing{o.Retryer, account}
		o.HTTPClient = sipping{o.HTTPClient}
	}
}

// maxAnswer is how many bytes of an answer are read: as many as a Secret can hold. What is longer breaks off, so that a server which
// goes on forever fills no memory.
const maxAnswer = 1 << 20

type sipping struct{ sts.HTTPClient }

func (s sipping) Do(r *http.Request) (*http.Response, error) {
	answer, err := s.HTTPClient.Do(r)
	if err != nil {
		return answer, err
	}
	body := io.LimitReader(answer.Body, maxAnswer)
	if answer.StatusCode >= http.StatusMultipleChoices {
		body = asErrorOfSTS(body)
	}
	answer.Body = sip{body, answer.Body}
	return answer, nil
}

// asErrorOfSTS makes an error document in the style of S3, which some compatible servers send, one of STS: the SDK looks for the
// code one element deeper. Any other body stays as it is.
func asErrorOfSTS(body io.Reader) io.Reader {
	read, err := io.ReadAll(body)
	if err != nil {
		return io.MultiReader(bytes.NewReader(read), body)
	}
	document := xml.NewDecoder(bytes.NewReader(read))
	for {
		begin := document.InputOffset()
		token, err := document.RawToken()
		if err != nil {
			return bytes.NewReader(read)
		}
		root, ok := token.(xml.StartElement)
		switch {
		case ok && root.Name.Local == "Error":
			return io.MultiReader(strings.NewReader("<ErrorResponse>"), bytes.NewReader(read[begin:]), strings.NewReader("</ErrorResponse>"))
		case ok:
			return bytes.NewReader(read)
		}
	}
}

type sip struct {
	io.Reader
	io.Closer
}

// IsErrorRetryable leaves to the operator what STS throttled: it comes again more slowly. What the source or a hop failed
// with, that has tried again by itself.
func (s sparing) IsErrorRetryable(err error) bool {
	reason, _ := classify(err)
	return reason != v1alpha1.ReasonThrottled && !notAsked(err) && s.Retryer.IsErrorRetryable(err)
}

// GetRetryToken is asked before a call is repeated.
func (s sparing) GetRetryToken(ctx context.Context, err error) (func(error) error, error) {
	release, refused := s.Retryer.GetRetryToken(ctx, err)
	if refused == nil {
		s.account.Spend()
	}
	return release, refused
}

// notAsked tells whether a call was not even made, for want of credentials.
func notAsked(err error) bool {
	_, source := errors.AsType[*reason.SourceError](err)
	_, hop := errors.AsType[*reason.HopError](err)
	_, token := errors.AsType[*reason.TokenError](err)
	return source || hop || token
}

// accounted tells what came of a hop's calls.
type accounted struct {
	hop         aws.CredentialsProvider
	account     Account
	webIdentity bool
}

func (a accounted) Retrieve(ctx context.Context) (aws.Credentials, error) {
	keys, err := a.hop.Retrieve(ctx)
	if notAsked(err) {
		return keys, err
	}
	reason := v1alpha1.ReasonIssued
	if err != nil {
		reason, _ = classify(err)
	}
	a.account.Spend()
	call := v1alpha1.CallAssumeRole
	if a.webIdentity {
		call = v1alpha1.CallAssumeRoleWithWebIdentity
	}
	a.account.HopCalled(call, reason)
	return keys, err
}
