package limit

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of the calls per second that an identity may be given.
const (
	MinQPS = 1
	MaxQPS = 1000
)

const (
	// minRate is the lowest rate after throttling, in calls per second. It still shows soon whether STS answers again.
	minRate = 0.5
	// recovery is how fast a throttled identity recovers while its calls succeed: by a twentieth a second. It reaches its limit again
	// 14 s after one throttled call, and 1 min 46 s after the lowest rate, at the default limit.
	recovery = 0.05
	// rounding tolerates the rounding error of the token count at the time when a token is due.
	rounding = time.Millisecond
)

// pace is a token bucket that holds the calls of one second. Throttling halves its rate.
type pace struct {
	limit   float64 // calls per second while STS does not throttle
	limiter *rate.Limiter
	// changed is when the rate last changed, and slowed when it was last halved.
	changed, slowed time.Time
	// throttles counts the calls that STS throttled.
	throttles int
	// returned counts the tokens that were taken for calls which were not made. The limiter cannot take them back.
	returned int
}

func newPace(qps int) pace {
	return pace{limit: float64(qps), limiter: rate.NewLimiter(rate.Limit(qps), qps)}
}

func (p *pace) rate() float64 { return float64(p.limiter.Limit()) }

func (p *pace) setRate(now time.Time, perSecond float64) {
	p.limiter.SetLimitAt(now, rate.Limit(perSecond))
	p.limiter.SetBurstAt(now, max(1, int(perSecond)))
	p.changed = now
}

// setLimit changes the limit. A rate that throttling has lowered below the new limit stays.
func (p *pace) setLimit(now time.Time, qps int) {
	limit := float64(qps)
	if limit == p.limit {
		return
	}
	if p.rate() == p.limit || p.rate() > limit {
		p.setRate(now, limit)
	}
	p.limit = limit
}

// tokens is how many calls may be made now; it is negative after [pace.spend].
func (p *pace) tokens(now time.Time) float64 {
	return p.limiter.TokensAt(now) + float64(p.returned)
}

func (p *pace) take(now time.Time) bool {
	if p.returned > 0 {
		p.returned--
		return true
	}
	return p.limiter.AllowN(now, 1)
}

// spend takes a token that need not be there yet.
func (p *pace) spend(now time.Time) { p.limiter.ReserveN(now, 1) }

// giveBack returns a token that was taken, unless the bucket is full again.
func (p *pace) giveBack(now time.Time) {
	if p.tokens(now)+1 <= float64(p.limiter.Burst()) {
		p.returned++
	}
}

// until is how long it takes until a number of tokens have come. It assumes that a throttled identity recovers.
func (p *pace) until(now time.Time, tokens float64) time.Duration {
	missing := tokens - p.tokens(now)
	if missing <= 0 {
		return 0
	}
	seconds := missing / p.rate()
	if p.rate() < p.limit {
		seconds = math.Log1p(missing*recovery/p.rate()) / recovery
	}
	return time.Duration(seconds*float64(time.Second)) + rounding
}

func (p *pace) succeeded(now time.Time) {
	if p.rate() < p.limit {
		p.setRate(now, min(p.limit, p.rate()*math.Exp(recovery*now.Sub(p.changed).Seconds())))
	}
}

// throttled halves the rate and empties the bucket. A call that was granted before the rate was last halved says nothing new.
func (p *pace) throttled(now, granted time.Time) {
	p.throttles++
	if !p.slowed.IsZero() && !granted.After(p.slowed) {
		return
	}
	if whole := int(p.limiter.TokensAt(now)); whole > 0 {
		p.limiter.AllowN(now, whole)
	}
	p.returned = 0
	p.setRate(now, max(p.rate()/2, minRate))
	p.slowed = now
}
