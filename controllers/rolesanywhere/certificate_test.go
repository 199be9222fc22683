package rolesanywhere_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/controllers/rolesanywhere"
	"rolecredential.dev/operator/controllers/testkit"
)

var now = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

func TestParseRejectsWhatRolesAnywhereRejects(t *testing.T) {
	g := NewWithT(t)
	root := testkit.NewAuthority(g, nil, now)
	outer := testkit.NewAuthority(g, root, now)
	inner := testkit.NewAuthority(g, outer, now)
	key := testkit.NewKey(g)
	leaf := inner.Issue(key, now)
	secret := testkit.KeyPEM(g, key)
	innerPEM, outerPEM := testkit.CertificatePEM(inner.Certificate), testkit.CertificatePEM(outer.Certificate)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	sec1, err := x509.MarshalECPrivateKey(key)
	g.Expect(err).NotTo(HaveOccurred())
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	for name, tc := range map[string]struct {
		certificates, key []byte
		wantErr           string
	}{
		"a certificate":                        {certificates: leaf, key: secret},
		"a certificate with its intermediates": {certificates: slices.Concat(leaf, innerPEM, outerPEM), key: secret},
		"the root too":                         {certificates: slices.Concat(leaf, innerPEM, outerPEM, testkit.CertificatePEM(root.Certificate)), key: secret},
		"a key of SEC 1 after its parameters":  {certificates: leaf, key: slices.Concat(block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), block("EC PRIVATE KEY", sec1))},
		"text around the certificate":          {certificates: slices.Concat([]byte("subject=CN=operator\n"), leaf, []byte("\n")), key: secret},
		"no certificate":                       {key: secret, wantErr: "tls.crt contains no PEM certificate"},
		"a certificate that is not PEM":        {certificates: []byte("MIIB"), key: secret, wantErr: "tls.crt contains no PEM certificate"},
		"the key in place of the certificate":  {certificates: secret, key: secret, wantErr: "tls.crt contains no PEM certificate"},
		"a certificate that is cut off":        {certificates: block("CERTIFICATE", []byte{48, 3}), key: secret, wantErr: "certificate 1 in tls.crt is not a valid X.509 certificate"},
		"no key":                               {certificates: leaf, wantErr: "tls.key contains no PEM private key"},
		"a key that is not PEM":                {certificates: leaf, key: []byte("MIIB"), wantErr: "tls.key contains no PEM private key"},
		"a key that is cut off":                {certificates: leaf, key: block("PRIVATE KEY", []byte{48, 3}), wantErr: "tls.key contains no PEM private key"},
		"a key of RSA that is none":            {certificates: leaf, key: block("RSA PRIVATE KEY", sec1), wantErr: "tls.key contains no PEM private key"},
		"an encrypted key":                     {certificates: leaf, key: block("ENCRYPTED PRIVATE KEY", []byte{48, 3}), wantErr: "the private key in tls.key is encrypted"},
		"another key":                          {certificates: leaf, key: testkit.KeyPEM(g, testkit.NewKey(g)), wantErr: "the private key in tls.key is not that of the first certificate"},
		"a certificate authority":              {certificates: innerPEM, key: secret, wantErr: "is that of a certificate authority"},
		"the chain in the wrong order":         {certificates: slices.Concat(leaf, outerPEM, innerPEM), key: secret, wantErr: "certificate 1 in tls.crt is not signed by certificate 2"},
		"the last two in the wrong order":      {certificates: slices.Concat(leaf, innerPEM, testkit.CertificatePEM(root.Certificate), outerPEM), key: secret, wantErr: "certificate 2 in tls.crt is not signed by certificate 3"},
		"another authority's certificate":      {certificates: slices.Concat(leaf, testkit.CertificatePEM(testkit.NewAuthority(g, nil, now).Certificate)), key: secret, wantErr: "certificate 1 in tls.crt is not signed by certificate 2"},
		"nine intermediates":                   {certificates: slices.Concat(leaf, slices.Repeat(innerPEM, 9)), key: secret, wantErr: "more than 8 intermediates"},
		"a large certificate":                  {certificates: slices.Concat(leaf, make([]byte, 64<<10)), key: secret, wantErr: "tls.crt has more than 65536 bytes"},
		"a large key":                          {certificates: leaf, key: slices.Concat(secret, make([]byte, 8<<10)), wantErr: "tls.key has more than 8192 bytes"},
		"no key usage": {
			certificates: inner.Issue(key, now, func(c *x509.Certificate) { c.KeyUsage = 0 }), key: secret, wantErr: "does not have the key usage digitalSignature",
		},
		"another key usage": {
			certificates: inner.Issue(key, now, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), key: secret,
			wantErr: "does not have the key usage digitalSignature",
		},
		"an Ed25519 key":   {certificates: inner.Issue(edwards, now), key: testkit.KeyPEM(g, edwards), wantErr: "the key of the certificate in tls.crt is Ed25519, which"},
		"an ML-DSA-44 key": {certificates: withKeyType(g, leaf, 17), key: secret, wantErr: "the key of the certificate in tls.crt is ML-DSA-44, which"},
		"an ML-DSA-87 key": {certificates: withKeyType(g, leaf, 19), key: secret, wantErr: "the key of the certificate in tls.crt is ML-DSA-87, which"},
		"an unknown key":   {certificates: withKeyType(g, leaf, 99), key: secret, wantErr: "the key of the certificate in tls.crt is of an unknown type, which"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			parsed, err := rolesanywhere.Parse(tc.certificates, tc.key)
			if tc.wantErr == "" {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(now).To(And(BeTemporally(">=", parsed.NotBefore), BeTemporally("<=", parsed.NotAfter)))
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(tc.wantErr)))
			g.Expect(err.Error()).To(ContainSubstring(": "), "it says what to do")
			for line := range strings.Lines(string(tc.key)) {
				if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-") {
					g.Expect(err.Error()).NotTo(ContainSubstring(line))
				}
			}
		})
	}
}

