package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/budget"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/output"
	"rolecredential.dev/operator/controllers/secret"
)

// issue asks STS and writes the Secret, unless it is too soon after an attempt that went wrong.
func (r *Reconciler[T]) issue(ctx context.Context, object T, t *turn) error {
	seed, failed, err := r.seed(ctx, object)
	if err != nil {
		return err
	}
	inputs := credential.Hash([]string{t.wanted.RequestHash, t.wanted.TemplateHash, t.wanted.RefreshRequest, t.identity.Version, seed.version})
	last := r.attempts.get(t.key)
	if last.waits(inputs, t.now) {
		t.failed, t.retryAt = last.failure, last.next
		return nil
	}
	if soonest := last.mayMend(object.GetUID()); t.due.Mends() && t.now.Before(soonest) {
		t.unwritable, t.retryAt = contended(t.secret), soonest
		return nil
	}
	dueAt := t.refreshAt
	if last.retries(inputs) && !r.mayRetry(t, last.failure) {
		t.failed = last.failure
		return nil
	}
	if failed == nil {
		failed, err = r.attempt(ctx, object, t, seed)
	}
	switch {
	case err != nil:
		return err
	case failed != nil:
		t.tell(ctx, "no new credential", failed.Reason, "cause", fmt.Sprint(failed.Cause))
		t.failed, t.retryAt = failed, r.attempts.failed(t.key, inputs, failed, t.now, t.left()).next
	case t.waiting != "":
		if last.inputs == inputs {
			t.failed = last.failure // what went wrong before has not gone right by waiting
		}
	case t.unwritable != nil:
		t.tell(ctx, "no new credential", t.unwritable.Reason)
	default:
		r.attempts.succeeded(t.key, object.GetUID(), t.due, t.now)
		if t.due == credential.Due {
			r.measureLateness(t.record.IssuedAt.Sub(dueAt))
		}
		t.tell(ctx, "issued", v1alpha1.ReasonIssued, "accessKeyID", t.record.AccessKeyID, "principalARN", t.record.PrincipalARN, "expiration", t.record.Expiration)
	}
	return nil
}

// measureLateness measures how long after it was due a credential was refreshed. It leaves out a credential that was due longer ago
// than any lives: it was suspended or restored from a backup, and says nothing of how fast the operator refreshes.
func (r *Reconciler[T]) measureLateness(late time.Duration) {
	if late <= credential.MaxLifetime {
		r.Metrics.Refreshed(r.Kind.Name, late)
	}
}

// attempt asks STS and writes the Secret. If there is no failure, the credential is in the Secret, unless the turn has to wait,
// or the Secret turned out to be a stranger's.
func (r *Reconciler[T]) attempt(ctx context.Context, object T, t *turn, s seed) (*failure.Failure, error) {
	if failed, err := r.suits(ctx, t); failed != nil || err != nil {
		return failed, err
	}
	issued, failed, err := r.ask(ctx, object, t, s)
	if issued == nil {
		return failed, err
	}
	return r.write(ctx, object, t, *issued)
}

// left is how long the credential in the Secret has to live.
func (t *turn) left() time.Duration {
	if t.record == nil {
		return 0
	}
	return max(0, t.record.Expiration.Sub(t.now))
}

// suits tells whether the identity's credentials are such as STS takes for the call, which is known before it is asked.
func (r *Reconciler[T]) suits(ctx context.Context, t *turn) (*failure.Failure, error) {
	if t.byWebIdentity() {
		if fields := t.request.NotWithWebIdentity(); len(fields) > 0 {
			return failure.NotAsked(v1alpha1.ReasonUnsupportedField, "%s asks for the role with a service account's token, and AssumeRoleWithWebIdentity takes no %s. "+
				"Leave that out, or use an identity with another source or with a chain.", t.identity.Name, strings.Join(fields, ", ")), nil
		}
	}
	if !t.request.LongTermOnly() {
		return nil, nil
	}
	temporary, err := t.identity.Temporary(ctx)
	switch {
	case err != nil:
		return r.classify(ctx, t, err)
	case temporary:
		return failure.WrongSource(t.subject(), t.identity.Source), nil
	default:
		return nil, nil
	}
}

