// Package sequences_test changes one object again and again, on a real API server with the STS emulator, and checks that its state never
// depends on how its spec came about.
package sequences_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/stsemulator"
	"rolecredential.dev/operator/hack/testbed"
)

const (
	account     = "123456789012"
	operatorARN = "arn:aws:iam::210987654321:user/operator"
	secondARN   = "arn:aws:iam::210987654321:user/second"
	// otherNamespace has Secrets of the second user, under the same names as the operator's namespace.
	otherNamespace = "sequences-other"
)

var root = filepath.Join("..", "..", "..")

// What all sequences share. They run one after the other.
var (
	admin    client.Client
	emulator *stsemulator.Server
	now      = steppedClock{clocktesting.NewFakeClock(startTime())}
	kinds    map[string]kind
	entrance entrances
	sources  map[string]map[string][]byte // the data of the Secrets of sources
)

// startTime is when a sequence starts: four minutes ago. The operator signs CreateSession by its clock, and the emulator accepts a signature
// that is five minutes ahead.
func startTime() time.Time {
	return clock.RealClock{}.Now().Add(-4 * time.Minute).Truncate(time.Second)
}

// steppedClock is a clock for code that also measures how long its own work takes, which steps of the clock must not change.
type steppedClock struct{ *clocktesting.FakeClock }

func (steppedClock) Since(time.Time) time.Duration { return 0 }

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	for name, value := range map[string]string{"rapid.checks": "10", "rapid.seed": "1", "rapid.nofailfile": "true", "rapid.shrinktime": "30s"} {
		if err := flag.Set(name, value); err != nil { // the command line can change it
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	cluster, err := testbed.Start(root)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the control plane:", err)
			code = 1
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g := NewGomega(func(message string, _ ...int) { panic(message) })
	admin = cluster.Client
	provide(ctx, g, cluster)
	stopped := startManager(ctx, g, cluster)
	code = m.Run()
	cancel()
	g.Expect(<-stopped).To(Succeed())
	return code
}

func startManager(ctx context.Context, g Gomega, cluster *testbed.Cluster) (stopped chan error) {
	config, err := cluster.ManagerConfig(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	options, err := controllers.ManagerOptions(controllers.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	options.Metrics, options.HealthProbeBindAddress, options.Logger = metricsserver.Options{BindAddress: "0"}, "0", logr.Discard()
	ctrl.SetLogger(options.Logger)
	mgr, err := ctrl.NewManager(config, options)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(controllers.Setup(ctx, mgr, controllers.Options{Clock: now, AllowNamespacedEndpoints: true})).To(Succeed())
	stopped = make(chan error, 1)
	go func() { stopped <- mgr.Start(ctx) }()
	return stopped
}

// entrances records which endpoint each request of the emulator came through.
type entrances struct {
	mu     sync.Mutex
	byCall map[string]string
}

// open returns a handler that serves the emulator at an endpoint.
func (e *entrances) open(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		emulator.ServeHTTP(w, r)
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.byCall == nil {
			e.byCall = map[string]string{}
		}
		e.byCall[w.Header().Get("X-Amzn-Requestid")] = name
	})
}

func (e *entrances) of(requestID string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.byCall[requestID]
}

// provide starts the emulator and an OIDC provider, and creates what all sequences share.
func provide(ctx context.Context, g Gomega, cluster *testbed.Cluster) {
	world, err := stsemulator.DefaultConfig()
	g.Expect(err).NotTo(HaveOccurred())
	of := &world.Accounts[slices.IndexFunc(world.Accounts, func(a stsemulator.Account) bool { return a.ID == "210987654321" })]
	of.Users[0].MFADevices = append(of.Users[0].MFADevices, stsemulator.MFADevice{Name: "spare", Seed: rand.Text()})
	of.Users = append(of.Users, stsemulator.User{Name: "second", AccessKeys: []stsemulator.AccessKey{{}}, MayAssume: []string{"*"}, MayFederate: []string{"*"}})
	emulator, err = stsemulator.New(world, stsemulator.Options{Clock: now, SignatureClock: clock.RealClock{}, TokenClock: clock.RealClock{}})
	g.Expect(err).NotTo(HaveOccurred())
	issuer := newIssuer(g)
	plain, other, tls := httptest.NewServer(entrance.open("A")), httptest.NewServer(entrance.open("B")), httptest.NewTLSServer(entrance.open("TLS"))
	replacements := map[string]string{
		"$A": plain.URL, "$B": other.URL, "$TLS": tls.URL, "$OIDC": issuer.URL,
		"$CA": string(testkit.CertificatePEM(tls.Certificate())), "$OTHERCA": string(testkit.CertificatePEM(testkit.NewAuthority(g, nil, now.Now()).Certificate)),
	}
	providers := []string{registerAPIServer(g, cluster)}
	for _, realm := range []string{"", "/realm"} {
		arn, err := emulator.PutOIDCProvider(account, stsemulator.OIDCProvider{Issuer: issuer.URL + realm, ClientIDs: audiences(), JWKS: issuer.KeySet()})
		g.Expect(err).NotTo(HaveOccurred())
		providers = append(providers, arn)
	}
	roles := putRoles(g, providers)
	authority := testkit.NewAuthority(g, nil, now.Now())
	for i := 1; i <= 3; i++ { // the table names a third anchor and profile, which do not exist
		anchor := fmt.Sprintf("arn:aws:rolesanywhere:eu-west-1:%s:trust-anchor/01234567-89ab-cdef-0123-45678900000%d", account, i)
		profile := strings.Replace(anchor, "trust-anchor", "profile", 1)
		replacements[fmt.Sprint("$ANCHOR", i)], replacements[fmt.Sprint("$PROFILE", i)] = anchor, profile
		if i < 3 {
			g.Expect(emulator.PutTrustAnchor(stsemulator.TrustAnchor{ARN: anchor, Certificates: string(testkit.CertificatePEM(authority.Certificate))})).To(Succeed())
			g.Expect(emulator.PutProfile(stsemulator.Profile{ARN: profile, RoleARNs: roles, DurationSeconds: 3600, AcceptRoleSessionName: true})).To(Succeed())
		}
	}
	user := emulator.AccessKeys(operatorARN)[0]
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": user.ID, "AWS_SECRET_ACCESS_KEY": user.Secret} { // of the source ambient
		g.Expect(os.Setenv(name, value)).To(Succeed())
	}
	kinds, err = parseTable(replacements)
	g.Expect(err).NotTo(HaveOccurred())
	sources = map[string]map[string][]byte{
		"source": sourceData(g, operatorARN, authority, issuer, "operator"), "source2": sourceData(g, secondARN, authority, issuer, "second"),
		"wrong": {"AWS_ACCESS_KEY_ID": []byte("AKIAWRONGWRONGWRONG0"), "AWS_SECRET_ACCESS_KEY": []byte("wrong")},
	}
	createShared(ctx, g, plain.URL)
}

