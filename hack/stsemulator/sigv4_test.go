package stsemulator_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/hack/stsemulator"
)

const mismatch = "The request signature we calculated does not match the signature you provided. " +
	"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."

func TestUnknownCredentialsAreRejected(t *testing.T) {
	const invalid = "The security token included in the request is invalid."
	e := serve(t, stsemulator.Options{})
	session, _ := e.assume(t, operatorKey, input(readerARN))
	other, _ := e.assume(t, operatorKey, input(readerARN))
	inactive := e.AccessKeys("arn:aws:iam::210987654321:user/powerless")
	with := func(creds aws.Credentials, change func(*aws.Credentials)) aws.Credentials {
		change(&creds)
		return creds
	}
	cases := map[string]struct {
		creds       aws.Credentials
		wantCode    string
		wantMessage string
	}{
		"an unknown key": {
			creds: aws.Credentials{AccessKeyID: "AKIAXXXXXXXXXXXXXXXX", SecretAccessKey: "x"}, wantCode: "InvalidClientTokenId", wantMessage: invalid,
		},
		"a wrong secret": {
			creds:    with(operatorKey, func(c *aws.Credentials) { c.SecretAccessKey = "x" }),
			wantCode: "SignatureDoesNotMatch", wantMessage: mismatch,
		},
		"a session's wrong secret": {
			creds:    with(session, func(c *aws.Credentials) { c.SecretAccessKey = "x" }),
			wantCode: "SignatureDoesNotMatch", wantMessage: mismatch,
		},
		"a session without its token": {
			creds:    with(session, func(c *aws.Credentials) { c.SessionToken = "" }),
			wantCode: "InvalidClientTokenId", wantMessage: invalid,
		},
		"a session with another's token": {
			creds:    with(session, func(c *aws.Credentials) { c.SessionToken = other.SessionToken }),
			wantCode: "InvalidClientTokenId", wantMessage: invalid,
		},
		"a user's key with a session token": {
			creds:    with(operatorKey, func(c *aws.Credentials) { c.SessionToken = session.SessionToken }),
			wantCode: "InvalidClientTokenId", wantMessage: invalid,
		},
	}
	for _, k := range inactive {
		if k.Inactive {
			cases["an inactive key"] = struct {
				creds       aws.Credentials
				wantCode    string
				wantMessage string
			}{aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret}, "InvalidClientTokenId", invalid}
		}
	}
	NewWithT(t).Expect(cases).To(HaveKey("an inactive key"))
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := e.client(tc.creds).GetCallerIdentity(t.Context(), nil)
			got := failureOf(t, err)
			g.Expect(got.Status).To(Equal(403))
			g.Expect(got.Code).To(Equal(tc.wantCode))
			g.Expect(got.Message).To(HavePrefix(tc.wantMessage))
		})
	}
}

// The message of AWS's query APIs contains the canonical request with its headers: a client that prints it leaks its session token.
func TestSignatureErrorContainsTheSessionToken(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	session, _ := e.assume(t, operatorKey, input(readerARN))
	session.SecretAccessKey = "wrong"
	_, err := e.client(session).GetCallerIdentity(t.Context(), nil)
	got := failureOf(t, err).Message
	g.Expect(got).To(ContainSubstring("\n\nThe Canonical String for this request should have been\n'POST\n/\n\n"))
	g.Expect(got).To(ContainSubstring("\nx-amz-security-token:" + session.SessionToken + "\n"))
	g.Expect(got).To(ContainSubstring("\n\nThe String-to-Sign should have been\n'AWS4-HMAC-SHA256\n"))
	g.Expect(got).To(HaveSuffix("'\n"))
}

