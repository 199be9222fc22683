package awssts_test

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/request"
)

func TestUntrustedCertificateIsNamed(t *testing.T) {
	good := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(assumed(`<Credentials>` + keyXML + secretXML + tokenXML + expirationXML + `</Credentials>`).body))
	})
	secure, plain := httptest.NewTLSServer(good), httptest.NewServer(good)
	t.Cleanup(secure.Close)
	t.Cleanup(plain.Close)
	untrusting := &http.Client{Transport: secure.Client().Transport.(*http.Transport).Clone()}
	untrusting.Transport.(*http.Transport).TLSClientConfig.RootCAs = x509.NewCertPool()
	const untrusted = "STS presented ClusterIdentity default a certificate that is not trusted. Check that the identity's caBundle has the authority that issued it, " +
		"that it is for the endpoint's name and has not expired, and that no proxy is in between; the event or the operator's log has the error."
	for name, tc := range map[string]struct {
		url  string
		http *http.Client
		want string // nothing if all is well
	}{
		"its authority is trusted":                   {url: secure.URL, http: secure.Client()},
		"its authority is not":                       {url: secure.URL, http: untrusting, want: untrusted},
		"its certificate is for another name":        {url: strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), http: secure.Client(), want: untrusted},
		"it does not speak TLS, and has none at all": {url: strings.Replace(plain.URL, "http:", "https:", 1), http: secure.Client(), want: "STS did not answer ClusterIdentity default."},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := client(tc.url, clocktesting.NewFakePassiveClock(start), operatorKey, func(config *aws.Config) { config.HTTPClient = tc.http })
			_, err := c.Issue(t.Context(), reads(), request.CallAuth{})
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			f := awssts.Classify(err, subject)
			g.Expect(f.Reason).To(Equal(v1alpha1.ReasonSTSUnreachable))
			g.Expect(f.Message).To(HavePrefix(tc.want))
		})
	}
}
