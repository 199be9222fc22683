package awssts_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/stsemulator"
)

// mishap makes a call of the emulator fail, and returns the error.
type mishap func(t *testing.T, e emulator) error

// refused returns the error of a call.
func refused(change ...func(*request.Request)) mishap {
	return func(t *testing.T, e emulator) error {
		_, err := e.client(operatorKey).Issue(t.Context(), reads(change...), request.CallAuth{})
		return err
	}
}

// as returns the error of a call with other keys than the operator's.
func as(keys aws.Credentials) mishap {
	return func(t *testing.T, e emulator) error {
		_, err := e.client(keys).Issue(t.Context(), reads(), request.CallAuth{})
		return err
	}
}

// during returns the error of a call while the server has a fault.
func during(f stsemulator.Fault) mishap {
	return func(t *testing.T, e emulator) error {
		e.setFault(t, f)
		return refused()(t, e)
	}
}

func roleARN(name string) func(*request.Request) {
	return func(r *request.Request) { r.RoleARN = "arn:aws:iam::123456789012:role/" + name }
}

func manyTags(r *request.Request) {
	for i := range 10 {
		r.Tags = append(r.Tags, request.Tag{Key: fmt.Sprintf("tag-%d", i), Value: strings.Repeat("v", 256)})
	}
}

// expired returns the error of a call with an expired session.
func expired(t *testing.T, e emulator) error {
	issued, err := e.client(operatorKey).Issue(t.Context(), reads(func(r *request.Request) { r.RoleARN = "arn:aws:iam::210987654321:role/Hub" }), request.CallAuth{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	e.clock.Step(time.Hour)
	return as(keysOf(issued))(t, e)
}

// notActivated returns the error of a call in a region that the account has not activated.
func notActivated(t *testing.T, e emulator) error {
	key := e.AccessKeys("arn:aws-cn:iam::111122223333:user/operator")[0]
	c := e.client(aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}, func(config *aws.Config) { config.Region = "cn-northwest-1" })
	_, err := c.Issue(t.Context(), reads(func(r *request.Request) { r.RoleARN = "arn:aws-cn:iam::111122223333:role/S3Reader" }), request.CallAuth{})
	return err
}

// sourceFails returns the error of a call whose source has no keys and fails with an error like one of STS.
func sourceFails(t *testing.T, e emulator) error {
	_, cause := e.client(operatorKey).Issue(t.Context(), reads(roleARN("Nobody")), request.CallAuth{})
	failing := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, &reason.SourceError{Err: cause}
	})
	_, err := e.client(operatorKey, func(config *aws.Config) { config.Credentials = failing }).Issue(t.Context(), reads(), request.CallAuth{})
	return err
}

// tooLate returns the error of a call after its deadline.
func tooLate(t *testing.T, e emulator) error {
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	_, err := e.client(operatorKey).Issue(ctx, reads(), request.CallAuth{})
	return err
}

func down(t *testing.T, e emulator) error {
	NewWithT(t).Expect(e.endpoint.Close()).To(Succeed())
	return refused()(t, e)
}

func answering(a answer) mishap {
	return func(t *testing.T, _ emulator) error { return issue(t, a) }
}

