package credential

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
)

// wire is an HTTP client without a network. It records the target of each call, and returns a successful response.
type wire struct{ sent []sent }

// sent is the target of a call: the URL, and the region of its signature, or empty for an unsigned call.
type sent struct{ call, url, region string }

var (
	signedFor = regexp.MustCompile(`Credential=[^/]+/\d{8}/([^/]+)/sts/aws4_request`)
	actionOf  = regexp.MustCompile(`Action=(\w+)`)
)

func (w *wire) Do(r *http.Request) (*http.Response, error) {
	form, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	call, region := actionOf.FindStringSubmatch(string(form))[1], ""
	if signed := signedFor.FindStringSubmatch(r.Header.Get("Authorization")); signed != nil {
		region = signed[1]
	}
	w.sent = append(w.sent, sent{call, r.URL.Scheme + "://" + r.URL.Host, region})
	const credentials = `<Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>9999-01-01T00:00:00Z</Expiration></Credentials>`
	body := "<" + call + "Response><" + call + "Result>" + credentials + "</" + call + "Result></" + call + "Response>"
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// callAll makes each STS call with the clients of an identity. It replaces only their HTTP client.
func (w *wire) callAll(t *testing.T, endpoints awsconfig.LoadOptions, by *v1alpha1.ClusterIdentity) []sent {
	t.Helper()
	f := newFixture(t, testkit.World()...)
	f.Connector.Clock = clock.RealClock{} // by which the SDK caches the session of a hop
	f.credentials.Identities.Endpoints = endpoints
	var client identity.STS
	f.credentials.Identities.NewSTS = func(key request.Key, config aws.Config) identity.STS {
		config.HTTPClient = w
		client = f.Connector.NewSTS(key, config)
		return client
	}
	configured, problem, err := f.credentials.Identities.ResolveObject(t.Context(), by, types.NamespacedName{})
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(problem).To(BeNil())
	req := request.Request{RoleARN: "the role", SessionName: "shop.s3-reader"}
	for _, call := range []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken} {
		req.Call = call
		_, err := configured.Issue(t.Context(), req, "")
		f.Expect(err).NotTo(HaveOccurred())
	}
	_, err = configured.Caller(t.Context())
	f.Expect(err).NotTo(HaveOccurred())
	req.Call = v1alpha1.CallAssumeRoleWithWebIdentity
	_, err = client.Issue(t.Context(), nil, req, request.CallAuth{WebIdentityToken: "a token"})
	f.Expect(err).NotTo(HaveOccurred())
	return w.sent
}

// callsTo returns the calls of callAll to one URL, with the call of the chain's hop.
func callsTo(url, region string) []sent {
	return []sent{
		{"AssumeRole", url, region}, // the hop
		{"AssumeRole", url, region}, {"GetSessionToken", url, region}, {"GetFederationToken", url, region}, {"GetCallerIdentity", url, region},
		{"AssumeRoleWithWebIdentity", url, ""}, // not signed
	}
}

// setUnrelatedEnvironment sets variables that select other endpoints in programs of the SDK.
func setUnrelatedEnvironment(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_REGION": "ap-south-1", "AWS_DEFAULT_REGION": "ap-south-1", "AWS_ENDPOINT_URL": "https://all.example.internal", "AWS_ENDPOINT_URL_STS": "https://sts.example.internal",
		"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true", "AWS_STS_REGIONAL_ENDPOINTS": "legacy", "AWS_ACCESS_KEY_ID": "AKIAAMBIENT", "AWS_SECRET_ACCESS_KEY": "ambient-secret",
	} {
		t.Setenv(name, value)
	}
}

