package rollout

import (
	"context"
	"time"

	"rolecredential.dev/operator/controllers/rollout/readers"
)

// Stamp is stamp, for tests.
func (r *Reconciler[T]) Stamp(ctx context.Context, held Credential, w Workload, now time.Time) (readers.Stamp, error) {
	return r.stamp(ctx, held, w, now)
}

// RolloutChanged is rolloutChanged, and NeedsAttention is needsAttention, for tests.
var (
	RolloutChanged = rolloutChanged
	NeedsAttention = needsAttention
)

// Await adds a function that begin calls.
func (c *Coordinator) Await(f func(context.Context) error) { c.awaited = append(c.awaited, f) }
