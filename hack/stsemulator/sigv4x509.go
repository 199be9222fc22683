package stsemulator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithmRSA   = "AWS4-X509-RSA-SHA256"
	algorithmECDSA = "AWS4-X509-ECDSA-SHA256"

	x509Header      = "X-Amz-X509"
	x509ChainHeader = "X-Amz-X509-Chain"
	// maxChain is the maximum number of certificates in x509ChainHeader.
	maxChain = 5

	x509SigningService = "rolesanywhere"
	// x509SignatureValidity is the tolerated difference between the request's date and the server's clock. AWS documents that a request
	// must arrive within five minutes in most cases (IAM User Guide, 'Elements of an AWS API request signature').
	x509SignatureValidity = 5 * time.Minute
)

func unverified(format string, args ...any) *apiError {
	return newError("AccessDeniedException", format, args...)
}

// parseX509Authorization parses the Authorization header of a request that the key of a certificate signed (IAM Roles Anywhere User Guide,
// 'The IAM Roles Anywhere authentication signing process'). Its access key ID is the certificate's serial number in decimal.
func parseX509Authorization(h http.Header) (authorization, error) {
	algorithm, values := splitAuthorization(h.Get("Authorization"))
	scope := strings.Split(values["Credential"], "/")
	switch {
	case algorithm != algorithmRSA && algorithm != algorithmECDSA:
		return authorization{}, unverified("Unsupported signing algorithm %q.", algorithm)
	case len(scope) != 5 || values["SignedHeaders"] == "" || values["Signature"] == "":
		return authorization{}, unverified("The Authorization header is incomplete.")
	}
	return authorization{
		algorithm: algorithm, accessKeyID: scope[0], date: scope[1], region: scope[2], service: scope[3], terminator: scope[4],
		signedHeaders: values["SignedHeaders"], signature: values["Signature"],
	}, nil
}

// certificatesOf returns the certificate that signed a request, followed by its chain.
func certificatesOf(h http.Header) ([]*x509.Certificate, error) {
	encoded := []string{h.Get(x509Header)}
	if chain := h.Get(x509ChainHeader); chain != "" {
		encoded = append(encoded, strings.Split(chain, ",")...)
	}
	if len(encoded) > 1+maxChain {
		return nil, unverified("%s holds more than %d certificates.", x509ChainHeader, maxChain)
	}
	var certificates []*x509.Certificate
	for _, text := range encoded {
		der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil {
			return nil, unverified("A certificate is not the base64 of DER.")
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, unverified("A certificate cannot be parsed.")
		}
		certificates = append(certificates, certificate)
	}
	return certificates, nil
}

// verifyX509 verifies that the key of a certificate signed a request, and when.
func (a authorization) verifyX509(r *http.Request, body []byte, certificate *x509.Certificate, now time.Time) error {
	date := r.Header.Get("X-Amz-Date")
	signed, err := time.Parse(amzDate, date)
	switch {
	case err != nil:
		return unverified("X-Amz-Date must be in ISO 8601's basic format, not %q.", date)
	case now.Sub(signed) > x509SignatureValidity:
		return unverified("Signature expired: %s is now earlier than %s", date, now.Add(-x509SignatureValidity).UTC().Format(amzDate))
	case signed.Sub(now) > x509SignatureValidity:
		return unverified("Signature not yet current: %s is still later than %s", date, now.Add(x509SignatureValidity).UTC().Format(amzDate))
	case a.accessKeyID != certificate.SerialNumber.String():
		return unverified("The credential scope does not start with the certificate's serial number.")
	case a.date != signed.Format("20060102") || a.service != x509SigningService || a.terminator != signingTerminator:
		return unverified("The credential scope is not of this date and service.")
	}
	if err := a.checkSignedHeaders(r.Header); err != nil {
		return err
	}
	canonical := sha256.Sum256([]byte(canonicalRequest(r, strings.Split(a.signedHeaders, ";"), body)))
	scope := strings.Join([]string{a.date, a.region, a.service, a.terminator}, "/")
	return a.verifyWith(certificate, strings.Join([]string{a.algorithm, date, scope, hex.EncodeToString(canonical[:])}, "\n"))
}

// checkSignedHeaders rejects a signature that does not cover the headers that it must cover.
func (a authorization) checkSignedHeaders(h http.Header) error {
	signed := strings.Split(a.signedHeaders, ";")
	if !slices.IsSorted(signed) {
		return unverified("SignedHeaders is not sorted.")
	}
	required := []string{"host", "x-amz-date", strings.ToLower(x509Header)}
	for name := range h {
		if name = strings.ToLower(name); name == "content-type" || strings.HasPrefix(name, "x-amz-") {
			required = append(required, name)
		}
	}
	for _, name := range required {
		if !slices.Contains(signed, name) {
			return unverified("The header %s is not signed.", name)
		}
	}
	return nil
}

func (a authorization) verifyWith(certificate *x509.Certificate, stringToSign string) error {
	signature, err := hex.DecodeString(a.signature)
	if err != nil {
		return unverified("The signature is not hexadecimal.")
	}
	sum := sha256.Sum256([]byte(stringToSign))
	valid := false
	switch key := certificate.PublicKey.(type) {
	case *rsa.PublicKey:
		valid = a.algorithm == algorithmRSA && rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
	case *ecdsa.PublicKey:
		valid = a.algorithm == algorithmECDSA && ecdsa.VerifyASN1(key, sum[:], signature)
	}
	if !valid {
		return unverified("The signature does not match.")
	}
	return nil
}

// canonicalRequest returns the canonical request of Signature Version 4 (IAM User Guide, 'Create a signed AWS API request').
func canonicalRequest(r *http.Request, signedHeaders []string, body []byte) string {
	query := r.URL.Query()
	for _, values := range query {
		slices.Sort(values)
	}
	lines := []string{r.Method, r.URL.EscapedPath(), strings.ReplaceAll(query.Encode(), "+", "%20")}
	for _, name := range signedHeaders {
		lines = append(lines, name+":"+canonicalValue(r, name))
	}
	hash := sha256.Sum256(body)
	return strings.Join(append(lines, "", strings.Join(signedHeaders, ";"), hex.EncodeToString(hash[:])), "\n")
}

// canonicalValue returns the values of a header without surplus spaces.
func canonicalValue(r *http.Request, name string) string {
	values := r.Header.Values(name)
	switch name {
	case "host":
		values = []string{r.Host}
	case "content-length":
		values = []string{strconv.FormatInt(r.ContentLength, 10)}
	}
	trimmed := make([]string, len(values))
	for i, value := range values {
		trimmed[i] = strings.Join(strings.Fields(value), " ")
	}
	return strings.Join(trimmed, ",")
}
