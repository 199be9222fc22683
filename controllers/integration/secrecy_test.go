package integration_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

// Keys of identities and issued credentials appear only in Secrets, also after errors.
func TestSecretValuesAppearOnlyInSecrets(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	spans := h.exportSpans()
	h.start()
	namespace := h.namespace(nil)
	by := h.identity()
	h.eventually(by, "Ready", "True Verified")
	made := h.credential(namespace, "quiet", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::210987654321:role/Hub" })
	h.eventually(made, "Ready", "True Issued")
	secrets := secretsOf(h, namespace, "quiet")

	// The operator reads an edited Secret. STS rejects a request of a source with a session token, and quotes the request.
	update(h, h.secret(namespace, "quiet"), func(s *corev1.Secret) { s.Data["AWS_SESSION_TOKEN"] = []byte("a-manually-edited-token") })
	h.lastIssued(2)
	h.eventually(made, "Ready", "True Issued")
	secrets = append(secrets, "a-manually-edited-token")
	secrets = append(secrets, secretsOf(h, namespace, "quiet")...)
	wrong := stsemulator.AccessKey{ID: string(h.secret(namespace, "quiet").Data["AWS_ACCESS_KEY_ID"]), Secret: "a-wrong-secret-access-key"}
	source := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: by.Name}}
	update(h, source, func(s *corev1.Secret) {
		s.Data = map[string][]byte{
			"AWS_ACCESS_KEY_ID": []byte(wrong.ID), "AWS_SECRET_ACCESS_KEY": []byte(wrong.Secret),
			"AWS_SESSION_TOKEN": h.secret(namespace, "quiet").Data["AWS_SESSION_TOKEN"],
		}
	})
	secrets = append(secrets, wrong.Secret, h.sts.AccessKeys(operatorARN)[0].Secret)
	h.eventually(by, "Ready", "False InvalidSourceCredentials")
	h.refresh(made, "1")
	h.eventually(made, "Issued", "False InvalidSourceCredentials")
	h.Eventually(h.events(made)).WithTimeout(settle).Should(ContainElement("Warning InvalidSourceCredentials"))
	quoted := false
	for _, call := range h.sts.Calls() {
		quoted = quoted || call.Code == "SignatureDoesNotMatch"
	}
	h.Expect(quoted).To(BeTrue(), "STS quoted a request")
	h.stop()

	outputs := h.outputs(namespace, made, by)
	outputs["a span"] = fmt.Sprint(spans())
	h.Expect(outputs["a span"]).To(ContainSubstring("InvalidSourceCredentials"))
	for output, text := range outputs {
		h.Expect(text).NotTo(BeEmpty(), output)
		for _, secret := range secrets {
			h.Expect(len(secret)).To(BeNumerically(">", 10))
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s holds a secret: …%s…", output, text[max(0, i-200):i])
			}
		}
	}
}

func secretsOf(h *harness, namespace, name string) []string {
	data := h.secret(namespace, name).Data
	return []string{string(data["AWS_SECRET_ACCESS_KEY"]), string(data["AWS_SESSION_TOKEN"])}
}

// outputs returns all outputs of the operator: its log at the highest verbosity, its events, statuses and metrics, and the metadata of its
// Secrets.
func (h *harness) outputs(namespace string, made, by client.Object) map[string]string {
	h.t.Helper()
	h.state(made, "Ready")()
	h.state(by, "Ready")()
	var events eventsv1.EventList
	h.Expect(admin.List(h.ctx, &events)).To(Succeed())
	var metadata metav1.PartialObjectMetadataList
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	h.Expect(admin.List(h.ctx, &metadata, client.InNamespace(namespace))).To(Succeed())
	families, err := metrics.Registry.Gather()
	h.Expect(err).NotTo(HaveOccurred())
	all := map[string]string{"the log": h.logs.String()}
	for output, object := range map[string]any{"an event": events, "the credential": made, "the identity": by, "a Secret's metadata": metadata, "a metric": families} {
		text, err := json.Marshal(object)
		h.Expect(err).NotTo(HaveOccurred())
		all[output] = string(text)
	}
	return all
}

func TestSecretDataIsNotCached(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	made := h.credential(namespace, "uncached", h.identity())
	h.eventually(made, "Ready", "True Issued")
	h.refresh(made, "1")
	h.lastIssued(2)
	h.eventually(made, "Ready", "True Issued")
	key := client.ObjectKeyFromObject(made)
	h.Expect(h.cache.Get(h.ctx, key, &corev1.Secret{})).To(MatchError(new(cache.ErrResourceNotCached{GVK: corev1.SchemeGroupVersion.WithKind("Secret")})))
}
