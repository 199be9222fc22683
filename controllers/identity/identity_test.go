package identity_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/stsemulator"
)

var (
	defaultKey  = request.Key{Kind: "ClusterIdentity", NamespacedName: types.NamespacedName{Name: "default"}}
	shopDefault = types.NamespacedName{Namespace: "shop", Name: "default"}
	defaultRef  = v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindClusterIdentity, Name: "default"}
)

// fakeSTS is the client of an identity. It issues credentials whose access key ID is that of the call's signature.
type fakeSTS struct {
	identity.STS
	config aws.Config
	f      *fixture
}

func (s *fakeSTS) Hop(_ aws.CredentialsProvider, r request.Request, auth identity.AuthSource) aws.CredentialsProvider {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.hops = append(s.f.hops, r)
	return &hop{r.RoleARN, auth}
}

func (s *fakeSTS) Issue(ctx context.Context, keys aws.CredentialsProvider, _ request.Request, _ request.CallAuth) (request.Credentials, error) {
	found, err := keys.Retrieve(ctx)
	return request.Credentials{AccessKeyID: found.AccessKeyID}, err
}

func (*fakeSTS) Skew() (time.Duration, bool) { return time.Hour, true }

// fixture is a Resolver on a fake client, whose watch is always up to date.
type fixture struct {
	*WithT
	t        *testing.T
	client   client.Client
	watch    *watch
	resolver *identity.Resolver

	mu        sync.Mutex
	connected int // clients that were built
	hops      []request.Request
}

// watch knows what is in the client.
type watch struct {
	reader client.Reader

	mu         sync.Mutex
	subscribed map[request.Key]subscribed
	done       []request.Key
}

type subscribed struct {
	secret  types.NamespacedName
	version string
}

func (w *watch) Subscribe(key request.Key, secret types.NamespacedName, version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subscribed[key] = subscribed{secret, version}
}

func (w *watch) IsCurrent(key request.Key, name types.NamespacedName, version string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	secret := &corev1.Secret{}
	return w.subscribed[key].secret == name && w.reader.Get(context.Background(), name, secret) == nil && secret.ResourceVersion == version
}

func (w *watch) Unsubscribe(key request.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.subscribed, key)
	w.done = append(w.done, key)
}

func newFixture(t *testing.T, objects ...client.Object) *fixture {
	return failing(t, interceptor.Funcs{}, objects...)
}

// noAudiences are the API server's audiences while they are not known.
func noAudiences() []string { return nil }

// failing is a fixture whose client fails as the functions say.
func failing(t *testing.T, funcs interceptor.Funcs, objects ...client.Object) *fixture {
	t.Helper()
	f := &fixture{WithT: NewWithT(t), t: t}
	scheme := runtime.NewScheme()
	f.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	f.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	f.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(funcs).Build()
	f.watch = &watch{reader: f.client, subscribed: map[request.Key]subscribed{}}
	f.resolver = &identity.Resolver{Clock: clocktesting.NewFakePassiveClock(testkit.Start), APIAudiences: noAudiences, Reader: f.client, APIReader: f.client, Watch: f.watch, NewSTS: func(_ request.Key, config aws.Config) identity.STS {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.connected++
		return &fakeSTS{config: config, f: f}
	}}
	return f
}

// withKey is an identity whose source is the access key in the Secret bootstrap.
func withKey(change ...func(*v1alpha1.ClusterIdentity)) *v1alpha1.ClusterIdentity {
	found := &v1alpha1.ClusterIdentity{
		ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "identity-uid", Generation: 1},
		Spec: v1alpha1.ClusterIdentitySpec{
			IdentitySettings: v1alpha1.IdentitySettings{Region: "eu-west-1"},

			Source: v1alpha1.ClusterIdentitySource{AccessKey: &v1alpha1.AccessKeySource{SecretRef: v1alpha1.SecretReference{Namespace: "system", Name: "bootstrap"}}},
			Allow:  &[]v1alpha1.AllowRule{{Namespaces: []string{"shop"}}},
		},
	}
	for _, c := range change {
		c(found)
	}
	return found
}

// sourceless takes an identity's source away, as the API server does with one that its schema does not know.
func sourceless(found *v1alpha1.ClusterIdentity) {
	found.Spec.Source = v1alpha1.ClusterIdentitySource{}
}

// ambient gives an identity the source of the operator's own pod.
func ambient(found *v1alpha1.ClusterIdentity) {
	found.Spec.Source = v1alpha1.ClusterIdentitySource{Ambient: &v1alpha1.AmbientSource{}}
}

func endpoint(url string) func(*v1alpha1.ClusterIdentity) {
	return func(found *v1alpha1.ClusterIdentity) { found.Spec.Endpoint = url }
}

func caBundle(pem string) func(*v1alpha1.ClusterIdentity) {
	return func(found *v1alpha1.ClusterIdentity) { found.Spec.CABundle = pem }
}

