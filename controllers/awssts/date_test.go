package awssts_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/hack/stsemulator"
)

// wrongDate is a fault of a proxy in front of STS that writes a wrong Date header.
func wrongDate(by time.Duration) stsemulator.Fault {
	return stsemulator.Fault{Kind: stsemulator.FaultSkewedDate, Duration: metav1.Duration{Duration: by}}
}

func TestWrongDateHeaderNeitherStrandsNorBreaksCredentials(t *testing.T) {
	for name, by := range map[string]time.Duration{
		"5 hours behind":    -5 * time.Hour,
		"5 hours ahead":     5 * time.Hour,
		"50 minutes ahead":  50 * time.Minute,
		"10 minutes behind": -10 * time.Minute,
		"a day behind":      -24 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serve(t, stsemulator.Options{})
			e.setFault(t, wrongDate(by))
			c := e.client(operatorKey, retrying)
			for range 3 {
				_, err := c.Caller(t.Context())
				g.Expect(err).NotTo(HaveOccurred())
				issued, err := c.Issue(t.Context(), reads(), request.CallAuth{})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(issued.IssuedAt).To(Equal(start), "STS issues for no longer than the requested hour")
				offset, _ := c.Skew()
				g.Expect(offset).To(BeZero())
			}
			g.Expect(e.Calls()).To(HaveLen(6), "each call is accepted at the first try")
		})
	}
}

func TestWrongDateHeaderOfAnErrorDoesNotShiftTheNextSignature(t *testing.T) {
	for _, code := range []string{"AccessDenied", "Throttling", "InternalFailure", "ValidationError"} {
		t.Run(code, func(t *testing.T) {
			g := NewWithT(t)
			e := serve(t, stsemulator.Options{})
			e.setFault(t, wrongDate(5*time.Hour))
			e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultError, Code: code, Times: 1})
			c := e.client(operatorKey)
			_, err := c.Issue(t.Context(), reads(), request.CallAuth{})
			g.Expect(err).To(HaveOccurred())
			offset, _ := c.Skew()
			g.Expect(offset).To(BeZero())
			_, err = c.Issue(t.Context(), reads(), request.CallAuth{})
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}

func TestWrongDateHeaderDoesNotBreakAHop(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	e.setFault(t, wrongDate(5*time.Hour))
	hop := hop(configFor(e.endpoint.URL, operatorKey), reads(), nil, &ledger{})
	for range 2 { // the sessions of the emulator's clock have expired by the SDK's
		_, err := hop.Retrieve(t.Context())
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(e.Calls()).To(HaveLen(2))
}

// A request with a web identity token has no signature, so that only the expiration can confirm a Date far from the operator's time.
func TestDateHeaderOfAnUnsignedCallCountsIfTheExpirationConfirmsIt(t *testing.T) {
	for name, tc := range map[string]struct {
		date, issuer time.Duration // how far the Date header, and the clock that sets the expiration, are ahead of the operator's clock
		want         time.Duration
	}{
		"clocks agree":                         {0, 0, 0},
		"the operator's clock is behind":       {3 * time.Hour, 3 * time.Hour, 3 * time.Hour},
		"the operator's clock is ahead":        {-3 * time.Hour, -3 * time.Hour, -3 * time.Hour},
		"a proxy writes a Date 5 hours behind": {-5 * time.Hour, 0, 0},
		"a proxy writes a Date 5 hours ahead":  {5 * time.Hour, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			expires := start.Add(tc.issuer + time.Hour).Format(time.RFC3339)
			a := answer{http.StatusOK, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>` + keyXML + secretXML + tokenXML +
				`<Expiration>` + expires + `</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`}
			c := client(a.dated(t, inTime(tc.date)), clocktesting.NewFakePassiveClock(start), aws.Credentials{})
			r := reads()
			r.Call = v1alpha1.CallAssumeRoleWithWebIdentity
			issued, err := c.Issue(t.Context(), r, request.CallAuth{WebIdentityToken: "token"})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(issued.IssuedAt).To(BeTemporally("~", start.Add(tc.want), 3*time.Second))
			offset, _ := c.Skew()
			g.Expect(offset).To(BeNumerically("~", tc.want, 3*time.Second))
		})
	}
}

func TestServerThatIssuesForLongerThanRequestedDoesNotChangeTheSkew(t *testing.T) {
	g := NewWithT(t)
	longer := assumed(`<Credentials>` + keyXML + secretXML + tokenXML + `<Expiration>` + start.Add(3*time.Hour).Format(time.RFC3339) + `</Expiration></Credentials>`)
	c := longer.serve(t)
	issued, err := c.Issue(t.Context(), reads(), request.CallAuth{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(issued.IssuedAt).To(Equal(start), "not in the future")
	g.Expect(issued.Expiration).To(Equal(start.Add(3 * time.Hour)))
	offset, _ := c.Skew()
	g.Expect(offset).To(BeZero())
}

func TestClockOfSTSIsFollowedOnceItAcceptsASignatureOfThatTime(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{SignatureClock: clocktesting.NewFakePassiveClock(clock.RealClock{}.Now().Add(time.Hour))})
	c := e.client(operatorKey) // which tries a call once
	_, err := c.Caller(t.Context())
	g.Expect(awssts.Classify(err, subject).Reason).To(Equal(v1alpha1.ReasonInvalidSourceCredentials))
	_, known := c.Skew()
	g.Expect(known).To(BeFalse(), "a refusal alone confirms nothing")
	_, err = c.Caller(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	offset, _ := c.Skew()
	g.Expect(offset).To(BeNumerically("~", time.Hour, 5*time.Second))
}
