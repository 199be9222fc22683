package docs_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
)

var shownCredential = request.Credentials{
	AccessKeyID: "ASIASHOWNINTHEDOCS00", SecretAccessKey: "secret/key", SessionToken: "session/token=", Expiration: time.Date(2126, 11, 23, 12, 0, 0, 0, time.UTC),
}

// secretTemplate returns spec.secret of a credential, and the name of its Secret.
func secretTemplate(t *testing.T, o *unstructured.Unstructured) (template v1alpha1.SecretTemplate, name string) {
	t.Helper()
	g := NewWithT(t)
	content, _, err := unstructured.NestedMap(o.Object, "spec", "secret")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(content, &template)).To(Succeed())
	if template.Name != "" {
		return template, template.Name
	}
	return template, o.GetName()
}

func TestExamplesNameKeysThatTheirSecretsHave(t *testing.T) {
	g := NewWithT(t)
	checked := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			isPart := slices.ContainsFunc(b.marks, func(mark string) bool { return !strings.HasPrefix(mark, "other=") })
			if b.language != "yaml" || isPart {
				continue
			}
			keys := map[string][]string{}
			var others []any
			for _, document := range documents(b.text) {
				o := object(t, document)
				if o.GroupVersionKind().Group == v1alpha1.GroupVersion.Group && strings.HasSuffix(o.GetKind(), "Credential") {
					template, name := secretTemplate(t, o)
					data, err := render.Render(template, shownCredential, "eu-west-1")
					g.Expect(err).NotTo(HaveOccurred())
					keys[name] = slices.Collect(maps.Keys(data))
				} else {
					others = append(others, o.Object)
				}
			}
			for _, reference := range references(others) {
				if have, ok := keys[reference.name]; ok {
					checked++
					g.Expect(have).To(ContainElement(reference.key), "%s:%d: the Secret %s", p.path, b.line, reference.name)
				}
			}
		}
	}
	g.Expect(checked).To(BeNumerically(">=", 10))
}

type secretKey struct{ name, key string }

// references returns each mapping with a name and a key. It also parses YAML texts, such as a configuration in a ConfigMap.
func references(value any) (found []secretKey) {
	switch value := value.(type) {
	case string:
		var content map[string]any
		if strings.Contains(value, "\n") && yaml.Unmarshal([]byte(value), &content) == nil {
			found = references(content)
		}
	case map[string]any:
		name, isNamed := value["name"].(string)
		if key, ok := value["key"].(string); ok && isNamed {
			found = append(found, secretKey{name, key})
		}
		for _, field := range value {
			found = append(found, references(field)...)
		}
	case []any:
		for _, element := range value {
			found = append(found, references(element)...)
		}
	}
	return found
}

func TestHelmExampleKeepsTemplates(t *testing.T) {
	g := NewWithT(t)
	rendered := renderTemplate(t, blockOf(t, "docs/formats.md", "in-a-helm-chart", "helm").text)
	g.Expect(rendered).To(HaveLen(1))
	template, _ := secretTemplate(t, rendered[0])
	data, err := render.Render(template, shownCredential, "eu-west-1")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(data["rclone.conf"])).To(Equal("[s3]\naccess_key_id = ASIASHOWNINTHEDOCS00\nsecret_access_key = secret/key\nsession_token = session/token=\n"))
}

// The example for Windows writes the same files as the format CredentialProcess, except for the command.
func TestWindowsExampleWritesCredentialProcess(t *testing.T) {
	g := NewWithT(t)
	template, _ := secretTemplate(t, object(t, blockOf(t, "docs/formats.md", "in-a-windows-container", "yaml").text))
	shown, err := render.Render(template, shownCredential, "eu-west-1")
	g.Expect(err).NotTo(HaveOccurred())
	format, err := render.Render(v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatCredentialProcess}}, shownCredential, "eu-west-1")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(shown["credential_process.json"]).To(MatchJSON(format["credential_process.json"]))
	cat := "cat " + v1alpha1.DefaultMountPath + "/credential_process.json"
	windows := `cmd /c type C:` + strings.ReplaceAll(v1alpha1.DefaultMountPath, "/", `\`) + `\credential_process.json`
	g.Expect(string(shown["config"])).To(Equal(strings.Replace(string(format["config"]), cat, windows, 1)))
}
