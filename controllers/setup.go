// Package controllers is the operator: the reconcilers, and what wakes them.
package controllers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"
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
	"rolecredential.dev/operator/controllers/intern"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/rollout"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/telemetry"
)

// What this package needs of the API server beside its own kinds. Secrets are read and written in whatever namespace a
// credential is in; only their metadata is watched.
//
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// Options are what the operator can be told.
type Options struct {
	// Concurrency is how many credentials of a kind are reconciled at a time; DefaultConcurrency if zero.
	Concurrency int
	// MaxConcurrentRollouts is how many workloads are in the middle of a restart at a time; 5 if zero.
	MaxConcurrentRollouts int
	// FIPS and DualStack choose among AWS's own endpoints of STS, as [identity.Endpoints] says.
	FIPS, DualStack bool
	// STSQPS is how many calls of STS a second may be made as one identity, unless it says itself; 100 if zero, and at most 1000.
	STSQPS int
	// STSTimeout bounds one STS call with the SDK's retries; DefaultSTSTimeout if zero.
	STSTimeout time.Duration
	// Clock is the time; the system's if nil.
	Clock clock.Clock
	// AllowNamespacedEndpoints lets an Identity have an endpoint, and with that its author aim the operator's requests.
	AllowNamespacedEndpoints bool
	// Spans takes a span of each reconcile and of each call of STS; nil for none, which costs nothing.
	Spans trace.TracerProvider
}

const (
	// DefaultConcurrency keeps an API server busy, of which two cores take 320 credentials a second, while each waits 60 ms for STS
	// and some more for its two writes.
	DefaultConcurrency = 64
	// fewerWorkers are enough for what there is less of, or what seldom waits: identities, and rollouts.
	fewerWorkers = 16
	// DefaultSTSQPS is a sixth of what AWS takes a second from all callers of an account in a region, which others need too
	// (IAM User Guide, 'IAM and AWS STS quotas').
	DefaultSTSQPS = 100
	// DefaultSTSTimeout bounds one STS call with the SDK's retries.
	DefaultSTSTimeout = awssts.DefaultTimeout
	// reconcileTimeout frees a worker that the API server leaves waiting; a call of STS has a shorter one of its own.
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

// Scope is which credentials a manager deals with: those of all namespaces, or of some, and of these all, or those that a selector
// of labels matches. What is outside is neither watched nor touched, and no other manager minds it unless it is in that one's scope.
type Scope struct {
	// Namespaces are the only ones, nil for all. A manager may do with rights in these.
	Namespaces []string
	// Selector is nil for all credentials. Of Secrets, the metadata of all that any manager keeps is watched still.
	Selector labels.Selector
}

// LeaseName is the name of the lease by which one of several managers with the same selector leads, as the selector is written; it
// is empty for none. Each selector has a leader of its own.
func LeaseName(selector string) string {
	const name = "rolecredential.dev"
	if selector == "" {
		return name
	}
	return fmt.Sprintf("%s-%.4x", name, sha256.Sum256([]byte(selector)))
}

// ManagerOptions returns what a manager must be made with to be given to [Setup]: a cache that holds of Secrets only those
// that the operator keeps, and of everything no more than is watched on purpose; and a client whose reads see its own writes,
// so that a status which the cache does not show yet is not written twice.
//
// What is in no namespace, ClusterIdentities and the labels of namespaces, is watched as a whole whatever the scope is.
func ManagerOptions(scope Scope) (manager.Options, error) {
	scheme, err := Scheme()
	var watched map[string]cache.Config // nil for all
	for _, namespace := range scope.Namespaces {
		if watched == nil {
			watched = map[string]cache.Config{}
		}
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
				&v1alpha1.RoleCredential{}:      {Label: scope.Selector, Transform: trimForCache},
				&v1alpha1.SessionCredential{}:   {Label: scope.Selector, Transform: trimForCache},
				&v1alpha1.FederatedCredential{}: {Label: scope.Selector, Transform: trimForCache},
			},
		},
		Client: client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: new(true)}},
	}, err
}

// What many credentials have in common.
var (
	words     intern.Strings
	labelSets intern.Labels
)

// trimForCache is for a cache of credentials. It takes out what nothing reads, and lets them share what they have in common.
func trimForCache(object any) (any, error) {
	c, ok := object.(request.Object)
	if !ok || len(c.GetManagedFields()) == 0 { // a tombstone, or one that went through here already
		return object, nil
	}
	c.SetManagedFields(nil)
	delete(c.GetAnnotations(), corev1.LastAppliedConfigAnnotation)
	c.SetNamespace(words.Of(c.GetNamespace()))
	c.SetLabels(labelSets.Of(c.GetLabels()))
	for i := range c.Report().Conditions {
		condition := &c.Report().Conditions[i]
		condition.Type, condition.Reason, condition.Message = words.Of(condition.Type), words.Of(condition.Reason), words.Of(condition.Message)
	}
	return object, nil
}

