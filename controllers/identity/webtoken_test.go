package identity_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/telemetry"
	"rolecredential.dev/operator/controllers/testkit"
)

// claims are those of a token.
type claims map[string]any

// validFor returns the claims of a token for AWS that expires after a while.
func validFor(life time.Duration) claims {
	return claims{"iss": "https://id.example", "sub": "operator", "aud": "sts.amazonaws.com", "exp": testkit.Start.Add(life).Unix()}
}

func (c claims) with(key string, value any) claims {
	c[key] = value
	return c
}

// jwt returns a token without a valid signature.
func jwt(c claims) string {
	encode := func(value any) string {
		text, err := json.Marshal(value)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	return encode(claims{"alg": "RS256", "typ": "JWT"}) + "." + encode(c) + "." + base64.RawURLEncoding.EncodeToString([]byte("signature"))
}

// byWebIdentityToken returns the default identity with a token in a Secret as its source, and a chain of the roles of these names.
func byWebIdentityToken(chain ...string) *v1alpha1.ClusterIdentity {
	return testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Source = v1alpha1.ClusterIdentitySource{WebIdentityToken: &v1alpha1.WebIdentityTokenSource{SecretRef: v1alpha1.NamespacedSecretKeyReference{
			Namespace: "system", SecretKeyReference: v1alpha1.SecretKeyReference{Name: "spire-jwt", Key: "token"},
		}}}
		for _, role := range chain {
			i.Spec.Chain = append(i.Spec.Chain, v1alpha1.Hop{RoleARN: roleNamed(role)})
		}
	})
}

func secretWith(name, key, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: name}, Data: map[string][]byte{key: []byte(value)}}
}

func tokenSecret(token string) *corev1.Secret { return secretWith("spire-jwt", "token", token) }

