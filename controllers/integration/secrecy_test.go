package integration_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

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
	created := h.credential(namespace, "quiet", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::210987654321:role/Hub" })
	h.eventually(created, "Ready", "True Issued")
	secrets := secretsOf(h, namespace, "quiet")

	// The operator reads an edited Secret. STS rejects a request of a source with a session token, and quotes the request.
	update(h, h.secret(namespace, "quiet"), func(s *corev1.Secret) { s.Data["AWS_SESSION_TOKEN"] = []byte("a-manually-edited-token") })
	h.lastIssued(2)
	h.eventually(created, "Ready", "True Issued")
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
	h.refresh(created, "1")
	h.eventually(created, "Issued", "False InvalidSourceCredentials")
	h.Eventually(h.events(created)).WithTimeout(waitLimit).Should(ContainElement("Warning InvalidSourceCredentials"))
	quoted := false
	for _, call := range h.sts.Calls() {
		quoted = quoted || call.Code == "SignatureDoesNotMatch"
	}
	h.Expect(quoted).To(BeTrue(), "STS quoted a request")
	h.stop()

	outputs := h.outputs(namespace, created, by)
	outputs["a span"] = fmt.Sprint(spans())
	h.Expect(outputs["a span"]).To(ContainSubstring("InvalidSourceCredentials"))
	h.expectNoSecrets(outputs, secrets)
}

// Tokens of sources and the secret of an OIDC client appear only in their Secrets, also after errors that quote them.
func TestTokensOfSourcesAppearOnlyInSecrets(t *testing.T) {
	for name, tc := range map[string]struct {
		source func(*issuer) func(*v1alpha1.ClusterIdentity)
		// good and bad return values of the source's Secret.
		good, bad func(*issuer) string
		want      string
	}{
		"webIdentityToken": {
			func(*issuer) func(*v1alpha1.ClusterIdentity) { return useTokenIn },
			func(i *issuer) string { return i.token("operator", time.Hour) }, func(i *issuer) string { return i.token("operator", -time.Hour) }, "TokenExpired",
		},
		"webIdentityToken that is damaged": {
			func(*issuer) func(*v1alpha1.ClusterIdentity) { return useTokenIn },
			func(i *issuer) string { return i.token("operator", time.Hour) },
			func(i *issuer) string { return i.token("operator", time.Hour)[1:] }, "InvalidSecret",
		},
		"oidc": {
			func(i *issuer) func(*v1alpha1.ClusterIdentity) { return i.useClient },
			func(i *issuer) string { return i.secret }, func(*issuer) string { return "a-wrong-secret-of-the-client" }, "ClientRejected",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, stsemulator.Options{})
			spans := h.exportSpans()
			i := h.newIssuer()
			h.start()
			namespace := h.namespace(nil)
			role := h.putRole("Reached", i.trust("operator"))
			good, bad := tc.good(i), tc.bad(i)
			by := h.identity(tc.source(i), func(by *v1alpha1.ClusterIdentity) { h.putSecret(operatorNamespace, by.Name, "value", good) })
			h.eventually(by, "Ready", "True NotVerifiable")
			created := h.credential(namespace, "quiet", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = role })
			h.eventually(created, "Ready", "True Issued")
			secrets := append(secretsOf(h, namespace, "quiet"), good, bad, i.secret)

			// STS rejects the token of an issuer that it does not trust, and may quote it.
			_, err := h.sts.PutOIDCProvider(tenantAccount, stsemulator.OIDCProvider{Issuer: i.server.URL, ClientIDs: []string{"another"}, JWKS: i.signer.KeySet()})
			h.Expect(err).NotTo(HaveOccurred())
			h.eventually(h.credential(namespace, "rejected", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = role }), "Issued", "False InvalidSourceCredentials")
			h.putSecret(operatorNamespace, by.Name, "value", bad)
			h.eventually(by, "Ready", "False "+tc.want)
			h.stop()

			outputs := h.outputs(namespace, created, by)
			outputs["a span"] = fmt.Sprint(spans())
			h.Expect(outputs["the identity"]).To(ContainSubstring(tc.want))
			h.expectNoSecrets(outputs, append(secrets, i.issued()...))
		})
	}
}

// expectNoSecrets fails the test for each output that contains a secret.
func (h *harness) expectNoSecrets(outputs map[string]string, secrets []string) {
	h.t.Helper()
	for output, text := range outputs {
		h.Expect(text).NotTo(BeEmpty(), output)
		for _, secret := range secrets {
			h.Expect(len(secret)).To(BeNumerically(">", 10))
			if i := strings.Index(text, secret); i >= 0 {
				h.t.Errorf("%s holds a secret: …%s…", output, text[max(0, i-200):i])
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
func (h *harness) outputs(namespace string, cred, by client.Object) map[string]string {
	h.t.Helper()
	h.state(cred, "Ready")()
	h.state(by, "Ready")()
	var events eventsv1.EventList
	h.Expect(admin.List(h.ctx, &events)).To(Succeed())
	var metadata metav1.PartialObjectMetadataList
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	h.Expect(admin.List(h.ctx, &metadata, client.InNamespace(namespace))).To(Succeed())
	families, err := metrics.Registry.Gather()
	h.Expect(err).NotTo(HaveOccurred())
	all := map[string]string{"the log": h.logs.String()}
	for output, object := range map[string]any{"an event": events, "the credential": cred, "the identity": by, "a Secret's metadata": metadata, "a metric": families} {
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
	created := h.credential(namespace, "uncached", h.identity())
	h.eventually(created, "Ready", "True Issued")
	h.refresh(created, "1")
	h.lastIssued(2)
	h.eventually(created, "Ready", "True Issued")
	key := client.ObjectKeyFromObject(created)
	h.Expect(h.cache.Get(h.ctx, key, &corev1.Secret{})).To(MatchError(new(cache.ErrResourceNotCached{GVK: corev1.SchemeGroupVersion.WithKind("Secret")})))
}
