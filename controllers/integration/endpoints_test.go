package integration_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/stsemulator"
)

func TestAWSsOwnEndpointsAreChosenForTheWholeOperator(t *testing.T) {
	for name, tc := range map[string]struct {
		options controllers.Options
		want    string
	}{
		"the region's":   {controllers.Options{}, "https://sts.us-east-1.amazonaws.com/"},
		"its FIPS":       {controllers.Options{FIPS: true}, "https://sts-fips.us-east-1.amazonaws.com/"},
		"its dual-stack": {controllers.Options{DualStack: true}, "https://sts.us-east-1.api.aws/"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, stsemulator.Options{})
			h.options = tc.options
			h.start()
			other := h.identity()
			h.eventually(other, "Ready", "True Verified") // what has an endpoint of its own is not concerned
			update(h, other, func(i *v1alpha1.ClusterIdentity) { i.Spec.Region, i.Spec.Endpoint = "us-east-1", "" })
			h.eventually(other, "Ready", "False STSUnreachable") // nothing beyond this machine is
			h.Expect(h.logs.String()).To(ContainSubstring(tc.want))
		})
	}
}
