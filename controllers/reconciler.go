package controllers

import (
	"cmp"
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/access"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/budget"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/output"
	"rolecredential.dev/operator/controllers/secret"
	"rolecredential.dev/operator/controllers/telemetry"
)

// Object is a credential of any kind.
type Object interface {
	client.Object
	Common() *v1alpha1.CredentialSpec
	Report() *v1alpha1.CredentialStatus
}

// Kind is what a kind of credential adds to the reconciler that serves them all.
type Kind[T Object] struct {
	Name    string
	New     func() T
	NewList func() client.ObjectList
	// NameField is the field of the spec that a session's name stands in, and NameLength how long the name may be; zero for a
	// call that takes no name.
	NameField  string
	NameLength int
	// Request returns what the spec asks of STS, or a failure of ConditionIssued if STS could only refuse it.
	Request func(T) (credential.Request, *failure.Failure)
	// MFA returns the MFA device that the spec names, nil for none; it is nil itself for a call that takes none.
	MFA func(T) *v1alpha1.MFA
}

// defaultName is the name of a session that the spec does not name.
func (k Kind[T]) defaultName(object client.Object) string {
	if k.NameLength == 0 {
		return ""
	}
	return credential.SessionName(object.GetNamespace(), object.GetName(), k.NameLength)
}

// STS is what a credential and an identity ask of STS.
type STS interface {
	Issue(ctx context.Context, r credential.Request, proof credential.Proof) (credential.Credential, error)
	Caller(ctx context.Context) (awssts.Caller, error)
	// Skew returns how far the clock of STS is ahead of the operator's, false while that is not known.
	Skew() (time.Duration, bool)
}

// Reconciler keeps the Secrets of one kind of credential.
type Reconciler[T Object] struct {
	Kind       Kind[T]
	Client     client.Client
	Identities *identity.Resolver[STS]
	Secrets    *secret.Store
	Devices    *identity.Devices
	Budget     *budget.Budget
	Places     *places
	Wakers     *wakers
	Strangers  *secret.Watcher
	Events     telemetry.Events
	Metrics    *telemetry.Metrics
	Clock      clock.PassiveClock

	attempts attempts
}

