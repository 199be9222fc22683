package controllers

import (
	"fmt"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/partition"
)

// otherPartition finds what a request names that AWS's STS of the identity's region cannot know. Behind an endpoint may be any STS,
// and any names.
func otherPartition(request credential.Request, found *identity.Identity[STS]) *failure.Failure {
	if found.Endpoint != "" {
		return nil
	}
	type named struct{ field, arn string }
	all := []named{{"spec.roleARN", request.RoleARN}, {"spec.mfa.serialNumber", request.MFASerialNumber}}
	for i, policy := range request.PolicyARNs {
		all = append(all, named{fmt.Sprintf("spec.policyARNs[%d]", i), policy})
	}
	for _, n := range all {
		if err := partition.Check(found.Region, n.arn); err != nil {
			return failure.NotAsked(v1alpha1.ReasonInvalidRequest, "%s: %s. Give one of the partition of %s, or name an identity of the other partition.", n.field, err, found.Name)
		}
	}
	return nil
}