func key(id, secret, token string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "bootstrap"}, Data: map[string][]byte{}}
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token} {
		if value != "" {
			s.Data[name] = []byte(value)
		}
	}
	return s
}

var operatorKey = func() *corev1.Secret { return key("AKIAOPERATOR", "operator-secret", "") }

func (f *fixture) configure(found identity.Object) *identity.Identity {
	f.t.Helper()
	f.exists(found)
	configured, problem, err := f.resolver.ResolveObject(f.t.Context(), found, shopDefault)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(problem).To(BeNil())
	return configured
}

// exists adds an identity to the fake client. The resolver caches nothing for a deleted one.
func (f *fixture) exists(found identity.Object) {
	f.t.Helper()
	added, ok := found.DeepCopyObject().(client.Object)
	f.Expect(ok).To(BeTrue())
	added.SetResourceVersion("")
	f.Expect(client.IgnoreAlreadyExists(f.client.Create(f.t.Context(), added))).To(Succeed())
}

// config returns the configuration of the identity's STS client.
func (f *fixture) config(found identity.Object) aws.Config {
	f.t.Helper()
	return f.configure(found).STS().(*fakeSTS).config
}

func (f *fixture) credentials(found *v1alpha1.ClusterIdentity) (aws.Credentials, error) {
	f.t.Helper()
	return f.configure(found).Keys().Retrieve(f.t.Context())
}

// noAWS is an environment in which the SDK finds nothing.
func noAWS(t *testing.T) {
	t.Helper()
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_DEFAULT_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "",
		"AWS_ROLE_ARN": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "",
		"AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_STS": "", "AWS_USE_FIPS_ENDPOINT": "", "AWS_USE_DUALSTACK_ENDPOINT": "", "AWS_CA_BUNDLE": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere,
	} {
		t.Setenv(name, value)
	}
}

func TestUnusableConfigurationIsReported(t *testing.T) {
	const secretNotFound = "There is no Secret system/bootstrap. Create it with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
	invalidSecret := func(key string) string {
		return "Secret system/bootstrap has no value under the key " + key + ". Store an IAM user's access key under the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
	}
	const invalidCA = "spec.caBundle contains no valid certificate. Set one or more PEM certificates."
	const invalidEndpoint = "spec.endpoint is not the URL of a server. Set a URL such as https://sts.example.internal."
	for name, tc := range map[string]struct {
		identity *v1alpha1.ClusterIdentity
		secret   *corev1.Secret
		reason   string
		message  string
	}{
		"there is no Secret":                  {withKey(), nil, v1alpha1.ReasonSecretNotFound, secretNotFound},
		"the Secret has no keys":              {withKey(), key("", "", ""), v1alpha1.ReasonInvalidSecret, invalidSecret("AWS_ACCESS_KEY_ID")},
		"the Secret has no access key id":     {withKey(), key("", "secret", ""), v1alpha1.ReasonInvalidSecret, invalidSecret("AWS_ACCESS_KEY_ID")},
		"the Secret has no secret access key": {withKey(), key("AKIA", "", "token"), v1alpha1.ReasonInvalidSecret, invalidSecret("AWS_SECRET_ACCESS_KEY")},
		"the Secret's secret access key is empty": {
			withKey(), &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "bootstrap"},
				Data:       map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("AKIA"), "AWS_SECRET_ACCESS_KEY": {}},
			}, v1alpha1.ReasonInvalidSecret, invalidSecret("AWS_SECRET_ACCESS_KEY"),
		},
		"the bundle is no PEM":                {withKey(caBundle("certificate")), operatorKey(), v1alpha1.ReasonInvalidCABundle, invalidCA},
		"the bundle's PEM is no certificate":  {withKey(caBundle("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")), operatorKey(), v1alpha1.ReasonInvalidCABundle, invalidCA},
		"the endpoint is a name":              {withKey(endpoint("sts.example.internal")), operatorKey(), v1alpha1.ReasonInvalidEndpoint, invalidEndpoint},
		"the endpoint has another scheme":     {withKey(endpoint("ftp://sts.example.internal")), operatorKey(), v1alpha1.ReasonInvalidEndpoint, invalidEndpoint},
		"the endpoint names no server":        {withKey(endpoint("https:///sts")), operatorKey(), v1alpha1.ReasonInvalidEndpoint, invalidEndpoint},
		"the endpoint is no URL at all":       {withKey(endpoint("https://sts\x7f")), operatorKey(), v1alpha1.ReasonInvalidEndpoint, invalidEndpoint},
		"there is no source":                  {withKey(sourceless), operatorKey(), v1alpha1.ReasonInvalidSourceCredentials, "spec.source of ClusterIdentity has no source that this version of the operator supports. Set exactly one source, or upgrade the operator if the CRDs are newer."},
		"the bundle of an ambient identity":   {withKey(ambient, caBundle("certificate")), nil, v1alpha1.ReasonInvalidCABundle, invalidCA},
		"the endpoint of an ambient identity": {withKey(ambient, endpoint("sts")), nil, v1alpha1.ReasonInvalidEndpoint, invalidEndpoint},
	} {
		t.Run(name, func(t *testing.T) {
			noAWS(t)
			objects := []client.Object{tc.identity}
			if tc.secret != nil {
				objects = append(objects, tc.secret)
			}
			f := newFixture(t, objects...)
			f.exists(tc.identity)
			configured, problem, err := f.resolver.ResolveObject(t.Context(), tc.identity, shopDefault)
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(configured).To(BeNil())
			f.Expect(problem).To(And(
				HaveField("Condition", v1alpha1.ConditionReady), HaveField("Reason", tc.reason), HaveField("Message", tc.message), HaveField("Retry", reason.Never),
			))
			resolved, denied, err := f.resolver.Resolve(t.Context(), defaultRef, shopDefault)
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(resolved).To(BeNil())
			f.Expect(denied).To(Equal(&reason.Error{
				Condition: v1alpha1.ConditionAuthorized, Reason: v1alpha1.ReasonIdentityNotReady,
				Message: "ClusterIdentity default cannot be used: " + tc.message, Retry: reason.Never,
			}))
			f.Expect(f.connected).To(BeZero())
		})
	}
}