// Reconcile goes the whole way for one credential, then writes its status once.
func (r *Reconciler[T]) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	object := r.Kind.New()
	if err := r.Client.Get(ctx, req.NamespacedName, object); err != nil {
		if apierrors.IsNotFound(err) {
			r.attempts.forget(req.NamespacedName)
			r.Budget.Gone(r.caller(req.NamespacedName))
			r.Strangers.Done(r.waiter(req.NamespacedName))
			r.Metrics.ForgetCredential(r.Kind.Name, req.NamespacedName)
			object.SetNamespace(req.Namespace)
			object.SetName(req.Name)
			r.Secrets.Forget(object)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	namespace := namespaceMetadata()
	if err := r.Client.Get(ctx, client.ObjectKey{Name: req.Namespace}, namespace); err != nil {
		// One that the cache does not know yet wakes its credentials when it comes.
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	// What is on its way out gets no new credential; the API server would refuse the Secret. Nobody is to miss it.
	if !object.GetDeletionTimestamp().IsZero() || !namespace.GetDeletionTimestamp().IsZero() {
		r.Metrics.ForgetCredential(r.Kind.Name, req.NamespacedName)
		return reconcile.Result{}, nil
	}
	result, err := r.advance(ctx, object, namespace.GetLabels())
	if err != nil {
		return reconcile.Result{}, err
	}
	r.Metrics.Credential(r.Kind.Name, req.NamespacedName, result.told())
	if result.turnIn == 0 {
		r.Budget.Forget(r.caller(req.NamespacedName))
	}
	if result.turnIn > 0 && result.turnIn < shortWait {
		return result.again(), r.withdraw(ctx, object, result)
	}
	if err := r.report(ctx, object, result); err != nil {
		return reconcile.Result{}, err
	}
	return result.again(), nil
}

// requeue has an object looked at again at a time, or only when something changes if that is zero.
func requeue(now, next time.Time) reconcile.Result {
	if next.IsZero() {
		return reconcile.Result{}
	}
	return reconcile.Result{RequeueAfter: credential.Requeue(now, next), Priority: new(ordinaryPriority)}
}

// advance takes a credential as far as it can come: authorize, observe, decide, issue, write. Its error is of the API server,
// to be tried again; all else is in the outcome.
func (r *Reconciler[T]) advance(ctx context.Context, object T, namespaceLabels map[string]string) (outcome, error) {
	spec := object.Common()
	request, invalid := r.Kind.Request(object)
	t := turn{
		key:     client.ObjectKeyFromObject(object),
		request: request,
		outcome: outcome{now: r.Clock.Now(), identity: request.Identity, secret: secretName(object), suspended: spec.Suspend, failed: invalid},
	}
	var err error
	if t.identity, t.denied, err = r.authorize(ctx, object, request, namespaceLabels); err != nil {
		return outcome{}, err
	}
	if t.denied != nil {
		t.retryAt = t.denied.Retry.From(t.now)
	}
	if err := r.observe(ctx, object, &t); err != nil {
		return outcome{}, err
	}
	t.wanted = wanted(object, request, t.identity)
	if t.identity != nil {
		t.optionalFields = optionalFields(request, t.identity)
		r.tellTime(&t)
		if t.failed == nil {
			t.request, t.failed = r.stamped(object, request, t.identity.SessionTags)
		}
		if t.failed == nil {
			t.failed = checkARNs(request, t.identity)
		}
	}
	r.decide(&t, object)
	if t.record != nil { // one that is not there is back in a moment
		if err := r.withdraw(ctx, object, t.outcome); err != nil {
			return outcome{}, err
		}
	}
	if t.due != credential.NotDue && t.refreshes() && t.failed == nil {
		if err := r.issue(ctx, object, &t); err != nil {
			return outcome{}, err
		}
	}
	r.prune(ctx, object, &t)
	return t.outcome, nil
}

// pruneRetry is how long the operator waits before it tries again to delete an old Secret.
const pruneRetry = time.Minute

// prune deletes the Secrets of earlier values of spec.secret.name, once the present Secret holds what the spec asks for. A failure
// shows in the condition Ready. It has a retry time of its own, and changes no retry time of a refresh.
func (r *Reconciler[T]) prune(ctx context.Context, object T, t *turn) {
	if !t.valid() || !t.current {
		return
	}
	if err := r.Secrets.Prune(ctx, object, t.secret); err != nil {
		log.FromContext(ctx).Error(err, "failed to delete the old Secret")
		t.undeletable, t.pruneAt = apiReason(err), t.now.Add(pruneRetry)
	}
}

// observe finds out what the Secret holds. It first takes over a Secret that a former credential of this kind and name left, so that
// all that follows sees a Secret of this credential.
func (r *Reconciler[T]) observe(ctx context.Context, object T, t *turn) (err error) {
	spec := object.Common()
	isNew := len(object.Report().Conditions) == 0 && t.refreshes() && t.failed == nil
	if t.observed, err = r.Secrets.Observe(ctx, object, t.secret, spec.Secret, output.Keys(spec.Secret), isNew); err != nil {
		return err
	}
	if t.observed.Ownership != credential.Former {
		return nil
	}
	t.observed, err = r.Secrets.TakeOver(ctx, object, t.observed, spec.Secret)
	switch {
	case apierrors.IsForbidden(err) || apierrors.IsInvalid(err):
		t.failed = cmp.Or(t.failed, notTakenOver(t.secret, err))
		t.retryAt = t.failed.Retry.From(t.now)
		return nil
	case err == nil && t.observed.Ownership == credential.Ours:
		log.FromContext(ctx).Info("took over the Secret", "secret", t.secret)
	}
	return err
}

// turn is one credential on its way.
type turn struct {
	outcome
	key     types.NamespacedName
	request credential.Request
	// optionalFields of the request, as the spec and the identity name them.
	optionalFields []string
	wanted         credential.Wanted
	identity       *identity.Identity[STS]
	observed       secret.Observed
	due            credential.Why
	// proof goes with the call.
	proof credential.Proof
	// asked is when the token for the call was taken.
	asked time.Time
	// requestID is what STS calls the call; empty for none.
	requestID string
}

// tellTime says what time it is by the clock of STS, by which lives and ends what STS issues.
func (r *Reconciler[T]) tellTime(t *turn) {
	t.ahead, _ = t.identity.Client.Skew()
	t.now = r.Clock.Now().Add(t.ahead)
}

func (r *Reconciler[T]) authorize(ctx context.Context, object T, request credential.Request, namespaceLabels map[string]string) (*identity.Identity[STS], *failure.Failure, error) {
	found, denied, err := r.Identities.Resolve(ctx, identityRef(object), serviceAccount(object, request))
	if denied != nil || err != nil {
		return nil, denied, err
	}
	return found, access.Decide(found.Allow, access.Request{
		Identity:           found.Name,
		Namespace:          object.GetNamespace(),
		NamespaceLabels:    namespaceLabels,
		Call:               request.Call,
		RoleARN:            request.RoleARN,
		SessionName:        request.SessionName,
		NameField:          r.Kind.NameField,
		DefaultSessionName: r.Kind.defaultName(object),
		Duration:           request.Duration,
		Chain:              found.Chain,
	}), nil
}

// decide finds out what the Secret holds and why it is due, and whether it can be written at all.
func (r *Reconciler[T]) decide(t *turn, object T) {
	if t.observed.Ownership == credential.Foreign {
		t.unwritable = conflict(t.secret, r.Kind.Name, object.GetName(), t.observed.Controller)
		t.retryAt = t.unwritable.Retry.From(t.now)
		r.Strangers.Await(r.waiter(t.key), types.NamespacedName{Namespace: t.key.Namespace, Name: t.secret}, t.observed.Version)
		return
	}
	r.Strangers.Done(r.waiter(t.key))
	t.unwritable = output.Check(object.Common().Secret)
	if t.observed.Immutable {
		t.unwritable = immutable(t.secret)
	}
	t.judge()
}

// judge says what the Secret holds, if it is ours, and why that is due.
func (t *turn) judge() {
	t.due = credential.Decide(t.now, t.wanted, t.observed.Observed)
	if t.due == credential.Tampered { // the record may be one whose times cannot be true
		t.observed.Record = nil
	}
	if t.observed.Record != nil {
		t.hold(*t.observed.Record, t.due.Current())
	}
}

// hold says what the Secret holds.
func (t *turn) hold(record credential.Record, current bool) {
	t.record, t.current = &record, current
	t.refreshAt = t.wanted.RefreshAt(record)
}

// withdraw takes Ready back from a credential that is not there, or has expired. Who reads it is not to wait for a turn, nor for
// STS, which may take half a minute to say nothing.
func (r *Reconciler[T]) withdraw(ctx context.Context, object T, found outcome) error {
	if found.valid() || !isReady(object) {
		return nil
	}
	generation, now := object.GetGeneration(), r.Clock.Now()
	return r.tell(ctx, object, found, func(status *v1alpha1.CredentialStatus) {
		status.Conditions = withConditions(status.Conditions, []metav1.Condition{found.ready()}, generation, now)
	})
}

func isReady(object Object) bool {
	return meta.IsStatusConditionTrue(object.Report().Conditions, v1alpha1.ConditionReady)
}

// report writes the status if it changed, and then the event.
func (r *Reconciler[T]) report(ctx context.Context, object T, result outcome) error {
	generation, now := object.GetGeneration(), r.Clock.Now()
	return r.tell(ctx, object, result, func(status *v1alpha1.CredentialStatus) { result.report(status, generation, now) })
}

func (r *Reconciler[T]) tell(ctx context.Context, object T, result outcome, change func(*v1alpha1.CredentialStatus)) error {
	before, written, err := updateStatus(ctx, r.Client, object, change)
	if !written {
		return err
	}
	announce(r.Events, object, telemetry.ActionIssue, before.Report().Conditions, object.Report().Conditions, result.failure)
	if crowded(object.Report()) && !crowded(before.Report()) {
		r.Events.Failed(object, telemetry.ActionIssue, "PackedPolicySize", "The session's policies and tags fill more than 80 percent of what STS packs. At 100 it refuses them: make policy shorter, or use fewer policyARNs or tags.", nil)
	}
	return nil
}

// crowded tells whether policies and tags are near to what STS refuses.
func crowded(status *v1alpha1.CredentialStatus) bool {
	return status.PackedPolicySize != nil && *status.PackedPolicySize >= 80
}

func (r *Reconciler[T]) waiter(key types.NamespacedName) secret.Waiter {
	return secret.Waiter{Kind: r.Kind.Name, NamespacedName: key}
}
