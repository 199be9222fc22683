package rollout

import (
	"maps"
	"sync"
	"time"
)

const (
	// slotDeadline is how long a restart holds its slot at most, whatever its workload does. It is longer than the default
	// progress deadline of a Deployment, 10 minutes, so that a Deployment without progress is recognized earlier.
	slotDeadline = 15 * time.Minute
	// lentSlot is how long a restart keeps its slot from other namespaces. Most restarts take less. A restart that takes
	// longer continues, and still counts for its own namespace. Without this bound, a few namespaces could hold all slots
	// for slotDeadline, again and again.
	lentSlot = 3 * time.Minute
	// turnTimeout is how long a slot is reserved for a namespace that waits. Its credentials ask every slotPoll.
	turnTimeout = 2 * slotPoll
	// turnMemory is how long a namespace that took a slot comes after those that did not. It bounds the memory for turns.
	turnMemory = time.Hour
)

// Slots limits how many workloads of the cluster restart at the same time. It remembers, by namespace, the restarts that
// hold a slot, were undone or were rejected. The namespaces that wait for a slot take turns. Its methods may be called
// concurrently.
type Slots struct {
	// Max is the number of slots. A namespace holds at most three fifths of them, or one; the others are for other
	// namespaces.
	Max int

	mu       sync.Mutex
	restarts map[string]map[Ref]Restart
	turns    map[string]turn
}

// turn is the turn of a namespace to take a slot.
type turn struct {
	// taken is when the namespace last took a slot, or did not take one in its turn; zero for not within turnMemory.
	taken time.Time
	// since is when the namespace began to wait, and asked when it last asked; zero if it does not wait.
	since, asked time.Time
}

// before reports whether the namespace of t waits, and takes a slot before the namespace of other.
func (t turn) before(other turn) bool {
	first := t.taken.Compare(other.taken)
	return !t.asked.IsZero() && (first < 0 || first == 0 && t.since.Before(other.since))
}

// Restarts returns a copy of the restarts of a namespace's workloads.
func (s *Slots) Restarts(namespace string) map[Ref]Restart {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.restarts[namespace])
}

// Take acquires a slot for a restart. It returns false if no slot is free for the namespace. A workload keeps the
// deadline of a slot that it holds already.
func (s *Slots) Take(namespace string, ref Ref, restart Restart, now time.Time) (Restart, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.restarts[namespace][ref]
	restart.State, restart.Why, restart.Until = Updating, "", now.Add(slotDeadline)
	if before.running(now) {
		restart.Until = before.Until
	} else if !s.takeTurn(namespace, now) {
		return before, false
	}
	s.set(namespace, ref, restart)
	return restart, true
}

// takeTurn returns whether a namespace may take a slot. If others hold or wait for the slots, it begins to wait.
func (s *Slots) takeTurn(namespace string, now time.Time) bool {
	own, others := s.held(namespace, now)
	if own >= max(1, s.Max*3/5) {
		return false
	}
	s.expireTurns(now)
	mine := s.turns[namespace]
	if mine.asked = now; mine.since.IsZero() {
		mine.since = now
	}
	for other, t := range s.turns {
		if other != namespace && t.before(mine) {
			others++
		}
	}
	free := own+others < s.Max
	if free {
		mine = turn{taken: now}
	}
	if s.turns == nil {
		s.turns = map[string]turn{}
	}
	s.turns[namespace] = mine
	return free
}

// expireTurns ends the turns of namespaces that do not ask any more. They come after those that do.
func (s *Slots) expireTurns(now time.Time) {
	for namespace, t := range s.turns {
		switch {
		case !t.asked.IsZero() && now.Sub(t.asked) > turnTimeout:
			s.turns[namespace] = turn{taken: now}
		case t.asked.IsZero() && now.Sub(t.taken) > turnMemory:
			delete(s.turns, namespace)
		}
	}
}

// Set remembers a restart. A restart that is complete, and was not undone, is forgotten.
func (s *Slots) Set(namespace string, ref Ref, restart Restart) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(namespace, ref, restart)
}

func (s *Slots) set(namespace string, ref Ref, restart Restart) {
	if s.restarts == nil {
		s.restarts = map[string]map[Ref]Restart{}
	}
	if s.restarts[namespace] == nil {
		s.restarts[namespace] = map[Ref]Restart{}
	}
	s.restarts[namespace][ref] = restart
	s.drop(namespace, func(_ Ref, r Restart) bool { return r.State == "" && r.Undone == 0 })
}

// Forget removes the restarts of a credential. Those in progress continue without a slot.
func (s *Slots) Forget(namespace, credential string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(namespace, func(_ Ref, r Restart) bool { return r.Credential == credential })
}

func (s *Slots) drop(namespace string, unneeded func(Ref, Restart) bool) {
	maps.DeleteFunc(s.restarts[namespace], unneeded)
	if len(s.restarts[namespace]) == 0 {
		delete(s.restarts, namespace)
	}
}

// Taken returns the number of restarts in progress, including those whose slot was lent to another namespace.
func (s *Slots) Taken(now time.Time) (all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, restarts := range s.restarts {
		for _, r := range restarts {
			if r.running(now) {
				all++
			}
		}
	}
	return all
}

// held returns how many slots a namespace holds, and how many the others hold that they need not lend to it.
func (s *Slots) held(namespace string, now time.Time) (own, others int) {
	for of, restarts := range s.restarts {
		for _, r := range restarts {
			switch {
			case of == namespace && r.running(now):
				own++
			case of != namespace && r.running(now.Add(slotDeadline-lentSlot)):
				others++
			}
		}
	}
	return own, others
}
