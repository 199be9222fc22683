package awssts_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// behind is the subject of a call that went to an identity's endpoint.
func behind(change ...func(*reason.Subject)) reason.Subject {
	s := subject
	s.Endpoint, s.Region = "https://sts.example:9000", "eu-west-1"
	for _, c := range change {
		c(&s)
	}
	return s
}

// wrongPort are answers of servers that are none of STS.
var wrongPort = map[string]answer{
	"nothing is there, with a text":        {http.StatusNotFound, "404 page not found\n"},
	"nothing is there, with no text":       {http.StatusNotFound, ""},
	"nothing is there, with a page":        {http.StatusNotFound, "<html><head><title>Not Found</title></head><body></body></html>"},
	"the method is not allowed, on a page": {http.StatusMethodNotAllowed, "<html><body><hr><center>nginx</center></body></html>"},
	"the method is not allowed, in JSON":   {http.StatusMethodNotAllowed, `{"message":"method not allowed"}`},
	"the request is bad, with a text":      {http.StatusBadRequest, "Client sent an HTTP request to an HTTPS server.\n"},
	"a firewall denies it, on a page":      {http.StatusForbidden, "<html><body>Blocked</body></html>"},
	"a proxy requires a login":             {http.StatusUnauthorized, "login"},
	"a proxy has no upstream":              {http.StatusBadGateway, "<html><body>Bad Gateway</body></html>"},
	"all is well, with a page":             {http.StatusOK, "<html><body>Welcome</body></html>"},
}

func TestResponseOfAnotherServerNamesStatusAndEndpoint(t *testing.T) {
	for name, a := range wrongPort {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, ofCaller := a.serve(t).Caller(t.Context())
			g.Expect(ofCaller).NotTo(MatchError(awssts.ErrNoCallerIdentity), "the identity is not Ready")
			for _, err := range []error{issue(t, a), ofCaller} {
				f := awssts.Classify(err, behind())
				g.Expect(f.Reason).To(Equal(v1alpha1.ReasonSTSError))
				g.Expect(f.Message).To(ContainSubstring("the endpoint https://sts.example:9000 returned HTTP %d without an answer of STS. Check that the scheme, host, port and path", a.status))
			}
		})
	}
	t.Run("the method is not implemented, with a text", func(t *testing.T) {
		g := NewWithT(t)
		_, err := answer{http.StatusNotImplemented, "Unsupported method ('POST')"}.serve(t).Caller(t.Context())
		g.Expect(err).NotTo(MatchError(awssts.ErrNoCallerIdentity))
		g.Expect(awssts.Classify(err, behind()).Message).To(And(ContainSubstring("the endpoint https://sts.example:9000"), ContainSubstring("(HTTP 501)"), ContainSubstring("correct the identity's endpoint")))
	})
}

func TestRedirectIsNotFollowedAndIsNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		status   int
		location string // TARGET is another server
		want     string
	}{
		"to another host, keeping the method":  {http.StatusTemporaryRedirect, "TARGET/login?next=1", "redirects to TARGET (HTTP 307), which the operator does not follow. If that is the STS server, set the identity's endpoint to it."},
		"to another host, for good":            {http.StatusPermanentRedirect, "TARGET", "redirects to TARGET (HTTP 308)"},
		"to HTTPS":                             {http.StatusMovedPermanently, "https://STS.example:9000/", "redirects to https://sts.example:9000 (HTTP 301)"},
		"with a user and a password":           {http.StatusFound, "https://user:password@sts.example/", "redirects to https://sts.example (HTTP 302)"},
		"to another path":                      {http.StatusFound, "/minio/?volatile=1", "to another path of its own (HTTP 302)"},
		"without a target":                     {http.StatusMovedPermanently, "", "redirects (HTTP 301), which the operator does not follow. Set the identity's endpoint"},
		"without a target, keeping the method": {http.StatusTemporaryRedirect, "", "redirects (HTTP 307)"},
		"to another protocol":                  {http.StatusFound, "ftp://sts.example", "redirects (HTTP 302)"},
		"to a host that is too long":           {http.StatusFound, "https://" + strings.Repeat("x.", 200), "redirects (HTTP 302)"},
		"to a host of other characters":        {http.StatusFound, "https://a_b!/", "redirects (HTTP 302)"},
		"to a choice of several":               {http.StatusMultipleChoices, "https://sts.example", "redirects to https://sts.example (HTTP 300)"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
			t.Cleanup(target.Close)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tc.location != "" {
					w.Header().Set("Location", strings.Replace(tc.location, "TARGET", target.URL, 1))
				}
				w.WriteHeader(tc.status)
			}))
			t.Cleanup(server.Close)
			c := client(server.URL, clocktesting.NewFakePassiveClock(start), operatorKey)
			_, ofIssue := c.Issue(t.Context(), reads(), request.CallAuth{})
			_, ofCaller := c.Caller(t.Context())
			for _, err := range []error{ofIssue, ofCaller} {
				g.Expect(err).To(HaveOccurred())
				f := awssts.Classify(err, behind(func(s *reason.Subject) { s.Endpoint = server.URL }))
				g.Expect(f.Reason).To(Equal(v1alpha1.ReasonSTSError))
				g.Expect(f.Message).To(ContainSubstring("the endpoint " + server.URL + " redirects"))
				g.Expect(f.Message).To(ContainSubstring(strings.Replace(tc.want, "TARGET", target.URL, 1)))
			}
		})
	}
}

