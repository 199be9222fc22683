package identity

import (
	"context"
	"regexp"
	"strings"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/credentials"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
)

// accessKey is an IAM user's access key, or session credentials that another tool refreshes, in a Secret.
type accessKey struct{ secret types.NamespacedName }

func (s accessKey) String() string                   { return "accessKey " + s.secret.String() }
func (s accessKey) secretRef() *types.NamespacedName { return &s.secret }

func (s accessKey) open(_ context.Context, _ *Resolver, settings *v1alpha1.IdentitySettings, secret *corev1.Secret) (authenticator, *reason.Error) {
	if secret == nil {
		return authenticator{}, unready(v1alpha1.ReasonSecretNotFound, nil, "There is no Secret %s. Create it with the keys %s and %s.",
			s.secret, render.AccessKeyID, render.SecretAccessKey)
	}
	// Files often end with a line break, which is not part of the key.
	value := func(key string) string { return strings.TrimSpace(string(secret.Data[key])) }
	var invalid []string
	for _, part := range keyParts {
		text := value(part.key)
		if text == "" && part.key != render.SessionToken {
			return authenticator{}, unready(v1alpha1.ReasonInvalidSecret, nil, "Secret %s has no value under the key %s. Store an IAM user's access key under the keys %s and %s.",
				s.secret, part.key, render.AccessKeyID, render.SecretAccessKey)
		}
		// Another server may accept any value that fits into a request header. The secret access key is not sent.
		valid := part.valid.MatchString(text)
		if settings.Endpoint != "" {
			valid = part.key == render.SecretAccessKey || request.Sendable(text)
		}
		if !valid {
			invalid = append(invalid, invalidCharacter(text)+" in "+part.key)
		}
	}
	if len(invalid) > 0 {
		return authenticator{}, unready(v1alpha1.ReasonInvalidSecret, nil, "Secret %s contains characters that are not valid in an access key: %s. "+
			"Store the bare values there, without quotation marks, variable names or line breaks.", s.secret, strings.Join(invalid, ", "))
	}
	return authenticator{keys: credentials.NewStaticCredentialsProvider(value(render.AccessKeyID), value(render.SecretAccessKey), value(render.SessionToken))}, nil
}

// keyParts are the keys of the Secret, with the patterns of valid AWS values: that of the IAM API Reference, 'AccessKey',
// and base64. AWS may change the lengths, so they are not checked.
var keyParts = []struct {
	key   string
	valid *regexp.Regexp
}{
	{render.AccessKeyID, regexp.MustCompile(`^\w+$`)},
	{render.SecretAccessKey, regexp.MustCompile(`^[\w+/=-]+$`)},
	{render.SessionToken, regexp.MustCompile(`^[\w+/=-]*$`)},
}

// invalidCharacter describes the character that makes a text invalid. It does not repeat the text.
func invalidCharacter(text string) string {
	switch {
	case strings.ContainsFunc(text, unicode.IsControl):
		return "a control character, such as a line break,"
	case strings.ContainsFunc(text, unicode.IsSpace):
		return "white space"
	case strings.ContainsAny(text, "\"'`"):
		return "a quotation mark"
	default:
		return "a character that is not base64"
	}
}
