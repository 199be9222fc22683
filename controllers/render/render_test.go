package render_test

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
)

func TestSecretHasThreeVariablesByDefault(t *testing.T) {
	for name, tc := range map[string]struct {
		credential request.Credentials
		want       map[string][]byte
	}{
		"a credential of AWS": {
			request.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "secret", SessionToken: "token", PrincipalARN: "arn"},
			map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("ASIAEXAMPLE"), "AWS_SECRET_ACCESS_KEY": []byte("secret"), "AWS_SESSION_TOKEN": []byte("token")},
		},
		"a credential without a session token": {
			request.Credentials{AccessKeyID: "EXAMPLE", SecretAccessKey: "secret"},
			map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("EXAMPLE"), "AWS_SECRET_ACCESS_KEY": []byte("secret"), "AWS_SESSION_TOKEN": {}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(render.Render(v1alpha1.SecretTemplate{}, tc.credential, "eu-west-1")).To(Equal(tc.want))
		})
	}
}

func TestCheckAcceptsValidMetadata(t *testing.T) {
	for name, template := range map[string]v1alpha1.SecretTemplate{
		"no metadata":         {},
		"labels":              {Labels: map[string]string{"app": "shop", "example.com/team": "", "a.b/c_d": "E-f.g"}},
		"annotations":         {Annotations: map[string]string{"example.com/note": "any text\nat all: é", "reloader": ""}},
		"any name":            {Name: "checked by the schema!"},
		"a label of 63 bytes": {Labels: map[string]string{strings.Repeat("k", 63): strings.Repeat("v", 63)}},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(render.Check(template)).To(BeNil())
		})
	}
}

func TestCheckRejectsInvalidMetadata(t *testing.T) {
	for name, tc := range map[string]struct {
		template v1alpha1.SecretTemplate
		want     string // in the message
	}{
		"a label's key with a space": {v1alpha1.SecretTemplate{Labels: map[string]string{"my app": "shop"}}, `spec.secret.labels: Invalid value: "my app"`},
		"a label without a key":      {v1alpha1.SecretTemplate{Labels: map[string]string{"": "shop"}}, `spec.secret.labels: Invalid value: ""`},
		"a label's key that is too long": {
			v1alpha1.SecretTemplate{Labels: map[string]string{strings.Repeat("k", 64): ""}}, "must be no more than 63 bytes",
		},
		"a label's value with a slash": {v1alpha1.SecretTemplate{Labels: map[string]string{"app": "shop/cart"}}, `spec.secret.labels: Invalid value: "shop/cart"`},
		"a label's value that is too long": {
			v1alpha1.SecretTemplate{Labels: map[string]string{"app": strings.Repeat("v", 64)}}, "must be no more than 63 bytes",
		},
		"an annotation's key with two slashes": {
			v1alpha1.SecretTemplate{Annotations: map[string]string{"a/b/c": ""}}, `spec.secret.annotations: Invalid value: "a/b/c"`,
		},
		"annotations that are too large together": {
			v1alpha1.SecretTemplate{Annotations: map[string]string{"a": strings.Repeat("v", 200<<10), "b": strings.Repeat("v", 200<<10)}}, "spec.secret.annotations: Too long",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := render.Check(tc.template)
			g.Expect(f).NotTo(BeNil())
			g.Expect(f.Condition).To(Equal(v1alpha1.ConditionReady))
			g.Expect(f.Reason).To(Equal(v1alpha1.ReasonInvalidTemplate))
			g.Expect(f.Message).To(ContainSubstring(tc.want))
			g.Expect(f.Retry).To(Equal(reason.Never))
		})
	}
}

func TestCheckReportsTheSameProblemEachTime(t *testing.T) {
	g := NewWithT(t)
	template := func() v1alpha1.SecretTemplate {
		bad := func() map[string]string {
			return map[string]string{"a b": "c", "d": "e/f", "g h": "i/j", "k/l/m": "", "": "n", "o": strings.Repeat("p", 64)}
		}
		return v1alpha1.SecretTemplate{Labels: bad(), Annotations: bad()}
	}
	first := render.Check(template())
	for range 50 {
		g.Expect(render.Check(template())).To(Equal(first))
	}
}

// The API server accepts at most 32768 characters in the message of a condition.
func TestMessageFitsIntoACondition(t *testing.T) {
	for name, value := range map[string]string{
		"of letters":                           strings.Repeat("v", 1<<20),
		"of characters of more than a byte":    strings.Repeat("é", 1<<19),
		"of characters that a cut would split": "v" + strings.Repeat("é", 1<<19),
		"of characters that are escaped":       strings.Repeat("\x00", 1<<18),
	} {
		t.Run("a label's value "+name, func(t *testing.T) {
			g := NewWithT(t)
			f := render.Check(v1alpha1.SecretTemplate{Labels: map[string]string{"app": value}})
			g.Expect(f).NotTo(BeNil())
			g.Expect(utf8.RuneCountInString(f.Message)).To(BeNumerically("<=", 32768))
			g.Expect(utf8.ValidString(f.Message)).To(BeTrue())
			g.Expect(f.Message).NotTo(ContainSubstring(`\xc3`), "half a character")
			g.Expect(f.Message).To(And(ContainSubstring("spec.secret.labels"), Or(ContainSubstring("must be no more than 63 bytes"), ContainSubstring("a valid label must be"))))
		})
	}
}

