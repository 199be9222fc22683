package awssts

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// retryer leaves throttled calls to the operator, which retries at a lower rate. A source or a hop has already retried its
// own failures.
type retryer struct {
	aws.Retryer
	recorder Recorder
	// hasMFACode is true for a call with an MFA code. STS accepts a code once, and may have accepted it although the answer was lost or an
	// error. So only a call that STS rejected for its time is retried.
	hasMFACode bool
}

func (r retryer) IsErrorRetryable(err error) bool {
	why, _ := classify(err)
	if r.hasMFACode && why != v1alpha1.ReasonClockSkew {
		return false
	}
	return why != v1alpha1.ReasonThrottled && !notCalled(err) && r.Retryer.IsErrorRetryable(err)
}

// GetRetryToken is called before each retry.
func (r retryer) GetRetryToken(ctx context.Context, err error) (func(error) error, error) {
	release, refused := r.Retryer.GetRetryToken(ctx, err)
	if refused == nil {
		r.recorder.Spend()
	}
	return release, refused
}

// notCalled reports whether STS was not called because the credentials for the call failed.
func notCalled(err error) bool {
	_, source := errors.AsType[*reason.SourceError](err)
	_, hop := errors.AsType[*reason.HopError](err)
	_, token := errors.AsType[*reason.TokenError](err)
	return source || hop || token
}

// signer derives a signing key for each request. A signer of the SDK caches the derived key by access key ID, so it would not use a corrected
// secret access key.
type signer struct{}

//nolint:revive // the SDK's interface has as many arguments
func (signer) SignHTTP(
	ctx context.Context, keys aws.Credentials, r *http.Request, payloadHash, service, region string, at time.Time, options ...func(*v4.SignerOptions),
) error {
	return v4.NewSigner().SignHTTP(ctx, keys, r, payloadHash, service, region, at, options...)
}

// maxBody is how many bytes of a response are read: as many as a Secret can hold. A longer body breaks off, so that an
// endless response cannot fill the memory.
const maxBody = 1 << 20

// httpClient records requests and bounds the bodies of responses.
type httpClient struct {
	sts.HTTPClient
	recorder Recorder
}

func (c httpClient) Do(r *http.Request) (*http.Response, error) {
	ended := c.recorder.Requested(middleware.GetOperationName(r.Context()))
	defer ended()
	response, err := c.HTTPClient.Do(r)
	if err != nil {
		return response, err
	}
	body := io.LimitReader(response.Body, maxBody)
	if response.StatusCode >= http.StatusMultipleChoices {
		body = asErrorOfSTS(body)
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{body, response.Body}
	return response, nil
}

// s3Error is the start of an error document of S3.
var s3Error = regexp.MustCompile(`^\x{FEFF}?(?:\s|<[?!][^>]*>)*(<Error[\s>])`)

// asErrorOfSTS wraps an error document of S3, which some compatible servers send, into one of STS: the SDK expects the code
// one element deeper. Any other body stays as it is.
func asErrorOfSTS(body io.Reader) io.Reader {
	read, err := io.ReadAll(body)
	if err != nil {
		return io.MultiReader(bytes.NewReader(read), body)
	}
	if at := s3Error.FindSubmatchIndex(read); at != nil {
		read = bytes.Join([][]byte{[]byte("<ErrorResponse>"), read[at[2]:], []byte("</ErrorResponse>")}, nil)
	}
	return bytes.NewReader(read)
}
