package credential

import (
	"fmt"
	"hash/fnv"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A disturbance is the choice of an option other than the first at one point of a run: when the same thing is about to happen for the nth
// time, counted from 1.
type disturbance struct {
	before string
	nth    int
	option string
}

// String returns the disturbance as an element of a []disturbance.
func (d disturbance) String() string { return fmt.Sprintf("{%q, %d, %q}", d.before, d.nth, d.option) }

// offer is a point of a run and its options.
type offer struct {
	before  string
	nth     int
	options []string
}

// choices makes the choices of one run: the given disturbances, which are in the order of their points, and the first option at every
// other point. It records what was offered, so that the explorer finds the runs that differ.
type choices struct {
	disturbances []disturbance
	// last is true if the explorer needs no runs with more disturbances.
	last bool

	counts   map[string]int // how often each thing was about to happen
	offered  []offer
	happened int // disturbances
	after    int // offers up to the last disturbance
	// unknown is a disturbance whose option was not offered at its point.
	unknown *disturbance
}

// over reports whether all disturbances have happened and no others need to be known.
func (c *choices) over() bool { return c.last && c.happened == len(c.disturbances) }

// choose returns one of the options for what is about to happen. The first is to go on without a disturbance.
func (c *choices) choose(before string, options []string) string {
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	c.counts[before]++
	c.offered = append(c.offered, offer{before, c.counts[before], options})
	if c.happened == len(c.disturbances) {
		return options[0]
	}
	d := &c.disturbances[c.happened]
	if d.before != before || d.nth != c.counts[before] {
		return options[0]
	}
	c.happened, c.after = c.happened+1, len(c.offered)
	if !slices.Contains(options, d.option) {
		c.unknown = d
		return options[0]
	}
	return d.option
}

// checkMade returns an error if the run did not offer one of the disturbances. The operator has changed since they were recorded, or a run
// is not deterministic.
func (c *choices) checkHappened() error {
	switch {
	case c.unknown != nil:
		return fmt.Errorf("%v was not offered", c.unknown)
	case c.happened < len(c.disturbances):
		return fmt.Errorf("the run did not reach %v", c.disturbances[c.happened])
	}
	return nil
}

// more returns the runs with one more disturbance, after the last.
func (c *choices) more() (all [][]disturbance) {
	if c.last {
		return nil
	}
	for _, offered := range c.offered[c.after:] {
		for _, option := range offered.options[1:] {
			all = append(all, append(slices.Clone(c.disturbances), disturbance{offered.before, offered.nth, option}))
		}
	}
	return all
}

// explorer makes every run of at most a number of disturbances, depth first.
type explorer struct {
	// depth is the maximum number of disturbances in a run.
	depth int
	// sample selects one of this many runs with the maximum number of disturbances, by a hash of the disturbances.
	sample uint64
	// run makes one run. Several goroutines call it.
	run func(*choices) error

	runs     atomic.Int64
	mu       sync.Mutex
	failures []string
}

// maxFailures is the number of failed runs after which an exploration ends.
const maxFailures = 5

// explore makes all runs, on several goroutines.
func (e *explorer) explore(workers int) {
	next := make(chan []disturbance)
	var pool sync.WaitGroup
	for range workers {
		pool.Go(func() {
			for disturbances := range next {
				e.descend(disturbances)
			}
		})
	}
	for _, disturbances := range e.try(nil) {
		next <- disturbances
	}
	close(next)
	pool.Wait()
}

// descend makes all runs that begin with these disturbances.
func (e *explorer) descend(disturbances []disturbance) {
	if e.failed() || len(disturbances) == e.depth && !e.selected(disturbances) {
		return
	}
	for _, more := range e.try(disturbances) {
		e.descend(more)
	}
}

func (e *explorer) selected(disturbances []disturbance) bool {
	if e.sample <= 1 {
		return true
	}
	sum := fnv.New64a()
	fmt.Fprint(sum, disturbances)
	return sum.Sum64()%e.sample == 0
}

// try makes one run, and returns the runs with one more disturbance.
func (e *explorer) try(disturbances []disturbance) [][]disturbance {
	c := &choices{disturbances: disturbances, last: len(disturbances) == e.depth}
	e.runs.Add(1)
	if err := complete(c, e.run); err != nil {
		e.mu.Lock()
		e.failures = append(e.failures, describe(disturbances, err))
		e.mu.Unlock()
		return nil
	}
	return c.more()
}

// complete makes one run to its end. It returns an error for a panic too, so that the disturbances are reported.
func complete(c *choices, run func(*choices) error) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
		}
	}()
	if err := run(c); err != nil {
		return err
	}
	return c.checkHappened()
}

// describe returns a failed run so that its disturbances can be pasted into namedRuns.
func describe(disturbances []disturbance, err error) string {
	elements := make([]string, len(disturbances))
	for i, d := range disturbances {
		elements[i] = d.String()
	}
	return fmt.Sprintf("{%s}: %v", strings.Join(elements, ", "), err)
}

func (e *explorer) failed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.failures) >= maxFailures
}
