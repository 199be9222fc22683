package integration_test

import (
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/stsemulator"
)

// issuer issues web identity tokens that the STS trusts. It is an OIDC provider with one client too.
type issuer struct {
	*WithT
	server      *httptest.Server
	signer      testkit.TokenSigner
	providerARN string
	// secret is the client's. A response to a wrong secret quotes it.
	secret string

	mu     sync.Mutex
	tokens []string // that the client got
}

// newIssuer starts an issuer and registers it as an OIDC provider of the STS.
func (h *harness) newIssuer() *issuer {
	h.t.Helper()
	i := &issuer{WithT: h.WithT, signer: testkit.NewTokenSigner(h), secret: rand.Text()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.server.URL, "token_endpoint": i.server.URL + "/token"})
	})
	mux.HandleFunc("POST /token", i.serveToken)
	i.server = httptest.NewTLSServer(mux)
	h.t.Cleanup(i.server.Close)
	var err error
	i.providerARN, err = h.sts.PutOIDCProvider(tenantAccount, stsemulator.OIDCProvider{Issuer: i.server.URL, ClientIDs: []string{"sts.amazonaws.com"}, JWKS: i.signer.KeySet()})
	h.Expect(err).NotTo(HaveOccurred())
	return i
}

func (i *issuer) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	id, secret, _ := r.BasicAuth()
	if secret != i.secret {
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_client", "error_description": "wrong secret " + secret + r.PostFormValue("client_secret")})
		return
	}
	token := i.token(id, time.Hour)
	i.mu.Lock()
	i.tokens = append(i.tokens, token)
	i.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600})
}

// token returns a token of a subject that is valid for a while, or expired if that is negative.
func (i *issuer) token(subject string, life time.Duration) string {
	now := clock.RealClock{}.Now()
	return i.signer.Sign(map[string]any{
		"iss": i.server.URL, "sub": subject, "aud": "sts.amazonaws.com", "iat": now.Add(-time.Hour).Unix(), "exp": now.Add(life).Unix(), "jti": rand.Text(),
	})
}

// issued returns the tokens that the client got.
func (i *issuer) issued() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.tokens)
}

// caBundle has the authority of the issuer's certificate.
func (i *issuer) caBundle() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.server.Certificate().Raw}))
}

// trust is a statement of a trust policy that allows one subject of the issuer.
func (i *issuer) trust(subject string) stsemulator.Trust {
	name := strings.TrimPrefix(i.server.URL, "https://")
	return stsemulator.Trust{Federated: i.providerARN, StringEquals: map[string][]string{name + ":aud": {"sts.amazonaws.com"}, name + ":sub": {subject}}}
}

// putRole creates a role of the tenant's account, and returns its ARN.
func (h *harness) putRole(name string, trust stsemulator.Trust, mayAssume ...string) string {
	h.t.Helper()
	h.Expect(h.sts.PutRole(tenantAccount, stsemulator.Role{Name: name, MaxSessionDuration: 43200, MayAssume: mayAssume, Trust: []stsemulator.Trust{trust}})).To(Succeed())
	return "arn:aws:iam::" + tenantAccount + ":role/" + name
}

// putSecret writes a value into a Secret.
func (h *harness) putSecret(namespace, name, key, value string) {
	h.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	_, err := ctrl.CreateOrUpdate(h.ctx, admin, secret, func() error {
		secret.Data = map[string][]byte{key: []byte(value)}
		return nil
	})
	h.Expect(err).NotTo(HaveOccurred())
}

// useTokenIn sets the token in the identity's Secret as its source.
func useTokenIn(i *v1alpha1.ClusterIdentity) {
	i.Spec.Source = v1alpha1.ClusterIdentitySource{WebIdentityToken: &v1alpha1.WebIdentityTokenSource{SecretRef: sourceKey(i.Name)}}
}

// useClient sets a client of the issuer as the source of an identity, whose Secret has the client's secret.
func (i *issuer) useClient(identity *v1alpha1.ClusterIdentity) {
	identity.Spec.Source = v1alpha1.ClusterIdentitySource{OIDC: &v1alpha1.OIDCSource{
		OIDCSettings:    v1alpha1.OIDCSettings{Issuer: i.server.URL, ClientID: "operator", Scopes: []string{"sts"}, Audience: "sts.amazonaws.com", CABundle: i.caBundle()},
		ClientSecretRef: sourceKey(identity.Name),
	}}
}

func sourceKey(name string) v1alpha1.NamespacedSecretKeyReference {
	return v1alpha1.NamespacedSecretKeyReference{Namespace: operatorNamespace, SecretKeyReference: v1alpha1.SecretKeyReference{Name: name, Key: "value"}}
}
