package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
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
	if soonest := last.mayMend(); t.due.Mends() && t.now.Before(soonest) {
		t.unwritable, t.retryAt = contended(t.secret), soonest
		return nil
	}
	var issued credential.Credential
	if failed == nil {
		var ready bool
		if ready, failed = r.withCode(t, seed); !ready && failed == nil {
			return nil
		}
	}
	if failed == nil {
		issued, failed, err = r.ask(ctx, t)
	}
	if failed == nil && err == nil {
		failed, err = r.write(ctx, object, t, issued)
	}
	if err != nil {
		return err
	}
	if failed != nil {
		log.FromContext(ctx).Info("no new credential", "reason", failed.Reason, "why", t.due, "cause", fmt.Sprint(failed.Cause))
		t.failed, t.retryAt = failed, r.attempts.failed(t.key, inputs, failed, t.now, t.left()).next
		return nil
	}
	if t.unwritable == nil {
		r.attempts.succeeded(t.key, inputs, t.due, t.now)
		log.FromContext(ctx).Info("issued", "why", t.due, "accessKeyID", issued.AccessKeyID, "principalARN", issued.PrincipalARN, "expiration", issued.Expiration)
	}
	return nil
}

// left is how long the credential in the Secret has to live.
func (t *turn) left() time.Duration {
	if t.record == nil {
		return 0
	}
	return max(0, t.record.Expiration.Sub(t.now))
}

func (r *Reconciler[T]) ask(ctx context.Context, t *turn) (credential.Credential, *failure.Failure, error) {
	subject := failure.Subject{Identity: t.identity.Name, Caller: t.identity.CallerARN, Call: t.request.Call, RoleARN: t.request.RoleARN, Endpoint: t.identity.Endpoint != "", MFA: t.request.MFASerialNumber != ""}
	issued, err := call(ctx, t.identity, t.request, t.mfaCode)
	if err != nil && ctx.Err() != nil { // the manager stops: that says nothing of STS
		return credential.Credential{}, nil, ctx.Err()
	}
	if errors.Is(err, errTemporary) {
		return credential.Credential{}, failure.WrongSource(subject, t.identity.Source), nil
	}
	reason := v1alpha1.ReasonIssued
	var failed *failure.Failure
	if err != nil {
		failed = awssts.Classify(err, subject)
		reason = failed.Reason
	}
	r.Metrics.Called(r.Kind.Name, string(t.request.Call), reason)
	if reason == v1alpha1.ReasonInvalidSourceCredentials {
		r.Identities.Rebuild(t.identity.Key)
	}
	return issued, failed, nil
}

var errTemporary = errors.New("the identity's credentials are temporary")

// call asks STS, unless it is known to take the call from no session and the identity is one.
func call(ctx context.Context, as *identity.Identity[STS], request credential.Request, mfaCode credential.Secret) (credential.Credential, error) {
	if request.LongTermOnly() {
		temporary, err := as.Temporary(ctx)
		if err != nil {
			return credential.Credential{}, err
		}
		if temporary {
			return credential.Credential{}, errTemporary
		}
	}
	return as.Client.Issue(ctx, request, mfaCode)
}

// write is the point at which a credential counts as issued.
func (r *Reconciler[T]) write(ctx context.Context, object T, t *turn, issued credential.Credential) (*failure.Failure, error) {
	data := output.Render(issued)
	record := credential.Record{
		RequestHash:      t.wanted.RequestHash,
		IssuerHash:       t.wanted.IssuerHash,
		TemplateHash:     t.wanted.TemplateHash,
		IssuedAt:         issued.IssuedAt,
		Expiration:       issued.Expiration,
		AccessKeyID:      issued.AccessKeyID,
		PrincipalARN:     issued.PrincipalARN,
		PackedPolicySize: issued.PackedPolicySize,
		RefreshRequest:   t.wanted.RefreshRequest,
	}.Sealed(data)
	err := r.Secrets.Write(ctx, object, t.secret, t.observed, secret.Content{Template: object.Common().Secret, Record: record, Data: data})
	switch {
	case errors.Is(err, secret.ErrForeign):
		t.unwritable = conflict(t.secret, r.Kind.Name, object.GetName())
		t.retryAt = t.now.Add(failure.MinWait) // a look at the Secret, which then is watched
		return nil, nil
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return notWritten(t.secret, err), nil
	}
	t.hold(record, true)
	return nil, nil
}

// stamped returns the request with the tags that the identity stamps on sessions. They are no part of what the spec wants: an
// object's are always the same, and a change of what is stamped shows in the identity's hash.
func (r *Reconciler[T]) stamped(object T, request credential.Request, stamp *v1alpha1.SessionTags) (credential.Request, *failure.Failure) {
	if stamp == nil || request.Call == v1alpha1.CallGetSessionToken { // which takes no tags
		return request, nil
	}
	stamped, err := request.Stamped([]credential.Tag{
		{Key: "kubernetes-cluster", Value: stamp.ClusterName},
		{Key: "kubernetes-namespace", Value: object.GetNamespace()},
		{Key: "kubernetes-name", Value: object.GetName()},
		{Key: "kubernetes-uid", Value: string(object.GetUID())},
		{Key: "kubernetes-kind", Value: r.Kind.Name},
	}, stamp.Transitive && request.Call == v1alpha1.CallAssumeRole)
	if err != nil {
		return request, &failure.Failure{
			Condition: v1alpha1.ConditionIssued,
			Reason:    v1alpha1.ReasonInvalidRequest,
			Message:   fmt.Sprintf("spec.tags cannot be asked for: %s. STS was not asked.", err),
			Retry:     failure.Never,
		}
	}
	return stamped, nil
}