func TestReasonOfAFailure(t *testing.T) {
	wrongKey := operatorKey
	wrongKey.SecretAccessKey = "wrong"
	table := map[string]struct {
		mishap mishap
		reason string
	}{
		"the role trusts no caller":          {refused(roleARN("Nobody")), v1alpha1.ReasonAccessDenied},
		"the role does not exist":            {refused(roleARN("Nowhere")), v1alpha1.ReasonAccessDenied},
		"the external id is missing":         {refused(roleARN("Partner")), v1alpha1.ReasonAccessDenied},
		"the role takes no tags":             {refused(roleARN("Untagged"), func(r *request.Request) { r.Tags = []request.Tag{{Key: "a"}} }), v1alpha1.ReasonAccessDenied},
		"the role takes no source identity":  {refused(roleARN("Untagged"), func(r *request.Request) { r.SourceIdentity = "shop" }), v1alpha1.ReasonAccessDenied},
		"the caller's own policy forbids it": {as(aws.Credentials{AccessKeyID: "AKIAI44QH8DHBEXAMPLE", SecretAccessKey: "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"}), v1alpha1.ReasonAccessDenied},

		"the secret key is wrong":       {as(wrongKey), v1alpha1.ReasonInvalidSourceCredentials},
		"the key does not exist":        {as(aws.Credentials{AccessKeyID: "AKIAUNKNOWNEXAMPLE", SecretAccessKey: "x"}), v1alpha1.ReasonInvalidSourceCredentials},
		"the caller's session is over":  {expired, v1alpha1.ReasonInvalidSourceCredentials},
		"the source has no credentials": {sourceFails, v1alpha1.ReasonInvalidSourceCredentials},

		"the duration is longer than the role's": {refused(func(r *request.Request) { r.Duration = 2 * time.Hour }), v1alpha1.ReasonInvalidRequest},
		"the session name cannot be":             {refused(func(r *request.Request) { r.SessionName = "a b" }), v1alpha1.ReasonInvalidRequest},
		"the ARN is not that of a role":          {refused(func(r *request.Request) { r.RoleARN = "arn:aws:s3:::a-bucket-of-some-length" }), v1alpha1.ReasonInvalidRequest},

		"the tags are too many":   {refused(manyTags), v1alpha1.ReasonPolicyTooLarge},
		"the policy is no policy": {refused(func(r *request.Request) { r.Policy = `{}` }), v1alpha1.ReasonMalformedPolicy},
		"the policy is no JSON":   {refused(func(r *request.Request) { r.Policy = `{` }), v1alpha1.ReasonMalformedPolicy},

		"STS is not activated in the region": {notActivated, v1alpha1.ReasonRegionDisabled},

		"the answer's credentials have expired":      {answering(assumed(`<Credentials>` + keyXML + secretXML + tokenXML + `<Expiration>2026-01-02T03:04:04Z</Expiration></Credentials>`)), v1alpha1.ReasonSTSError},
		"the answer's credentials expire just now":   {answering(assumed(`<Credentials>` + keyXML + secretXML + tokenXML + `<Expiration>2026-01-02T03:04:05Z</Expiration></Credentials>`)), v1alpha1.ReasonSTSError},
		"the request has expired on its way":         {answering(sts(http.StatusBadRequest, "RequestExpired", "no")), v1alpha1.ReasonClockSkew},
		"the request is of a time that is to come":   {answering(sts(http.StatusBadRequest, "RequestInTheFuture", "no")), v1alpha1.ReasonClockSkew},
		"the request's time is too far from the STS": {answering(sts(http.StatusForbidden, "RequestTimeTooSkewed", "no")), v1alpha1.ReasonClockSkew},

		"STS throttles":                        {during(stsemulator.Fault{Kind: stsemulator.FaultError, Code: "Throttling"}), v1alpha1.ReasonThrottled},
		"STS throttles with another code":      {during(stsemulator.Fault{Kind: stsemulator.FaultError, Code: "ThrottlingException"}), v1alpha1.ReasonThrottled},
		"STS has had enough requests":          {during(stsemulator.Fault{Kind: stsemulator.FaultError, Code: "RequestLimitExceeded", Status: 503}), v1alpha1.ReasonThrottled},
		"a server slows down":                  {during(stsemulator.Fault{Kind: stsemulator.FaultError, Code: "SlowDown", Status: 503}), v1alpha1.ReasonThrottled},
		"a server says so by its status alone": {answering(s3(http.StatusTooManyRequests, "X")), v1alpha1.ReasonThrottled},

		"STS does not answer at all":  {during(stsemulator.Fault{Kind: stsemulator.FaultOutage}), v1alpha1.ReasonSTSUnreachable},
		"STS resets the connection":   {during(stsemulator.Fault{Kind: stsemulator.FaultReset}), v1alpha1.ReasonSTSUnreachable},
		"nothing listens there":       {down, v1alpha1.ReasonSTSUnreachable},
		"STS does not answer in time": {tooLate, v1alpha1.ReasonSTSUnreachable},

		"STS has an internal failure":           {during(stsemulator.Fault{Kind: stsemulator.FaultError, Code: "InternalFailure"}), v1alpha1.ReasonSTSError},
		"STS is not available":                  {during(stsemulator.Fault{Kind: stsemulator.FaultError, Code: "ServiceUnavailable"}), v1alpha1.ReasonSTSError},
		"STS answers with a code of its own":    {during(stsemulator.Fault{Kind: stsemulator.FaultError, Code: "Teapot", Status: 418}), v1alpha1.ReasonSTSError},
		"a good answer is garbage":              {during(stsemulator.Fault{Kind: stsemulator.FaultGarbage}), v1alpha1.ReasonSTSError},
		"a bad answer is garbage":               {during(stsemulator.Fault{Kind: stsemulator.FaultGarbage, Status: 500}), v1alpha1.ReasonSTSError},
		"a refusal is garbage":                  {answering(answer{http.StatusForbidden, "<html><hr></html>"}), v1alpha1.ReasonSTSError},
		"a good answer is a page":               {answering(answer{http.StatusOK, "<html><body>Welcome</body></html>"}), v1alpha1.ReasonSTSError},
		"a good answer is JSON":                 {answering(answer{http.StatusOK, `{"Credentials":{}}`}), v1alpha1.ReasonSTSError},
		"a good answer is empty":                {answering(answer{http.StatusOK, ""}), v1alpha1.ReasonSTSError},
		"a good answer holds no result":         {answering(answer{http.StatusOK, "<AssumeRoleResponse></AssumeRoleResponse>"}), v1alpha1.ReasonSTSError},
		"a good answer holds no credentials":    {answering(assumed("")), v1alpha1.ReasonSTSError},
		"a good answer holds empty credentials": {answering(assumed("<Credentials></Credentials>")), v1alpha1.ReasonSTSError},
		"a good answer holds no key":            {answering(assumed(`<Credentials>` + secretXML + tokenXML + expirationXML + `</Credentials>`)), v1alpha1.ReasonSTSError},
		"a good answer holds no secret":         {answering(assumed(`<Credentials>` + keyXML + tokenXML + expirationXML + `</Credentials>`)), v1alpha1.ReasonSTSError},
		"a good answer holds no expiration":     {answering(assumed(`<Credentials>` + keyXML + secretXML + tokenXML + `</Credentials>`)), v1alpha1.ReasonSTSError},
		"a good answer's expiration is garbage": {answering(assumed(`<Credentials>` + keyXML + secretXML + tokenXML + `<Expiration>soon</Expiration></Credentials>`)), v1alpha1.ReasonSTSError},
		"a redirect that leads nowhere":         {answering(answer{http.StatusFound, ""}), v1alpha1.ReasonSTSError},

		"a server refuses as S3 does":               {answering(s3(http.StatusForbidden, "SignatureDoesNotMatch")), v1alpha1.ReasonInvalidSourceCredentials},
		"a server finds the request bad as S3 does": {answering(s3(http.StatusBadRequest, "InvalidRequest")), v1alpha1.ReasonInvalidRequest},
		"a server does not know the caller as S3":   {answering(s3(http.StatusUnauthorized, "X")), v1alpha1.ReasonInvalidSourceCredentials},
		"a server has an internal error as S3":      {answering(s3(http.StatusInternalServerError, "InternalError")), v1alpha1.ReasonSTSError},
	}
	produced := map[string]bool{}
	for name, tc := range table {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := tc.mishap(t, serve(t, stsemulator.Options{}))
			g.Expect(err).To(HaveOccurred())
			f := awssts.Classify(err, subject)
			g.Expect(f.Reason).To(Equal(tc.reason), "%v", err)
			g.Expect(f.Condition).To(Equal(v1alpha1.ConditionIssued))
			g.Expect(f.Retry).To(Equal(reason.Backoff))
			g.Expect(f.Cause).To(MatchError(err), "the error as it came is there for the log")
			g.Expect(f.Message).NotTo(ContainSubstring("UnknownError"))
		})
		produced[tc.reason] = true
	}
	t.Run("and every reason has a failure", func(t *testing.T) {
		g := NewWithT(t)
		for _, reason := range testkit.ReasonsOfSTS(t, "../..") {
			g.Expect(produced).To(HaveKey(reason))
		}
	})
}

