package credential

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/request"
)

const (
	// briefWait is the longest wait that the status does not show: issuing then takes two writes instead of three.
	briefWait = 5 * time.Second
	// expiringWithin is the remaining validity below which a refresh is urgent: the kubelet takes a minute or two to update a volume,
	// and a throttled identity may need some more.
	expiringWithin = 5 * time.Minute
	// reservedPriority is for credentials that a call is reserved for.
	reservedPriority = 100
)

// acquire returns the attempt with the permit for its call and the MFA code, if it needs one, or else the result with the wait for them. A
// permit and an MFA code are consumed together or not at all.
func (r *Reconciler[T]) acquire(cred T, a attempt, res result) (attempt, result, error) {
	permitted := func() bool {
		var w limit.Wait
		if a.permit, w = r.Limits.Acquire(r.Clock.Now(), r.limitRequest(cred, a, res)); a.permit == nil {
			res.wait = &wait{message: waitMessage(w.Cause, a.identity), brief: w.Cause != limit.CircuitOpen && w.For < briefWait}
			res.retryAt = res.now.Add(limit.Recheck)
		}
		return a.permit != nil
	}
	if a.request.MFASerialNumber == "" {
		permitted()
		return a, res, nil
	}
	code, next, err := r.Devices.Code(a.request.MFASerialNumber, a.device.seed, res.now, permitted)
	if err != nil {
		return a, res, invalidMFA("The seed of the MFA device is invalid: %s. Store the base32 text that AWS calls the secret configuration key.", err)
	}
	if code == "" && res.wait == nil {
		res.wait = &wait{message: "The current MFA code has already been used. The operator retries with the next one within 30 seconds."}
		res.retryAt = next
	}
	a.code = code
	return a, res, nil
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
	r.wait = &wait{message: "Waiting: the operator has called STS for this credential several times within minutes. It calls again within 5 minutes."}
	return r
}

func (r *Reconciler[T]) limitKey(key types.NamespacedName) request.Key {
	return request.Key{Kind: r.Kind.Name, NamespacedName: key}
}

func (r *Reconciler[T]) limitRequest(cred T, a attempt, res result) limit.Request {
	req := limit.Request{
		Identity: a.identity.Key, Credential: r.limitKey(client.ObjectKeyFromObject(cred)),
		QPS: int(a.identity.STSQPS), Version: a.identity.Version, Class: limit.Routine,
	}
	switch left := res.left(); {
	case left > 0 && left < expiringWithin:
		req.Class = limit.Expiring
	case left == 0 || !res.current:
		req.Class = limit.Missing
	}
	return req
}
