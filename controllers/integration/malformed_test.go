package integration_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// goodManifests has a valid manifest of each kind.
var goodManifests = map[string]string{
	"RoleCredential": goodCredential, "SessionCredential": goodSession, "FederatedCredential": goodFederated, "ClusterIdentity": goodIdentity, "Identity": goodOwnIdentity,
}

// crds returns the CRDs of the manifests by kind.
func crds(g Gomega) map[string]apiextensionsv1.CustomResourceDefinition {
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "crd", "bases", "*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(HaveLen(len(goodManifests)))
	all := map[string]apiextensionsv1.CustomResourceDefinition{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		var crd apiextensionsv1.CustomResourceDefinition
		g.Expect(yaml.Unmarshal(text, &crd)).To(Succeed())
		all[crd.Spec.Names.Kind] = crd
	}
	return all
}

// otherTypes has a value of another type for each type of the schema.
var otherTypes = map[string]any{"string": int64(3600), "boolean": "yes", "integer": "ten", "object": "default", "array": "shop"}

// malformed returns specs that the schema rejects, by description: each field with a value of another type, and each object with an
// unknown field.
func malformed(schema apiextensionsv1.JSONSchemaProps, path string, put func(value any) any) map[string]any {
	found := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		maps.Copy(found, malformed(schema.Properties[name], path+"."+name, func(value any) any { return put(map[string]any{name: value}) }))
	}
	if schema.Items != nil {
		maps.Copy(found, malformed(*schema.Items.Schema, path+"[0]", func(value any) any { return put([]any{value}) }))
	}
	if schema.AdditionalProperties != nil {
		maps.Copy(found, malformed(*schema.AdditionalProperties.Schema, path+".key", func(value any) any { return put(map[string]any{"key": value}) }))
	}
	found[path+" of another type"] = put(otherTypes[schema.Type])
	if len(schema.Properties) > 0 {
		found[path+".nonesuch, an unknown field"] = put(map[string]any{"nonesuch": "x"})
	}
	return found
}

// The API server names the path of a value with a wrong type and of an unknown field.
func TestAPIServerNamesMalformedField(t *testing.T) {
	g := NewWithT(t)
	for kind, crd := range crds(g) {
		t.Run(kind, func(t *testing.T) {
			texts := golden{}
			cases := malformed(crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"], "spec", func(value any) any { return value })
			for name, value := range cases {
				g := NewWithT(t)
				manifest := &unstructured.Unstructured{}
				g.Expect(yaml.Unmarshal([]byte(goodManifests[kind]), &manifest.Object)).To(Succeed())
				if fields, ok := value.(map[string]any); ok {
					maps.Copy(manifest.Object["spec"].(map[string]any), fields)
				} else {
					manifest.Object["spec"] = value
				}
				err := admin.Create(t.Context(), manifest, client.DryRunAll, client.FieldValidation("Strict"))
				path, _, _ := strings.Cut(name, " ")
				path = strings.TrimSuffix(path, ",")
				g.Expect(err).To(MatchError(Or(ContainSubstring("%s in body must be of type", path), ContainSubstring("unknown field %q", path))), name)
				texts[name] = fmt.Sprintf("spec: %s\n%s", shorten(g, manifest.Object["spec"]), kubectlError(g, err))
			}
			texts.compare(t, len(cases))
		})
	}
}