func TestHashDiffersForTemplatesWithDifferentSecrets(t *testing.T) {
	base := func() v1alpha1.SecretTemplate {
		return v1alpha1.SecretTemplate{Name: "s3", Labels: map[string]string{"a": "1", "b": "2"}, Annotations: map[string]string{"c": "3"}}
	}
	for name, tc := range map[string]struct {
		change func(*v1alpha1.SecretTemplate)
		same   bool
	}{
		"another name":                     {func(t *v1alpha1.SecretTemplate) { t.Name = "other" }, true},
		"no name":                          {func(t *v1alpha1.SecretTemplate) { t.Name = "" }, true},
		"another label's value":            {func(t *v1alpha1.SecretTemplate) { t.Labels["a"] = "2" }, false},
		"one label more":                   {func(t *v1alpha1.SecretTemplate) { t.Labels["c"] = "" }, false},
		"one label less":                   {func(t *v1alpha1.SecretTemplate) { delete(t.Labels, "b") }, false},
		"no labels":                        {func(t *v1alpha1.SecretTemplate) { t.Labels = nil }, false},
		"another annotation's value":       {func(t *v1alpha1.SecretTemplate) { t.Annotations["c"] = "4" }, false},
		"no annotations":                   {func(t *v1alpha1.SecretTemplate) { t.Annotations = nil }, false},
		"labels for annotations":           {func(t *v1alpha1.SecretTemplate) { t.Labels, t.Annotations = t.Annotations, t.Labels }, false},
		"the same labels in another order": {func(t *v1alpha1.SecretTemplate) { t.Labels = map[string]string{"b": "2", "a": "1"} }, true},
		"explicit default formats":         {func(t *v1alpha1.SecretTemplate) { t.Formats = []v1alpha1.Format{"Env"} }, true},
		"another format":                   {func(t *v1alpha1.SecretTemplate) { t.Formats = []v1alpha1.Format{"Velero"} }, false},
		"one format more":                  {func(t *v1alpha1.SecretTemplate) { t.Formats = []v1alpha1.Format{"Env", "Region"} }, false},
		"the explicit default mount path":  {func(t *v1alpha1.SecretTemplate) { t.MountPath = "/var/run/secrets/aws" }, true},
		"another mount path":               {func(t *v1alpha1.SecretTemplate) { t.MountPath = "/root/.aws" }, false},
		"a key of data":                    {func(t *v1alpha1.SecretTemplate) { t.Data = map[string]v1alpha1.DataTemplate{"a": ""} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			changed := base()
			tc.change(&changed)
			NewWithT(t).Expect(render.Hash(changed) == render.Hash(base())).To(Equal(tc.same))
		})
	}
}

func TestHashIgnoresTheOrderOfFormats(t *testing.T) {
	hash := func(formats ...v1alpha1.Format) string { return render.Hash(v1alpha1.SecretTemplate{Formats: formats}) }
	NewWithT(t).Expect(hash("Region", "Env")).To(Equal(hash("Env", "Region")))
}

func TestHashIncludesTheTextOfTemplates(t *testing.T) {
	hash := func(text v1alpha1.DataTemplate) string {
		return render.Hash(v1alpha1.SecretTemplate{Data: map[string]v1alpha1.DataTemplate{"a": text}})
	}
	NewWithT(t).Expect(hash("{{.AccessKeyID}}")).NotTo(Equal(hash("{{.Region}}")))
}

func TestHashIsTheSameForNilAndEmptyLabels(t *testing.T) {
	empty := v1alpha1.SecretTemplate{Labels: map[string]string{}, Annotations: map[string]string{}}
	NewWithT(t).Expect(render.Hash(empty)).To(Equal(render.Hash(v1alpha1.SecretTemplate{})))
}

func TestHashIncludesEveryFieldButTheName(t *testing.T) {
	fields := reflect.TypeFor[v1alpha1.SecretTemplate]()
	for i := range fields.NumField() {
		t.Run(fields.Field(i).Name, func(t *testing.T) {
			var template v1alpha1.SecretTemplate
			field := reflect.ValueOf(&template).Elem().Field(i)
			switch field.Interface().(type) {
			case string:
				field.SetString("x")
			case map[string]string:
				field.Set(reflect.ValueOf(map[string]string{"x": "y"}))
			case []v1alpha1.Format:
				field.Set(reflect.ValueOf([]v1alpha1.Format{"x"}))
			case map[string]v1alpha1.DataTemplate:
				field.Set(reflect.ValueOf(map[string]v1alpha1.DataTemplate{"x": "y"}))
			default:
				t.Fatalf("add a value for the field %s", fields.Field(i).Name)
			}
			NewWithT(t).Expect(render.Hash(template) == render.Hash(v1alpha1.SecretTemplate{})).To(Equal(fields.Field(i).Name == "Name"))
		})
	}
}

// Another hash would reissue every credential of a cluster at once.
func TestTemplateHasTheHashOfEarlierReleases(t *testing.T) {
	template := v1alpha1.SecretTemplate{Labels: map[string]string{"app": "shop"}, Annotations: map[string]string{"note": "x"}}
	NewWithT(t).Expect(render.Hash(template)).To(Equal("17aada4ba4ca9712dda9e45be088e568a7b9da58c062f80bce1755adc44ad8ac"))
}
