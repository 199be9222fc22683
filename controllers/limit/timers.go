package limit

import (
	"container/heap"
	"time"
)

// timer serves an identity at a time. If call is set, it gives that call back instead, unless the credential has claimed it.
type timer struct {
	at   time.Time
	id   *identity
	call *Call
}

// timers is a heap with the earliest timer first.
type timers []timer

// Len implements heap.Interface.
func (t *timers) Len() int { return len(*t) }

// Less implements heap.Interface.
func (t *timers) Less(i, j int) bool { return (*t)[i].at.Before((*t)[j].at) }

// Swap implements heap.Interface.
func (t *timers) Swap(i, j int) { (*t)[i], (*t)[j] = (*t)[j], (*t)[i] }

// Push implements heap.Interface.
func (t *timers) Push(x any) { *t = append(*t, x.(timer)) }

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	last := len(*t) - 1
	popped := (*t)[last]
	(*t)[last] = timer{} // free the identity
	*t = (*t)[:last]
	return popped
}

func (l *Limiter) addTimer(t timer) {
	heap.Push(&l.timers, t)
	l.changed = l.changed || l.timers[0] == t
}

// serveAt serves an identity at a time, unless that is zero or the identity is served earlier.
func (l *Limiter) serveAt(at time.Time, id *identity) {
	if at.IsZero() || !id.servedAt.IsZero() && !at.Before(id.servedAt) {
		return
	}
	id.servedAt = at
	l.addTimer(timer{at: at, id: id})
}

// runTimers runs the timers that are due and returns the time of the next, zero for none.
func (l *Limiter) runTimers(now time.Time) (next time.Time) {
	for len(l.timers) > 0 && !now.Before(l.timers[0].at) {
		t, _ := heap.Pop(&l.timers).(timer)
		switch {
		case t.call == nil && t.at.Equal(t.id.servedAt): // else an earlier timer has replaced it
			t.id.servedAt = time.Time{}
			l.serve(now, t.id)
		case t.call != nil && t.id.reserved[t.call.request.Credential] == t.call:
			l.cancel(now, t.call.request.Credential)
		}
	}
	if len(l.timers) > 0 {
		next = l.timers[0].at
	}
	return next
}
