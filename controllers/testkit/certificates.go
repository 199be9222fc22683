package testkit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"

	. "github.com/onsi/gomega"
)

// Authority is a certificate authority. Its failures are failures of the test.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
	g           Gomega
}

// serialBits is the size of the random serial numbers.
const serialBits = 120

// NewAuthority returns an authority whose certificate is valid from an hour before a time to ten years after it. The issuer is
// another authority, or nil for a root.
func NewAuthority(g Gomega, issuer *Authority, now time.Time) *Authority {
	key := NewKey(g)
	a := &Authority{key: key, g: g}
	signer := issuer
	if signer == nil {
		signer = a
	}
	a.Certificate = signer.sign(key, now, func(c *x509.Certificate) {
		c.Subject.CommonName, c.IsCA, c.KeyUsage, c.NotAfter = "authority", true, x509.KeyUsageCertSign, now.AddDate(10, 0, 0)
	})
	return a
}

// NewKey returns an ECDSA key on P-256.
func NewKey(g Gomega) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	return key
}

// Issue returns the certificate of a key in PEM. It is an end-entity certificate for signatures that is valid from an hour before a
// time to a day after it, unless a function changes that.
func (a *Authority) Issue(key crypto.Signer, now time.Time, change ...func(*x509.Certificate)) []byte {
	return CertificatePEM(a.sign(key, now, change...))
}

func (a *Authority) sign(key crypto.Signer, now time.Time, change ...func(*x509.Certificate)) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	a.g.Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "operator"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 0, 1),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	for _, apply := range change {
		apply(template)
	}
	parent := a.Certificate
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), a.key)
	a.g.Expect(err).NotTo(HaveOccurred())
	issued, err := x509.ParseCertificate(der)
	a.g.Expect(err).NotTo(HaveOccurred())
	return issued
}

// CertificatePEM returns a certificate in PEM.
func CertificatePEM(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}

// KeyPEM returns a private key in PEM, as PKCS #8.
func KeyPEM(g Gomega, key crypto.Signer) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	g.Expect(err).NotTo(HaveOccurred())
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
