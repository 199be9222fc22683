package render_test

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
)

// withData is a template with one key.
func withData(text string) v1alpha1.SecretTemplate {
	return v1alpha1.SecretTemplate{Data: map[string]v1alpha1.DataTemplate{"auth.conf": v1alpha1.DataTemplate(text)}}
}

func TestTemplateRendersFieldsAndFunctions(t *testing.T) {
	other := issued
	other.SessionToken, other.PrincipalARN = "", ""
	for name, tc := range map[string]struct{ text, want, wantOther string }{
		"empty text":       {"", "", ""},
		"text":             {"us-east-1", "us-east-1", "us-east-1"},
		"an access key id": {"{{.AccessKeyID}}", "ASIAREADBACKEXAMPLE1", "ASIAREADBACKEXAMPLE1"},
		"a secret":         {"{{.SecretAccessKey}}", "wJalr/XUtnFEMI+K7MDENG/bPxRfiCYEXAMPLEKEY=", "wJalr/XUtnFEMI+K7MDENG/bPxRfiCYEXAMPLEKEY="},
		"a token":          {"{{ .SessionToken }}", "IQoJb3JpZ2luX2VjE/A+B=C//D==", ""},
		"an expiration":    {"{{.Expiration}}", "2126-11-23T12:00:00Z", "2126-11-23T12:00:00Z"},
		"a region":         {"{{.Region}}", "eu-west-1", "eu-west-1"},
		"an account":       {"{{.AccountID}}.dkr.ecr.{{.Region}}.amazonaws.com", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", ".dkr.ecr.eu-west-1.amazonaws.com"},
		"a principal":      {"{{.PrincipalARN}}", "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader", ""},
		"base64 of a pair": {`{{print .AccessKeyID ":" .Region | base64}}`, "QVNJQVJFQURCQUNLRVhBTVBMRTE6ZXUtd2VzdC0x", "QVNJQVJFQURCQUNLRVhBTVBMRTE6ZXUtd2VzdC0x"},
		"JSON":             {`{"token": {{json .SessionToken}}}`, `{"token": "IQoJb3JpZ2luX2VjE/A+B=C//D=="}`, `{"token": ""}`},
		"upper case":       {"{{.Region | upper}}", "EU-WEST-1", "EU-WEST-1"},
		"lower case":       {"{{lower .AccessKeyID}}", "asiareadbackexample1", "asiareadbackexample1"},
		"a part of a URL":  {"s3://{{.AccessKeyID}}:{{urlquery .SessionToken}}@shop", "s3://ASIAREADBACKEXAMPLE1:IQoJb3JpZ2luX2VjE%2FA%2BB%3DC%2F%2FD%3D%3D@shop", "s3://ASIAREADBACKEXAMPLE1:@shop"},
		"a condition":      {"{{if .SessionToken}}session{{else}}key{{end}}", "session", "key"},
		"conditions in a row": {
			`{{if and .SessionToken (ne .AccountID "")}}both{{else if eq .Region "eu-west-1"}}here{{else}}none{{end}}`, "both", "here",
		},
		"a default value":                      {`{{or .AccountID "unknown"}}`, "123456789012", "unknown"},
		"a negation":                           {"{{if not .AccountID}}none{{end}}", "", "none"},
		"trimmed white space":                  {"a:\n  {{- if .Region}}\n  b{{end}}", "a:\n  b", "a:\n  b"},
		"a comment":                            {"a{{/* text */}}b", "ab", "ab"},
		"a quoted template":                    {`{{"{{ .Name }}"}}`, "{{ .Name }}", "{{ .Name }}"},
		"booleans":                             {"no account {{not .AccountID}}, so {{true}}, equal {{eq .Region .AccountID .Region}}", "no account false, so true, equal true", "no account true, so true, equal true"},
		"one of several":                       {`{{if eq .Region "eu-west-1" "us-east-1"}}Europe{{end}}`, "Europe", "Europe"},
		"a pipe, which adds the last argument": {`{{.Region | print "in "}}`, "in eu-west-1", "in eu-west-1"},
		"a part in parentheses":                {`{{(upper .Region)}}{{print (lower "A") (print)}}`, "EU-WEST-1a", "EU-WEST-1a"},
		"and, or":                              {`{{and .Region .AccountID}} {{or .AccountID .PrincipalARN false}}`, "123456789012 123456789012", " false"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(render.Check(withData(tc.text))).To(BeNil())
			g.Expect(string(rendered(t, issued, withData(tc.text))["auth.conf"])).To(Equal(tc.want))
			g.Expect(string(rendered(t, other, withData(tc.text))["auth.conf"])).To(Equal(tc.wantOther))
		})
	}
}