func TestSignatureMustCoverTheRequest(t *testing.T) {
	session := func(t *testing.T, e emulator) aws.Credentials {
		creds, _ := e.assume(t, operatorKey, input(readerARN))
		return creds
	}
	replace := func(old, with string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, with, 1))
		}
	}
	cases := map[string]struct {
		service, region string
		spoil           func(*http.Request)
		wantStatus      int
		wantCode        string
		wantMessage     string
	}{
		"nothing is spoilt": {spoil: func(*http.Request) {}, wantStatus: 200},
		"the body": {
			spoil: func(r *http.Request) {
				r.Body = io.NopCloser(strings.NewReader(strings.Replace(whoAmI.Encode(), "2011", "2012", 1)))
			},
			wantStatus: 400, wantCode: "InvalidAction", wantMessage: "Could not find operation GetCallerIdentity for version 2012-06-15",
		},
		"the body, as far as it counts": {
			spoil: func(r *http.Request) {
				r.Body = io.NopCloser(strings.NewReader(whoAmI.Encode() + "&x=y"))
				r.ContentLength += 4
			},
			wantStatus: 403, wantCode: "SignatureDoesNotMatch", wantMessage: mismatch,
		},
		"a signed header": {
			spoil: func(r *http.Request) {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
			},
			wantStatus: 403, wantCode: "SignatureDoesNotMatch", wantMessage: mismatch,
		},
		"the session token": {
			spoil:      func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "another") },
			wantStatus: 403, wantCode: "SignatureDoesNotMatch", wantMessage: mismatch,
		},
		"the list of signed headers": {
			spoil:      replace("content-type;", ""),
			wantStatus: 403, wantCode: "SignatureDoesNotMatch", wantMessage: mismatch,
		},
		"the host": {
			spoil:      replace(";host;", ";"),
			wantStatus: 403, wantCode: "SignatureDoesNotMatch", wantMessage: "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
		},
		"the query": {
			spoil:      func(r *http.Request) { r.URL.RawQuery = "a=b" },
			wantStatus: 403, wantCode: "SignatureDoesNotMatch", wantMessage: mismatch,
		},
		"the path": {
			spoil:      func(r *http.Request) { r.URL.Path = "/elsewhere" },
			wantStatus: 403, wantCode: "SignatureDoesNotMatch", wantMessage: mismatch,
		},
		"the date": {
			spoil: func(r *http.Request) {
				signed, _ := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
				// Towards noon, so that the day of the scope does not change.
				later := signed.Add(time.Minute)
				if signed.Hour() >= 12 {
					later = signed.Add(-time.Minute)
				}
				r.Header.Set("X-Amz-Date", later.Format("20060102T150405Z"))
			},
			wantStatus: 403, wantCode: "SignatureDoesNotMatch", wantMessage: mismatch,
		},
		"a date that is none": {
			spoil:      func(r *http.Request) { r.Header.Set("X-Amz-Date", "yesterday") },
			wantStatus: 400, wantCode: "IncompleteSignature", wantMessage: "Date must be in ISO-8601 'basic format'. Got 'yesterday'. ",
		},
		"another service": {
			service: "iam", spoil: func(*http.Request) {},
			wantStatus: 403, wantCode: "SignatureDoesNotMatch", wantMessage: "Credential should be scoped to correct service: 'sts'. ",
		},
		"another region": {
			region: "us-east-1", spoil: func(*http.Request) {},
			wantStatus: 403, wantCode: "SignatureDoesNotMatch", wantMessage: "Credential should be scoped to a valid region. ",
		},
		"the scope's terminator": {
			spoil:      replace("/aws4_request", "/aws5_request"),
			wantStatus: 403, wantCode: "SignatureDoesNotMatch", wantMessage: "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'. ",
		},
		"the scope's day": {
			spoil: func(r *http.Request) {
				day := r.Header.Get("X-Amz-Date")[:8]
				replace("/"+day+"/", "/20150830/")(r)
			},
			wantStatus: 403, wantCode: "SignatureDoesNotMatch", wantMessage: "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20150830' != '",
		},
		"no authorization": {
			spoil:      func(r *http.Request) { r.Header.Del("Authorization") },
			wantStatus: 403, wantCode: "MissingAuthenticationToken", wantMessage: "Request is missing Authentication Token",
		},
		"another kind of authorization": {
			spoil:      func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") },
			wantStatus: 403, wantCode: "MissingAuthenticationToken", wantMessage: "Request is missing Authentication Token",
		},
		"another algorithm": {
			spoil:      replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
			wantStatus: 400, wantCode: "IncompleteSignature", wantMessage: "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1' (only AWS4-HMAC-SHA256 for now). ",
		},
		"an authorization with parts missing": {
			spoil: func(r *http.Request) {
				r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e")
				r.Header.Del("X-Amz-Date")
			},
			wantStatus: 400, wantCode: "IncompleteSignature",
			wantMessage: "Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. " +
				"Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=AWS4-HMAC-SHA256",
		},
		"a credential without all of its scope": {
			spoil:      replace("/aws4_request", ""),
			wantStatus: 400, wantCode: "IncompleteSignature", wantMessage: "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '",
		},
	}
	e := serve(t, stsemulator.Options{Region: region})
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if tc.service == "" {
				tc.service = "sts"
			}
			if tc.region == "" {
				tc.region = region
			}
			r := e.signedRequest(t, session(t, e), whoAmI, tc.service, tc.region)
			tc.spoil(r)
			status, body, _ := send(t, r)
			g.Expect(status).To(Equal(tc.wantStatus), body)
			if tc.wantCode == "" {
				return
			}
			g.Expect(body).To(ContainSubstring("<Type>Sender</Type><Code>" + tc.wantCode + "</Code><Message>"))
			g.Expect(strings.ReplaceAll(body, "&#39;", "'")).To(ContainSubstring("<Message>" + tc.wantMessage))
		})
	}
}

