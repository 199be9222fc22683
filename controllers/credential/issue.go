package credential

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/telemetry"
)

// attempt is the input of a call of STS for a credential.
type attempt struct {
	// specRequest is the request of the spec, and request the same with the session tags of the identity.
	specRequest, request request.Request
	desired              reissue.Desired
	identity             *identity.Identity // nil if there is no usable identity
	observed             secretstore.Observed

	// The others are set once a call is due. inputs is a hash of all that the result of the call depends on.
	inputs string
	device mfaDevice
	// permit is nil until the call may be made, with an MFA code if it needs one.
	permit *limit.Permit
	code   request.RedactedString
}

// call is the call as AWS names it.
func (a attempt) call() v1alpha1.Call { return a.identity.Call(a.request.Call) }

// subject is what a message about the call names.
func (a attempt) subject() reason.Subject {
	s := a.identity.Subject(a.call())
	s.Caller, s.ServiceAccount, s.SetsSessionTags = a.identity.CallerARN, a.identity.ServiceAccount, a.identity.SessionTags != nil
	s.RoleARN, s.OptionalFields, s.MFA = a.request.RoleARN, a.optionalFields(), a.request.MFASerialNumber != ""
	return s
}

// optionalFields lists the fields that a server other than AWS may not support.
func (a attempt) optionalFields() (fields []string) {
	fields = a.specRequest.OptionalFieldPaths()
	if a.identity.SessionTags != nil && a.request.Call != v1alpha1.CallGetSessionToken {
		fields = append(fields, "sessionTags of the identity")
	}
	return fields
}

// admit returns the attempt with a permit for its call. There is no permit if an earlier failure, a limit or a new failure makes the
// credential wait, as the result says.
func (r *Reconciler[T]) admit(ctx context.Context, cred T, a attempt, res result) (attempt, result, error) {
	device, err := r.readMFADevice(ctx, cred)
	if _, isFailure := reason.As(err); err != nil && !isFailure {
		return a, res, err
	}
	a.device = device
	a.inputs = request.Hash([]string{
		string(cred.GetUID()), request.SecretName(cred), a.desired.RequestHash, a.desired.TemplateHash, a.desired.RefreshRequest, a.identity.Version, device.version,
	})
	last := r.backoff.Get(client.ObjectKeyFromObject(cred))
	switch next := last.NextIssue(a.inputs, res.now); {
	case last.InBackoff(a.inputs, res.now):
		res.issueErr, res.retryAt = last.Failure, device.recheck(res.now, last.Next)
		return a, res, nil
	case !next.IsZero():
		r.Metrics.LimitHit(telemetry.LimitIssueInterval)
		return a, res.tooSoon(next, last.Inputs == a.inputs), nil
	case last.Inputs == a.inputs:
		res.issueErr = last.Failure // it stands until STS issues credentials
	}
	if err == nil {
		err = r.validateSource(ctx, cred, a)
	}
	if err == nil {
		a, res, err = r.acquire(cred, a, res)
	}
	if err != nil {
		res, err = r.failed(ctx, cred, a, res, err)
	}
	return a, res, err
}

// checkFields fails if the call has no parameter for a field of the spec.
func (r *Reconciler[T]) checkFields(cred T, a attempt) error {
	nameField := ""
	if a.specRequest.SessionName != r.Kind.DefaultName(cred) && !a.identity.AcceptsSessionName() {
		nameField = r.Kind.NameField
	}
	fields := strings.Join(a.request.FieldsWithoutParameter(a.call(), nameField), ", ")
	switch {
	case fields == "":
		return nil
	case a.call() == v1alpha1.CallCreateSession:
		return reason.NotSent(v1alpha1.ReasonUnsupportedField, "%s reaches the role with a certificate, and CreateSession of IAM Roles Anywhere takes no %s. "+
			"Remove that, or use an identity with another source or with a chain. It takes sessionName if the profile does: then set acceptRoleSessionName in source.x509 of the identity.",
			a.identity.Name, fields)
	default:
		return reason.NotSent(v1alpha1.ReasonUnsupportedField, "%s calls STS with a web identity token, and %s has no parameter for %s. "+
			"Remove that, or use an identity with another source or with a chain.", a.identity.Name, a.call(), fields)
	}
}