func TestRejectedSignatureNamesTheRegion(t *testing.T) {
	region := "region in the signature than spec.region of the identity, eu-west-1"
	for name, tc := range map[string]struct {
		answer answer
		reason string
	}{
		"as AWS answers it":          {sts(403, "SignatureDoesNotMatch", "Credential should be scoped to a valid region."), v1alpha1.ReasonInvalidSourceCredentials},
		"as a key that is not known": {sts(403, "InvalidClientTokenId", "no"), v1alpha1.ReasonInvalidSourceCredentials},
		"as S3 answers it":           {s3(400, "AuthorizationHeaderMalformed"), v1alpha1.ReasonInvalidSourceCredentials},
		"as MinIO's STS answers it":  {sts(403, "AccessDenied", "The authorization header is malformed; the region is wrong"), v1alpha1.ReasonAccessDenied},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := issue(t, tc.answer)
			f := awssts.Classify(err, behind())
			g.Expect(f.Reason).To(Equal(tc.reason))
			g.Expect(f.Message).To(ContainSubstring(region))
			g.Expect(awssts.Classify(err, subject).Message).NotTo(ContainSubstring("signature"), "AWS's own endpoint is the region's")
			_, err = tc.answer.serve(t).Caller(t.Context())
			g.Expect(err).NotTo(MatchError(awssts.ErrNoCallerIdentity))
			g.Expect(awssts.Classify(err, behind(func(s *reason.Subject) { s.RoleARN = "" })).Message).To(ContainSubstring(region))
		})
	}
}

func TestUnsupportedFieldsAreNamed(t *testing.T) {
	fields := func(s *reason.Subject) { s.OptionalFields = []string{"spec.policy", "spec.tags"} }
	for name, tc := range map[string]struct {
		answer answer
		want   string
		retry  reason.Retry
	}{
		"it has not implemented them, with no text": {answer{http.StatusNotImplemented, ""}, "(HTTP 501). Optional fields in use: spec.policy, spec.tags. Remove", reason.After(reason.MaxWait)},
		"it has not implemented them":               {sts(501, "NotImplemented", "no"), "(NotImplemented, HTTP 501). Optional fields in use: spec.policy, spec.tags. Remove", reason.After(reason.MaxWait)},
		"it has not implemented them, as S3":        {s3(501, "NotImplemented"), "(NotImplemented, HTTP 501). Optional fields in use: spec.policy, spec.tags. Remove", reason.After(reason.MaxWait)},
		"it does not know such an action":           {sts(400, "InvalidAction", "no"), "(InvalidAction, HTTP 400). Optional fields in use: spec.policy, spec.tags. Remove", reason.After(reason.MaxWait)},
		"it finds a parameter invalid":              {sts(400, "InvalidParameterValue", "no"), "may also not support the call AssumeRole, or an optional field in use: spec.policy, spec.tags.", reason.Backoff},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := awssts.Classify(issue(t, tc.answer), behind(fields))
			g.Expect(f.Reason).To(Equal(v1alpha1.ReasonInvalidRequest))
			g.Expect(f.Message).To(ContainSubstring(tc.want))
			g.Expect(f.Retry).To(Equal(tc.retry))
		})
	}
	t.Run("of a hop", func(t *testing.T) {
		url := sts(400, "InvalidAction", "no").dated(t, now)
		hop := hop(configFor(url, operatorKey), reads(func(r *request.Request) { r.ExternalID, r.Tags = "k8s", []request.Tag{{Key: "a"}} }), nil, &ledger{})
		_, err := hop.Retrieve(t.Context())
		NewWithT(t).Expect(awssts.Classify(err, behind(fields)).Message).To(ContainSubstring("Optional fields in use: externalID, tags."))
	})
}

