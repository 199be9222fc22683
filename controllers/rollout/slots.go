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
	// protectedTime is how long a restart keeps its slot from other namespaces. Most restarts take less. A restart that takes
	// longer continues, and still counts for its own namespace. Without this bound, a few namespaces could hold all slots
	// for slotDeadline, again and again.
	protectedTime = 3 * time.Minute
	// claimTimeout is how long a slot is reserved for a namespace that waits. Its credentials try again every slotPoll.
	claimTimeout = 2 * slotPoll
	// claimMemory is how long a namespace that took a slot comes after those that did not. It bounds the memory for claims.
	claimMemory = time.Hour
)

// Slots limits how many workloads of the cluster restart at the same time. It remembers, by namespace, the restarts that
// hold a slot, were undone or were rejected. Namespaces that wait for a slot are served in turn. Its methods may be called
// concurrently.
type Slots struct {
	// Max is the number of slots. A namespace holds at most three fifths of them, or one; the others are for other
	// namespaces.
	Max int

	mu       sync.Mutex
	restarts map[string]map[Ref]Restart
	claims   map[string]slotClaim
}

// slotClaim is the claim of a namespace to its next slot.
type slotClaim struct {
	// taken is when the namespace last took a slot, or let its claim expire; zero for not within claimMemory.
	taken time.Time
	// since is when the namespace began to wait, and renewed when it last tried to take a slot; zero if it does not wait.
	since, renewed time.Time
}

// before reports whether the namespace of c waits, and takes a slot before the namespace of other.
func (c slotClaim) before(other slotClaim) bool {
	first := c.taken.Compare(other.taken)
	return !c.renewed.IsZero() && (first < 0 || first == 0 && c.since.Before(other.since))
}

// Restarts returns a copy of the restarts of a namespace's workloads.
func (s *Slots) Restarts(namespace string) map[Ref]Restart {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.restarts[namespace])
}

// Acquire acquires a slot for a restart. It returns false if no slot is free for the namespace. A workload keeps the
// deadline of a slot that it holds already.
func (s *Slots) Acquire(namespace string, ref Ref, restart Restart, now time.Time) (Restart, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.restarts[namespace][ref]
	restart.State, restart.Problem, restart.Until = Updating, "", now.Add(slotDeadline)
	if before.running(now) {
		restart.Until = before.Until
	} else if !s.claim(namespace, now) {
		return before, false
	}
	s.set(namespace, ref, restart)
	return restart, true
}

// claim reports whether a namespace may take a slot. If other namespaces hold or claim the slots, it begins to wait.
func (s *Slots) claim(namespace string, now time.Time) bool {
	own, others := s.inUse(namespace, now)
	if own >= max(1, s.Max*3/5) {
		return false
	}
	s.expireClaims(now)
	mine := s.claims[namespace]
	if mine.renewed = now; mine.since.IsZero() {
		mine.since = now
	}
	for other, c := range s.claims {
		if other != namespace && c.before(mine) {
			others++
		}
	}
	available := own+others < s.Max
	if available {
		mine = slotClaim{taken: now}
	}
	if s.claims == nil {
		s.claims = map[string]slotClaim{}
	}
	s.claims[namespace] = mine
	return available
}

// expireClaims ends the claims of namespaces that no longer wait. Their next claim comes after those of namespaces that do.
func (s *Slots) expireClaims(now time.Time) {
	for namespace, c := range s.claims {
		switch {
		case !c.renewed.IsZero() && now.Sub(c.renewed) > claimTimeout:
			s.claims[namespace] = slotClaim{taken: now}
		case c.renewed.IsZero() && now.Sub(c.taken) > claimMemory:
			delete(s.claims, namespace)
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

// Taken returns the number of restarts in progress, including those whose slot another namespace has taken.
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

// inUse returns how many slots a namespace holds, and how many the others hold that it cannot take.
func (s *Slots) inUse(namespace string, now time.Time) (own, others int) {
	for of, restarts := range s.restarts {
		for _, r := range restarts {
			switch {
			case of == namespace && r.running(now):
				own++
			case of != namespace && r.running(now.Add(slotDeadline-protectedTime)):
				others++
			}
		}
	}
	return own, others
}
