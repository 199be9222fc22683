// Package credential reconciles credentials of all kinds: it keeps a Secret with session credentials for each, refreshed before they expire.
package credential

import (
	"cmp"
	"context"
	"strings"
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
	"rolecredential.dev/operator/controllers/authz"
	"rolecredential.dev/operator/controllers/backoff"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/status"
	"rolecredential.dev/operator/controllers/telemetry"
)

// Reconciler keeps the Secrets of one kind of credential up to date.
type Reconciler[T request.Object] struct {
	Kind       request.Kind[T]
	Client     client.Client
	Identities *identity.Resolver
	Secrets    *secretstore.Store
	Devices    *identity.Devices
	Limits     *limit.Limiter
	Events     telemetry.Events
	Metrics    *telemetry.Metrics
	Clock      clock.PassiveClock

	backoff backoff.Calls
}

// Reconcile reconciles one credential, then updates its status once.
func (r *Reconciler[T]) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	cred := r.Kind.New()
	if err := r.Client.Get(ctx, req.NamespacedName, cred); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	namespace := NamespaceMetadata()
	if err := r.Client.Get(ctx, client.ObjectKey{Name: req.Namespace}, namespace); err != nil {
		// A namespace that the cache does not hold yet enqueues its credentials when its event arrives.
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !cred.GetDeletionTimestamp().IsZero() || !namespace.GetDeletionTimestamp().IsZero() {
		// The API server accepts no Secret here any more. Drop the metrics so that no alert fires.
		r.Metrics.ForgetCredential(r.Kind.Name, req.NamespacedName)
		return reconcile.Result{}, nil
	}
	res, err := r.reconcile(ctx, cred, namespace.GetLabels())
	if err != nil {
		return reconcile.Result{}, err
	}
	res = r.prune(ctx, cred, res)
	r.Metrics.Credential(r.Kind.Name, req.NamespacedName, res.sample())
	if res.wait == nil || !res.wait.brief {
		if err := r.report(ctx, cred, res); err != nil {
			return reconcile.Result{}, err
		}
	}
	return backoff.Requeue(res.now, res.next()), nil
}

// reconcile brings the Secret of one credential up to date. If the Secret holds no valid credentials, it sets Ready to False in the status
// before the call of STS or the wait for it. Its error is the API server's; every other failure is in the result.
func (r *Reconciler[T]) reconcile(ctx context.Context, cred T, namespaceLabels map[string]string) (result, error) {
	a, res, err := r.plan(ctx, cred, namespaceLabels)
	if err != nil {
		return res, err
	}
	if !res.needsCall() {
		r.Limits.Cancel(r.Clock.Now(), r.limitKey(client.ObjectKeyFromObject(cred)))
		return res, nil
	}
	if err := r.markNotReady(ctx, cred, res); err != nil {
		return res, err
	}
	a, res, err = r.admit(ctx, cred, a, res)
	if err != nil || a.permit == nil {
		return res, err
	}
	issued, err := r.callSTS(ctx, a)
	res.now, res.skew = r.timeOf(a.identity)
	if err != nil {
		return r.failed(ctx, cred, a, res, err)
	}
	record, err := r.write(ctx, cred, a, issued)
	if err != nil {
		return r.failed(ctx, cred, a, res, err)
	}
	return r.succeeded(ctx, cred, a, res, record, issued.RequestID), nil
}

// plan authorizes the request, observes the Secret, and finds why STS must be called for it, if it must.
func (r *Reconciler[T]) plan(ctx context.Context, cred T, namespaceLabels map[string]string) (a attempt, res result, err error) {
	specRequest, invalid := r.Kind.Request(cred)
	id, denied, err := r.authorize(ctx, cred, specRequest, namespaceLabels)
	if err != nil {
		return a, res, err
	}
	tagged := specRequest
	if invalid == nil && id != nil {
		tagged, invalid = r.validate(cred, specRequest, id)
	}
	observed, notTakenOver, err := r.observe(ctx, cred, denied == nil && invalid == nil)
	if err != nil {
		return a, res, err
	}
	a = attempt{
		specRequest: specRequest, request: tagged, desired: desired(cred, specRequest, id), identity: id, observed: observed,
	}
	res = r.evaluate(cred, a, denied == nil)
	res.authorizationErr, res.issueErr = denied, cmp.Or(invalid, notTakenOver)
	res.retryAt = earliest(res.now, denied, notTakenOver, res.secretErr)
	return a, res, nil
}

