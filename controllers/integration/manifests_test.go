package integration_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

var yamlBlock = regexp.MustCompile("(?s)\n```yaml\n(.*?\n)```\n")

// What a reader copies from the samples and the documentation, the API server takes. Kinds that it does not know are other
// projects' own.
func TestEveryManifestThatIsShownIsTaken(t *testing.T) {
	g := NewWithT(t)
	var files []string
	for _, pattern := range []string{"config/samples/*.yaml", "docs/*.md", "README.md"} {
		found, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(pattern)))
		g.Expect(err).NotTo(HaveOccurred())
		files = append(files, found...)
	}
	shown := 0
	for _, file := range files {
		for _, manifest := range manifestsIn(t, file) {
			shown++
			t.Run(filepath.Base(file)+" "+manifest.GetKind()+" "+manifest.GetName(), func(t *testing.T) { take(t, manifest) })
		}
	}
	g.Expect(shown).To(BeNumerically(">", 20))
}

// manifestsIn are the objects in a file of YAML, or in the blocks of YAML in a file of Markdown.
func manifestsIn(t *testing.T, file string) (manifests []*unstructured.Unstructured) {
	t.Helper()
	g := NewWithT(t)
	text, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	blocks := []string{string(text)}
	if filepath.Ext(file) == ".md" {
		blocks = nil
		for _, match := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
			blocks = append(blocks, match[1])
		}
	}
	for _, block := range blocks {
		for document := range strings.SplitSeq(block, "\n---\n") {
			var content map[string]any
			g.Expect(yaml.Unmarshal([]byte(document), &content)).To(Succeed(), document)
			if manifest := (&unstructured.Unstructured{Object: content}); manifest.GetAPIVersion() != "" { // else a part of one
				manifests = append(manifests, manifest)
			}
		}
	}
	return manifests
}

// take lets the API server say what it thinks of a manifest.
func take(t *testing.T, manifest *unstructured.Unstructured) {
	t.Helper()
	g := NewWithT(t)
	gvk := manifest.GroupVersionKind()
	mapping, err := admin.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		g.Expect(gvk.Group).NotTo(Or(BeElementOf("", "apps", "batch"), HaveSuffix("rolecredential.dev")), "a kind that there is not: %s", gvk)
		t.Skipf("%s is not installed here", gvk)
	}
	g.Expect(err).NotTo(HaveOccurred())
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		manifest.SetNamespace("default")
	}
	manifest.SetName("shown-" + manifest.GetName())
	g.Expect(admin.Create(t.Context(), manifest, client.DryRunAll, client.FieldValidation("Strict"))).To(Succeed())
}
