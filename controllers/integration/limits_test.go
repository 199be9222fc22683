package integration_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

func TestCredentialsWaitForRateLimit(t *testing.T) {
	const credentials, qps = 12, 3
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := h.identity(func(i *v1alpha1.ClusterIdentity) { i.Spec.STSQPS = qps })
	h.eventually(by, v1alpha1.ConditionReady, "True Verified")
	before := h.requests()
	for i := range credentials {
		h.credential(namespace, fmt.Sprint("reader-", i), by)
	}
	h.Eventually(func() int { return h.ready(namespace) }).WithTimeout(waitLimit).Should(Equal(credentials))
	calls := h.sts.Calls()
	h.Expect(calls).To(HaveLen(1+credentials), "the first is GetCallerIdentity")
	took := calls[credentials].Time.Sub(calls[1].Time)
	h.Expect(took).To(BeNumerically(">", (credentials-qps)*time.Second/qps-time.Second), "the burst is the calls of one second")
	h.Expect(h.since(before)).To(And(HaveKeyWithValue("POST secrets", credentials), HaveKeyWithValue("PUT rolecredentials/status", credentials)))
}

// With a backoff for each credential, recovery would take longer than this test waits.
func TestAllCredentialsRecoverAfterOutage(t *testing.T) {
	const credentials = 25
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := h.identity()
	h.eventually(by, v1alpha1.ConditionReady, "True Verified")
	_, err := h.sts.SetFault(stsemulator.Fault{Kind: stsemulator.FaultOutage})
	h.Expect(err).NotTo(HaveOccurred())
	for i := range credentials {
		h.credential(namespace, fmt.Sprint("reader-", i), by)
	}
	h.Eventually(func() int { // False for credentials whose probe failed, Unknown for credentials that wait
		return h.countWithStatus(namespace, v1alpha1.ConditionIssued, metav1.ConditionFalse) + h.countWithStatus(namespace, v1alpha1.ConditionIssued, metav1.ConditionUnknown)
	}).WithTimeout(waitLimit).Should(Equal(credentials))
	h.sts.ClearFaults()
	h.Eventually(func() int { return h.ready(namespace) }).WithTimeout(waitLimit).Should(Equal(credentials))
}

// Calls of one identity that STS does not answer occupy two of the four workers. The other workers reconcile other credentials.
func TestHangingCallsBlockNoOtherReconciles(t *testing.T) {
	const credentials, hanging = 8, 2
	h := newHarness(t, stsemulator.Options{})
	h.options.Concurrency = 4
	h.start()
	namespace := h.namespace(nil)
	by := h.identity()
	other := h.identity(func(i *v1alpha1.ClusterIdentity) { i.Name += "-other" })
	var created []*v1alpha1.RoleCredential
	for i := range credentials {
		created = append(created, h.credential(namespace, fmt.Sprint("reader-", i), by))
	}
	h.Eventually(func() int { return h.ready(namespace) }).WithTimeout(waitLimit).Should(Equal(credentials))

	_, err := h.sts.SetFault(stsemulator.Fault{Kind: stsemulator.FaultHang, RoleARN: readerRole})
	h.Expect(err).NotTo(HaveOccurred())
	for _, c := range created {
		h.refresh(c, "now")
		h.Expect(admin.Delete(h.ctx, h.secret(namespace, c.Name))).To(Succeed())
	}
	notReady := func() int { return h.countWithStatus(namespace, v1alpha1.ConditionReady, metav1.ConditionFalse) }
	h.Eventually(notReady).WithTimeout(waitLimit).Should(BeNumerically(">=", credentials-hanging))
	shop := h.credential(namespace, "shop", other, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = shopRole })
	h.eventually(shop, v1alpha1.ConditionReady, "True Issued")
	h.Eventually(notReady).WithTimeout(waitLimit).Should(Equal(credentials))
	h.sts.ClearFaults()
	h.Eventually(func() int { return h.ready(namespace) }).WithTimeout(waitLimit).Should(Equal(credentials + 1))
}
