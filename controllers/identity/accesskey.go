package identity

import (
	"regexp"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/output"
)

// keyParts are the keys of a source's Secret, with the texts that they can hold at AWS: an access key's ID has the pattern of
// the IAM API Reference, 'AccessKey', and the secret and the token are base64. The lengths are AWS's to change.
var keyParts = []struct {
	key   string
	valid *regexp.Regexp
}{
	{output.AccessKeyID, regexp.MustCompile(`^\w+$`)},
	{output.SecretAccessKey, regexp.MustCompile(`^[\w+/=-]+$`)},
	{output.SessionToken, regexp.MustCompile(`^[\w+/=-]*$`)},
}

// checkAccessKey returns a failure that says which values of a source's Secret cannot work. With an endpoint, the keys may be any
// that a request can carry; the secret access key is in no request.
func checkAccessKey(secret types.NamespacedName, value func(key string) string, endpoint string) *failure.Failure {
	var odd []string
	for _, part := range keyParts {
		text := value(part.key)
		invalid := !part.valid.MatchString(text)
		if endpoint != "" {
			invalid = part.key != output.SecretAccessKey && !credential.Sendable(text)
		}
		if invalid {
			odd = append(odd, oddity(text)+" in "+part.key)
		}
	}
	if len(odd) == 0 {
		return nil
	}
	cannot := "no access key of AWS can"
	if endpoint != "" {
		cannot = "no request can"
	}
	return unready(v1alpha1.ReasonInvalidSecret, nil, "Secret %s holds what %s: %s. Store the bare values there, without quotation marks, variable names or line breaks.",
		secret, cannot, strings.Join(odd, ", "))
}

// oddity says what makes a text no part of an access key. It repeats nothing of the text.
func oddity(text string) string {
	switch {
	case strings.ContainsFunc(text, unicode.IsControl):
		return "a control character, such as a line break,"
	case strings.ContainsFunc(text, unicode.IsSpace):
		return "white space"
	case strings.ContainsAny(text, "\"'`"):
		return "a quotation mark"
	default:
		return "another character than letters, digits and those of base64"
	}
}
