package docs_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
)

// The overlay of docs/rollout.md renames every object, and every field that names one.
func TestKustomizeRenamesReferences(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	overlay := blockOf(t, "docs/rollout.md", "kustomize-and-names", "kustomization")
	g.Expect(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay.text), 0o600)).To(Succeed())
	app := filepath.Join("testdata", "kustomize", "app.yaml")
	for _, file := range []string{app, filepath.Join(root, "config", "kustomize", "namereference.yaml")} {
		text, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600)).To(Succeed())
	}
	text, err := os.ReadFile(app)
	g.Expect(err).NotTo(HaveOccurred())
	var names []string
	for _, document := range documents(string(text)) {
		names = append(names, object(t, document).GetName())
	}
	kubectl := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")
	renamed := documents(stdout(t, kubectl, "kustomize", dir))
	g.Expect(renamed).To(HaveLen(len(names)))
	for _, document := range renamed {
		o := object(t, document)
		for _, value := range texts(o.Object) {
			g.Expect(names).NotTo(ContainElement(value), "%s %s", o.GetKind(), o.GetName())
		}
		validate(t, o, "argoproj.io")
	}
}

// texts returns all strings among a manifest's values.
func texts(value any) (found []string) {
	switch value := value.(type) {
	case string:
		return []string{value}
	case map[string]any:
		for _, field := range value {
			found = append(found, texts(field)...)
		}
	case []any:
		for _, element := range value {
			found = append(found, texts(element)...)
		}
	}
	return found
}

func TestTerraformExampleIgnoresTheAnnotation(t *testing.T) {
	shown := blockOf(t, "docs/rollout.md", "terraform", "hcl")
	NewWithT(t).Expect(shown.text).To(ContainSubstring(`spec[0].template[0].metadata[0].annotations["` + v1alpha1.CredentialsAnnotation + `"]`))
}