// ask asks STS. If there is neither a credential nor a failure, the turn has to wait.
func (r *Reconciler[T]) ask(ctx context.Context, object T, t *turn, s seed) (*credential.Credential, *failure.Failure, error) {
	if !r.takePlace(ctx, t) {
		return nil, nil, nil
	}
	defer r.freePlace(t)
	if ready, failed := r.prepare(t, s); !ready {
		return nil, failed, nil
	}
	var err error
	if t.byWebIdentity() {
		t.proof.WebIdentityToken, err = t.identity.WebIdentity()(ctx)
	}
	var issued credential.Credential
	if err == nil {
		r.attend(ctx, object, *t, func() { issued, err = t.identity.Client.Issue(ctx, t.request, t.proof) })
		r.tellTime(t)
		if ahead, known := t.identity.Client.Skew(); known {
			r.Metrics.ClockSkew(t.identity.Key.Label(), ahead)
		}
	}
	if err != nil {
		failed, err := r.classify(ctx, t, err)
		return nil, failed, err
	}
	t.requestID = issued.RequestID
	r.Metrics.Called(r.Kind.Name, string(t.call()), v1alpha1.ReasonIssued)
	r.Budget.Succeeded(r.Clock.Now(), budget.Key(t.identity.Key))
	return &issued, nil, nil
}

// silence is how long STS may say nothing before somebody looks what becomes of the Secret meanwhile, and then each time again.
const silence = 2 * time.Second

// attend makes a call of STS. While that says nothing, Ready is taken back if the Secret goes, is changed, or expires.
func (r *Reconciler[T]) attend(ctx context.Context, object T, t turn, call func()) {
	silent, answered := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Go(func() {
		_ = wait.PollUntilContextCancel(silent, silence, false, func(context.Context) (bool, error) {
			if err := r.look(ctx, object, t); err != nil {
				log.FromContext(ctx).Error(err, "the status stays as it is while STS says nothing")
			}
			return false, nil
		})
	})
	defer looking.Wait()
	defer answered()
	call()
}

// look looks again at the Secret of a turn that is under way, and takes Ready back if that holds nothing valid.
func (r *Reconciler[T]) look(ctx context.Context, object T, t turn) (err error) {
	if !isReady(object) {
		return nil
	}
	spec := object.Common()
	if t.observed, err = r.Secrets.Observe(ctx, object, t.secret, spec.Secret, output.Keys(spec.Secret), false); err != nil {
		return err
	}
	t.record, t.unwritable = nil, nil
	r.tellTime(&t)
	r.decide(&t, object)
	return r.withdraw(ctx, object, t.outcome)
}

// byWebIdentity tells whether a service account's token goes with the call.
func (t *turn) byWebIdentity() bool {
	return t.request.Call == v1alpha1.CallAssumeRole && t.identity.WebIdentity() != nil
}

// call is the call of STS as AWS names it.
func (t *turn) call() v1alpha1.Call {
	if t.byWebIdentity() {
		return v1alpha1.CallAssumeRoleWithWebIdentity
	}
	return t.request.Call
}

// classify turns an error of the source or of STS into a failure, unless it is that the manager stops, which says nothing of
// either.
func (r *Reconciler[T]) classify(ctx context.Context, t *turn, err error) (*failure.Failure, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	failed := awssts.Classify(err, t.subject())
	t.requestID = awssts.RequestID(err)
	if _, hop := errors.AsType[*failure.HopError](err); !hop { // which is counted where it is made
		r.Metrics.Called(r.Kind.Name, string(t.call()), failed.Reason)
	}
	r.remember(t, failed)
	switch failed.Reason {
	case v1alpha1.ReasonInvalidSourceCredentials:
		t.identity.Refused()
	case v1alpha1.ReasonThrottled:
		r.Budget.Throttled(r.Clock.Now(), t.asked, budget.Key(t.identity.Key))
	}
	return failed, nil
}

