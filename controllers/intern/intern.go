// Package intern lets objects in a cache share the strings and labels that they have in common.
package intern

import (
	"sync"

	"k8s.io/apimachinery/pkg/labels"
)

// limit is how many of a kind are remembered. What thousands of objects have in common is among the first hundreds; what they do not
// must not fill the memory for good.
const limit = 1024

// Strings hands out one string for all that are equal.
type Strings struct{ first firsts[string] }

// Of returns the string that was handed out first for this one, or this one itself.
func (s *Strings) Of(text string) string { return s.first.of(text, text) }

// Labels hands out one map for all that are equal. Nobody may change it, nor one that it was asked for.
type Labels struct{ first firsts[map[string]string] }

// Of returns the labels that were handed out first for these, or these themselves.
func (l *Labels) Of(some map[string]string) map[string]string {
	return l.first.of(labels.FormatLabels(some), some)
}

// firsts are the first of all that have the same key.
type firsts[T any] struct {
	mu    sync.Mutex
	known map[string]T
}

func (f *firsts[T]) of(key string, value T) T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if first, ok := f.known[key]; ok {
		return first
	}
	if f.known == nil {
		f.known = map[string]T{}
	}
	if len(f.known) < limit {
		f.known[key] = value
	}
	return value
}
