package rolesanywhere

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// vector is a file of testdata, which vectors.sh makes with OpenSSL and Python.
type vector struct {
	Certificate, Key                          string
	Query                                     map[string]string
	Host, Region, Date, Body                  string
	CanonicalRequest, StringToSign, Signature string
	Authorization                             string // without the signature
}

// readVector returns a vector, with its certificate and time.
func readVector(g Gomega, file string) (v vector, certificate *Certificate, at time.Time) {
	text, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(json.Unmarshal(text, &v)).To(Succeed())
	certificate, err = Parse([]byte(v.Certificate), []byte(v.Key))
	g.Expect(err).NotTo(HaveOccurred())
	at, err = time.Parse(dateFormat, v.Date)
	g.Expect(err).NotTo(HaveOccurred())
	return v, certificate, at
}

// request returns the request of a vector.
func (v vector) request(g Gomega) *http.Request {
	query := url.Values{}
	for name, value := range v.Query {
		query.Set(name, value)
	}
	r, err := http.NewRequest(http.MethodPost, "https://"+v.Host+"/sessions?"+query.Encode(), http.NoBody)
	g.Expect(err).NotTo(HaveOccurred())
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "not signed")
	return r
}

// verify checks a signature with the certificate's public key.
func (c *Certificate) verify(g Gomega, stringToSign string, signature []byte) {
	digest := sha256.Sum256([]byte(stringToSign))
	switch public := c.leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		g.Expect(rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature)).To(Succeed())
	case *ecdsa.PublicKey:
		g.Expect(ecdsa.VerifyASN1(public, digest[:], signature)).To(BeTrue())
	}
}

func TestSignatureAgreesWithOpenSSL(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(files).To(HaveLen(6))
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			g := NewWithT(t)
			v, certificate, at := readVector(g, file)

			r := v.request(g)
			g.Expect(certificate.Sign(r, []byte(v.Body), v.Region, at.In(time.FixedZone("elsewhere", 5*3600)))).To(Succeed())

			canonical, _ := canonicalRequest(r, []byte(v.Body))
			g.Expect(canonical).To(Equal(v.CanonicalRequest))
			g.Expect(stringToSign(certificate.algorithm, at, v.Date[:8]+"/"+v.Region+"/rolesanywhere/aws4_request", canonical)).To(Equal(v.StringToSign))
			authorization, signature, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
			g.Expect(authorization + "Signature=").To(Equal(v.Authorization))
			if certificate.algorithm == algorithmRSA { // it has no random part
				g.Expect(signature).To(Equal(v.Signature))
			}
			certificate.verify(g, v.StringToSign, unhex(g, v.Signature))
			certificate.verify(g, v.StringToSign, unhex(g, signature))
			verifyWithOpenSSL(t, v, unhex(g, signature))
		})
	}
}

func unhex(g Gomega, text string) []byte {
	decoded, err := hex.DecodeString(text)
	g.Expect(err).NotTo(HaveOccurred())
	return decoded
}

// verifyWithOpenSSL lets OpenSSL verify the operator's own signature, if it is installed.
func verifyWithOpenSSL(t *testing.T, v vector, signature []byte) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Log("openssl is not installed, so it verifies no signature")
		return
	}
	g, folder := NewWithT(t), t.TempDir()
	for name, content := range map[string][]byte{"key": []byte(v.Key), "signature": signature, "text": []byte(v.StringToSign)} {
		g.Expect(os.WriteFile(filepath.Join(folder, name), content, 0o600)).To(Succeed())
	}
	verify := exec.CommandContext(t.Context(), openssl, "dgst", "-sha256", "-prverify", "key", "-signature", "signature", "text")
	verify.Dir = folder
	output, err := verify.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), "%s", output)
	g.Expect(string(output)).To(ContainSubstring("Verified OK"))
}

// A retry signs the same request again.
func TestSignReplacesAnEarlierSignature(t *testing.T) {
	g := NewWithT(t)
	v, certificate, at := readVector(g, "testdata/rsa2048-chain.json")
	r := v.request(g)
	g.Expect(certificate.Sign(r, nil, "us-east-1", at.Add(-time.Hour))).To(Succeed())
	g.Expect(certificate.Sign(r, []byte(v.Body), v.Region, at)).To(Succeed())
	g.Expect(r.Header.Get("Authorization")).To(Equal(v.Authorization + v.Signature))
}
