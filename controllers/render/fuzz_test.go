package render_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"text/template"
	"time"
	"unicode/utf8"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
)

const (
	longestTemplate = 4096 // characters, by the schema
	longestValue    = 32 << 10
	longestMessage  = 512
)

// unbounded has the functions of a template without their bounds.
var unbounded = template.FuncMap{
	"base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"json": func(s string) (string, error) {
		text, err := json.Marshal(s)
		return string(text), err
	},
	"lower":    strings.ToLower,
	"print":    func(parts ...string) string { return strings.Join(parts, "") },
	"upper":    strings.ToUpper,
	"urlquery": func(s string) string { return template.URLQueryEscaper(s) },
}

// FuzzTemplate renders the template of a tenant. An accepted template has the result of text/template. The message for a rejected one fits
// into a condition. No error contains a secret.
func FuzzTemplate(f *testing.F) {
	f.Fuzz(func(t *testing.T, text, accessKeyID, secretAccessKey, sessionToken, principalARN string) {
		if !utf8.ValidString(text) || utf8.RuneCountInString(text) > longestTemplate {
			t.Skip("the API server rejects the text")
		}
		g := NewWithT(t)
		if problem := render.Check(withData(text)); problem != nil {
			g.Expect(problem.Message).To(MatchRegexp(`^spec\.secret does not describe a valid Secret: spec\.secret\.data\[auth\.conf\]: (line \d|the value of the key is longer than 32768 bytes|the text that)`))
			g.Expect(len(problem.Message)).To(BeNumerically("<", longestMessage))
			g.Expect(utf8.ValidString(problem.Message)).To(BeTrue(), problem.Message)
			g.Expect(render.Check(withData(text)).Message).To(Equal(problem.Message), "the same each time")
			return
		}
		c := request.Credentials{
			AccessKeyID: accessKeyID, SecretAccessKey: request.RedactedString(secretAccessKey), SessionToken: request.RedactedString(sessionToken),
			PrincipalARN: principalARN, Expiration: time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC),
		}
		data, err := render.Render(withData(text), c, "eu-west-1")
		if err != nil {
			g.Expect(err).To(MatchError("the template spec.secret.data[auth.conf] failed, or its result is too long"))
			return
		}
		g.Expect(len(data["auth.conf"])).To(BeNumerically("<=", longestValue))
		account := ""
		if fields := strings.Split(principalARN, ":"); len(fields) > 5 && fields[0] == "arn" && fields[1] != "" && fields[2] == "sts" && fields[3] == "" &&
			len(fields[4]) == 12 && strings.Trim(fields[4], "0123456789") == "" {
			account = fields[4]
		}
		want, err := plain(text, map[string]string{
			"AccessKeyID": accessKeyID, "SecretAccessKey": secretAccessKey, "SessionToken": sessionToken, "PrincipalARN": principalARN,
			"AccountID": account, "Expiration": "2026-11-23T16:00:00Z", "Region": "eu-west-1",
		})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(data["auth.conf"])).To(Equal(want))
	})
}

func plain(text string, values map[string]string) (string, error) {
	parsed, err := template.New("plain").Funcs(unbounded).Parse(text)
	if err != nil {
		return "", fmt.Errorf("parsing: %w", err)
	}
	var rendered strings.Builder
	err = parsed.Execute(&rendered, values)
	return rendered.String(), err
}
