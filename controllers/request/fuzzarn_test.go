package request_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	"rolecredential.dev/operator/controllers/request"
)

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
			t.Errorf("%v, and the SDK asks %s", err, host)
		}
		fields := strings.Split(arn, ":")
		if fields[0] != "arn" || len(fields) < 3 || fields[1] == own {
			t.Errorf("%q is no ARN of another partition than %s", arn, own)
		}
		fields[1] = own
		if err := request.CheckPartition(region, strings.Join(fields, ":")); err != nil {
			t.Error(err)
		}
	})
}
