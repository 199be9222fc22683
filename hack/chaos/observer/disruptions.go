// Package observer checks the operator's guarantees. It shares no code with the operator: it has its own client, parses Secrets and
// statuses itself, and looks up sessions at the STS emulator.
package observer

import (
	"sync"
	"time"
)

// The components that a fault disrupts, as keys of [Disruptions]. [IdentityOf] and [BucketOf] return the keys of one identity.
const (
	STS       = "sts"
	APIServer = "api"
	Leader    = "leader"
	Machine   = "machine"
	View      = "view" // the observer's own watches
)

// IdentityOf returns the key of an identity's configuration.
func IdentityOf(identity string) string { return "identity " + identity }

// BucketOf returns the key of an identity's token bucket.
func BucketOf(identity string) string { return "bucket of " + identity }

// Disruptions records which components are disrupted, and since when the others are not.
type Disruptions struct {
	mu     sync.Mutex
	active map[string]int
	ended  map[string]time.Time
}

// Begin records that a component is disrupted, until as many calls of [Disruptions.End].
func (d *Disruptions) Begin(component string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active == nil {
		d.active, d.ended = map[string]int{}, map[string]time.Time{}
	}
	d.active[component]++
}

// End records that one disruption of a component is over. Its effect may last until after.
func (d *Disruptions) End(component string, after time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active[component]--; d.active[component] <= 0 {
		delete(d.active, component)
	}
	if at := time.Now().Add(after); at.After(d.ended[component]) {
		d.ended[component] = at
	}
}

// Mark records a disruption that begins and ends now.
func (d *Disruptions) Mark(component string) {
	d.Begin(component)
	d.End(component, 0)
}

// UndisruptedSince returns since when all of the components work. It returns false while one of them is disrupted.
func (d *Disruptions) UndisruptedSince(components ...string) (since time.Time, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, component := range components {
		if d.active[component] > 0 || d.ended[component].After(time.Now()) {
			return time.Time{}, false
		}
		since = later(since, d.ended[component])
	}
	return since, true
}
