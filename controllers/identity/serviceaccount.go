package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// defaultAudience is the schema's default, for objects that the API server did not default.
const defaultAudience = "sts.amazonaws.com"

// serviceAccount is a token of the service account that a credential names.
type serviceAccount struct{ audience string }

func (s serviceAccount) String() string                 { return "serviceAccount for " + s.audience }
func (serviceAccount) secretRef() *types.NamespacedName { return nil }

func (s serviceAccount) open(_ context.Context, r *Resolver, _ *v1alpha1.IdentitySettings, _ *corev1.Secret) (authenticator, *reason.Error) {
	return authenticator{
		keys: aws.AnonymousCredentials{},
		token: func(ctx context.Context, account types.NamespacedName, _ time.Time) (request.RedactedString, error) {
			return r.Tokens.Token(ctx, account, s.audience)
		},
		forgetToken: func(account types.NamespacedName) { r.Tokens.Forget(account, s.audience) },
		perAccount:  true,
	}, nil
}

const (
	// TokenLifetime is the lifetime of a token: the shortest that the API server grants (Kubernetes API,
	// TokenRequest, field expirationSeconds).
	TokenLifetime = 10 * time.Minute
	// tokenMargin is how long before its expiry a token is no longer used, since the clock of STS may be ahead.
	tokenMargin = 2 * time.Minute
	// apiAudiencesTTL is how long the API server's own audiences are cached. They change only with its flags.
	apiAudiencesTTL = time.Hour
)

// Tokens requests tokens of service accounts from the API server, and caches each until it expires.
type Tokens struct {
	client client.SubResourceClientConstructor
	clock  clock.PassiveClock
	cached *cache.Expiring
}

// NewTokens returns Tokens with a client and a clock.
func NewTokens(api client.SubResourceClientConstructor, passive clock.PassiveClock) *Tokens {
	return &Tokens{client: api, clock: passive, cached: cache.NewExpiringWithClock(readOnly{passive: passive})}
}

// readOnly makes a clock of a passive one, for a cache that sets no timers.
type readOnly struct {
	clock.Clock
	passive clock.PassiveClock
}

func (r readOnly) Now() time.Time { return r.passive.Now() }

// tokenKey is the cache key of a token.
type tokenKey struct {
	account  types.NamespacedName
	audience string
}

var errAPIAudience = errors.New("the API server's own audience")

// apiAudiences is the cache key of the API server's own audiences.
type apiAudiences struct{}

// Token returns a token of a service account for an audience. Its error is a [reason.TokenError].
func (t *Tokens) Token(ctx context.Context, account types.NamespacedName, audience string) (request.RedactedString, error) {
	key := tokenKey{account, audience}
	if cached, ok := t.cached.Get(key); ok {
		if token, ok := cached.(request.RedactedString); ok {
			return token, nil
		}
	}
	if err := t.checkAudience(ctx, account, audience); err != nil {
		return "", err
	}
	issued, err := t.request(ctx, account, audience)
	if err != nil {
		return "", err
	}
	token := request.RedactedString(issued.Status.Token)
	if life := issued.Status.ExpirationTimestamp.Sub(t.clock.Now()) - tokenMargin; life > 0 {
		t.cached.Set(key, token, life)
	}
	return token, nil
}

// Forget removes a token that STS rejected.
func (t *Tokens) Forget(account types.NamespacedName, audience string) {
	t.cached.Delete(tokenKey{account, audience})
}

// checkAudience returns an error for an audience that the API server itself accepts: a server that receives such a
// token could act in the cluster as the service account.
func (t *Tokens) checkAudience(ctx context.Context, account types.NamespacedName, audience string) error {
	own, ok := t.cached.Get(apiAudiences{})
	if !ok {
		issued, err := t.request(ctx, account) // a token without an audience is for the API server's own
		if err != nil {
			return err
		}
		own = issued.Spec.Audiences
		t.cached.Set(apiAudiences{}, own, apiAudiencesTTL)
	}
	if audiences, ok := own.([]string); !ok || slices.Contains(audiences, audience) {
		return &reason.TokenError{Reason: v1alpha1.ReasonTokenNotIssued, Message: fmt.Sprintf("The audience %s is the Kubernetes API server's own, so a token for it is also valid there. "+
			"Set source.serviceAccount.audience of the identity to another audience, such as %s. "+
			"Add that to the client IDs of the IAM OIDC provider, and to the condition on aud in the role's trust policy.", audience, otherAudience(audiences)), Err: errAPIAudience}
	}
	return nil
}

// otherAudience returns an audience that the API server does not accept.
func otherAudience(apiServers []string) string {
	audience := defaultAudience
	for slices.Contains(apiServers, audience) {
		audience += "/rolecredential"
	}
	return audience
}

func (t *Tokens) request(ctx context.Context, account types.NamespacedName, audiences ...string) (*authenticationv1.TokenRequest, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: new(int64(TokenLifetime / time.Second))}}
	holder := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name}}
	if err := t.client.SubResource("token").Create(ctx, holder, request); err != nil {
		return nil, &reason.TokenError{Reason: v1alpha1.ReasonTokenNotIssued, Message: tokenErrorMessage(account, err), Err: err}
	}
	return request, nil
}

func tokenErrorMessage(account types.NamespacedName, err error) string {
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("Service account %s does not exist in this namespace. Create it, or change spec.serviceAccountName.", account.Name)
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("The operator may not create a token of the service account %s. Bind the ClusterRole rolecredential-serviceaccount-token-role in this namespace "+
			"(in all namespaces: chart value rbac.serviceAccountTokens, or kustomize component serviceaccount-tokens), or use an identity with another source.", account.Name)
	default:
		return fmt.Sprintf("The API server issued no token for the service account %s. See the event for the error.", account.Name)
	}
}
