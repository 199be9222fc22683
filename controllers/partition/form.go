package partition

import (
	"fmt"
	"regexp"
)

// The forms of AWS's own names (IAM User Guide, 'IAM identifiers'; AWS General Reference, 'AWS service endpoints'). The rules of
// the CRDs for an identity without an endpoint have the same forms of a role and a region.
var (
	roleForm   = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/([[:graph:]]+/)?[A-Za-z0-9_+=,.@-]+$`)
	policyForm = regexp.MustCompile(`^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/([[:graph:]]+/)?[A-Za-z0-9_+=,.@-]+$`)
	regionForm = regexp.MustCompile(`^[a-z0-9-]*$`)
)

// CheckRole returns an error if an ARN does not have the form of a role's at AWS.
func CheckRole(arn string) error {
	if roleForm.MatchString(arn) {
		return nil
	}
	return fmt.Errorf("%s is not the ARN of an IAM role at AWS, such as arn:aws:iam::123456789012:role/S3Reader", arn)
}

// CheckPolicy returns an error if an ARN does not have the form of a managed policy's at AWS.
func CheckPolicy(arn string) error {
	if policyForm.MatchString(arn) {
		return nil
	}
	return fmt.Errorf("%s is not the ARN of an IAM managed policy at AWS, such as arn:aws:iam::aws:policy/ReadOnlyAccess", arn)
}

// CheckRegion returns an error if a region's name does not have the form of AWS's codes. AWS may have a region that is not known here.
func CheckRegion(region string) error {
	if regionForm.MatchString(region) {
		return nil
	}
	return fmt.Errorf("%s is not the code of an AWS region, such as eu-west-1", region)
}
