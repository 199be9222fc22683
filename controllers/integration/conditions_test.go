package integration_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
)

// The golden file contains kubectl's output for manifests that kubectl or the API server rejects.
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

// The golden files contain the conditions of manifests that the API server accepts and that cannot work.
func TestUnusableManifestsExplainConditions(t *testing.T) {
	h, _, issuer := newTokenHarness(t)
	h.start()
	namespace := &unstructured.Unstructured{}
	namespace.SetAPIVersion("v1")
	namespace.SetKind("Namespace")
	namespace.SetName("golden")
	h.Expect(client.IgnoreAlreadyExists(admin.Create(h.ctx, namespace))).To(Succeed()) // with -count=2, it exists
	h.cleanUp(namespace.GetName())

	// The files have placeholders for values that differ between runs. The API server's own audience is its issuer.
	provider := h.newIssuer()
	fill := strings.NewReplacer(append(sourceValues(h, provider), "$ENDPOINT", h.endpoint.URL, "$AUDIENCE", issuer)...)
	hide := strings.NewReplacer(h.endpoint.URL, "$ENDPOINT", provider.server.URL, "$PROVIDER", issuer, "$AUDIENCE")

	identities := h.apply("identities.yaml", fill)
	h.waitForConditions(identities) // so that the callers are known before credentials report
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

// sourceValues returns placeholders with their values: an OIDC provider, certificates with their keys, and tokens of the provider.
func sourceValues(h *harness, provider *issuer) (values []string) {
	h.t.Helper()
	now := clock.RealClock{}.Now()
	authority := testkit.NewAuthority(h, nil, now)
	for name, expires := range map[string]time.Time{"VALID": now.Add(time.Hour), "EXPIRED": now.Add(-time.Minute)} {
		key := testkit.NewKey(h)
		certificate := authority.Issue(key, now, func(c *x509.Certificate) { c.NotAfter = expires })
		values = append(values,
			"$"+name+"_CERTIFICATE", base64.StdEncoding.EncodeToString(certificate),
			"$"+name+"_KEY", base64.StdEncoding.EncodeToString(testkit.KeyPEM(h, key)),
			"$"+name+"_TOKEN", provider.token("operator", expires.Sub(now)))
	}
	return append(values, "$PROVIDER", provider.server.URL, "$CA_BUNDLE", strconv.Quote(provider.caBundle()), "$CLIENT_SECRET", provider.secret)
}

// apply creates the objects of a file in testdata/conditions, and returns those of the operator's API group.
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

// waitForConditions waits until each object has conditions.
func (h *harness) waitForConditions(objects []*unstructured.Unstructured) {
	h.t.Helper()
	for _, object := range objects {
		h.Eventually(func() []string { return failingConditions(h, object) }).WithTimeout(waitLimit).ShouldNot(BeEmpty(), object.GetName())
	}
}

// failingConditions returns the conditions that are not True, as kubectl describe shows them, or all conditions if all are True.
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
