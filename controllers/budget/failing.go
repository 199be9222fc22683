package budget

import (
	"cmp"
	"slices"
	"time"
)

// retryRate is how many calls a second an identity makes for all the objects whose last call went wrong, together: a refusal by a
// trust policy that lasts for days, of hundreds of objects, is not to be a load. It is also how soon one of them finds out that STS
// answers again.
const retryRate = 0.5

// follow is how many others come back at once when the call of one went well. Each whose call goes well too has as many follow, so
// that after an outage they double with each answer, and where nothing was mended but one object, two calls are in vain.
const follow = 2

// Cause is why a call went wrong.
type Cause struct {
	// Reason is one word for it, and Message the same for the same cause.
	Reason, Message string
	// Shared tells that it is likely to befall every call as the identity, and so to end for all.
	Shared bool
}

// failing is an object whose last call went wrong.
type failing struct {
	Cause
	// place is its place among all, the first to go wrong first.
	place int
	// woken tells that it came back because of the answer to another, and alone that its call went wrong then too, while those of
	// others went well.
	woken, alone bool
}

// Retry is [Budget.Take] for an object whose last call went wrong, and which waited as long as it should: it takes no token, but
// a turn to try again, of which there are few. Its call takes a token besides.
func (b *Budget) Retry(now time.Time, identity, object Key, held Held) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(identity).retries.take(now, object, held)
}

// Failed remembers that an object's call went wrong.
func (b *Budget) Failed(identity, object Key, why Cause) {
	b.mu.Lock()
	defer b.mu.Unlock()
	bucket := b.of(identity)
	before := bucket.failing[object]
	b.failures++
	bucket.failing[object] = failing{Cause: why, place: cmp.Or(before.place, b.failures), alone: before.alone || before.woken}
}

// Answered tells that STS answered an object's call, and whether it issued a credential. It returns which others, whose calls went
// wrong, should try again at once: a few at a time.
func (b *Budget) Answered(identity, object Key, issued bool) []Key {
	b.mu.Lock()
	defer b.mu.Unlock()
	bucket := b.of(identity)
	var ended failing
	if issued {
		ended = bucket.failing[object]
		delete(bucket.failing, object)
	}
	return bucket.wake(object, ended.Cause)
}

// wake chooses who tries again: whose cause is shared, which an answer shows to be over, or is the one that just ended, first
// where it is the very same.
func (b *bucket) wake(but Key, ended Cause) []Key {
	var chosen []Key
	for object, f := range b.failing {
		if object != but && !f.woken && (f.Shared && !f.alone || f.Reason == ended.Reason) {
			chosen = append(chosen, object)
		}
	}
	slices.SortFunc(chosen, func(one, other Key) int {
		a, b := b.failing[one], b.failing[other]
		return cmp.Or(first(a.Message == ended.Message, b.Message == ended.Message), cmp.Compare(a.place, b.place))
	})
	chosen = chosen[:min(len(chosen), follow)]
	for _, object := range chosen {
		f := b.failing[object]
		f.woken = true
		b.failing[object] = f
	}
	return chosen
}

// first puts what is so before what is not.
func first(one, other bool) int {
	switch {
	case one == other:
		return 0
	case one:
		return -1
	default:
		return 1
	}
}

// Gone drops all that is known of an object that no longer exists.
func (b *Budget) Gone(object Key) {
	b.Forget(object)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, bucket := range b.buckets {
		delete(bucket.failing, object)
	}
}