// authorize returns the identity of a credential, and a failure if there is none or no rule allows the request.
func (r *Reconciler[T]) authorize(ctx context.Context, cred T, specRequest request.Request, namespaceLabels map[string]string) (*identity.Identity, *reason.Error, error) {
	id, denied, err := r.Identities.Resolve(ctx, request.IdentityRef(cred), request.ServiceAccount(cred, specRequest))
	if denied != nil || err != nil {
		return nil, denied, err
	}
	return id, authz.Decide(id.Allow, authz.Request{
		Identity:           id.Name,
		Namespace:          cred.GetNamespace(),
		NamespaceLabels:    namespaceLabels,
		Call:               authz.CallToAuthorize(id.Call(specRequest.Call)),
		RoleARN:            specRequest.RoleARN,
		SessionName:        specRequest.SessionName,
		NameField:          r.Kind.NameField,
		DefaultSessionName: r.Kind.DefaultName(cred),
		Duration:           specRequest.Duration,
		Chain:              id.Roles,
	}), nil
}

// observe returns what the Secret holds. It takes over a Secret that a former credential of this kind and name left, which is a write; the
// failure is that of the takeover.
func (r *Reconciler[T]) observe(ctx context.Context, cred T, allowed bool) (secretstore.Observed, *reason.Error, error) {
	spec := cred.Common()
	// That a credential is new only saves a read. A cache that is behind shows a credential as new after this process has issued for it.
	called := !r.backoff.Get(client.ObjectKeyFromObject(cred)).At.IsZero()
	isNew := len(cred.Report().Conditions) == 0 && allowed && !spec.Suspend && !called
	observed, err := r.Secrets.Observe(ctx, cred, request.SecretName(cred), spec.Secret, isNew)
	if err != nil || observed.Ownership != reissue.Former {
		return observed, nil, err
	}
	observed, err = r.Secrets.TakeOver(ctx, cred, observed, spec.Secret)
	switch {
	case apierrors.IsForbidden(err) || apierrors.IsInvalid(err):
		return observed, notTakenOver(request.SecretName(cred), err), nil
	case err == nil && observed.Ownership == reissue.Ours:
		log.FromContext(ctx).Info("took over the Secret", "secret", request.SecretName(cred))
	}
	return observed, nil, err
}

// evaluate returns whether the Secret can be written, what it holds, and why STS must be called for it. It renders no template of a
// credential that is not authorized.
func (r *Reconciler[T]) evaluate(cred T, a attempt, authorized bool) result {
	res := result{now: r.Clock.Now(), identity: request.IdentityName(request.IdentityRef(cred)), secret: request.SecretName(cred), suspended: cred.Common().Suspend}
	if a.identity != nil {
		res.now, res.skew = r.timeOf(a.identity)
	}
	if a.observed.Ownership == reissue.Foreign {
		res.secretErr = foreign(res.secret, r.Kind.Name, cred.GetName(), a.observed.Controller)
		return res
	}
	if authorized {
		res.secretErr = render.Check(cred.Common().Secret)
	}
	if problem := a.observed.Unwritable(cred.Common().Secret); problem != "" {
		res.secretErr = notWritable(res.secret, problem)
	}
	return res.withObserved(a.desired, a.observed.Observed)
}

// desired returns what the Secret must hold.
func desired(object request.Object, r request.Request, found *identity.Identity) reissue.Desired {
	spec := object.Common()
	w := reissue.Desired{
		RequestHash:    r.Hash(),
		TemplateHash:   render.Hash(spec.Secret),
		RefreshRequest: refreshRequest(object),
		Key:            object.GetNamespace() + "/" + object.GetName(),
	}
	if spec.RefreshBefore != nil {
		w.RefreshBefore = &spec.RefreshBefore.Duration
	}
	if found != nil {
		w.IssuerHash = found.IssuerHash
		if render.HoldsRegion(spec.Secret) { // the region is known only if the identity is
			w.IssuerHash = request.Hash([]string{found.IssuerHash, found.Region})
		}
	}
	return w
}

