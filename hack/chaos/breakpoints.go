package main

import "sync"

// point is a point of a reconcile that is visible from outside: the STS emulator sees the call, and the proxies see the writes.
type point string

const (
	stsCallStarts     point = "an STS call starts"
	stsCallEnds       point = "an STS call ends"
	secretWriteStarts point = "a Secret's write starts"
	secretWriteEnds   point = "a Secret's write ends"
	statusWriteStarts point = "a status's write starts"
	statusWriteEnds   point = "a status's write ends"
)

// breakpoints run an action when a manager reaches a point.
type breakpoints struct {
	mu  sync.Mutex
	set map[point]*breakpoint
}

// breakpoint is hit once. Its action returns whether to cut off the request that hit it.
type breakpoint struct {
	action func(*manager) (cut bool)
	hit    chan struct{}
}

// arm sets a breakpoint. It returns false if there is one at that point.
func (b *breakpoints) arm(at point, action func(*manager) bool) (*breakpoint, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.set == nil {
		b.set = map[point]*breakpoint{}
	}
	if b.set[at] != nil {
		return nil, false
	}
	b.set[at] = &breakpoint{action: action, hit: make(chan struct{})}
	return b.set[at], true
}

// disarm removes a breakpoint that was not hit.
func (b *breakpoints) disarm(at point, armed *breakpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.set[at] == armed {
		delete(b.set, at)
	}
}

// armed returns whether there is a breakpoint at a point.
func (b *breakpoints) armed(at point) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.set[at] != nil
}

// reach runs the action of the breakpoint at a point that a manager reaches, if there is one.
func (b *breakpoints) reach(at point, by *manager) (cut bool) {
	b.mu.Lock()
	found := b.set[at]
	delete(b.set, at)
	b.mu.Unlock()
	if found == nil {
		return false
	}
	defer close(found.hit)
	return found.action(by)
}
