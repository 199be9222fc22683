package controllers

import (
	"context"
	"slices"
	"sync"
	"time"

	"rolecredential.dev/operator/controllers/budget"
)

// places are for calls that are under way, each of which holds a worker until STS answers. Where that hangs, it takes as long as a call
// may last, so no identity's calls have more than two thirds of the places that others leave: the next identity always finds one. There
// are fewer places than workers, so that some are left for what STS has no part in.
type places struct {
	max int

	mu    sync.Mutex
	taken int
	by    map[budget.Key]*line
}

// line is of those that call as one identity.
type line struct {
	taken int
	// workers wait for a place, the first to come first.
	workers []chan struct{}
	// away are credentials that were sent away and are to be woken, and order is in which order. Some of that are away no more.
	away  map[budget.Key]bool
	order []budget.Key
}

// slow is how long a worker waits for a place. While STS answers in that time, one is free sooner.
const slow = time.Second

func newPlaces(workers int) *places {
	return &places{max: max(1, workers*3/4), by: map[budget.Key]*line{}}
}

// take takes a place for a call as an identity. It is false if there was none for a while, or if others were sent away for that. The
// credential, which is sent away too, will be named by [places.free].
func (p *places) take(ctx context.Context, identity, credential budget.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.by[identity]
	if l == nil {
		l = &line{away: map[budget.Key]bool{}}
		p.by[identity] = l
	}
	if p.give(l) || len(l.away) == 0 && p.await(ctx, l) {
		delete(l.away, credential)
		return true
	}
	if !l.away[credential] {
		l.away[credential] = true
		l.order = append(l.order, credential)
	}
	return false
}

// give gives away a place, if there is one.
func (p *places) give(l *line) bool {
	if !p.has(l) {
		return false
	}
	l.taken++
	p.taken++
	return true
}

func (p *places) has(l *line) bool { return l.taken < 2*(p.max-p.taken) }

// await has a worker wait for a place, and others go on meanwhile.
func (p *places) await(ctx context.Context, l *line) bool {
	place := make(chan struct{})
	l.workers = append(l.workers, place)
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, slow)
	select {
	case <-place:
	case <-ctx.Done():
	}
	cancel()
	p.mu.Lock()
	i := slices.Index(l.workers, place)
	if i < 0 { // the place was given
		return true
	}
	l.workers = slices.Delete(l.workers, i, i+1)
	return false
}

// free frees a place that a call had as an identity. It goes to a worker that waits, or names who was sent away and is to be woken: of
// the identity that has the fewest, the first to come.
func (p *places) free(identity budget.Key) (next budget.Key, found bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.by[identity].taken--
	p.taken--
	var fewest *line
	for name, l := range p.by {
		switch {
		case len(l.workers)+len(l.away) == 0:
			if l.order = nil; l.taken == 0 {
				delete(p.by, name)
			}
		case p.has(l) && (fewest == nil || l.taken < fewest.taken):
			fewest = l
		}
	}
	if fewest == nil {
		return budget.Key{}, false
	}
	if len(fewest.workers) > 0 {
		p.give(fewest)
		close(fewest.workers[0])
		fewest.workers = fewest.workers[1:]
		return budget.Key{}, false
	}
	for !found {
		next, fewest.order = fewest.order[0], fewest.order[1:]
		found = fewest.away[next]
	}
	delete(fewest.away, next)
	return next, true
}