func TestMessageDoesNotAdviseToSetAClockThatIsInSync(t *testing.T) {
	inSync := func(s *reason.Subject) { s.ClockInSync = true }
	credentials := func(expiration string) answer {
		return assumed(`<Credentials>` + keyXML + secretXML + tokenXML + `<Expiration>` + expiration + `</Expiration></Credentials>`)
	}
	for name, tc := range map[string]struct {
		answer  answer
		date    func() string
		subject reason.Subject
		reason  string
		want    string
	}{
		"a signature out of time, and clocks that differ":    {sts(403, "RequestTimeTooSkewed", "no"), now, behind(), v1alpha1.ReasonClockSkew, "Set the clock of the operator's node."},
		"a signature out of time, and clocks that agree":     {sts(403, "RequestTimeTooSkewed", "no"), now, behind(inSync), v1alpha1.ReasonClockSkew, "Check the clocks of all servers behind the endpoint https://sts.example:9000"},
		"an expired signature, and clocks that agree":        {sts(400, "RequestExpired", "no"), now, behind(inSync), v1alpha1.ReasonClockSkew, "agrees with the operator's clock"},
		"expired credentials with a Date":                    {credentials("2025-01-02T03:04:04Z"), now, behind(inSync), v1alpha1.ReasonSTSError, "have expired by the Date of the same answer. Check the server's clock"},
		"expired credentials with a Date that differs":       {credentials("2025-01-02T03:04:04Z"), inTime(5 * time.Hour), behind(), v1alpha1.ReasonClockSkew, "The answer has no usable Date to compare with"},
		"expired credentials without a Date to compare with": {credentials("2025-01-02T03:04:04Z"), func() string { return "" }, behind(), v1alpha1.ReasonClockSkew, "The answer has no usable Date to compare with"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := client(tc.answer.dated(t, tc.date), clocktesting.NewFakePassiveClock(start), operatorKey)
			_, err := c.Issue(t.Context(), reads(), request.CallAuth{})
			f := awssts.Classify(err, tc.subject)
			g.Expect(f.Reason).To(Equal(tc.reason), "%v", err)
			g.Expect(f.Message).To(ContainSubstring(tc.want))
			if tc.subject.ClockInSync {
				g.Expect(f.Message).NotTo(ContainSubstring("Set the clock"))
			}
		})
	}
}

