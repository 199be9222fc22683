package identity_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
)

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
			_, problem, err := f.resolver.ResolveObject(t.Context(), p.identity(), shopDefault)
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(problem.Error()).To(HavePrefix(tc.want))
			f.Expect(f.watch.subscribed).To(HaveKey(defaultKey), "a changed Secret is tried at once")
		})
	}
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
			configured, problem, err := f.resolver.ResolveObject(t.Context(), found, types.NamespacedName{Namespace: "shop", Name: "default"})
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
