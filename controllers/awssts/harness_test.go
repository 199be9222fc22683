package awssts_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	readerARN   = "arn:aws:iam::123456789012:role/S3Reader"
	operatorARN = "arn:aws:iam::210987654321:user/operator"
)

// operatorKey is the user operator's in the emulator's world.
var operatorKey = aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

var subject = reason.Subject{Identity: "ClusterIdentity default", Caller: operatorARN, Call: v1alpha1.CallAssumeRole, RoleARN: readerARN}

// reads returns the request of the credential s3-reader in the namespace shop.
func reads(change ...func(*request.Request)) request.Request {
	r := request.Request{Call: v1alpha1.CallAssumeRole, RoleARN: readerARN, SessionName: "shop.s3-reader", Duration: time.Hour}
	for _, c := range change {
		c(&r)
	}
	return r
}

// emulator is a served default world whose sessions live by a fake clock. Signatures are compared with real time, in which
// the SDK signs.
type emulator struct {
	*stsemulator.Server
	endpoint *stsemulator.Endpoint
	clock    *clocktesting.FakeClock
}

func serve(t *testing.T, options stsemulator.Options) emulator {
	t.Helper()
	g := NewWithT(t)
	e := emulator{clock: clocktesting.NewFakeClock(start)}
	options.Clock = e.clock
	if options.SignatureClock == nil {
		options.SignatureClock = clock.RealClock{}
	}
	world, err := stsemulator.DefaultConfig()
	g.Expect(err).NotTo(HaveOccurred())
	e.Server, err = stsemulator.New(world, options)
	g.Expect(err).NotTo(HaveOccurred())
	e.endpoint, err = e.Start("")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(e.endpoint.Close()).To(Succeed()) })
	return e
}

func (e emulator) client(keys aws.Credentials, change ...func(*aws.Config)) caller {
	return client(e.endpoint.URL, e.clock, keys, change...)
}

func (e emulator) setFault(t *testing.T, f stsemulator.Fault) {
	t.Helper()
	_, err := e.SetFault(f)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
}

// caller is a client with the credentials of its config.
type caller struct {
	*awssts.Client
	keys aws.CredentialsProvider
}

func newCaller(config aws.Config, clock clock.PassiveClock, recorder awssts.Recorder) caller {
	return caller{awssts.New(config, clock, recorder), config.Credentials}
}

func (c caller) Issue(ctx context.Context, r request.Request, auth request.CallAuth) (request.Credentials, error) {
	return c.Client.Issue(ctx, c.keys, r, auth)
}

func (c caller) Caller(ctx context.Context) (awssts.Caller, error) {
	return c.Client.Caller(ctx, c.keys)
}

// hop returns the credentials of a hop. The token, if it is not nil, replaces the signature.
func hop(config aws.Config, r request.Request, token func(context.Context) (request.RedactedString, error), recorder awssts.Recorder) aws.CredentialsProvider {
	created := awssts.New(config, clocktesting.NewFakePassiveClock(start), recorder)
	if token == nil {
		return created.Hop(config.Credentials, r, nil)
	}
	r.Call = v1alpha1.CallAssumeRoleWithWebIdentity
	return created.Hop(config.Credentials, r, func(ctx context.Context) (auth request.CallAuth, err error) {
		auth.WebIdentityToken, err = token(ctx)
		return auth, err
	})
}

// client returns a caller that makes each call once, without retries.
func client(url string, clock clock.PassiveClock, keys aws.Credentials, change ...func(*aws.Config)) caller {
	config := configFor(url, keys)
	for _, c := range change {
		c(&config)
	}
	return newCaller(config, clock, &ledger{})
}

// ledger records the calls of a client and its hops.
type ledger struct {
	mu    sync.Mutex
	spent int
	hops  []string
	// requests are those that were answered or given up, by call.
	requests map[string]int
}

func (l *ledger) Requested(call string) func() {
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.requests == nil {
			l.requests = map[string]int{}
		}
		l.requests[call]++
	}
}

func (l *ledger) Spend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spent++
}

func (l *ledger) HopCalled(call v1alpha1.Call, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hops = append(l.hops, string(call)+" "+reason)
}

func configFor(url string, keys aws.Credentials) aws.Config {
	return aws.Config{
		Region: "eu-west-1", BaseEndpoint: &url,
		Credentials: credentials.StaticCredentialsProvider{Value: keys},
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
	}
}

func keysOf(c request.Credentials) aws.Credentials {
	return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: string(c.SecretAccessKey), SessionToken: string(c.SessionToken)}
}

// answer is one of a server that knows no other.
type answer struct {
	status int
	body   string
}

func (a answer) serve(t *testing.T) caller {
	t.Helper()
	return client(a.dated(t, now), clocktesting.NewFakePassiveClock(start), operatorKey)
}

// now is the time by which the SDK signs, as in a Date header.
func now() string { return inTime(0)() }

// inTime is a time as far from that.
func inTime(offset time.Duration) func() string {
	return func() string { return clock.RealClock{}.Now().Add(offset).UTC().Format(http.TimeFormat) }
}

// dated serves the answer with a Date header of its own, with none if that is empty, and returns the server's URL.
func (a answer) dated(t *testing.T, date func() string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = slices.DeleteFunc([]string{date()}, func(s string) bool { return s == "" })
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(a.status)
		_, _ = w.Write([]byte(a.body))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// sts is an error as AWS writes it.
func sts(status int, code, message string) answer {
	return answer{status, fmt.Sprintf(`<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error>`+
		`<RequestId>7c1a2b3c-0000-4000-8000-000000000000</RequestId></ErrorResponse>`, code, message)}
}

// s3 is an error as S3 writes it, in which the SDK's client of STS finds no code.
func s3(status int, code string) answer {
	return answer{status, fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>no</Message><Resource>/</Resource>`+
		`<RequestId>1879F6B2C7B6B2C7</RequestId><HostId>dd9025bab4ad464b049177c95eb6ebf374d3b3fd1af9251148b658df7ac2e3e8</HostId></Error>`, code)}
}

// assumed is a good answer around what a test puts into its result.
func assumed(result string) answer {
	return answer{http.StatusOK, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>` + result + `</AssumeRoleResult></AssumeRoleResponse>`}
}

// issue fails with what the client makes of an answer.
func issue(t *testing.T, a answer) error {
	t.Helper()
	_, err := a.serve(t).Issue(t.Context(), reads(), request.CallAuth{})
	NewWithT(t).Expect(err).To(HaveOccurred())
	return err
}
