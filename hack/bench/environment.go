package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/cluster"
	"rolecredential.dev/operator/hack/program"
	"rolecredential.dev/operator/hack/stsemulator"
)

// programs are what a measurement starts, and how.
type programs struct {
	manager, emulator string
	// controllerManager is the path of kube-controller-manager, empty for none.
	controllerManager string
	// profiles is a folder for profiles, empty for none.
	profiles string
	// args are additional flags of the manager.
	args []string
	// concurrency is the number of concurrent reconciles of the manager and of writers of a bare client; zero for the manager's default.
	concurrency int
	// rawUpdates makes a bare client update statuses, like the manager, instead of patching them.
	rawUpdates bool
	// latency is the response time of STS.
	latency time.Duration
	// apart runs the control plane on one half of the cores, and everything else on the other.
	apart bool
}

func (p programs) workers() int {
	if p.concurrency == 0 {
		return controllers.DefaultConcurrency
	}
	return p.concurrency
}

// environment is a new API server with an empty, durable etcd, and an STS. Each measurement has its own.
type environment struct {
	programs
	*cluster.Cluster
	// clients are the admin's. asManager are those of the manager's ServiceAccount.
	clients
	asManager     clients
	managerConfig *rest.Config
	sts           sts
	kubeconfig    string
	managers      int
	cleanups      program.Cleanups
}

// clients are a client for the kinds of Kubernetes, and one for the kinds of this project.
type clients struct {
	clientset  *kubernetes.Clientset
	extensions *rest.RESTClient
}

func newClients(config *rest.Config) (c clients, err error) {
	core, extensions := rest.CopyConfig(config), rest.CopyConfig(config)
	core.ContentType = runtime.ContentTypeProtobuf
	extensions.APIPath, extensions.GroupVersion, extensions.NegotiatedSerializer = "/apis", &v1alpha1.GroupVersion, clientgoscheme.Codecs.WithoutConversion()
	core.QPS, extensions.QPS = -1, -1
	if c.clientset, err = kubernetes.NewForConfig(core); err == nil {
		c.extensions, err = rest.RESTClientFor(extensions)
	}
	return c, err
}

// inEnvironment starts an environment, calls do, and stops the environment.
func inEnvironment(ctx context.Context, p programs, do func(context.Context, *environment) error) (err error) {
	e := &environment{programs: p}
	defer func() { err = errors.Join(err, e.cleanups.Run()) }()
	if err := e.start(ctx); err != nil {
		return err
	}
	return do(ctx, e)
}

func (e *environment) start(ctx context.Context) error {
	assets, err := cluster.Assets()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "rolecredential-bench-")
	if err != nil {
		return err
	}
	e.cleanups.Add(func() error { return os.RemoveAll(dir) })
	if err := e.startControlPlane(ctx, assets, dir); err != nil {
		return err
	}
	if e.clients, err = newClients(e.Config); err != nil {
		return err
	}
	if err := e.Install(ctx, "."); err != nil {
		return err
	}
	if err := e.onControlPlaneCores(ctx, func() error { return e.startControllerManager(ctx) }); err != nil {
		return err
	}
	if e.kubeconfig, err = e.ManagerKubeconfig(ctx); err != nil {
		return err
	}
	if e.managerConfig, err = clientcmd.BuildConfigFromFlags("", e.kubeconfig); err != nil {
		return err
	}
	if e.asManager, err = newClients(e.managerConfig); err != nil {
		return err
	}
	if err := e.startSTS(ctx); err != nil {
		return err
	}
	return e.createIdentity(ctx)
}

func (e *environment) startControlPlane(ctx context.Context, assets, dir string) error {
	return e.onControlPlaneCores(ctx, func() (err error) {
		e.Cluster, err = cluster.Start(assets, dir, cluster.Durable)
		e.cleanups.Add(e.Close)
		return err
	})
}

// onControlPlaneCores starts a part of the control plane. With the flag -apart, it runs on the control plane's half of the cores.
func (e *environment) onControlPlaneCores(ctx context.Context, start func() error) error {
	if !e.apart {
		return start()
	}
	if err := pinTo(ctx, controlPlaneHalf); err != nil {
		return err
	}
	return errors.Join(start(), pinTo(ctx, othersHalf))
}

// instrumentGC is GOGC of the bench and of the emulator: they use more memory, and less of the CPU that is measured.
const instrumentGC = 800

// startSTS starts the emulator with the configured latency. It gets a single thread, which is enough, because it shares the machine, unlike
// AWS's STS.
func (e *environment) startSTS(ctx context.Context) error {
	urlFile := filepath.Join(e.Dir, "sts-url")
	process, err := e.StartProcess(filepath.Join(e.Dir, "sts.log"), []string{fmt.Sprint("GOGC=", instrumentGC), "GOMAXPROCS=1"}, e.emulator, "--address=127.0.0.1:0", "--url-file="+urlFile, "--session-token-size=1024")
	if err != nil {
		return err
	}
	e.cleanups.Add(process.Stop)
	err = program.WaitUntil(ctx, time.Minute, 20*time.Millisecond, func(context.Context) error {
		url, err := os.ReadFile(urlFile)
		e.sts.url = strings.TrimSpace(string(url))
		return err
	})
	if err != nil {
		return err
	}
	return e.sts.fault(ctx, stsemulator.Fault{Kind: stsemulator.FaultLatency, Duration: metav1.Duration{Duration: e.latency}})
}

