package awssts_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
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
	hubARN   = "arn:aws:iam::210987654321:role/Hub"
	spokeARN = "arn:aws:iam::123456789012:role/Spoke"
)

// retrying is the SDK's own retryer, which waits for nothing.
func retrying(config *aws.Config) {
	config.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		})
	}
}

// chained is a client whose credentials are those of the role Hub.
func chained(config aws.Config, account awssts.Recorder) caller {
	client := awssts.New(config, clock.RealClock{}, account)
	return caller{client, client.Hop(config.Credentials, request.Request{Call: v1alpha1.CallAssumeRole, RoleARN: hubARN, SessionName: "hub"}, nil)}
}

func spokeRequest() request.Request {
	return reads(func(r *request.Request) { r.RoleARN = spokeARN })
}

func TestSDKRetriesOnlyWhatMayPass(t *testing.T) {
	answers := func(code string, times int) stsemulator.Fault {
		return stsemulator.Fault{Kind: stsemulator.FaultError, Code: code, Times: times}
	}
	of := func(f stsemulator.Fault, role string) stsemulator.Fault { f.RoleARN = role; return f }
	for name, tc := range map[string]struct {
		fault stsemulator.Fault
		chain bool
		mfa   bool
		// of the role and, with a chain, of the hop before it
		wantCalls, wantHops int
		wantSpent           int
		wantTold            []string
		wantReason          string
	}{
		"a failure that may pass, until it has": {
			fault: answers("InternalFailure", 2), wantCalls: 3, wantSpent: 2,
		},
		"a failure that does not pass, twice": {
			fault: answers("InternalFailure", 0), wantCalls: 3, wantSpent: 2, wantReason: v1alpha1.ReasonSTSError,
		},
		"no call with an MFA code, which STS may have accepted": {
			fault: answers("InternalFailure", 2), mfa: true, wantCalls: 1, wantReason: v1alpha1.ReasonSTSError,
		},
		"no call that STS throttled": {
			fault: answers("Throttling", 0), wantCalls: 1, wantReason: v1alpha1.ReasonThrottled,
		},
		"none that a server throttled in words of its own": {
			fault: stsemulator.Fault{Kind: stsemulator.FaultError, Code: "Busy", Status: http.StatusTooManyRequests}, wantCalls: 1, wantReason: v1alpha1.ReasonThrottled,
		},
		"no call that STS refused": {
			fault: answers("AccessDenied", 0), wantCalls: 1, wantReason: v1alpha1.ReasonAccessDenied,
		},
		"no hop's call that STS throttled, nor the call that came to it": {
			fault: of(answers("Throttling", 0), hubARN), chain: true, wantHops: 1, wantSpent: 1, wantTold: []string{"AssumeRole " + v1alpha1.ReasonThrottled}, wantReason: v1alpha1.ReasonThrottled,
		},
		"a hop's call as often as any other, and not nine times": {
			fault: of(answers("InternalFailure", 0), hubARN), chain: true, wantHops: 3, wantSpent: 3, wantTold: []string{"AssumeRole " + v1alpha1.ReasonSTSError}, wantReason: v1alpha1.ReasonSTSError,
		},
		"a hop's call that fails to reach the issuer of a token, and not nine times": {
			fault: of(answers("IDPCommunicationError", 0), hubARN), chain: true, wantHops: 3, wantSpent: 3, wantTold: []string{"AssumeRole " + v1alpha1.ReasonInvalidSourceCredentials}, wantReason: v1alpha1.ReasonInvalidSourceCredentials,
		},
		"not the hop when what comes after it fails": {
			fault: of(answers("InternalFailure", 2), spokeARN), chain: true, wantCalls: 3, wantHops: 1, wantSpent: 3, wantTold: []string{"AssumeRole " + v1alpha1.ReasonIssued},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serveNow(t)
			e.setFault(t, tc.fault)
			account := &ledger{}
			config := aws.Config{Region: "eu-west-1", BaseEndpoint: &e.endpoint.URL, Credentials: credentials.StaticCredentialsProvider{Value: operatorKey}}
			retrying(&config)
			c, requested := newCaller(config, clock.RealClock{}, account), reads()
			if tc.chain {
				c, requested = chained(config, account), spokeRequest()
			}
			var auth request.CallAuth
			if tc.mfa {
				requested.MFASerialNumber, auth.MFACode = "arn:aws:iam::210987654321:mfa/operator", "123456"
			}
			_, err := c.Issue(t.Context(), requested, auth)
			if tc.wantReason == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(awssts.Classify(err, subject).Reason).To(Equal(tc.wantReason))
			}
			calls := map[string]int{}
			for _, call := range e.Calls() {
				calls[call.Parameters.Get("RoleArn")]++
			}
			g.Expect(calls[requested.RoleARN]).To(Equal(tc.wantCalls))
			g.Expect(calls[hubARN]).To(Equal(tc.wantHops))
			g.Expect(account.spent).To(Equal(tc.wantSpent), "all calls but the first")
			g.Expect(account.hops).To(Equal(tc.wantTold))
			g.Expect(account.requests).To(Equal(map[string]int{"AssumeRole": tc.wantCalls + tc.wantHops}), "each that was made is measured")
		})
	}
}