func TestTokenInSecretIsCheckedBeforeCallingSTS(t *testing.T) {
	const issued = "Ready=True Issued"
	for name, tc := range map[string]struct {
		secret *corev1.Secret
		skew   time.Duration // of STS
		// want is how the credential's first problem begins, and wantIdentity is Ready of the identity.
		want, wantIdentity string
		contains           string
	}{
		"a token":                                {secret: tokenSecret(jwt(validFor(time.Hour))), want: issued, wantIdentity: "True NotVerifiable"},
		"a token with a line break at the end":   {secret: tokenSecret(jwt(validFor(time.Hour)) + "\n"), want: issued, wantIdentity: "True NotVerifiable"},
		"a token with a list of audiences":       {secret: tokenSecret(jwt(validFor(time.Hour).with("aud", []string{"one", "two"}))), want: issued, wantIdentity: "True NotVerifiable"},
		"a token without an audience or expiry":  {secret: tokenSecret(jwt(claims{"sub": "operator"})), want: issued, wantIdentity: "True NotVerifiable"},
		"a token that has just become valid":     {secret: tokenSecret(jwt(validFor(time.Hour).with("nbf", testkit.Start.Unix()))), want: issued, wantIdentity: "True NotVerifiable"},
		"an issuer whose clock is a bit ahead":   {secret: tokenSecret(jwt(validFor(time.Hour).with("nbf", testkit.Start.Add(time.Minute).Unix()))), want: issued, wantIdentity: "True NotVerifiable"},
		"a token that is valid by STS time only": {secret: tokenSecret(jwt(validFor(-time.Minute))), skew: -2 * time.Minute, want: issued, wantIdentity: "True NotVerifiable"},

		"no Secret":         {want: "Authorized=False IdentityNotReady", wantIdentity: "False SecretNotFound", contains: "There is no Secret system/spire-jwt. Create it with a JSON Web Token under the key token."},
		"another key":       {secret: secretWith("spire-jwt", "jwt", jwt(validFor(time.Hour))), want: "Authorized=False IdentityNotReady", wantIdentity: "False InvalidSecret", contains: "Secret system/spire-jwt has no value under the key token."},
		"an empty value":    {secret: tokenSecret(" \n"), want: "Authorized=False IdentityNotReady", wantIdentity: "False InvalidSecret", contains: "has no value under the key token"},
		"a text":            {secret: tokenSecret("hvs.a-token-of-vault"), want: "Authorized=False IdentityNotReady", wantIdentity: "False InvalidSecret", contains: "The value in the key token of Secret system/spire-jwt is not a JSON Web Token."},
		"three other parts": {secret: tokenSecret("one.two.three"), want: "Authorized=False IdentityNotReady", wantIdentity: "False InvalidSecret", contains: "is not a JSON Web Token"},
		"an encrypted token": {
			secret: tokenSecret(jwt(validFor(time.Hour)) + ".Zm91cg.Zml2ZQ"), want: "Authorized=False IdentityNotReady", wantIdentity: "False InvalidSecret", contains: "is not a JSON Web Token",
		},
		"claims that are a list": {
			secret: tokenSecret("e30." + base64.RawURLEncoding.EncodeToString([]byte("[]")) + ".c2ln"), want: "Authorized=False IdentityNotReady", wantIdentity: "False InvalidSecret", contains: "is not a JSON Web Token",
		},
		"an audience that is a number": {
			secret: tokenSecret(jwt(validFor(time.Hour).with("aud", 1))), want: "Authorized=False IdentityNotReady", wantIdentity: "False InvalidSecret", contains: "is not a JSON Web Token",
		},
		"a token for the API server": {
			secret: tokenSecret(jwt(validFor(time.Hour).with("aud", []string{"sts.amazonaws.com", testkit.APIAudience}))), want: "Authorized=False IdentityNotReady", wantIdentity: "False InvalidSecret",
			contains: "The token in the key token of Secret system/spire-jwt has an audience of the Kubernetes API server, so it may also be valid there. Have the token issued for another audience, such as sts.amazonaws.com,",
		},
		"a token for any API server": {
			secret: tokenSecret(jwt(validFor(time.Hour).with("aud", "https://kubernetes.default.svc"))), want: "Authorized=False IdentityNotReady", wantIdentity: "False InvalidSecret", contains: "has an audience of the Kubernetes API server",
		},
		"an expired token":                          {secret: tokenSecret(jwt(validFor(-time.Second))), want: "Issued=False TokenExpired", wantIdentity: "False TokenExpired", contains: "The token in the key token of Secret system/spire-jwt has expired. Check the tool that writes the Secret;"},
		"a token that expires now":                  {secret: tokenSecret(jwt(validFor(0))), want: "Issued=False TokenExpired", wantIdentity: "False TokenExpired", contains: "has expired"},
		"a token that is valid by our time only":    {secret: tokenSecret(jwt(validFor(time.Minute))), skew: 2 * time.Minute, want: "Issued=False TokenExpired", wantIdentity: "False TokenExpired", contains: "has expired"},
		"a token that is not valid yet":             {secret: tokenSecret(jwt(validFor(time.Hour).with("nbf", testkit.Start.Add(2*time.Minute).Unix()))), want: "Issued=False TokenNotYetValid", wantIdentity: "False TokenNotYetValid", contains: "is not valid yet"},
		"times that no clock shows":                 {secret: tokenSecret(jwt(claims{"exp": 1e300, "nbf": -1e300})), want: issued, wantIdentity: "True NotVerifiable"},
		"an expiry before the first that UNIX knew": {secret: tokenSecret(jwt(claims{"exp": -5})), want: "Issued=False TokenExpired", wantIdentity: "False TokenExpired"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newVerifier(t, testkit.Without(testkit.Bootstrap(), testkit.World(byWebIdentityToken()))...)
			f.Resolver.APIAudiences = func() []string { return []string{testkit.APIAudience} }
			if tc.secret != nil {
				f.Expect(f.Client.Create(t.Context(), tc.secret)).To(Succeed())
			}
			if tc.skew != 0 {
				f.STS.Skewed, f.STS.Callers = tc.skew, 1
				configured, _, _ := f.Resolver.ResolveObject(t.Context(), byWebIdentityToken(), shopDefault)
				configured.STS()
			}
			found, _ := f.verify()
			f.Expect(testkit.States(found.Status.Conditions)["Ready"]).To(Equal(tc.wantIdentity))
			f.Expect(found.Status.FailedCall).To(BeNil())
			got, _ := f.reconcile()
			problem := testkit.FirstProblem(got.Status.Conditions)
			f.Expect(problem).To(And(HavePrefix(tc.want), ContainSubstring(tc.contains)))
			if tc.want == issued {
				f.Expect(f.STS.Tokens).To(Equal([]string{strings.TrimSpace(string(tc.secret.Data["token"]))}))
				return
			}
			f.Expect(f.STS.Issued).To(BeEmpty())
			f.Expect(got.Status.FailedCall).To(BeNil())
			if tc.secret != nil {
				for _, value := range tc.secret.Data {
					if text := strings.TrimSpace(string(value)); text != "" {
						f.Expect(fmt.Sprint(found.Status, got.Status)).NotTo(ContainSubstring(text))
					}
				}
			}
		})
	}
}

func TestReplacedTokenIsUsedAtOnce(t *testing.T) {
	first, second := jwt(validFor(time.Minute)), jwt(validFor(time.Hour))
	f := newVerifier(t, testkit.World(byWebIdentityToken(), tokenSecret(first))...)
	f.reconcile()
	f.Advance(2 * time.Minute)
	refresh := func(value string) {
		f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) {
			c.Annotations = map[string]string{v1alpha1.RefreshAnnotation: value}
		}))
	}
	refresh("1")
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)).To(And(HaveKeyWithValue("Issued", "False TokenExpired"), HaveKeyWithValue("Ready", "True Issued")))
	replaced := tokenSecret(second)
	f.Update(replaced)
	got, _ = f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Ready=True Issued"))
	f.Expect(f.STS.Tokens).To(Equal([]string{first, second}))
}

