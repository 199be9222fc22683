package request

import (
	"fmt"
	"regexp"
)

// The forms of AWS's names (IAM User Guide, 'IAM identifiers'; AWS General Reference, 'AWS service endpoints'). The
// CRDs' validation rules use the same forms for identities without an endpoint.
var (
	roleForm   = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/([[:graph:]]+/)?[A-Za-z0-9_+=,.@-]+$`)
	policyForm = regexp.MustCompile(`^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/([[:graph:]]+/)?[A-Za-z0-9_+=,.@-]+$`)
	regionForm = regexp.MustCompile(`^[a-z0-9-]*$`)
)

// CheckRole returns an error if an ARN does not have the form of an IAM role's.
func CheckRole(arn string) error {
	if roleForm.MatchString(arn) {
		return nil
	}
	return fmt.Errorf("%s is not the ARN of an IAM role, such as arn:aws:iam::123456789012:role/S3Reader", arn)
}

// CheckPolicy returns an error if an ARN does not have the form of an IAM managed policy's.
func CheckPolicy(arn string) error {
	if policyForm.MatchString(arn) {
		return nil
	}
	return fmt.Errorf("%s is not the ARN of an IAM managed policy, such as arn:aws:iam::aws:policy/ReadOnlyAccess", arn)
}

// CheckRegion returns an error if a region's name does not have the form of an AWS region code. It accepts regions
// that are not known here.
func CheckRegion(region string) error {
	if regionForm.MatchString(region) {
		return nil
	}
	return fmt.Errorf("%s is not the code of an AWS region, such as eu-west-1", region)
}
