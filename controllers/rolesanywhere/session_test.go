package rolesanywhere_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/controllers/rolesanywhere"
)

func TestEncode(t *testing.T) {
	source := rolesanywhere.Source{TrustAnchorARN: "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/a", ProfileARN: "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/b"}
	session := rolesanywhere.Session{RoleARN: "arn:aws:iam::123456789012:role/S3Reader", Name: "shop.s3-reader", Duration: 12 * time.Hour}
	const query = "?profileArn=arn%3Aaws%3Arolesanywhere%3Aeu-west-1%3A123456789012%3Aprofile%2Fb&roleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2FS3Reader" +
		"&trustAnchorArn=arn%3Aaws%3Arolesanywhere%3Aeu-west-1%3A123456789012%3Atrust-anchor%2Fa"
	for name, tc := range map[string]struct {
		endpoint          string
		sendsName         bool
		wantURL, wantBody string
	}{
		"AWS's endpoint":     {endpoint: "https://rolesanywhere.eu-west-1.amazonaws.com", wantURL: "https://rolesanywhere.eu-west-1.amazonaws.com/sessions", wantBody: `{"durationSeconds":43200}`},
		"an endpoint's path": {endpoint: "http://127.0.0.1:8000/aws/", wantURL: "http://127.0.0.1:8000/aws/sessions", wantBody: `{"durationSeconds":43200}`},
		"with the session name": {
			endpoint: "https://vpce.example", sendsName: true, wantURL: "https://vpce.example/sessions", wantBody: `{"durationSeconds":43200,"roleSessionName":"shop.s3-reader"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, err := http.NewRequest(http.MethodGet, "", http.NoBody)
			g.Expect(err).NotTo(HaveOccurred())
			with := source
			with.SendsSessionName = tc.sendsName
			payload, err := with.Encode(r, tc.endpoint, session)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(r.Method).To(Equal(http.MethodPost))
			g.Expect(r.URL.String()).To(Equal(tc.wantURL + query))
			g.Expect(r.URL.RequestURI()).To(HavePrefix("/"), "it is sent without the host")
			g.Expect(r.Header).To(HaveKeyWithValue("Content-Type", []string{"application/json"}))
			g.Expect(string(payload)).To(Equal(tc.wantBody))
		})
	}
}

func TestDecode(t *testing.T) {
	g := NewWithT(t)
	response, err := rolesanywhere.Decode([]byte(`{"credentialSet": [{
		"assumedRoleUser": {"arn": "arn:aws:sts::123456789012:assumed-role/S3Reader/0f", "assumedRoleId": "AROA:0f"},
		"credentials": {"accessKeyId": "ASIA1", "expiration": "2026-11-24T22:30:45Z", "secretAccessKey": "secret", "sessionToken": "token"},
		"packedPolicySize": 10, "roleArn": "arn:aws:iam::123456789012:role/S3Reader", "sourceIdentity": "CN=operator"}],
		"subjectArn": "arn:aws:rolesanywhere:eu-west-1:123456789012:subject/c"}`))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(response.CredentialSet).To(HaveLen(1))
	issued := response.CredentialSet[0]
	g.Expect(issued.AssumedRoleUser.ARN).To(Equal("arn:aws:sts::123456789012:assumed-role/S3Reader/0f"))
	g.Expect(issued.Credentials.AccessKeyID).To(Equal("ASIA1"))
	g.Expect(issued.Credentials.SecretAccessKey).To(Equal("secret"))
	g.Expect(issued.Credentials.SessionToken).To(Equal("token"))
	g.Expect(issued.Credentials.Expiration).To(Equal(time.Date(2026, 11, 24, 22, 30, 45, 0, time.UTC)))
	g.Expect(issued.PackedPolicySize).To(HaveValue(Equal(int32(10))))
	for _, body := range []string{"", "<html>", "[]", `{"credentialSet": {}}`, `{"credentialSet": [{"credentials": {"expiration": "a secret"}}]}`} {
		_, err := rolesanywhere.Decode([]byte(body))
		g.Expect(err).To(MatchError(ContainSubstring("not the JSON document of a session")), body)
	}
}

func TestDecodeError(t *testing.T) {
	for name, tc := range map[string]struct {
		header, body      string
		wantCode, wantMsg string
	}{
		"AWS's answer":                {"AccessDeniedException:http://internal.amazon.com/", `{"message":"Untrusted signing certificate"}`, "AccessDeniedException", "Untrusted signing certificate"},
		"a code in the body":          {"", `{"code":"ValidationException","message":"m"}`, "ValidationException", "m"},
		"a type in the body":          {"", `{"__type":"com.amazonaws#ResourceNotFoundException"}`, "ResourceNotFoundException", ""},
		"a code without a body":       {"ThrottlingException", "", "ThrottlingException", ""},
		"a page of a proxy":           {"", "<html>Bad gateway</html>", "UnknownError", ""},
		"a document without any code": {"", `{"message":"Missing Authentication Token"}`, "UnknownError", "Missing Authentication Token"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			header := http.Header{}
			if tc.header != "" {
				header.Set("x-amzn-ErrorType", tc.header)
			}
			err := rolesanywhere.DecodeError(header, []byte(tc.body))
			var answer smithy.APIError
			g.Expect(err).To(BeAssignableToTypeOf(&smithy.GenericAPIError{}))
			answer, _ = err.(smithy.APIError) //nolint:errorlint // it is not wrapped
			g.Expect(answer.ErrorCode()).To(Equal(tc.wantCode))
			g.Expect(answer.ErrorMessage()).To(Equal(tc.wantMsg))
		})
	}
}
