package identity

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

const (
	// providerTimeout bounds the requests for one token. It bounds I/O, so it runs on real time.
	providerTimeout = 10 * time.Second
	// providerMargin is how long before its expiry a token is no longer used.
	providerMargin = time.Minute
	// rejectedFor is how long the operator does not repeat a request that the provider rejected, unless the identity or its
	// Secret changes. Providers lock clients out that fail again and again.
	rejectedFor = time.Minute
	// maxProviderAnswer is the longest response in bytes that is read, also by package oauth2.
	maxProviderAnswer = 1 << 20
)

// tokenProvider requests the tokens of a client from an OIDC provider, one request at a time, and keeps a token in memory
// until it is about to expire.
type tokenProvider struct {
	issuer, tokenURL string
	secret           secretKey
	// config must not be copied: package oauth2 keeps in it how the provider takes the client's secret. Only fetch uses it.
	config       *clientcredentials.Config
	http         *http.Client
	clock        clock.PassiveClock
	apiAudiences func() []string

	requests singleflight.Group
	mu       sync.Mutex
	cached   webToken
	rejected error
	until    time.Time // of rejected, by the operator's clock
}

// token returns a token that is valid at a time of the clock of STS. Its error is a [reason.TokenError], or that of the
// context. Concurrent callers share one request, which a caller that gives up does not end.
func (p *tokenProvider) token(ctx context.Context, now time.Time) (request.RedactedString, error) {
	if token, ok, err := p.known(now); ok {
		return token, err
	}
	shared := p.requests.DoChan("", func() (any, error) {
		if token, ok, err := p.known(now); ok { // of a request that has just ended
			return token, err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), providerTimeout)
		defer cancel()
		return p.request(ctx, now)
	})
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case result := <-shared:
		token, _ := result.Val.(request.RedactedString)
		return token, result.Err
	}
}

// known returns the cached token or rejection, and whether there is one.
func (p *tokenProvider) known(now time.Time) (request.RedactedString, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rejected != nil && p.clock.Now().Before(p.until) {
		return "", true, p.rejected
	}
	return p.cached.text, p.cached.expires.After(now.Add(providerMargin)), nil
}

// request requests a token, and remembers the result.
func (p *tokenProvider) request(ctx context.Context, now time.Time) (request.RedactedString, error) {
	token, err := p.fetch(ctx, now)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rejected = nil; err == nil {
		p.cached = token
	}
	if failed, ok := errors.AsType[*reason.TokenError](err); ok && failed.Reason == v1alpha1.ReasonClientRejected {
		p.rejected, p.until = err, p.clock.Now().Add(rejectedFor)
	}
	return token.text, err
}

// fetch requests a token and checks it.
func (p *tokenProvider) fetch(ctx context.Context, now time.Time) (webToken, error) {
	p.config.TokenURL = p.tokenURL
	if p.tokenURL == "" {
		var err error
		if p.config.TokenURL, err = p.discover(ctx); err != nil {
			return webToken{}, err
		}
	}
	issued, err := p.config.Token(context.WithValue(ctx, oauth2.HTTPClient, p.http))
	if err != nil {
		return webToken{}, p.tokenFailure(err)
	}
	// The requested audience and scopes are those of the access token, but it may have any form. An ID token is always a JSON
	// Web Token, but its audience is the client's ID, and most providers issue none for this grant.
	token, ok := parseWebToken(issued.AccessToken)
	if !ok {
		idToken, _ := issued.Extra("id_token").(string)
		token, ok = parseWebToken(idToken)
	}
	if !ok {
		return webToken{}, p.failure(v1alpha1.ReasonProviderError, nil, "%s issued no JSON Web Token: neither access_token nor id_token is one. "+
			"Configure the client for access tokens that are JSON Web Tokens, or add openid to source.oidc.scopes.", p)
	}
	origin := tokenOrigin{fmt.Sprintf("The token of the OIDC client %s", p.config.ClientID), "Check the provider's clock, and the lifetime of its tokens."}
	if message := origin.forAPIServer(token, p.apiAudiences()); message != "" {
		return webToken{}, p.failure(v1alpha1.ReasonProviderError, nil, "%s", message)
	}
	if err := origin.check(token, now); err != nil {
		return webToken{}, err
	}
	return token, nil
}

// String names the provider at the beginning of a message.
func (p *tokenProvider) String() string {
	if p.tokenURL != "" {
		return "The OIDC provider at " + shownURL(p.tokenURL)
	}
	return "The OIDC provider " + p.issuer
}

// failure returns a failure. The text of a response is no part of its message or cause, since it may quote the request.
func (p *tokenProvider) failure(code string, cause error, format string, args ...any) error {
	return &reason.TokenError{Reason: code, Message: fmt.Sprintf(format, args...), Err: cause}
}

