package identity_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/hack/stsemulator"
)

// TestMain keeps the tests on this machine: a proxy refuses requests to other hosts. Errors name the URL.
func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.NotFoundHandler())
	for _, variable := range []string{"HTTPS_PROXY", "HTTP_PROXY"} {
		if err := os.Setenv(variable, proxy.URL); err != nil {
			panic(err)
		}
	}
	_ = os.Unsetenv("NO_PROXY")
	_ = os.Unsetenv("no_proxy")
	code := m.Run()
	proxy.Close()
	os.Exit(code)
}

// file writes a file and returns its name.
func file(t *testing.T, name, content string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	NewWithT(t).Expect(os.WriteFile(name, []byte(content), 0o600)).To(Succeed())
	return name
}

// irsa is an environment whose credentials are a role's, for which the SDK itself calls STS.
func irsa(t *testing.T) {
	t.Helper()
	noAWS(t)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::210987654321:role/Operator")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file(t, "token", "a token"))
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
}

func TestEndpointThatTheAmbientSourceCalls(t *testing.T) {
	vpce := endpoint("https://vpce-0123-abcd.sts.eu-west-1.vpce.amazonaws.com")
	for name, tc := range map[string]struct {
		identity    *v1alpha1.ClusterIdentity
		endpoints   awsconfig.LoadOptions
		environment map[string]string
		want        string
	}{
		"at the STS of the identity's region": {identity: withKey(ambient), environment: map[string]string{"AWS_REGION": "ap-south-1"}, want: "https://sts.eu-west-1.amazonaws.com/"},
		"with FIPS":                           {identity: withKey(ambient), endpoints: identity.Endpoints(true, false), want: "https://sts-fips.eu-west-1.amazonaws.com/"},
		"with dual-stack":                     {identity: withKey(ambient), endpoints: identity.Endpoints(false, true), want: "https://sts.eu-west-1.api.aws/"},
		"not at the identity's endpoint":      {identity: withKey(ambient, vpce), want: "https://sts.eu-west-1.amazonaws.com/"},
		"with FIPS, not at the endpoint":      {identity: withKey(ambient, vpce), endpoints: identity.Endpoints(true, false), want: "https://sts-fips.eu-west-1.amazonaws.com/"},
		"with FIPS that the environment selects": {
			identity: withKey(ambient), environment: map[string]string{"AWS_USE_FIPS_ENDPOINT": "true"}, want: "https://sts-fips.eu-west-1.amazonaws.com/",
		},
		"where the environment says": {
			identity: withKey(ambient), environment: map[string]string{"AWS_ENDPOINT_URL_STS": "https://sts.example.internal"}, want: "https://sts.example.internal/",
		},
	} {
		t.Run(name, func(t *testing.T) {
			irsa(t)
			for variable, value := range tc.environment {
				t.Setenv(variable, value)
			}
			f := newFixture(t)
			f.resolver.Endpoints = tc.endpoints
			_, err := f.credentials(tc.identity)
			f.Expect(err).To(MatchError(ContainSubstring(`Post "` + tc.want + `"`)))
		})
	}
}

// profile is an environment whose credentials are those of the role Hub, for which the SDK itself calls an STS on this machine.
func profile(t *testing.T) *stsemulator.Endpoint {
	t.Helper()
	noAWS(t)
	g := NewWithT(t)
	world, err := stsemulator.DefaultConfig()
	g.Expect(err).NotTo(HaveOccurred())
	server, err := stsemulator.New(world, stsemulator.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	sts, err := server.StartTLS("")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(sts.Close()).To(Succeed()) })
	key := server.AccessKeys("arn:aws:iam::210987654321:user/operator")[0]
	t.Setenv("AWS_CONFIG_FILE", file(t, "config", "[profile hub]\nrole_arn = arn:aws:iam::210987654321:role/Hub\nsource_profile = operator\n"+
		"[profile operator]\naws_access_key_id = "+key.ID+"\naws_secret_access_key = "+key.Secret+"\n"))
	t.Setenv("AWS_PROFILE", "hub")
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
	t.Setenv("AWS_MAX_ATTEMPTS", "2") // the default is 3; a call on loopback may lose its connection too
	return sts
}

func TestAuthoritiesThatTheAmbientSourceTrusts(t *testing.T) {
	other := string(serveTLS(t).CABundle)
	vpce := endpoint("https://vpce-0123-abcd.sts.eu-west-1.vpce.amazonaws.com")
	for name, tc := range map[string]struct {
		change      []func(*v1alpha1.ClusterIdentity)
		ownBundle   bool // the identity's is the server's
		environment bool // AWS_CA_BUNDLE is
		want        bool
	}{
		"no other server":                          {},
		"those of AWS_CA_BUNDLE":                   {environment: true, want: true},
		"those of the identity's bundle":           {ownBundle: true, want: true},
		"not those of a bundle for an endpoint":    {ownBundle: true, change: []func(*v1alpha1.ClusterIdentity){vpce}},
		"not only those of a bundle for another":   {environment: true, change: []func(*v1alpha1.ClusterIdentity){vpce, caBundle(other)}, want: true},
		"those of AWS_CA_BUNDLE beside a bundle's": {environment: true, change: []func(*v1alpha1.ClusterIdentity){caBundle(other)}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			sts := profile(t)
			if tc.environment {
				t.Setenv("AWS_CA_BUNDLE", file(t, "ca.crt", string(sts.CABundle)))
			}
			by := withKey(append(tc.change, ambient)...)
			if tc.ownBundle {
				by.Spec.CABundle = string(sts.CABundle)
			}
			f := newFixture(t)
			keys, err := f.credentials(by)
			if !tc.want {
				f.Expect(err).To(MatchError(ContainSubstring("certificate signed by unknown authority")))
				return
			}
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(keys.SessionToken).NotTo(BeEmpty())
			if !tc.ownBundle { // what the environment trusts, the identity's own calls do not
				_, err = f.config(by).HTTPClient.Do(get(t, sts.URL)) //nolint:bodyclose // there is no answer
				f.Expect(err).To(MatchError(ContainSubstring("certificate signed by unknown authority")))
			}
		})
	}
}
