package render

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestAccountIDIsThatOfASession(t *testing.T) {
	for name, tc := range map[string]struct{ arn, want string }{
		"a role's session":                    {"arn:aws:sts::123456789012:assumed-role/S3Reader/shop", "123456789012"},
		"a federated user of China":           {"arn:aws-cn:sts::123456789012:federated-user/shop", "123456789012"},
		"no ARN":                              {"", ""},
		"a role's session without an account": {"arn:aws:sts::assumed-role/Client:a/shop", ""},
		"an account that is a name":           {"urn:ecs:sts::ns1:assumed-role/admins/shop", ""},
		"a short account":                     {"arn:aws:sts::1234:assumed-role/S3Reader/shop", ""},
		"an ARN of another service":           {"arn:aws:s3:::bucket:a:b", ""},
	} {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(accountID(tc.arn)).To(Equal(tc.want)) })
	}
}
