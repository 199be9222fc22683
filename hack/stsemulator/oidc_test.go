package stsemulator_test

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/hack/stsemulator"
)

func TestTokensUseTheTokenClock(t *testing.T) {
	g := NewWithT(t)
	i := newIssuer(t)
	e := serveIssuer(t, i, stsemulator.Options{TokenClock: clocktesting.NewFakePassiveClock(start.Add(2 * time.Hour))})
	_, err := e.exchange(t, webIdentity(i.token(t, "ec", nil, claimsOf(nil))))
	g.Expect(failureOf(t, err).Code).To(Equal("ExpiredTokenException"))
}

func TestKeysAreFetchedFromTheIssuer(t *testing.T) {
	i := newIssuer(t)
	answers := http.NewServeMux()
	for path, answer := range map[string]struct {
		status int
		body   string
	}{
		"/keys": {200, string(i.keySet(t))}, "/unavailable": {503, "{}"}, "/forbidden": {403, `{"kind":"Status"}`}, "/page": {200, "<html>"},
	} {
		answers.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(answer.status)
			_, _ = w.Write([]byte(answer.body))
		})
	}
	keys := httptest.NewUnstartedServer(answers)
	keys.Config.ErrorLog = log.New(io.Discard, "", 0)
	keys.StartTLS()
	defer keys.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: keys.Certificate().Raw}))
	e := serveIssuer(t, i, stsemulator.Options{})
	const unreachable = "IDPCommunicationError"
	at := func(path string) stsemulator.OIDCProvider {
		return stsemulator.OIDCProvider{JWKSURL: keys.URL + path, CABundle: ca}
	}
	for name, tc := range map[string]struct {
		provider stsemulator.OIDCProvider
		want     string
	}{
		"over TLS":                        {provider: at("/keys")},
		"over TLS of an unknown CA":       {provider: stsemulator.OIDCProvider{JWKSURL: keys.URL + "/keys"}, want: unreachable},
		"from a closed port":              {provider: stsemulator.OIDCProvider{JWKSURL: "https://127.0.0.1:1/"}, want: unreachable},
		"from a URL of nonsense":          {provider: stsemulator.OIDCProvider{JWKSURL: ":"}, want: unreachable},
		"from an unavailable server":      {provider: at("/unavailable"), want: unreachable},
		"from a server that forbids them": {provider: at("/forbidden"), want: "InvalidIdentityToken"},
		"from a page that is no JSON":     {provider: at("/page"), want: "InvalidIdentityToken"},
		"from nowhere":                    {want: "InvalidIdentityToken"},
		"from the configuration":          {provider: stsemulator.OIDCProvider{JWKS: i.keySet(t)}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tc.provider.Issuer, tc.provider.ClientIDs = issuerURL, []string{"sts.amazonaws.com"}
			var answer map[string]string
			g.Expect(e.admin(t, "PUT", "oidc", map[string]any{"account": "123456789012", "provider": tc.provider}, &answer)).To(Equal(200), "%v", answer)
			g.Expect(answer["arn"]).To(Equal(providerARN))
			_, err := e.exchange(t, webIdentity(i.token(t, "rsa", nil, claimsOf(nil))))
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(failureOf(t, err).Code).To(Equal(tc.want))
			g.Expect(failureOf(t, err).Status).To(Equal(400))
		})
	}
	g := NewWithT(t)
	_, err := e.PutOIDCProvider("999999999999", stsemulator.OIDCProvider{Issuer: issuerURL, ClientIDs: []string{"a"}})
	g.Expect(err).To(MatchError(`no account "999999999999"`))
	var answer map[string]string
	g.Expect(e.admin(t, "PUT", "oidc", map[string]any{"account": "123456789012", "provider": stsemulator.OIDCProvider{}}, &answer)).To(Equal(400))
	g.Expect(answer["error"]).To(ContainSubstring("issuer must be an https URL"))
}