func audiences() []string {
	return []string{"sts.amazonaws.com", "other.example", strings.Repeat("a", 255)}
}

// registerAPIServer registers the API server as an OIDC provider, and returns its ARN.
func registerAPIServer(g Gomega, cluster *testbed.Cluster) string {
	keys, err := cluster.Kubectl("get", "--raw", "/openid/v1/jwks")
	g.Expect(err).NotTo(HaveOccurred())
	discovery, err := cluster.Kubectl("get", "--raw", "/.well-known/openid-configuration")
	g.Expect(err).NotTo(HaveOccurred())
	var configuration struct{ Issuer string }
	g.Expect(json.Unmarshal([]byte(discovery), &configuration)).To(Succeed())
	arn, err := emulator.PutOIDCProvider(account, stsemulator.OIDCProvider{Issuer: configuration.Issuer, ClientIDs: audiences(), JWKS: json.RawMessage(keys)})
	g.Expect(err).NotTo(HaveOccurred())
	return arn
}

// putRoles creates the roles of the table, which trust every caller, and returns their ARNs. The role Nobody exists already.
func putRoles(g Gomega, providers []string) (arns []string) {
	everybody := []stsemulator.Trust{{Principal: "*"}, {Service: "rolesanywhere.amazonaws.com"}}
	for _, provider := range providers {
		everybody = append(everybody, stsemulator.Trust{Federated: provider})
	}
	partners := []stsemulator.Trust{{Principal: "*", ExternalID: "k8s"}, {Principal: "*", ExternalID: strings.Repeat("a", 1224)}}
	for name, trust := range map[string][]stsemulator.Trust{"Any": everybody, "Hub": everybody, strings.Repeat("a", 400) + "/Long": everybody, "Partner": partners} {
		g.Expect(emulator.PutRole(account, stsemulator.Role{Name: name, MayAssume: []string{"*"}, Trust: trust})).To(Succeed())
		arns = append(arns, "arn:aws:iam::"+account+":role/"+name)
	}
	return arns
}

// sourceData has, under keys of their own, what each kind of source and each MFA device reads.
func sourceData(g Gomega, userARN string, authority *testkit.Authority, i *issuer, name string) map[string][]byte {
	key := testkit.NewKey(g)
	named := func(c *x509.Certificate) { c.Subject.CommonName = name }
	user := emulator.AccessKeys(userARN)[0]
	return map[string][]byte{
		"AWS_ACCESS_KEY_ID": []byte(user.ID), "AWS_SECRET_ACCESS_KEY": []byte(user.Secret),
		"tls.crt": authority.Issue(key, now.Now(), named), "tls.key": testkit.KeyPEM(g, key),
		"client": []byte(i.secret), "client2": []byte(i.secret),
		"token": []byte(i.token("", name, "sts.amazonaws.com")), "token2": []byte(i.token("", name+"2", "sts.amazonaws.com")),
	}
}

