package identity

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	ctrlsource "sigs.k8s.io/controller-runtime/pkg/source"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/backoff"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/status"
	"rolecredential.dev/operator/controllers/telemetry"
)

// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=clusteridentities;identities,verbs=list;watch
// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=clusteridentities/status;identities/status,verbs=update

const (
	// verifyInterval is how often the operator calls GetCallerIdentity for an identity that is Ready, less up to a tenth.
	// No credential depends on the call.
	verifyInterval = reissue.MaxRequeue
	// minVerifyInterval is the shortest time between two verifications of an identity of one name. It keeps a loop of edits
	// from causing a call for each.
	minVerifyInterval = 5 * time.Second

	callGetCallerIdentity = "GetCallerIdentity"
)

// Reconciler reports whether identities of one kind are usable, and which caller STS sees.
type Reconciler[T Object] struct {
	New        func() T
	Client     client.Client
	Identities *Resolver
	Limits     *limit.Limiter
	Events     telemetry.Events
	Metrics    *telemetry.Metrics
	Clock      clock.PassiveClock

	backoff backoff.Calls
}

// SpecChanged accepts an update of an object's spec, and an object that replaced another of its name while no watch was open: a new list
// shows that as an update, and both may be of the first generation.
var SpecChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() || e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration()
}}

// SetupWithManager adds the reconciler to a manager. A change of an identity's source Secret enqueues the identity, and so
// does permitted, when the limiter reserves a call for it.
func (r *Reconciler[T]) SetupWithManager(mgr manager.Manager, sources *Watcher, permitted ctrlsource.Source, tracer trace.Tracer, workers controller.Options) error {
	kind := KeyOf(r.New()).Kind
	self := func(_ context.Context, name types.NamespacedName) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: name}}
	}
	return builder.ControllerManagedBy(mgr).
		For(r.New(), builder.WithPredicates(SpecChanged)).
		WatchesRawSource(sources.Source(kind, self)).
		WatchesRawSource(permitted).
		WithOptions(workers).
		Complete(telemetry.Spanned(tracer, kind, "verify", r))
}

// verdict is the result of a verification.
type verdict struct {
	// postponed is true if a verification is due that may not be made yet. The status stays as it is.
	postponed bool
	ready     metav1.Condition
	// conditions has ConditionClockInSync and ConditionCertificateValid, as far as there is something to report.
	conditions []metav1.Condition
	// skew is how far the clock of STS is ahead; nil if it is not known.
	skew *time.Duration
	// caller is empty if it is not known.
	caller        awssts.Caller
	secretVersion string
	failure       *reason.Error
	// expires is when the certificate or token in the source's Secret expires; zero if neither does.
	expires time.Time
	// next is the time of the next verification; zero for none before a change.
	next time.Time
}

// Reconcile verifies an identity, and writes its status if it changed.
func (r *Reconciler[T]) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	found := r.New()
	if err := r.Client.Get(ctx, req.NamespacedName, found); err != nil {
		if apierrors.IsNotFound(err) {
			return r.forget(request.Key{Kind: KeyOf(found).Kind, NamespacedName: req.NamespacedName}), nil
		}
		return reconcile.Result{}, err
	}
	now := r.Clock.Now()
	v, err := r.verify(ctx, found, now)
	if err != nil || v.postponed {
		return backoff.Requeue(now, v.next), err
	}
	r.Metrics.Identity(KeyOf(found).Label(), v.ready.Status == metav1.ConditionTrue)
	r.Metrics.SourceExpiration(KeyOf(found).Kind, KeyOf(found).NamespacedName, v.expires)
	if v.skew != nil {
		r.Metrics.ClockSkew(KeyOf(found).Label(), *v.skew)
	}
	if err := r.report(ctx, found, v, now); err != nil {
		return reconcile.Result{}, err
	}
	return backoff.Requeue(r.Clock.Now(), v.next), nil
}

// forget drops what is known of a deleted identity. The time of its last verification and its rate limit are kept for
// minVerifyInterval, so that a new identity of the same name does not escape them.
func (r *Reconciler[T]) forget(identity request.Key) reconcile.Result {
	r.Metrics.ForgetIdentity(identity.Label())
	r.Metrics.SourceExpiration(identity.Kind, identity.NamespacedName, time.Time{})
	r.Identities.Forget(identity)
	now := r.Clock.Now()
	if next, early := nextVerification(r.backoff.Get(identity.NamespacedName), now); early {
		return backoff.Requeue(now, next)
	}
	r.backoff.Forget(identity.NamespacedName)
	r.Limits.Forget(now, identity)
	return reconcile.Result{}
}

func (r *Reconciler[T]) report(ctx context.Context, found T, v verdict, now time.Time) error {
	before, _ := found.DeepCopyObject().(T)
	reported := found.Report()
	if meta.FindStatusCondition(v.conditions, v1alpha1.ConditionCertificateValid) == nil { // another source, or no certificate to report on
		meta.RemoveStatusCondition(&reported.Conditions, v1alpha1.ConditionCertificateValid)
	}
	current := slices.Concat(v.conditions, []metav1.Condition{v.ready}) // Ready is last, so that the event reports it when the identity is ready
	reported.Conditions = status.Merge(reported.Conditions, current, found.GetGeneration(), now)
	reported.ObservedGeneration, reported.ObservedSecretVersion = found.GetGeneration(), v.secretVersion
	reported.FailedCall, reported.SourceExpiration = nil, nil
	if !v.expires.IsZero() {
		reported.SourceExpiration = new(metav1.NewTime(v.expires))
	}
	if v.failure != nil {
		reported.FailedCall = v.failure.Call.DeepCopy()
	}
	reported.AccountID, reported.ARN, reported.UserID = v.caller.AccountID, v.caller.ARN, v.caller.UserID
	if apiequality.Semantic.DeepEqual(before.Report(), reported) {
		return nil
	}
	if written, err := status.Write(ctx, r.Client, found); !written {
		return err
	}
	status.Announce(r.Events, found, telemetry.ActionVerify, before.Report().Conditions, reported.Conditions, func(string) *reason.Error { return v.failure })
	return nil
}