func TestForbiddenSecretIsReportedAndRetried(t *testing.T) {
	f := failing(t, interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, name client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
			return apierrors.NewForbidden(corev1.Resource("secrets"), name.Name, errors.New("RBAC"))
		},
	})
	f.exists(withKey())
	_, problem, err := f.resolver.ResolveObject(t.Context(), withKey(), shopDefault)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(problem).To(And(HaveField("Reason", v1alpha1.ReasonSecretForbidden), HaveField("Retry", reason.After(reason.MaxWait))))
	f.Expect(problem.Message).To(Equal("The operator's RBAC does not allow it to read Secret system/bootstrap. Grant it get, list and watch of Secrets in namespace system."))
}

func TestResolveReportsMissingIdentity(t *testing.T) {
	f := newFixture(t)
	resolved, denied, err := f.resolver.Resolve(t.Context(), defaultRef, shopDefault)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(resolved).To(BeNil())
	f.Expect(denied).To(Equal(&reason.Error{
		Condition: v1alpha1.ConditionAuthorized, Reason: v1alpha1.ReasonIdentityNotFound,
		Message: "There is no ClusterIdentity default. Create it, or change spec.identityRef.", Retry: reason.Never,
	}))
}

func TestUnknownIdentityKindIsReported(t *testing.T) {
	f := newFixture(t, withKey(), operatorKey())
	resolved, denied, err := f.resolver.Resolve(t.Context(), v1alpha1.IdentityReference{Kind: "AccountIdentity", Name: "default"}, shopDefault)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(resolved).To(BeNil())
	f.Expect(denied).To(Equal(&reason.Error{
		Condition: v1alpha1.ConditionAuthorized, Reason: v1alpha1.ReasonIdentityNotFound, Retry: reason.Never,
		Message: "spec.identityRef.kind is AccountIdentity, which this version of the operator does not support. " +
			"Use a ClusterIdentity or an Identity, or upgrade the operator if the CRDs are newer.",
	}))
}

func TestErrorOfTheAPIServerIsReturned(t *testing.T) {
	for name, unread := range map[string]client.Object{"the identity": &v1alpha1.ClusterIdentity{}, "the Secret": &corev1.Secret{}} {
		t.Run(name+" cannot be read", func(t *testing.T) {
			down := errors.New("connection refused")
			f := failing(t, interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, name client.ObjectKey, o client.Object, options ...client.GetOption) error {
					switch o.(type) {
					case *v1alpha1.ClusterIdentity:
						if _, ok := unread.(*v1alpha1.ClusterIdentity); ok {
							return down
						}
					case *corev1.Secret:
						return down
					}
					return c.Get(ctx, name, o, options...)
				},
			}, withKey(), operatorKey())
			resolved, denied, err := f.resolver.Resolve(t.Context(), defaultRef, shopDefault)
			f.Expect(err).To(MatchError(down))
			f.Expect(denied).To(BeNil())
			f.Expect(resolved).To(BeNil())
		})
	}
}

func TestResolveReturnsTheSettingsOfTheIdentity(t *testing.T) {
	found := withKey(func(i *v1alpha1.ClusterIdentity) {
		i.Generation, i.Spec.STSQPS, i.Status.ARN = 7, 20, "arn:aws:iam::210987654321:user/operator"
	})
	f := newFixture(t, found, operatorKey())
	resolved, denied, err := f.resolver.Resolve(t.Context(), defaultRef, shopDefault)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(denied).To(BeNil())
	f.Expect(resolved.Key).To(Equal(defaultKey))
	f.Expect(resolved.Name).To(Equal("ClusterIdentity default"))
	f.Expect(resolved.Region).To(Equal("eu-west-1"))
	f.Expect(resolved.STSQPS).To(BeEquivalentTo(20))
	f.Expect(resolved.CallerARN).To(Equal("arn:aws:iam::210987654321:user/operator"))
	f.Expect(resolved.Allow).To(Equal(*found.Spec.Allow))
	f.Expect(resolved.SecretVersion).NotTo(BeEmpty())
	f.Expect(f.watch.subscribed).To(Equal(map[request.Key]subscribed{
		defaultKey: {types.NamespacedName{Namespace: "system", Name: "bootstrap"}, resolved.SecretVersion},
	}))
}

