package integration_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/hack/stsemulator"
)

// schemaFormats returns the formats that the CRD accepts.
func schemaFormats(t *testing.T) (formats []v1alpha1.Format) {
	t.Helper()
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "bases", "sts.rolecredential.dev_rolecredentials.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	var crd apiextensionsv1.CustomResourceDefinition
	g.Expect(yaml.Unmarshal(text, &crd)).To(Succeed())
	property := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["secret"].Properties["formats"]
	for _, value := range property.Items.Schema.Enum {
		var format v1alpha1.Format
		g.Expect(json.Unmarshal(value.Raw, &format)).To(Succeed())
		formats = append(formats, format)
	}
	return formats
}

// The schema repeats the keys of the formats.
func TestSchemaRejectsDataWithKeysOfFormats(t *testing.T) {
	formats := schemaFormats(t)
	NewWithT(t).Expect(formats).To(HaveLen(8))
	for _, format := range formats {
		rendered, err := render.Render(v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{format}}, request.Credentials{}, "")
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		for _, key := range slices.Sorted(maps.Keys(rendered)) {
			t.Run(string(format)+" "+key, func(t *testing.T) {
				g := NewWithT(t)
				duplicate := roleCredential("default", "duplicate", "default")
				duplicate.Spec.Secret = v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{format}, Data: map[string]v1alpha1.DataTemplate{"another": "v", key: "v"}}
				g.Expect(admin.Create(t.Context(), duplicate, client.DryRunAll)).To(MatchError(ContainSubstring("spec.secret.data: Invalid value: ")))
				delete(duplicate.Spec.Secret.Data, key)
				g.Expect(admin.Create(t.Context(), duplicate, client.DryRunAll)).To(Succeed())
			})
		}
	}
}

func TestChangedFormatsChangeKeysOfSecret(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := h.identity()
	created := h.credential(namespace, "formats", by, func(c *v1alpha1.RoleCredential) {
		c.Spec.Secret = v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatCredentialProcess, v1alpha1.FormatRegion}, Data: map[string]v1alpha1.DataTemplate{"account": "{{.AccountID}}"}}
	})
	h.eventually(created, "Ready", "True Issued")
	h.Expect(h.secretKeys(namespace, "formats")()).To(Equal([]string{"AWS_DEFAULT_REGION", "AWS_REGION", "account", "config", "credential_process.json"}))
	h.Expect(h.secret(namespace, "formats").Data["account"]).To(BeEquivalentTo("123456789012"))

	update(h, created, func(c *v1alpha1.RoleCredential) { c.Spec.Secret = v1alpha1.SecretTemplate{} })
	h.Eventually(h.secretKeys(namespace, "formats")).WithTimeout(waitLimit).Should(Equal([]string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}))

	// A changed region of the identity reissues only Secrets that hold the region.
	h.eventually(created, "Ready", "True Issued")
	withRegion := h.credential(namespace, "region", by, func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Formats = []v1alpha1.Format{v1alpha1.FormatRegion} })
	h.eventually(withRegion, "Ready", "True Issued")
	before := h.secret(namespace, "formats")
	update(h, by, func(i *v1alpha1.ClusterIdentity) { i.Spec.Region = "us-east-1" })
	h.Eventually(func() string { return string(h.secret(namespace, "region").Data["AWS_REGION"]) }).WithTimeout(waitLimit).Should(Equal("us-east-1"))
	h.Expect(h.secret(namespace, "formats")).To(Equal(before))
}

// secretKeys returns a function that reads the keys of a Secret, sorted.
func (h *harness) secretKeys(namespace, name string) func() []string {
	return func() []string {
		secret := &corev1.Secret{}
		h.Expect(admin.Get(h.ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret)).To(Succeed())
		return slices.Sorted(maps.Keys(secret.Data))
	}
}

func TestInvalidTemplateIsReportedInStatus(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	created := h.credential(namespace, "broken", h.identity(), func(c *v1alpha1.RoleCredential) {
		c.Spec.Secret.Data = map[string]v1alpha1.DataTemplate{"auth.conf": "a\n{{range 1000000000}}a{{end}}"}
	})
	h.eventually(created, "Ready", "False InvalidTemplate")
	h.Expect(created.Status.Conditions[2].Message).To(ContainSubstring("spec.secret.data[auth.conf]: line 2:"))
	h.Expect(h.issues()).To(BeZero())
}
