package identity

import (
	"regexp"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
)

// keyParts are the keys of a source's Secret, with the patterns of valid AWS values. An access key ID has the pattern
// of the IAM API Reference, 'AccessKey'; the secret and the token are base64. AWS may change the lengths, so they are
// not checked.
var keyParts = []struct {
	key   string
	valid *regexp.Regexp
}{
	{render.AccessKeyID, regexp.MustCompile(`^\w+$`)},
	{render.SecretAccessKey, regexp.MustCompile(`^[\w+/=-]+$`)},
	{render.SessionToken, regexp.MustCompile(`^[\w+/=-]*$`)},
}

// checkAccessKey returns a failure that names the invalid values of a source's Secret. With an endpoint, any value
// that fits into a request header is valid. The secret access key is never part of a request.
func checkAccessKey(secret types.NamespacedName, value func(key string) string, endpoint string) *reason.Error {
	var invalidValues []string
	for _, part := range keyParts {
		text := value(part.key)
		invalid := !part.valid.MatchString(text)
		if endpoint != "" {
			invalid = part.key != render.SecretAccessKey && !request.Sendable(text)
		}
		if invalid {
			invalidValues = append(invalidValues, invalidCharacter(text)+" in "+part.key)
		}
	}
	if len(invalidValues) == 0 {
		return nil
	}
	problem := "are not valid in an AWS access key"
	if endpoint != "" {
		problem = "are not valid in a request"
	}
	return unready(v1alpha1.ReasonInvalidSecret, nil, "Secret %s contains characters that %s: %s. Store the bare values there, without quotation marks, variable names or line breaks.",
		secret, problem, strings.Join(invalidValues, ", "))
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