func TestIdentityWithoutRulesAllowsNothing(t *testing.T) {
	f := newFixture(t, operatorKey())
	f.Expect(f.configure(withKey(func(i *v1alpha1.ClusterIdentity) { i.Spec.Allow = nil })).Allow).To(BeEmpty())
}

func TestRulesAreCurrentWhileTheConnectionIsCached(t *testing.T) {
	f := newFixture(t, operatorKey())
	f.configure(withKey())
	rules := []v1alpha1.AllowRule{{Namespaces: []string{"bank"}}}
	changed := f.configure(withKey(func(i *v1alpha1.ClusterIdentity) { i.Spec.Allow = &rules }))
	f.Expect(changed.Allow).To(Equal(rules))
}

func TestSDKGetsTheIdentitysConfigurationOnly(t *testing.T) {
	for name, tc := range map[string]struct {
		identity    *v1alpha1.ClusterIdentity
		secret      *corev1.Secret
		environment map[string]string
		region      string
		endpoint    *string
		credentials aws.Credentials
	}{
		"an access key": {
			identity: withKey(), secret: operatorKey(), region: "eu-west-1",
			credentials: aws.Credentials{AccessKeyID: "AKIAOPERATOR", SecretAccessKey: "operator-secret"},
		},
		"temporary credentials that something else keeps fresh": {
			identity: withKey(), secret: key("ASIAOPERATOR", "operator-secret", "operator-token"), region: "eu-west-1",
			credentials: aws.Credentials{AccessKeyID: "ASIAOPERATOR", SecretAccessKey: "operator-secret", SessionToken: "operator-token"},
		},
		"an access key, whatever the operator's own environment holds": {
			identity: withKey(), secret: operatorKey(), region: "eu-west-1",
			environment: map[string]string{"AWS_ACCESS_KEY_ID": "AKIAAMBIENT", "AWS_SECRET_ACCESS_KEY": "ambient-secret", "AWS_SESSION_TOKEN": "ambient-token", "AWS_REGION": "us-east-1"},
			credentials: aws.Credentials{AccessKeyID: "AKIAOPERATOR", SecretAccessKey: "operator-secret"},
		},
		"an endpoint": {
			identity: withKey(endpoint("http://127.0.0.1:9000/sts")), secret: operatorKey(), region: "eu-west-1", endpoint: aws.String("http://127.0.0.1:9000/sts"),
			credentials: aws.Credentials{AccessKeyID: "AKIAOPERATOR", SecretAccessKey: "operator-secret"},
		},
		"the operator's own environment": {
			identity: withKey(ambient), region: "eu-west-1",
			environment: map[string]string{"AWS_ACCESS_KEY_ID": "AKIAAMBIENT", "AWS_SECRET_ACCESS_KEY": "ambient-secret", "AWS_SESSION_TOKEN": "ambient-token", "AWS_REGION": "us-east-1"},
			credentials: aws.Credentials{AccessKeyID: "AKIAAMBIENT", SecretAccessKey: "ambient-secret", SessionToken: "ambient-token"},
		},
		"the operator's own environment, and an endpoint": {
			identity: withKey(ambient, endpoint("https://sts.example.internal")), region: "eu-west-1", endpoint: aws.String("https://sts.example.internal"),
			environment: map[string]string{"AWS_ACCESS_KEY_ID": "AKIAAMBIENT", "AWS_SECRET_ACCESS_KEY": "ambient-secret", "AWS_ENDPOINT_URL": "https://other.example.internal"},
			credentials: aws.Credentials{AccessKeyID: "AKIAAMBIENT", SecretAccessKey: "ambient-secret"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			noAWS(t)
			for variable, value := range tc.environment {
				t.Setenv(variable, value)
			}
			objects := []client.Object{}
			if tc.secret != nil {
				objects = append(objects, tc.secret)
			}
			f := newFixture(t, objects...)
			config := f.config(tc.identity)
			f.Expect(config.Region).To(Equal(tc.region))
			f.Expect(config.BaseEndpoint).To(Equal(tc.endpoint))
			f.Expect(config.Credentials).To(BeNil())
			keys, err := f.credentials(tc.identity)
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.SessionToken}).To(Equal(tc.credentials))
		})
	}
}