// subject is what a message about the call names.
func (t *turn) subject() failure.Subject {
	return failure.Subject{
		Identity: t.identity.Name, Caller: t.identity.CallerARN, ServiceAccount: t.identity.ServiceAccount, Call: t.call(), RoleARN: t.request.RoleARN,
		Endpoint: t.identity.Endpoint, Region: t.identity.Region, OptionalFields: t.optionalFields, MFA: t.request.MFASerialNumber != "",
		Stamped: t.identity.SessionTags != nil, ClockInSync: clockInSync(t.identity.Client),
	}
}

// optionalFields lists what a request asks for that a server other than AWS may not support.
func optionalFields(request credential.Request, from *identity.Identity[STS]) (fields []string) {
	for _, field := range request.OptionalFields() {
		fields = append(fields, "spec."+field)
	}
	if from.SessionTags != nil && request.Call != v1alpha1.CallGetSessionToken {
		fields = append(fields, "sessionTags of the identity")
	}
	return fields
}

// write is the point at which a credential counts as issued.
func (r *Reconciler[T]) write(ctx context.Context, object T, t *turn, issued credential.Credential) (*failure.Failure, error) {
	data, err := output.Render(object.Common().Secret, issued, t.identity.Region)
	if err != nil {
		r.answered(t, true)
		return unfit(t.secret, err), nil
	}
	record := credential.Record{
		Credential:       r.Kind.Name + "/" + object.GetName(),
		RequestHash:      t.wanted.RequestHash,
		IssuerHash:       t.wanted.IssuerHash,
		TemplateHash:     t.wanted.TemplateHash,
		IssuedAt:         issued.IssuedAt,
		Expiration:       issued.Expiration,
		AccessKeyID:      issued.AccessKeyID,
		PrincipalARN:     issued.PrincipalARN,
		PackedPolicySize: issued.PackedPolicySize,
		RefreshRequest:   t.wanted.RefreshRequest,
	}.After(t.observed.Record).Sealed(data)
	err = r.Secrets.Write(ctx, object, t.secret, t.observed, secret.Content{Template: object.Common().Secret, Record: record, Data: data})
	foreign := errors.Is(err, secret.ErrForeign)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && !foreign:
		failed := notWritten(t.secret, err)
		r.remember(t, failed)
		return failed, nil
	}
	r.answered(t, true)
	if foreign {
		t.unwritable = conflict(t.secret, r.Kind.Name, object.GetName(), "")
		t.retryAt = t.now.Add(failure.MinWait) // a look at the Secret, which then is watched
		return nil, nil
	}
	t.hold(record, true)
	return nil, nil
}

// stamped returns the request with the tags that the identity stamps on sessions. They are no part of what the spec wants: an
// object's are always the same, and a change of what is stamped shows in the identity's hash. Where nothing is stamped, nothing
// may be forged either: another identity may have the same caller, and a policy that rests on the tags sees the caller only.
func (r *Reconciler[T]) stamped(object T, request credential.Request, stamp *v1alpha1.SessionTags) (credential.Request, *failure.Failure) {
	if request.Call == v1alpha1.CallGetSessionToken { // which takes no tags
		return request, nil
	}
	stamps := []credential.Tag{
		{Key: "kubernetes-cluster", Value: ptr.Deref(stamp, v1alpha1.SessionTags{}).ClusterName},
		{Key: "kubernetes-namespace", Value: object.GetNamespace()},
		{Key: "kubernetes-name", Value: object.GetName()},
		{Key: "kubernetes-uid", Value: string(object.GetUID())},
		{Key: "kubernetes-kind", Value: r.Kind.Name},
	}
	err := request.Forges(stamps)
	if stamp != nil {
		request, err = request.Stamped(stamps, stamp.Transitive && request.Call == v1alpha1.CallAssumeRole)
	}
	if err != nil {
		return request, failure.NotAsked(v1alpha1.ReasonInvalidTags, "spec.tags cannot be asked for: %s.", err)
	}
	return request, nil
}
