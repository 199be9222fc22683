package request_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/controllers/request"
)

// regions lists regions of each partition (AWS General Reference, 'AWS service endpoints', and the references of the
// other partitions).
var regions = map[string][]string{
	"aws": {
		"us-east-1", "us-east-2", "us-west-1", "us-west-2", "eu-west-1", "eu-central-2", "eu-north-1", "ap-southeast-7", "ap-northeast-1",
		"sa-east-1", "ca-west-1", "me-central-1", "af-south-1", "il-central-1", "mx-central-1",
	},
	"aws-cn":     {"cn-north-1", "cn-northwest-1"},
	"aws-eusc":   {"eusc-de-east-1"},
	"aws-iso":    {"us-iso-east-1", "us-iso-west-1"},
	"aws-iso-b":  {"us-isob-east-1", "us-isob-west-1"},
	"aws-iso-e":  {"eu-isoe-west-1"},
	"aws-iso-f":  {"us-isof-east-1", "us-isof-south-1"},
	"aws-us-gov": {"us-gov-east-1", "us-gov-west-1"},
}

func TestCheckAcceptsOnlyARNsOfTheRegionsPartition(t *testing.T) {
	for own, names := range regions {
		for _, region := range names {
			for other := range regions {
				t.Run(region+" and an ARN of "+other, func(t *testing.T) {
					g := NewWithT(t)
					role := "arn:" + other + ":iam::123456789012:role/S3Reader"
					err := request.CheckPartition(region, role)
					if other == own {
						g.Expect(err).NotTo(HaveOccurred())
						return
					}
					g.Expect(err).To(MatchError(role + " is in the partition " + other + ", but the region " + region + " is in " + own + ", whose credentials are not valid in other partitions"))
				})
			}
		}
	}
}

func TestCheckAcceptsUnknownRegionsAndOtherText(t *testing.T) {
	for name, tc := range map[string]struct {
		region, arn string
		crosses     bool
	}{
		"a region of a partition to come":                       {region: "moon-far-1", arn: "arn:aws-moon:iam::123456789012:role/S3Reader"},
		"a further partition apart":                             {region: "eu-isox-west-1", arn: "arn:aws-iso-x:iam::123456789012:role/S3Reader"},
		"a further country of the sovereign":                    {region: "eusc-fr-west-1", arn: "arn:aws:iam::123456789012:role/S3Reader"},
		"the SDK's name of the global endpoint":                 {region: "aws-global", arn: "arn:aws-cn:iam::123456789012:role/S3Reader"},
		"no region":                                             {region: "", arn: "arn:aws-cn:iam::123456789012:role/S3Reader"},
		"a region within a longer name":                         {region: "fips-cn-north-1", arn: "arn:aws:iam::123456789012:role/S3Reader"},
		"no ARN":                                                {region: "eu-west-1", arn: ""},
		"the serial number of a hardware device":                {region: "eu-west-1", arn: "GAHT12345678"},
		"something else with colons":                            {region: "eu-west-1", arn: "urn:isbn:0451450523"},
		"an ARN that breaks off":                                {region: "eu-west-1", arn: "arn:aws-cn"},
		"but not a partition to come in a region that is known": {region: "eu-west-1", arn: "arn:aws-moon:iam::123456789012:role/S3Reader", crosses: true},
		"nor an ARN without a partition":                        {region: "eu-west-1", arn: "arn::iam::123456789012:role/S3Reader", crosses: true},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(request.CheckPartition(tc.region, tc.arn) != nil).To(Equal(tc.crosses))
		})
	}
}