func TestServerIsTrustedByTheCABundle(t *testing.T) {
	server, other := serveTLS(t), serveTLS(t)
	own, another := string(server.CABundle), string(other.CABundle)
	for name, tc := range map[string]struct {
		bundle string
		want   bool
	}{
		"its authority is in the bundle":                {own, true},
		"its authority is one of several in the bundle": {another + own, true},
		"its authority is not in the bundle":            {another, false},
		"there is no bundle":                            {"", false},
	} {
		for source, change := range map[string]func(*v1alpha1.ClusterIdentity){"an access key": func(*v1alpha1.ClusterIdentity) {}, "the environment": ambient} {
			t.Run(name+", with the source "+source, func(t *testing.T) {
				noAWS(t)
				f := newFixture(t, operatorKey())
				http := f.config(withKey(caBundle(tc.bundle), change)).HTTPClient
				response, err := http.Do(get(t, server.URL))
				if !tc.want {
					f.Expect(err).To(MatchError(ContainSubstring("certificate signed by unknown authority")))
					return
				}
				f.Expect(err).NotTo(HaveOccurred())
				f.Expect(response.Body.Close()).To(Succeed())
			})
		}
	}
}

// serveTLS serves something whose certificate is of an authority of its own.
func serveTLS(t *testing.T) *stsemulator.Endpoint {
	t.Helper()
	g := NewWithT(t)
	server, err := stsemulator.New(stsemulator.Config{}, stsemulator.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	endpoint, err := server.StartTLS("")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(endpoint.Close()).To(Succeed()) })
	return endpoint
}

func get(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return r
}

func TestFailedSourceIsReportedAndNotReplaced(t *testing.T) {
	t.Run("there is nothing in the operator's environment", func(t *testing.T) {
		noAWS(t)
		f := newFixture(t, operatorKey())
		_, err := f.credentials(withKey(ambient))
		var source *reason.SourceError
		f.Expect(errors.As(err, &source)).To(BeTrue(), "%v", err)
	})
	t.Run("the operator's own configuration cannot be read", func(t *testing.T) {
		noAWS(t)
		t.Setenv("AWS_PROFILE", "absent")
		f := newFixture(t, operatorKey())
		f.exists(withKey(ambient))
		_, problem, err := f.resolver.ResolveObject(t.Context(), withKey(ambient), shopDefault)
		f.Expect(err).NotTo(HaveOccurred())
		f.Expect(problem).To(And(HaveField("Condition", v1alpha1.ConditionReady), HaveField("Reason", v1alpha1.ReasonInvalidSourceCredentials)))
		f.Expect(problem.Cause).To(MatchError(ContainSubstring("absent")))
		f.Expect(problem.Message).NotTo(ContainSubstring("absent"))
	})
	t.Run("there is no Secret, though the environment holds a key", func(t *testing.T) {
		noAWS(t)
		t.Setenv("AWS_ACCESS_KEY_ID", "AKIAAMBIENT")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "ambient-secret")
		f := newFixture(t)
		f.exists(withKey())
		_, problem, err := f.resolver.ResolveObject(t.Context(), withKey(), shopDefault)
		f.Expect(err).NotTo(HaveOccurred())
		f.Expect(problem).To(HaveField("Reason", v1alpha1.ReasonSecretNotFound))
	})
}

func TestConnectionsAndCredentialsLastUntilWhatTheyDependOnChanges(t *testing.T) {
	for name, tc := range map[string]struct {
		change                       func(f *fixture, found *v1alpha1.ClusterIdentity)
		wantNewClient, wantReadAgain bool
	}{
		"nothing changes":              {change: func(*fixture, *v1alpha1.ClusterIdentity) {}},
		"the status changes":           {change: func(_ *fixture, i *v1alpha1.ClusterIdentity) { i.Status.ARN = "arn:aws:iam::1:root" }},
		"the rules change":             {change: func(_ *fixture, i *v1alpha1.ClusterIdentity) { i.Generation++ }, wantReadAgain: true},
		"the region changes":           {change: func(_ *fixture, i *v1alpha1.ClusterIdentity) { i.Generation, i.Spec.Region = 2, "eu-west-2" }, wantNewClient: true, wantReadAgain: true},
		"the endpoint changes":         {change: func(_ *fixture, i *v1alpha1.ClusterIdentity) { i.Generation, i.Spec.Endpoint = 2, "http://sts.example" }, wantNewClient: true, wantReadAgain: true},
		"it is deleted and created":    {change: func(_ *fixture, i *v1alpha1.ClusterIdentity) { i.UID = "another" }, wantReadAgain: true},
		"STS rejected its credentials": {change: func(f *fixture, i *v1alpha1.ClusterIdentity) { f.configure(i).InvalidateCredentials() }, wantReadAgain: true},
		"another identity is deleted": {change: func(f *fixture, _ *v1alpha1.ClusterIdentity) {
			f.resolver.Forget(request.Key{Kind: "ClusterIdentity", NamespacedName: types.NamespacedName{Name: "other"}})
			f.resolver.Forget(request.Key{Kind: "Identity", NamespacedName: types.NamespacedName{Name: "default"}})
		}},
		"it is deleted":               {change: func(f *fixture, _ *v1alpha1.ClusterIdentity) { f.resolver.Forget(defaultKey) }, wantNewClient: true, wantReadAgain: true},
		"the watch is not synced yet": {change: func(f *fixture, _ *v1alpha1.ClusterIdentity) { f.watch.Unsubscribe(defaultKey) }, wantReadAgain: true},
		"the key is rotated": {change: func(f *fixture, _ *v1alpha1.ClusterIdentity) {
			f.Expect(f.client.Update(f.t.Context(), key("AKIAROTATED", "rotated-secret", ""))).To(Succeed())
		}, wantReadAgain: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, operatorKey())
			secrets := &countingReader{Reader: f.client}
			f.resolver.APIReader = secrets
			found := withKey()
			first := f.configure(found).STS()
			tc.change(f, found)
			again := f.configure(found)
			f.Expect(again.STS() != first).To(Equal(tc.wantNewClient))
			f.Expect(secrets.reads > 1).To(Equal(tc.wantReadAgain))
			reads := secrets.reads
			f.Expect(f.configure(found).STS()).To(BeIdenticalTo(again.STS()))
			f.Expect(secrets.reads).To(Equal(reads), "it is cached")
		})
	}
}

