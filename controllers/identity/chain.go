package identity

import (
	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// checkNames returns a failure if the region or a hop of the chain does not have AWS's form, or is in another
// partition. The CRDs' validation rules reject most of these, but not in objects stored before the rules. With an
// endpoint, the server decides instead.
func checkNames(settings *v1alpha1.IdentitySettings) *reason.Error {
	if settings.Endpoint != "" {
		return nil
	}
	if err := request.CheckRegion(settings.Region); err != nil {
		return unready(v1alpha1.ReasonInvalidRequest, nil, "spec.region: %s. Correct it, or set spec.endpoint to the server that uses this region.", err)
	}
	for i, hop := range settings.Chain {
		if err := request.CheckRole(hop.RoleARN); err != nil {
			return unready(v1alpha1.ReasonInvalidRequest, nil, "spec.chain[%d].roleARN: %s. Correct it, or set spec.endpoint to the server of this role.", i, err)
		}
		if err := request.CheckPartition(settings.Region, hop.RoleARN); err != nil {
			return unready(v1alpha1.ReasonWrongPartition, nil, "spec.chain[%d].roleARN: %s. Use a region, a source and hops of one partition.", i, err)
		}
	}
	return nil
}
