package budget

import (
	"cmp"
	"slices"
	"time"

	"rolecredential.dev/operator/controllers/credential"
)

// Held is what an object has while it asks for a new credential.
type Held struct {
	// Until is when its credential ends, by the operator's clock; zero for none.
	Until time.Time
	// Outdated: the credential works, but is not what the present spec asks for.
	Outdated bool
}

// queue is who waits for a token of one identity.
type queue map[Key]waiter

type waiter struct {
	held Held
	// since is when it first asked, and back when it was told to come back.
	since, back time.Time
	// tie tells waiters apart that are alike otherwise: always the same for one object, and no matter of its name.
	tie float64
}

// patience is how late a waiter may come back before its place is given up: it was suspended, say, and will not come.
const patience = 5 * time.Second

func (q queue) join(now time.Time, object Key, held Held) {
	w, ok := q[object]
	if !ok {
		w = waiter{since: now, tie: credential.Spread(object.Kind + "/" + object.String())}
	}
	w.held, w.back = held, now
	q[object] = w
}

func (q queue) tell(object Key, back time.Time) {
	w := q[object]
	w.back = back
	q[object] = w
}

func (q queue) lapse(now time.Time) {
	for object, w := range q {
		if now.Sub(w.back) > patience {
			delete(q, object)
		}
	}
}

// ahead counts who goes before an object, and lists when those of them come back who do so soon, in order of time.
func (q queue) ahead(now time.Time, object Key, perSecond float64, soon time.Time) (ahead int, back []time.Time) {
	pressing := q.pressing(now, perSecond)
	own := q[object].turn(now, pressing)
	for _, w := range q {
		if w.turn(now, pressing).compare(own) >= 0 {
			continue
		}
		ahead++
		if !w.back.After(soon) {
			back = append(back, w.back)
		}
	}
	slices.SortFunc(back, time.Time.Compare)
	return ahead, back
}

// spare is how long before its end a credential is to be refreshed, however many others are: whom it concerns may be told to
// come back in a minute only, and the kubelet takes another minute or two to bring the new one to a Pod's volume.
const spare = 3 * time.Minute

// pressing is how long before its end a credential goes before all that have none: twice as long as it takes to refresh all
// that wait to be, since the rate may be halved meanwhile, and spare.
func (q queue) pressing(now time.Time, perSecond float64) time.Duration {
	alive := 0
	for _, w := range q {
		if w.held.Until.After(now) {
			alive++
		}
	}
	return spare + seconds(2*float64(alive)/perSecond)
}

// census counts who waits, and tells when the first of their credentials ends.
func (q queue) census(now time.Time, perSecond float64) (waiting Waiting, deadline time.Time) {
	pressing := q.pressing(now, perSecond)
	for _, w := range q {
		switch w.turn(now, pressing).class {
		case endsSoon:
			waiting.EndsSoon++
		case hasNone:
			waiting.HasNone++
		case endsLater:
			waiting.EndsLater++
		}
		if until := w.held.Until; until.After(now) && (deadline.IsZero() || until.Before(deadline)) {
			deadline = until
		}
	}
	return waiting, deadline
}

// turn is a waiter's place among all: by class, and in a class by time.
type turn struct {
	class class
	at    time.Time
	tie   float64
}

type class int

const (
	// endsSoon: a credential that can still be saved, by its end.
	endsSoon class = iota
	// hasNone: a new credential, one of another spec, and one that ended meanwhile, by how long it has been waited for. What
	// is lost already comes after what is not.
	hasNone
	// endsLater: a credential that can wait, by its end.
	endsLater
)

func (w waiter) turn(now time.Time, pressing time.Duration) turn {
	left := w.held.Until.Sub(now)
	switch {
	case w.held.Until.IsZero():
		return turn{hasNone, w.since, w.tie}
	case left <= 0:
		return turn{hasNone, later(w.since, w.held.Until), w.tie}
	case left < pressing:
		return turn{endsSoon, w.held.Until, w.tie}
	case w.held.Outdated:
		return turn{hasNone, w.since, w.tie}
	default:
		return turn{endsLater, w.held.Until, w.tie}
	}
}

func (t turn) compare(other turn) int {
	return cmp.Or(cmp.Compare(t.class, other.class), t.at.Compare(other.at), cmp.Compare(t.tie, other.tie))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