func TestReplacedConnectionsAreClosed(t *testing.T) {
	for name, replace := range map[string]func(f *fixture, found *v1alpha1.ClusterIdentity){
		"after a new endpoint": func(f *fixture, found *v1alpha1.ClusterIdentity) {
			found.Generation, found.Spec.Region = 2, "eu-west-2"
			f.configure(found)
		},
		"after the identity is deleted": func(f *fixture, _ *v1alpha1.ClusterIdentity) { f.resolver.Forget(defaultKey) },
	} {
		t.Run(name, func(t *testing.T) {
			closed := make(chan struct{}, 1)
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					closed <- struct{}{}
				}
			}
			server.Start()
			defer server.Close()
			f := newFixture(t, operatorKey())
			found := withKey(endpoint(server.URL))
			response, err := f.config(found).HTTPClient.Do(get(t, server.URL))
			f.Expect(err).NotTo(HaveOccurred())
			_, _ = io.Copy(io.Discard, response.Body)
			f.Expect(response.Body.Close()).To(Succeed())
			f.Expect(closed).NotTo(Receive())
			replace(f, found)
			f.Eventually(closed).WithTimeout(time.Minute).Should(Receive())
		})
	}
}

// countingReader counts reads.
type countingReader struct {
	client.Reader
	reads int
}

func (r *countingReader) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	r.reads++
	return r.Reader.Get(ctx, key, object, options...)
}

func TestRotatedKeyIsUsed(t *testing.T) {
	f := newFixture(t, operatorKey())
	_, err := f.credentials(withKey())
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(f.client.Update(t.Context(), key("AKIAROTATED", "rotated-secret", ""))).To(Succeed())
	keys, err := f.credentials(withKey())
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(keys.AccessKeyID).To(Equal("AKIAROTATED"))
}

func TestDeletedAndRecreatedSecretIsNoticed(t *testing.T) {
	f := newFixture(t, operatorKey())
	f.configure(withKey())
	f.Expect(f.client.Delete(t.Context(), operatorKey())).To(Succeed())
	f.exists(withKey())
	_, problem, err := f.resolver.ResolveObject(t.Context(), withKey(), shopDefault)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(problem).To(HaveField("Reason", v1alpha1.ReasonSecretNotFound))
	f.Expect(f.watch.subscribed[defaultKey]).To(Equal(subscribed{types.NamespacedName{Namespace: "system", Name: "bootstrap"}, ""}), "its creation is noticed")
	f.Expect(f.client.Create(t.Context(), operatorKey())).To(Succeed())
	f.configure(withKey())
}

func TestSecretWithoutAKeyIsWatched(t *testing.T) {
	f := newFixture(t, key("AKIA", "", ""))
	f.exists(withKey())
	_, problem, err := f.resolver.ResolveObject(t.Context(), withKey(), shopDefault)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(problem).To(HaveField("Reason", v1alpha1.ReasonInvalidSecret))
	f.Expect(f.watch.subscribed[defaultKey].version).NotTo(BeEmpty())
}

func TestAmbientIdentityWatchesNoSecret(t *testing.T) {
	noAWS(t)
	f := newFixture(t, operatorKey())
	f.configure(withKey())
	f.configure(withKey(ambient, func(i *v1alpha1.ClusterIdentity) { i.Generation++ }))
	f.Expect(f.watch.subscribed).To(BeEmpty())
	f.Expect(f.watch.done).To(Equal([]request.Key{defaultKey}))
}

func TestForgetEndsTheWatch(t *testing.T) {
	f := newFixture(t, operatorKey())
	f.configure(withKey())
	f.resolver.Forget(defaultKey)
	f.Expect(f.watch.subscribed).To(BeEmpty())
	f.resolver.Forget(defaultKey)
}

