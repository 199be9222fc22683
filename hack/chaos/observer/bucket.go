package observer

import (
	"fmt"
	"sync"
	"time"
)

// Bucket compares the STS calls of each identity with its rate limit. It is a leaky bucket: each call adds one, and the bucket loses as
// much per second as the identity may make calls.
type Bucket struct {
	Results *Results
	// Disruptions, if set, records when an identity has no token left.
	Disruptions *Disruptions
	// Rates are each identity's calls per second, which are also its burst.
	Rates map[string]float64
	// Retries is the number of calls that an identity may make without a token: retries of the SDK.
	Retries float64

	mu      sync.Mutex
	level   map[string]float64
	updated map[string]time.Time
	leaders int
}

// RecordCall records an STS call of an identity.
func (b *Bucket) RecordCall(identity string) {
	rate, known := b.Rates[identity]
	if !known {
		b.Results.CheckTrue(WithinRateLimit, false, func() string { return "a call by an unknown caller: " + identity })
		return
	}
	b.mu.Lock()
	b.leak(identity, time.Now())
	b.level[identity]++
	level := b.level[identity]
	b.mu.Unlock()
	if b.Disruptions != nil && level > rate-2 {
		b.Disruptions.Mark(BucketOf(identity))
	}
	b.Results.Check(WithinRateLimit, level, rate+b.Retries, func() string {
		return fmt.Sprintf("%s: %.0f calls more than its %.0f a second; %.0f may be", identity, level, rate, rate+b.Retries)
	})
}

func (b *Bucket) leak(identity string, now time.Time) {
	if b.level == nil {
		b.level, b.updated = map[string]float64{}, map[string]time.Time{}
	}
	if before, ok := b.updated[identity]; ok {
		b.level[identity] = max(0, b.level[identity]-b.Rates[identity]*now.Sub(before).Seconds()*float64(max(1, b.leaders)))
	}
	b.updated[identity] = now
}

// SetLeaders sets how many managers lead. Each has a bucket of its own, which is full when it starts to lead.
func (b *Bucket) SetLeaders(leaders int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for identity, rate := range b.Rates {
		b.leak(identity, time.Now())
		if leaders > b.leaders {
			b.level[identity] = max(0, b.level[identity]-rate)
		}
	}
	b.leaders = leaders
}
