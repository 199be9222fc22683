package stsemulator_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/hack/stsemulator"
)

func (e emulator) setFault(t *testing.T, f stsemulator.Fault) string {
	t.Helper()
	id, err := e.SetFault(f)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return id
}

func TestErrorFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		fault stsemulator.Fault
		want  failure
	}{
		"throttling":          {stsemulator.Fault{Code: "Throttling"}, failure{400, "Throttling", "Rate exceeded"}},
		"an internal failure": {stsemulator.Fault{Code: "InternalFailure"}, failure{500, "InternalFailure", "We encountered an internal error. Please try again."}},
		"no service":          {stsemulator.Fault{Code: "ServiceUnavailable"}, failure{503, "ServiceUnavailable", "Service is unavailable"}},
		"an expired token":    {stsemulator.Fault{Code: "ExpiredToken"}, failure{403, "ExpiredToken", "The security token included in the request is expired"}},
		"a message of its own": {
			stsemulator.Fault{Code: "AccessDenied", Message: "Encoded authorization failure message: x"},
			failure{403, "AccessDenied", "Encoded authorization failure message: x"},
		},
		"a code unknown to AWS": {stsemulator.Fault{Code: "Teapot", Message: "short and stout", Status: 418}, failure{418, "Teapot", "short and stout"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serve(t, stsemulator.Options{})
			tc.fault.Kind = stsemulator.FaultError
			e.setFault(t, tc.fault)
			_, err := e.client(operatorKey).AssumeRole(t.Context(), input(readerARN))
			g.Expect(failureOf(t, err)).To(Equal(tc.want))
			call := e.lastCall(t)
			g.Expect(call.Faults).To(Equal([]stsemulator.FaultKind{stsemulator.FaultError}))
			g.Expect(call.Status).To(Equal(tc.want.Status))
			g.Expect(call.Code).To(Equal(tc.want.Code))
			g.Expect(e.Sessions()).To(BeEmpty())
		})
	}
}

func TestFaultAppliesToTheNumberOfCalls(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultError, Code: "Throttling", Times: 2})
	_, err := e.client(operatorKey, retrying).AssumeRole(t.Context(), input(readerARN))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.Calls()).To(HaveLen(3))
	g.Expect(e.Faults()).To(BeEmpty())
}

func TestFaultAppliesUntilItIsCleared(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	id := e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultError, Code: "Throttling"})
	other := e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultError, Code: "InternalFailure"})
	for range 3 {
		_, err := e.client(operatorKey).GetCallerIdentity(t.Context(), nil)
		g.Expect(failureOf(t, err).Code).To(Equal("Throttling"))
	}
	e.ClearFault(id)
	g.Expect(e.Faults()).To(HaveLen(1))
	g.Expect(e.Faults()[0].ID).To(Equal(other))
	_, err := e.client(operatorKey).GetCallerIdentity(t.Context(), nil)
	g.Expect(failureOf(t, err).Code).To(Equal("InternalFailure"))
	e.Reset()
	_, err = e.client(operatorKey).GetCallerIdentity(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.Calls()).To(HaveLen(1))
}

func TestThrottleRejectsCallsBeyondTheRate(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultThrottle, Rate: 2, Action: "GetCallerIdentity"})
	good := func(calls int) (answered int) {
		for range calls {
			_, err := e.client(operatorKey).GetCallerIdentity(t.Context(), nil)
			if err == nil {
				answered++
				continue
			}
			g.Expect(failureOf(t, err)).To(Equal(failure{400, "Throttling", "Rate exceeded"}))
		}
		return answered
	}
	g.Expect(good(5)).To(Equal(2), "as many as that may come at once")
	e.clock.Step(500 * time.Millisecond)
	g.Expect(good(5)).To(Equal(1))
	e.clock.Step(time.Hour)
	g.Expect(good(5)).To(Equal(2))
	_, err := e.client(operatorKey).AssumeRole(t.Context(), input(readerARN))
	g.Expect(err).NotTo(HaveOccurred())
}

func TestFaultAppliesToSelectedCalls(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultError, Code: "Throttling", RoleARN: "*:role/Long*"})
	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultError, Code: "InternalFailure", Action: "GetCallerIdentity"})
	client := e.client(operatorKey)
	_, err := client.AssumeRole(t.Context(), input(readerARN))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = client.AssumeRole(t.Context(), input(longARN))
	g.Expect(failureOf(t, err).Code).To(Equal("Throttling"))
	_, err = client.GetCallerIdentity(t.Context(), nil)
	g.Expect(failureOf(t, err).Code).To(Equal("InternalFailure"))
}

func TestEachFailureHasItsOwnRequestID(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	observed := map[string]bool{}
	for range 5 {
		_, err := e.client(operatorKey).AssumeRole(t.Context(), input("arn:aws:iam::123456789012:role/Nobody"))
		var response *awshttp.ResponseError
		g.Expect(errors.As(err, &response)).To(BeTrue())
		g.Expect(response.ServiceRequestID()).To(Equal(e.lastCall(t).RequestID))
		g.Expect(response.Response.Header.Get("x-amzn-RequestId")).To(Equal(response.ServiceRequestID()))
		observed[response.ServiceRequestID()] = true
	}
	g.Expect(observed).To(HaveLen(5))
}

func TestLatencyUsesTheInjectedClock(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultLatency, Duration: metav1.Duration{Duration: time.Hour}})
	answered := make(chan error, 1)
	go func() {
		_, err := e.client(operatorKey).GetCallerIdentity(t.Context(), nil)
		answered <- err
	}()
	g.Eventually(e.clock.HasWaiters).WithTimeout(time.Minute).Should(BeTrue())
	g.Expect(answered).NotTo(Receive())
	e.clock.Step(time.Hour)
	g.Eventually(answered).WithTimeout(time.Minute).Should(Receive(BeNil()))
}

