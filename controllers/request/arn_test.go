package request_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/controllers/request"
)

func TestCheckRoleAcceptsOnlyTheFormOfAWS(t *testing.T) {
	for name, tc := range map[string]struct {
		arn  string
		fits bool
	}{
		"a role":                           {"arn:aws:iam::123456789012:role/S3Reader", true},
		"a role in a path":                 {"arn:aws:iam::123456789012:role/team/app/S3Reader", true},
		"a role of another partition":      {"arn:aws-us-gov:iam::123456789012:role/S3Reader", true},
		"a name with all valid characters": {"arn:aws:iam::123456789012:role/aZ0_+=,.@-", true},
		"a path with all valid characters": {"arn:aws:iam::123456789012:role/a!$(x);:~/S3Reader", true},
		"a name with a shell's character":  {"arn:aws:iam::123456789012:role/$(x)", false},
		"a role of Dell ECS":               {"urn:ecs:iam::ns1:role/admins", false},
		"a role of SeaweedFS":              {"arn:aws:iam::role/ClientRole", false},
		"a role of MinIO":                  {"arn:minio:iam:::role/reader", false},
		"a role of Ceph":                   {"arn:aws:iam::RGW11111111111111111:role/S3Reader", false},
		"an account of eleven digits":      {"arn:aws:iam::12345678901:role/S3Reader", false},
		"a region":                         {"arn:aws:iam:eu-west-1:123456789012:role/S3Reader", false},
		"a user":                           {"arn:aws:iam::123456789012:user/alice", false},
		"a session":                        {"arn:aws:sts::123456789012:assumed-role/S3Reader/x", false},
		"no name":                          {"arn:aws:iam::123456789012:role/", false},
		"a line break":                     {"arn:aws:iam::123456789012:role/a\n", false},
		"empty text":                       {"", false},
	} {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(request.CheckRole(tc.arn) == nil).To(Equal(tc.fits)) })
	}
}

func TestCheckPolicyAcceptsOnlyTheFormOfAWS(t *testing.T) {
	for name, tc := range map[string]struct {
		arn  string
		fits bool
	}{
		"a policy of AWS":      {"arn:aws:iam::aws:policy/ReadOnlyAccess", true},
		"a policy in a path":   {"arn:aws-cn:iam::123456789012:policy/team/Narrow", true},
		"a policy of Dell ECS": {"urn:ecs:iam:::policy/ECSS3FullAccess", false},
		"a role":               {"arn:aws:iam::123456789012:role/S3Reader", false},
		"empty text":           {"", false},
	} {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(request.CheckPolicy(tc.arn) == nil).To(Equal(tc.fits)) })
	}
}

func TestCheckRegionAcceptsOnlyTheFormOfAWS(t *testing.T) {
	for _, names := range regions {
		for _, region := range names {
			NewWithT(t).Expect(request.CheckRegion(region)).To(Succeed())
		}
	}
	for name, region := range map[string]string{"of OpenStack": "RegionOne", "with an underscore": "eu_west"} {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(request.CheckRegion(region)).NotTo(Succeed()) })
	}
}

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

func TestCheckPartitionAcceptsOnlyARNsOfTheRegionsPartition(t *testing.T) {
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

func TestCheckPartitionAcceptsUnknownRegionsAndOtherText(t *testing.T) {
	for name, tc := range map[string]struct {
		region, arn string
		crosses     bool
	}{
		"a region of a future partition":                  {region: "moon-far-1", arn: "arn:aws-moon:iam::123456789012:role/S3Reader"},
		"another isolated partition":                      {region: "eu-isox-west-1", arn: "arn:aws-iso-x:iam::123456789012:role/S3Reader"},
		"another country of the European Sovereign Cloud": {region: "eusc-fr-west-1", arn: "arn:aws:iam::123456789012:role/S3Reader"},
		"the SDK's name for the global endpoint":          {region: "aws-global", arn: "arn:aws-cn:iam::123456789012:role/S3Reader"},
		"no region":                                       {region: "", arn: "arn:aws-cn:iam::123456789012:role/S3Reader"},
		"a region within a longer name":                   {region: "fips-cn-north-1", arn: "arn:aws:iam::123456789012:role/S3Reader"},
		"no ARN":                                          {region: "eu-west-1", arn: ""},
		"the serial number of a hardware device":          {region: "eu-west-1", arn: "GAHT12345678"},
		"other text with colons":                          {region: "eu-west-1", arn: "urn:isbn:0451450523"},
		"an incomplete ARN":                               {region: "eu-west-1", arn: "arn:aws-cn"},
		"a future partition with a known region":          {region: "eu-west-1", arn: "arn:aws-moon:iam::123456789012:role/S3Reader", crosses: true},
		"an ARN without a partition":                      {region: "eu-west-1", arn: "arn::iam::123456789012:role/S3Reader", crosses: true},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(request.CheckPartition(tc.region, tc.arn) != nil).To(Equal(tc.crosses))
		})
	}
}

// suffixes are the domains of each partition's servers. They show which partition the SDK assumes for a region.
// GovCloud uses the domain of the partition aws.
var suffixes = map[string]string{
	"aws": ".amazonaws.com", "aws-us-gov": ".amazonaws.com", "aws-cn": ".amazonaws.com.cn", "aws-eusc": ".amazonaws.eu",
	"aws-iso": ".c2s.ic.gov", "aws-iso-b": ".sc2s.sgov.gov", "aws-iso-e": ".cloud.adc-e.uk", "aws-iso-f": ".csp.hci.ic.gov",
}

// FuzzARN checks that a rejected ARN is in another partition: the SDK would call a server of the partition that the
// message names, and an ARN in that partition is accepted.
func FuzzARN(f *testing.F) {
	f.Fuzz(func(t *testing.T, region, arn string) {
		err := request.CheckPartition(region, arn)
		if err == nil {
			return
		}
		_, rest, _ := strings.Cut(strings.TrimPrefix(err.Error(), arn), ", but the region "+region+" is in ")
		own, _, _ := strings.Cut(rest, ",")
		endpoint, resolveErr := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(t.Context(), sts.EndpointParameters{Region: &region, UseFIPS: new(false), UseDualStack: new(false), UseGlobalEndpoint: new(false)})
		if resolveErr != nil {
			t.Fatalf("the SDK knows no server of the region %q: %v", region, resolveErr)
		}
		if host := endpoint.URI.Host; !strings.HasSuffix(host, suffixes[own]) || suffixes[own] == "" {
			t.Errorf("%v, but the SDK calls %s", err, host)
		}
		fields := strings.Split(arn, ":")
		if fields[0] != "arn" || len(fields) < 3 || fields[1] == own {
			t.Errorf("%q is not an ARN of another partition than %s", arn, own)
		}
		fields[1] = own
		if err := request.CheckPartition(region, strings.Join(fields, ":")); err != nil {
			t.Error(err)
		}
	})
}