// These are the API reference's 'Common Errors', and those of the calls, with the status that it gives each.
func TestReasonOfACode(t *testing.T) {
	for code, tc := range map[string]struct {
		status int
		reason string
	}{
		"AccessDenied":                   {403, v1alpha1.ReasonAccessDenied},
		"AccessDeniedException":          {400, v1alpha1.ReasonAccessDenied},
		"NotAuthorized":                  {400, v1alpha1.ReasonAccessDenied},
		"OptInRequired":                  {403, v1alpha1.ReasonAccessDenied},
		"ExpiredToken":                   {403, v1alpha1.ReasonInvalidSourceCredentials},
		"ExpiredTokenException":          {400, v1alpha1.ReasonInvalidSourceCredentials},
		"IncompleteSignature":            {400, v1alpha1.ReasonInvalidSourceCredentials},
		"InvalidAccessKeyId":             {403, v1alpha1.ReasonInvalidSourceCredentials},
		"InvalidClientTokenId":           {403, v1alpha1.ReasonInvalidSourceCredentials},
		"MissingAuthenticationToken":     {403, v1alpha1.ReasonInvalidSourceCredentials},
		"SignatureDoesNotMatch":          {403, v1alpha1.ReasonInvalidSourceCredentials},
		"UnrecognizedClientException":    {400, v1alpha1.ReasonInvalidSourceCredentials},
		"InvalidParameterValue":          {400, v1alpha1.ReasonInvalidRequest},
		"MalformedHttpRequestException":  {400, v1alpha1.ReasonInvalidRequest},
		"MalformedInput":                 {400, v1alpha1.ReasonInvalidRequest},
		"UnknownOperationException":      {404, v1alpha1.ReasonInvalidRequest},
		"RequestEntityTooLargeException": {413, v1alpha1.ReasonSTSError},
		"RequestTimeoutException":        {408, v1alpha1.ReasonSTSError},
		"ValidationError":                {400, v1alpha1.ReasonInvalidRequest},
		"MalformedPolicyDocument":        {400, v1alpha1.ReasonMalformedPolicy},
		"PackedPolicyTooLarge":           {400, v1alpha1.ReasonPolicyTooLarge},
		"RegionDisabledException":        {403, v1alpha1.ReasonRegionDisabled},
		"RequestExpired":                 {400, v1alpha1.ReasonClockSkew},
		"Throttling":                     {400, v1alpha1.ReasonThrottled},
		"ThrottlingException":            {400, v1alpha1.ReasonThrottled},
		"ThrottledException":             {400, v1alpha1.ReasonThrottled},
		"TooManyRequestsException":       {429, v1alpha1.ReasonThrottled},
		"InternalFailure":                {500, v1alpha1.ReasonSTSError},
		"ServiceUnavailable":             {503, v1alpha1.ReasonSTSError},
	} {
		t.Run(code, func(t *testing.T) {
			NewWithT(t).Expect(awssts.Classify(issue(t, sts(tc.status, code, "no")), subject).Reason).To(Equal(tc.reason))
		})
	}
}

