// Package rolesanywhere reads certificates for IAM Roles Anywhere, and signs and encodes the call CreateSession. It is pure, apart
// from the random numbers of a signature: it sends nothing.
package rolesanywhere

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"time"
)

// The keys of a Secret of type kubernetes.io/tls.
const (
	CertificateKey = "tls.crt"
	PrivateKeyKey  = "tls.key"
)

// Bounds on what is parsed and sent. An RSA key of 8192 bits takes less than maxKey bytes, and the header of eight intermediates about 16 KiB.
const (
	maxCertificates  = 64 << 10
	maxKey           = 8 << 10
	maxIntermediates = 8
)

// Certificate is an end-entity certificate with its private key and intermediates.
type Certificate struct {
	leaf          *x509.Certificate
	intermediates []*x509.Certificate
	key           crypto.Signer
	algorithm     string
	// NotBefore and NotAfter bound the time in which the certificate and all intermediates are valid. Both are included.
	NotBefore, NotAfter time.Time
}

// Parse returns the certificate of PEM data: the certificate and then its intermediates, each signed by the next, and the private key.
// It checks what IAM Roles Anywhere requires ('The IAM Roles Anywhere trust model', 'Signature verification'), except for the time. Its
// errors say what is wrong and what to do, and contain nothing of the key.
func Parse(certificates, key []byte) (*Certificate, error) {
	chain, err := parseChain(certificates)
	if err != nil {
		return nil, err
	}
	c := &Certificate{
		leaf: chain[0], intermediates: chain[1:],
		NotBefore: slices.MaxFunc(chain, func(a, b *x509.Certificate) int { return a.NotBefore.Compare(b.NotBefore) }).NotBefore,
		NotAfter:  slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter,
	}
	if err := checkLeaf(c.leaf); err != nil {
		return nil, err
	}
	if err := checkOrder(chain); err != nil {
		return nil, err
	}
	if c.algorithm, err = algorithmOf(c.leaf); err != nil {
		return nil, err
	}
	if c.key, err = parseKey(key); err != nil {
		return nil, err
	}
	if public, ok := c.leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(c.key.Public()) {
		return nil, fmt.Errorf("the private key in %s is not that of the first certificate in %s: store the two together", PrivateKeyKey, CertificateKey)
	}
	return c, nil
}

func parseChain(certificates []byte) (chain []*x509.Certificate, err error) {
	if len(certificates) > maxCertificates {
		return nil, fmt.Errorf("%s has more than %d bytes: store only the certificate and its intermediates", CertificateKey, maxCertificates)
	}
	for block, rest := pem.Decode(certificates); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in %s is not a valid X.509 certificate: have it issued again", len(chain)+1, CertificateKey)
		}
		chain = append(chain, parsed)
	}
	switch {
	case len(chain) == 0:
		return nil, fmt.Errorf("%s contains no PEM certificate: store the certificate there, and then its intermediates", CertificateKey)
	case len(chain) > 1+maxIntermediates:
		return nil, fmt.Errorf("%s contains more than %d intermediates: store only those between the certificate and the trust anchor", CertificateKey, maxIntermediates)
	default:
		return chain, nil
	}
}

func checkLeaf(leaf *x509.Certificate) error {
	switch {
	case leaf.IsCA:
		return fmt.Errorf("the first certificate in %s is that of a certificate authority: store an end-entity certificate first", CertificateKey)
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fmt.Errorf("the certificate in %s does not have the key usage digitalSignature: have it issued with that", CertificateKey)
	case leaf.SignatureAlgorithm == x509.SHA1WithRSA || leaf.SignatureAlgorithm == x509.ECDSAWithSHA1 || leaf.SignatureAlgorithm == x509.MD5WithRSA:
		return fmt.Errorf("the certificate in %s is signed with %s, which IAM Roles Anywhere rejects: have it signed with SHA-256 or stronger", CertificateKey, leaf.SignatureAlgorithm)
	default:
		return nil
	}
}

func checkOrder(chain []*x509.Certificate) error {
	for i := range chain[1:] {
		if err := chain[i].CheckSignatureFrom(chain[i+1]); err != nil {
			return fmt.Errorf("certificate %d in %s is not signed by certificate %d: store the certificate first, and then each issuer's certificate after the one that it signed",
				i+1, CertificateKey, i+2)
		}
	}
	return nil
}

// keyTypes names the types of keys that are not supported, by the object identifier of the certificate's public key (RFC 8410, RFC 9881).
var keyTypes = map[string]string{
	"1.3.101.112": "Ed25519", "2.16.840.1.101.3.4.3.17": "ML-DSA-44", "2.16.840.1.101.3.4.3.18": "ML-DSA-65", "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}

// algorithmOf returns the signature algorithm for a certificate's key.
func algorithmOf(leaf *x509.Certificate) (string, error) {
	switch leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		return algorithmRSA, nil
	case *ecdsa.PublicKey:
		return algorithmECDSA, nil
	}
	var public struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	name := "of an unknown type"
	if _, err := asn1.Unmarshal(leaf.RawSubjectPublicKeyInfo, &public); err == nil && keyTypes[public.Algorithm.Algorithm.String()] != "" {
		name = keyTypes[public.Algorithm.Algorithm.String()]
	}
	return "", fmt.Errorf("the key of the certificate in %s is %s, which the operator cannot sign requests to IAM Roles Anywhere with: have a certificate issued for an RSA or ECDSA key",
		CertificateKey, name)
}

var errKey = fmt.Errorf("%s contains no PEM private key: store the unencrypted key of the certificate there, as PKCS#8, PKCS#1 or SEC 1", PrivateKeyKey)

func parseKey(data []byte) (crypto.Signer, error) {
	if len(data) > maxKey {
		return nil, fmt.Errorf("%s has more than %d bytes: store only the private key of the certificate", PrivateKeyKey, maxKey)
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, fmt.Errorf("the private key in %s is encrypted: store it unencrypted", PrivateKeyKey)
		default:
			continue // such as EC PARAMETERS
		}
		if signer, ok := key.(crypto.Signer); ok && err == nil {
			return signer, nil
		}
		return nil, errKey
	}
	return nil, errKey
}
