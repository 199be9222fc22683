package budget

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

const (
	// floor is as slow as an identity gets, in calls a second: the least that still finds out whether STS answers again.
	floor = 0.5
	// climb is how an identity that was slowed down gets faster with success: by a twentieth a second, so that it is as fast
	// again 14 s after STS throttled a call, and after 1 min 46 s from the floor to the default.
	climb = 0.05
	// minWait and maxWait bound how long anyone is told to wait. What is known now is no guide to what comes after maxWait.
	minWait = 100 * time.Millisecond
	maxWait = time.Minute
	// margin is added to a wait, lest who comes on the dot finds a token that lacks its last bit, which rounding forgives.
	margin   = time.Millisecond
	rounding = 1e-6
)

// bucket is one identity's. It holds as many tokens as come in a second.
type bucket struct {
	limit   float64 // calls a second, if STS throttles none
	limiter *rate.Limiter
	queue   queue
	// changed is when the rate last changed, and slowed when it last went down.
	changed, slowed time.Time
	// refusals counts the calls that STS throttled.
	refusals int
	// retries has a turn to try again in place of a token, for those whose call went wrong, who are in failing.
	retries *bucket
	failing map[Key]failing
}

func newBucket(limit float64) *bucket {
	return &bucket{limit: limit, limiter: rate.NewLimiter(rate.Limit(limit), burst(limit)), queue: queue{}}
}

// burst is how many tokens a bucket holds.
func burst(rate float64) int { return max(1, int(rate)) }

func (b *bucket) rate() float64 { return float64(b.limiter.Limit()) }

func (b *bucket) setRate(now time.Time, perSecond float64) {
	b.limiter.SetLimitAt(now, rate.Limit(perSecond))
	b.limiter.SetBurstAt(now, burst(perSecond))
	b.changed = now
}

// limitTo changes the limit. An identity that was slowed down stays so, unless the new limit is lower still.
func (b *bucket) limitTo(now time.Time, limit float64) {
	if limit == b.limit {
		return
	}
	if b.rate() == b.limit || b.rate() > limit {
		b.setRate(now, limit)
	}
	b.limit = limit
}

// take takes a token, if none of those who go first loses theirs by it.
func (b *bucket) take(now time.Time, object Key, held Held) time.Duration {
	b.queue.lapse(now)
	b.queue.join(now, object, held)
	tokens, full := b.limiter.TokensAt(now), float64(b.limiter.Burst())
	soon := now.Add(seconds(2 * full / b.rate())) // time enough to fill the bucket again, whoever comes
	ahead, back := b.queue.ahead(now, object, b.rate(), soon)
	if b.spares(now, tokens, back) && b.limiter.AllowN(now, 1) {
		delete(b.queue, object)
		return 0
	}
	wait := min(max(b.refill(float64(ahead+1)-tokens)+margin, minWait), maxWait)
	b.queue.tell(object, now.Add(wait))
	return wait
}

// spares tells whether those who come back, in order of time, all find a token as they would if none were taken now.
func (b *bucket) spares(now time.Time, tokens float64, back []time.Time) bool {
	full := float64(b.limiter.Burst())
	less := tokens - 1
	for _, at := range back {
		if at.After(now) {
			more := at.Sub(now).Seconds() * b.rate()
			tokens, less, now = min(tokens+more, full), min(less+more, full), at
		}
		if tokens > 1-rounding {
			if less <= 1-rounding {
				return false
			}
			tokens, less = tokens-1, less-1
		}
	}
	return true
}

// refill is how soon that many more tokens may be there: an identity that was slowed down may be as fast as success makes it.
func (b *bucket) refill(tokens float64) time.Duration {
	if b.rate() < b.limit {
		return seconds(math.Log1p(max(0, tokens)*climb/b.rate()) / climb)
	}
	return seconds(tokens / b.rate())
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (b *bucket) spend(now time.Time) { b.limiter.ReserveN(now, 1) }

func (b *bucket) succeeded(now time.Time) {
	if b.rate() < b.limit {
		faster := b.rate() * math.Exp(climb*now.Sub(b.changed).Seconds())
		b.setRate(now, min(faster, b.limit))
	}
}

// throttled halves the rate and empties the bucket. A call that was made before it was last halved tells nothing new.
func (b *bucket) throttled(now, made time.Time) {
	b.refusals++
	if !b.slowed.IsZero() && !made.After(b.slowed) {
		return
	}
	if whole := int(b.limiter.TokensAt(now)); whole > 0 {
		b.limiter.AllowN(now, whole)
	}
	b.setRate(now, max(b.rate()/2, floor))
	b.slowed = now
}
