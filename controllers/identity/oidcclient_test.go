package identity_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/testkit"
)

const (
	clientSecret = "s3cret/of the client"
	// quoted is a text of the provider, which may quote the request.
	quoted = "quoted by the provider"
)

// oidcProvider is an OIDC provider that records the requests for tokens.
type oidcProvider struct {
	*httptest.Server

	mu sync.Mutex
	// discovery and token answer the requests; nil for the usual answers.
	discovery, token http.HandlerFunc
	discoveries      int
	requests         []tokenRequest
}

// answer sets the answers to requests; nil for the usual ones.
func (p *oidcProvider) answer(discovery, token http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.discovery, p.token = discovery, token
}

// received returns the number of discoveries, and the requests for tokens.
func (p *oidcProvider) received() (discoveries int, requests []tokenRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.discoveries, slices.Clone(p.requests)
}

type tokenRequest struct {
	id, secret string // of the header
	form       url.Values
}

// count returns the number of requests for tokens.
func (p *oidcProvider) count() int {
	_, requests := p.received()
	return len(requests)
}

func newOIDCProvider(t *testing.T) *oidcProvider { return startOIDCProvider(t, httptest.NewServer) }

func startOIDCProvider(t *testing.T, start func(http.Handler) *httptest.Server) *oidcProvider {
	t.Helper()
	p := &oidcProvider{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /realms/prod/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.discoveries++
		own := p.discovery
		p.mu.Unlock()
		if own != nil {
			own(w, r)
			return
		}
		writeJSON(w, http.StatusOK, claims{"issuer": p.issuer(), "token_endpoint": p.tokenURL(), "jwks_uri": "https://elsewhere.example"})
	})
	mux.HandleFunc("POST /oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		_ = r.ParseForm()
		p.mu.Lock()
		p.requests = append(p.requests, tokenRequest{id, secret, r.PostForm})
		own := p.token
		p.mu.Unlock()
		if own != nil {
			own(w, r)
			return
		}
		writeJSON(w, http.StatusOK, claims{"token_type": "Bearer", "expires_in": 3600, "access_token": jwt(validFor(time.Hour))})
	})
	p.Server = start(mux)
	t.Cleanup(p.Close)
	return p
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// answer answers a request with a status and a JSON document.
func answer(status int, body claims) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, status, body) }
}

// page answers a request with a status and a page.
func page(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, "<html>", quoted)
	}
}

func (p *oidcProvider) issuer() string   { return p.URL + "/realms/prod" }
func (p *oidcProvider) tokenURL() string { return p.URL + "/oauth2/token" }

// settings returns those of a client of the provider.
func (p *oidcProvider) settings() v1alpha1.OIDCSettings {
	return v1alpha1.OIDCSettings{Issuer: p.issuer(), ClientID: "operator:prod", Scopes: []string{"sts", "aws"}, Audience: "sts.amazonaws.com"}
}

// identity returns the default identity with a client of the provider as its source.
func (p *oidcProvider) identity(change ...func(*v1alpha1.ClusterIdentity)) *v1alpha1.ClusterIdentity {
	return testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Source = v1alpha1.ClusterIdentitySource{OIDC: &v1alpha1.OIDCSource{
			OIDCSettings: p.settings(),
			ClientSecretRef: v1alpha1.NamespacedSecretKeyReference{
				Namespace: "system", SecretKeyReference: v1alpha1.SecretKeyReference{Name: "oidc-client", Key: "secret"},
			},
		}}
		for _, c := range change {
			c(i)
		}
	})
}

func clientSecretWith(value string) *corev1.Secret { return secretWith("oidc-client", "secret", value) }

// verifier returns the reconcilers with an identity of the provider.
func (p *oidcProvider) verifier(t *testing.T, change ...func(*v1alpha1.ClusterIdentity)) *verifier {
	t.Helper()
	f := newVerifier(t, testkit.World(p.identity(change...), clientSecretWith(clientSecret+"\n"))...)
	f.Resolver.APIAudiences = func() []string { return []string{testkit.APIAudience} }
	return f
}

// refresh requests a refresh of the Reader, and reconciles it.
func (f *verifier) refresh(value string) *v1alpha1.RoleCredential {
	f.T.Helper()
	f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) {
		c.Annotations = map[string]string{v1alpha1.RefreshAnnotation: value}
	}))
	got, _ := f.reconcile()
	return got
}