// Each is a text of an error that is another each time, as AWS and others were seen to write it.
func TestSameFailureHasTheSameMessage(t *testing.T) {
	// numbered fills a number into a text in each place.
	numbered := func(status int, code, text string) func(*testing.T, int) error {
		return func(t *testing.T, n int) error {
			return issue(t, sts(status, code, strings.ReplaceAll(text, "#", fmt.Sprintf("%02d", n))))
		}
	}
	for name, fail := range map[string]func(t *testing.T, n int) error{
		"a request id": func(t *testing.T, _ int) error { return refused(roleARN("Nobody"))(t, serve(t, stsemulator.Options{})) },
		"the times in 'Signature expired'": numbered(403, "SignatureDoesNotMatch",
			"Signature expired: 20170416T1942#Z is now earlier than 20170417T1239#Z (20170417T1254#Z - 15 min.)"),
		"the seconds in 'Token expired'": numbered(400, "ExpiredTokenException",
			"Token expired: current date/time 16244837# must be before the expiration date/time16242929#"),
		"the microseconds of a token's end": numbered(400, "ExpiredTokenException",
			"Token expired: current date/time 2024-02-10T08:38:55.2840#Z must be before the expiration date/time 2024-02-10T08:00:00Z [7c1a2b3c-0000-4000-8000-0000000000#]"),
		"the caller's session name": numbered(403, "AccessDenied",
			"User: arn:aws:sts::123456789012:assumed-role/x/aws-go-sdk-17000000000000000# is not authorized to perform: sts:AssumeRole on resource: "+readerARN),
		"an encoded authorization message": numbered(403, "AccessDenied", "Encoded authorization failure message: ZW5jb2RlZA#"),
		"an object of the server's memory": func(t *testing.T, _ int) error {
			return refused(func(r *request.Request) { r.Policy = "{x" })(t, serve(t, stsemulator.Options{}))
		},
		"a horizon of the next try": numbered(400, "Throttling", "Rate exceeded, retry after # ms"),
		"an ephemeral port": func(t *testing.T, _ int) error {
			return during(stsemulator.Fault{Kind: stsemulator.FaultReset})(t, serve(t, stsemulator.Options{}))
		},
		"the port of who is not there": func(t *testing.T, _ int) error { return down(t, serve(t, stsemulator.Options{})) },
		"ids of a body as S3's": func(t *testing.T, n int) error {
			body := s3(http.StatusForbidden, "AccessDenied")
			return issue(t, answer{body.status, strings.NewReplacer("1879F6B2C7B6B2C7", fmt.Sprintf("1879F6B2C7B6B2%02d", n), "<Message>no", fmt.Sprintf("<Message>request %d", n)).Replace(body.body)})
		},
		"the place where a page breaks off": func(t *testing.T, n int) error {
			return issue(t, answer{http.StatusBadGateway, strings.Repeat("\n", n) + "<html><hr></html>"})
		},
		"a code that is no code": func(t *testing.T, n int) error {
			return issue(t, sts(500, fmt.Sprintf("failed at 12:00:%02d", n), "no"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			first, again := awssts.Classify(fail(t, 1), subject), awssts.Classify(fail(t, 2), subject)
			g.Expect(again.Cause.Error()).NotTo(Equal(first.Cause.Error()), "the test would not see a leak")
			first.Cause, again.Cause = nil, nil
			g.Expect(again).To(Equal(first))
			g.Expect(first.Message).NotTo(MatchRegexp(`\d{2}:\d{2}|\d{8}T|[0-9a-f]{8}-[0-9a-f]{4}|:\d{4,5}\b|@[0-9a-f]+|ZW5j|aws-go-sdk`))
		})
	}
}

// When a hop fails, the caller of the credential's own call does not exist.
func TestFailureOfAHopNamesNoCaller(t *testing.T) {
	g, withCaller := NewWithT(t), subject
	withCaller.Caller = "arn:aws:sts::210987654321:assumed-role/Hub/operator"
	throttled := issue(t, sts(400, "Throttling", "no"))
	g.Expect(awssts.Classify(throttled, withCaller).Message).To(ContainSubstring(withCaller.Caller))
	failed := awssts.Classify(&reason.HopError{RoleARN: hubARN, Err: throttled}, withCaller)
	g.Expect(failed.Message).NotTo(ContainSubstring(withCaller.Caller))
	g.Expect(failed.Call).To(Equal(&v1alpha1.FailedCall{Call: "AssumeRole", RoleARN: hubARN}))
}

func TestMessageNamesCodeAndHTTPStatus(t *testing.T) {
	for name, tc := range map[string]struct {
		answer answer
		want   string
	}{
		"an error of STS":                      {sts(500, "InternalFailure", "no"), "returned an error (InternalFailure, HTTP 500)."},
		"an error in the style of S3":          {s3(500, "InternalError"), "returned an error (InternalError, HTTP 500)."},
		"a denial":                             {sts(403, "AccessDenied", "no"), "on " + readerARN + " (AccessDenied, HTTP 403)."},
		"a wrong signature":                    {sts(403, "SignatureDoesNotMatch", "no"), "of ClusterIdentity default (SignatureDoesNotMatch, HTTP 403):"},
		"a wrong signature in the style of S3": {s3(403, "SignatureDoesNotMatch"), "of ClusterIdentity default (SignatureDoesNotMatch, HTTP 403):"},
		"an invalid value":                     {sts(400, "ValidationError", "no"), "for " + readerARN + " (ValidationError, HTTP 400)."},
		"a malformed policy":                   {sts(400, "MalformedPolicyDocument", "no"), "(MalformedPolicyDocument, HTTP 400)."},
		"a policy that is too large":           {sts(400, "PackedPolicyTooLarge", "no"), "(PackedPolicyTooLarge, HTTP 400)."},
		"a disabled region":                    {sts(403, "RegionDisabledException", "no"), "(RegionDisabledException, HTTP 403)."},
		"a signature of another time":          {sts(403, "RequestTimeTooSkewed", "no"), "(RequestTimeTooSkewed, HTTP 403)"},
		"throttling":                           {sts(400, "Throttling", "no"), "(Throttling, HTTP 400)."},
		"throttling by the status alone":       {answer{429, ""}, "(HTTP 429)."},
		"a text in place of a code":            {sts(500, "It failed, sorry", "no"), "returned an error (HTTP 500)."},
		"a code of two lines":                  {sts(500, "Internal\nFailure", "no"), "returned an error (HTTP 500)."},
		"a code that is too long":              {sts(500, strings.Repeat("x", 65), "no"), "returned an error (HTTP 500)."},
		"a body that cannot be read":           {answer{500, "<"}, "returned HTTP 500 without"},
		"a redirect in the style of S3":        {s3(301, "PermanentRedirect"), "the server reached as STS redirects (HTTP 301),"},
		"no body":                              {answer{500, ""}, "returned HTTP 500 without"},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(awssts.Classify(issue(t, tc.answer), subject).Message).To(ContainSubstring(tc.want))
		})
	}
}

