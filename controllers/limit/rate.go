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
func (p *pace) tokens(now time.Time) float64 { return p.limiter.TokensAt(now) }

func (p *pace) takeToken(now time.Time) bool { return p.limiter.AllowN(now, 1) }

// spend takes a token that need not be there yet.
func (p *pace) spend(now time.Time) { p.limiter.ReserveN(now, 1) }

// giveBack returns a token that was taken. To reserve a negative number is the limiter's only way to add tokens.
func (p *pace) giveBack(now time.Time) { p.limiter.ReserveN(now, -1) }

// until is how long it takes until a number of tokens have come at the present rate.
func (p *pace) until(now time.Time, tokens float64) time.Duration {
	missing := tokens - p.tokens(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing/p.rate()*float64(time.Second)) + rounding
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
	if whole := int(p.tokens(now)); whole > 0 {
		p.limiter.AllowN(now, whole)
	}
	p.setRate(now, max(p.rate()/2, minRate))
	p.slowed = now
}
