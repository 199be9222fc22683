package main

import "sync"

// point is one of the way of a reconcile that is seen from outside: STS sees its call, and the proxy before the API server the rest.
type point string

const (
	stsAsked      point = "STS was asked"
	stsAnswered   point = "STS had issued"
	secretAsked   point = "the Secret's write began"
	secretWritten point = "the Secret was written"
	statusAsked   point = "the status's write began"
	statusWritten point = "the status was written"
)

// traps wait for a manager to come to a point.
type traps struct {
	mu  sync.Mutex
	set map[point]*trap
}

// trap is sprung once. It says whether the request that sprang it is to be cut off.
type trap struct {
	spring func(*manager) (cut bool)
	sprung chan struct{}
}

// arm sets a trap, unless there is one at that point.
func (t *traps) arm(at point, spring func(*manager) bool) (*trap, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.set == nil {
		t.set = map[point]*trap{}
	}
	if t.set[at] != nil {
		return nil, false
	}
	t.set[at] = &trap{spring: spring, sprung: make(chan struct{})}
	return t.set[at], true
}

// disarm takes a trap away that nobody came to.
func (t *traps) disarm(at point, armed *trap) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.set[at] == armed {
		delete(t.set, at)
	}
}

// armed tells whether a trap waits at a point.
func (t *traps) armed(at point) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.set[at] != nil
}

// reach is called by who sees a manager come to a point.
func (t *traps) reach(at point, by *manager) (cut bool) {
	t.mu.Lock()
	found := t.set[at]
	delete(t.set, at)
	t.mu.Unlock()
	if found == nil {
		return false
	}
	defer close(found.sprung)
	return found.spring(by)
}
