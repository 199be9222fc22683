package request

import (
	"fmt"
	"regexp"
	"strings"
)

// regions are the patterns of each partition's region names, which the SDK uses too ('AWS rules engine library
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

// CheckPartition returns an error if an ARN is in another partition than a region. It accepts an unknown region with any ARN,
// and text that is not an ARN.
func CheckPartition(region, arn string) error {
	own, known := of(region)
	fields := strings.SplitN(arn, ":", 3)
	if !known || len(fields) < 3 || fields[0] != "arn" || fields[1] == own {
		return nil
	}
	return fmt.Errorf("%s is in the partition %s, but the region %s is in %s, whose credentials are not valid in other partitions", arn, fields[1], region, own)
}

func of(region string) (partition string, known bool) {
	for partition, names := range regions {
		if names.MatchString(region) {
			return partition, true
		}
	}
	return "", false
}
