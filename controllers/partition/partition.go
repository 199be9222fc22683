// Package partition tells AWS's partitions apart: groups of regions with accounts, users and roles of their own, beyond which
// their credentials are worth nothing (AWS Fault Isolation Boundaries, 'Partitions'). It also knows the forms of AWS's names, which
// servers that are not AWS need not keep to.
package partition

import (
	"fmt"
	"regexp"
	"strings"
)

// regions are how each partition's are named, which is how the SDK finds the partition of one too ('AWS rules engine library
// functions' of Smithy 2.0, aws.partition).
var regions = map[string]*regexp.Regexp{
	"aws":        regexp.MustCompile(`^(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+$`),
	"aws-cn":     regexp.MustCompile(`^cn-\w+-\d+$`),
	"aws-eusc":   regexp.MustCompile(`^eusc-de-\w+-\d+$`),
	"aws-iso":    regexp.MustCompile(`^us-iso-\w+-\d+$`),
	"aws-iso-b":  regexp.MustCompile(`^us-isob-\w+-\d+$`),
	"aws-iso-e":  regexp.MustCompile(`^eu-isoe-\w+-\d+$`),
	"aws-iso-f":  regexp.MustCompile(`^us-isof-\w+-\d+$`),
	"aws-us-gov": regexp.MustCompile(`^us-gov-\w+-\d+$`),
}

// Check returns an error if an ARN is of another partition than a region's STS, which then knows nothing of what it names. A
// region that is not known here may be of any partition, and what is no ARN of none.
func Check(region, arn string) error {
	own, known := of(region)
	fields := strings.SplitN(arn, ":", 3)
	if !known || len(fields) < 3 || fields[0] != "arn" || fields[1] == own {
		return nil
	}
	return fmt.Errorf("%s is of the partition %s, but the region %s is of %s, whose credentials are worth nothing elsewhere", arn, fields[1], region, own)
}

func of(region string) (partition string, known bool) {
	for partition, names := range regions {
		if names.MatchString(region) {
			return partition, true
		}
	}
	return "", false
}