// validateSource fails if the identity's own credentials cannot make the call. STS would reject it.
func (r *Reconciler[T]) validateSource(ctx context.Context, cred T, a attempt) error {
	if err := r.checkFields(cred, a); err != nil {
		return err
	}
	if !a.request.LongTermOnly() {
		return nil
	}
	temporary, err := a.identity.Temporary(ctx)
	switch {
	case err != nil:
		return r.recordFailure(ctx, a, err)
	case temporary:
		return reason.WrongSource(a.subject(), a.identity.Source)
	default:
		return nil
	}
}

// errQueued is joined to the failure of an identity as a whole if the limiter has queued the credential again.
var errQueued = errors.New("queued again")

// callSTS makes the call and releases its permit.
func (r *Reconciler[T]) callSTS(ctx context.Context, a attempt) (issued request.Credentials, err error) {
	outcome := limit.NotCalled // until STS has answered, also if the call panics
	defer func() {
		if r.Limits.Release(r.Clock.Now(), a.permit, outcome) {
			err = errors.Join(err, errQueued)
		}
	}()
	issued, err = a.identity.Issue(ctx, a.request, a.code)
	if skew, known := a.identity.Skew(); known {
		r.Metrics.ClockSkew(a.identity.Key.Label(), skew)
	}
	if err != nil {
		err = r.recordFailure(ctx, a, err)
		if f, ok := reason.As(err); ok {
			outcome = identity.OutcomeOf(f)
		}
		return issued, err
	}
	outcome = limit.Answered
	r.Metrics.Called(r.Kind.Name, string(a.call()), v1alpha1.ReasonIssued)
	return issued, nil
}

// recordFailure turns an error of the source or of STS into a failure, unless the reconcile was cancelled or timed out.
// It counts the call, unless a hop failed, and drops source credentials that STS rejected.
func (r *Reconciler[T]) recordFailure(ctx context.Context, a attempt, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f := awssts.Classify(err, a.subject())
	if _, hop := errors.AsType[*reason.HopError](err); !hop { // a hop's call is counted where it is made
		r.Metrics.Called(r.Kind.Name, string(a.call()), f.Reason)
	}
	if f.Reason == v1alpha1.ReasonInvalidSourceCredentials {
		a.identity.InvalidateCredentials()
	}
	return f
}

// write writes issued credentials to the Secret. Only then do they count as issued.
func (r *Reconciler[T]) write(ctx context.Context, cred T, a attempt, issued request.Credentials) (reissue.Record, error) {
	name, template := request.SecretName(cred), cred.Common().Secret
	data, err := render.Render(template, issued, a.identity.Region)
	if err != nil {
		return reissue.Record{}, unrenderable(name, err)
	}
	record := reissue.Record{
		Credential:       r.Kind.Name + "/" + cred.GetName(),
		RequestHash:      a.desired.RequestHash,
		IssuerHash:       a.desired.IssuerHash,
		TemplateHash:     a.desired.TemplateHash,
		IssuedAt:         issued.IssuedAt,
		Expiration:       issued.Expiration,
		AccessKeyID:      issued.AccessKeyID,
		PrincipalARN:     issued.PrincipalARN,
		PackedPolicySize: issued.PackedPolicySize,
		RefreshRequest:   a.desired.RefreshRequest,
	}.WithPrevious(a.observed.Record).WithChecksum(data)
	err = r.Secrets.Write(ctx, cred, name, a.observed, secretstore.Content{Template: template, Record: record, Data: data})
	switch {
	case err == nil:
		return record, nil
	case ctx.Err() != nil:
		return record, ctx.Err()
	case errors.Is(err, secretstore.ErrForeign):
		return record, foreign(name, r.Kind.Name, cred.GetName(), "")
	default:
		return record, rejected(name, err)
	}
}