func TestHangingCallEndsWhenTheCallerCancels(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultHang})
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := e.client(operatorKey).GetCallerIdentity(ctx, nil)
		answered <- err
	}()
	g.Eventually(e.Calls).WithTimeout(time.Minute).Should(HaveLen(1))
	g.Expect(e.Calls()[0].Status).To(BeZero())
	cancel()
	g.Eventually(answered).WithTimeout(time.Minute).Should(Receive(MatchError(context.Canceled)))
}

func TestHangingCallEndsWhenTheEndpointCloses(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultHang})
	answered := make(chan error, 1)
	go func() {
		_, err := e.client(operatorKey).GetCallerIdentity(t.Context(), nil)
		answered <- err
	}()
	g.Eventually(e.Calls).WithTimeout(time.Minute).Should(HaveLen(1))
	g.Expect(e.endpoint.Close()).To(Succeed())
	g.Eventually(answered).WithTimeout(time.Minute).Should(Receive(HaveOccurred()))
}

func TestCutConnections(t *testing.T) {
	for name, tc := range map[string]struct {
		kind stsemulator.FaultKind
		want error
	}{
		"a reset":   {stsemulator.FaultReset, syscall.ECONNRESET},
		"an outage": {stsemulator.FaultOutage, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serve(t, stsemulator.Options{})
			id := e.setFault(t, stsemulator.Fault{Kind: tc.kind})
			_, err := e.client(operatorKey).AssumeRole(t.Context(), input(readerARN))
			g.Expect(err).To(MatchError(tc.want))
			var api smithy.APIError
			g.Expect(errors.As(err, &api)).To(BeFalse())
			g.Expect(e.lastCall(t).Status).To(BeZero())
			g.Expect(e.Sessions()).To(BeEmpty())

			e.ClearFault(id)
			_, err = e.client(operatorKey).AssumeRole(t.Context(), input(readerARN))
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}

func TestGarbageIsAnErrorOfTheSDK(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultGarbage})
	_, err := e.client(operatorKey).AssumeRole(t.Context(), input(readerARN))
	var garbled *smithy.DeserializationError
	g.Expect(errors.As(err, &garbled)).To(BeTrue(), "%v", err)
	g.Expect(e.lastCall(t).Status).To(Equal(200))
}

func TestSkewedDateAffectsOneCallOfTheSDK(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultSkewedDate, Duration: metav1.Duration{Duration: -time.Hour}, Times: 1})
	client := e.client(operatorKey)
	_, err := client.GetCallerIdentity(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = client.GetCallerIdentity(t.Context(), nil)
	g.Expect(failureOf(t, err).Message).To(HavePrefix("Signature expired: "))
	_, err = client.GetCallerIdentity(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
}

func TestLatencyAndErrorCombine(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultSkewedDate, Duration: metav1.Duration{Duration: time.Hour}})
	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultError, Code: "Throttling"})
	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultError, Code: "InternalFailure", Times: 1})
	_, err := e.client(operatorKey).GetCallerIdentity(t.Context(), nil)
	g.Expect(failureOf(t, err).Code).To(Equal("Throttling"))
	g.Expect(e.lastCall(t).Faults).To(Equal([]stsemulator.FaultKind{stsemulator.FaultSkewedDate, stsemulator.FaultError}))
	g.Expect(e.Faults()).To(HaveLen(3), "what did not come to pass is not used up")
}

func TestInvalidFaultsAreRejected(t *testing.T) {
	e := serve(t, stsemulator.Options{})
	for name, f := range map[string]stsemulator.Fault{
		"of no kind":                {},
		"of an unknown kind":        {Kind: "Flood"},
		"an error without code":     {Kind: stsemulator.FaultError},
		"a throttle without a rate": {Kind: stsemulator.FaultThrottle},
		"a latency without time":    {Kind: stsemulator.FaultLatency},
		"less than never":           {Kind: stsemulator.FaultHang, Times: -1},
		"no HTTP status":            {Kind: stsemulator.FaultError, Code: "X", Status: 99},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.SetFault(f)
			NewWithT(t).Expect(err).To(HaveOccurred())
		})
	}
}

func TestMinIO(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{Flavour: stsemulator.FlavourMinIO})
	creds, out := e.assume(t, operatorKey, input(hubARN))
	g.Expect(creds.AccessKeyID).To(HaveLen(20))
	g.Expect(*out.AssumedRoleUser.Arn).To(BeEmpty())
	g.Expect(*out.AssumedRoleUser.AssumedRoleId).To(BeEmpty())

	_, err := e.client(operatorKey).GetCallerIdentity(t.Context(), nil)
	g.Expect(failureOf(t, err)).To(Equal(failure{400, "InvalidParameterValue", "Unsupported action GetCallerIdentity"}))

	_, err = e.client(creds).AssumeRole(t.Context(), input(spokeARN))
	g.Expect(failureOf(t, err)).To(Equal(failure{403, "AccessDenied", "Generating temporary credentials not allowed for this request."}))

	_, err = e.client(aws.Credentials{AccessKeyID: "unknownunknown12", SecretAccessKey: "x"}).AssumeRole(t.Context(), input(readerARN))
	g.Expect(failureOf(t, err)).To(Equal(failure{http.StatusForbidden, "UnknownError", "UnknownError"}))
}
