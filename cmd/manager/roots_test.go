package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// The image contains only the manager.
func TestManagerTrustsTheAuthorityOfSTSWithoutFiles(t *testing.T) {
	NewWithT(t).Expect(verifyAmazonRoot(t, os.DevNull)).To(ContainSubstring("Amazon Root CA 1 is trusted"))
}

// With SSL_CERT_FILE, the manager trusts no other authorities: docs/installation.md describes what the file must
// contain.
func TestManagerTrustsOnlySSLCertFile(t *testing.T) {
	for name, tc := range map[string]struct {
		file [][]byte
		want string
	}{
		"without the public authorities": {file: [][]byte{ownAuthority(t)}, want: "Amazon Root CA 1 is not trusted"},
		"with the public authorities":    {file: [][]byte{ownAuthority(t), amazonRoot(t).Raw}, want: "Amazon Root CA 1 is trusted"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var text []byte
			for _, certificate := range tc.file {
				text = slices.Concat(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
			}
			file := filepath.Join(t.TempDir(), "ca.crt")
			g.Expect(os.WriteFile(file, text, 0o600)).To(Succeed())
			g.Expect(verifyAmazonRoot(t, file)).To(ContainSubstring(tc.want))
		})
	}
}

// verifyAmazonRoot returns what [TestHelperVerifiesAmazonRoot] prints with this SSL_CERT_FILE. A process reads its system's
// authorities once, so it is another process.
func verifyAmazonRoot(t *testing.T, file string) string {
	t.Helper()
	process := exec.Command(os.Args[0], "-test.run=^TestHelperVerifiesAmazonRoot$", "-test.v")
	process.Env = []string{"SSL_CERT_FILE=" + file, "SSL_CERT_DIR=" + os.DevNull, "VERIFY_AMAZON_ROOT=1"}
	printed, err := process.CombinedOutput()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), string(printed))
	return string(printed)
}

func TestHelperVerifiesAmazonRoot(t *testing.T) {
	if os.Getenv("VERIFY_AMAZON_ROOT") == "" {
		t.Skip("only verifyAmazonRoot runs it")
	}
	if _, err := amazonRoot(t).Verify(x509.VerifyOptions{}); err != nil { // against the system's authorities
		t.Log("Amazon Root CA 1 is not trusted:", err)
		return
	}
	t.Log("Amazon Root CA 1 is trusted")
}

func amazonRoot(t *testing.T) *x509.Certificate {
	t.Helper()
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		if certificate.Subject.CommonName == "Amazon Root CA 1" {
			return certificate
		}
	}
	t.Fatal("Amazon Root CA 1 is not among Mozilla's root certificates")
	return nil
}

// ownAuthority returns the certificate of a private authority.
func ownAuthority(t *testing.T) []byte {
	t.Helper()
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	g.Expect(err).NotTo(HaveOccurred())
	return certificate
}
