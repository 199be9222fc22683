package integration_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

// oidcProvider is a third-party OIDC provider with the client operator.
type oidcProvider struct {
	*WithT
	issuer, caBundle, secret string
	// caFile is the file of the caBundle.
	caFile string
}

// startOIDCProvider starts a provider. It stops at the end of the test.
func startOIDCProvider(t *testing.T, options ...string) *oidcProvider {
	t.Helper()
	binary := serverProgram(t, "OIDCPROVIDER")
	g := NewWithT(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	address := listener.Addr().String()
	g.Expect(listener.Close()).To(Succeed())
	dir := t.TempDir()
	p := &oidcProvider{WithT: g, issuer: "https://" + address, caBundle: writeCertificate(g, dir), caFile: filepath.Join(dir, "tls.crt"), secret: rand.Text()}

	var output bytes.Buffer
	server := exec.Command(binary, append([]string{"--address", address, "--certificate", filepath.Join(dir, "tls.crt"), "--key", filepath.Join(dir, "tls.key")}, options...)...)
	server.Env = []string{"CLIENT_SECRET=" + p.secret}
	server.Stdout, server.Stderr = &output, &output
	g.Expect(server.Start()).To(Succeed())
	exited := make(chan error, 1)
	go func() { exited <- server.Wait() }()
	t.Cleanup(func() {
		_ = server.Process.Kill()
		err := <-exited
		if t.Failed() {
			t.Logf("the OIDC provider exited with %v, output:\n%s", err, output.String())
		}
	})
	g.Eventually(p.discovered).WithTimeout(waitLimit).ShouldNot(BeZero())
	return p
}

// writeCertificate writes a certificate for loopback and its key into a folder, and returns the certificate.
func writeCertificate(g *WithT, dir string) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	now := clock.RealClock{}.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	g.Expect(err).NotTo(HaveOccurred())
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	g.Expect(err).NotTo(HaveOccurred())
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	g.Expect(os.WriteFile(filepath.Join(dir, "tls.crt"), text, 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600)).To(Succeed())
	return string(text)
}

// oidcConfiguration has the endpoints of a provider.
type oidcConfiguration struct {
	Keys          string `json:"jwks_uri"`
	TokenEndpoint string `json:"token_endpoint"`
}

// client returns a client that trusts the provider.
func (p *oidcProvider) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.caBundle))
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
}

// discovered returns the provider's configuration, which is zero while it does not answer.
func (p *oidcProvider) discovered() (found oidcConfiguration) {
	response, err := p.client().Get(p.issuer + "/.well-known/openid-configuration")
	if err != nil {
		return found
	}
	defer func() { _ = response.Body.Close() }()
	_ = json.NewDecoder(response.Body).Decode(&found)
	return found
}

// token requests a token as the provider's client.
func (p *oidcProvider) token(t *testing.T) string {
	t.Helper()
	config := clientcredentials.Config{ClientID: "operator", ClientSecret: p.secret, TokenURL: p.discovered().TokenEndpoint}
	issued, err := config.Token(context.WithValue(t.Context(), oauth2.HTTPClient, p.client()))
	p.Expect(err).NotTo(HaveOccurred())
	return issued.AccessToken
}

// register registers the provider in the STS, and returns the ARN of a role that its client may assume.
func (p *oidcProvider) register(h *harness) string {
	arn, err := h.sts.PutOIDCProvider(tenantAccount, stsemulator.OIDCProvider{Issuer: p.issuer, ClientIDs: []string{"sts.amazonaws.com"}, JWKSURL: p.discovered().Keys, CABundle: p.caBundle})
	h.Expect(err).NotTo(HaveOccurred())
	return h.putRole("OfClient", stsemulator.Trust{Federated: arn, StringEquals: map[string][]string{p.issuer[len("https://"):] + ":sub": {"operator"}}})
}

// identity creates an identity with the client and a secret.
func (p *oidcProvider) identity(h *harness, secret string) *v1alpha1.ClusterIdentity {
	return h.identity(func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Source = v1alpha1.ClusterIdentitySource{OIDC: &v1alpha1.OIDCSource{
			OIDCSettings:    v1alpha1.OIDCSettings{Issuer: p.issuer, ClientID: "operator", CABundle: p.caBundle},
			ClientSecretRef: sourceKey(i.Name),
		}}
		h.putSecret(operatorNamespace, i.Name, "value", secret)
	})
}

func TestSTSAcceptsTokensOfTheOIDCProvider(t *testing.T) {
	p := startOIDCProvider(t)
	h := newHarness(t, stsemulator.Options{})
	role := p.register(h)
	h.start()
	by := p.identity(h, "a-wrong-secret")
	h.eventually(by, "Ready", "False ClientRejected")
	h.putSecret(operatorNamespace, by.Name, "value", p.secret)
	h.eventually(by, "Ready", "True NotVerifiable")
	created := h.credential(h.namespace(nil), "reader", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = role })
	h.eventually(created, "Ready", "True Issued")
	session, ok := h.sts.Session(created.Status.AccessKeyID)
	h.Expect(ok).To(BeTrue())
	h.Expect(session).To(And(HaveField("Action", "AssumeRoleWithWebIdentity"), HaveField("Subject", "operator"), HaveField("Audience", "sts.amazonaws.com")))
}

func TestOpaqueTokensOfTheOIDCProviderAreNotSentToSTS(t *testing.T) {
	p := startOIDCProvider(t, "--opaque")
	h := newHarness(t, stsemulator.Options{})
	role := p.register(h)
	h.start()
	by := p.identity(h, p.secret)
	h.eventually(by, "Ready", "False ProviderError")
	created := h.credential(h.namespace(nil), "reader", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = role })
	h.eventually(created, "Issued", "False ProviderError")
	h.Expect(h.sts.Calls()).To(BeEmpty())
}
