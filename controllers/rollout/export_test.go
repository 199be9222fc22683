package rollout

import (
	"context"
	"time"

	"rolecredential.dev/operator/controllers/rollout/readers"
)

// Stamp is stamp, for tests.
func (r *Reconciler[T]) Stamp(ctx context.Context, c Credential, reader Reader, now time.Time) (readers.Stamp, error) {
	return r.stamp(ctx, c, reader, now)
}

// RolloutChanged is rolloutChanged, and NeedsAttention is needsAttention, for tests.
var (
	RolloutChanged = rolloutChanged
	NeedsAttention = needsAttention
)

// EndAdoption lets restarts begin, as if the manager had started a minute ago.
func (r *Coordinator) EndAdoption(now time.Time) {
	r.adoptUntil, r.paused = now, map[string]time.Time{}
}
