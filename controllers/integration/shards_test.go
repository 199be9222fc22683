package integration_test

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/labels"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/stsemulator"
)

func TestManagersShareCredentialsByLabel(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	for _, selector := range []string{"shard=a", "shard=b"} {
		selected, err := labels.Parse(selector)
		h.Expect(err).NotTo(HaveOccurred())
		h.startFor(controllers.Options{Selector: selected})
	}
	namespace, by := h.namespace(nil), h.identity()
	inShard := func(shard string) func(*v1alpha1.RoleCredential) {
		return func(c *v1alpha1.RoleCredential) { c.Labels = map[string]string{"shard": shard} }
	}
	credentials := map[string]*v1alpha1.RoleCredential{}
	credentials["unlabelled"] = h.credential(namespace, "unlabelled", by)
	for _, shard := range []string{"a", "b"} {
		credentials[shard] = h.credential(namespace, "of-"+shard, by, inShard(shard))
	}
	for _, shard := range []string{"a", "b"} {
		h.eventually(credentials[shard], v1alpha1.ConditionReady, "True Issued")
	}
	h.Expect(h.issues()).To(Equal(2), "one manager issues each credential")
	h.Expect(h.state(credentials["unlabelled"], v1alpha1.ConditionReady)()).To(Equal("none"))

	update(h, credentials["unlabelled"], inShard("b"))
	h.eventually(credentials["unlabelled"], v1alpha1.ConditionReady, "True Issued")
	update(h, credentials["a"], inShard("b"))
	h.refresh(credentials["a"], "1")
	h.Eventually(func() string {
		h.state(credentials["a"], "Ready")()
		return credentials["a"].Status.LastHandledRefreshRequest
	}).WithTimeout(waitLimit).Should(Equal("1"))
	h.Expect(h.issues()).To(Equal(4), "a moved credential is not reissued, and only its new manager refreshes it")
}

func TestEachSelectorHasItsOwnLease(t *testing.T) {
	g := NewWithT(t)
	g.Expect(controllers.LeaseName("")).To(Equal("rolecredential.dev"))
	g.Expect(controllers.LeaseName("shard=a")).To(Equal("rolecredential.dev-3d8dfb26"))
	g.Expect(controllers.LeaseName("shard=b")).NotTo(Equal(controllers.LeaseName("shard=a")))
}
