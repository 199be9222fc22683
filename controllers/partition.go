package controllers

import (
	"fmt"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/partition"
)

// checkARNs returns a failure if an ARN of the request does not have AWS's form, or is in another partition than the
// identity's region. With an endpoint, the server decides instead.
func checkARNs(request credential.Request, found *identity.Identity[STS]) *failure.Failure {
	if found.Endpoint != "" {
		return nil
	}
	type named struct {
		field, arn string
		form       func(arn string) error
	}
	var all []named
	if request.RoleARN != "" {
		all = append(all, named{"spec.roleARN", request.RoleARN, partition.CheckRole})
	}
	for i, policy := range request.PolicyARNs {
		all = append(all, named{fmt.Sprintf("spec.policyARNs[%d]", i), policy, partition.CheckPolicy})
	}
	for _, n := range all {
		if err := n.form(n.arn); err != nil {
			return failure.NotCalled(v1alpha1.ReasonInvalidRequest, "%s: %s. Correct it, or use an identity with the endpoint of the server that the ARN belongs to: %s has none.", n.field, err, found.Name)
		}
	}
	all = append(all, named{field: "spec.mfa.serialNumber", arn: request.MFASerialNumber}) // a hardware device has no ARN
	for _, n := range all {
		if err := partition.Check(found.Region, n.arn); err != nil {
			return failure.NotCalled(v1alpha1.ReasonWrongPartition, "%s: %s. Use an ARN of the partition of %s, or an identity of the other partition.", n.field, err, found.Name)
		}
	}
	return nil
}