// The hosts come from the SDK's endpoint rules for STS. The IAM User Guide, 'AWS STS Regions and endpoints' and 'Dual-stack endpoint
// support', documents some of them.
func TestCallsGoToEndpointOfRegion(t *testing.T) {
	hosts := map[string]struct{ partition, plain, fips, dualStack, both string }{
		"eu-west-1": {"aws",
			"sts.eu-west-1.amazonaws.com", "sts-fips.eu-west-1.amazonaws.com", "sts.eu-west-1.api.aws", "sts-fips.eu-west-1.api.aws"},
		"us-east-1": {"aws",
			"sts.us-east-1.amazonaws.com", "sts-fips.us-east-1.amazonaws.com", "sts.us-east-1.api.aws", "sts-fips.us-east-1.api.aws"},
		"cn-north-1": {"aws-cn",
			"sts.cn-north-1.amazonaws.com.cn", "sts-fips.cn-north-1.amazonaws.com.cn", "sts.cn-north-1.api.amazonwebservices.com.cn", "sts-fips.cn-north-1.api.amazonwebservices.com.cn"},
		"us-gov-west-1": {"aws-us-gov", // the default endpoint supports FIPS
			"sts.us-gov-west-1.amazonaws.com", "sts.us-gov-west-1.amazonaws.com", "sts.us-gov-west-1.api.aws", "sts-fips.us-gov-west-1.api.aws"},
		"us-iso-east-1": {"aws-iso",
			"sts.us-iso-east-1.c2s.ic.gov", "sts-fips.us-iso-east-1.c2s.ic.gov", "sts.us-iso-east-1.api.aws.ic.gov", "sts-fips.us-iso-east-1.api.aws.ic.gov"},
		"us-isob-east-1": {"aws-iso-b",
			"sts.us-isob-east-1.sc2s.sgov.gov", "sts-fips.us-isob-east-1.sc2s.sgov.gov", "sts.us-isob-east-1.api.aws.scloud", "sts-fips.us-isob-east-1.api.aws.scloud"},
		"eu-isoe-west-1": {"aws-iso-e",
			"sts.eu-isoe-west-1.cloud.adc-e.uk", "sts-fips.eu-isoe-west-1.cloud.adc-e.uk", "sts.eu-isoe-west-1.api.cloud-aws.adc-e.uk", "sts-fips.eu-isoe-west-1.api.cloud-aws.adc-e.uk"},
		"us-isof-south-1": {"aws-iso-f",
			"sts.us-isof-south-1.csp.hci.ic.gov", "sts-fips.us-isof-south-1.csp.hci.ic.gov", "sts.us-isof-south-1.api.aws.hci.ic.gov", "sts-fips.us-isof-south-1.api.aws.hci.ic.gov"},
		"eusc-de-east-1": {"aws-eusc",
			"sts.eusc-de-east-1.amazonaws.eu", "sts-fips.eusc-de-east-1.amazonaws.eu", "sts.eusc-de-east-1.api.amazonwebservices.eu", "sts-fips.eusc-de-east-1.api.amazonwebservices.eu"},
	}
	for region, variants := range hosts {
		for variant, tc := range map[string]struct {
			endpoints awsconfig.LoadOptions
			host      string
		}{
			"":                          {identity.Endpoints(false, false), variants.plain},
			" with FIPS":                {identity.Endpoints(true, false), variants.fips},
			" with dual-stack":          {identity.Endpoints(false, true), variants.dualStack},
			" with FIPS and dual-stack": {identity.Endpoints(true, true), variants.both},
		} {
			t.Run(region+variant, func(t *testing.T) {
				g := NewWithT(t)
				hub := "arn:" + variants.partition + ":iam::210987654321:role/Hub"
				g.Expect(request.CheckPartition(region, hub)).To(Succeed())
				by := testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) {
					i.Spec.Region, i.Spec.Chain = region, []v1alpha1.Hop{{RoleARN: hub}}
				})
				g.Expect((&wire{}).callAll(t, tc.endpoints, by)).To(Equal(callsTo("https://"+tc.host, region)))
			})
		}
	}
}

func TestOnlyIdentityAndFlagsSelectEndpoint(t *testing.T) {
	const url = "https://vpce-0123-abcd.sts.eu-west-1.vpce.amazonaws.com"
	ambient := func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Source = v1alpha1.ClusterIdentitySource{Ambient: &v1alpha1.AmbientSource{}}
	}
	endpoint := func(i *v1alpha1.ClusterIdentity) { i.Spec.Endpoint = url }
	for name, tc := range map[string]struct {
		change    []func(*v1alpha1.ClusterIdentity)
		endpoints awsconfig.LoadOptions
		want      string
	}{
		"an access key":                        {want: "https://sts.eu-west-1.amazonaws.com"},
		"ambient credentials":                  {change: []func(*v1alpha1.ClusterIdentity){ambient}, want: "https://sts.eu-west-1.amazonaws.com"},
		"ambient credentials with FIPS":        {change: []func(*v1alpha1.ClusterIdentity){ambient}, endpoints: identity.Endpoints(true, false), want: "https://sts-fips.eu-west-1.amazonaws.com"},
		"ambient credentials with dual-stack":  {change: []func(*v1alpha1.ClusterIdentity){ambient}, endpoints: identity.Endpoints(false, true), want: "https://sts.eu-west-1.api.aws"},
		"an endpoint":                          {change: []func(*v1alpha1.ClusterIdentity){endpoint}, want: url},
		"an endpoint with FIPS and dual-stack": {change: []func(*v1alpha1.ClusterIdentity){endpoint}, endpoints: identity.Endpoints(true, true), want: url},
		"ambient credentials and an endpoint, with FIPS and dual-stack": {
			change: []func(*v1alpha1.ClusterIdentity){ambient, endpoint}, endpoints: identity.Endpoints(true, true), want: url,
		},
	} {
		t.Run(name, func(t *testing.T) {
			setUnrelatedEnvironment(t)
			by := testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) {
				i.Spec.Chain = []v1alpha1.Hop{{RoleARN: "arn:aws:iam::210987654321:role/Hub"}}
				for _, change := range tc.change {
					change(i)
				}
			})
			NewWithT(t).Expect((&wire{}).callAll(t, tc.endpoints, by)).To(Equal(callsTo(tc.want, "eu-west-1")))
		})
	}
}
