// Package budget shares out the calls of STS that an identity may make: who calls now, and who comes back when. It is pure: it
// takes the time, and waits for nothing.
package budget

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Key names an identity, or an object that calls as one.
type Key struct {
	Kind string
	types.NamespacedName
}

// Bounds of how many calls a second an identity may be given.
const (
	MinQPS = 1
	MaxQPS = 1000
)

// Budget is a bucket of tokens for each identity, one token a call. It is memory only: after a restart, every bucket is full.
type Budget struct {
	// Default is how many calls a second an identity may make that does not say, from MinQPS to MaxQPS.
	Default int

	mu      sync.Mutex
	buckets map[Key]*bucket
	// failures counts them, of all.
	failures int
}

// Limit says how many calls a second an identity may make, the default if that is zero. One that belongs to a namespace gets no
// more than the default: how fast the operator calls is not for a tenant to say.
func (b *Budget) Limit(now time.Time, identity Key, qps int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if qps == 0 || (identity.Namespace != "" && qps > b.Default) {
		qps = b.Default
	}
	b.of(identity).limitTo(now, float64(qps))
}

// Take takes a token for an object's call. If it has to wait for one, nothing is taken, and it is to come back after the time
// that is returned; if it then does not come, it has lost its place.
func (b *Budget) Take(now time.Time, identity, object Key, held Held) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(identity).take(now, object, held)
}

// Spend takes a token that may not be there yet, for a call that does not wait: those that wait then wait for longer.
func (b *Budget) Spend(now time.Time, identity Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(identity).spend(now)
}

// Succeeded lets an identity that was slowed down call a little faster again.
func (b *Budget) Succeeded(now time.Time, identity Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(identity).succeeded(now)
}

// Throttled slows an identity down, because STS throttled a call that was made at a time.
func (b *Budget) Throttled(now, made time.Time, identity Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(identity).throttled(now, made)
}

// Forget drops the place of an object that waits no longer.
func (b *Budget) Forget(object Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, bucket := range b.buckets {
		delete(bucket.queue, object)
		delete(bucket.retries.queue, object)
	}
}

// ForgetIdentity drops the bucket of an identity that no longer exists.
func (b *Budget) ForgetIdentity(identity Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.buckets, identity)
}

// Level is how an identity's budget stands.
type Level struct {
	Identity Key
	// Tokens that are there, less than zero if calls were made ahead of their tokens.
	Tokens float64
	// Rate is how many calls a second may be made now, and Limit how many if STS throttles none.
	Rate, Limit float64
	// Waiting counts who waits for a token.
	Waiting Waiting
	// Deadline is when the first of those ends whose credential lives; zero if none does.
	Deadline time.Time
	// Throttled counts the calls that STS throttled.
	Throttled int
}

// Waiting counts those who wait, by whose turn comes first.
type Waiting struct{ EndsSoon, HasNone, EndsLater int }

// Levels tells how each identity's budget stands.
func (b *Budget) Levels(now time.Time) []Level {
	b.mu.Lock()
	defer b.mu.Unlock()
	levels := make([]Level, 0, len(b.buckets))
	for identity, bucket := range b.buckets {
		bucket.queue.lapse(now)
		waiting, deadline := bucket.queue.census(now, bucket.rate())
		levels = append(levels, Level{
			Identity: identity, Tokens: bucket.limiter.TokensAt(now), Rate: bucket.rate(), Limit: bucket.limit,
			Waiting: waiting, Deadline: deadline, Throttled: bucket.refusals,
		})
	}
	return levels
}

func (b *Budget) of(identity Key) *bucket {
	found, ok := b.buckets[identity]
	if !ok {
		if b.buckets == nil {
			b.buckets = map[Key]*bucket{}
		}
		found = newBucket(float64(b.Default))
		found.retries, found.failing = newBucket(retryRate), map[Key]failing{}
		b.buckets[identity] = found
	}
	return found
}
