package identity

import (
	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/partition"
)

// checkChain finds a hop that the region's STS cannot know. Behind an endpoint may be any STS, and any names.
func checkChain(settings *v1alpha1.IdentitySettings) *failure.Failure {
	if settings.Endpoint != "" {
		return nil
	}
	for i, hop := range settings.Chain {
		if err := partition.Check(settings.Region, hop.RoleARN); err != nil {
			return unready(v1alpha1.ReasonInvalidRequest, nil, "spec.chain[%d].roleARN: %s. Give the identity a region, a source and hops of one partition.", i, err)
		}
	}
	return nil
}
