package aws_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/aws"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	region = "eu-west-1"
	role   = "arn:aws:iam::123456789012:role/S3Reader"
)

// serve serves the emulator over TLS and returns the session credentials of a role.
func serve(t *testing.T) (*stsemulator.Server, aws.Endpoint, request.Credentials) {
	t.Helper()
	g := NewWithT(t)
	config, err := stsemulator.DefaultConfig()
	g.Expect(err).NotTo(HaveOccurred())
	server, err := stsemulator.New(config, stsemulator.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	plain, err := server.Start("")
	g.Expect(err).NotTo(HaveOccurred())
	endpoint, err := server.StartTLS("")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _, _ = plain.Close(), endpoint.Close() })
	key := server.AccessKeys("arn:aws:iam::210987654321:user/operator")[0]
	issued, err := sts.New(sts.Options{Region: region, BaseEndpoint: &plain.URL, Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, "")}).
		AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: sdkaws.String(role), RoleSessionName: sdkaws.String("shop.s3-reader")})
	g.Expect(err).NotTo(HaveOccurred())
	keys := issued.Credentials
	return server, aws.Endpoint{Region: region, URL: endpoint.URL, CABundle: string(endpoint.CABundle)},
		request.Credentials{AccessKeyID: *keys.AccessKeyId, SecretAccessKey: request.RedactedString(*keys.SecretAccessKey), SessionToken: request.RedactedString(*keys.SessionToken)}
}

func TestWhoAmIReturnsCaller(t *testing.T) {
	g := NewWithT(t)
	_, at, keys := serve(t)
	caller, err := aws.WhoAmI(t.Context(), keys, at)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(caller.ARN).To(Equal("arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader"))
	g.Expect(caller.Account).To(Equal("123456789012"))
	g.Expect(caller.UserID).To(HaveSuffix(":shop.s3-reader"))
}

// The response to a wrong signature quotes the signed request, which contains the session token.
func TestWhoAmIErrorsContainNoSecrets(t *testing.T) {
	_, at, good := serve(t)
	wrong := good
	wrong.SecretAccessKey = "a-wrong-secret-access-key"
	for name, tc := range map[string]struct {
		keys     request.Credentials
		at       aws.Endpoint
		rejected bool
		want     string
	}{
		"a wrong key":                      {keys: wrong, at: at, rejected: true, want: "SignatureDoesNotMatch"},
		"an unknown key":                   {keys: request.Credentials{AccessKeyID: "ASIAUNKNOWN", SecretAccessKey: "unknown-secret-key"}, at: at, rejected: true, want: "InvalidClientTokenId"},
		"an unknown CA":                    {keys: good, at: aws.Endpoint{Region: region, URL: at.URL}, want: "no response from"},
		"a CA bundle without certificates": {keys: good, at: aws.Endpoint{Region: region, URL: at.URL, CABundle: "none"}, want: "caBundle"},
		"no server":                        {keys: good, at: aws.Endpoint{Region: region, URL: "http://127.0.0.1:1"}, want: "no response from"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := aws.WhoAmI(t.Context(), tc.keys, tc.at)
			g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
			if tc.rejected {
				g.Expect(err).To(MatchError(aws.ErrRejected))
			} else {
				g.Expect(err).NotTo(MatchError(aws.ErrRejected))
			}
			for _, secret := range []request.RedactedString{tc.keys.SecretAccessKey, tc.keys.SessionToken} {
				if secret != "" {
					g.Expect(err.Error()).NotTo(ContainSubstring(string(secret)))
				}
			}
		})
	}
}

var session = request.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "CANARY+secret/key", SessionToken: "CANARY token&more"}

func TestSigninURLContainsTokenOfEndpoint(t *testing.T) {
	g := NewWithT(t)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.Expect(r.URL.RawQuery).To(BeEmpty(), "servers log URLs")
		g.Expect(r.Method).To(Equal(http.MethodPost))
		g.Expect(r.PostFormValue("Action")).To(Equal("getSigninToken"))
		g.Expect(r.PostForm).NotTo(HaveKey("SessionDuration"), "AWS rejects it for chained and federated sessions")
		var sent map[string]string
		g.Expect(json.Unmarshal([]byte(r.PostFormValue("Session")), &sent)).To(Succeed())
		g.Expect(sent).To(Equal(map[string]string{"sessionId": session.AccessKeyID, "sessionKey": string(session.SecretAccessKey), "sessionToken": string(session.SessionToken)}))
		_, _ = io.WriteString(w, `{"SigninToken":"a+token/of&its own"}`)
	}))
	defer endpoint.Close()
	text, err := aws.SigninURL(t.Context(), session, endpoint.URL+"/federation", "https://console.aws.amazon.com/s3?region=eu-west-1", "https://example.com")
	g.Expect(err).NotTo(HaveOccurred())
	signin, err := url.Parse(text)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(signin.Query()).To(Equal(url.Values{
		"Action": {"login"}, "Issuer": {"https://example.com"}, "Destination": {"https://console.aws.amazon.com/s3?region=eu-west-1"}, "SigninToken": {"a+token/of&its own"},
	}))
	g.Expect(text).NotTo(ContainSubstring("CANARY"))
}

func TestSigninURLErrorsContainNoSecrets(t *testing.T) {
	answering := func(status int, body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if status == http.StatusFound {
				w.Header().Set("Location", "/elsewhere?"+body)
			}
			w.WriteHeader(status)
			_ = r.ParseForm()
			_, _ = io.WriteString(w, body+r.PostForm.Encode())
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	for name, tc := range map[string]struct {
		endpoint, want string
		rejected       bool
	}{
		"an error":                    {answering(http.StatusBadRequest, "no: "), "400", true},
		"a redirect":                  {answering(http.StatusFound, ""), "302", true},
		"a response that is not JSON": {answering(http.StatusOK, "<html>"), "no sign-in token", false},
		"a response without a token":  {answering(http.StatusOK, `{} `), "no sign-in token", false},
		"no server":                   {"http://127.0.0.1:1/federation", "no response from", false},
		"an invalid URL":              {"http://[", "not a URL", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := aws.SigninURL(t.Context(), session, tc.endpoint, "", "")
			g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
			g.Expect(err.Error()).NotTo(ContainSubstring("CANARY"))
			if tc.rejected {
				g.Expect(err).To(MatchError(aws.ErrRejected))
			}
		})
	}
}

func TestSigninURLStopsWhenCancelled(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := aws.SigninURL(ctx, session, "http://127.0.0.1:1", "", "")
	g.Expect(err).To(HaveOccurred())
	g.Expect(strings.Contains(err.Error(), "CANARY")).To(BeFalse())
}
