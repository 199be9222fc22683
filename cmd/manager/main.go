// Command manager runs the RoleCredential operator.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	_ "golang.org/x/crypto/x509roots/fallback" // the authorities that Mozilla trusts, for an image that has no files
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"rolecredential.dev/operator/controllers"
)

// version is set when a release is built.
var version = "dev"

type flags struct {
	namespaces     []string
	selector       string
	selected       labels.Selector
	metricsAddress string
	metricsSecure  bool
	probeAddress   string
	pprofAddress   string
	leaderElect    bool
	leaderElectNS  string
	concurrency    int
	stsQPS         int
	stsTimeout     time.Duration
	rollouts       int
	qps            float64
	burst          int
	endpoints      bool
	stsFIPS        bool
	stsDualStack   bool
	version        bool
}

// bind has a set of flags set those of the manager.
func bind(set *flag.FlagSet) *flags {
	f := &flags{}
	set.Func("watch-namespaces", "comma-separated `names` of the only namespaces whose credentials are dealt with; without this flag, those of all are", f.watchNamespaces)
	set.Func("selector", "label `selector` of the only credentials that are dealt with, such as shard=a; without this flag, all are. Managers with the same selector have one leader", f.selectLabels)
	set.StringVar(&f.metricsAddress, "metrics-bind-address", "0", "`address` that metrics are served on, such as :8443; 0 serves none")
	set.BoolVar(&f.metricsSecure, "metrics-secure", true, "serve metrics over TLS, to those who may get /metrics by RBAC")
	set.StringVar(&f.probeAddress, "health-probe-bind-address", ":8081", "`address` that /healthz and /readyz are served on; 0 serves none")
	set.StringVar(&f.pprofAddress, "pprof-bind-address", "0", "`address` that profiles are served on to whoever reaches it, so that it is best 127.0.0.1:6060 and kubectl port-forward; 0 serves none")
	set.BoolVar(&f.leaderElect, "leader-elect", false, "let only one of several managers work at a time")
	set.StringVar(&f.leaderElectNS, "leader-election-namespace", "", "`namespace` of the lease; the manager's own if empty")
	set.IntVar(&f.concurrency, "concurrency", controllers.DefaultConcurrency, "how many credentials of a kind are dealt with at a time")
	set.IntVar(&f.stsQPS, "sts-qps", controllers.DefaultSTSQPS, "calls of STS per second for each identity that does not say itself, 1 to 1000")
	set.DurationVar(&f.stsTimeout, "sts-timeout", controllers.DefaultSTSTimeout, "how long one STS call may take, with the retries of the AWS SDK")
	set.IntVar(&f.rollouts, "max-concurrent-rollouts", 5, "how many workloads of the cluster are in the middle of a restart at a time, for credentials with spec.rollout")
	set.Float64Var(&f.qps, "kube-api-qps", -1, "requests per second to the API server, on average; less than 0 for as many as its own Priority and Fairness takes")
	set.IntVar(&f.burst, "kube-api-burst", 200, "requests to the API server at once, where there is a --kube-api-qps")
	set.BoolVar(&f.endpoints, "allow-namespaced-endpoints", false, "take spec.endpoint from namespaced Identities too; whoever may create one then aims the manager's requests")
	set.BoolVar(&f.stsFIPS, "sts-fips", false, "ask AWS's FIPS endpoints of STS for identities without an endpoint of their own; where a region has none, as most outside the United States, STS is then unreachable")
	set.BoolVar(&f.stsDualStack, "sts-dual-stack", false, "ask AWS's dual-stack endpoints of STS, which have IPv6 addresses too, for identities without an endpoint of their own")
	set.BoolVar(&f.version, "version", false, "print the version and exit")
	return f
}

func main() {
	f := bind(flag.CommandLine)
	logging := zap.Options{}
	logging.BindFlags(flag.CommandLine)
	flag.Parse()
	if f.version {
		fmt.Println(version)
		return
	}
	if f.pprofAddress == "0" {
		runtime.MemProfileRate = 0 // nobody can ask for the profile, which takes a MiB
	}
	boundHeap(os.Getenv)
	ctrl.SetLogger(controllers.NewLogger(logging))
	if err := run(ctrl.SetupSignalHandler(), *f); err != nil {
		ctrl.Log.Error(err, "the manager cannot go on")
		os.Exit(1)
	}
}

// gcPercent is how much the heap grows between two garbage collections, in percent of what is in use. At Go's default of 100 the manager
// holds twice the memory that its credentials need, and 10,000 of them take more than 160 MiB. The price is more collections, each of
// which takes tens of milliseconds at that size.
const gcPercent = 40

// boundHeap sets gcPercent unless the environment variable GOGC sets another value.
func boundHeap(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// watchNamespaces takes the flag's value. An empty one is refused: it must not come to mean all.
func (f *flags) watchNamespaces(list string) error {
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			return fmt.Errorf("%q is not a namespace's name: %s", name, strings.Join(problems, "; "))
		}
		f.namespaces = append(f.namespaces, name)
	}
	return nil
}

// selectLabels takes the flag's value. An empty one, or one that asks for nothing, is refused: it must not come to mean all.
func (f *flags) selectLabels(selector string) error {
	selected, err := labels.Parse(selector)
	if err == nil && selected.Empty() {
		err = errors.New("it asks for no label")
	}
	f.selector, f.selected = selector, selected
	return err
}

func run(ctx context.Context, f flags) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster (give --kubeconfig, or run in one): %w", err)
	}
	config.QPS, config.Burst = float32(f.qps), f.burst
	config.DisableCompression = true // of each event of a watch, which takes the API server more than its bytes take the cluster's network
	mgr, err := manager(config, f)
	if err != nil {
		return err
	}
	spans, end, err := tracing(ctx)
	if err != nil {
		return err
	}
	defer end()
	err = controllers.Setup(ctx, mgr, controllers.Options{
		Concurrency: f.concurrency, MaxConcurrentRollouts: f.rollouts, STSQPS: f.stsQPS, STSTimeout: f.stsTimeout,
		FIPS: f.stsFIPS, DualStack: f.stsDualStack, AllowNamespacedEndpoints: f.endpoints, Spans: spans,
	})
	if err != nil {
		return err
	}
	ctrl.Log.Info("starting", "version", version)
	return mgr.Start(ctx)
}

func manager(config *rest.Config, f flags) (ctrl.Manager, error) {
	options, err := controllers.ManagerOptions(controllers.Scope{Namespaces: f.namespaces, Selector: f.selected})
	if err != nil {
		return nil, err
	}
	metrics := metricsserver.Options{BindAddress: f.metricsAddress, SecureServing: f.metricsSecure}
	if f.metricsSecure {
		metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
		// HTTP/2 stays off: a request to reset costs its server more than its client (CVE-2023-44487).
		metrics.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }}
	}
	options.Metrics = metrics
	options.HealthProbeBindAddress = f.probeAddress
	options.PprofBindAddress = f.pprofAddress
	options.LeaderElection = f.leaderElect
	options.LeaderElectionID = controllers.LeaseName(f.selector)
	options.LeaderElectionNamespace = f.leaderElectNS
	options.LeaderElectionReleaseOnCancel = true
	mgr, err := ctrl.NewManager(config, options)
	if err != nil {
		return nil, err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, err
	}
	return mgr, mgr.AddReadyzCheck("ping", healthz.Ping)
}
