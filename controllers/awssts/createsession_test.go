package awssts_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/rolesanywhere"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	trustAnchor   = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/01234567-89ab-cdef-0123-456789abcdef"
	anyProfile    = "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/01234567-89ab-cdef-0123-456789abcdef"
	onPremisesARN = "arn:aws:iam::123456789012:role/OnPremises"
)

// anywhere is an emulator by real time that trusts an authority, and a source with a certificate of it.
type anywhere struct {
	*stsemulator.Server
	source *rolesanywhere.Source
}

func serveAnywhere(t *testing.T) anywhere {
	t.Helper()
	g, now := NewWithT(t), clock.RealClock{}.Now()
	world, err := stsemulator.DefaultConfig()
	g.Expect(err).NotTo(HaveOccurred())
	server, err := stsemulator.New(world, stsemulator.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	endpoint, err := server.Start("")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(endpoint.Close()).To(Succeed()) })

	root := testkit.NewAuthority(g, nil, now)
	inner := testkit.NewAuthority(g, root, now)
	g.Expect(server.PutTrustAnchor(stsemulator.TrustAnchor{ARN: trustAnchor, Certificates: string(testkit.CertificatePEM(root.Certificate))})).To(Succeed())
	g.Expect(server.PutProfile(stsemulator.Profile{ARN: anyProfile, RoleARNs: []string{onPremisesARN}, DurationSeconds: 43200})).To(Succeed())
	g.Expect(server.PutRole("123456789012", stsemulator.Role{Name: "OnPremises", MaxSessionDuration: 43200, Trust: []stsemulator.Trust{{
		Service: "rolesanywhere.amazonaws.com", StringEquals: map[string][]string{"aws:PrincipalTag/x509Subject/CN": {"operator"}, "aws:SourceArn": {trustAnchor}},
	}}})).To(Succeed())
	key := testkit.NewKey(g)
	certificate, err := rolesanywhere.Parse(append(inner.Issue(key, now), testkit.CertificatePEM(inner.Certificate)...), testkit.KeyPEM(g, key))
	g.Expect(err).NotTo(HaveOccurred())
	return anywhere{server, &rolesanywhere.Source{
		Certificate: certificate, TrustAnchorARN: trustAnchor, ProfileARN: anyProfile, Region: "eu-west-1", Endpoint: endpoint.URL,
	}}
}

// sessionRequest is a request for 12h, which role chaining would not allow.
func sessionRequest() request.Request {
	return request.Request{Call: v1alpha1.CallCreateSession, RoleARN: onPremisesARN, SessionName: "shop.s3-reader", Duration: 12 * time.Hour}
}

// sessionClient calls CreateSession once, without retries, and STS at an endpoint that nothing answers.
func sessionClient(recorder awssts.Recorder) *awssts.Client {
	return awssts.New(configFor("http://127.0.0.1:1", aws.Credentials{}), clock.RealClock{}, recorder)
}

func TestCreateSessionIssuesFor12HoursToACertificate(t *testing.T) {
	for name, sendsName := range map[string]bool{"without a session name": false, "with a session name": true} {
		t.Run(name, func(t *testing.T) {
			g, e, account := NewWithT(t), serveAnywhere(t), &ledger{}
			e.source.SendsSessionName = sendsName
			g.Expect(e.PutProfile(stsemulator.Profile{ARN: anyProfile, RoleARNs: []string{onPremisesARN}, DurationSeconds: 43200, AcceptRoleSessionName: sendsName})).To(Succeed())
			issued, err := sessionClient(account).Issue(t.Context(), nil, sessionRequest(), request.CallAuth{RolesAnywhere: e.source})
			g.Expect(err).NotTo(HaveOccurred())
			session, ok := e.SessionOf(issued.AccessKeyID, string(issued.SecretAccessKey), string(issued.SessionToken))
			g.Expect(ok).To(BeTrue())
			g.Expect(session).To(And(HaveField("Action", "CreateSession"), HaveField("RoleARN", onPremisesARN), HaveField("ARN", issued.PrincipalARN)))
			g.Expect(issued.Expiration.Sub(issued.IssuedAt)).To(BeNumerically("~", 12*time.Hour, 5*time.Second))
			g.Expect(issued.PackedPolicySize).NotTo(BeNil())
			g.Expect(issued.RequestID).NotTo(BeEmpty())
			g.Expect(strings.HasSuffix(issued.PrincipalARN, "/shop.s3-reader")).To(Equal(sendsName))
			call := e.Calls()[0].Parameters
			g.Expect([]string{call.Get("trustAnchorArn"), call.Get("profileArn"), call.Get("roleArn"), call.Get("durationSeconds")}).To(Equal(
				[]string{trustAnchor, anyProfile, onPremisesARN, "43200"}))
			g.Expect(account.requests).To(HaveKeyWithValue("CreateSession", 1))
		})
	}
}

