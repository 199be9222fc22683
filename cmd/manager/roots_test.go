package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// The image holds the manager and no other file.
func TestTheManagerKnowsTheAuthorityOfSTSWhereThereAreNoFiles(t *testing.T) {
	g := NewWithT(t)
	if os.Getenv("SSL_CERT_FILE") != os.DevNull {
		// A process reads its system's authorities once.
		test := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		test.Env = []string{"SSL_CERT_FILE=" + os.DevNull, "SSL_CERT_DIR=" + os.DevNull}
		said, err := test.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(said))
		g.Expect(string(said)).To(ContainSubstring("Amazon Root CA 1 is trusted"))
		return
	}
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		g.Expect(err).NotTo(HaveOccurred())
		if certificate.Subject.CommonName != "Amazon Root CA 1" {
			continue
		}
		_, err = certificate.Verify(x509.VerifyOptions{}) // by the system's authorities
		g.Expect(err).NotTo(HaveOccurred())
		t.Log("Amazon Root CA 1 is trusted")
	}
}
