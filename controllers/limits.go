package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/telemetry"
)

const (
	// limitRecheck is when a credential that waits for the limiter is reconciled again, for its class or the cause of its wait may have
	// changed. The limiter enqueues it earlier if a call becomes possible.
	limitRecheck = time.Minute
	// briefWait is the longest wait that the status does not show: an issue is two writes then, and not three.
	briefWait = 5 * time.Second
	// expiringWithin is the remaining validity below which a refresh is urgent: the kubelet takes a minute or two to update a volume,
	// and a throttled identity may need some more.
	expiringWithin = 5 * time.Minute
	// reservedPriority is for credentials that a call is reserved for.
	reservedPriority = 100
)

// acquire returns the permit for a call and what authenticates it. If there is none yet, the wait is in the result. A permit and an MFA
// code are consumed together or not at all.
func (r *Reconciler[T]) acquire(cred T, a attempt, d mfaDevice, res *result) (permit *limit.Call, proof credential.CallAuth, err error) {
	take := func() bool {
		var w limit.Wait
		permit, w = r.Limits.Acquire(r.Clock.Now(), r.limitRequest(cred, a, *res))
		if permit == nil {
			res.wait = &wait{message: waitMessage(w.Cause, a.identity), retryAfter: limitRecheck, brief: w.Cause != limit.CircuitOpen && w.For < briefWait}
		}
		return permit != nil
	}
	if a.request.MFASerialNumber == "" {
		take()
		return permit, proof, nil
	}
	code, next, err := r.Devices.Code(a.request.MFASerialNumber, d.seed, res.now, take)
	if err != nil {
		return nil, proof, failure.NotCalled(v1alpha1.ReasonInvalidMFA, "The seed of the MFA device is invalid: %s. Store the base32 text that AWS calls the secret configuration key.", err)
	}
	if code == "" && res.wait == nil {
		res.wait = &wait{
			message:    "The current MFA code has already been used. The operator retries with the next one within 30 seconds.",
			retryAfter: credential.Requeue(res.now, next),
		}
	}
	proof.MFACode = code
	return permit, proof, nil
}

func waitMessage(cause limit.Cause, id *identity.Identity[STS]) string {
	switch cause {
	case limit.CircuitOpen:
		return fmt.Sprintf("Waiting: STS calls of %s fail. The operator makes one call every few seconds to find out whether they still do.", id.Name)
	case limit.ConcurrencyLimit:
		return fmt.Sprintf("Waiting: too many STS calls of %s, or of this namespace, are in flight.", id.Name)
	default:
		return fmt.Sprintf("Waiting for the STS rate limit of %s.", id.Name)
	}
}

func (r *Reconciler[T]) limitKey(key types.NamespacedName) limit.Key {
	return limit.Key{Kind: r.Kind.Name, NamespacedName: key}
}

func (r *Reconciler[T]) limitRequest(cred T, a attempt, res result) limit.Request {
	request := limit.Request{
		Identity: limit.Key(a.identity.Key), Credential: r.limitKey(client.ObjectKeyFromObject(cred)),
		QPS: a.identity.QPS, Version: a.identity.Version, Class: limit.Routine,
	}
	left := res.left()
	if left > 0 {
		request.Expires = r.Clock.Now().Add(left)
	}
	switch {
	case left > 0 && left < expiringWithin:
		request.Class = limit.Expiring
	case left == 0 || !res.current:
		request.Class = limit.Missing
	}
	return request
}

// identityWideError is a failure of the identity rather than of the credential. The limiter has queued the credential again.
type identityWideError struct{ *failure.Failure }

// Unwrap returns the failure.
func (f *identityWideError) Unwrap() error { return f.Failure }

// identityWide are the reasons that are likely to affect every call of an identity.
var identityWide = map[string]bool{
	v1alpha1.ReasonSTSUnreachable: true, v1alpha1.ReasonSTSError: true, v1alpha1.ReasonInvalidSourceCredentials: true,
	v1alpha1.ReasonRegionDisabled: true, v1alpha1.ReasonClockSkew: true,
}

// outcomeOf returns what a failure means for the identity's other calls.
func outcomeOf(f *failure.Failure) limit.Outcome {
	switch {
	case f.Reason == v1alpha1.ReasonTokenNotIssued: // STS was not called
		return limit.NotCalled
	case f.Reason == v1alpha1.ReasonThrottled:
		return limit.Throttled
	case identityWide[f.Reason]:
		return limit.Unavailable
	default:
		return limit.Answered
	}
}

// dispatcher enqueues the credentials that the limiter has reserved calls for.
type dispatcher struct {
	limits  *limit.Limiter
	clock   clock.Clock
	changed chan struct{}

	mu sync.Mutex
	// queues holds the queue of each kind of credential.
	queues map[string]workqueue.TypedRateLimitingInterface[reconcile.Request]
}

func newDispatcher(qps, slots int, c clock.Clock) *dispatcher {
	d := &dispatcher{clock: c, changed: make(chan struct{}, 1), queues: map[string]workqueue.TypedRateLimitingInterface[reconcile.Request]{}}
	d.limits = &limit.Limiter{DefaultQPS: qps, Slots: slots, Changed: d.notify}
	return d
}

// notify makes the dispatcher look for reserved calls.
func (d *dispatcher) notify() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// Start runs until the context is done.
func (d *dispatcher) Start(ctx context.Context) error {
	for {
		now := d.clock.Now()
		ready, next := d.limits.Ready(now)
		for _, key := range ready {
			d.enqueue(key)
		}
		var due <-chan time.Time
		stop := func() bool { return true }
		if !next.IsZero() {
			timer := d.clock.NewTimer(max(next.Sub(now), time.Millisecond))
			due, stop = timer.C(), timer.Stop
		}
		select {
		case <-ctx.Done():
			stop()
			return nil
		case <-d.changed:
		case <-due:
		}
		stop()
	}
}

func (d *dispatcher) enqueue(key limit.Key) {
	d.mu.Lock()
	queue := d.queues[key.Kind]
	d.mu.Unlock()
	request := reconcile.Request{NamespacedName: key.NamespacedName}
	switch q := queue.(type) {
	case nil:
	case priorityqueue.PriorityQueue[reconcile.Request]:
		q.AddWithOpts(priorityqueue.AddOpts{Priority: new(reservedPriority)}, request)
	default:
		q.Add(request)
	}
}

// source gives the dispatcher the queue of a kind of credential.
func (d *dispatcher) source(kind string) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.queues[kind] = queue
		return nil
	})
}

// account counts the calls that the SDK makes as an identity.
type account struct {
	key     identity.Key
	limits  *limit.Limiter
	metrics *telemetry.Metrics
	clock   clock.PassiveClock
}

// Spend counts a call that does not wait for the rate limit.
func (a account) Spend() { a.limits.Spend(a.clock.Now(), limit.Key(a.key)) }

// Requested measures a request.
func (a account) Requested(call string) func() { return a.metrics.Requested(call) }

// HopCalled counts the call of a hop.
func (a account) HopCalled(call v1alpha1.Call, reason string) {
	a.metrics.Called(a.key.Kind, string(call), reason)
}
