package stsemulator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"time"
)

// webToken is a signed JSON Web Token.
type webToken struct {
	algorithm, keyID string
	claims           claims
	signed           string
	signature        []byte
}

// claims are the claims of an ID token that STS evaluates.
type claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	Expires   *float64 `json:"exp"`
	NotBefore *float64 `json:"nbf"`
	IssuedAt  *float64 `json:"iat"`
}

// audience is a string or a list of strings.
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// parseToken parses a token without verifying it.
func parseToken(token string) (webToken, error) {
	invalid := newError("InvalidIdentityToken", "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return webToken{}, invalid
	}
	t := webToken{signed: parts[0] + "." + parts[1]}
	var header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	var err error
	if t.signature, err = base64.RawURLEncoding.DecodeString(parts[2]); err != nil ||
		decodePart(parts[0], &header) != nil || decodePart(parts[1], &t.claims) != nil || verifiers[header.Algorithm].verify == nil {
		return webToken{}, invalid
	}
	t.algorithm, t.keyID = header.Algorithm, header.KeyID
	return t, nil
}

func decodePart(part string, into any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// jwk is a public key of a JSON Web Key Set, RSA or P-256.
type jwk struct {
	KeyType string `json:"kty"`
	KeyID   string `json:"kid"`
	N       string `json:"n"`
	E       string `json:"e"`
	Curve   string `json:"crv"`
	X       string `json:"x"`
	Y       string `json:"y"`
}

func parseKeySet(data []byte) ([]jwk, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	err := json.Unmarshal(data, &set)
	return set.Keys, err
}

// verifiers are the accepted algorithms.
var verifiers = map[string]struct {
	keyType string
	verify  func(key jwk, digest, signature []byte) bool
}{
	"RS256": {"RSA", verifyRSA},
	"ES256": {"EC", verifyECDSA},
}

// verify verifies the token's signature with the key of its key ID.
func (t webToken) verify(keys []jwk) error {
	v := verifiers[t.algorithm]
	at := slices.IndexFunc(keys, func(k jwk) bool { return k.KeyID == t.keyID && k.KeyType == v.keyType })
	if at < 0 {
		return noVerificationKey()
	}
	digest := sha256.Sum256([]byte(t.signed))
	if !v.verify(keys[at], digest[:], t.signature) {
		return newError("InvalidIdentityToken", "Token signature invalid")
	}
	return nil
}

func verifyRSA(key jwk, digest, signature []byte) bool {
	n, e := decodeNumber(key.N), decodeNumber(key.E)
	if !e.IsInt64() || e.BitLen() > 31 {
		return false
	}
	return rsa.VerifyPKCS1v15(&rsa.PublicKey{N: n, E: int(e.Int64())}, crypto.SHA256, digest, signature) == nil
}

func verifyECDSA(key jwk, digest, signature []byte) bool {
	const size = 32
	x, y := decodeNumber(key.X), decodeNumber(key.Y)
	if key.Curve != "P-256" || len(signature) != 2*size || x.BitLen() > 8*size || y.BitLen() > 8*size {
		return false
	}
	point := slices.Concat([]byte{4}, x.FillBytes(make([]byte, size)), y.FillBytes(make([]byte, size)))
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	return err == nil &&
		ecdsa.Verify(public, digest, new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:]))
}

// decodeNumber returns 0, which no key contains, for an invalid number.
func decodeNumber(s string) *big.Int {
	data, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return new(big.Int)
	}
	return new(big.Int).SetBytes(data)
}

// checkTimes compares a token's times with the present, to the second.
func (c claims) checkTimes(now time.Time) error {
	seconds := float64(now.Unix())
	switch {
	case c.Expires == nil, c.NotBefore != nil && seconds < *c.NotBefore, c.IssuedAt != nil && seconds < *c.IssuedAt:
		return rejectedClaim()
	case seconds >= *c.Expires:
		return newError("ExpiredTokenException", "Token expired: current date/time %d must be before the expiration date/time%d",
			now.Unix(), int64(*c.Expires))
	}
	return nil
}
