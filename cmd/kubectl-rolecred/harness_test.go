package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	operatorNamespace = "rolecredential-system"
	operatorARN       = "arn:aws:iam::210987654321:user/operator"
	readerRole        = "arn:aws:iam::123456789012:role/S3Reader"
	waitTimeout       = "60s"
)

// The cluster with an operator.
var (
	environment = &envtest.Environment{}
	admin       client.Client
	sts         *stsemulator.Server
	stsURL      string
	dir         string // holds the plugin and the kubeconfigs
	adminConfig string // path of a kubeconfig
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "KUBEBUILDER_ASSETS must name a folder with etcd, kube-apiserver and kubectl: run make test, which builds them")
		return 1
	}
	ctrl.SetLogger(logr.Discard())
	ctx, cancel := context.WithCancel(context.Background())
	var cleanups []func() error
	defer func() {
		cancel()
		for _, cleanup := range slices.Backward(cleanups) {
			if err := cleanup(); err != nil {
				fmt.Fprintln(os.Stderr, "stopping:", err)
			}
		}
	}()
	for _, start := range []func(context.Context) (func() error, error){build, startCluster, startSTS, startOperator} {
		cleanup, err := start(ctx)
		if cleanup != nil {
			cleanups = append(cleanups, cleanup)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// build builds the plugin as a program.
func build(ctx context.Context) (func() error, error) {
	var err error
	if dir, err = os.MkdirTemp("", "kubectl-rolecred-"); err != nil {
		return nil, err
	}
	cleanup := func() error { return os.RemoveAll(dir) }
	if text, err := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "kubectl-rolecred"), ".").CombinedOutput(); err != nil {
		return cleanup, fmt.Errorf("building the plugin: %w: %s", err, text)
	}
	return cleanup, nil
}

func startCluster(context.Context) (func() error, error) {
	config, err := environment.Start()
	if err != nil {
		return environment.Stop, err
	}
	if adminConfig, err = kubeconfig("admin", "system:masters"); err != nil {
		return environment.Stop, err
	}
	scheme, err := controllers.Scheme()
	if err != nil {
		return environment.Stop, err
	}
	if admin, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return environment.Stop, err
	}
	for _, args := range [][]string{{"apply", "--server-side", "-k", filepath.Join("..", "..", "config", "default")}, {"wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"}} {
		if got := kubectl(context.Background(), adminConfig, args...); got.code != 0 {
			return environment.Stop, fmt.Errorf("kubectl %s: %s", strings.Join(args, " "), got.err)
		}
	}
	return environment.Stop, nil
}

// kubeconfig writes a kubeconfig for a user with some groups.
func kubeconfig(name string, groups ...string) (string, error) {
	user, err := environment.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	if err != nil {
		return "", err
	}
	text, err := user.KubeConfig()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name+".kubeconfig")
	return path, os.WriteFile(path, text, 0o600)
}

func startSTS(context.Context) (func() error, error) {
	world, err := stsemulator.DefaultConfig()
	if err != nil {
		return nil, err
	}
	if sts, err = stsemulator.New(world, stsemulator.Options{}); err != nil {
		return nil, err
	}
	endpoint, err := sts.Start("")
	if err != nil {
		return nil, err
	}
	stsURL = endpoint.URL
	return endpoint.Close, nil
}

// startOperator starts an operator and creates an identity that allows the requests of the tests in the namespace shop.
func startOperator(ctx context.Context) (func() error, error) {
	options, err := controllers.ManagerOptions(controllers.Options{})
	if err != nil {
		return nil, err
	}
	options.Metrics, options.HealthProbeBindAddress = metricsserver.Options{BindAddress: "0"}, "0"
	mgr, err := ctrl.NewManager(environment.Config, options)
	if err != nil {
		return nil, err
	}
	if err := controllers.Setup(ctx, mgr, controllers.Options{}); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	key := sts.AccessKeys(operatorARN)[0]
	identity := &v1alpha1.ClusterIdentity{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	identity.Spec.Region, identity.Spec.Endpoint = "eu-west-1", stsURL
	identity.Spec.Source.AccessKey = &v1alpha1.AccessKeySource{SecretRef: v1alpha1.SecretReference{Namespace: operatorNamespace, Name: "bootstrap"}}
	identity.Spec.Allow = &[]v1alpha1.AllowRule{
		{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"aws": "hub"}}, RoleARNs: []string{"arn:aws:iam::210987654321:role/Hub"}},
		{Namespaces: []string{"shop"}, RoleARNs: []string{"arn:aws:iam::123456789012:role/*"}, MaxDuration: &metav1.Duration{Duration: time.Hour}},
		{Namespaces: []string{"shop"}, Calls: []v1alpha1.Call{v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken}},
	}
	return func() error { return <-done }, errors.Join(
		admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}),
		admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "hub", Labels: map[string]string{"aws": "hub"}}}),
		admin.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: "bootstrap"},
			Data:       map[string][]byte{"AWS_ACCESS_KEY_ID": []byte(key.ID), "AWS_SECRET_ACCESS_KEY": []byte(key.Secret)},
		}),
		admin.Create(ctx, identity),
	)
}

// result is the output and exit code of a program.
type result struct {
	out, err string
	code     int
}

// kubectl runs kubectl with the plugin in its PATH.
func kubectl(ctx context.Context, config string, args ...string) result {
	return finish(kubectlCommand(ctx, config, args...))
}

func kubectlCommand(ctx context.Context, config string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), args...)
	cmd.Env = []string{"KUBECONFIG=" + config, "HOME=" + dir, "PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH")}
	return cmd
}

func finish(cmd *exec.Cmd) result {
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return result{err: err.Error(), code: -1}
	}
	return result{out: out.String(), err: errOut.String(), code: cmd.ProcessState.ExitCode()}
}

// rolecred runs a command of the plugin in the namespace shop, as an administrator.
func rolecred(t *testing.T, args ...string) result {
	t.Helper()
	return kubectl(t.Context(), adminConfig, append([]string{"rolecred", "-n", "shop"}, args...)...)
}

// create creates an object and deletes it after the test.
func create(t *testing.T, object client.Object) {
	t.Helper()
	if object.GetNamespace() == "" {
		object.SetNamespace("shop")
	}
	NewWithT(t).Expect(admin.Create(t.Context(), object)).To(Succeed())
	t.Cleanup(func() { _ = admin.Delete(context.Background(), object) })
}

func waitFor(t *testing.T, condition, what string) {
	t.Helper()
	got := kubectl(t.Context(), adminConfig, "wait", "-n", "shop", "--for=condition="+condition, what, "--timeout="+waitTimeout)
	NewWithT(t).Expect(got.code).To(BeZero(), got.err)
}

// readerCredential returns a RoleCredential of the role S3Reader in the namespace shop.
func readerCredential(name string, change ...func(*v1alpha1.RoleCredential)) *v1alpha1.RoleCredential {
	c := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: v1alpha1.RoleCredentialSpec{RoleARN: readerRole}}
	for _, f := range change {
		f(c)
	}
	return c
}

// userWithRules writes a kubeconfig for a user who has only these rules in the namespace shop.
func userWithRules(t *testing.T, name string, rules ...rbacv1.PolicyRule) string {
	t.Helper()
	g := NewWithT(t)
	config, err := kubeconfig(name)
	g.Expect(err).NotTo(HaveOccurred())
	meta := metav1.ObjectMeta{Namespace: "shop", Name: name}
	g.Expect(admin.Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules})).To(Succeed())
	g.Expect(admin.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	})).To(Succeed())
	return config
}
