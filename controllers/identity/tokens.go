package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
)

const (
	// TokenLifetime is how long a token lives: the shortest that the API server grants (Kubernetes API, TokenRequest, field expirationSeconds).
	TokenLifetime = 10 * time.Minute
	// tokenMargin is how long before its end a token is no longer shown to STS, whose clock may be ahead.
	tokenMargin = 2 * time.Minute
	// apiAudiencesFor is how long the API server's own audiences are remembered, which change with its flags only.
	apiAudiencesFor = time.Hour
)

// Tokens gets tokens of service accounts from the API server, and keeps each for no longer than it lives.
type Tokens struct {
	client client.SubResourceClientConstructor
	clock  clock.PassiveClock
	held   *cache.Expiring
}

// NewTokens returns Tokens that ask by a client, and forget by a clock.
func NewTokens(asked client.SubResourceClientConstructor, passive clock.PassiveClock) *Tokens {
	return &Tokens{client: asked, clock: passive, held: cache.NewExpiringWithClock(readOnly{now: passive.Now})}
}

// readOnly is a clock that the cache reads, and nothing waits by.
type readOnly struct {
	clock.Clock
	now func() time.Time
}

func (r readOnly) Now() time.Time { return r.now() }

// tokenKey is what tokens are kept by.
type tokenKey struct {
	account  types.NamespacedName
	audience string
}

var errAPIAudience = errors.New("the API server's own audience")

// apiAudiences is the key of the API server's own audiences.
type apiAudiences struct{}

// Token returns a token of a service account for an audience. Its error is a [failure.TokenError].
func (t *Tokens) Token(ctx context.Context, account types.NamespacedName, audience string) (credential.Secret, error) {
	key := tokenKey{account, audience}
	if held, ok := t.held.Get(key); ok {
		if token, ok := held.(credential.Secret); ok {
			return token, nil
		}
	}
	if err := t.refuseAPIServers(ctx, account, audience); err != nil {
		return "", err
	}
	issued, err := t.request(ctx, account, audience)
	if err != nil {
		return "", err
	}
	token := credential.Secret(issued.Status.Token)
	if life := issued.Status.ExpirationTimestamp.Sub(t.clock.Now()) - tokenMargin; life > 0 {
		t.held.Set(key, token, life)
	}
	return token, nil
}

// Forget drops a token that STS refused.
func (t *Tokens) Forget(account types.NamespacedName, audience string) {
	t.held.Delete(tokenKey{account, audience})
}

// refuseAPIServers returns an error for an audience that the API server takes tokens for itself: who is shown such a token, or
// its log, could act in the cluster as the service account.
func (t *Tokens) refuseAPIServers(ctx context.Context, account types.NamespacedName, audience string) error {
	own, ok := t.held.Get(apiAudiences{})
	if !ok {
		issued, err := t.request(ctx, account) // for no audience is for the API server's own
		if err != nil {
			return err
		}
		own = issued.Spec.Audiences
		t.held.Set(apiAudiences{}, own, apiAudiencesFor)
	}
	if audiences, ok := own.([]string); !ok || slices.Contains(audiences, audience) {
		return &failure.TokenError{Message: fmt.Sprintf("The audience %s is the Kubernetes API server's own: a token for it would be valid for more than STS. "+
			"Set source.serviceAccount.audience of the identity to another, such as %s. "+
			"Add that to the client IDs of the IAM OIDC provider, and to the condition on aud in the role's trust policy.", audience, otherAudience(audiences)), Err: errAPIAudience}
	}
	return nil
}

// otherAudience returns an audience that is none of the API server's.
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
		return nil, &failure.TokenError{Message: whyNoToken(account, err), Err: err}
	}
	return request, nil
}

func whyNoToken(account types.NamespacedName, err error) string {
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("There is no service account %s in this namespace. Create it, or have spec.serviceAccountName name another.", account.Name)
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("The operator may not ask for a token of the service account %s. Install its ClusterRole for serviceaccounts/token, or use an identity with another source.", account.Name)
	default:
		return fmt.Sprintf("The API server issued no token for the service account %s. The event holds the error.", account.Name)
	}
}