func TestEachIdentityHasItsOwnClient(t *testing.T) {
	f := newFixture(t, operatorKey())
	one := f.configure(withKey())
	two := f.configure(withKey(func(i *v1alpha1.ClusterIdentity) { i.Name, i.UID = "other", "other-uid" }))
	f.Expect(one.STS()).NotTo(BeIdenticalTo(two.STS()))
	f.resolver.Forget(two.Key)
	f.Expect(f.configure(withKey()).STS()).To(BeIdenticalTo(one.STS()))
}

func TestIssuerHashChangesWithTheIssuerOnly(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(f *fixture, found *v1alpha1.ClusterIdentity)
		same   bool
	}{
		"nothing changes": {func(*fixture, *v1alpha1.ClusterIdentity) {}, true},
		"the rules change": {func(_ *fixture, i *v1alpha1.ClusterIdentity) {
			i.Generation++
			i.Spec.Allow = &[]v1alpha1.AllowRule{}
		}, true},
		"the key is rotated": {func(f *fixture, _ *v1alpha1.ClusterIdentity) {
			f.Expect(f.client.Update(f.t.Context(), key("AKIAROTATED", "rotated-secret", ""))).To(Succeed())
		}, true},
		"the caller becomes known":    {func(_ *fixture, i *v1alpha1.ClusterIdentity) { i.Status.ARN = "arn:aws:iam::1:root" }, true},
		"the endpoint changes":        {func(_ *fixture, i *v1alpha1.ClusterIdentity) { i.Spec.Endpoint = "https://sts.example.internal" }, false},
		"the source is another kind":  {func(_ *fixture, i *v1alpha1.ClusterIdentity) { ambient(i) }, false},
		"the source's Secret changes": {func(_ *fixture, i *v1alpha1.ClusterIdentity) { i.Spec.Source.AccessKey.SecretRef.Name = "other" }, false},
		"its namespace changes":       {func(_ *fixture, i *v1alpha1.ClusterIdentity) { i.Spec.Source.AccessKey.SecretRef.Namespace = "other" }, false},
		"a name moves from one to the other": {func(_ *fixture, i *v1alpha1.ClusterIdentity) {
			i.Spec.Source.AccessKey.SecretRef = v1alpha1.SecretReference{Namespace: "system", Name: "other"}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			noAWS(t)
			named := func(namespace, name string) *corev1.Secret {
				s := operatorKey()
				s.Namespace, s.Name = namespace, name
				return s
			}
			f := newFixture(t, operatorKey(), named("system", "other"), named("other", "bootstrap"))
			found := withKey()
			before := f.configure(found)
			tc.change(f, found)
			found.Generation++
			f.Expect(f.configure(found).IssuerHash == before.IssuerHash).To(Equal(tc.same))
		})
	}
}

// A release that hashes it otherwise refreshes every credential of a cluster at once.
func TestIssuerHashIsThatOfEarlierReleases(t *testing.T) {
	f := newFixture(t, operatorKey())
	f.Expect(f.configure(withKey(endpoint("https://sts.example.internal"))).IssuerHash).To(Equal("fbe7cd025187d3afdc7071321dbb80bc5dde545283f8abf7de374bda4b5a929e"))
}

func TestVersionChangesWithSpecAndSecret(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(f *fixture, found *v1alpha1.ClusterIdentity)
		same   bool
	}{
		"nothing changes":        {func(*fixture, *v1alpha1.ClusterIdentity) {}, true},
		"the status changes":     {func(_ *fixture, i *v1alpha1.ClusterIdentity) { i.Status.ARN = "arn:aws:iam::1:root" }, true},
		"the client is rebuilt":  {func(f *fixture, i *v1alpha1.ClusterIdentity) { f.configure(i).InvalidateCredentials() }, true},
		"the spec changes":       {func(_ *fixture, i *v1alpha1.ClusterIdentity) { i.Generation++ }, false},
		"another takes its name": {func(_ *fixture, i *v1alpha1.ClusterIdentity) { i.UID = "another" }, false},
		"the key is rotated": {func(f *fixture, _ *v1alpha1.ClusterIdentity) {
			f.Expect(f.client.Update(f.t.Context(), key("AKIAROTATED", "rotated-secret", ""))).To(Succeed())
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, operatorKey())
			found := withKey()
			before := f.configure(found).Version
			tc.change(f, found)
			f.Expect(f.configure(found).Version == before).To(Equal(tc.same))
		})
	}
}

func TestResolveMayBeCalledConcurrently(t *testing.T) {
	f := newFixture(t, withKey(), operatorKey())
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			for range 20 {
				found, denied, err := f.resolver.Resolve(context.Background(), defaultRef, shopDefault)
				if denied != nil || err != nil {
					t.Errorf("%v, %v", denied, err)
					return
				}
				found.InvalidateCredentials()
			}
		})
	}
	users.Wait()
}

