package identity

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2/clientcredentials"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// oidcClient is a client of an OIDC provider, which issues its tokens.
type oidcClient struct {
	v1alpha1.OIDCSettings
	secret secretKey
}

// String names all that the token depends on, also in an object with both issuer and tokenURL, which the schema rejects.
func (s oidcClient) String() string {
	text := fmt.Sprintf("oidc client %s of %s", s.ClientID, strings.TrimSpace(s.Issuer+" "+shownURL(s.TokenURL)))
	if s.TokenURL != shownURL(s.TokenURL) {
		text += ", query " + request.Hash(s.TokenURL)
	}
	if len(s.Scopes) > 0 {
		text += ", scopes " + strings.Join(s.Scopes, " ")
	}
	if s.Audience != "" {
		text += ", audience " + s.Audience
	}
	return text + ", secret in " + s.secret.String()
}

func (s oidcClient) secretRef() *types.NamespacedName { return &s.secret.secret }

func (s oidcClient) open(_ context.Context, r *Resolver, _ *v1alpha1.IdentitySettings, secret *corev1.Secret) (authenticator, *reason.Error) {
	clientSecret, problem := s.secret.value(secret, "the client's secret")
	if problem != nil {
		return authenticator{}, problem
	}
	client, problem := httpClient("spec.source.oidc.caBundle", s.CABundle, 0)
	if problem != nil {
		return authenticator{}, problem
	}
	transport := client.GetTransport()
	transport.DisableKeepAlives = true // the next request is minutes away, perhaps by another connection of this identity
	provider := &tokenProvider{
		issuer: s.Issuer, tokenURL: s.TokenURL, secret: s.secret,
		config:       &clientcredentials.Config{ClientID: s.ClientID, ClientSecret: clientSecret, Scopes: s.Scopes, EndpointParams: url.Values{}},
		http:         &http.Client{Transport: transport, CheckRedirect: refuseRedirects},
		clock:        r.Clock,
		apiAudiences: r.APIAudiences,
	}
	if s.Audience != "" {
		provider.config.EndpointParams.Set("audience", s.Audience)
	}
	return authenticator{
		keys: aws.AnonymousCredentials{},
		token: func(ctx context.Context, _ types.NamespacedName, now time.Time) (request.RedactedString, error) {
			return provider.token(ctx, now)
		},
	}, nil
}

// shownURL is a URL without a query, which may hold a secret.
func shownURL(text string) string {
	shown, _, _ := strings.Cut(text, "?")
	return shown
}
