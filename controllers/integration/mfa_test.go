package integration_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

func TestMFADeviceSatisfiesRoleThatRequiresMFA(t *testing.T) {
	const guarded = "arn:aws:iam::123456789012:role/Guarded"
	seeds := map[string]string{"first": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "second": "MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U"}
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	devices := map[string]*v1alpha1.MFA{}
	for name, seed := range seeds {
		serial, err := h.sts.PutMFADevice(operatorARN, stsemulator.MFADevice{Name: name, Seed: seed})
		h.Expect(err).NotTo(HaveOccurred())
		devices[name] = &v1alpha1.MFA{SerialNumber: serial, TOTPSecretRef: v1alpha1.SecretKeyReference{Name: "devices", Key: name}}
	}
	by := h.identity(func(i *v1alpha1.ClusterIdentity) {
		*i.Spec.Allow = append(*i.Spec.Allow, v1alpha1.AllowRule{Namespaces: []string{namespace}, Calls: []v1alpha1.Call{v1alpha1.CallGetSessionToken}})
	})

	without := h.credential(namespace, "without", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = guarded })
	h.eventually(without, "Issued", "False AccessDenied")
	with := h.credential(namespace, "with", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN, c.Spec.MFA = guarded, devices["first"] })
	h.eventually(with, "Issued", "False InvalidMFA") // there is no Secret with its seed yet
	own := &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "own"}}
	own.Spec.IdentityRef.Name, own.Spec.MFA = by.Name, devices["second"]
	h.Expect(admin.Create(h.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "devices"}, StringData: seeds})).To(Succeed())
	h.Expect(admin.Create(h.ctx, own)).To(Succeed())
	h.refresh(with, "1") // sooner than the check each minute
	h.eventually(with, "Ready", "True Issued")
	h.eventually(own, "Ready", "True Issued")
	session, known := h.sts.Session(string(h.secret(namespace, "own").Data["AWS_ACCESS_KEY_ID"]))
	h.Expect(known).To(BeTrue())
	h.Expect(session.MFA).To(BeTrue())

	h.stop()
	for output, text := range h.outputs(namespace, with, by) {
		for _, seed := range seeds {
			h.Expect(strings.Contains(text, seed)).To(BeFalse(), output)
		}
	}
}
