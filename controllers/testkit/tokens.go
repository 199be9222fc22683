package testkit

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	. "github.com/onsi/gomega"
)

// TokenSigner signs JSON Web Tokens with ES256. Its failures are failures of the test.
type TokenSigner struct {
	key *ecdsa.PrivateKey
	g   Gomega
}

// NewTokenSigner returns a signer with a new key.
func NewTokenSigner(g Gomega) TokenSigner { return TokenSigner{NewKey(g), g} }

func segment(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// KeySet returns the JSON Web Key Set of the key.
func (s TokenSigner) KeySet() json.RawMessage {
	point, err := s.key.PublicKey.Bytes()
	s.g.Expect(err).NotTo(HaveOccurred())
	return fmt.Appendf(nil, `{"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "one", "x": %q, "y": %q}]}`, segment(point[1:33]), segment(point[33:]))
}

// Sign returns a token with the claims.
func (s TokenSigner) Sign(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	s.g.Expect(err).NotTo(HaveOccurred())
	signed := segment([]byte(`{"alg": "ES256", "kid": "one"}`)) + "." + segment(payload)
	digest := sha256.Sum256([]byte(signed))
	r, sig, err := ecdsa.Sign(rand.Reader, s.key, digest[:])
	s.g.Expect(err).NotTo(HaveOccurred())
	return signed + "." + segment(slices.Concat(r.FillBytes(make([]byte, 32)), sig.FillBytes(make([]byte, 32))))
}
