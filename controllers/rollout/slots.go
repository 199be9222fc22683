package rollout

import (
	"maps"
	"sync"
	"time"
)

// slotDeadline is how long a restart holds its slot at most, whatever its workload does. It is longer than the default
// progress deadline of a Deployment, 10 minutes, so that a Deployment without progress is recognized earlier.
const slotDeadline = 15 * time.Minute

// Slots limits how many workloads of the cluster restart at the same time. It remembers, by namespace, the restarts that
// hold a slot, were undone or were rejected. Its methods may be called concurrently.
type Slots struct {
	// Max is the number of slots. A namespace holds at most three fifths of them, or one; the others are for other
	// namespaces.
	Max int

	mu       sync.Mutex
	restarts map[string]map[Ref]Restart
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
	} else if all, own := s.taken(namespace, now); all >= s.Max || own >= max(1, s.Max*3/5) {
		return before, false
	}
	s.set(namespace, ref, restart)
	return restart, true
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

// Taken returns the number of slots that are not free.
func (s *Slots) Taken(now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, _ := s.taken("", now)
	return all
}

func (s *Slots) taken(namespace string, now time.Time) (all, own int) {
	for of, restarts := range s.restarts {
		for _, r := range restarts {
			if !r.running(now) {
				continue
			}
			if all++; of == namespace {
				own++
			}
		}
	}
	return all, own
}
