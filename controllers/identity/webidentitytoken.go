package identity

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// secretKey is a key of a Secret.
type secretKey struct {
	secret types.NamespacedName
	key    string
}

func (k secretKey) String() string { return "the key " + k.key + " of Secret " + k.secret.String() }

// value returns the text under the key, or a failure of ConditionReady. Files often end with a line break, which is not part
// of the text. The Secret is nil if it does not exist.
func (k secretKey) value(secret *corev1.Secret, what string) (string, *reason.Error) {
	if secret == nil {
		return "", unready(v1alpha1.ReasonSecretNotFound, nil, "There is no Secret %s. Create it with %s under the key %s.", k.secret, what, k.key)
	}
	text := strings.TrimSpace(string(secret.Data[k.key]))
	if text == "" {
		return "", unready(v1alpha1.ReasonInvalidSecret, nil, "Secret %s has no value under the key %s. Store %s there.", k.secret, k.key, what)
	}
	return text, nil
}

// webIdentityToken is a JSON Web Token that another tool keeps fresh in a Secret.
type webIdentityToken struct{ from secretKey }

func (s webIdentityToken) String() string                   { return "webIdentityToken in " + s.from.String() }
func (s webIdentityToken) secretRef() *types.NamespacedName { return &s.from.secret }

func (s webIdentityToken) open(_ context.Context, r *Resolver, _ *v1alpha1.IdentitySettings, secret *corev1.Secret) (authenticator, *reason.Error) {
	text, problem := s.from.value(secret, "a JSON Web Token")
	if problem != nil {
		return authenticator{}, problem
	}
	token, ok := parseWebToken(text)
	if !ok {
		return authenticator{}, unready(v1alpha1.ReasonInvalidSecret, nil, "The value in %s is not a JSON Web Token. Store the bare token there, as its issuer signed it.", s.from)
	}
	origin := tokenOrigin{fmt.Sprintf("The token in %s", s.from), "Check the tool that writes the Secret; a changed Secret is tried at once."}
	if message := origin.forAPIServer(token, r.APIAudiences()); message != "" {
		return authenticator{}, unready(v1alpha1.ReasonInvalidSecret, nil, "%s", message)
	}
	return authenticator{
		keys:    aws.AnonymousCredentials{},
		expires: token.expires,
		token: func(_ context.Context, _ types.NamespacedName, now time.Time) (request.RedactedString, error) {
			if err := origin.check(token, now); err != nil {
				return "", err
			}
			return token.text, nil
		},
	}, nil
}
