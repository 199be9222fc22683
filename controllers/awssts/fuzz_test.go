package awssts_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"regexp"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
)

// says is a transport at whose other end is a server that says just one thing.
type says struct {
	status int
	date   string
	body   []byte
}

func (s says) Do(r *http.Request) (*http.Response, error) {
	header := http.Header{"Content-Type": {"text/xml"}, "Date": {s.date}}
	return &http.Response{StatusCode: s.status, ProtoMajor: 1, ProtoMinor: 1, Header: header, Body: io.NopCloser(bytes.NewReader(s.body)), ContentLength: int64(len(s.body)), Request: r}, nil
}

func (s says) client() caller {
	return client("https://sts.example", clocktesting.NewFakePassiveClock(start), operatorKey, func(c *aws.Config) { c.HTTPClient = s })
}

// codeProof and tokenProof go with the fuzzed calls, and no message may repeat them. A token is never shorter.
var (
	codeAuth  = request.CallAuth{MFACode: "287082"}
	tokenAuth = request.CallAuth{WebIdentityToken: "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzaG9wIn0.Zm9yIGFuIGVsbGlwdGljIGN1cnZlIGEgc2lnbmF0dXJlIGhhcyA4NiBvZiB0aGVzZSBsZXR0ZXJzIQ"}
)

// answerReasons are all that an answer may lead to.
var answerReasons = []string{
	v1alpha1.ReasonAccessDenied, v1alpha1.ReasonInvalidSourceCredentials, v1alpha1.ReasonInvalidRequest, v1alpha1.ReasonPolicyTooLarge, v1alpha1.ReasonMalformedPolicy,
	v1alpha1.ReasonRegionDisabled, v1alpha1.ReasonClockSkew, v1alpha1.ReasonThrottled, v1alpha1.ReasonSTSError,
}