func TestSignatureExpires(t *testing.T) {
	now := clock.RealClock{}.Now()
	for name, tc := range map[string]struct {
		server time.Time
		want   string
	}{
		"10 minutes old":           {server: now.Add(10 * time.Minute)},
		"10 minutes in the future": {server: now.Add(-10 * time.Minute)},
		"20 minutes old":           {server: now.Add(20 * time.Minute), want: `^Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - 15 min\.\)$`},
		"20 minutes in the future": {server: now.Add(-20 * time.Minute), want: `^Signature not yet current: \d{8}T\d{6}Z is still later than \d{8}T\d{6}Z \(\d{8}T\d{6}Z \+ 15 min\.\)$`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serve(t, stsemulator.Options{SignatureClock: clocktesting.NewFakePassiveClock(tc.server)})
			_, err := e.client(operatorKey).GetCallerIdentity(t.Context(), nil)
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			got := failureOf(t, err)
			g.Expect(got.Code).To(Equal("SignatureDoesNotMatch"))
			g.Expect(got.Status).To(Equal(403))
			g.Expect(got.Message).To(MatchRegexp(tc.want))
		})
	}
}

func TestSDKCorrectsItsClockSkew(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{SignatureClock: clocktesting.NewFakePassiveClock(time.Date(2040, 1, 1, 12, 0, 0, 0, time.UTC))})
	_, err := e.client(operatorKey, retrying).GetCallerIdentity(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.Calls()).To(HaveLen(2))
	g.Expect(e.Calls()[0].Code).To(Equal("SignatureDoesNotMatch"))
	g.Expect(e.Calls()[1].Status).To(Equal(200))
}

func TestServerWithoutARegionAcceptsAllRegions(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	for _, region := range []string{"us-gov-west-1", "ap-southeast-2", "eusc-de-east-1"} {
		_, err := e.client(operatorKey, func(o *sts.Options) { o.Region = region }).GetCallerIdentity(t.Context(), nil)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(e.lastCall(t).Region).To(Equal(region))
	}
	_, body, _ := send(t, e.signedRequest(t, operatorKey, whoAmI, "sts", "moon"))
	g.Expect(body).To(ContainSubstring("Credential should be scoped to a valid region."))
}

func TestInvalidRequestsAreRejected(t *testing.T) {
	cases := map[string]struct {
		body        string
		wantStatus  int
		wantMessage string
	}{
		"nothing at all":   {wantStatus: 400, wantMessage: "<Code>InvalidAction</Code><Message>Could not find operation null for version NO_VERSION_SPECIFIED</Message>"},
		"no version":       {body: "Action=AssumeRole", wantStatus: 400, wantMessage: "Could not find operation AssumeRole for version NO_VERSION_SPECIFIED"},
		"no such action":   {body: "Action=Sing&Version=2011-06-15", wantStatus: 400, wantMessage: "Could not find operation Sing for version 2011-06-15"},
		"no form":          {body: "%zz", wantStatus: 400, wantMessage: "<Code>MalformedInput</Code>"},
		"no signature":     {body: whoAmI.Encode(), wantStatus: 403, wantMessage: "<Code>MissingAuthenticationToken</Code>"},
		"more than anyone": {body: strings.Repeat("a", 1<<20+1), wantStatus: 413, wantMessage: "too large"},
	}
	e := serve(t, stsemulator.Options{})
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.endpoint.URL, strings.NewReader(tc.body))
			g.Expect(err).NotTo(HaveOccurred())
			status, body, _ := send(t, r)
			g.Expect(status).To(Equal(tc.wantStatus))
			g.Expect(body).To(ContainSubstring(tc.wantMessage))
		})
	}
}