func TestOIDCClientRequestsATokenAndCallsSTSWithIt(t *testing.T) {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"sts aws"}, "audience": {"sts.amazonaws.com"}}
	for name, tc := range map[string]struct {
		change          func(*v1alpha1.OIDCSettings)
		token           http.HandlerFunc
		want            url.Values
		wantDiscoveries int
	}{
		"by discovery": {want: form, wantDiscoveries: 1},
		"at the token URL": {change: func(s *v1alpha1.OIDCSettings) {
			s.Issuer, s.TokenURL = "", strings.TrimSuffix(s.Issuer, "/realms/prod")+"/oauth2/token?tenant=one"
		}, want: form},
		"without optional fields": {change: func(s *v1alpha1.OIDCSettings) { s.Scopes, s.Audience = nil, "" }, want: url.Values{"grant_type": {"client_credentials"}}, wantDiscoveries: 1},
		"with an ID token beside an opaque access token": {
			token: answer(http.StatusOK, claims{"access_token": "opaque", "id_token": jwt(validFor(time.Hour))}), want: form, wantDiscoveries: 1,
		},
		"with an access token rather than an ID token": {
			token: answer(http.StatusOK, claims{"access_token": jwt(validFor(time.Hour)), "id_token": jwt(validFor(2 * time.Hour))}), want: form, wantDiscoveries: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newOIDCProvider(t)
			p.answer(nil, tc.token)
			f := p.verifier(t, func(i *v1alpha1.ClusterIdentity) {
				if tc.change != nil {
					tc.change(&i.Spec.Source.OIDC.OIDCSettings)
				}
			})
			got, _ := f.reconcile()
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Ready=True Issued"))
			f.Expect(f.STS.Tokens).To(Equal([]string{jwt(validFor(time.Hour))}))
			discoveries, requests := p.received()
			f.Expect(discoveries).To(Equal(tc.wantDiscoveries))
			f.Expect(requests).To(Equal([]tokenRequest{{url.QueryEscape("operator:prod"), url.QueryEscape(clientSecret), tc.want}}))
			found, _ := f.verify()
			f.Expect(testkit.States(found.Status.Conditions)).To(HaveKeyWithValue("Ready", "True NotVerifiable"))
			f.Expect(p.count()).To(Equal(1), "the verification has the same token")
		})
	}
}

// Some providers expect the client's secret in the form.
func TestOIDCClientSendsItsSecretInTheFormIfTheProviderRejectsTheHeader(t *testing.T) {
	p := newOIDCProvider(t)
	p.answer(nil, func(w http.ResponseWriter, r *http.Request) {
		if r.PostForm.Get("client_secret") != clientSecret || r.PostForm.Get("client_id") != "operator:prod" {
			writeJSON(w, http.StatusUnauthorized, claims{"error": "invalid_client"})
			return
		}
		writeJSON(w, http.StatusOK, claims{"access_token": jwt(validFor(2 * time.Minute))})
	})
	f := p.verifier(t)
	got, _ := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Ready=True Issued"))
	f.Advance(90 * time.Second)
	f.refresh("1")
	_, requests := p.received()
	f.Expect(requests).To(HaveLen(3), "the operator remembers the way")
	f.Expect(requests[2].form.Get("client_secret")).To(Equal(clientSecret))
}

func TestOIDCTokenIsKeptUntilAMinuteBeforeItExpires(t *testing.T) {
	p := newOIDCProvider(t)
	f := p.verifier(t)
	f.reconcile()
	for _, step := range []struct {
		after    time.Duration
		requests int // in total
	}{{30 * time.Minute, 1}, {59*time.Minute - time.Second, 1}, {59 * time.Minute, 2}} {
		f.Clock.SetTime(testkit.Start.Add(step.after))
		f.refresh(step.after.String())
		f.Expect(p.count()).To(Equal(step.requests), step.after.String())
	}
	f.Expect(f.STS.Tokens).To(HaveLen(4))
}

func TestOIDCTokenThatSTSRejectsIsReplaced(t *testing.T) {
	p := newOIDCProvider(t)
	f := p.verifier(t)
	f.STS.Err = testkit.STSError("InvalidIdentityToken")
	got, result := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(And(
		HavePrefix("Issued=False InvalidSourceCredentials: STS rejected the token of ClusterIdentity default"), ContainSubstring("for the token's issuer in the account of")))
	f.STS.Err = nil
	f.Advance(max(result.RequeueAfter, reason.MaxWait))
	got, _ = f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Ready=True Issued"))
	f.Expect(p.count()).To(Equal(2))
}

