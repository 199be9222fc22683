package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
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
	"rolecredential.dev/operator/hack/stsemulator"
)

// programs are what a measurement starts, and how.
type programs struct {
	manager, emulator string
	// controllerManager is kube-controller-manager, empty for none.
	controllerManager string
	// profiles is a folder for profiles of the manager, empty for none.
	profiles string
	// args are more flags of the manager.
	args []string
	// concurrency is how many credentials are dealt with at a time, by the manager and by the raw client alike; zero for the manager's default.
	concurrency int
	// rawUpdates has the raw client update statuses, as the manager does, rather than patch them.
	rawUpdates bool
	// latency is how long STS takes to answer.
	latency time.Duration
	// apart has the control plane on one half of the machine's cores, and all else on the other.
	apart bool
}

func (p programs) workers() int {
	if p.concurrency == 0 {
		return controllers.DefaultConcurrency
	}
	return p.concurrency
}

// world is one measurement's: a new API server on an empty, durable etcd, and an STS. Whatever runs in it ends with it.
type world struct {
	programs
	*cluster.Cluster
	// clients are the bench's own, and asManager those of the manager's ServiceAccount, with its rights.
	clients
	asManager     clients
	managerConfig *rest.Config
	sts           sts
	kubeconfig    string
	managers      int
	ends          []func() error
}

// clients are for Kubernetes' own kinds, and for ours.
type clients struct {
	clientset  *kubernetes.Clientset
	extensions *rest.RESTClient
}

func newClients(config *rest.Config) (made clients, err error) {
	core, extensions := rest.CopyConfig(config), rest.CopyConfig(config)
	core.ContentType = runtime.ContentTypeProtobuf
	extensions.APIPath, extensions.GroupVersion, extensions.NegotiatedSerializer = "/apis", &v1alpha1.GroupVersion, clientgoscheme.Codecs.WithoutConversion()
	core.QPS, extensions.QPS = -1, -1
	if made.clientset, err = kubernetes.NewForConfig(core); err == nil {
		made.extensions, err = rest.RESTClientFor(extensions)
	}
	return made, err
}

// inWorld makes a world, does something in it, and ends it.
func inWorld(ctx context.Context, p programs, do func(context.Context, *world) error) (err error) {
	w := &world{programs: p}
	defer func() {
		for len(w.ends) > 0 {
			last := len(w.ends) - 1
			err = errors.Join(err, w.ends[last]())
			w.ends = w.ends[:last]
		}
	}()
	if err := w.start(ctx); err != nil {
		return err
	}
	return do(ctx, w)
}

func (w *world) start(ctx context.Context) error {
	assets, err := cluster.Assets()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "rolecredential-bench-")
	if err != nil {
		return err
	}
	w.ends = append(w.ends, func() error { return os.RemoveAll(dir) })
	if err := w.startControlPlane(ctx, assets, dir); err != nil {
		return err
	}
	if w.clients, err = newClients(w.Config); err != nil {
		return err
	}
	if err := w.Install(ctx); err != nil {
		return err
	}
	if err := w.onControlPlaneCores(ctx, func() error { return w.startControllerManager(ctx) }); err != nil {
		return err
	}
	if w.kubeconfig, err = w.ManagerKubeconfig(ctx); err != nil {
		return err
	}
	if w.managerConfig, err = clientcmd.BuildConfigFromFlags("", w.kubeconfig); err != nil {
		return err
	}
	if w.asManager, err = newClients(w.managerConfig); err != nil {
		return err
	}
	if err := w.startSTS(ctx); err != nil {
		return err
	}
	return w.makeIdentity(ctx)
}

func (w *world) startControlPlane(ctx context.Context, assets, dir string) error {
	return w.onControlPlaneCores(ctx, func() (err error) {
		w.Cluster, err = cluster.Start(assets, dir, true)
		w.ends = append(w.ends, func() error { return errors.Join(w.Close(), os.Unsetenv("TMPDIR")) })
		return err
	})
}

// onControlPlaneCores starts a part of the control plane. With apart, that part runs on the control plane's half of the cores.
func (w *world) onControlPlaneCores(ctx context.Context, start func() error) error {
	if !w.apart {
		return start()
	}
	if err := moveTo(ctx, controlPlaneHalf); err != nil {
		return err
	}
	return errors.Join(start(), moveTo(ctx, othersHalf))
}

// instrumentGC lets the bench and the emulator take memory rather than the CPU that is measured.
const instrumentGC = 800

// startSTS starts the emulator, which takes its time to answer. It shares the machine here, which AWS's does not: it gets one thread, which
// has enough of a tenth of a core.
func (w *world) startSTS(ctx context.Context) error {
	urlFile := filepath.Join(w.Dir, "sts-url")
	process, err := w.StartProcess(filepath.Join(w.Dir, "sts.log"), []string{fmt.Sprint("GOGC=", instrumentGC), "GOMAXPROCS=1"}, w.emulator, "--address=127.0.0.1:0", "--url-file="+urlFile, "--session-token-size=1024")
	if err != nil {
		return err
	}
	w.ends = append(w.ends, process.End)
	err = await(ctx, time.Minute, 20*time.Millisecond, func(context.Context) (bool, error) {
		url, err := os.ReadFile(urlFile)
		w.sts.url = strings.TrimSpace(string(url))
		return err == nil, nil
	})
	if err != nil {
		return err
	}
	return w.sts.fault(ctx, stsemulator.Fault{Kind: stsemulator.FaultLatency, Duration: metav1.Duration{Duration: w.latency}})
}