// oneCode is a code of STS as the API Reference has them: a word that begins with a letter.
var oneCode = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.:_-]{0,63}$`)

// FuzzAnswer has a server answer a call with anything at all. What comes of it is a credential that can be kept and used, or a
// failure in the catalogue's words, to which nothing of the answer is added but a code.
func FuzzAnswer(f *testing.F) {
	calls := []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallAssumeRoleWithWebIdentity, v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken}
	f.Fuzz(func(t *testing.T, which uint8, status uint16, date string, body []byte) {
		g := NewWithT(t)
		auth, call := codeAuth, calls[int(which)%len(calls)]
		if call == v1alpha1.CallAssumeRoleWithWebIdentity {
			auth = tokenAuth
		}
		sts := says{200 + int(status)%400, date, body}.client()
		issued, err := sts.Issue(t.Context(), reads(func(r *request.Request) {
			r.Call, r.MFASerialNumber = call, "arn:aws:iam::210987654321:mfa/operator"
		}), auth)
		if err == nil {
			canBeKept(g, sts, issued)
			return
		}
		g.Expect(issued).To(BeZero())
		isOfTheCatalogue(g, err, answerReasons)
	})
}

// canBeKept holds that a credential can be used until it expires, which is still to come, and can be read back from a Secret.
func canBeKept(g Gomega, sts caller, c request.Credentials) {
	offset, _ := sts.Skew()
	g.Expect(c.AccessKeyID).NotTo(BeEmpty())
	g.Expect(len(c.AccessKeyID)).To(BeNumerically("<=", 128))
	g.Expect(c.SecretAccessKey).NotTo(BeEmpty())
	g.Expect(c.Expiration).To(BeTemporally(">", start.Add(offset)))
	g.Expect(c.Expiration).To(BeTemporally(">", c.IssuedAt))
	g.Expect(len(c.PrincipalARN)).To(BeNumerically("<=", 2048))
	for _, text := range []string{c.AccessKeyID, string(c.SecretAccessKey), string(c.SessionToken), c.PrincipalARN} {
		g.Expect(utf8.ValidString(text)).To(BeTrue())
	}
	g.Expect(request.Sendable(c.AccessKeyID + string(c.SessionToken))).To(BeTrue())
	if c.PackedPolicySize != nil {
		g.Expect(*c.PackedPolicySize).To(BeNumerically(">=", 0))
	}
	r := reissue.Record{IssuedAt: c.IssuedAt, Expiration: c.Expiration, AccessKeyID: c.AccessKeyID, PrincipalARN: c.PrincipalARN, PackedPolicySize: c.PackedPolicySize}.WithChecksum(nil)
	read, ok := reissue.ParseRecord(r.Annotations())
	g.Expect(ok).To(BeTrue())
	g.Expect(read).To(Equal(r))
}

// isOfTheCatalogue holds that an error is reported as one of the reasons, in the words of the catalogue for it, to which the answer
// adds nothing but a code and a status.
func isOfTheCatalogue(g Gomega, err error, reasons []string) {
	failed := awssts.Classify(err, subject)
	g.Expect(failed.Condition).To(Equal(v1alpha1.ConditionIssued))
	g.Expect(reasons).To(ContainElement(failed.Reason))
	g.Expect(failed.Retry).To(Or(Equal(reason.Backoff), Equal(reason.After(reason.MaxWait))), "a server may give another answer")
	var code string
	if answer, ok := errors.AsType[smithy.APIError](err); ok && oneCode.MatchString(answer.ErrorCode()) && answer.ErrorCode() != "UnknownError" {
		code = answer.ErrorCode()
	}
	var status int
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = response.HTTPStatusCode()
	}
	var catalogue []string
	for flaw := range reason.FlawSource + 1 {
		for _, answer := range []reason.Answer{{Flaw: flaw}, {Flaw: flaw, Status: status}, {Flaw: flaw, Status: status, Code: code}} {
			catalogue = append(catalogue, reason.STS(failed.Reason, answer, subject, nil).Message)
		}
	}
	g.Expect(catalogue).To(ContainElement(failed.Message))
	logged := failed.Cause.Error()
	g.Expect(len(logged)).To(BeNumerically("<=", 512+len("…")))
	g.Expect(logged).NotTo(ContainSubstring("\n"))
	for _, secret := range []string{operatorKey.SecretAccessKey, string(codeAuth.MFACode), string(tokenAuth.WebIdentityToken)} {
		g.Expect(failed.Message).NotTo(ContainSubstring("(" + secret))
	}
}

// FuzzCaller has a server say anything at all of who calls it.
func FuzzCaller(f *testing.F) {
	f.Fuzz(func(t *testing.T, status uint16, body []byte) {
		g := NewWithT(t)
		caller, err := says{200 + int(status)%400, "Fri, 02 Jan 2026 03:04:05 GMT", body}.client().Caller(t.Context())
		if err != nil {
			g.Expect(caller).To(BeZero())
			isOfTheCatalogue(g, err, answerReasons)
			return
		}
		for _, bound := range []struct {
			value  string
			length int
		}{{caller.AccountID, 64}, {caller.ARN, 2048}, {caller.UserID, 128}} {
			g.Expect(len(bound.value)).To(BeNumerically("<=", bound.length))
			g.Expect(utf8.ValidString(bound.value)).To(BeTrue())
		}
	})
}

// FuzzDate has a server of any date issue a good credential, which is counted from that date.
func FuzzDate(f *testing.F) {
	f.Fuzz(func(t *testing.T, date, expiration string) {
		g := NewWithT(t)
		body := assumed("<Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken><Expiration>" + expiration + "</Expiration></Credentials>")
		sts := says{http.StatusOK, date, []byte(body.body)}.client()
		issued, err := sts.Issue(t.Context(), reads(), request.CallAuth{})
		if err != nil {
			isOfTheCatalogue(g, err, []string{v1alpha1.ReasonSTSError, v1alpha1.ReasonClockSkew})
			return
		}
		canBeKept(g, sts, issued)
		g.Expect(reissue.Requeue(issued.IssuedAt, reissue.Desired{}.RefreshAt(reissue.Record{IssuedAt: issued.IssuedAt, Expiration: issued.Expiration}))).To(BeNumerically(">=", time.Second))
	})
}