// discover returns the provider's token endpoint (OpenID Connect Discovery 1.0, 'Obtaining OpenID Provider Configuration
// Information').
func (p *tokenProvider) discover(ctx context.Context) (string, error) {
	address := strings.TrimSuffix(p.issuer, "/") + "/.well-known/openid-configuration"
	discovery, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return "", p.unreachable(err)
	}
	response, err := p.http.Do(discovery)
	if err != nil {
		return "", p.unreachable(err)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxProviderAnswer))
	_ = response.Body.Close()
	if err != nil {
		return "", p.unreachable(err)
	}
	var found struct {
		Issuer        string `json:"issuer"`
		TokenEndpoint string `json:"token_endpoint"`
	}
	switch err := json.Unmarshal(body, &found); {
	case response.StatusCode != http.StatusOK || err != nil:
		return "", p.answered(response.StatusCode, "", "the response to the discovery request is no OpenID configuration. Check source.oidc.issuer, or set tokenURL in its place")
	case found.Issuer != p.issuer:
		return "", p.answered(response.StatusCode, "", "its OpenID configuration is of another issuer. Set source.oidc.issuer to the provider's exact issuer, with or without a slash at the end")
	case !p.mayPost(found.TokenEndpoint):
		return "", p.answered(response.StatusCode, "", "its OpenID configuration has no token_endpoint that the client's secret may be sent to, which is an https URL if the issuer is one. Set tokenURL in place of issuer")
	default:
		return found.TokenEndpoint, nil
	}
}

// mayPost reports whether the client's secret may be sent to a discovered URL. It is encrypted if the issuer is.
func (p *tokenProvider) mayPost(endpoint string) bool {
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Host == "" || parsed.User != nil {
		return false
	}
	return parsed.Scheme == "https" || parsed.Scheme == "http" && !strings.HasPrefix(strings.ToLower(p.issuer), "https:")
}

// Error codes of a token endpoint (RFC 6749, 'Error Response'; RFC 8707, 'Authorization Server'). Another text is not shown.
var (
	clientCodes  = []string{"invalid_client", "unauthorized_client", "access_denied"}
	requestCodes = []string{"invalid_request", "invalid_grant", "unsupported_grant_type", "invalid_scope", "invalid_target", "server_error", "temporarily_unavailable"}
)

// tokenFailure returns the failure of a request to the token endpoint.
func (p *tokenProvider) tokenFailure(err error) error {
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		if _, network := errors.AsType[*url.Error](err); network {
			return p.unreachable(err)
		}
		return p.answered(0, "", "its response is not JSON, or has no access_token. Check issuer or tokenURL of source.oidc")
	}
	status := answer.Response.StatusCode
	rejected := slices.Contains(clientCodes, answer.ErrorCode)
	code := ""
	if rejected || slices.Contains(requestCodes, answer.ErrorCode) {
		code = answer.ErrorCode
	}
	if rejected || code == "" && (status == http.StatusUnauthorized || status == http.StatusForbidden) {
		shown := reason.Answer{Code: code, Status: status}
		return p.failure(v1alpha1.ReasonClientRejected, responseError{shown}, "%s rejected the client %s%s. Check source.oidc.clientID, the client's secret in %s, "+
			"and that the client may use the grant client_credentials; a changed Secret is tried at once.", p, p.config.ClientID, shown, p.secret)
	}
	return p.answered(status, code, "it rejected the token request. Check issuer or tokenURL, scopes and audience of source.oidc; the provider's log has the cause")
}

// answered returns the failure of a request that the provider answered.
func (p *tokenProvider) answered(status int, code, what string) error {
	if status >= 300 && status < 400 {
		what = "it redirects, which the operator does not follow. Set issuer or tokenURL of source.oidc to the address that it redirects to"
	}
	shown := reason.Answer{Code: code, Status: status}
	return p.failure(v1alpha1.ReasonProviderError, responseError{shown}, "%s issued no token%s: %s.", p, shown, what)
}

// unreachable returns the failure of a request without a response.
func (p *tokenProvider) unreachable(err error) error {
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return p.failure(v1alpha1.ReasonProviderUnreachable, err, "%s presented a certificate that is not trusted. Check that source.oidc.caBundle has the authority that issued it, "+
			"that it is for the provider's name and has not expired, and that no proxy is in between.", p)
	}
	return p.failure(v1alpha1.ReasonProviderUnreachable, err, "%s did not answer. Check issuer or tokenURL of source.oidc, DNS, NetworkPolicies and proxies between the operator and the provider.", p)
}

// responseError is a response without its text.
type responseError struct{ reason.Answer }

func (e responseError) Error() string {
	return "the OIDC provider answered without a usable token" + e.String()
}
