package integration_test

import (
	"testing"

	. "github.com/onsi/gomega"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

// The client writes a series when an event repeats, and its count again only after minutes.
func TestRepeatedEventsBecomeASeries(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := h.identity(func(i *v1alpha1.ClusterIdentity) {
		*i.Spec.Allow = []v1alpha1.AllowRule{{Namespaces: []string{"elsewhere"}, RoleARNs: []string{"*"}}}
	})
	credential := h.credential(namespace, "flips", by)
	for range 3 {
		h.eventually(credential, "Authorized", "False NotAllowed")
		update(h, credential, func(c *v1alpha1.RoleCredential) { c.Spec.IdentityRef.Name = "missing" })
		h.eventually(credential, "Authorized", "False IdentityNotFound")
		update(h, credential, func(c *v1alpha1.RoleCredential) { c.Spec.IdentityRef.Name = by.Name })
	}
	counts := func() map[string][]int32 {
		var list eventsv1.EventList
		h.Expect(admin.List(h.ctx, &list, client.InNamespace(namespace))).To(Succeed())
		found := map[string][]int32{}
		for _, e := range list.Items {
			count := int32(1)
			if e.Series != nil {
				count = e.Series.Count
			}
			found[e.Reason] = append(found[e.Reason], count)
		}
		return found
	}
	h.Eventually(counts).WithTimeout(waitLimit).Should(Equal(map[string][]int32{"NotAllowed": {2}, "IdentityNotFound": {2}}))
}

// repeatEvent makes an identity unusable for the same reason twice, and for another one in between.
func (op *restrictedOperator) repeatEvent(by *v1alpha1.ClusterIdentity) {
	op.t.Helper()
	name := by.Spec.Source.AccessKey.SecretRef.Name
	for _, step := range []struct{ caBundle, secret, want string }{
		{"-----BEGIN CERTIFICATE-----", name, "False InvalidCABundle"},
		{"", "missing", "False SecretNotFound"},
		{"-----BEGIN CERTIFICATE-----", name, "False InvalidCABundle"},
	} {
		update(op.harness, by, func(i *v1alpha1.ClusterIdentity) {
			i.Spec.CABundle, i.Spec.Source.AccessKey.SecretRef.Name = step.caBundle, step.secret
		})
		op.waitFor(op.hasState(by, "Ready", step.want))
	}
}
