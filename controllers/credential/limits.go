package credential

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
)

const (
	// briefWait is the longest wait that the status does not show: an issue is two writes then, and not three.
	briefWait = 5 * time.Second
	// expiringWithin is the remaining validity below which a refresh is urgent: the kubelet takes a minute or two to update a volume,
	// and a throttled identity may need some more.
	expiringWithin = 5 * time.Minute
	// reservedPriority is for credentials that a call is reserved for.
	reservedPriority = 100
)

// acquire returns the permit for a call and its MFA code, if it needs one, or else the wait for them. A permit and an MFA code are consumed
// together or not at all.
func (r *Reconciler[T]) acquire(cred T, a attempt, res result) (permit *limit.Permit, code request.RedactedString, waiting *wait, err error) {
	take := func() bool {
		var w limit.Wait
		permit, w = r.Limits.Acquire(r.Clock.Now(), r.limitRequest(cred, a, res))
		if permit == nil {
			waiting = &wait{message: waitMessage(w.Cause, a.identity), requeueAfter: limit.Recheck, brief: w.Cause != limit.CircuitOpen && w.For < briefWait}
		}
		return permit != nil
	}
	if a.request.MFASerialNumber == "" {
		take()
		return permit, "", waiting, nil
	}
	code, next, err := r.Devices.Code(a.request.MFASerialNumber, a.device.seed, res.now, take)
	if err != nil {
		return nil, "", nil, invalidMFA("The seed of the MFA device is invalid: %s. Store the base32 text that AWS calls the secret configuration key.", err)
	}
	if code == "" && waiting == nil {
		waiting = &wait{
			message:      "The current MFA code has already been used. The operator retries with the next one within 30 seconds.",
			requeueAfter: reissue.Requeue(res.now, next),
		}
	}
	return permit, code, waiting, nil
}

func waitMessage(cause limit.Cause, id *identity.Identity) string {
	switch cause {
	case limit.CircuitOpen:
		return fmt.Sprintf("Waiting: STS calls of %s fail. The operator makes one call every few seconds to find out whether they still do.", id.Name)
	case limit.ConcurrencyLimit:
		return fmt.Sprintf("Waiting: too many STS calls of %s, or of this namespace, are in flight.", id.Name)
	default:
		return fmt.Sprintf("Waiting for the STS rate limit of %s.", id.Name)
	}
}

// tooSoon is the result of a credential that STS was called for several times in a row, until a time. With unchanged inputs,
// something keeps undoing the Secret.
func (r result) tooSoon(next time.Time, unchanged bool) result {
	r.retryAt = next
	if unchanged && r.why.IsRepair() {
		r.secretErr = contended(r.secret)
		return r
	}
	r.wait = &wait{
		message:      "Waiting: the operator has called STS for this credential several times within minutes. It calls again within 5 minutes.",
		requeueAfter: reissue.Requeue(r.now, next),
	}
	return r
}

func (r *Reconciler[T]) limitKey(key types.NamespacedName) request.Key {
	return request.Key{Kind: r.Kind.Name, NamespacedName: key}
}

func (r *Reconciler[T]) limitRequest(cred T, a attempt, res result) limit.Request {
	wanted := limit.Request{
		Identity: a.identity.Key, Credential: r.limitKey(client.ObjectKeyFromObject(cred)),
		QPS: a.identity.QPS, Version: a.identity.Version, Class: limit.Routine,
	}
	switch left := res.left(); {
	case left > 0 && left < expiringWithin:
		wanted.Class = limit.Expiring
	case left == 0 || !res.current:
		wanted.Class = limit.Missing
	}
	return wanted
}

// requeuedError is a failure of the identity as a whole. The limiter has queued the credential again.
type requeuedError struct{ failure *reason.Error }

func (e *requeuedError) Error() string { return e.failure.Error() }

// Unwrap returns the failure.
func (e *requeuedError) Unwrap() error { return e.failure }