// blockingReader reads when it is let.
type blockingReader struct {
	client.Reader
	reads chan struct{}
	let   chan struct{}
}

func (r blockingReader) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	r.reads <- struct{}{}
	<-r.let
	return r.Reader.Get(ctx, key, object, options...)
}

// An identity may be deleted while its Secret is read.
func TestBuildThatEndsAfterForgetLeavesNothing(t *testing.T) {
	f := newFixture(t, withKey(), operatorKey())
	blocking := blockingReader{f.client, make(chan struct{}, 8), make(chan struct{})}
	f.resolver.APIReader = blocking
	built := make(chan error, 1)
	go func() {
		_, _, err := f.resolver.Resolve(t.Context(), defaultRef, shopDefault)
		built <- err
	}()
	<-blocking.reads
	f.Expect(f.client.Delete(t.Context(), withKey())).To(Succeed())
	f.resolver.Forget(defaultKey)
	close(blocking.let)
	f.Expect(<-built).To(Succeed())
	f.Expect(f.resolver.IsCached(defaultKey)).To(BeFalse())
	f.Expect(f.watch.subscribed).To(BeEmpty())
}

func TestConcurrentCallersShareOneBuild(t *testing.T) {
	f := newFixture(t, withKey(), operatorKey())
	blocking := blockingReader{f.client, make(chan struct{}, 8), make(chan struct{})}
	f.resolver.APIReader = blocking
	clients := make(chan identity.STS, 8)
	var users sync.WaitGroup
	for range cap(clients) {
		users.Go(func() {
			found, denied, err := f.resolver.Resolve(context.Background(), defaultRef, shopDefault)
			if denied != nil || err != nil {
				t.Errorf("%v, %v", denied, err)
				return
			}
			clients <- found.STS()
		})
	}
	<-blocking.reads
	close(blocking.let)
	users.Wait()
	f.Expect(blocking.reads).To(BeEmpty(), "the Secret was read once")
	f.Expect(f.connected).To(Equal(1))
	first := <-clients
	for range cap(clients) - 1 {
		f.Expect(<-clients).To(BeIdenticalTo(first))
	}
}

func TestCallerThatGivesUpDoesNotFailTheOthers(t *testing.T) {
	f := newFixture(t, withKey(), operatorKey())
	blocking := blockingReader{f.client, make(chan struct{}, 8), make(chan struct{})}
	f.resolver.APIReader = blocking
	first, giveUp := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, _, err := f.resolver.Resolve(first, defaultRef, shopDefault)
		failed <- err
	}()
	<-blocking.reads
	giveUp()
	f.Expect(<-failed).To(MatchError(context.Canceled), "it does not wait for the build that it started")
	close(blocking.let)
	found, denied, err := f.resolver.Resolve(t.Context(), defaultRef, shopDefault)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(denied).To(BeNil())
	f.Expect(found.STS()).NotTo(BeNil())
	f.Expect(f.connected).To(Equal(1))
}

func TestConcurrentCallersShareOneRequestToTheAmbientSource(t *testing.T) {
	noAWS(t)
	requested, answer := make(chan struct{}, 50), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requested <- struct{}{}
		<-answer
		_, _ = w.Write([]byte(`{"AccessKeyId": "ASIAPOD", "SecretAccessKey": "secret", "Token": "token", "Expiration": "2100-01-01T00:00:00Z"}`))
	}))
	defer server.Close()
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.URL) // as EKS Pod Identity does
	f := newFixture(t)
	source := f.configure(withKey(ambient)).Keys()
	var all, begun sync.WaitGroup
	keys := make([]string, cap(requested))
	begun.Add(len(keys))
	for i := range keys {
		all.Go(func() {
			begun.Done()
			found, err := source.Retrieve(t.Context())
			if err == nil {
				keys[i] = found.AccessKeyID
			}
		})
	}
	begun.Wait()
	<-requested
	close(answer)
	all.Wait()
	f.Expect(keys).To(HaveEach("ASIAPOD"))
	f.Expect(requested).To(BeEmpty())
}

func TestOneAttemptOfACallIsBounded(t *testing.T) {
	f := newFixture(t, operatorKey())
	f.Expect(f.config(withKey()).HTTPClient.(*http.Client).Timeout).To(And(BeNumerically(">", 0), BeNumerically("<=", 10*time.Second)))
}

func TestIdleConnectionsAreKeptForAllCalls(t *testing.T) {
	f := newFixture(t, withKey(), key("AKIASOURCE", "source-secret", ""))
	f.resolver.IdleConnections = 96
	resolved, denied, err := f.resolver.Resolve(t.Context(), defaultRef, shopDefault)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(denied).To(BeNil())
	transport := resolved.STS().(*fakeSTS).config.HTTPClient.(*http.Client).Transport.(*http.Transport)
	f.Expect([]int{transport.MaxIdleConns, transport.MaxIdleConnsPerHost}).To(Equal([]int{96, 96}))
}
