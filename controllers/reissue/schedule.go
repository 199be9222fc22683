package reissue

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// RefreshAt returns the time of the refresh: the expiry, minus refreshBefore (a third of the lifetime by default), minus up to a
// tenth of the rest. The key determines that tenth, so that credentials that were issued together are not refreshed together. The time is
// the same after a restart, since it depends only on the arguments. It is after a tenth of the lifetime, before the expiry, and in whole
// seconds if the lifetime is longer than one.
func (w Desired) RefreshAt(r Record) time.Time {
	life := r.Expiration.Sub(r.IssuedAt)
	before := life / 3
	if w.RefreshBefore != nil {
		before = max(*w.RefreshBefore, time.Second)
	}
	least := life / 10
	until := max(life-before, least)
	until -= time.Duration(Spread(w.Key) * float64(min(until/10, until-least)))
	whole := until.Truncate(time.Second)
	if whole < least {
		whole += time.Second
	}
	if whole < life {
		until = whole
	}
	return r.IssuedAt.Add(until)
}

// Spread returns a number in [0, 1) that is evenly distributed over keys, and always the same for one key.
func Spread(key string) float64 {
	sum := sha256.Sum256([]byte(key))
	return float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53)
}

// MaxRequeue bounds how late the operator notices that a computed time is wrong, such as after a change of its clock.
const MaxRequeue = time.Hour

// Requeue returns the time from now until at: at most [MaxRequeue], and at least a second, because zero means never to
// controller-runtime.
func Requeue(now, at time.Time) time.Duration {
	return min(max(at.Sub(now), time.Second), MaxRequeue)
}
