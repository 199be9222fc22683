package credential

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/stsemulator"
)

// stsSession is what STS issued.
type stsSession struct {
	request.Credentials
	hash string // of the request
}

// stsNow is the time by the clock of STS.
func (w *world) stsNow() time.Time { return w.clock.Now().Add(w.stsOffset) }

// Issue issues session credentials that differ from all others, disturbed as chosen.
func (p *process) Issue(_ context.Context, _ aws.CredentialsProvider, r request.Request, auth request.CallAuth) (request.Credentials, error) {
	w := p.world
	if p.crashed {
		return request.Credentials{}, errCrashed
	}
	chosen := w.disturb("call STS", stsThrottles, stsDenies, timeout, answerLost, crashBefore, crashAfter)
	if chosen == crashBefore {
		p.crashed = true
		return request.Credentials{}, errCrashed
	}
	if w.called && w.violation == nil {
		w.violation = errors.New("the operator called STS twice in one reconcile")
	}
	w.calls, w.called = w.calls+1, true
	p.skew, p.measured = w.stsOffset, true
	switch {
	case chosen == stsThrottles:
		return request.Credentials{}, testkit.STSError("Throttling")
	case chosen == timeout:
		return request.Credentials{}, context.DeadlineExceeded
	case chosen == stsDenies || w.distrusts || r.MFASerialNumber != "" && !p.accepts(string(auth.MFACode)):
		return request.Credentials{}, testkit.STSError("AccessDenied")
	}
	issued := w.issue(r)
	switch chosen {
	case answerLost:
		return request.Credentials{}, context.DeadlineExceeded
	case crashAfter:
		p.crashed = true
		return request.Credentials{}, errCrashed
	}
	return issued, nil
}

func (w *world) issue(r request.Request) request.Credentials {
	id, now := strconv.Itoa(len(w.sessions)+1), w.stsNow().Truncate(time.Second)
	issued := request.Credentials{
		AccessKeyID: "ASIA" + id, SecretAccessKey: request.RedactedString("secret-" + id), SessionToken: request.RedactedString("token-" + id),
		IssuedAt: now, Expiration: now.Add(r.Duration), PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/" + r.SessionName,
	}
	w.sessions[issued.AccessKeyID] = stsSession{issued, r.Hash()}
	return issued
}

// usedCode is the use of an MFA code.
type usedCode struct {
	by        *process
	stsOffset time.Duration
}

// accepts reports whether an MFA code is that of the present time, and new. A process sends no code twice, unless its clock was set back
// since.
func (p *process) accepts(code string) bool {
	w := p.world
	current, err := stsemulator.MFACode(deviceSeed, w.stsNow())
	if err != nil {
		panic(err)
	}
	use := usedCode{p, w.stsOffset}
	before, used := w.codes[code]
	if before == use && w.violation == nil {
		w.violation = errors.New("the operator used an MFA code twice")
	}
	w.codes[code] = use
	return !used && code == current
}

// Caller returns the caller.
func (p *process) Caller(context.Context, aws.CredentialsProvider) (awssts.Caller, error) {
	return awssts.Caller{}, nil
}

// Hop returns the credentials that a hop would be assumed with.
func (p *process) Hop(keys aws.CredentialsProvider, _ request.Request, _ identity.AuthSource) aws.CredentialsProvider {
	return keys
}

// Skew returns the skew as measured at the last call.
func (p *process) Skew() (time.Duration, bool) { return p.skew, p.measured }
