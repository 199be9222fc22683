package request

import (
	"fmt"
	"regexp"
	"strings"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// The forms of AWS's names (IAM User Guide, 'IAM identifiers'; AWS General Reference, 'AWS service endpoints'). The
// CRDs' validation rules use the same forms for identities without an endpoint.
var (
	roleForm   = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/([[:graph:]]+/)?[A-Za-z0-9_+=,.@-]+$`)
	policyForm = regexp.MustCompile(`^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/([[:graph:]]+/)?[A-Za-z0-9_+=,.@-]+$`)
	regionForm = regexp.MustCompile(`^[a-z0-9-]*$`)
)

// partitions are the patterns of each partition's region names, which the SDK uses too ('AWS rules engine library
// functions' of Smithy 2.0, aws.partition).
var partitions = map[string]*regexp.Regexp{
	"aws":        regexp.MustCompile(`^(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+$`),
	"aws-cn":     regexp.MustCompile(`^cn-\w+-\d+$`),
	"aws-eusc":   regexp.MustCompile(`^eusc-de-\w+-\d+$`),
	"aws-iso":    regexp.MustCompile(`^us-iso-\w+-\d+$`),
	"aws-iso-b":  regexp.MustCompile(`^us-isob-\w+-\d+$`),
	"aws-iso-e":  regexp.MustCompile(`^eu-isoe-\w+-\d+$`),
	"aws-iso-f":  regexp.MustCompile(`^us-isof-\w+-\d+$`),
	"aws-us-gov": regexp.MustCompile(`^us-gov-\w+-\d+$`),
}

// CheckRole returns an error if an ARN does not have the form of an IAM role's.
func CheckRole(arn string) error {
	return match(roleForm, arn, "ARN of an IAM role, such as arn:aws:iam::123456789012:role/S3Reader")
}

// CheckPolicy returns an error if an ARN does not have the form of an IAM managed policy's.
func CheckPolicy(arn string) error {
	return match(policyForm, arn, "ARN of an IAM managed policy, such as arn:aws:iam::aws:policy/ReadOnlyAccess")
}

// CheckRegion returns an error if a name does not have the form of an AWS region code. It accepts unknown regions.
func CheckRegion(region string) error {
	return match(regionForm, region, "code of an AWS region, such as eu-west-1")
}

func match(form *regexp.Regexp, text, what string) error {
	if form.MatchString(text) {
		return nil
	}
	return fmt.Errorf("%s is not the %s", text, what)
}

// CheckPartition returns an error if an ARN is in another partition than a region. It accepts an unknown region with
// any ARN, and text that is not an ARN.
func CheckPartition(region, arn string) error {
	fields := strings.SplitN(arn, ":", 3)
	if len(fields) < 3 || fields[0] != "arn" {
		return nil
	}
	for partition, regions := range partitions {
		if regions.MatchString(region) && fields[1] != partition {
			return fmt.Errorf("%s is in the partition %s, but the region %s is in %s, whose credentials are not valid in other partitions", arn, fields[1], region, partition)
		}
	}
	return nil
}

// CheckARNs returns a failure if an ARN of the request does not have AWS's form, or is in another partition than the
// identity's region. Call it only for an identity without an endpoint: other servers have other forms.
func (r Request) CheckARNs(region, identity string) *reason.Error {
	type field struct{ name, arn string }
	var fields []field
	var err error
	if r.RoleARN != "" {
		fields, err = append(fields, field{"spec.roleARN", r.RoleARN}), CheckRole(r.RoleARN)
	}
	for i := 0; i < len(r.PolicyARNs) && err == nil; i++ {
		fields, err = append(fields, field{fmt.Sprintf("spec.policyARNs[%d]", i), r.PolicyARNs[i]}), CheckPolicy(r.PolicyARNs[i])
	}
	if err != nil {
		return reason.NotSent(v1alpha1.ReasonInvalidRequest, "%s: %s. Correct it, or use an identity with the endpoint of the server that the ARN belongs to: %s has none.",
			fields[len(fields)-1].name, err, identity)
	}
	for _, f := range append(fields, field{"spec.mfa.serialNumber", r.MFASerialNumber}) { // a hardware device has no ARN
		if err := CheckPartition(region, f.arn); err != nil {
			return reason.NotSent(v1alpha1.ReasonWrongPartition, "%s: %s. Use an ARN of the partition of %s, or an identity of the other partition.", f.name, err, identity)
		}
	}
	return nil
}
