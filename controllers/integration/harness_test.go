package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/zap/zapcore"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/hack/stsemulator"
	"rolecredential.dev/operator/hack/testbed"
)

const (
	operatorNamespace = testbed.OperatorNamespace
	operatorARN       = "arn:aws:iam::210987654321:user/operator"
	readerRole        = "arn:aws:iam::123456789012:role/S3Reader"
	waitLimit         = 30 * time.Second // upper bound of a wait; no assertion depends on it
)

// zapAll is the highest verbosity.
const zapAll = zapcore.Level(-10)

// harness has an operator, its own STS, and the objects of one test.
type harness struct {
	*WithT
	t        *testing.T
	ctx      context.Context
	sts      *stsemulator.Server
	endpoint *stsemulator.Endpoint
	logs     *logs
	level    zapcore.Level
	options  controllers.Options
	cache    cache.Cache // the operator's
	stop     func()
}

// logs collects the manager's log.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newHarness starts an STS without an operator.
func newHarness(t *testing.T, options stsemulator.Options) *harness {
	t.Helper()
	h := &harness{WithT: NewWithT(t), t: t, ctx: t.Context(), logs: &logs{}, level: zapAll}
	world, err := stsemulator.DefaultConfig()
	h.Expect(err).NotTo(HaveOccurred())
	h.sts, err = stsemulator.New(world, options)
	h.Expect(err).NotTo(HaveOccurred())
	h.endpoint, err = h.sts.Start("")
	h.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = h.endpoint.Close() })
	return h
}

// start starts an operator with the ServiceAccount of the manifests, for the given namespaces or, without any, for all.
// It stops at the end of the test, or when the test calls h.stop.
func (h *harness) start(namespaces ...string) {
	h.t.Helper()
	h.startFor(controllers.Options{Namespaces: namespaces})
}

// startFor starts an operator for the credentials of a o.
func (h *harness) startFor(o controllers.Options) {
	h.t.Helper()
	h.startAs(h.asOperator(), func(*ctrl.Options) {}, o)
}

// startAs starts an operator with a config and changed options.
func (h *harness) startAs(config *rest.Config, change func(*ctrl.Options), o controllers.Options) {
	h.t.Helper()
	options, err := controllers.ManagerOptions(o)
	h.Expect(err).NotTo(HaveOccurred())
	options.Metrics = metricsserver.Options{BindAddress: "0"}
	options.HealthProbeBindAddress = "0"
	options.Logger = controllers.NewLogger(zap.Options{DestWriter: h.logs, Level: h.level})
	ctrl.SetLogger(options.Logger)
	options.Controller = ctrlconfig.Controller{SkipNameValidation: new(true)}
	change(&options)
	mgr, err := ctrl.NewManager(config, options)
	h.Expect(err).NotTo(HaveOccurred())
	h.cache = mgr.GetCache()
	h.options.Namespaces = o.Namespaces
	ctx, cancel := context.WithCancel(context.Background())
	h.Expect(controllers.Setup(ctx, mgr, h.options)).To(Succeed())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("the manager exited with %v", err)
		}
	})
	h.t.Cleanup(h.stop)
}

// atDefaultVerbosity sets the verbosity that the operator has without flags.
func (h *harness) atDefaultVerbosity() { h.level = zapcore.InfoLevel }

// asOperator returns a config with a token of the operator's ServiceAccount.
func (h *harness) asOperator() *rest.Config {
	h.t.Helper()
	config, err := cluster.ManagerConfig(h.ctx)
	h.Expect(err).NotTo(HaveOccurred())
	return config
}

// configFor returns a config with a token of a ServiceAccount.
func (h *harness) configFor(account *corev1.ServiceAccount) *rest.Config {
	h.t.Helper()
	token := &authenticationv1.TokenRequest{}
	h.Expect(admin.SubResource("token").Create(h.ctx, account, token)).To(Succeed())
	config := rest.AnonymousClientConfig(adminConfig)
	config.BearerToken = token.Status.Token
	config.QPS, config.Burst = 1000, 1000
	return config
}

// namespace creates a namespace, and returns its name.
func (h *harness) namespace(labels map[string]string) string {
	h.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels}}
	h.Expect(admin.Create(h.ctx, namespace)).To(Succeed())
	h.cleanUp(namespace.Name)
	return namespace.Name
}

// cleanUp deletes the credentials and Secrets of a namespace at the end of the test, since no namespace controller runs here.
func (h *harness) cleanUp(namespace string) {
	h.t.Helper()
	h.t.Cleanup(func() {
		ctx := context.Background()
		for _, kind := range []client.Object{&v1alpha1.RoleCredential{}, &v1alpha1.SessionCredential{}, &v1alpha1.FederatedCredential{}, &v1alpha1.Identity{}} {
			h.Expect(admin.DeleteAllOf(ctx, kind, client.InNamespace(namespace))).To(Succeed())
		}
		h.stop()
		h.Expect(admin.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(namespace))).To(Succeed())
	})
}

// putKey writes a user's access key into a Secret of the operator's namespace.
func (h *harness) putKey(name string, key stsemulator.AccessKey) {
	h.t.Helper()
	h.putKeyIn(operatorNamespace, name, key)
}

// putKeyIn writes a user's access key into a Secret of a namespace.
func (h *harness) putKeyIn(namespace, name string, key stsemulator.AccessKey) {
	h.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	_, err := ctrl.CreateOrUpdate(h.ctx, admin, secret, func() error {
		secret.Data = map[string][]byte{"AWS_ACCESS_KEY_ID": []byte(key.ID), "AWS_SECRET_ACCESS_KEY": []byte(key.Secret)}
		return nil
	})
	h.Expect(err).NotTo(HaveOccurred())
	h.t.Cleanup(func() { _ = admin.Delete(context.Background(), secret) })
}

