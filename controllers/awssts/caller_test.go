package awssts_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/controllers/awssts"
)

// The caller is part of conditions that other namespaces see, so a server must not put free text there.
func TestCallerContainsNoFreeTextOfAServer(t *testing.T) {
	arn := func(length int) string {
		return "arn:aws:iam::123456789012:user/" + strings.Repeat("x", length-len("arn:aws:iam::123456789012:user/"))
	}
	for name, tc := range map[string]struct {
		arn              string
		atAWS, elsewhere bool // it is reported
	}{
		"an IAM user":             {"arn:aws:iam::123456789012:user/operator", true, true},
		"another partition":       {"arn:aws-us-gov:sts::123456789012:federated-user/bob", true, true},
		"256 bytes":               {arn(256), true, true},
		"257 bytes":               {arn(257), false, false},
		"an ARN of MinIO":         {"arn:minio:iam:::role/reader", false, true},
		"a name of Dell ECS":      {"urn:ecs:iam::ns1:user/operator", false, true},
		"a sentence":              {"Call 555-0100 to repair this", false, false},
		"an ARN with a sentence":  {"arn:aws:iam::123456789012:user/Call 555-0100", false, false},
		"an ARN with a line feed": {"arn:aws:iam::123456789012:user/a&#10;b", false, false},
		"letters beyond ASCII":    {"arn:aws:iam::123456789012:user/é", false, false},
	} {
		body := []byte("<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>" + tc.arn + "</Arn><UserId>a b</UserId><Account>1&#10;2</Account></GetCallerIdentityResult></GetCallerIdentityResponse>")
		for where, of := range map[string]struct {
			config func(*aws.Config)
			want   bool
		}{
			"at AWS":            {func(c *aws.Config) { c.BaseEndpoint = nil }, tc.atAWS},
			"at another server": {func(*aws.Config) {}, tc.elsewhere},
		} {
			t.Run(name+" "+where, func(t *testing.T) {
				g := NewWithT(t)
				c := client("https://sts.example", clocktesting.NewFakePassiveClock(start), operatorKey, of.config, func(c *aws.Config) { c.HTTPClient = always(body) })
				caller, err := c.Caller(t.Context())
				g.Expect(err).NotTo(HaveOccurred())
				want := awssts.Caller{}
				if of.want {
					want.ARN = tc.arn
				}
				g.Expect(caller).To(Equal(want))
			})
		}
	}
}

// always is an HTTP client that gets the same response to each request.
type always []byte

func (a always) Do(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(a)), Request: r}, nil
}