// createShared creates the Secrets of ClusterIdentities, and the ClusterIdentities that credentials use.
func createShared(ctx context.Context, g Gomega, endpoint string) {
	g.Expect(admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: otherNamespace}})).To(Succeed())
	for _, secret := range sourceSecrets(testbed.OperatorNamespace) {
		g.Expect(admin.Create(ctx, secret)).To(Succeed())
	}
	g.Expect(admin.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: otherNamespace, Name: "source"}, Data: sources["source2"]})).To(Succeed())
	long := strings.Repeat("a", 253)
	for name, source := range map[string]string{"default": "source", long: "source", "second": "source2", "tokens": ""} {
		by := &v1alpha1.ClusterIdentity{ObjectMeta: metav1.ObjectMeta{Name: name}}
		by.Spec.Region, by.Spec.Endpoint = "eu-west-1", endpoint
		if by.Spec.Source.ServiceAccount = (&v1alpha1.ServiceAccountSource{}); source != "" {
			by.Spec.Source = v1alpha1.ClusterIdentitySource{AccessKey: &v1alpha1.AccessKeySource{SecretRef: v1alpha1.SecretReference{Namespace: testbed.OperatorNamespace, Name: source}}}
		}
		if name == long { // its caller is that of default
			by.Spec.Region = "us-west-2"
		}
		by.Spec.Allow = &[]v1alpha1.AllowRule{{
			Namespaces: []string{"*"}, RoleARNs: []string{"*"}, SessionNames: []string{"ci-*", "a*"}, MaxDuration: &metav1.Duration{Duration: 12 * time.Hour},
			Calls: []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken},
		}}
		g.Expect(admin.Create(ctx, by)).To(Succeed())
	}
}

// sourceSecrets returns the Secrets of sources for a namespace.
func sourceSecrets(namespace string) (all []client.Object) {
	for name, data := range sources {
		all = append(all, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data})
	}
	return all
}

// createNamespace creates a namespace with all that the table names in it.
func createNamespace(ctx context.Context, name string) error {
	labels := map[string]string{"team": "shop", "sequence": "shop"}
	if err := admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}); err != nil {
		return err
	}
	meta := func(object string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: name, Name: object} }
	own := &v1alpha1.Identity{ObjectMeta: meta("default")}
	own.Spec.Region, own.Spec.Endpoint = "ap-south-1", kinds["Identity"].Base["endpoint"].(string)
	own.Spec.Source.AccessKey = &v1alpha1.LocalAccessKeySource{SecretRef: v1alpha1.LocalSecretReference{Name: "source"}}
	pod := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "c"}}}}
	var creates errgroup.Group
	for _, object := range append(
		sourceSecrets(name), own, &corev1.Secret{ObjectMeta: meta("foreign"), Data: map[string][]byte{"password": []byte("theirs")}},
		&corev1.ServiceAccount{ObjectMeta: meta("reader")}, &corev1.ServiceAccount{ObjectMeta: meta(strings.Repeat("a", 253))},
		&appsv1.Deployment{ObjectMeta: meta("web"), Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: pod}},
	) {
		creates.Go(func() error { return admin.Create(ctx, object) })
	}
	return creates.Wait()
}

// issuer is an OIDC provider with two realms, whose tokens name the client and its scopes as their subject.
type issuer struct {
	*httptest.Server
	testkit.TokenSigner
	secret string
}

func newIssuer(g Gomega) *issuer {
	i := &issuer{TokenSigner: testkit.NewTokenSigner(g), secret: rand.Text()}
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		realm, discovery := strings.CutSuffix(r.URL.Path, "/.well-known/openid-configuration")
		realm = strings.TrimSuffix(realm, "/token")
		id, secret, _ := r.BasicAuth()
		scope, answer := r.PostFormValue("scope"), map[string]string{}
		switch {
		case realm != "" && realm != "/realm":
			w.WriteHeader(http.StatusNotFound)
		case discovery:
			answer = map[string]string{"issuer": i.URL + realm, "token_endpoint": i.URL + realm + "/token"}
		case secret != i.secret || id == "unknown":
			w.WriteHeader(http.StatusUnauthorized)
			answer["error"] = "invalid_client"
		case scope == "unknown":
			w.WriteHeader(http.StatusBadRequest)
			answer["error"] = "invalid_scope"
		default:
			audience := r.PostFormValue("audience")
			if audience == "" {
				audience = "sts.amazonaws.com"
			}
			answer = map[string]string{"access_token": i.token(realm, strings.TrimSpace(id[:min(len(id), 99)]+" "+scope), audience), "token_type": "Bearer"}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	return i
}

// token returns a token that is valid for a day.
func (i *issuer) token(realm, subject, audience string) string {
	at := clock.RealClock{}.Now()
	return i.Sign(map[string]any{"iss": i.URL + realm, "sub": subject, "aud": audience, "iat": at.Add(-time.Hour).Unix(), "exp": at.AddDate(0, 0, 1).Unix(), "jti": rand.Text()})
}
