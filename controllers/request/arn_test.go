package request_test

import (
	"testing"

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
		"a name with all that it may hold": {"arn:aws:iam::123456789012:role/aZ0_+=,.@-", true},
		"a path with all that it may hold": {"arn:aws:iam::123456789012:role/a!$(x);:~/S3Reader", true},
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
		"nothing":                          {"", false},
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
		"nothing":              {"", false},
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