func TestTokenWithoutAnExpiryIsNotKept(t *testing.T) {
	p := newOIDCProvider(t)
	p.answer(nil, answer(http.StatusOK, claims{"access_token": jwt(claims{"sub": "operator"}), "expires_in": 3600}))
	f := p.verifier(t)
	f.reconcile()
	f.refresh("1")
	f.Expect(p.count()).To(Equal(2))
}

// The text of a provider may quote the request, and so the client's secret.
func TestFailureOfAnOIDCProviderIsReportedWithoutItsText(t *testing.T) {
	token := func(c claims) http.HandlerFunc { return answer(http.StatusOK, claims{"access_token": jwt(c)}) }
	failed := func(status int, code string) http.HandlerFunc {
		return answer(status, claims{"error": code, "error_description": quoted, "error_uri": "https://" + quoted})
	}
	for name, tc := range map[string]struct {
		discovery, token http.HandlerFunc
		want             string
		wantMessage      string // ISSUER is replaced
	}{
		"a wrong secret": {
			token: failed(http.StatusUnauthorized, "invalid_client"), want: "False ClientRejected",
			wantMessage: "The OIDC provider ISSUER rejected the client operator:prod (invalid_client, HTTP 401). Check source.oidc.clientID, the client's secret in the key secret of Secret system/oidc-client, " +
				"and that the client may use the grant client_credentials; a changed Secret is tried at once.",
		},
		"a client without the grant":   {token: failed(http.StatusBadRequest, "unauthorized_client"), want: "False ClientRejected", wantMessage: "rejected the client operator:prod (unauthorized_client, HTTP 400)."},
		"a page of a login":            {token: page(http.StatusForbidden), want: "False ClientRejected", wantMessage: "rejected the client operator:prod (HTTP 403)."},
		"an unknown scope":             {token: failed(http.StatusBadRequest, "invalid_scope"), want: "False ProviderError", wantMessage: "The OIDC provider ISSUER issued no token (invalid_scope, HTTP 400): it rejected the token request. Check issuer or tokenURL, scopes and audience of source.oidc;"},
		"an error with HTTP 200":       {token: failed(http.StatusOK, "invalid_target"), want: "False ProviderError", wantMessage: "issued no token (invalid_target, HTTP 200)"},
		"an error code of its own":     {token: failed(http.StatusBadRequest, quoted), want: "False ProviderError", wantMessage: "issued no token (HTTP 400)"},
		"an overload":                  {token: page(http.StatusServiceUnavailable), want: "False ProviderError", wantMessage: "issued no token (HTTP 503)"},
		"a page instead of a token":    {token: page(http.StatusOK), want: "False ProviderError", wantMessage: "issued no token: its response is not JSON, or has no access_token."},
		"a response without a token":   {token: answer(http.StatusOK, claims{"token": quoted}), want: "False ProviderError", wantMessage: "is not JSON, or has no access_token"},
		"an opaque token":              {token: answer(http.StatusOK, claims{"access_token": "opaque"}), want: "False ProviderError", wantMessage: "issued no JSON Web Token: neither access_token nor id_token is one. Configure the client for access tokens that are JSON Web Tokens, or add openid to source.oidc.scopes."},
		"two opaque tokens":            {token: answer(http.StatusOK, claims{"access_token": "opaque", "id_token": 5}), want: "False ProviderError", wantMessage: "neither access_token nor id_token is one"},
		"a token for the API server":   {token: token(validFor(time.Hour).with("aud", testkit.APIAudience)), want: "False ProviderError", wantMessage: "The token of the OIDC client operator:prod has an audience of the Kubernetes API server"},
		"an expired token":             {token: token(validFor(-time.Second)), want: "False TokenExpired", wantMessage: "The token of the OIDC client operator:prod has expired. Check the provider's clock, and the lifetime of its tokens."},
		"a token of tomorrow":          {token: token(validFor(25*time.Hour).with("nbf", testkit.Start.Add(24*time.Hour).Unix())), want: "False TokenNotYetValid", wantMessage: "is not valid yet"},
		"no discovery":                 {discovery: page(http.StatusNotFound), want: "False ProviderError", wantMessage: "The OIDC provider ISSUER issued no token (HTTP 404): the response to the discovery request is no OpenID configuration. Check source.oidc.issuer, or set tokenURL in its place."},
		"a page instead of discovery":  {discovery: page(http.StatusOK), want: "False ProviderError", wantMessage: "is no OpenID configuration"},
		"discovery of another issuer":  {discovery: answer(http.StatusOK, claims{"issuer": quoted, "token_endpoint": "https://elsewhere.example"}), want: "False ProviderError", wantMessage: "its OpenID configuration is of another issuer. Set source.oidc.issuer to the provider's exact issuer,"},
		"an endless discovery":         {discovery: endless, want: "False ProviderError", wantMessage: "is no OpenID configuration"},
		"an endless token":             {token: endless, want: "False ProviderError", wantMessage: "is not JSON, or has no access_token"},
		"a connection that is cut":     {token: cut, want: "False ProviderUnreachable", wantMessage: "The OIDC provider ISSUER did not answer. Check issuer or tokenURL of source.oidc, DNS, NetworkPolicies and proxies between the operator and the provider."},
		"a discovery that is cut":      {discovery: cut, want: "False ProviderUnreachable", wantMessage: "did not answer"},
		"a discovery that is cut late": {discovery: cutLate, want: "False ProviderUnreachable", wantMessage: "did not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newOIDCProvider(t)
			p.answer(tc.discovery, tc.token)
			f := p.verifier(t)
			want := strings.ReplaceAll(tc.wantMessage, "ISSUER", p.issuer())
			found, _ := f.verify()
			f.Expect(testkit.States(found.Status.Conditions)).To(HaveKeyWithValue("Ready", tc.want))
			f.Expect(testkit.Message(found.Status.Conditions, "Ready")).To(ContainSubstring(want))
			got, result := f.reconcile()
			f.Expect(testkit.States(got.Status.Conditions)).To(HaveKeyWithValue("Issued", tc.want))
			f.Expect(testkit.Message(got.Status.Conditions, "Issued")).To(And(ContainSubstring(want), HaveSuffix(" STS was not called.")))
			f.Expect(got.Status.FailedCall).To(BeNil())
			f.Expect(result.RequeueAfter).To(BeNumerically(">", 0))
			f.Expect(f.STS.Issued).To(BeEmpty())

			configured, _, err := f.Resolver.Configure(t.Context(), p.identity(), shopDefault)
			f.Expect(err).NotTo(HaveOccurred())
			_, err = configured.Token(t.Context())
			f.Expect(fmt.Sprint(got.Status, found.Status, err, f.Events())).NotTo(Or(ContainSubstring(quoted), ContainSubstring(clientSecret), ContainSubstring("opaque")))
		})
	}
}