// allow gives the manager's ServiceAccount a right more.
func (w *world) allow(ctx context.Context, name string, right rbacv1.PolicyRule) error {
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "bench-" + name}, Rules: []rbacv1.PolicyRule{right}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: role.ObjectMeta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: cluster.OperatorNamespace, Name: cluster.OperatorAccount}},
	}
	return errors.Join(w.Client.Create(ctx, role), w.Client.Create(ctx, binding))
}

const keyName = "bootstrap"

// makeIdentity makes the default identity, which may make as many calls as AWS takes of a whole account, and more.
func (w *world) makeIdentity(ctx context.Context) error {
	key := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.OperatorNamespace, Name: keyName}, StringData: map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	}}
	identity := &v1alpha1.ClusterIdentity{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DefaultIdentityName},
		Spec: v1alpha1.ClusterIdentitySpec{
			IdentitySettings: v1alpha1.IdentitySettings{Region: "eu-west-1", Endpoint: w.sts.url, STSQPS: 1000},
			Source:           v1alpha1.ClusterIdentitySource{AccessKey: &v1alpha1.AccessKeySource{SecretRef: v1alpha1.SecretReference{Namespace: cluster.OperatorNamespace, Name: keyName}}},
			Allow:            &[]v1alpha1.AllowRule{{Namespaces: []string{"*"}, RoleARNs: []string{"*"}}},
		},
	}
	return errors.Join(w.Client.Create(ctx, key), w.Client.Create(ctx, identity))
}

// change changes the default identity.
func (w *world) change(ctx context.Context, change func(*v1alpha1.ClusterIdentitySpec)) error {
	identity := &v1alpha1.ClusterIdentity{}
	if err := w.Client.Get(ctx, client.ObjectKey{Name: v1alpha1.DefaultIdentityName}, identity); err != nil {
		return err
	}
	before := identity.DeepCopy()
	change(&identity.Spec)
	return w.Client.Patch(ctx, identity, client.MergeFrom(before))
}

// manager is a process of the operator.
type manager struct {
	*cluster.Process
	metrics string
	pprof   string
	started time.Time
}

// startManager starts a manager with the ServiceAccount that the manifests give it.
func (w *world) startManager(args ...string) (*manager, error) {
	m := &manager{}
	var err error
	if m.metrics, err = freeAddress(); err != nil {
		return nil, err
	}
	flags := []string{
		"--kubeconfig=" + w.kubeconfig, "--leader-elect", "--leader-election-namespace=" + cluster.OperatorNamespace,
		"--health-probe-bind-address=0", "--metrics-bind-address=" + m.metrics, "--metrics-secure=false",
	}
	if w.concurrency > 0 {
		flags = append(flags, "--concurrency="+strconv.Itoa(w.concurrency))
	}
	if w.profiles != "" {
		if m.pprof, err = freeAddress(); err != nil {
			return nil, err
		}
		flags = append(flags, "--pprof-bind-address="+m.pprof)
	}
	w.managers++
	log := filepath.Join(w.Dir, fmt.Sprintf("manager-%d.log", w.managers))
	m.started = time.Now()
	if m.Process, err = w.StartProcess(log, nil, w.manager, append(append(flags, w.args...), args...)...); err != nil {
		return nil, err
	}
	w.ends = append(w.ends, m.End)
	return m, nil
}

// whileRunning returns a context that ends with the manager's process.
func (m *manager) whileRunning(ctx context.Context) (running context.Context, stop func()) {
	running, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-m.Ended():
			cancel(fmt.Errorf("the manager ended: %s", m.State()))
		case <-running.Done():
		}
	}()
	return running, func() { cancel(nil) }
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// profile writes a profile of the manager to the folder for them, if there is one.
func (w *world) profile(ctx context.Context, m *manager, kind, query, name string) error {
	if w.profiles == "" {
		return nil
	}
	body, err := get(ctx, "http://"+m.pprof+"/debug/pprof/"+kind+query)
	if err != nil {
		return err
	}
	return w.saveProfile(name+"."+kind, body)
}

func (w *world) saveProfile(name string, body []byte) error {
	return os.WriteFile(filepath.Join(w.profiles, name+".pprof"), body, 0o644)
}

// startProfile profiles the use of the CPU while n credentials are dealt with: the API server's, and the manager's if there is one.
func (w *world) startProfile(ctx context.Context, m *manager, n int, name string) (wait func() error) {
	if w.profiles == "" {
		return func() error { return nil }
	}
	seconds, name := max(2, n/400), fmt.Sprint(name, "-", n)
	var group errgroup.Group
	group.Go(func() error {
		body, err := w.clientset.Discovery().RESTClient().Get().AbsPath("/debug/pprof/profile").Param("seconds", strconv.Itoa(seconds)).DoRaw(ctx)
		if err != nil {
			return err
		}
		return w.saveProfile(name+".kube-apiserver", body)
	})
	if m != nil {
		group.Go(func() error {
			return await(ctx, promptly, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
				err := w.profile(ctx, m, "profile", fmt.Sprintf("?seconds=%d", seconds), name)
				return err == nil, ctx.Err() // it may not serve them yet
			})
		})
	}
	return group.Wait
}

// httpClient is for metrics, profiles and the emulator's admin endpoint.
var httpClient = &http.Client{Timeout: 2 * time.Minute}

const logTail = 4096

// showLogs prints the ends of the managers' logs, which go with the world.
func (w *world) showLogs() {
	for i := range w.managers {
		log, err := os.ReadFile(filepath.Join(w.Dir, fmt.Sprintf("manager-%d.log", i+1)))
		if err == nil {
			fmt.Fprintf(os.Stderr, "The end of the log of manager %d:\n%s\n", i+1, log[max(0, len(log)-logTail):])
		}
	}
}
