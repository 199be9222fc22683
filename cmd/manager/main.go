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

	_ "golang.org/x/crypto/x509roots/fallback" // Mozilla's root certificates, since the image has no CA files
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

// version is set at build time.
var version = "dev"

type flags struct {
	controllers.Options
	selectorText   string
	metricsAddress string
	metricsSecure  bool
	probeAddress   string
	pprofAddress   string
	leaderElect    bool
	leaderElectNS  string
	qps            float64
	burst          int
	version        bool
}

// bind registers the manager's flags.
func bind(set *flag.FlagSet) *flags {
	f := &flags{}
	set.Func("watch-namespaces", "comma-separated `names` of the namespaces to watch; all namespaces if unset", f.watchNamespaces)
	set.Func("selector", "label `selector` of the credentials to reconcile, such as shard=a; all credentials if unset. Managers with the same selector elect one leader", f.selectLabels)
	set.StringVar(&f.metricsAddress, "metrics-bind-address", "0", "`address` to serve metrics on, such as :8443; 0 disables metrics")
	set.BoolVar(&f.metricsSecure, "metrics-secure", true, "serve metrics over TLS, to clients that RBAC allows to get /metrics")
	set.StringVar(&f.probeAddress, "health-probe-bind-address", ":8081", "`address` to serve /healthz and /readyz on; 0 disables them")
	set.StringVar(&f.pprofAddress, "pprof-bind-address", "0", "`address` to serve pprof profiles on, without authentication, such as 127.0.0.1:6060 for kubectl port-forward; 0 disables profiling")
	set.BoolVar(&f.leaderElect, "leader-elect", false, "enable leader election, so that only one of several managers is active")
	set.StringVar(&f.leaderElectNS, "leader-election-namespace", "", "`namespace` of the lease; the manager's own namespace if empty")
	set.IntVar(&f.Concurrency, "concurrency", controllers.DefaultConcurrency, "maximum number of concurrent reconciles for each kind of credential")
	set.IntVar(&f.STSQPS, "sts-qps", controllers.DefaultSTSQPS, "rate limit of STS calls per second for each identity without spec.stsQPS, 1 to 1000")
	set.DurationVar(&f.STSTimeout, "sts-timeout", controllers.DefaultSTSTimeout, "maximum duration of one STS call, including the retries of the AWS SDK")
	set.IntVar(&f.MaxConcurrentRollouts, "max-concurrent-rollouts", 5, "maximum number of workloads in the cluster that spec.rollout restarts at the same time")
	set.Float64Var(&f.qps, "kube-api-qps", -1, "average requests per second to the API server; negative disables client-side rate limiting")
	set.IntVar(&f.burst, "kube-api-burst", 200, "maximum burst of requests to the API server if --kube-api-qps is positive")
	set.BoolVar(&f.AllowNamespacedEndpoints, "allow-namespaced-endpoints", false, "accept spec.endpoint of namespaced Identities; users who may create an Identity can then direct the manager's requests to any host")
	set.BoolVar(&f.FIPS, "sts-fips", false, "call the FIPS endpoints of STS for identities without spec.endpoint; STS is unreachable in regions without a FIPS endpoint, which are most regions outside the United States")
	set.BoolVar(&f.DualStack, "sts-dual-stack", false, "call the dual-stack endpoints of STS, which support IPv6, for identities without spec.endpoint")
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
		runtime.MemProfileRate = 0 // saves about 1 MiB: without pprof, the profile cannot be read
	}
	boundHeap(os.Getenv)
	ctrl.SetLogger(controllers.NewLogger(logging))
	if err := run(ctrl.SetupSignalHandler(), *f); err != nil {
		ctrl.Log.Error(err, "manager exited with error")
		os.Exit(1)
	}
}

// gcPercent is the growth of the heap between two garbage collections, in percent of the live heap. At Go's default of 100, the heap takes
// twice the memory of the live objects: more than 160 MiB for 10,000 credentials. A lower value causes more collections. Each takes tens of
// milliseconds at that size.
const gcPercent = 40

// boundHeap sets gcPercent unless the environment variable GOGC sets another value.
func boundHeap(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// watchNamespaces parses the flag's value. It rejects an empty one, which must not mean all namespaces.
func (f *flags) watchNamespaces(list string) error {
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			return fmt.Errorf("%q is not a valid namespace name: %s", name, strings.Join(problems, "; "))
		}
		f.Namespaces = append(f.Namespaces, name)
	}
	return nil
}

// selectLabels parses the flag's value. It rejects an empty selector, which must not mean all credentials.
func (f *flags) selectLabels(text string) error {
	selected, err := labels.Parse(text)
	if err == nil && selected.Empty() {
		err = errors.New("the selector is empty")
	}
	f.selectorText, f.Selector = text, selected
	return err
}

func run(ctx context.Context, f flags) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("failed to load the cluster configuration (set --kubeconfig, or run in a cluster): %w", err)
	}
	config.QPS, config.Burst = float32(f.qps), f.burst
	config.DisableCompression = true // compressing each watch event costs the API server more than the network saves
	mgr, err := manager(config, f)
	if err != nil {
		return err
	}
	spans, shutdown, err := tracing(ctx)
	if err != nil {
		return err
	}
	defer shutdown()
	f.Spans = spans
	if err := controllers.Setup(ctx, mgr, f.Options); err != nil {
		return err
	}
	ctrl.Log.Info("starting", "version", version)
	return mgr.Start(ctx)
}

func manager(config *rest.Config, f flags) (ctrl.Manager, error) {
	options, err := controllers.ManagerOptions(f.Options)
	if err != nil {
		return nil, err
	}
	metrics := metricsserver.Options{BindAddress: f.metricsAddress, SecureServing: f.metricsSecure}
	if f.metricsSecure {
		metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
		// HTTP/2 is disabled because of rapid reset attacks (CVE-2023-44487).
		metrics.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }}
	}
	options.Metrics = metrics
	options.HealthProbeBindAddress = f.probeAddress
	options.PprofBindAddress = f.pprofAddress
	options.LeaderElection = f.leaderElect
	options.LeaderElectionID = controllers.LeaseName(f.selectorText)
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
