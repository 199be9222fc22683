package identity

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
)

// webToken is a JSON Web Token (RFC 7519) with the claims that decide whether the operator sends it. Only STS verifies the
// signature.
type webToken struct {
	text      request.RedactedString
	audiences []string
	// expires and notBefore are zero without the claims.
	expires, notBefore time.Time
}

// parseWebToken returns a token, and false for a text that is not a signed JSON Web Token.
func parseWebToken(text string) (webToken, bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return webToken{}, false
	}
	var header map[string]any
	var claims struct {
		Audiences oneOrMore `json:"aud"`
		Expires   *float64  `json:"exp"`
		NotBefore *float64  `json:"nbf"`
	}
	_, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !decodePart(parts[0], &header) || !decodePart(parts[1], &claims) {
		return webToken{}, false
	}
	return webToken{request.RedactedString(text), claims.Audiences, numericDate(claims.Expires), numericDate(claims.NotBefore)}, true
}

func decodePart(part string, into any) bool {
	data, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(data, into) == nil
}

// oneOrMore is a string or a list of strings, as the claim aud is.
type oneOrMore []string

// UnmarshalJSON implements json.Unmarshaler.
func (o *oneOrMore) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*o = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(o))
}

// numericDate returns the time of a claim in seconds since 1970, and zero without one.
func numericDate(seconds *float64) time.Time {
	if seconds == nil {
		return time.Time{}
	}
	return time.Unix(int64(max(0, min(*seconds, math.MaxUint32))), 0)
}

// tokenOrigin describes a source's tokens in messages.
type tokenOrigin struct {
	// token is the subject of a sentence, and fix the sentence that says what to do.
	token, fix string
}

// check returns a failure if a token is not valid at a time of the clock of STS, which may be behind the issuer's.
func (o tokenOrigin) check(token webToken, now time.Time) error {
	switch {
	case !token.expires.IsZero() && !token.expires.After(now):
		return &reason.TokenError{Reason: v1alpha1.ReasonTokenExpired, Message: o.token + " has expired. " + o.fix}
	case token.notBefore.After(now.Add(reissue.ClockTolerance)):
		return &reason.TokenError{Reason: v1alpha1.ReasonTokenNotYetValid, Message: o.token + " is not valid yet. " + o.fix}
	default:
		return nil
	}
}

// apiAudience is how the API server's usual audiences begin. The schema rejects them for tokens of service accounts.
const apiAudience = "https://kubernetes.default"

// forAPIServer returns a message about a token that has an audience of the API server: a server that receives such a token
// could act in the cluster as the token's subject. It returns an empty message for another token.
func (o tokenOrigin) forAPIServer(token webToken, apiServers []string) string {
	for _, audience := range token.audiences {
		if strings.HasPrefix(audience, apiAudience) || slices.Contains(apiServers, audience) {
			return fmt.Sprintf("%s has an audience of the Kubernetes API server, so it may also be valid there. "+
				"Have the token issued for another audience, such as %s, which the OIDC provider in IAM must list as a client ID.", o.token, otherAudience(apiServers))
		}
	}
	return ""
}

// APIAudiences returns the value of [Resolver.APIAudiences] for the operator: the audiences of the token that it authenticates
// to the API server with. They are not known if it authenticates with a certificate.
func APIAudiences(config *rest.Config) func() []string {
	return func() []string {
		text := config.BearerToken
		if config.BearerTokenFile != "" {
			if content, err := os.ReadFile(config.BearerTokenFile); err == nil {
				text = string(content)
			}
		}
		own, _ := parseWebToken(strings.TrimSpace(text))
		return own.audiences
	}
}
