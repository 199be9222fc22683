package stsemulator_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	issuerURL   = "https://cluster.example:6443/one"
	issuerName  = "cluster.example:6443/one"
	providerARN = "arn:aws:iam::123456789012:oidc-provider/" + issuerName
	accountARN  = "arn:aws:iam::123456789012:role/ServiceAccount"
	readerSub   = "system:serviceaccount:shop:reader"
)

// issuer signs tokens with an RSA or an EC key.
type issuer struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) issuer {
	t.Helper()
	g := NewWithT(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	g.Expect(err).NotTo(HaveOccurred())
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	return issuer{rsaKey, ecKey}
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// keySet returns the public keys "rsa" and "ec".
func (i issuer) keySet(t *testing.T) json.RawMessage {
	t.Helper()
	g := NewWithT(t)
	point, err := i.ec.PublicKey.Bytes()
	g.Expect(err).NotTo(HaveOccurred())
	set, err := json.Marshal(map[string]any{"keys": []map[string]string{
		{"use": "sig", "kty": "RSA", "kid": "rsa", "alg": "RS256", "n": encode(i.rsa.N.Bytes()), "e": encode(big.NewInt(int64(i.rsa.E)).Bytes())},
		{"use": "sig", "kty": "EC", "kid": "ec", "alg": "ES256", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])},
	}})
	g.Expect(err).NotTo(HaveOccurred())
	return set
}

// claimsOf returns the claims of a kube-apiserver's token for an hour, with changes. nil removes a claim.
func claimsOf(changes map[string]any) map[string]any {
	claims := map[string]any{
		"iss": issuerURL, "sub": readerSub, "aud": []string{"sts.amazonaws.com"},
		"iat": start.Unix(), "nbf": start.Unix(), "exp": start.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": "shop"},
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// token signs claims with a key; the header may name another one.
func (i issuer) token(t *testing.T, keyID string, header, claims map[string]any) string {
	t.Helper()
	g := NewWithT(t)
	said := map[string]any{"alg": map[string]string{"rsa": "RS256", "ec": "ES256"}[keyID], "kid": keyID}
	maps.Copy(said, header)
	first, err := json.Marshal(said)
	g.Expect(err).NotTo(HaveOccurred())
	second, err := json.Marshal(claims)
	g.Expect(err).NotTo(HaveOccurred())
	signed := encode(first) + "." + encode(second)
	digest := sha256.Sum256([]byte(signed))
	if keyID == "rsa" {
		signature, err := rsa.SignPKCS1v15(rand.Reader, i.rsa, crypto.SHA256, digest[:])
		g.Expect(err).NotTo(HaveOccurred())
		return signed + "." + encode(signature)
	}
	r, s, err := ecdsa.Sign(rand.Reader, i.ec, digest[:])
	g.Expect(err).NotTo(HaveOccurred())
	return signed + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// serveIssuer serves a configuration with a role that trusts the issuer's tokens for ServiceAccounts of shop.
func serveIssuer(t *testing.T, i issuer, opts stsemulator.Options) emulator {
	t.Helper()
	g := NewWithT(t)
	e := serve(t, opts)
	arn, err := e.PutOIDCProvider("123456789012", stsemulator.OIDCProvider{
		Issuer: issuerURL, ClientIDs: []string{"other", "sts.amazonaws.com"}, JWKS: i.keySet(t),
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(arn).To(Equal(providerARN))
	g.Expect(e.PutRole("123456789012", stsemulator.Role{
		Name: "ServiceAccount", MaxSessionDuration: 43200, MayAssume: []string{"*"},
		Trust: []stsemulator.Trust{trustShop()},
	})).To(Succeed())
	return e
}

func trustShop() stsemulator.Trust {
	return stsemulator.Trust{
		Federated:    providerARN,
		StringEquals: map[string][]string{issuerName + ":aud": {"sts.amazonaws.com"}},
		StringLike:   map[string][]string{issuerName + ":sub": {"system:serviceaccount:bakery:*", "system:serviceaccount:shop:*"}},
	}
}
