package observer

import (
	"fmt"
	"sync"
	"time"
)

// Bucket holds the calls of each identity against what its tokens give, as if each call were poured into a bucket that leaks as
// many a second as may be made.
type Bucket struct {
	Ledger *Ledger
	// Weather is told, if there is one, when an identity has no token to spare.
	Weather *Weather
	// Rates are how many calls a second each identity may make, and as many at once.
	Rates map[string]float64
	// Unasked is how many calls may come before their tokens at a time: those that do not wait for a turn, and are paid for
	// afterwards. The SDK repeats a call twice at most, and no more calls are under way than had tokens.
	Unasked float64

	mu      sync.Mutex
	level   map[string]float64
	at      map[string]time.Time
	leaders int
}

// Called is told of each call.
func (b *Bucket) Called(identity string) {
	rate, known := b.Rates[identity]
	if !known {
		b.Ledger.Holds(Within, false, func() string { return "a call as nobody that is known: " + identity })
		return
	}
	b.mu.Lock()
	b.leak(identity, time.Now())
	b.level[identity]++
	level := b.level[identity]
	b.mu.Unlock()
	if b.Weather != nil && level > rate-2 {
		b.Weather.Gust(BucketOf(identity))
	}
	b.Ledger.Check(Within, level, rate+b.Unasked, func() string {
		return fmt.Sprintf("%s: %.0f calls more than its %.0f a second; %.0f may be", identity, level, rate, rate+b.Unasked)
	})
}

// BucketOf is the name that an identity's bucket goes by in the Weather.
func BucketOf(identity string) string { return "bucket of " + identity }

func (b *Bucket) leak(identity string, now time.Time) {
	if b.level == nil {
		b.level, b.at = map[string]float64{}, map[string]time.Time{}
	}
	if before, ok := b.at[identity]; ok {
		b.level[identity] = max(0, b.level[identity]-b.Rates[identity]*now.Sub(before).Seconds()*float64(max(1, b.leaders)))
	}
	b.at[identity] = now
}

// Lead says how many managers may be making calls: each has a bucket of its own, which is full when it begins.
func (b *Bucket) Lead(leaders int) {
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