// endless answers with more than the operator reads.
func endless(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprint(w, `{"access_token": "`)
	for range 3 << 10 {
		if _, err := fmt.Fprint(w, strings.Repeat("a", 1<<10)); err != nil {
			return
		}
	}
}

// cut ends the connection without an answer.
func cut(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// cutLate ends the connection in the middle of an answer.
func cutLate(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	_, _ = fmt.Fprint(w, `{"issuer": `)
	panic(http.ErrAbortHandler)
}

// A redirect would send the client's secret to another server.
func TestRedirectsOfAnOIDCProviderAreNotFollowed(t *testing.T) {
	for name, ofToken := range map[string]bool{"of discovery": false, "of the token": true} {
		t.Run(name, func(t *testing.T) {
			other, p := newOIDCProvider(t), newOIDCProvider(t)
			redirect := func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
			}
			if ofToken {
				p.answer(nil, redirect)
			} else {
				p.answer(redirect, nil)
			}
			f := p.verifier(t)
			got, _ := f.reconcile()
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(And(HavePrefix("Issued=False ProviderError"), ContainSubstring("(HTTP 307): it redirects, which the operator does not follow.")))
			discoveries, requests := other.received()
			f.Expect(requests).To(BeEmpty())
			f.Expect(discoveries).To(BeZero())
		})
	}
}