// identity creates an identity that calls the test's STS with the operator's key. Without a change, it allows all requests.
func (h *harness) identity(change ...func(*v1alpha1.ClusterIdentity)) *v1alpha1.ClusterIdentity {
	h.t.Helper()
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r == '/' || r == '_':
			return '-'
		}
		return -1
	}, strings.ToLower(h.t.Name()))
	name = strings.TrimRight(name[:min(len(name), 200)], "-")
	h.putKey(name, h.sts.AccessKeys(operatorARN)[0])
	created := &v1alpha1.ClusterIdentity{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.ClusterIdentitySpec{
			IdentitySettings: v1alpha1.IdentitySettings{Region: "eu-west-1", Endpoint: h.endpoint.URL},

			Source: v1alpha1.ClusterIdentitySource{AccessKey: &v1alpha1.AccessKeySource{SecretRef: v1alpha1.SecretReference{Namespace: operatorNamespace, Name: name}}},
			Allow:  &[]v1alpha1.AllowRule{{Namespaces: []string{"*"}, RoleARNs: []string{"*"}, SessionNames: []string{"*"}}},
		},
	}
	for _, f := range change {
		f(created)
	}
	h.Expect(admin.Create(h.ctx, created)).To(Succeed())
	h.t.Cleanup(func() { h.Expect(client.IgnoreNotFound(admin.Delete(context.Background(), created))).To(Succeed()) })
	return created
}

// credential creates a RoleCredential for the reader's role.
func (h *harness) credential(namespace, name string, by *v1alpha1.ClusterIdentity, change ...func(*v1alpha1.RoleCredential)) *v1alpha1.RoleCredential {
	h.t.Helper()
	created := roleCredential(namespace, name, by.Name)
	for _, f := range change {
		f(created)
	}
	h.Expect(admin.Create(h.ctx, created)).To(Succeed())
	return created
}

func roleCredential(namespace, name, identity string) *v1alpha1.RoleCredential {
	cred := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	cred.Spec.RoleARN = readerRole
	cred.Spec.IdentityRef.Name = identity
	return cred
}

// update changes the current version of an object.
func update[T client.Object](h *harness, object T, change func(T)) {
	h.t.Helper()
	h.Eventually(func() error {
		if err := admin.Get(h.ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		change(object)
		return admin.Update(h.ctx, object)
	}).WithTimeout(waitLimit).Should(Succeed())
}

// refresh requests a refresh, as kubectl annotate does.
func (h *harness) refresh(cred *v1alpha1.RoleCredential, value string) {
	h.t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.RefreshAnnotation, value)
	h.Expect(admin.Patch(h.ctx, cred, client.RawPatch(types.MergePatchType, patch))).To(Succeed())
}

// state returns a function that reads a condition as "status reason".
func (h *harness) state(object client.Object, conditionType string) func() string {
	return func() string {
		var conditions []metav1.Condition
		if err := admin.Get(h.ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err.Error()
		}
		switch o := object.(type) {
		case request.Object:
			conditions = o.Report().Conditions
		case identity.Object:
			conditions = o.Report().Conditions
		}
		if c := meta.FindStatusCondition(conditions, conditionType); c != nil {
			return fmt.Sprintf("%s %s", c.Status, c.Reason)
		}
		return "none"
	}
}

// eventually waits until a condition is "status reason".
func (h *harness) eventually(object client.Object, conditionType, want string) {
	h.t.Helper()
	h.Eventually(h.state(object, conditionType)).WithTimeout(waitLimit).WithPolling(20*time.Millisecond).Should(Equal(want), func() string { return describe(object) })
}

func describe(object client.Object) string {
	text, err := yaml.Marshal(object)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// secret returns a Secret, or nil if it does not exist.
func (h *harness) secret(namespace, name string) *corev1.Secret {
	h.t.Helper()
	secret := &corev1.Secret{}
	err := admin.Get(h.ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret)
	if client.IgnoreNotFound(err) != nil {
		h.t.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return secret
}

// issues counts the AssumeRole calls that STS received.
func (h *harness) issues() int {
	n := 0
	for _, call := range h.sts.Calls() {
		if call.Action == "AssumeRole" {
			n++
		}
	}
	return n
}

// events returns a function that reads the events on an object as "type reason", oldest first.
func (h *harness) events(object client.Object) func() []string {
	return func() []string {
		var list eventsv1.EventList
		h.Expect(admin.List(h.ctx, &list)).To(Succeed())
		var events []string
		for _, e := range list.Items {
			if e.Regarding.UID == object.GetUID() {
				events = append(events, e.Type+" "+e.Reason)
			}
		}
		return events
	}
}

// ready counts the RoleCredentials of a namespace that are Ready.
func (h *harness) ready(namespace string) int {
	h.t.Helper()
	return h.countWithStatus(namespace, v1alpha1.ConditionReady, metav1.ConditionTrue)
}

// countWithStatus counts the RoleCredentials of a namespace that have a condition with a status.
func (h *harness) countWithStatus(namespace, conditionType string, status metav1.ConditionStatus) int {
	h.t.Helper()
	var list v1alpha1.RoleCredentialList
	h.Expect(admin.List(h.ctx, &list, client.InNamespace(namespace))).To(Succeed())
	n := 0
	for _, c := range list.Items {
		if meta.IsStatusConditionPresentAndEqual(c.Status.Conditions, conditionType, status) {
			n++
		}
	}
	return n
}