// An identity that is verified each hour reports the expiry when it comes.
func TestIdentityReportsTheExpiryOfItsToken(t *testing.T) {
	f := newVerifier(t, testkit.World(byWebIdentityToken(), tokenSecret(jwt(validFor(10*time.Minute))))...)
	found, result := f.verify()
	f.Expect(testkit.States(found.Status.Conditions)).To(HaveKeyWithValue("Ready", "True NotVerifiable"))
	f.Expect(testkit.Message(found.Status.Conditions, "Ready")).To(Equal("The source has a token, which each credential calls STS with, so this identity has no caller to verify."))
	f.Expect(result.RequeueAfter).To(Equal(10 * time.Minute))
	f.Expect(f.STS.Callers).To(BeZero(), "a token signs no call")
	f.identities.ForgetBackoff() // a restart
	_, result = f.verify()
	f.Expect(result.RequeueAfter).To(Equal(10 * time.Minute))
	f.Advance(result.RequeueAfter)
	found, _ = f.verify()
	f.Expect(testkit.States(found.Status.Conditions)).To(HaveKeyWithValue("Ready", "False TokenExpired"))
}

func TestExpiryOfATokenIsInTheStatusAndTheMetric(t *testing.T) {
	f := newVerifier(t, testkit.World(byWebIdentityToken(), tokenSecret(jwt(validFor(36*time.Hour))))...)
	registry := prometheus.NewRegistry()
	var err error
	f.identities.Metrics, err = telemetry.NewMetrics(registry, f.Clock)
	f.Expect(err).NotTo(HaveOccurred())
	for _, tc := range []struct {
		claims claims
		want   []time.Time
	}{
		{validFor(36 * time.Hour), []time.Time{testkit.Start.Add(36 * time.Hour)}},
		{validFor(72 * time.Hour), []time.Time{testkit.Start.Add(72 * time.Hour)}}, // renewed
		{claims{"sub": "operator"}, nil},                                           // without an expiry
	} {
		f.Update(tokenSecret(jwt(tc.claims)))
		f.Advance(time.Minute) // an identity is not verified twice at once
		found, _ := f.verify()
		var status, metric []time.Time
		if expires := found.Status.SourceExpiration; expires != nil {
			status = append(status, expires.UTC())
		}
		families, err := registry.Gather()
		f.Expect(err).NotTo(HaveOccurred())
		for _, family := range families {
			if family.GetName() == "rolecredential_source_expiration_timestamp_seconds" {
				metric = append(metric, time.Unix(int64(family.GetMetric()[0].GetGauge().GetValue()), 0).UTC())
			}
		}
		f.Expect(status).To(Equal(tc.want))
		f.Expect(metric).To(Equal(tc.want))
	}
}

func TestChainOfATokenIsSharedAndVerified(t *testing.T) {
	token := jwt(validFor(2 * time.Hour)) // the clock of the fake STS is an hour ahead
	f := newFixture(t, tokenSecret(token))
	found := byWebIdentityToken("first", "second")
	f.exists(found)
	one, two := f.of(found, "shop", "one"), f.of(found, "bank", "two")
	f.Expect(one.Keys()).To(BeIdenticalTo(two.Keys()), "the token is the identity's, not the service account's")
	f.Expect(one.ServiceAccount).To(BeEmpty())
	f.Expect(f.hops).To(HaveLen(2))
	f.Expect(one.Call(v1alpha1.CallAssumeRole)).To(Equal(v1alpha1.CallAssumeRole))
	shorter := testkit.Changed(byWebIdentityToken("first"), func(i *v1alpha1.ClusterIdentity) { i.Generation = 2 })
	f.Expect(f.of(shorter, "shop", "one").Keys().Retrieve(t.Context())).To(HaveField("SessionToken", token), "the first hop has the token")
}

func TestCredentialsOfAnIdentityShareOneToken(t *testing.T) {
	named := testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.ServiceAccountName = "reader" })
	token := jwt(validFor(time.Hour))
	f := newVerifier(t, testkit.World(byWebIdentityToken(), tokenSecret(token), named)...)
	got, _ := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Ready=True Issued"))
	f.Expect(f.STS.Tokens).To(Equal([]string{token}))
	f.Expect(f.Tokens.Requested).To(BeEmpty(), "the API server issues no token")
}

func TestAudiencesOfTheAPIServerAreThoseOfTheOperatorsToken(t *testing.T) {
	g := NewWithT(t)
	token := jwt(claims{"aud": []string{"https://api.example", "other"}})
	file := filepath.Join(t.TempDir(), "token")
	g.Expect(os.WriteFile(file, []byte(token+"\n"), 0o600)).To(Succeed())
	for name, tc := range map[string]struct {
		config rest.Config
		want   []string
	}{
		"a token":              {rest.Config{BearerToken: token}, []string{"https://api.example", "other"}},
		"a token in a file":    {rest.Config{BearerToken: "former", BearerTokenFile: file}, []string{"https://api.example", "other"}},
		"a file that is gone":  {rest.Config{BearerToken: token, BearerTokenFile: file + "-gone"}, []string{"https://api.example", "other"}},
		"a certificate":        {rest.Config{}, nil},
		"a token of no claims": {rest.Config{BearerToken: "opaque"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(identity.APIAudiences(&tc.config)()).To(Equal(tc.want))
		})
	}
}
