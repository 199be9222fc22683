package integration_test

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/stsemulator"
)

func TestOptionsSelectFIPSAndDualStackEndpoints(t *testing.T) {
	for name, tc := range map[string]struct {
		options controllers.Options
		want    string
	}{
		"the default": {controllers.Options{}, "https://sts.us-east-1.amazonaws.com/"},
		"FIPS":        {controllers.Options{FIPS: true}, "https://sts-fips.us-east-1.amazonaws.com/"},
		"dual-stack":  {controllers.Options{DualStack: true}, "https://sts.us-east-1.api.aws/"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, stsemulator.Options{})
			h.options = tc.options
			h.start()
			by := h.identity()
			h.eventually(by, "Ready", "True Verified") // spec.endpoint overrides the options
			update(h, by, func(i *v1alpha1.ClusterIdentity) { i.Spec.Region, i.Spec.Endpoint = "us-east-1", "" })
			h.eventually(by, "Ready", "False STSUnreachable") // tests have no network
			h.Expect(h.logs.String()).To(ContainSubstring(tc.want))
		})
	}
}

func TestServerOfUnknownAuthorityIsNotTrusted(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	secure, err := h.sts.StartTLS("")
	h.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = secure.Close() })
	unknown, err := h.sts.StartTLS("")
	h.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = unknown.Close() })
	h.start()
	by := h.identity(func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Endpoint = secure.URL
		i.Spec.CABundle = string(unknown.CABundle)
	})
	h.eventually(by, "Ready", "False STSUnreachable")
	created := h.credential(h.namespace(nil), "tls", by)
	h.eventually(created, "Issued", "False STSUnreachable")
	h.Expect(meta.FindStatusCondition(created.Status.Conditions, "Issued").Message).To(HavePrefix(
		"The endpoint " + secure.URL + " presented ClusterIdentity " + by.Name + " a certificate that is not trusted. Check that the identity's caBundle has the authority that issued it,"))
	h.Expect(h.sts.Calls()).To(BeEmpty())

	update(h, by, func(i *v1alpha1.ClusterIdentity) { i.Spec.CABundle += string(secure.CABundle) })
	h.eventually(by, "Ready", "True Verified")
	h.eventually(created, "Ready", "True Issued")
}