// Discovery over TLS must not make the operator send the client's secret in clear text, or to a user's password.
func TestDiscoveredTokenEndpointMayNotBeLessSecure(t *testing.T) {
	for name, endpoint := range map[string]string{"no URL": "", "a path": "/oauth2/token", "clear text": "http://PROVIDER/oauth2/token", "another scheme": "ftp://PROVIDER/", "a user": "https://user:word@PROVIDER/oauth2/token"} {
		t.Run(name, func(t *testing.T) {
			p := startOIDCProvider(t, httptest.NewTLSServer)
			p.answer(answer(http.StatusOK, claims{"issuer": p.issuer(), "token_endpoint": strings.ReplaceAll(endpoint, "PROVIDER", p.Listener.Addr().String())}), nil)
			f := p.verifier(t, p.trusted)
			got, _ := f.reconcile()
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(And(HavePrefix("Issued=False ProviderError"), ContainSubstring("has no token_endpoint that the client's secret may be sent to")))
			f.Expect(p.count()).To(BeZero())
		})
	}
}

// trusted adds the authority of the provider's certificate to an identity.
func (p *oidcProvider) trusted(i *v1alpha1.ClusterIdentity) {
	i.Spec.Source.OIDC.CABundle = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}))
}

func TestOIDCProviderIsTrustedByTheSourcesCABundle(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*oidcProvider) func(*v1alpha1.ClusterIdentity)
		want   string
	}{
		"the source's bundle":            {func(p *oidcProvider) func(*v1alpha1.ClusterIdentity) { return p.trusted }, "Ready=True Issued"},
		"no bundle":                      {func(*oidcProvider) func(*v1alpha1.ClusterIdentity) { return func(*v1alpha1.ClusterIdentity) {} }, "Issued=False ProviderUnreachable: The OIDC provider ISSUER presented a certificate that is not trusted. Check that source.oidc.caBundle has the authority"},
		"the bundle of the endpoint":     {endpointBundle, "Issued=False ProviderUnreachable"},
		"a bundle without a certificate": {func(*oidcProvider) func(*v1alpha1.ClusterIdentity) { return invalidBundle }, "Authorized=False IdentityNotReady: ClusterIdentity default cannot be used: spec.source.oidc.caBundle contains no valid certificate. Set one or more PEM certificates."},
	} {
		t.Run(name, func(t *testing.T) {
			p := startOIDCProvider(t, httptest.NewTLSServer)
			f := p.verifier(t, tc.change(p))
			got, _ := f.reconcile()
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix(strings.ReplaceAll(tc.want, "ISSUER", p.issuer())))
		})
	}
}

func endpointBundle(p *oidcProvider) func(*v1alpha1.ClusterIdentity) {
	return func(i *v1alpha1.ClusterIdentity) {
		p.trusted(i)
		i.Spec.CABundle, i.Spec.Source.OIDC.CABundle = i.Spec.Source.OIDC.CABundle, ""
	}
}

func invalidBundle(i *v1alpha1.ClusterIdentity) { i.Spec.Source.OIDC.CABundle = "certificate" }

func TestClientSecretIsReadLikeOtherSources(t *testing.T) {
	p := newOIDCProvider(t)
	for name, tc := range map[string]struct {
		secret *corev1.Secret
		want   string
	}{
		"no Secret":   {nil, "SecretNotFound: There is no Secret system/oidc-client. Create it with the client's secret under the key secret."},
		"another key": {secretWith("oidc-client", "password", clientSecret), "InvalidSecret: Secret system/oidc-client has no value under the key secret. Store the client's secret there."},
		"empty":       {clientSecretWith("\n"), "InvalidSecret: Secret system/oidc-client has no value under the key secret."},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, p.identity())
			if tc.secret != nil {
				f.Expect(f.client.Create(t.Context(), tc.secret)).To(Succeed())
			}
			_, problem, err := f.resolver.Configure(t.Context(), p.identity(), shopDefault)
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(problem.Error()).To(HavePrefix(tc.want))
			f.Expect(f.watch.subscribed).To(HaveKey(defaultKey), "a changed Secret is tried at once")
		})
	}
}

