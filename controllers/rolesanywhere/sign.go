package rolesanywhere

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/httpbinding"
)

// The algorithms of a signature (IAM Roles Anywhere User Guide, 'The IAM Roles Anywhere authentication signing process'): PKCS #1 v1.5
// for RSA, and an ASN.1 DER sequence for ECDSA, both of a SHA-256 hash.
const (
	algorithmRSA   = "AWS4-X509-RSA-SHA256"
	algorithmECDSA = "AWS4-X509-ECDSA-SHA256"
)

// The headers of a signed request.
const (
	headerDate        = "X-Amz-Date"
	headerCertificate = "X-Amz-X509"
	headerChain       = "X-Amz-X509-Chain"
)

const (
	service    = "rolesanywhere"
	dateFormat = "20060102T150405Z"
)

// Sign signs a request with this payload for a region, and adds the certificate and its intermediates. The time is that of the server.
// The signature covers the method, the path, the query, the payload, the host and the headers that Sign and [Source.Encode] set.
func (c *Certificate) Sign(r *http.Request, payload []byte, region string, at time.Time) error {
	at = at.UTC()
	r.Header.Set(headerDate, at.Format(dateFormat))
	r.Header.Set(headerCertificate, encode(c.leaf))
	r.Header.Del(headerChain)
	if len(c.intermediates) > 0 {
		var chain []string
		for _, intermediate := range c.intermediates {
			chain = append(chain, encode(intermediate))
		}
		r.Header.Set(headerChain, strings.Join(chain, ","))
	}
	scope := strings.Join([]string{at.Format("20060102"), region, service, "aws4_request"}, "/")
	canonical, headers := canonicalRequest(r, payload)
	digest := sha256.Sum256([]byte(stringToSign(c.algorithm, at, scope, canonical)))
	signature, err := c.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return fmt.Errorf("signing with the certificate's private key: %w", err)
	}
	r.Header.Set("Authorization", fmt.Sprintf("%s Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		c.algorithm, c.leaf.SerialNumber, scope, headers, hex.EncodeToString(signature)))
	return nil
}

func encode(certificate *x509.Certificate) string {
	return base64.StdEncoding.EncodeToString(certificate.Raw)
}

// canonicalRequest returns the canonical form of a request and the names of the signed headers (IAM User Guide, 'Create a signed AWS
// API request').
func canonicalRequest(r *http.Request, payload []byte) (canonical, signedHeaders string) {
	values := map[string]string{"host": cmp.Or(r.Host, r.URL.Host)}
	for _, name := range []string{"Content-Type", headerDate, headerCertificate, headerChain} {
		if value := r.Header.Get(name); value != "" {
			values[strings.ToLower(name)] = strings.TrimSpace(value)
		}
	}
	names := slices.Sorted(maps.Keys(values))
	var headers strings.Builder
	for _, name := range names {
		headers.WriteString(name + ":" + values[name] + "\n")
	}
	signedHeaders = strings.Join(names, ";")
	hash := sha256.Sum256(payload)
	return strings.Join([]string{
		r.Method, httpbinding.EscapePath(r.URL.EscapedPath(), false), strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20"),
		headers.String(), signedHeaders, hex.EncodeToString(hash[:]),
	}, "\n"), signedHeaders
}

func stringToSign(algorithm string, at time.Time, scope, canonical string) string {
	hash := sha256.Sum256([]byte(canonical))
	return strings.Join([]string{algorithm, at.Format(dateFormat), scope, hex.EncodeToString(hash[:])}, "\n")
}