// withKeyType returns a certificate whose public key has an ML-DSA object identifier, which the standard library cannot issue.
func withKeyType(g Gomega, certificate []byte, last int) []byte {
	block, _ := pem.Decode(certificate)
	var outer struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	_, err := asn1.Unmarshal(block.Bytes, &outer)
	g.Expect(err).NotTo(HaveOccurred())
	parsed, err := x509.ParseCertificate(block.Bytes)
	g.Expect(err).NotTo(HaveOccurred())
	public, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, last}}, asn1.BitString{Bytes: make([]byte, 64), BitLength: 512}})
	g.Expect(err).NotTo(HaveOccurred())
	before, after, found := strings.Cut(string(outer.TBS.Bytes), string(parsed.RawSubjectPublicKeyInfo))
	g.Expect(found).To(BeTrue())
	outer.TBS = asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSequence, IsCompound: true, Bytes: []byte(before + string(public) + after)}
	der, err := asn1.Marshal(outer)
	g.Expect(err).NotTo(HaveOccurred())
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestParseAcceptsKeysOfRSAAndECDSA(t *testing.T) {
	g := NewWithT(t)
	root := testkit.NewAuthority(g, nil, now)
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	g.Expect(err).NotTo(HaveOccurred())
	middle, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	for _, key := range []crypto.Signer{small, middle} {
		_, err := rolesanywhere.Parse(root.Issue(key, now), testkit.KeyPEM(g, key))
		g.Expect(err).NotTo(HaveOccurred())
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(small)})
	_, err = rolesanywhere.Parse(root.Issue(small, now), pkcs1)
	g.Expect(err).NotTo(HaveOccurred())
}

// AWS validates the whole chain, so an intermediate that expires first ends the validity.
func TestCertificateIsValidWhileAllOfItsChainIs(t *testing.T) {
	g := NewWithT(t)
	root := testkit.NewAuthority(g, nil, now)
	inner := testkit.NewAuthority(g, root, now)
	key := testkit.NewKey(g)
	long := inner.Issue(key, now, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.AddDate(-1, 0, 0), now.AddDate(20, 0, 0) })
	alone, err := rolesanywhere.Parse(long, testkit.KeyPEM(g, key))
	g.Expect(err).NotTo(HaveOccurred())
	chain, err := rolesanywhere.Parse(slices.Concat(long, testkit.CertificatePEM(inner.Certificate)), testkit.KeyPEM(g, key))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]time.Time{alone.NotBefore, alone.NotAfter}).To(Equal([]time.Time{now.AddDate(-1, 0, 0), now.AddDate(20, 0, 0)}))
	g.Expect([]time.Time{chain.NotBefore, chain.NotAfter}).To(Equal([]time.Time{inner.Certificate.NotBefore, inner.Certificate.NotAfter}))
}