// Setup adds the operator to a manager that was made with [ManagerOptions].
func Setup(ctx context.Context, mgr manager.Manager, options Options) error {
	if options.Concurrency == 0 {
		options.Concurrency = DefaultConcurrency
	}
	if options.MaxConcurrentRollouts == 0 {
		options.MaxConcurrentRollouts = rollout.DefaultMaxConcurrent
	}
	if options.STSQPS == 0 {
		options.STSQPS = DefaultSTSQPS
	}
	if options.STSQPS < limit.MinQPS || options.STSQPS > limit.MaxQPS {
		return fmt.Errorf("%d calls of STS a second: give %d to %d", options.STSQPS, limit.MinQPS, limit.MaxQPS)
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
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

// dependencies are what all reconcilers share.
type dependencies struct {
	client     client.Client
	identities *identity.Resolver
	secrets    *secretstore.Store
	devices    *identity.Devices
	limits     *limit.Limiter
	dispatcher *credential.Dispatcher
	watcher    *secretstore.Watcher
	rollouts   *rollout.Coordinator
	events     telemetry.Events
	metrics    *telemetry.Metrics
	clock      clock.PassiveClock
	tracer     trace.Tracer // nil for no spans
}

func newDependencies(mgr manager.Manager, options Options) (*dependencies, error) {
	metadataClient, err := metadata.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	watcher := secretstore.NewWatcher(metadataClient)
	if err := mgr.Add(watcher); err != nil {
		return nil, err
	}
	counters, err := telemetry.NewMetrics(metrics.Registry, options.Clock)
	if err != nil {
		return nil, err
	}
	// A quarter of the workers of a kind is left for work that calls no STS.
	dispatch := credential.NewDispatcher(options.STSQPS, max(1, options.Concurrency*3/4), options.Clock)
	if err := errors.Join(mgr.Add(counters), mgr.Add(dispatch)); err != nil {
		return nil, err
	}
	p := &dependencies{
		limits:     dispatch.Limits,
		dispatcher: dispatch,
		client:     mgr.GetClient(),
		secrets:    &secretstore.Store{Client: mgr.GetClient(), Reader: mgr.GetAPIReader()},
		devices:    &identity.Devices{},
		watcher:    watcher,
		rollouts: &rollout.Coordinator{
			Workloads: rollout.Cluster{Reader: mgr.GetAPIReader(), Writer: mgr.GetClient()},
			Places:    &rollout.Places{Max: options.MaxConcurrentRollouts},
		},
		events:  telemetry.NewEvents(mgr.GetEventRecorder("rolecredential"), options.Clock),
		metrics: counters,
		clock:   options.Clock,
		tracer:  telemetry.Tracer(options.Spans),
	}
	connector := &identity.Connector{Limits: p.limits, Metrics: counters, Clock: options.Clock, Tracer: p.tracer, Timeout: options.STSTimeout}
	p.identities = &identity.Resolver{
		Reader:    mgr.GetClient(),
		Secrets:   mgr.GetAPIReader(),
		Watch:     watcher,
		Endpoints: identity.Endpoints{FIPS: options.FIPS, DualStack: options.DualStack},
		// Those of all three kinds may ask at once.
		Connections: 3 * options.Concurrency,
		Connect:     connector.Connect,
		Assume:      connector.Assume,
		Tokens:      identity.NewTokens(mgr.GetClient(), options.Clock),

		AllowNamespacedEndpoints: options.AllowNamespacedEndpoints,
	}
	counters.Limits(p.levels)
	return p, nil
}

// levels returns the state of the limits by the identities' labels.
func (p *dependencies) levels() map[string]limit.Level {
	levels := map[string]limit.Level{}
	for _, level := range p.limits.Levels(p.clock.Now()) {
		levels[level.Identity.Label()] = level
	}
	return levels
}

func setupIdentities[T identity.Object](mgr manager.Manager, p *dependencies, newOne func() T, workers controller.Options) error {
	r := &identity.Reconciler[T]{
		New: newOne, Client: p.client, Identities: p.identities, Limits: p.limits, Events: p.events, Metrics: p.metrics, Clock: p.clock,
	}
	return r.SetupWithManager(mgr, p.watcher, p.tracer, workers)
}

func setupKind[T request.Object](ctx context.Context, mgr manager.Manager, p *dependencies, kind request.Kind[T], workers, fewer controller.Options) error {
	credentials := &credential.Reconciler[T]{
		Kind: kind, Client: p.client, Identities: p.identities, Secrets: p.secrets, Devices: p.devices, Limits: p.limits, SecretWatches: p.watcher,
		Events: p.events, Metrics: p.metrics, Clock: p.clock,
	}
	rollouts := &rollout.Reconciler[T]{
		Kind: kind, Client: p.client, Identities: p.identities, Coordinator: p.rollouts, Events: p.events, Metrics: p.metrics, Clock: p.clock,
	}
	return errors.Join(credentials.SetupWithManager(ctx, mgr, p.dispatcher, p.tracer, workers), rollouts.SetupWithManager(mgr, p.tracer, fewer))
}
