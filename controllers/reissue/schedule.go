package reissue

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// RefreshAt is when a credential is due. It depends on nothing but its arguments, so that a restart or another replica finds
// the same: its expiry, less refreshBefore (a third of the lifetime if not given), less up to a tenth of what then remains,
// by the key, so that credentials which were issued together are not refreshed together. It is never before a tenth of the
// lifetime has passed, always before the expiry, and a whole second where the lifetime is longer than one.
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

// Spread returns a number from 0 to 1, without 1, evenly spread over keys and always the same for one.
func Spread(key string) float64 {
	sum := sha256.Sum256([]byte(key))
	return float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53)
}

// MaxRequeue bounds how late the operator notices that a time which it computed is wrong, such as after a change of its clock.
const MaxRequeue = time.Hour

// Requeue returns how long to wait from now until at: at most [MaxRequeue], and at least a second, since controller-runtime takes
// zero for never.
func Requeue(now, at time.Time) time.Duration {
	return min(max(at.Sub(now), time.Second), MaxRequeue)
}
