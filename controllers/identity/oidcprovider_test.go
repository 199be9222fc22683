package identity_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rolecredential.dev/operator/api/v1alpha1"
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