func TestDataIsAddedToTheFormats(t *testing.T) {
	NewWithT(t).Expect(rendered(t, issued, withData("x"))).To(And(HaveLen(4), HaveKey("AWS_ACCESS_KEY_ID"), HaveKeyWithValue("auth.conf", []byte("x"))))
}

// A template has no loops, recursion, variables or access to anything else.
func TestTemplateRejectsUnsupportedParts(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"a bracket that is not closed":                     {"a\nb {{.AccessKeyID}\n", "line 2: bad character U+007D '}'"},
		"an if without an end":                             {"{{if .Region}}\n\na", "line 3: unexpected EOF"},
		"an unknown field":                                 {"\n\n{{.SecretKey}}", "line 3:2: there is no field .SecretKey; the fields are .AccessKeyID, .AccountID, .Expiration, .PrincipalARN, .Region, .SecretAccessKey, .SessionToken"},
		"an unknown field in a branch that is not reached": {"{{if .Region}}{{else}}\n{{.Nowhere}}{{end}}", "line 2:2: there is no field .Nowhere"},
		"a field of a field":                               {"{{.Region.Length}}", "line 1:9: there is no field .Region.Length"},
		"a method":                                         {"{{.Expiration.Unix}}", "there is no field .Expiration.Unix"},
		"the environment":                                  {`{{env "HOME"}}`, "line 1:2: there is no function env; the functions are and, base64, eq, json"},
		"a file":                                           {`{{readFile "/etc/passwd"}}`, "line 1:2: there is no function readFile; the functions are and, base64"},
		"the function call":                                {"{{call .Region}}", "line 1:2: there is no function call; the functions are and, base64, eq, json, lower, ne, not, or, print, upper, urlquery"},
		"a loop":                                           {"{{range 1000000000}}a{{end}}", "line 1:8: {{range 1000000000}}a{{end}} is not supported; templates may contain text, fields, functions and if"},
		"a loop in a condition":                            {"{{if .Region}}{{range 1000000000}}a{{end}}{{end}}", "is not supported"},
		"a loop in another branch":                         {"{{if .Region}}{{else}}{{range 1000000000}}a{{end}}{{end}}", "is not supported"},
		"a template that calls itself":                     {`{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`, "line 1: a template must not define other templates"},
		"a template of the key's name":                     {`{{define "auth.conf"}}{{template "auth.conf"}}{{end}}`, "line 1: a template must not define other templates"},
		"a template alone":                                 {`{{define "a"}}a{{end}}`, "line 1: a template must not define other templates"},
		"a block":                                          {`{{block "a" .}}a{{end}}`, "a template must not define other templates"},
		"a call of itself":                                 {`{{template "auth.conf" .}}`, "is not supported"},
		"a variable":                                       {"{{$a := .Region}}{{$a}}", "line 1:2: variables are not supported"},
		"a variable in a condition":                        {"{{if $a := .Region}}{{$a}}{{end}}", "variables are not supported"},
		"the root as a variable":                           {"{{$.Region}}", "$.Region is not supported"},
		"another dot":                                      {"{{with print .Region .Region}}{{.}}{{end}}", "is not supported"},
		"all fields":                                       {"{{.}}", "line 1:2: . is not supported"},
		"all fields, as JSON":                              {"{{json .}}", ". is not supported"},
		"a format with a width":                            {`{{printf "%1000000000s" .Region}}`, "there is no function printf"},
		"an index":                                         {`{{index .Region 0}}`, "there is no function index"},
		"nothing":                                          {"{{nil}}", "line 1:2: nil is not supported"},
		"a function of a bool":                             {"a\n{{upper true}}", "line 2:8: expected string; found true"},
		"a function of a bool in a branch for other servers": {
			"{{if not .SessionToken}}{{upper true}}{{end}}", "line 1:32: expected string; found true",
		},
		"a comparison of different types":       {"{{eq .Region true}}", "line 1:2: error calling eq: incompatible types for comparison"},
		"a comparison with nothing":             {"{{eq .Region}}", "line 1:2: error calling eq: missing argument for comparison"},
		"a function of nothing":                 {"{{if upper}}{{end}}", "line 1:5: wrong number of args for upper: want 1 got 0"},
		"a function of nothing, as an argument": {"{{print upper}}", "line 1:8: wrong number of args for upper: want 1 got 0"},
		"too many arguments":                    {`{{"a" | upper .Region}}`, "line 1:8: wrong number of args for upper: want 1 got 2"},
		"an argument to a field":                {`{{.Region "a"}}`, "line 1:2: Region is not a method but has arguments"},
		"a pipe into a field":                   {`{{"a" | .Region}}`, "line 1:8: Region is not a method but has arguments"},
		"a number":                              {"{{print 5}}", "line 1:8: 5 is not supported; templates may contain text, fields, functions and if"},
		"a part in parentheses":                 {`{{(print .Region).Length}}`, "is not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := render.Check(withData(tc.text))
			g.Expect(f).NotTo(BeNil())
			g.Expect(f.Condition).To(Equal(v1alpha1.ConditionReady))
			g.Expect(f.Reason).To(Equal(v1alpha1.ReasonInvalidTemplate))
			g.Expect(f.Retry).To(Equal(reason.Never))
			g.Expect(f.Message).To(HavePrefix("spec.secret does not describe a valid Secret: spec.secret.data[auth.conf]: line "))
			g.Expect(f.Message).To(ContainSubstring(tc.want))
		})
	}
}

