package request

import (
	"fmt"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// CheckARNs returns a failure if an ARN of the request does not have AWS's form, or is in another partition than the
// identity's region. With an endpoint, the server decides instead.
func (r Request) CheckARNs(region, identity string) *reason.Error {
	type named struct {
		field, arn string
		form       func(arn string) error
	}
	var all []named
	if r.RoleARN != "" {
		all = append(all, named{"spec.roleARN", r.RoleARN, CheckRole})
	}
	for i, policy := range r.PolicyARNs {
		all = append(all, named{fmt.Sprintf("spec.policyARNs[%d]", i), policy, CheckPolicy})
	}
	for _, n := range all {
		if err := n.form(n.arn); err != nil {
			return reason.NotCalled(v1alpha1.ReasonInvalidRequest, "%s: %s. Correct it, or use an identity with the endpoint of the server that the ARN belongs to: %s has none.", n.field, err, identity)
		}
	}
	all = append(all, named{field: "spec.mfa.serialNumber", arn: r.MFASerialNumber}) // a hardware device has no ARN
	for _, n := range all {
		if err := CheckPartition(region, n.arn); err != nil {
			return reason.NotCalled(v1alpha1.ReasonWrongPartition, "%s: %s. Use an ARN of the partition of %s, or an identity of the other partition.", n.field, err, identity)
		}
	}
	return nil
}
