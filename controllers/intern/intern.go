// Package intern lets objects in a cache share the strings that they have in common.
package intern

import "sync"

// limit is how many strings are remembered. What thousands of objects have in common is among the first hundreds; what they do not
// must not fill the memory for good.
const limit = 1024

// Strings hands out one string for all that are equal.
type Strings struct {
	mu    sync.Mutex
	known map[string]string
}

// Of returns the string that was handed out first for this one, or this one itself.
func (s *Strings) Of(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, ok := s.known[text]; ok {
		return first
	}
	if s.known == nil {
		s.known = map[string]string{}
	}
	if len(s.known) < limit {
		s.known[text] = text
	}
	return text
}
