package stsemulator_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	region      = "eu-west-1"
	operatorARN = "arn:aws:iam::210987654321:user/operator"
	readerARN   = "arn:aws:iam::123456789012:role/S3Reader"
	longARN     = "arn:aws:iam::123456789012:role/LongRunning"
	partnerARN  = "arn:aws:iam::123456789012:role/Partner"
	hubARN      = "arn:aws:iam::210987654321:role/Hub"
	spokeARN    = "arn:aws:iam::123456789012:role/Spoke"
)

// operatorKey is the key of the user operator in default.yaml.
var operatorKey = aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// emulator serves default.yaml, with a fake clock for sessions and the real one for signatures, which the SDK uses.
type emulator struct {
	*stsemulator.Server
	endpoint *stsemulator.Endpoint
	clock    *clocktesting.FakeClock
}

func serve(t *testing.T, opts stsemulator.Options) emulator {
	t.Helper()
	cfg, err := stsemulator.DefaultConfig()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return serveConfig(t, cfg, opts)
}

// serveConfig serves another configuration.
func serveConfig(t *testing.T, cfg stsemulator.Config, opts stsemulator.Options) emulator {
	t.Helper()
	g := NewWithT(t)
	e := emulator{clock: clocktesting.NewFakeClock(start)}
	if opts.Clock == nil {
		opts.Clock = e.clock
	}
	if opts.SignatureClock == nil {
		opts.SignatureClock = clock.RealClock{}
	}
	var err error
	e.Server, err = stsemulator.New(cfg, opts)
	g.Expect(err).NotTo(HaveOccurred())
	e.endpoint, err = e.Start("")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(e.endpoint.Close()).To(Succeed()) })
	return e
}

// client returns a client of the SDK without retries, unless an option sets them.
func (e emulator) client(creds aws.Credentials, change ...func(*sts.Options)) *sts.Client {
	return sts.New(sts.Options{
		BaseEndpoint: aws.String(e.endpoint.URL),
		Region:       region,
		Credentials:  fixed(creds),
		Retryer:      aws.NopRetryer{},
	}, change...)
}

func fixed(creds aws.Credentials) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil })
}

// retrying is the SDK's standard retryer with a short backoff.
func retrying(o *sts.Options) {
	o.Retryer = retry.AddWithMaxBackoffDelay(retry.NewStandard(), time.Millisecond)
}

func input(roleARN string) *sts.AssumeRoleInput {
	return &sts.AssumeRoleInput{RoleArn: &roleARN, RoleSessionName: aws.String("shop.s3-reader")}
}

// assume issues a session of a role. It fails the test on an error.
func (e emulator) assume(t *testing.T, creds aws.Credentials, in *sts.AssumeRoleInput) (aws.Credentials, *sts.AssumeRoleOutput) {
	t.Helper()
	out, err := e.client(creds).AssumeRole(t.Context(), in)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return sessionCredentials(out.Credentials), out
}

func sessionCredentials(c *types.Credentials) aws.Credentials {
	return aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken}
}

// failure is an error response as the SDK returns it.
type failure struct {
	Status  int
	Code    string
	Message string
}

func failureOf(t *testing.T, err error) failure {
	t.Helper()
	g := NewWithT(t)
	var response *awshttp.ResponseError
	g.Expect(errors.As(err, &response)).To(BeTrue(), "an answer, not %v", err)
	var api smithy.APIError
	g.Expect(errors.As(err, &api)).To(BeTrue(), "an API error, not %v", err)
	return failure{Status: response.HTTPStatusCode(), Code: api.ErrorCode(), Message: api.ErrorMessage()}
}

func (e emulator) lastCall(t *testing.T) stsemulator.Call {
	t.Helper()
	calls := e.Calls()
	NewWithT(t).Expect(calls).NotTo(BeEmpty())
	return calls[len(calls)-1]
}

// signedRequest returns a request that change invalidates after signing.
func (e emulator) signedRequest(t *testing.T, creds aws.Credentials, form url.Values, service, region string) *http.Request {
	t.Helper()
	g := NewWithT(t)
	body := form.Encode()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.endpoint.URL, strings.NewReader(body))
	g.Expect(err).NotTo(HaveOccurred())
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	hash := sha256.Sum256([]byte(body))
	g.Expect(v4.NewSigner().SignHTTP(t.Context(), creds, r, hex.EncodeToString(hash[:]), service, region, clock.RealClock{}.Now())).To(Succeed())
	return r
}

func send(t *testing.T, r *http.Request) (int, string, http.Header) {
	t.Helper()
	g := NewWithT(t)
	resp, err := http.DefaultClient.Do(r)
	g.Expect(err).NotTo(HaveOccurred())
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	g.Expect(err).NotTo(HaveOccurred())
	return resp.StatusCode, string(body), resp.Header
}

var whoAmI = url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}}