// AWS answers a wrong signature with all that it would have signed, the session token among it.
func TestCauseContainsNoSessionToken(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	issued, err := e.client(operatorKey).Issue(t.Context(), reads(func(r *request.Request) { r.RoleARN = "arn:aws:iam::210987654321:role/Hub" }), request.CallAuth{})
	g.Expect(err).NotTo(HaveOccurred())
	keys := keysOf(issued)
	keys.SecretAccessKey = "wrong"
	_, err = e.client(keys).Issue(t.Context(), reads(), request.CallAuth{})
	g.Expect(err).To(MatchError(ContainSubstring(keys.SessionToken)), "the test would not see a leak")
	f := awssts.Classify(err, subject)
	for _, printed := range []string{f.Cause.Error(), fmt.Sprint(f.Cause), fmt.Sprintf("%+v", f.Cause), fmt.Sprintf("%s", f.Cause), f.Message} {
		g.Expect(printed).NotTo(ContainSubstring(keys.SessionToken))
		g.Expect(printed).NotTo(ContainSubstring("x-amz-security-token"))
	}
	g.Expect(f.Cause.Error()).To(ContainSubstring("SignatureDoesNotMatch: The request signature we calculated does not match"))
}

func TestCauseIsOneLine(t *testing.T) {
	for name, text := range map[string]string{"a line": "one\ntwo", "an empty line": "one\n\ntwo", "a line of Windows": "one\r\ntwo", "a line as a reference": "one&#10;two"} {
		t.Run("the text goes on after "+name, func(t *testing.T) {
			cause := awssts.Classify(issue(t, sts(403, "SignatureDoesNotMatch", text)), subject).Cause.Error()
			NewWithT(t).Expect(cause).To(HaveSuffix("api error SignatureDoesNotMatch: one"))
		})
	}
}

func TestCauseIsShort(t *testing.T) {
	// An answer of more than 4 KiB, all at once, the SDK may cut off itself.
	for name, text := range map[string]string{
		"of letters":                        strings.Repeat("a", 2000),
		"of characters of more than a byte": strings.Repeat("é", 1000),
		"of such, shifted by one":           "a" + strings.Repeat("é", 1000),
	} {
		t.Run("a text "+name, func(t *testing.T) {
			g := NewWithT(t)
			cause := awssts.Classify(issue(t, sts(500, "InternalFailure", text)), subject).Cause.Error()
			g.Expect(len(cause)).To(BeNumerically("<=", 515))
			g.Expect(cause).To(HaveSuffix("…"))
			g.Expect(utf8.ValidString(cause)).To(BeTrue())
		})
	}
}

func TestCauseUnwrapsToTheError(t *testing.T) {
	g := NewWithT(t)
	f := awssts.Classify(fmt.Errorf("issuing: %w", context.DeadlineExceeded), subject)
	g.Expect(errors.Is(f.Cause, context.DeadlineExceeded)).To(BeTrue())
}