// grant gives the manager's ServiceAccount an additional permission.
func (e *environment) grant(ctx context.Context, name string, rule rbacv1.PolicyRule) error {
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "bench-" + name}, Rules: []rbacv1.PolicyRule{rule}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: role.ObjectMeta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: cluster.OperatorNamespace, Name: cluster.OperatorAccount}},
	}
	return errors.Join(e.Client.Create(ctx, role), e.Client.Create(ctx, binding))
}

const keyName = "bootstrap"

// createIdentity creates the default identity, with a rate limit above the quota of an AWS account.
func (e *environment) createIdentity(ctx context.Context) error {
	key := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.OperatorNamespace, Name: keyName}, StringData: map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	}}
	identity := &v1alpha1.ClusterIdentity{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DefaultIdentityName},
		Spec: v1alpha1.ClusterIdentitySpec{
			IdentitySettings: v1alpha1.IdentitySettings{Region: "eu-west-1", Endpoint: e.sts.url, STSQPS: 1000},
			Source:           v1alpha1.ClusterIdentitySource{AccessKey: &v1alpha1.AccessKeySource{SecretRef: v1alpha1.SecretReference{Namespace: cluster.OperatorNamespace, Name: keyName}}},
			Allow:            &[]v1alpha1.AllowRule{{Namespaces: []string{"*"}, RoleARNs: []string{"*"}}},
		},
	}
	return errors.Join(e.Client.Create(ctx, key), e.Client.Create(ctx, identity))
}

// change changes the default identity.
func (e *environment) change(ctx context.Context, change func(*v1alpha1.ClusterIdentitySpec)) error {
	identity := &v1alpha1.ClusterIdentity{}
	if err := e.Client.Get(ctx, client.ObjectKey{Name: v1alpha1.DefaultIdentityName}, identity); err != nil {
		return err
	}
	before := identity.DeepCopy()
	change(&identity.Spec)
	return e.Client.Patch(ctx, identity, client.MergeFrom(before))
}

// manager is a process of the operator.
type manager struct {
	*cluster.Process
	metrics string
	pprof   string
	started time.Time
}

// startManager starts a manager with the ServiceAccount of the manifests.
func (e *environment) startManager(args ...string) (*manager, error) {
	m := &manager{}
	var err error
	if m.metrics, err = program.FreeAddress(); err != nil {
		return nil, err
	}
	flags := []string{"--metrics-bind-address=" + m.metrics, "--metrics-secure=false"}
	if e.concurrency > 0 {
		flags = append(flags, "--concurrency="+strconv.Itoa(e.concurrency))
	}
	if e.profiles != "" {
		if m.pprof, err = program.FreeAddress(); err != nil {
			return nil, err
		}
		flags = append(flags, "--pprof-bind-address="+m.pprof)
	}
	e.managers++
	log := filepath.Join(e.Dir, fmt.Sprintf("manager-%d.log", e.managers))
	m.started = time.Now()
	if m.Process, err = e.StartManager(log, nil, e.manager, e.kubeconfig, slices.Concat(flags, e.args, args)...); err != nil {
		return nil, err
	}
	e.cleanups.Add(m.Stop)
	return m, nil
}

// whileRunning returns a context that ends when the manager exits.
func (m *manager) whileRunning(ctx context.Context) (running context.Context, stop func()) {
	running, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-m.Exited():
			cancel(fmt.Errorf("the manager exited: %s", m.State()))
		case <-running.Done():
		}
	}()
	return running, func() { cancel(nil) }
}

// profile writes a profile of the manager, if there is a folder for profiles.
func (e *environment) profile(ctx context.Context, m *manager, kind, query, name string) error {
	if e.profiles == "" {
		return nil
	}
	body, err := get(ctx, "http://"+m.pprof+"/debug/pprof/"+kind+query)
	if err != nil {
		return err
	}
	return e.saveProfile(name+"."+kind, body)
}

func (e *environment) saveProfile(name string, body []byte) error {
	return os.WriteFile(filepath.Join(e.profiles, name+".pprof"), body, 0o644)
}

// startProfile starts CPU profiles of the API server, and of the manager unless it is nil, for about as long as n credentials take.
func (e *environment) startProfile(ctx context.Context, m *manager, n int, name string) (wait func() error) {
	if e.profiles == "" {
		return func() error { return nil }
	}
	seconds, name := max(2, n/400), fmt.Sprint(name, "-", n)
	var group errgroup.Group
	group.Go(func() error {
		body, err := e.clientset.Discovery().RESTClient().Get().AbsPath("/debug/pprof/profile").Param("seconds", strconv.Itoa(seconds)).DoRaw(ctx)
		if err != nil {
			return err
		}
		return e.saveProfile(name+".kube-apiserver", body)
	})
	if m != nil {
		group.Go(func() error {
			// The manager serves profiles a moment after its start.
			return program.WaitUntil(ctx, shortTimeout, 100*time.Millisecond, func(ctx context.Context) error {
				return e.profile(ctx, m, "profile", fmt.Sprintf("?seconds=%d", seconds), name)
			})
		})
	}
	return group.Wait
}

// httpClient reads metrics and profiles, and calls the emulator's admin endpoint.
var httpClient = &http.Client{Timeout: 2 * time.Minute}

const logTail = 4096

// printLogs prints the last lines of the managers' logs, which are deleted with the environment.
func (e *environment) printLogs() {
	for i := range e.managers {
		log, err := os.ReadFile(filepath.Join(e.Dir, fmt.Sprintf("manager-%d.log", i+1)))
		if err == nil {
			fmt.Fprintf(os.Stderr, "The last lines of manager %d's log:\n%s\n", i+1, log[max(0, len(log)-logTail):])
		}
	}
}
