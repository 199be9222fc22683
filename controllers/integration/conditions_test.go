package integration_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
)

// What a user sees who applies a manifest that kubectl or the API server does not take as it is, all of it in kubectl's words.
func TestRejectedManifestsExplainErrors(t *testing.T) {
	g := NewWithT(t)
	files, err := filepath.Glob(filepath.Join("testdata", "manifests", "*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	messages := golden{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			g := NewWithT(t)
			text, err := kubectl("apply", "--dry-run=server", "-f", file)
			g.Expect(err).To(HaveOccurred())
			messages[filepath.Base(file)] = sortErrors(text)
		})
	}
	messages.compare(t, len(files))
}

// What a user sees whose manifest is taken, and cannot work: conditions that say what is wrong and what to do.
func TestUnusableManifestsExplainConditions(t *testing.T) {
	h, _, issuer := newTokenHarness(t)
	h.start()
	namespace := &unstructured.Unstructured{}
	namespace.SetAPIVersion("v1")
	namespace.SetKind("Namespace")
	namespace.SetName("golden")
	h.Expect(client.IgnoreAlreadyExists(admin.Create(h.ctx, namespace))).To(Succeed()) // by a run before, if the tests are run twice
	h.cleanUp(namespace.GetName())

	// What differs from run to run has a name in the files. The API server's own audience is its issuer.
	fill := strings.NewReplacer("$ENDPOINT", h.endpoint.URL, "$AUDIENCE", issuer)
	hide := strings.NewReplacer(h.endpoint.URL, "$ENDPOINT", issuer, "$AUDIENCE")

	identities := h.apply("identities.yaml", fill)
	h.waitForConditions(identities) // lest who the caller is comes to be known only while credentials report
	credentials := h.apply("credentials.yaml", fill)
	h.waitForConditions(credentials)
	for _, kind := range []struct {
		name    string
		objects []*unstructured.Unstructured
	}{{"identities", identities}, {"credentials", credentials}} {
		t.Run(kind.name, func(t *testing.T) {
			messages := golden{}
			for _, object := range kind.objects {
				messages[object.GetKind()+" "+object.GetName()] = hide.Replace(strings.Join(failingConditions(h, object), "\n"))
			}
			messages.compare(t, len(kind.objects))
		})
	}
}

// apply creates what stands in a file of testdata/conditions, and returns what of it has conditions.
func (h *harness) apply(file string, fill *strings.Replacer) (objects []*unstructured.Unstructured) {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "conditions", file))
	h.Expect(err).NotTo(HaveOccurred())
	documents := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(fill.Replace(string(text))), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := documents.Decode(object); err != nil {
			h.Expect(err).To(MatchError("EOF"))
			return objects
		}
		h.Expect(admin.Create(h.ctx, object, client.FieldValidation("Strict"))).To(Succeed(), object.GetName())
		if object.GroupVersionKind().Group == v1alpha1.GroupVersion.Group {
			objects = append(objects, object)
		}
		h.t.Cleanup(func() { h.Expect(client.IgnoreNotFound(admin.Delete(context.Background(), object))).To(Succeed()) })
	}
}

// settles waits until all have been looked at, and all have come to an end.
func (h *harness) waitForConditions(objects []*unstructured.Unstructured) {
	h.t.Helper()
	for _, object := range objects {
		h.Eventually(func() []string { return failingConditions(h, object) }).WithTimeout(settle).ShouldNot(BeEmpty(), object.GetName())
	}
}

// unwell are an object's conditions that are not True, as kubectl describe shows them; if all are True, those.
func failingConditions(h *harness, object *unstructured.Unstructured) (messages []string) {
	h.t.Helper()
	h.Expect(admin.Get(h.ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
	list, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
	h.Expect(err).NotTo(HaveOccurred())
	var trueConditions []string
	for _, item := range list {
		var c metav1.Condition
		h.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(item.(map[string]any), &c)).To(Succeed())
		line := fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message)
		if c.Status == metav1.ConditionTrue {
			trueConditions = append(trueConditions, line)
		} else {
			messages = append(messages, line)
		}
	}
	if len(messages) == 0 {
		return trueConditions
	}
	return messages
}