func TestHopByCreateSessionIsShorter(t *testing.T) {
	g, e, account := NewWithT(t), serveAnywhere(t), &ledger{}
	r := sessionRequest()
	auth := func(context.Context) (request.CallAuth, error) { return request.CallAuth{RolesAnywhere: e.source}, nil }
	keys := sessionClient(account).Hop(aws.AnonymousCredentials{}, r, auth)
	_, err := keys.Retrieve(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.Calls()).To(HaveLen(1))
	g.Expect(e.Calls()[0].Parameters.Get("durationSeconds")).To(Equal("3600"), "role chaining follows")
	g.Expect(account.hops).To(Equal([]string{"CreateSession Issued"}))
	g.Expect(account.spent).To(Equal(1))

	g.Expect(e.SetTrust(onPremisesARN)).To(Succeed())
	_, err = sessionClient(account).Hop(aws.AnonymousCredentials{}, r, auth).Retrieve(t.Context())
	f := awssts.Classify(err, reason.Subject{Identity: "ClusterIdentity default", Call: v1alpha1.CallAssumeRole, RoleARN: readerARN})
	g.Expect(f.Reason).To(Equal(v1alpha1.ReasonAccessDenied))
	g.Expect(f.Message).To(HavePrefix("IAM Roles Anywhere denied CreateSession on " + onPremisesARN + " for the chain of ClusterIdentity default (AccessDeniedException, HTTP 403)."))
	g.Expect(f.Call).To(Equal(&v1alpha1.FailedCall{Call: "CreateSession", RoleARN: onPremisesARN}))
	g.Expect(account.hops).To(ContainElement("CreateSession AccessDenied"))
}

func TestRefusalsOfCreateSession(t *testing.T) {
	for name, tc := range map[string]struct {
		change                  func(g Gomega, e anywhere)
		wantReason, wantMessage string
	}{
		"an unknown trust anchor": {
			func(_ Gomega, e anywhere) { e.source.TrustAnchorARN = strings.Replace(trustAnchor, "cdef", "0000", 1) },
			v1alpha1.ReasonInvalidSourceCredentials, "IAM Roles Anywhere does not know the trust anchor or the profile of ClusterIdentity default (ResourceNotFoundException, HTTP 404)",
		},
		"an unknown profile": {
			func(_ Gomega, e anywhere) { e.source.ProfileARN = strings.Replace(anyProfile, "cdef", "0000", 1) },
			v1alpha1.ReasonInvalidSourceCredentials, "IAM Roles Anywhere does not know the trust anchor or the profile",
		},
		"a role that the profile does not list": {
			func(g Gomega, e anywhere) {
				g.Expect(e.PutProfile(stsemulator.Profile{ARN: anyProfile, RoleARNs: []string{readerARN}})).To(Succeed())
			},
			v1alpha1.ReasonAccessDenied, "Check that the profile lists the role",
		},
		"a role that does not trust the certificate": {
			func(g Gomega, e anywhere) { g.Expect(e.SetTrust(onPremisesARN)).To(Succeed()) },
			v1alpha1.ReasonAccessDenied, "that the role's trust policy allows rolesanywhere.amazonaws.com",
		},
		"another authority": {
			func(g Gomega, e anywhere) {
				other := testkit.NewAuthority(g, nil, clock.RealClock{}.Now())
				g.Expect(e.PutTrustAnchor(stsemulator.TrustAnchor{ARN: trustAnchor, Certificates: string(testkit.CertificatePEM(other.Certificate))})).To(Succeed())
			},
			v1alpha1.ReasonAccessDenied, "that the trust anchor is enabled and its authority issued the certificate",
		},
		"a session name that the profile does not accept": {
			func(_ Gomega, e anywhere) { e.source.SendsSessionName = true },
			v1alpha1.ReasonAccessDenied, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, e := NewWithT(t), serveAnywhere(t)
			tc.change(g, e)
			_, err := sessionClient(&ledger{}).Issue(t.Context(), nil, sessionRequest(), request.CallAuth{RolesAnywhere: e.source})
			g.Expect(err).To(HaveOccurred())
			f := awssts.Classify(err, reason.Subject{Identity: "ClusterIdentity default", Call: v1alpha1.CallCreateSession, RoleARN: onPremisesARN, SendsName: e.source.SendsSessionName})
			g.Expect(f.Reason).To(Equal(tc.wantReason))
			g.Expect(f.Message).To(ContainSubstring(tc.wantMessage))
			g.Expect(strings.Contains(f.Message, "has acceptRoleSessionName")).To(Equal(e.source.SendsSessionName))
			g.Expect(awssts.RequestID(err)).NotTo(BeEmpty())
		})
	}
}

