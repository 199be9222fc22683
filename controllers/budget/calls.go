package budget

import (
	"sync"
	"time"
)

// Calls are those that are under way, and hold a worker each until STS answers. Where STS hangs, that takes as long as a call may
// last, so no identity's calls hold more than two thirds of what the others leave: the next identity always finds a place, and so do
// those who wait for no answer, if there are more workers than places.
type Calls struct {
	// Max is how many may be under way at a time, one at least.
	Max int

	mu    sync.Mutex
	total int
	by    map[Key]*line
}

// line is of one identity.
type line struct {
	underWay int
	// queue is who wants to call, the first to come first, and some who do no more. Those who do are in since, which says since when.
	queue []Key
	since map[Key]time.Time
}

// Begin begins an object's call as an identity, which [Calls.End] ends. If there is no place for it, the object waits for that End
// names it, and is told for how long it has waited.
func (c *Calls) Begin(now time.Time, identity, object Key) (begun bool, waited time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.by[identity]
	if l == nil {
		if c.by == nil {
			c.by = map[Key]*line{}
		}
		l = &line{since: map[Key]time.Time{}}
		c.by[identity] = l
	}
	if c.hasPlace(l) {
		delete(l.since, object)
		l.underWay++
		c.total++
		return true, 0
	}
	if _, waits := l.since[object]; !waits {
		l.queue = append(l.queue, object)
		l.since[object] = now
	}
	return false, now.Sub(l.since[object])
}

// End ends a call as an identity, and names an object that waits for its place, if there is one: of the identity with the fewest
// calls, the first to come. It waits no longer.
func (c *Calls) End(identity Key) (next Key, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[identity].underWay--
	c.total--
	var fewest *line
	for name, l := range c.by {
		switch {
		case len(l.since) == 0:
			if l.queue = nil; l.underWay == 0 {
				delete(c.by, name)
			}
		case c.hasPlace(l) && (fewest == nil || l.underWay < fewest.underWay):
			fewest = l
		}
	}
	for fewest != nil && !found {
		next, fewest.queue = fewest.queue[0], fewest.queue[1:]
		_, found = fewest.since[next]
		delete(fewest.since, next)
	}
	return next, found
}

func (c *Calls) hasPlace(l *line) bool { return l.underWay < 2*(c.Max-c.total) }

// Forget lets an object wait no longer.
func (c *Calls) Forget(object Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.by {
		delete(l.since, object)
	}
}