func TestCallerOfAnotherFormStaysAsItIs(t *testing.T) {
	for name, tc := range map[string]struct {
		result string
		want   awssts.Caller
	}{
		"a role's session":                       {"<Arn>arn:aws:sts::1:assumed-role/Hub/session</Arn><UserId>AROA:session</UserId>", awssts.Caller{ARN: "arn:aws:sts::1:assumed-role/Hub", UserID: "AROA"}},
		"a role without a session's name":        {"<Arn>arn:aws:sts::1:assumed-role/Hub</Arn><UserId>AROA</UserId>", awssts.Caller{ARN: "arn:aws:sts::1:assumed-role/Hub", UserID: "AROA"}},
		"neither role nor session":               {"<Arn>arn:aws:sts::1:assumed-role/</Arn><UserId>AROA</UserId>", awssts.Caller{ARN: "arn:aws:sts::1:assumed-role/", UserID: "AROA"}},
		"a role's session without an account":    {"<Arn>arn:aws:sts::assumed-role/Hub/session</Arn><UserId>u</UserId>", awssts.Caller{ARN: "arn:aws:sts::assumed-role/Hub/session", UserID: "u"}},
		"a role with a path":                     {"<Arn>arn:aws:sts::1:assumed-role/team/Hub/session</Arn><UserId>u:session</UserId>", awssts.Caller{ARN: "arn:aws:sts::1:assumed-role/team/Hub/session", UserID: "u:session"}},
		"an ID that does not end in the session": {"<Arn>arn:aws:sts::1:assumed-role/Hub/session</Arn><UserId>user:1</UserId>", awssts.Caller{ARN: "arn:aws:sts::1:assumed-role/Hub", UserID: "user:1"}},
		"a name of another system":               {"<Arn>urn:ecs:sts::ns1:assumed-role/Hub/session</Arn><UserId>u:session</UserId>", awssts.Caller{ARN: "urn:ecs:sts::ns1:assumed-role/Hub/session", UserID: "u:session"}},
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

func TestMalformedCredentialsAreRejected(t *testing.T) {
	key := func(id string) string {
		return `<Credentials><AccessKeyId>` + id + `</AccessKeyId>` + secretXML + tokenXML + expirationXML + `</Credentials>`
	}
	for name, tc := range map[string]struct {
		result string
		want   *int32 // the packed policy size; nil with wantErr
		fails  bool
	}{
		"a size in percent":                        {key("ASIA") + "<PackedPolicySize>7</PackedPolicySize>", aws.Int32(7), false},
		"a size in bytes":                          {key("ASIA") + "<PackedPolicySize>1590</PackedPolicySize>", nil, false},
		"a size that cannot be":                    {key("ASIA") + "<PackedPolicySize>-1</PackedPolicySize>", nil, false},
		"a line break in the access key's ID":      {key("AS\nIA"), nil, true},
		"a control character in the session token": {`<Credentials>` + keyXML + secretXML + `<SessionToken>a&#10;b</SessionToken>` + expirationXML + `</Credentials>`, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			issued, err := assumed(tc.result).serve(t).Issue(t.Context(), reads(), request.CallAuth{})
			if tc.fails {
				g.Expect(awssts.Classify(err, behind()).Message).To(ContainSubstring("the endpoint https://sts.example:9000 reported success, but returned no credentials that can be used."))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(issued.PackedPolicySize).To(Equal(tc.want))
		})
	}
}

func TestHopWithoutUsableCredentialsIsNamed(t *testing.T) {
	for name, result := range map[string]string{
		"no credentials":                      "",
		"credentials without a key":           `<Credentials>` + expirationXML + `</Credentials>`,
		"credentials without an expiration":   `<Credentials>` + keyXML + secretXML + tokenXML + `</Credentials>`,
		"a line break in the access key's ID": `<Credentials><AccessKeyId>AS&#10;IA</AccessKeyId>` + secretXML + tokenXML + expirationXML + `</Credentials>`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := hop(configFor(assumed(result).dated(t, now), operatorKey), reads(), nil, &ledger{}).Retrieve(t.Context())
			NewWithT(t).Expect(awssts.Classify(err, behind()).Message).To(Equal("AssumeRole on " + readerARN + ", a hop in the chain of ClusterIdentity default, failed: " +
				"the endpoint https://sts.example:9000 reported success, but returned no credentials that can be used. Check that the server is compatible with STS."))
		})
	}
}

func TestDeniedGetSessionTokenOfAnotherServer(t *testing.T) {
	ofSession := func(s *reason.Subject) { s.Call, s.RoleARN = v1alpha1.CallGetSessionToken, "" }
	g := NewWithT(t)
	err := issue(t, sts(http.StatusForbidden, "AccessDenied", "IAM write operations are disabled on this server"))
	message := awssts.Classify(err, behind(ofSession)).Message
	g.Expect(message).To(ContainSubstring("may not call GetSessionToken (AccessDenied, HTTP 403)."))
	g.Expect(message).NotTo(ContainSubstring("temporary credentials"))
	atAWS := subject
	ofSession(&atAWS)
	g.Expect(awssts.Classify(err, atAWS).Message).To(ContainSubstring("AWS denies this call only to temporary credentials."))
}

func TestFailedSourceIsNamedWithItsCodeAndStatus(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"a role of the pod that is denied": {issue(t, sts(http.StatusForbidden, "AccessDenied", "no")), "its source failed (AccessDenied, HTTP 403)."},
		"no credentials anywhere":          {errors.New("no EC2 IMDS role found"), "its source failed."},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := awssts.Classify(&reason.SourceError{Err: tc.err}, behind())
			g.Expect(f.Reason).To(Equal(v1alpha1.ReasonInvalidSourceCredentials))
			g.Expect(f.Message).To(Equal("ClusterIdentity default has no credentials to call STS with: " + tc.want + " Fix the identity's source; the event or the operator's log has the error."))
		})
	}
}
