package identity_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/testkit"
)

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

			configured, _, err := f.Resolver.ResolveObject(t.Context(), p.identity(), shopDefault)
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

// A provider locks out a client that fails again and again.
func TestRejectedClientIsNotTriedAgainForAMinute(t *testing.T) {
	p := newOIDCProvider(t)
	p.answer(nil, answer(http.StatusUnauthorized, claims{"error": "invalid_client"}))
	f := p.verifier(t)
	token := func() error {
		configured, _, err := f.Resolver.ResolveObject(t.Context(), p.identity(), shopDefault)
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
	configured, _, err := f.Resolver.ResolveObject(t.Context(), p.identity(), shopDefault)
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
