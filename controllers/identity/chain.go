package identity

import (
	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/partition"
)

// checkNames returns a failure if AWS cannot know the region, or a hop of the chain. The CRDs' rules refuse most of that already, but
// not in an object that was stored before them. A server behind an endpoint decides for itself.
func checkNames(settings *v1alpha1.IdentitySettings) *failure.Failure {
	if settings.Endpoint != "" {
		return nil
	}
	if err := partition.CheckRegion(settings.Region); err != nil {
		return unready(v1alpha1.ReasonInvalidRequest, nil, "spec.region: %s. Correct it, or set spec.endpoint to the server that signs for it.", err)
	}
	for i, hop := range settings.Chain {
		if err := partition.CheckRole(hop.RoleARN); err != nil {
			return unready(v1alpha1.ReasonInvalidRequest, nil, "spec.chain[%d].roleARN: %s. Correct it, or set spec.endpoint to the server that knows it.", i, err)
		}
		if err := partition.Check(settings.Region, hop.RoleARN); err != nil {
			return unready(v1alpha1.ReasonWrongPartition, nil, "spec.chain[%d].roleARN: %s. Give the identity a region, a source and hops of one partition.", i, err)
		}
	}
	return nil
}
