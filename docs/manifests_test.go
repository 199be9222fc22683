package docs_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kustomize "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"
)

// TestAPIServerAcceptsShownManifests checks that the API server accepts the samples and the documentation's manifests, and knows each of
// their fields.
func TestAPIServerAcceptsShownManifests(t *testing.T) {
	g := NewWithT(t)
	samples, err := filepath.Glob(filepath.Join(root, "config", "samples", "sts_*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(samples).NotTo(BeEmpty())
	for _, file := range samples {
		text, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		t.Run(filepath.Base(file), func(t *testing.T) { validateBlock(t, block{language: "yaml", text: string(text)}) })
	}
	t.Cleanup(func() { empty(t) })
	for kind, text := range bases {
		g.Expect(cluster.Client.Create(t.Context(), object(t, text))).To(Succeed(), kind)
	}
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.language == "yaml" {
				t.Run(fmt.Sprintf("%s:%d", p.path, b.line), func(t *testing.T) { validateBlock(t, b) })
			}
		}
	}
}

// documents returns the documents of a YAML text.
func documents(text string) []string { return strings.Split(text, "\n---\n") }

// object is a document of YAML.
func object(t *testing.T, document string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	NewWithT(t).Expect(yaml.UnmarshalStrict([]byte(document), &o.Object)).To(Succeed(), document)
	return o
}

// validateBlock validates a block with the program that reads it.
func validateBlock(t *testing.T, b block) {
	t.Helper()
	g := NewWithT(t)
	switch kind := b.value("part"); {
	case b.has("kustomization"):
		g.Expect((&kustomize.Kustomization{}).Unmarshal([]byte(b.text))).To(Succeed())
	case b.has("values"):
		validate(t, renderValues(t, b.text), "")
	case b.value("values") == "cert-manager":
		validate(t, podOfValues(t, b.text), "")
	case b.has("helm"):
		for _, document := range renderTemplate(t, b.text) {
			validate(t, document, "")
		}
	case b.has("config"):
		var content map[string]any
		g.Expect(yaml.UnmarshalStrict([]byte(b.text), &content)).To(Succeed())
	case kind == "container":
		validate(t, object(t, inContainer(b.text)), "")
	case kind != "":
		validatePart(t, kind, b.text)
	default:
		for _, document := range documents(b.text) {
			o := object(t, document)
			validate(t, o, b.value("other"))
			for _, inner := range templates(t, o) {
				validate(t, inner, "")
			}
		}
	}
}

// placeholder is an expression of kro. A test puts an ARN in place of an ARN, and a name in place of another value.
var placeholder = regexp.MustCompile(`\$\{[^}]*\}`)

// templates returns the objects that a ResourceGraphDefinition of kro creates.
func templates(t *testing.T, o *unstructured.Unstructured) (found []*unstructured.Unstructured) {
	t.Helper()
	g := NewWithT(t)
	if o.GetKind() != "ResourceGraphDefinition" {
		return nil
	}
	resources, _, err := unstructured.NestedSlice(o.Object, "spec", "resources")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(resources).NotTo(BeEmpty())
	for _, resource := range resources {
		text, err := yaml.Marshal(resource.(map[string]any)["template"])
		g.Expect(err).NotTo(HaveOccurred())
		found = append(found, object(t, placeholder.ReplaceAllStringFunc(string(text), func(expression string) string {
			if strings.HasSuffix(expression, ".arn}") {
				return "arn:aws:iam::123456789012:role/S3Reader"
			}
			return "shown"
		})))
	}
	return found
}

// validate makes the API server validate an object, unless it is of the group other, whose CRDs are not installed.
func validate(t *testing.T, o *unstructured.Unstructured, other string) {
	t.Helper()
	g := NewWithT(t)
	gvk := o.GroupVersionKind()
	g.Expect(gvk.Kind).NotTo(BeEmpty(), "what is not a whole object is a part of one, and says of which")
	g.Expect(o.GetName()).NotTo(BeEmpty())
	mapping, err := cluster.Client.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if other != "" && gvk.Group == other {
		g.Expect(meta.IsNoMatchError(err)).To(BeTrue(), "%s is known here", gvk)
		return
	}
	g.Expect(err).NotTo(HaveOccurred())
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		o.SetNamespace("default")
	}
	o.SetName("shown-" + o.GetName())
	g.Expect(cluster.Client.Create(t.Context(), o, client.DryRunAll, client.FieldValidation("Strict"))).To(Succeed())
}

// inContainer returns a Pod with a part of its container.
func inContainer(part string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: part}\nspec:\n  containers:\n  - name: app\n    image: example.com/app\n" +
		"    " + strings.ReplaceAll(strings.TrimSpace(part), "\n", "\n    ") + "\n"
}

// bases are objects with their required fields, to which parts are added.
var bases = map[string]string{
	"Deployment": `
apiVersion: apps/v1
kind: Deployment
metadata: {name: base, namespace: default}
spec:
  selector: {matchLabels: {app: base}}
  template:
    metadata: {labels: {app: base}}
    spec: {containers: [{name: manager, image: example.com/app}]}
`,
	"ClusterIdentity": `
apiVersion: sts.rolecredential.dev/v1alpha1
kind: ClusterIdentity
metadata: {name: base}
spec: {region: eu-west-1, source: {ambient: {}}, allow: []}
`,
	"RoleCredential": `
apiVersion: sts.rolecredential.dev/v1alpha1
kind: RoleCredential
metadata: {name: base, namespace: default}
spec: {roleARN: "arn:aws:iam::123456789012:role/Base", suspend: true}
`,
}

// validatePart makes the API server validate a base with a part.
func validatePart(t *testing.T, kind, text string) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(bases).To(HaveKey(kind))
	base := object(t, bases[kind])
	part := object(t, text)
	patchType := types.MergePatchType
	if kind == "Deployment" {
		patchType = types.StrategicMergePatchType // a container is known by its name
	}
	patch, err := json.Marshal(part.Object)
	g.Expect(err).NotTo(HaveOccurred())
	before := base.DeepCopy()
	g.Expect(cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(base), before)).To(Succeed())
	if _, ok := part.Object["status"]; ok {
		g.Expect(cluster.Client.Status().Patch(t.Context(), base, client.RawPatch(patchType, patch), client.DryRunAll, client.FieldValidation("Strict"))).To(Succeed())
	} else {
		g.Expect(cluster.Client.Patch(t.Context(), base, client.RawPatch(patchType, patch), client.DryRunAll, client.FieldValidation("Strict"))).To(Succeed())
	}
	g.Expect(base.Object).NotTo(Equal(before.Object), "a part says something")
}