// A provider locks out a client that fails again and again.
func TestRejectedClientIsNotTriedAgainForAMinute(t *testing.T) {
	p := newOIDCProvider(t)
	p.answer(nil, answer(http.StatusUnauthorized, claims{"error": "invalid_client"}))
	f := p.verifier(t)
	token := func() error {
		configured, _, err := f.Resolver.Configure(t.Context(), p.identity(), shopDefault)
		f.Expect(err).NotTo(HaveOccurred())
		_, err = configured.Token(t.Context())
		return err
	}
	const both = 2 // in the header, and in the form
	for range 10 {
		f.Expect(token()).To(HaveField("Reason", v1alpha1.ReasonClientRejected))
	}
	f.Expect(p.count()).To(Equal(both))
	f.Advance(time.Minute)
	f.Expect(token()).NotTo(Succeed())
	f.Expect(p.count()).To(Equal(2 * both))
	f.Update(clientSecretWith("another"))
	p.answer(nil, nil)
	f.Expect(token()).To(Succeed())
}

func TestConcurrentCallersShareOneRequestToTheOIDCProvider(t *testing.T) {
	p := newOIDCProvider(t)
	arrived, reply := make(chan struct{}, 20), make(chan struct{})
	p.answer(nil, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-reply
		writeJSON(w, http.StatusOK, claims{"access_token": jwt(validFor(time.Hour))})
	})
	f := p.verifier(t)
	configured, _, err := f.Resolver.Configure(t.Context(), p.identity(), shopDefault)
	f.Expect(err).NotTo(HaveOccurred())
	impatient, giveUp := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := configured.Token(impatient)
		first <- err
	}()
	<-arrived
	results := make(chan error, 10)
	for range cap(results) {
		go func() {
			_, err := configured.Token(t.Context())
			results <- err
		}()
	}
	giveUp()
	f.Expect(<-first).To(MatchError(context.Canceled))
	close(reply)
	for range cap(results) {
		f.Expect(<-results).To(Succeed())
	}
	f.Expect(p.count()).To(Equal(1))
}

// A namespace must not direct the operator's requests.
func TestIdentityMayUseAnOIDCProviderOnlyIfTheOperatorAllowsEndpoints(t *testing.T) {
	p := newOIDCProvider(t)
	for name, tc := range map[string]struct {
		change  func(*v1alpha1.OIDCSettings)
		allowed bool
		want    string // nothing if all is well
	}{
		"an issuer":             {want: "spec.source.oidc.issuer is not allowed in an Identity, because it directs the operator's requests. Remove it, use a ClusterIdentity, or run the operator with --allow-namespaced-endpoints."},
		"a token URL":           {change: func(s *v1alpha1.OIDCSettings) { s.Issuer, s.TokenURL = "", p.tokenURL() }, want: "spec.source.oidc.tokenURL is not allowed in an Identity"},
		"an allowed issuer":     {allowed: true},
		"an issuer of no host":  {allowed: true, change: func(s *v1alpha1.OIDCSettings) { s.Issuer = "id.example" }, want: "spec.source.oidc.issuer is not the URL of a server. Set a URL such as https://id.example.internal/realms/prod."},
		"a token URL of a file": {allowed: true, change: func(s *v1alpha1.OIDCSettings) { s.Issuer, s.TokenURL = "", "file:///etc/passwd" }, want: "spec.source.oidc.tokenURL is not the URL of a server."},
	} {
		t.Run(name, func(t *testing.T) {
			found := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own", UID: "own-uid", Generation: 1}}
			found.Spec.Region = "eu-west-1"
			found.Spec.Source.OIDC = &v1alpha1.LocalOIDCSource{OIDCSettings: p.settings(), ClientSecretRef: v1alpha1.SecretKeyReference{Name: "oidc-client", Key: "secret"}}
			if tc.change != nil {
				tc.change(&found.Spec.Source.OIDC.OIDCSettings)
			}
			own := clientSecretWith(clientSecret)
			own.Namespace = "shop"
			f := newFixture(t, found, own)
			f.resolver.AllowNamespacedEndpoints = tc.allowed
			configured, problem, err := f.resolver.Configure(t.Context(), found, types.NamespacedName{Namespace: "shop", Name: "default"})
			f.Expect(err).NotTo(HaveOccurred())
			if tc.want != "" {
				f.Expect(problem).To(And(HaveField("Reason", v1alpha1.ReasonInvalidEndpoint), HaveField("Message", HavePrefix(tc.want))))
				return
			}
			f.Expect(problem).To(BeNil())
			f.Expect(configured.Token(t.Context())).To(BeEquivalentTo(jwt(validFor(time.Hour))))
		})
	}
}