func TestTemplateIsBounded(t *testing.T) {
	const perKey, forAll = "the value of the key is longer than 32768 bytes", "the text that the templates of all keys produce is longer than 524288 bytes"
	for name, tc := range map[string]struct{ text, want string }{
		"many values":                  {strings.Repeat("{{.SessionToken}}", 17), perKey},
		"a join of many values":        {"{{print" + strings.Repeat(" .SessionToken", 17) + "}}", perKey},
		"quotes of quotes":             {"{{.SessionToken | json" + strings.Repeat(" | json", 500) + "}}", forAll},
		"base64 of base64":             {"{{.SessionToken | base64" + strings.Repeat(" | base64", 400) + "}}", forAll},
		"joins in joins":               {"{{" + strings.Repeat("print .SessionToken .SessionToken (", 100) + `"a"` + strings.Repeat(")", 100) + "}}", forAll},
		"results that are not written": {"{{if .SessionToken" + strings.Repeat("|upper|lower", 330) + "}}{{end}}", forAll},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(len(tc.text)).To(BeNumerically("<=", longestTemplate), "the schema rejects it")
			f := render.Check(withData(tc.text))
			g.Expect(f).NotTo(BeNil())
			g.Expect(f.Message).To(And(ContainSubstring("spec.secret.data[auth.conf]: "), HaveSuffix(tc.want)))
		})
	}
}