// serveNow serves a default world by the real clock, in which the SDK keeps credentials.
func serveNow(t *testing.T) emulator {
	t.Helper()
	g := NewWithT(t)
	world, err := stsemulator.DefaultConfig()
	g.Expect(err).NotTo(HaveOccurred())
	var e emulator
	e.Server, err = stsemulator.New(world, stsemulator.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	e.endpoint, err = e.Start("")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(e.endpoint.Close()).To(Succeed()) })
	return e
}

// gate lets no call pass before it is open.
type gate struct {
	server http.Handler
	open   chan struct{}
	mu     sync.Mutex
	before int // how many came before it was open
}

func (d *gate) Do(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	d.before++
	d.mu.Unlock()
	<-d.open
	w := httptest.NewRecorder()
	r.Host = r.URL.Host // as it would arrive
	d.server.ServeHTTP(w, r)
	return w.Result(), nil
}

func TestConcurrentCallersShareOneCallOfAHop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		world, err := stsemulator.DefaultConfig()
		g.Expect(err).NotTo(HaveOccurred())
		server, err := stsemulator.New(world, stsemulator.Options{})
		g.Expect(err).NotTo(HaveOccurred())
		sts := &gate{server: server, open: make(chan struct{})}
		url, account := "http://sts.example", &ledger{}
		c := chained(aws.Config{
			Region: "eu-west-1", BaseEndpoint: &url, HTTPClient: sts, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
			Credentials: credentials.StaticCredentialsProvider{Value: operatorKey},
		}, account)
		errs := make([]error, 50)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { _, errs[i] = c.Issue(t.Context(), spokeRequest(), request.CallAuth{}) })
		}
		synctest.Wait() // all have come as far as they come
		g.Expect(sts.before).To(Equal(1))
		close(sts.open)
		all.Wait()
		g.Expect(errors.Join(errs...)).NotTo(HaveOccurred())
		calls := map[string]int{}
		for _, call := range server.Calls() {
			calls[call.Parameters.Get("RoleArn")]++
		}
		g.Expect(calls).To(Equal(map[string]int{hubARN: 1, spokeARN: 50}))
		g.Expect(account.spent).To(Equal(1))
		g.Expect(account.hops).To(Equal([]string{"AssumeRole Issued"}))
	})
}

func TestHopByWebIdentityIsCountedAsThatCall(t *testing.T) {
	for name, tc := range map[string]struct {
		token error
		want  []string
	}{
		"a token that STS refuses":  {nil, []string{"AssumeRoleWithWebIdentity InvalidSourceCredentials"}},
		"a token that there is not": {&reason.TokenError{Reason: v1alpha1.ReasonTokenNotIssued, Message: "No such service account.", Err: errors.New("not found")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serveNow(t)
			e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultError, Code: "InvalidIdentityToken"})
			account := &ledger{}
			token := func(context.Context) (request.RedactedString, error) { return "token", tc.token }
			_, err := hop(configFor(e.endpoint.URL, aws.Credentials{}), reads(), token, account).Retrieve(t.Context())
			g.Expect(err).To(HaveOccurred())
			g.Expect(account.hops).To(Equal(tc.want))
			g.Expect(account.spent).To(Equal(len(tc.want)))
		})
	}
}

// endless is an answer that never comes to an end, and counts what is read of it.
type endless struct{ read int }

func (e *endless) Do(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: e, ContentLength: -1, Request: r}, nil
}

func (e *endless) Read(p []byte) (int, error) {
	if e.read > 16<<20 {
		return 0, errors.New("it read on and on")
	}
	n := copy(p, strings.Repeat("<AssumeRoleResponse>", 1+len(p)/20))
	e.read += n
	return n, nil
}

func (e *endless) Close() error { return nil }

func TestEndlessResponseIsCut(t *testing.T) {
	for name, call := range map[string]func(config aws.Config) error{
		"to a call for a role": func(config aws.Config) error {
			_, err := newCaller(config, clocktesting.NewFakePassiveClock(start), &ledger{}).Issue(t.Context(), reads(), request.CallAuth{})
			return err
		},
		"to a call for a hop": func(config aws.Config) error {
			_, err := hop(config, reads(), nil, &ledger{}).Retrieve(t.Context())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			server := &endless{}
			config := configFor("https://sts.example", operatorKey)
			config.HTTPClient = server
			err := call(config)
			g.Expect(err).To(HaveOccurred())
			g.Expect(awssts.Classify(err, subject).Reason).To(Equal(v1alpha1.ReasonSTSError))
			g.Expect(server.read).To(BeNumerically("<=", 2<<20))
		})
	}
}
