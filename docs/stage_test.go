package docs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cli"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/stsemulator"
	"rolecredential.dev/operator/hack/testbed"
)

// cluster is the environment of the examples: a real API server with the operator, the emulator instead of AWS's STS, and CRDs of other
// projects.
var (
	cluster *testbed.Cluster
	sts     *stsemulator.Server
)

// pluginName is the name that kubectl looks for. This test binary is the plugin when it runs under that name.
const pluginName = "kubectl-rolecred"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == pluginName {
		os.Exit(plugin())
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func plugin() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Run(ctx, os.Args[1:], cli.Options{
		IOStreams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
		Clock:     clock.RealClock{}, Environ: os.Environ(), Version: "dev",
	})
}

func run(m *testing.M) (code int, err error) {
	world, err := stsemulator.DefaultConfig()
	if err != nil {
		return 0, err
	}
	if sts, err = stsemulator.New(world, stsemulator.Options{}); err != nil {
		return 0, err
	}
	endpoint, err := sts.Start("")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, endpoint.Close()) }()
	if cluster, err = testbed.Start(root); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	if _, err := envtest.InstallCRDs(cluster.Config, envtest.CRDInstallOptions{Paths: []string{filepath.Join("testdata", "crds")}}); err != nil {
		return 0, err
	}
	if err := emulateAWS(endpoint.URL); err != nil {
		return 0, err
	}
	stop, err := startOperator()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return m.Run(), nil
}

// emulateAWS makes the API server set the emulator's endpoint in each identity without one, so that the examples for AWS work unchanged.
func emulateAWS(url string) error {
	text, err := os.ReadFile(filepath.Join("testdata", "emulator.yaml"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, document := range documents(fmt.Sprintf(string(text), url)) {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), object); err != nil {
			return err
		}
		if err := cluster.Client.Create(ctx, object); err != nil {
			return err
		}
	}
	// The API server applies the policy after a moment, when it has discovered the kinds.
	return wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		probe := &v1alpha1.ClusterIdentity{Spec: v1alpha1.ClusterIdentitySpec{
			IdentitySettings: v1alpha1.IdentitySettings{Region: "eu-west-1"}, Source: v1alpha1.ClusterIdentitySource{Ambient: &v1alpha1.AmbientSource{}}, Allow: &[]v1alpha1.AllowRule{},
		}}
		probe.Name = "probe"
		err := cluster.Client.Create(ctx, probe, client.DryRunAll)
		return err == nil && probe.Spec.Endpoint == url, nil
	})
}

// startOperator starts the operator with the ServiceAccount of the manifests.
func startOperator() (stop func() error, err error) {
	config, err := cluster.ManagerConfig(context.Background())
	if err != nil {
		return nil, err
	}
	options, err := controllers.ManagerOptions(controllers.Options{})
	if err != nil {
		return nil, err
	}
	options.Metrics = metricsserver.Options{BindAddress: "0"}
	options.HealthProbeBindAddress = "0"
	options.Logger = zap.New(zap.WriteTo(io.Discard))
	ctrl.SetLogger(options.Logger)
	manager, err := ctrl.NewManager(config, options)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := controllers.Setup(ctx, manager, controllers.Options{AllowNamespacedEndpoints: true}); err != nil {
		cancel()
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- manager.Start(ctx) }()
	return func() error { cancel(); return <-done }, nil
}

// empty deletes the credentials, and all namespaces apart from those of Kubernetes and the operator, before the next page.
func empty(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	ctx := context.Background() // the test's context has ended
	var namespaces corev1.NamespaceList
	g.Expect(cluster.Client.List(ctx, &namespaces)).To(Succeed())
	g.Expect(cluster.Client.DeleteAllOf(ctx, &v1alpha1.ClusterIdentity{})).To(Succeed())
	for _, namespace := range namespaces.Items {
		// There is no garbage collector and no namespace controller.
		objects := []client.Object{
			&v1alpha1.RoleCredential{}, &v1alpha1.SessionCredential{}, &v1alpha1.FederatedCredential{}, &v1alpha1.Identity{},
			&batchv1.CronJob{}, &appsv1.Deployment{}, &corev1.Pod{}, &corev1.Secret{},
		}
		if namespace.Name == testbed.OperatorNamespace {
			objects = []client.Object{&corev1.Secret{}}
		}
		for _, object := range objects {
			g.Expect(cluster.Client.DeleteAllOf(ctx, object, client.InNamespace(namespace.Name))).To(Succeed())
		}
		if slices.Contains([]string{"default", "kube-system", "kube-public", "kube-node-lease", testbed.OperatorNamespace}, namespace.Name) {
			continue
		}
		g.Expect(cluster.Client.Delete(ctx, &namespace)).To(Succeed())
		g.Expect(cluster.Client.Get(ctx, client.ObjectKeyFromObject(&namespace), &namespace)).To(Succeed())
		namespace.Spec.Finalizers = nil
		g.Expect(cluster.Client.SubResource("finalize").Update(ctx, &namespace)).To(Succeed())
	}
}
