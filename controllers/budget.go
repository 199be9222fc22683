package controllers

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/budget"
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
	held := budget.Held{Outdated: !t.current}
	if left := t.left(); left > 0 {
		held.Until = now.Add(left)
	}
	r.Budget.Limit(now, key, t.identity.QPS)
	if t.turnIn = r.Budget.Take(now, key, r.caller(t.key), held); t.turnIn > 0 {
		t.waiting = fmt.Sprintf("its turn has not come, since %s makes only so many calls a second.", t.identity.Name)
		t.retryAt = t.now.Add(t.turnIn)
		return false
	}
	t.asked = now
	return true
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
