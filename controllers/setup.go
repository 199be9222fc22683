// Package controllers wires the operator: it adds the reconcilers and their caches to a manager.
package controllers

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"
	"unique"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/rollout"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/telemetry"
)

// Permissions beside those of the reconcilers. Secrets are read and written in the namespace of each credential. Only their metadata is
// watched.
//
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Options configure the operator.
type Options struct {
	// Namespaces are the namespaces to watch; nil for all. The manager needs permissions only there.
	Namespaces []string
	// Selector selects the credentials to reconcile by their labels; nil for all. The manager neither watches nor writes others. It still
	// watches the metadata of all owned Secrets.
	Selector labels.Selector
	// Concurrency is the number of concurrent reconciles of each credential kind; DefaultConcurrency if zero.
	Concurrency int
	// MaxConcurrentRollouts is the number of workloads that restart at the same time; rollout.DefaultMaxConcurrent if zero.
	MaxConcurrentRollouts int
	// FIPS and DualStack select AWS's STS endpoints; see [identity.Endpoints].
	FIPS, DualStack bool
	// STSQPS is the rate limit of STS calls per second of an identity without one of its own: 1 to 1000; DefaultSTSQPS if zero.
	STSQPS int
	// STSTimeout bounds one STS call with the SDK's retries; DefaultSTSTimeout if zero.
	STSTimeout time.Duration
	// Clock is the operator's clock; the system's if nil.
	Clock clock.Clock
	// AllowNamespacedEndpoints allows spec.endpoint in an Identity. Its author then chooses where the operator sends requests.
	AllowNamespacedEndpoints bool
	// Spans receives a span of each reconcile and STS call; nil for no spans.
	Spans trace.TracerProvider
}

const (
	// DefaultConcurrency keeps an API server with two cores busy: it accepts the two writes of 320 credentials per second, and each
	// credential waits 60 ms for STS.
	DefaultConcurrency = 64
	// fewerWorkers is the number of concurrent reconciles of identities and rollouts, which are fewer or rarely wait.
	fewerWorkers = 16
	// DefaultSTSQPS is a sixth of AWS's quota for an account in a region, which other callers use too (IAM User Guide, 'IAM and AWS STS
	// quotas').
	DefaultSTSQPS = 100
	// DefaultSTSTimeout bounds one STS call with the SDK's retries.
	DefaultSTSTimeout = awssts.DefaultTimeout
	// reconcileTimeout bounds a reconcile while the API server does not answer. STS calls have a shorter timeout.
	reconcileTimeout = 2 * time.Minute
)

// Scheme returns a scheme with all kinds that the operator reads and writes.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return scheme, v1alpha1.AddToScheme(scheme)
}

// LeaseName returns the name of the lease for managers with a selector; the selector is empty for all credentials. Managers with different
// selectors each have a leader. The watched namespaces are not part of the name: a change of the list must not give two managers that
// overlap a leader each.
func LeaseName(selector string) string {
	const name = "rolecredential.dev"
	if selector == "" {
		return name
	}
	return fmt.Sprintf("%s-%.4x", name, sha256.Sum256([]byte(selector)))
}

// ManagerOptions returns the options of a manager for [Setup]. Its cache holds only Secrets with the operator's label, and starts no
// informer on demand. Its client reads its own writes, so that a status that the cache does not show yet is not written twice.
//
// Cluster-scoped objects (ClusterIdentities, and the metadata of namespaces) are watched whatever the namespaces are.
func ManagerOptions(of Options) (manager.Options, error) {
	scheme, err := Scheme()
	watched := map[string]cache.Config{} // empty for all
	for _, namespace := range of.Namespaces {
		watched[namespace] = cache.Config{}
	}
	ours := labels.SelectorFromSet(labels.Set{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})
	return manager.Options{
		Scheme:   scheme,
		NewCache: newCache,
		Cache: cache.Options{
			DefaultNamespaces:           watched,
			ReaderFailOnMissingInformer: true,
			DefaultTransform:            cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&corev1.Secret{}:                {Transform: secretstore.TrimForCache, Label: ours},
				&v1alpha1.RoleCredential{}:      {Label: of.Selector, Transform: trimForCache},
				&v1alpha1.SessionCredential{}:   {Label: of.Selector, Transform: trimForCache},
				&v1alpha1.FederatedCredential{}: {Label: of.Selector, Transform: trimForCache},
			},
		},
		Client: client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: new(true)}},
	}, err
}

// trimForCache is the transform of a cache of credentials. It drops the metadata that the operator does not read, and shares the
// condition types and reasons that many credentials have. Only the operator writes them.
func trimForCache(object any) (any, error) {
	c, ok := object.(request.Object)
	if !ok { // a tombstone
		return object, nil
	}
	var annotations map[string]string
	if value, ok := c.GetAnnotations()[v1alpha1.RefreshAnnotation]; ok {
		annotations = map[string]string{v1alpha1.RefreshAnnotation: strings.Clone(value[:min(len(value), reissue.MaxRefreshRequest)])}
	}
	c.SetAnnotations(annotations)
	c.SetLabels(nil) // the API server matches Options.Selector
	c.SetManagedFields(nil)
	for i := range c.Report().Conditions {
		condition := &c.Report().Conditions[i]
		condition.Type, condition.Reason = unique.Make(condition.Type).Value(), unique.Make(condition.Reason).Value()
	}
	return object, nil
}

