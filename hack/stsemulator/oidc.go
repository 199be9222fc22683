package stsemulator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// OIDCProvider is an account's OpenID Connect provider. Its ARN is arn:aws:iam::<account>:oidc-provider/<issuer without its https://>, in
// the account's partition. Without JWKS and JWKSURL, all of its tokens are rejected.
type OIDCProvider struct {
	// Issuer is the exact claim "iss" of the tokens, an https URL.
	Issuer string `json:"issuer"`
	// ClientIDs are the accepted audiences.
	ClientIDs []string `json:"clientIDs"`
	// JWKS is the issuer's JSON Web Key Set.
	JWKS json.RawMessage `json:"jwks,omitempty"`
	// JWKSURL is an alternative to JWKS. The key set is fetched for every token, without credentials.
	JWKSURL string `json:"jwksURL,omitempty"`
	// CABundle contains the CAs for JWKSURL in PEM; the system's if empty.
	CABundle string `json:"caBundle,omitempty"`
}

func (p OIDCProvider) validate() error {
	issuer, err := url.Parse(p.Issuer)
	if err != nil || issuer.Scheme != "https" || issuer.Host == "" {
		return fmt.Errorf("OIDC provider %q: issuer must be an https URL", p.Issuer)
	}
	if len(p.ClientIDs) == 0 {
		return fmt.Errorf("OIDC provider %q: clientIDs must not be empty", p.Issuer)
	}
	if len(p.JWKS) > 0 && p.JWKSURL != "" {
		return fmt.Errorf("OIDC provider %q: jwks and jwksURL exclude each other", p.Issuer)
	}
	if len(p.JWKS) > 0 {
		if _, err := parseKeySet(p.JWKS); err != nil {
			return fmt.Errorf("OIDC provider %q: jwks: %w", p.Issuer, err)
		}
	}
	if p.CABundle != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(p.CABundle)) {
		return fmt.Errorf("OIDC provider %q: caBundle holds no certificate", p.Issuer)
	}
	return nil
}

// name returns the issuer as in ARNs and condition keys.
func (p OIDCProvider) name() string { return strings.TrimPrefix(p.Issuer, "https://") }

// provider returns an account's provider by a token's issuer.
func (i *iam) provider(accountID, issuer string) (p OIDCProvider, providerARN string, ok bool) {
	a := i.account(accountID)
	at := slices.IndexFunc(a.OIDCProviders, func(p OIDCProvider) bool { return p.Issuer == issuer })
	if at < 0 {
		return OIDCProvider{}, "", false
	}
	return a.OIDCProviders[at], iamARN(a, "oidc-provider/"+a.OIDCProviders[at].name()), true
}

// putProvider adds a provider to an account, or replaces the one of that issuer.
func (i *iam) putProvider(accountID string, p OIDCProvider) (providerARN string, err error) {
	if err := p.validate(); err != nil {
		return "", err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	a, ok := i.accounts[accountID]
	if !ok {
		return "", fmt.Errorf("no account %q", accountID)
	}
	a.OIDCProviders = slices.DeleteFunc(slices.Clone(a.OIDCProviders), func(old OIDCProvider) bool { return old.Issuer == p.Issuer })
	a.OIDCProviders = append(a.OIDCProviders, p)
	i.accounts[accountID] = a
	return iamARN(a, "oidc-provider/"+p.name()), nil
}

// keys returns the issuer's keys. A response of JWKSURL that is not a key set contains none.
func (p OIDCProvider) keys(ctx context.Context) ([]jwk, error) {
	set := []byte(p.JWKS)
	if p.JWKSURL != "" {
		fetched, err := p.fetch(ctx)
		if err != nil {
			return nil, newError("IDPCommunicationError", "The request could not be fulfilled because the identity provider (IDP) "+
				"that was asked to verify the incoming identity token could not be reached.")
		}
		set = fetched
	}
	keys, err := parseKeySet(set)
	if err != nil {
		return nil, noVerificationKey()
	}
	return keys, nil
}

const fetchTimeout = 5 * time.Second

func (p OIDCProvider) fetch(ctx context.Context) (body []byte, err error) {
	roots := (*x509.CertPool)(nil)
	if p.CABundle != "" {
		roots = x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(p.CABundle))
	}
	client := http.Client{Timeout: fetchTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.JWKSURL, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode >= http.StatusInternalServerError {
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxBody))
}

func noVerificationKey() error {
	return newError("InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider,  "+
		"please reference AssumeRoleWithWebIdentity documentation for requirements")
}

// rejectedClaim is the error for a token with a valid signature and an invalid claim. AWS does not document the claims that it applies to.
func rejectedClaim() error {
	return newError("IDPRejectedClaim", "The identity provider (IdP) reported that authentication failed. This might be because the claim is invalid.")
}
