package stsemulator_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
)

// authority is a CA.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func caTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}},
		NotBefore: start.AddDate(-1, 0, 0), NotAfter: start.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, IsCA: true, BasicConstraintsValid: true,
	}
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key := ecKey(elliptic.P256())(t)
	template := caTemplate("Root")
	return authority{sign(t, template, template, key.Public(), key), key}
}

func (a authority) intermediate(t *testing.T) authority {
	t.Helper()
	key := ecKey(elliptic.P384())(t)
	return authority{sign(t, caTemplate("Intermediate"), a.certificate, key.Public(), a.key), key}
}

// issue returns a certificate as cert-manager issues it, unless it is changed.
func (a authority) issue(t *testing.T, key crypto.PublicKey, change ...func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "rolecredential-operator", Organization: []string{"Example"}},
		NotBefore: start.Add(-time.Hour), NotAfter: start.AddDate(0, 3, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		DNSNames: []string{"operator.example.com", "other.example.com"}, URIs: []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/operator"}},
	}
	for _, f := range change {
		f(template)
	}
	return sign(t, template, a.certificate, key, a.key)
}

func sign(t *testing.T, template, parent *x509.Certificate, key crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	t.Helper()
	g := NewWithT(t)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, by)
	g.Expect(err).NotTo(HaveOccurred())
	certificate, err := x509.ParseCertificate(der)
	g.Expect(err).NotTo(HaveOccurred())
	return certificate
}

func (a authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

// attempt returns a valid call of CreateSession with a new key.
func (a authority) attempt(t *testing.T) attempt {
	t.Helper()
	key := ecKey(elliptic.P256())(t)
	return attempt{key: key, certificate: a.issue(t, key.Public())}
}

// attempt is a call of CreateSession. The zero values of the other fields are those of a valid request.
type attempt struct {
	key         crypto.Signer
	certificate *x509.Certificate
	chain       []*x509.Certificate
	// body has the parameters that are not the default ones. With inQuery the ARNs are in the query.
	body    map[string]any
	inQuery bool

	at                                 time.Time
	algorithm, serial, region, service string
	// unsigned is a header that the signature does not cover. after changes the signed request.
	unsigned string
	after    func(*http.Request)
}

func after(change func(*http.Request)) func(*testing.T, *attempt) {
	return func(_ *testing.T, a *attempt) { a.after = change }
}

func replaceBody(r *http.Request, body string) {
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
}

func encodeChain(certificates ...*x509.Certificate) string {
	var encoded []string
	for _, c := range certificates {
		encoded = append(encoded, base64.StdEncoding.EncodeToString(c.Raw))
	}
	return strings.Join(encoded, ",")
}

func orDefault(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// request returns the signed request.
func (a attempt) request(t *testing.T, e emulator) *http.Request {
	t.Helper()
	g := NewWithT(t)
	arns := map[string]any{"profileArn": profileARN, "roleArn": onPremisesARN, "trustAnchorArn": anchorARN}
	body, query := map[string]any{}, url.Values{}
	for name, value := range arns {
		if a.inQuery {
			query.Set(name, value.(string))
		} else {
			body[name] = value
		}
	}
	maps.Copy(body, a.body)
	text, err := json.Marshal(body)
	g.Expect(err).NotTo(HaveOccurred())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.endpoint.URL+"/sessions?"+query.Encode(), bytes.NewReader(text))
	g.Expect(err).NotTo(HaveOccurred())
	if a.at.IsZero() {
		a.at = clock.RealClock{}.Now()
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Amz-Date", a.at.UTC().Format("20060102T150405Z"))
	r.Header.Set("X-Amz-X509", encodeChain(a.certificate))
	if len(a.chain) > 0 {
		r.Header.Set("X-Amz-X509-Chain", encodeChain(a.chain...))
	}
	a.sign(t, r, text)
	if a.after != nil {
		a.after(r)
	}
	return r
}

// sign sets the header Authorization.
func (a attempt) sign(t *testing.T, r *http.Request, body []byte) {
	t.Helper()
	headers := map[string]string{"host": r.URL.Host}
	for name := range r.Header {
		headers[strings.ToLower(name)] = r.Header.Get(name)
	}
	delete(headers, a.unsigned)
	names := slices.Sorted(maps.Keys(headers))
	canonical := "POST\n/sessions\n" + r.URL.RawQuery + "\n"
	for _, name := range names {
		canonical += name + ":" + headers[name] + "\n"
	}
	signedHeaders := strings.Join(names, ";")
	canonical += "\n" + signedHeaders + "\n" + hexSHA256(body)

	algorithm := orDefault(a.algorithm, "AWS4-X509-ECDSA-SHA256")
	if _, isRSA := a.key.Public().(interface{ Size() int }); isRSA && a.algorithm == "" {
		algorithm = "AWS4-X509-RSA-SHA256"
	}
	scope := strings.Join([]string{a.at.UTC().Format("20060102"), orDefault(a.region, region), orDefault(a.service, "rolesanywhere"), "aws4_request"}, "/")
	sum := sha256.Sum256([]byte(strings.Join([]string{algorithm, r.Header.Get("X-Amz-Date"), scope, hexSHA256([]byte(canonical))}, "\n")))
	signature, err := a.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	credential := orDefault(a.serial, a.certificate.SerialNumber.String()) + "/" + scope
	r.Header.Set("Authorization", algorithm+" Credential="+credential+", SignedHeaders="+signedHeaders+", Signature="+hex.EncodeToString(signature))
}

func hexSHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