// Setup adds the operator to a manager that was made with [ManagerOptions] of the same options.
func Setup(ctx context.Context, mgr manager.Manager, options Options) error {
	options.Concurrency = cmp.Or(options.Concurrency, DefaultConcurrency)
	options.MaxConcurrentRollouts = cmp.Or(options.MaxConcurrentRollouts, rollout.DefaultMaxConcurrent)
	options.STSQPS = cmp.Or(options.STSQPS, DefaultSTSQPS)
	if options.STSQPS < limit.MinQPS || options.STSQPS > limit.MaxQPS {
		return fmt.Errorf("the rate limit of %d STS calls per second is out of bounds: set %d to %d", options.STSQPS, limit.MinQPS, limit.MaxQPS)
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.Spans == nil {
		options.Spans = noop.NewTracerProvider()
	}
	p, err := newDependencies(mgr, options)
	if err != nil {
		return err
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, secretstore.Metadata(), secretstore.OwnerIndex, secretstore.IndexOwner); err != nil {
		return fmt.Errorf("indexing Secrets: %w", err)
	}
	workers := controller.Options{MaxConcurrentReconciles: options.Concurrency, ReconciliationTimeout: reconcileTimeout}
	fewer := workers
	fewer.MaxConcurrentReconciles = min(options.Concurrency, fewerWorkers)
	return errors.Join(
		setupIdentities(mgr, p, func() *v1alpha1.ClusterIdentity { return &v1alpha1.ClusterIdentity{} }, fewer),
		setupIdentities(mgr, p, func() *v1alpha1.Identity { return &v1alpha1.Identity{} }, fewer),
		setupKind(ctx, mgr, p, request.RoleCredential, workers, fewer),
		setupKind(ctx, mgr, p, request.SessionCredential, workers, fewer),
		setupKind(ctx, mgr, p, request.FederatedCredential, workers, fewer),
	)
}

// dependencies are shared by all reconcilers.
type dependencies struct {
	client     client.Client
	identities *identity.Resolver
	secrets    *secretstore.Store
	devices    *identity.Devices
	dispatcher *credential.Dispatcher
	watcher    *identity.Watcher
	rollouts   *rollout.Coordinator
	events     telemetry.Events
	metrics    *telemetry.Metrics
	clock      clock.PassiveClock
	tracer     trace.Tracer
}

func newDependencies(mgr manager.Manager, options Options) (*dependencies, error) {
	metadataClient, err := metadata.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	watcher := identity.NewWatcher(metadataClient)
	if err := mgr.Add(watcher); err != nil {
		return nil, err
	}
	counters, err := telemetry.NewMetrics(metrics.Registry, options.Clock)
	if err != nil {
		return nil, err
	}
	// A quarter of the workers of a kind remains for work without STS calls.
	dispatch := credential.NewDispatcher(options.STSQPS, max(1, options.Concurrency*3/4), options.Clock)
	if err := errors.Join(mgr.Add(counters), mgr.Add(dispatch)); err != nil {
		return nil, err
	}
	p := &dependencies{
		dispatcher: dispatch,
		client:     mgr.GetClient(),
		secrets:    &secretstore.Store{Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Namespaces: options.Namespaces},
		devices:    &identity.Devices{},
		watcher:    watcher,
		rollouts: &rollout.Coordinator{
			Workloads: rollout.Cluster{APIReader: mgr.GetAPIReader(), Writer: mgr.GetClient()},
			Slots:     &rollout.Slots{Max: options.MaxConcurrentRollouts},
		},
		events:  telemetry.NewEvents(mgr.GetEventRecorder("rolecredential"), options.Clock, counters.LimitHit),
		metrics: counters,
		clock:   options.Clock,
		tracer:  options.Spans.Tracer("rolecredential.dev/operator"),
	}
	connector := &identity.Connector{Limits: dispatch.Limits, Metrics: counters, Clock: options.Clock, Tracer: p.tracer, Timeout: options.STSTimeout}
	p.identities = &identity.Resolver{
		Reader:    mgr.GetClient(),
		APIReader: mgr.GetAPIReader(),
		Watch:     watcher,
		Clock:     options.Clock,
		Endpoints: identity.Endpoints(options.FIPS, options.DualStack),
		Tokens:    identity.NewTokens(mgr.GetClient(), options.Clock),
		NewSTS:    connector.NewSTS,

		IdleConnections:          dispatch.Limits.Slots,
		APIAudiences:             identity.APIAudiences(mgr.GetConfig()),
		AllowNamespacedEndpoints: options.AllowNamespacedEndpoints,
	}
	counters.Limits(func() []limit.Level { return dispatch.Limits.Levels(p.clock.Now()) })
	return p, nil
}

func setupIdentities[T identity.Object](mgr manager.Manager, p *dependencies, newOne func() T, workers controller.Options) error {
	r := &identity.Reconciler[T]{
		New: newOne, Client: p.client, Identities: p.identities, Limits: p.dispatcher.Limits, Events: p.events, Metrics: p.metrics, Clock: p.clock,
	}
	return r.SetupWithManager(mgr, p.watcher, p.dispatcher.Source(identity.KeyOf(newOne()).Kind), p.tracer, workers)
}

func setupKind[T request.Object](ctx context.Context, mgr manager.Manager, p *dependencies, kind request.Kind[T], workers, fewer controller.Options) error {
	credentials := &credential.Reconciler[T]{
		Kind: kind, Client: p.client, Identities: p.identities, Secrets: p.secrets, Devices: p.devices, Limits: p.dispatcher.Limits,
		Events: p.events, Metrics: p.metrics, Clock: p.clock,
	}
	rollouts := &rollout.Reconciler[T]{
		Kind: kind, Client: p.client, Identities: p.identities, Coordinator: p.rollouts, Events: p.events, Metrics: p.metrics, Clock: p.clock,
	}
	return errors.Join(credentials.SetupWithManager(ctx, mgr, p.watcher, p.dispatcher, p.tracer, workers), rollouts.SetupWithManager(mgr, p.tracer, fewer))
}
