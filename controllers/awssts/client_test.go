package awssts_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/hack/stsemulator"
)

func TestIssueReturnsTheCredentialsOfSTS(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	e.clock.SetTime(start.Add(700 * time.Millisecond))
	issued, err := e.client(operatorKey).Issue(t.Context(), reads(func(r *request.Request) { r.Tags = []request.Tag{{Key: "team", Value: "shop"}} }), request.CallAuth{})
	g.Expect(err).NotTo(HaveOccurred())
	session := e.Sessions()[0]
	g.Expect(issued.AccessKeyID).To(Equal(session.AccessKeyID))
	g.Expect(issued.IssuedAt).To(Equal(start), "in whole seconds, by our clock")
	g.Expect(issued.Expiration).To(Equal(start.Add(time.Hour)))
	g.Expect(issued.PrincipalARN).To(Equal("arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader"))
	g.Expect(*issued.PackedPolicySize).To(BeEquivalentTo(session.PackedPolicySize))

	caller, err := e.client(keysOf(issued)).Caller(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(caller.ARN).To(Equal("arn:aws:sts::123456789012:assumed-role/S3Reader"))
}

func TestExpirationIsThatOfTheResponse(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{LifetimeFraction: 0.01})
	issued, err := e.client(operatorKey).Issue(t.Context(), reads(), request.CallAuth{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(issued.Expiration.Sub(issued.IssuedAt)).To(Equal(36 * time.Second))
}

func TestIssueFromAnotherServer(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{Flavour: stsemulator.FlavourMinIO})
	issued, err := e.client(operatorKey).Issue(t.Context(), reads(), request.CallAuth{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(issued.AccessKeyID).NotTo(HavePrefix("ASIA"))
	g.Expect(issued.PrincipalARN).To(BeEmpty())
}

const (
	keyXML        = `<AccessKeyId>EXAMPLE</AccessKeyId>`
	secretXML     = `<SecretAccessKey>secret</SecretAccessKey>`
	tokenXML      = `<SessionToken>token</SessionToken>`
	expirationXML = `<Expiration>2026-01-02T04:04:05.9Z</Expiration>`
)

func TestResponsesWithOptionalFields(t *testing.T) {
	want := request.Credentials{AccessKeyID: "EXAMPLE", SecretAccessKey: "secret", SessionToken: "token", IssuedAt: start, Expiration: start.Add(time.Hour)}
	inside := `<Credentials>` + keyXML + secretXML + tokenXML + expirationXML + `</Credentials>`
	for name, tc := range map[string]struct {
		answer answer
		want   func(*request.Credentials)
	}{
		"no AssumedRoleUser":               {answer: assumed(inside)},
		"an empty AssumedRoleUser":         {answer: assumed(inside + `<AssumedRoleUser><Arn></Arn><AssumedRoleId></AssumedRoleId></AssumedRoleUser>`)},
		"an AssumedRoleUser without names": {answer: assumed(inside + `<AssumedRoleUser></AssumedRoleUser>`)},
		"a packed size of nothing": {
			answer: assumed(inside + `<PackedPolicySize>0</PackedPolicySize>`),
			want:   func(c *request.Credentials) { c.PackedPolicySize = ptr.To[int32](0) },
		},
		"no session token": {
			answer: assumed(`<Credentials>` + keyXML + secretXML + expirationXML + `</Credentials>`),
			want:   func(c *request.Credentials) { c.SessionToken = "" },
		},
		"an expiration later than any that AWS grants, of which the operator uses 36 hours": {
			answer: assumed(`<Credentials>` + keyXML + secretXML + tokenXML + `<Expiration>2026-01-31T04:04:05Z</Expiration></Credentials>`),
			want:   func(c *request.Credentials) { c.Expiration = start.Add(36 * time.Hour) },
		},
		"an expiration in another zone": {
			answer: assumed(`<Credentials>` + keyXML + secretXML + tokenXML + `<Expiration>2026-01-02T07:04:05+03:00</Expiration></Credentials>`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			want := want
			if tc.want != nil {
				tc.want(&want)
			}
			issued, err := tc.answer.serve(t).Issue(t.Context(), reads(), request.CallAuth{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(issued).To(Equal(want))
		})
	}
}

// The API server refuses a whole status for one value that is longer than its field.
func TestValuesTooLongForAStatusAreLeftOut(t *testing.T) {
	inside := `<Credentials>` + keyXML + secretXML + tokenXML + expirationXML + `</Credentials>`
	arnOf := func(length int) string { return "arn:aws:sts::1:assumed-role/" + strings.Repeat("x", length-28) }
	t.Run("a principal of the greatest length is kept", func(t *testing.T) {
		g := NewWithT(t)
		issued, err := assumed(inside+"<AssumedRoleUser><Arn>"+arnOf(2048)+"</Arn></AssumedRoleUser>").serve(t).Issue(t.Context(), reads(), request.CallAuth{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(issued.PrincipalARN).To(HaveLen(2048))
	})
	t.Run("a longer one is left out", func(t *testing.T) {
		g := NewWithT(t)
		issued, err := assumed(inside+"<AssumedRoleUser><Arn>"+arnOf(2049)+"</Arn></AssumedRoleUser>").serve(t).Issue(t.Context(), reads(), request.CallAuth{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(issued.PrincipalARN).To(BeEmpty())
	})
	t.Run("a negative packed size is left out", func(t *testing.T) {
		g := NewWithT(t)
		issued, err := assumed(inside+"<PackedPolicySize>-1</PackedPolicySize>").serve(t).Issue(t.Context(), reads(), request.CallAuth{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(issued.PackedPolicySize).To(BeNil())
	})
	t.Run("an access key that is too long is none", func(t *testing.T) {
		longKey := `<AccessKeyId>` + strings.Repeat("A", 129) + `</AccessKeyId>`
		err := issue(t, assumed(`<Credentials>`+longKey+secretXML+tokenXML+expirationXML+`</Credentials>`))
		NewWithT(t).Expect(awssts.Classify(err, subject).Reason).To(Equal(v1alpha1.ReasonSTSError))
	})
	t.Run("a caller that is too long is not known", func(t *testing.T) {
		g := NewWithT(t)
		long := func(length int) string { return strings.Repeat("1", length) }
		caller, err := answer{http.StatusOK, "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>" + long(65) + "</Account><Arn>" + long(2049) + "</Arn><UserId>" + long(129) +
			"</UserId></GetCallerIdentityResult></GetCallerIdentityResponse>"}.serve(t).Caller(t.Context())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(caller).To(BeZero())
	})
}

func TestUnknownCallIsNotMade(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	_, err := e.client(operatorKey).Issue(t.Context(), reads(func(r *request.Request) { r.Call = "GetCoffee" }), request.CallAuth{})
	g.Expect(err).To(MatchError(ContainSubstring("GetCoffee")))
	g.Expect(e.Calls()).To(BeEmpty())
}

// The SDK measures the skew to the server's clock, retries with it, and keeps it in the client.
func TestClockAnHourOffCostsOneRetryOnce(t *testing.T) {
	g := NewWithT(t)
	anHourAhead := clocktesting.NewFakePassiveClock(clock.RealClock{}.Now().Add(time.Hour))
	e := serve(t, stsemulator.Options{SignatureClock: anHourAhead})
	c := e.client(operatorKey, retrying)
	_, err := c.Issue(t.Context(), reads(), request.CallAuth{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.Calls()).To(HaveLen(2))
	_, err = c.Issue(t.Context(), reads(), request.CallAuth{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.Calls()).To(HaveLen(3))
}

// A user corrects the secret access key of an access key.
func TestCorrectedSecretAccessKeyIsUsed(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	wrong := operatorKey
	wrong.SecretAccessKey = "wrong"
	c := e.client(wrong)
	_, err := c.Issue(t.Context(), reads(), request.CallAuth{})
	g.Expect(awssts.Classify(err, subject).Reason).To(Equal(v1alpha1.ReasonInvalidSourceCredentials))
	_, err = caller{c.Client, e.client(operatorKey).keys}.Issue(t.Context(), reads(), request.CallAuth{})
	g.Expect(err).NotTo(HaveOccurred())
}

func TestCallEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultHang})
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := e.client(operatorKey).Issue(ctx, reads(), request.CallAuth{})
		answered <- err
	}()
	g.Eventually(e.Calls).WithTimeout(time.Minute).Should(HaveLen(1))
	cancel()
	g.Eventually(answered).WithTimeout(time.Minute).Should(Receive(MatchError(context.Canceled)))
}

func TestCallerReturnsThePrincipal(t *testing.T) {
	e := serve(t, stsemulator.Options{})
	issued, err := e.client(operatorKey).Issue(t.Context(), reads(), request.CallAuth{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	china := "arn:aws-cn:iam::111122223333:user/operator"
	chinese := e.AccessKeys(china)[0]
	for name, tc := range map[string]struct {
		keys       aws.Credentials
		want       awssts.Caller
		wantUserID string
	}{
		"a user": {operatorKey, awssts.Caller{AccountID: "210987654321", ARN: operatorARN}, "^AIDA[A-Z0-9]+$"},
		"a role's session, without its name": {
			keysOf(issued), awssts.Caller{AccountID: "123456789012", ARN: "arn:aws:sts::123456789012:assumed-role/S3Reader"}, "^AROA[A-Z0-9]+$",
		},
		"a user of another partition": {
			aws.Credentials{AccessKeyID: chinese.ID, SecretAccessKey: chinese.Secret}, awssts.Caller{AccountID: "111122223333", ARN: china}, "^AIDA[A-Z0-9]+$",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			caller, err := e.client(tc.keys).Caller(t.Context())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(caller.UserID).To(MatchRegexp(tc.wantUserID))
			caller.UserID = ""
			g.Expect(caller).To(Equal(tc.want))
		})
	}
}

func TestCallerWithMissingFields(t *testing.T) {
	for name, tc := range map[string]struct {
		result string
		want   awssts.Caller
	}{
		"nothing":          {"", awssts.Caller{}},
		"a federated user": {"<Arn>arn:aws:sts::1:federated-user/bob</Arn><UserId>1:bob</UserId><Account>1</Account>", awssts.Caller{AccountID: "1", ARN: "arn:aws:sts::1:federated-user/bob", UserID: "1:bob"}},
		"the root user":    {"<Arn>arn:aws:iam::1:root</Arn><UserId>1</UserId><Account>1</Account>", awssts.Caller{AccountID: "1", ARN: "arn:aws:iam::1:root", UserID: "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			a := answer{http.StatusOK, "<GetCallerIdentityResponse><GetCallerIdentityResult>" + tc.result + "</GetCallerIdentityResult></GetCallerIdentityResponse>"}
			caller, err := a.serve(t).Caller(t.Context())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(caller).To(Equal(tc.want))
		})
	}
}

func TestServerWithoutGetCallerIdentity(t *testing.T) {
	for name, a := range map[string]answer{
		"it does not know the action":              sts(http.StatusBadRequest, "InvalidAction", "Could not find operation GetCallerIdentity for version 2011-06-15"),
		"it finds the action an invalid parameter": sts(http.StatusBadRequest, "InvalidParameterValue", "Unsupported action GetCallerIdentity"),
		"it has not implemented it":                sts(http.StatusNotImplemented, "NotImplemented", "no"),
		"it does not allow it, as S3":              s3(http.StatusMethodNotAllowed, "MethodNotAllowed"),
		"it has not implemented it, as S3":         s3(http.StatusNotImplemented, "NotImplemented"),
		"it finds nothing there, as S3":            s3(http.StatusNotFound, "NoSuchBucket"),
		"it finds the request bad, as S3":          s3(http.StatusBadRequest, "InvalidRequest"),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			caller, err := a.serve(t).Caller(t.Context())
			g.Expect(err).To(MatchError(awssts.ErrNoCallerIdentity))
			g.Expect(caller).To(BeZero())
		})
	}
	t.Run("MinIO", func(t *testing.T) {
		e := serve(t, stsemulator.Options{Flavour: stsemulator.FlavourMinIO})
		_, err := e.client(operatorKey).Caller(t.Context())
		NewWithT(t).Expect(err).To(MatchError(awssts.ErrNoCallerIdentity))
	})
}

func TestFailedGetCallerIdentityIsNotTakenForUnsupported(t *testing.T) {
	wrong := operatorKey
	wrong.SecretAccessKey = "wrong"
	for name, tc := range map[string]struct {
		keys  aws.Credentials
		fault *stsemulator.Fault
		want  string
	}{
		"a wrong secret key": {keys: wrong, want: v1alpha1.ReasonInvalidSourceCredentials},
		"an unknown key":     {keys: aws.Credentials{AccessKeyID: "AKIAUNKNOWNEXAMPLE", SecretAccessKey: "x"}, want: v1alpha1.ReasonInvalidSourceCredentials},
		"a policy that denies it all the same": {
			fault: &stsemulator.Fault{Kind: stsemulator.FaultError, Code: "AccessDenied"}, want: v1alpha1.ReasonAccessDenied,
		},
		"throttling": {fault: &stsemulator.Fault{Kind: stsemulator.FaultError, Code: "Throttling"}, want: v1alpha1.ReasonThrottled},
		"an outage":  {fault: &stsemulator.Fault{Kind: stsemulator.FaultOutage}, want: v1alpha1.ReasonSTSUnreachable},
		"garbage":    {fault: &stsemulator.Fault{Kind: stsemulator.FaultGarbage}, want: v1alpha1.ReasonSTSError},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serve(t, stsemulator.Options{})
			if tc.fault != nil {
				tc.keys = operatorKey
				e.setFault(t, *tc.fault)
			}
			_, err := e.client(tc.keys).Caller(t.Context())
			g.Expect(err).To(HaveOccurred())
			g.Expect(err).NotTo(MatchError(awssts.ErrNoCallerIdentity))
			g.Expect(awssts.Classify(err, subject).Reason).To(Equal(tc.want))
		})
	}
}

func TestFailedSourceOrHopIsNotTakenForUnsupported(t *testing.T) {
	withHop := func(config *aws.Config) {
		config.Credentials = hop(*config, reads(func(r *request.Request) { r.SessionName = "no name" }), nil, &ledger{})
	}
	source := func(config *aws.Config) {
		cause := issue(t, sts(http.StatusBadRequest, "ValidationError", "Request ARN is invalid")) // of the role of IRSA
		config.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, &reason.SourceError{Err: cause}
		})
	}
	for name, tc := range map[string]struct {
		change func(*aws.Config)
		want   string
	}{
		"a hop whose session name cannot be": {withHop, v1alpha1.ReasonInvalidRequest},
		"a source whose role cannot be":      {source, v1alpha1.ReasonInvalidSourceCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := serve(t, stsemulator.Options{}).client(operatorKey, tc.change).Caller(t.Context())
			g.Expect(err).To(HaveOccurred())
			g.Expect(err).NotTo(MatchError(awssts.ErrNoCallerIdentity))
			g.Expect(awssts.Classify(err, subject).Reason).To(Equal(tc.want))
		})
	}
}