// sessionAnswer answers CreateSession with credentials for an hour from the Date.
func sessionAnswer(w http.ResponseWriter, date time.Time) {
	w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, `{"credentialSet":[{"credentials":{"accessKeyId":"ASIA1","secretAccessKey":"s","sessionToken":"t","expiration":"`+
		date.Add(time.Hour).UTC().Format(time.RFC3339)+`"}}]}`)
}

// callSession calls CreateSession at a server that a handler answers for, with the SDK's retries.
func callSession(t *testing.T, timeout time.Duration, handler http.HandlerFunc) (request.Credentials, *ledger, error) {
	t.Helper()
	e, account := serveAnywhere(t), &ledger{}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	e.source.Endpoint = server.URL
	with := configFor("http://127.0.0.1:1", aws.Credentials{})
	with.RetryMaxAttempts = 3
	with.Retryer = nil
	client := awssts.New(with, clock.RealClock{}, account)
	client.Timeout = timeout
	r := sessionRequest()
	r.Duration = time.Hour
	issued, err := client.Issue(t.Context(), nil, r, request.CallAuth{RolesAnywhere: e.source})
	return issued, account, err
}

// The signature of a retry follows the clock of the server.
func TestCreateSessionFollowsTheClockOfTheServer(t *testing.T) {
	g, served := NewWithT(t), clock.RealClock{}.Now().Add(time.Hour)
	var dates []string
	_, account, err := callSession(t, 0, func(w http.ResponseWriter, r *http.Request) {
		dates = append(dates, r.Header.Get("X-Amz-Date"))
		signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil || signed.Sub(served).Abs() > 5*time.Minute {
			w.Header().Set("Date", served.UTC().Format(http.TimeFormat))
			w.Header().Set("X-Amzn-ErrorType", "AccessDeniedException")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"message":"Signature expired"}`)
			return
		}
		sessionAnswer(w, served)
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dates).To(HaveLen(2))
	g.Expect(account.spent).To(Equal(1), "the retry")
}

func TestAnswersOfCreateSession(t *testing.T) {
	for name, tc := range map[string]struct {
		handler      http.HandlerFunc
		wantReason   string
		wantRequests int
		wantMessage  string
	}{
		"throttling is not retried": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Amzn-ErrorType", "ThrottlingException")
				w.WriteHeader(http.StatusTooManyRequests)
			}, v1alpha1.ReasonThrottled, 1, "IAM Roles Anywhere throttled requests from",
		},
		"a failure of the server is retried": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
			v1alpha1.ReasonSTSError, 3, "without an answer of IAM Roles Anywhere. Check that the scheme, host, port and path of the identity's source.x509.endpoint",
		},
		"a page of a proxy": {
			func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>Sign in</html>") },
			v1alpha1.ReasonSTSError, 1, "returned HTTP 200 without an answer of IAM Roles Anywhere",
		},
		"a redirect": {
			func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://other.example/sessions", http.StatusFound)
			},
			v1alpha1.ReasonSTSError, 1, "redirects to https://other.example",
		},
		"no credentials": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, `{"credentialSet":[]}`)
			},
			v1alpha1.ReasonSTSError, 1, "returned no credentials that can be used",
		},
		"a rejected value": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Amzn-ErrorType", "ValidationException")
				w.WriteHeader(http.StatusBadRequest)
			}, v1alpha1.ReasonInvalidRequest, 1, "IAM Roles Anywhere rejected the request for " + onPremisesARN,
		},
		"a rejected signature": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Amzn-ErrorType", "InvalidSignatureException")
				w.WriteHeader(http.StatusForbidden)
			}, v1alpha1.ReasonInvalidSourceCredentials, 1, "IAM Roles Anywhere rejected the signature of",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var url string
			_, account, err := callSession(t, 0, func(w http.ResponseWriter, r *http.Request) { url = "http://" + r.Host; tc.handler(w, r) })
			f := awssts.Classify(err, reason.Subject{Identity: "ClusterIdentity default", Call: v1alpha1.CallCreateSession, RoleARN: onPremisesARN, SessionEndpoint: url})
			g.Expect(f.Reason).To(Equal(tc.wantReason), f.Message)
			g.Expect(f.Message).To(ContainSubstring(tc.wantMessage))
			g.Expect(account.requests).To(HaveKeyWithValue("CreateSession", tc.wantRequests))
		})
	}
}

func TestCreateSessionEndsAtTheTimeout(t *testing.T) {
	g := NewWithT(t)
	release := make(chan struct{})
	defer close(release)
	_, _, err := callSession(t, 50*time.Millisecond, func(http.ResponseWriter, *http.Request) { <-release })
	g.Expect(awssts.Classify(err, reason.Subject{Call: v1alpha1.CallCreateSession}).Reason).To(Equal(v1alpha1.ReasonSTSUnreachable))
}

// recorded is the transport of a client that records the URL of a request and fails it.
type recorded struct{ url *string }

func (r recorded) Do(request *http.Request) (*http.Response, error) {
	*r.url = request.URL.Scheme + "://" + request.URL.Host + request.URL.Path
	return nil, io.EOF
}

func TestEndpointsOfRolesAnywhere(t *testing.T) {
	for want, tc := range map[string]struct {
		region string
		config.LoadOptions
	}{
		"https://rolesanywhere.eu-west-1.amazonaws.com/sessions":          {"eu-west-1", config.LoadOptions{}},
		"https://rolesanywhere.us-east-1.amazonaws.com/sessions":          {"us-east-1", config.LoadOptions{}},
		"https://rolesanywhere-fips.us-east-1.amazonaws.com/sessions":     {"us-east-1", config.LoadOptions{UseFIPSEndpoint: aws.FIPSEndpointStateEnabled}},
		"https://rolesanywhere.eu-west-1.api.aws/sessions":                {"eu-west-1", config.LoadOptions{UseDualStackEndpoint: aws.DualStackEndpointStateEnabled}},
		"https://rolesanywhere.cn-north-1.amazonaws.com.cn/sessions":      {"cn-north-1", config.LoadOptions{}},
		"https://rolesanywhere.us-gov-west-1.amazonaws.com/sessions":      {"us-gov-west-1", config.LoadOptions{}},
		"https://rolesanywhere.us-iso-east-1.c2s.ic.gov/sessions":         {"us-iso-east-1", config.LoadOptions{}},
		"https://rolesanywhere-fips.us-gov-west-1.amazonaws.com/sessions": {"us-gov-west-1", config.LoadOptions{UseFIPSEndpoint: aws.FIPSEndpointStateEnabled}},
		"https://rolesanywhere-fips.us-west-2.api.aws/sessions": {"us-west-2", config.LoadOptions{
			UseFIPSEndpoint: aws.FIPSEndpointStateEnabled, UseDualStackEndpoint: aws.DualStackEndpointStateEnabled,
		}},
	} {
		t.Run(want, func(t *testing.T) {
			g, e := NewWithT(t), serveAnywhere(t)
			var url string
			client := awssts.New(aws.Config{
				Region: "eu-west-1", HTTPClient: recorded{&url}, ConfigSources: []any{tc.LoadOptions}, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
			}, clock.RealClock{}, &ledger{})
			e.source.Endpoint, e.source.Region = "", tc.region
			_, err := client.Issue(t.Context(), nil, sessionRequest(), request.CallAuth{RolesAnywhere: e.source})
			g.Expect(err).To(HaveOccurred())
			g.Expect(url).To(Equal(want))
		})
	}
}

// The request contains what AWS's documentation names, and nothing of the private key.
func TestCreateSessionSendsNoPrivateKey(t *testing.T) {
	g := NewWithT(t)
	var header http.Header
	var body map[string]any
	_, _, err := callSession(t, 0, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		_ = json.NewDecoder(r.Body).Decode(&body)
		sessionAnswer(w, clock.RealClock{}.Now())
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(body).To(Equal(map[string]any{"durationSeconds": 3600.0}))
	g.Expect(header.Get("Authorization")).To(MatchRegexp(`^AWS4-X509-ECDSA-SHA256 Credential=\d+/\d{8}/eu-west-1/rolesanywhere/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-x509;x-amz-x509-chain, Signature=[0-9a-f]+$`))
	g.Expect(header).To(And(HaveKey("X-Amz-X509"), HaveKey("X-Amz-X509-Chain")))
}
