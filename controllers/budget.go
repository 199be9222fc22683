package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/budget"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/telemetry"
)

// Priorities of an object that is looked at again. Left unsaid, it would be that of the last time, which for what was there
// before the operator started is lower than any event's.
const (
	ordinaryPriority = 0
	// turnPriority is for who comes for a token that is kept for it.
	turnPriority = 100
)

// shortWait is as long as a wait for a token must be to be told in the status: an issue is two writes, and not three.
const shortWait = 5 * time.Second

// takeToken takes a token of the identity's budget. It is false, and says until when, if there is none to spare.
func (r *Reconciler[T]) takeToken(t *turn) bool {
	now, key := r.Clock.Now(), budget.Key(t.identity.Key) // by the operator's clock: that of STS is known anew with each answer
	r.Budget.Limit(now, key, t.identity.QPS)
	if t.turnIn = r.Budget.Take(now, key, r.caller(t.key), t.held(now)); t.turnIn > 0 {
		t.waiting = fmt.Sprintf("its turn has not come, since %s makes only so many calls a second.", t.identity.Name)
		t.retryAt = t.now.Add(t.turnIn)
		return false
	}
	t.asked = now
	return true
}

// lookAgain is when a credential that waits for a place looks itself, if nobody wakes it.
const lookAgain = 30 * time.Second

// takePlace takes a place for a call. It is false if STS leaves too many others unanswered.
func (r *Reconciler[T]) takePlace(ctx context.Context, t *turn) bool {
	if r.Places.take(ctx, budget.Key(t.identity.Key), r.caller(t.key)) {
		return true
	}
	t.waiting = fmt.Sprintf("its turn has not come, since STS has not answered other calls of %s.", t.identity.Name)
	t.turnIn, t.retryAt = lookAgain, t.now.Add(lookAgain)
	return false
}

func (r *Reconciler[T]) freePlace(t *turn) {
	if next, found := r.Places.free(budget.Key(t.identity.Key)); found {
		r.Wakers.wake(next)
	}
}

// held is what the credential has, as the budget wants to know it.
func (t *turn) held(now time.Time) budget.Held {
	held := budget.Held{Outdated: !t.current}
	if left := t.left(); left > 0 {
		held.Until = now.Add(left)
	}
	return held
}

// mayRetry tells whether it is the credential's turn to try again after a failure, of all those of the identity that failed. How
// fast STS that throttles is to be asked, its tokens say.
func (r *Reconciler[T]) mayRetry(t *turn, after *failure.Failure) bool {
	if after.Reason == v1alpha1.ReasonThrottled {
		return true
	}
	now := r.Clock.Now()
	if t.turnIn = r.Budget.Retry(now, budget.Key(t.identity.Key), r.caller(t.key), t.held(now)); t.turnIn > 0 {
		t.retryAt = t.now.Add(t.turnIn)
		return false
	}
	return true
}

// shared are the reasons that are likely to befall every call as an identity.
var shared = map[string]bool{
	v1alpha1.ReasonSTSUnreachable: true, v1alpha1.ReasonSTSError: true, v1alpha1.ReasonThrottled: true,
	v1alpha1.ReasonInvalidSourceCredentials: true, v1alpha1.ReasonRegionDisabled: true, v1alpha1.ReasonClockSkew: true,
}

// remember has the credential come back at once when calls as the identity go well again.
func (r *Reconciler[T]) remember(t *turn, failed *failure.Failure) {
	r.Budget.Failed(budget.Key(t.identity.Key), r.caller(t.key), budget.Cause{Reason: failed.Reason, Message: failed.Message, Shared: shared[failed.Reason]})
	if !shared[failed.Reason] {
		r.answered(t, false)
	}
}

// answered has others try again whose calls failed for what an answer shows to be over.
func (r *Reconciler[T]) answered(t *turn, issued bool) {
	for _, other := range r.Budget.Answered(budget.Key(t.identity.Key), r.caller(t.key), issued) {
		r.Wakers.wake(other)
	}
}

// wakers have a credential dealt with at once, by its kind.
type wakers struct {
	mu sync.Mutex
	by map[string]func(types.NamespacedName)
}

func newWakers() *wakers { return &wakers{by: map[string]func(types.NamespacedName){}} }

func (w *wakers) wake(object budget.Key) {
	w.mu.Lock()
	waken := w.by[object.Kind]
	w.mu.Unlock()
	if waken != nil {
		waken(object.NamespacedName)
	}
}

// woken wakes the credentials of a kind that others find out to be worth another try.
func (r *Reconciler[T]) woken() source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		r.Wakers.mu.Lock()
		defer r.Wakers.mu.Unlock()
		r.Wakers.by[r.Kind.Name] = func(name types.NamespacedName) {
			r.attempts.wake(name)
			queue.Add(reconcile.Request{NamespacedName: name})
		}
		return nil
	})
}

// caller is a credential as the budget knows it.
func (r *Reconciler[T]) caller(key types.NamespacedName) budget.Key {
	return budget.Key{Kind: r.Kind.Name, NamespacedName: key}
}

// again is when and how a credential is looked at again.
func (o outcome) again() reconcile.Result {
	result := requeue(o.now, o.next())
	if o.turnIn > 0 {
		result.RequeueAfter, result.Priority = min(result.RequeueAfter, o.turnIn), new(turnPriority)
	}
	return result
}

// account is of the calls that the SDK makes as an identity.
type account struct {
	key     identity.Key
	budget  *budget.Budget
	metrics *telemetry.Metrics
	clock   clock.PassiveClock
}

func (a account) Spend() { a.budget.Spend(a.clock.Now(), budget.Key(a.key)) }

func (a account) Requested(call string) func() { return a.metrics.Requested(call) }

func (a account) HopCalled(call v1alpha1.Call, reason string) {
	a.metrics.Called(a.key.Kind, string(call), reason)
}