func refreshRequest(object request.Object) string {
	value := object.GetAnnotations()[v1alpha1.RefreshAnnotation]
	return strings.ToValidUTF8(value[:min(len(value), reissue.MaxRefreshRequest)], "")
}

// timeOf returns the time by the clock of STS, by which credentials expire, and how far that is ahead of the operator's.
func (r *Reconciler[T]) timeOf(id *identity.Identity) (time.Time, time.Duration) {
	skew, _ := id.Skew()
	return r.Clock.Now().Add(skew), skew
}

// earliest returns the earliest retry of failures, as far as there are any; zero for none.
func earliest(now time.Time, failures ...*reason.Error) (at time.Time) {
	for _, f := range failures {
		if f == nil {
			continue
		}
		if retry := f.Retry.From(now); !retry.IsZero() && (at.IsZero() || retry.Before(at)) {
			at = retry
		}
	}
	return at
}

// pruneRetry is how long the operator waits before it tries again to delete an old Secret.
const pruneRetry = time.Minute

// prune deletes the Secrets of earlier values of spec.secret.name, once the present Secret holds what the spec asks for. A failure
// shows in the condition Ready. It has a retry time of its own, and changes no retry time of a refresh.
func (r *Reconciler[T]) prune(ctx context.Context, cred T, res result) result {
	if !res.valid() || !res.current {
		return res
	}
	if err := r.Secrets.Prune(ctx, cred, res.secret); err != nil {
		log.FromContext(ctx).Error(err, "failed to delete the old Secret")
		res.undeletable, res.pruneAt = apiReason(err), res.now.Add(pruneRetry)
	}
	return res
}

// markNotReady sets Ready to False at once if the Secret holds no valid credentials. A call of STS, and a wait for it, may take seconds.
// A Secret that is missing gets no event: it is usually issued within milliseconds.
func (r *Reconciler[T]) markNotReady(ctx context.Context, cred T, res result) error {
	if res.valid() || !meta.IsStatusConditionTrue(cred.Report().Conditions, v1alpha1.ConditionReady) {
		return nil
	}
	generation, now := cred.GetGeneration(), r.Clock.Now()
	change := func(reported *v1alpha1.CredentialStatus) {
		reported.Conditions = status.Merge(reported.Conditions, []metav1.Condition{res.readyCondition()}, generation, now)
	}
	if res.record == nil {
		_, _, err := status.Update(ctx, r.Client, cred, change)
		return err
	}
	return r.updateStatus(ctx, cred, res, change)
}

// report writes the status of a result.
func (r *Reconciler[T]) report(ctx context.Context, cred T, res result) error {
	generation, now := cred.GetGeneration(), r.Clock.Now()
	return r.updateStatus(ctx, cred, res, func(reported *v1alpha1.CredentialStatus) { res.applyTo(reported, generation, now) })
}

// updateStatus writes the status if it changed, then an event.
func (r *Reconciler[T]) updateStatus(ctx context.Context, cred T, res result, change func(*v1alpha1.CredentialStatus)) error {
	before, written, err := status.Update(ctx, r.Client, cred, change)
	if !written {
		return err
	}
	status.Announce(r.Events, cred, telemetry.ActionIssue, before.Report().Conditions, cred.Report().Conditions, res.failure)
	if packedPolicyNearLimit(cred.Report()) && !packedPolicyNearLimit(before.Report()) {
		r.Events.Failed(cred, telemetry.ActionIssue, "PackedPolicySize", "The session's policies and tags use more than 80 percent of the packed size that STS allows. Shorten policy, or use fewer policyARNs or tags.", nil)
	}
	return nil
}

// packedPolicyNearLimit reports whether STS is about to reject the session's policies and tags.
func packedPolicyNearLimit(reported *v1alpha1.CredentialStatus) bool {
	return reported.PackedPolicySize != nil && *reported.PackedPolicySize >= 80
}

// forget drops all that is known of a credential that was deleted.
func (r *Reconciler[T]) forget(key types.NamespacedName) {
	if !r.backoff.Deleted(key, r.Clock.Now()) {
		r.Metrics.LimitHit(telemetry.LimitDeletedBackoff)
	}
	r.Limits.Cancel(r.Clock.Now(), r.limitKey(key))
	r.Metrics.ForgetCredential(r.Kind.Name, key)
}
