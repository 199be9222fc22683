// Package observer watches that the operator keeps its promises. It shares no code with it: it has a client of its own, its own
// reading of Secrets and statuses, and asks STS itself for the truth about sessions.
package observer

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// What a fault may be of.
const (
	OfSTS     = "sts"
	OfAPI     = "api"
	OfLeader  = "leader"
	OfMachine = "machine"
	OfView    = "view" // the observer's own
)

// Weather is what is wrong where, and since when nothing is.
type Weather struct {
	mu    sync.Mutex
	wrong map[string]int
	calm  map[string]time.Time
}

// Begin says that something is wrong with these, until as many calls of End say that it is not.
func (w *Weather) Begin(whats ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrong == nil {
		w.wrong, w.calm = map[string]int{}, map[string]time.Time{}
	}
	for _, what := range whats {
		w.wrong[what]++
	}
}

// End says that one thing less is wrong with these. What it did may last until a while after.
func (w *Weather) End(after time.Duration, whats ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, what := range whats {
		if w.wrong[what]--; w.wrong[what] <= 0 {
			delete(w.wrong, what)
		}
		if at := time.Now().Add(after); at.After(w.calm[what]) {
			w.calm[what] = at
		}
	}
}

// Gust says that something was wrong just now.
func (w *Weather) Gust(what string) {
	w.Begin(what)
	w.End(0, what)
}

// Calm tells since when nothing has been wrong with any of these. It is false while something is.
func (w *Weather) Calm(whats ...string) (since time.Time, calm bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, what := range whats {
		if w.wrong[what] > 0 || w.calm[what].After(time.Now()) {
			return time.Time{}, false
		}
		if w.calm[what].After(since) {
			since = w.calm[what]
		}
	}
	return since, true
}

// Wrong lists what is wrong.
func (w *Weather) Wrong() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.wrong))
}