func TestTemplatesOfOneCredentialShareABudget(t *testing.T) {
	g := NewWithT(t)
	template := v1alpha1.SecretTemplate{Data: map[string]v1alpha1.DataTemplate{}}
	for i := range 16 {
		template.Data[fmt.Sprintf("key-%02d", i)] = v1alpha1.DataTemplate(strings.Repeat("{{upper .SessionToken}}", 8)) // twice 16 KiB
	}
	g.Expect(render.Check(template)).To(BeNil())
	template.Data["key-16"] = "{{.Region}}"
	for i := range 10 {
		template.Labels = map[string]string{"template": fmt.Sprint(i)} // Check remembers no verdict
		g.Expect(render.Check(template).Message).To(HaveSuffix("spec.secret.data[key-16]: the text that the templates of all keys produce is longer than 524288 bytes"))
	}
}

func TestLongestDataFitsIntoASecret(t *testing.T) {
	g := NewWithT(t)
	template := v1alpha1.SecretTemplate{Formats: allFormats, Data: map[string]v1alpha1.DataTemplate{}}
	for i := range 16 {
		template.Data[fmt.Sprint(i)] = v1alpha1.DataTemplate(strings.Repeat("{{.SessionToken}}", 16))
	}
	g.Expect(render.Check(template)).To(BeNil())
	long := issued
	long.SessionToken = request.RedactedString(strings.Repeat("t", 2<<10))
	size := 0
	for _, value := range rendered(t, long, template) {
		size += len(value)
	}
	g.Expect(size).To(And(BeNumerically(">", 16*(32<<10)), BeNumerically("<", 1<<20)))
}

// Real credentials may fail where the trials do not: they are longer, or reach another branch. Errors of text/template quote values, and
// this error is written to a condition.
func TestRenderErrorContainsNoCredential(t *testing.T) {
	for name, tc := range map[string]struct {
		template   v1alpha1.SecretTemplate
		credential request.Credentials
	}{
		"a token that is longer than that of the trials": {
			withData(strings.Repeat("{{.SessionToken}}", 16)), request.Credentials{AccessKeyID: "ASIASECRETID", SecretAccessKey: "a-secret", SessionToken: request.RedactedString(strings.Repeat("a-token", 1000))},
		},
		"a branch that no trial reaches": {
			withData(`{{if eq .AccessKeyID "ASIASECRETID"}}{{upper (eq .SecretAccessKey .SessionToken)}}{{end}}`),
			request.Credentials{AccessKeyID: "ASIASECRETID", SecretAccessKey: "a-secret", SessionToken: "a-token"},
		},
		"a value that a format cannot represent": {
			v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatVelero}}, request.Credentials{AccessKeyID: "ASIASECRETID", SecretAccessKey: "a-secret", SessionToken: "a-token\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(render.Check(tc.template)).To(BeNil())
			_, err := render.Render(tc.template, tc.credential, "eu-west-1")
			g.Expect(err).To(HaveOccurred())
			g.Expect(fmt.Sprintf("%v %+v %#v", err, err, err)).NotTo(Or(ContainSubstring("ASIASECRETID"), ContainSubstring("a-secret"), ContainSubstring("a-token")))
		})
	}
}

func TestCheckReportsTheSameKeyEachTime(t *testing.T) {
	g := NewWithT(t)
	template := v1alpha1.SecretTemplate{Data: map[string]v1alpha1.DataTemplate{"c": "{{", "a": "{{.A}}", "b": "{{b}}"}}
	first := render.Check(template)
	g.Expect(first.Message).To(ContainSubstring("spec.secret.data[a]: line 1:2: there is no field .A"))
	for range 50 {
		g.Expect(render.Check(template)).To(Equal(first))
	}
}

func TestMessageOfALongTemplateIsShort(t *testing.T) {
	g := NewWithT(t)
	for _, text := range []string{"{{range .A}}" + strings.Repeat("a", 4000) + "{{end}}", "{{" + strings.Repeat("a", 4000) + "}}", `{{"` + strings.Repeat("a", 4000)} {
		g.Expect(len(render.Check(withData(text)).Message)).To(BeNumerically("<", 512))
	}
}