// succeeded returns the result of a Secret that was written.
func (r *Reconciler[T]) succeeded(ctx context.Context, cred T, a attempt, res result, record reissue.Record, requestID string) result {
	r.backoff.Succeeded(client.ObjectKeyFromObject(cred), a.inputs, record.Expiration.Sub(record.IssuedAt), res.now)
	if late := record.IssuedAt.Sub(res.refreshAt); res.why == reissue.Due && late <= reissue.MaxLifetime {
		// A credential that was due even earlier was suspended or restored from a backup: that says nothing about the operator.
		r.Metrics.Refreshed(r.Kind.Name, late)
	}
	res.issueErr = nil
	res = res.withRecord(record, a.desired, true)
	a.log(ctx, "issued", res.why, v1alpha1.ReasonIssued, requestID, "accessKeyID", record.AccessKeyID, "principalARN", record.PrincipalARN, "expiration", record.Expiration)
	return res
}

// failed returns the result of a failure and records when the next call may be made. An error that is not a failure is the API
// server's.
func (r *Reconciler[T]) failed(ctx context.Context, cred T, a attempt, res result, err error) (result, error) {
	f, ok := reason.As(err)
	if !ok {
		return res, err
	}
	key := client.ObjectKeyFromObject(cred)
	a.log(ctx, "no new credential", res.why, f.Reason, awssts.RequestID(f.Cause), "cause", fmt.Sprint(f.Cause))
	if f.Condition == v1alpha1.ConditionReady { // the Secret became foreign during the call
		res.secretErr, res.retryAt = f, res.now.Add(reason.MinWait)
		return res, nil
	}
	res.issueErr = f
	if errors.Is(err, errQueued) {
		r.backoff.FailedForAll(key, a.inputs, f, res.now)
		res.retryAt = res.now.Add(limit.Recheck)
		return res, nil
	}
	res.retryAt = a.device.recheck(res.now, r.backoff.Failed(key, a.inputs, f, res.now, res.left()))
	return res, nil
}

// validate returns the request with the session tags of the identity, or a failure if STS could only reject it. The tags are no part of
// what the spec asks for: those of an object never change, and a change of the identity's settings shows in its hash. A request may not
// set these tags itself, even without sessionTags: another identity may have the same caller, and a policy sees the caller only.
func (r *Reconciler[T]) validate(cred T, specRequest request.Request, id *identity.Identity) (request.Request, *reason.Error) {
	if id.Endpoint == "" { // another server has names of its own
		if err := specRequest.CheckARNs(id.Region, id.Name); err != nil {
			return specRequest, err
		}
	}
	if specRequest.Call == v1alpha1.CallGetSessionToken { // it has no tags
		return specRequest, nil
	}
	tags := []request.Tag{
		{Key: "kubernetes-cluster", Value: ptr.Deref(id.SessionTags, v1alpha1.SessionTags{}).ClusterName},
		{Key: "kubernetes-namespace", Value: cred.GetNamespace()},
		{Key: "kubernetes-name", Value: cred.GetName()},
		{Key: "kubernetes-uid", Value: string(cred.GetUID())},
		{Key: "kubernetes-kind", Value: r.Kind.Name},
	}
	tagged, err := specRequest, specRequest.OverridesReservedTag(tags)
	if id.SessionTags != nil {
		tagged, err = specRequest.WithSessionTags(tags, id.SessionTags.Transitive && specRequest.Call == v1alpha1.CallAssumeRole)
	}
	if err != nil {
		return tagged, reason.NotSent(v1alpha1.ReasonInvalidTags, "spec.tags is invalid: %s.", err)
	}
	return tagged, nil
}
