package credential

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// The tests of the esr files check that reconciliation is eventually stable. If the credential, its identity and its rules stay as they
// are, then eventually the state matches the spec, and it stays so.
//
// A run is a scenario with a few disturbances: a request of the operator fails, its process crashes, someone else acts, or the clock moves.
// Then there are none, and the state must match within maxSteps reconciles and stay so for three lifetimes. The operator must not make a
// write that it is not permitted, and no write may replace a valid session by anything else.
//
//   - esr_explorer_test.go finds all runs
//   - esr_world_test.go is the state of one run, with the faults; esr_api_test.go and esr_sts_test.go are its servers
//   - esr_actions_test.go is what others do
//   - esr_state_test.go is what is checked

// maxSteps and maxTime bound the reconciles and the time from the last disturbance to a state that matches. The most found are in
// docs/survival.md. The time is less than that to the next refresh, which repairs much.
const (
	maxSteps = 30
	maxTime  = 15 * time.Minute
)

// scenarios are the states in which the disturbances begin.
var scenarios = map[string]func(*world) error{
	"the first issue":                       func(*world) error { return nil },
	"a refresh":                             settled(waitForTimer),
	"a refresh on demand":                   settled(act("a user requests a refresh")),
	"a rename":                              settled(act("a user renames the Secret")),
	"an adoption":                           begun(act("another client replaces the Secret and consents to adoption")),
	"a credential that is created again":    settled(act("a user deletes the credential and creates it again")),
	"a rule that is withdrawn":              settled(act(ruleChange)),
	"a rule that is given back":             settled(act(ruleChange), waitForTimer, act(ruleChange)), //nolint:gocritic // the second change undoes the first
	"a foreign Secret that is then deleted": settled(act("another client replaces the Secret"), waitForTimer, act("another client deletes the Secret")),
	"a session that expires while STS denies the calls": settled(act("the role's trust policy denies the calls, or allows them again"), (*world).expire),
	"MFA": begun(func(w *world) {
		w.put(seedSecret(deviceSeed))
		w.remove(objectKey{"RoleCredential", credentialKey})
		w.put(guarded())
	}),
}

const ruleChange = "an administrator withdraws the rule, or gives it back"

func act(name string) func(*world) { return actionsByName[name] }

func waitForTimer(w *world) { w.wait() }

// begun is a scenario of changes before the first reconcile.
func begun(changes ...func(*world)) func(*world) error {
	return func(w *world) error {
		for _, change := range changes {
			change(w)
		}
		w.deliver()
		return nil
	}
}

// settled is a scenario of changes after the first issue. The operator reconciles all but the last.
func settled(changes ...func(*world)) func(*world) error {
	return func(w *world) error {
		w.quiet = true
		for _, change := range changes {
			if err := w.reconcileUntilIdle(); err != nil {
				return err
			}
			change(w)
			w.deliver()
			w.disturbed()
		}
		w.quiet = false
		return nil
	}
}

// Movements of the clock, between reconciles.
const (
	toTimer     = "the clock reaches the credential's timer"
	toExpiry    = "the clock reaches the expiry"
	minutesBack = "the operator's clock goes back ten minutes"
)

// expire moves the clock to the expiry of the session, if there is one. The credential's timer has passed then.
func (w *world) expire() {
	if cred := w.credential(); cred != nil && cred.Status.Expiration != nil {
		w.clock.SetTime(cred.Status.Expiration.Time)
	}
	w.pending = true
}

// disturbAtRest offers the disturbances between reconciles, and returns false if none was chosen.
func (w *world) disturbAtRest() bool {
	switch w.disturb("rest", crashBefore, toTimer, toExpiry, minutesBack) {
	case none:
		return false
	case crashBefore:
		w.start()
	case toTimer:
		w.wait()
	case toExpiry:
		w.expire()
	case minutesBack:
		w.clock.SetTime(w.clock.Now().Add(-10 * time.Minute))
		w.stsOffset += 10 * time.Minute
		w.pending = true
	}
	w.deliver()
	w.disturbed()
	return true
}

// longest are the most reconciles and the longest time from the last disturbance to a state that matches, and the run that took that time.
type longest struct {
	mu    sync.Mutex
	steps int
	time  time.Duration
	after []disturbance
}

func (l *longest) record(steps int, time time.Duration, after []disturbance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steps = max(l.steps, steps)
	if time > l.time {
		l.time, l.after = time, after
	}
}

// explored returns a function that makes one run of a scenario.
func explored(begin func(*world) error, most *longest) func(*choices) error {
	return func(c *choices) error {
		w := newWorld(c)
		if err := begin(w); err != nil {
			return err
		}
		for {
			if err := w.reconcileUntilIdle(); err != nil {
				return err
			}
			if !w.disturbAtRest() {
				break
			}
		}
		w.quiet = true
		w.collectGarbage()
		w.deliver()
		if err := w.reconcileUntilIdle(); err != nil {
			return fmt.Errorf("after garbage collection: %w", err)
		}
		most.record(w.steps, w.clock.Now().Sub(w.disturbedAt), c.disturbances)
		return w.staysSo()
	}
}

// TestReconciliationIsEventuallyStable makes all runs with one disturbance, one of ESR_PAIRS runs with two (500 by default), and one of
// ESR_TRIPLES runs of the first issue with three (none by default). ESR_SCENARIO selects one scenario.
func TestReconciliationIsEventuallyStable(t *testing.T) {
	pairs, triples := numberFrom(t, "ESR_PAIRS", 500), numberFrom(t, "ESR_TRIPLES", 0)
	for _, name := range slices.Sorted(maps.Keys(scenarios)) {
		if only := os.Getenv("ESR_SCENARIO"); only != "" && only != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			most := &longest{}
			e := &explorer{depth: 2, sample: pairs, run: explored(scenarios[name], most)}
			if name == "the first issue" && triples > 0 {
				e.depth, e.sample = 3, triples
			}
			e.explore(runtime.GOMAXPROCS(0))
			t.Logf("%d runs; at most %d reconciles and %v to a state that matches, after %v", e.runs.Load(), most.steps, most.time, most.after)
			for _, failure := range e.failures {
				t.Errorf("run %s", failure)
			}
		})
	}
}

func numberFrom(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text, ok := os.LookupEnv(variable)
	if !ok {
		return otherwise
	}
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s must be a number: %q", variable, text)
	}
	return number
}

// namedRuns are runs that are made with each test. Paste the disturbances of a failed run here, with the fault that they revealed.
var namedRuns = map[string]struct {
	scenario     string
	disturbances []disturbance
}{
	"a Secret whose create has no answer is found and repaired": {"the first issue", []disturbance{
		{"create Secret", 1, answerLost}, {"rest", 1, "another client edits the Secret's data"},
	}},
	"a crash after the create leaves a Secret that a rename then deletes": {"the first issue", []disturbance{
		{"create Secret", 1, crashAfter}, {"rest", 1, "a user renames the Secret"},
	}},
	"a crash before the old Secret is deleted does not leave it": {"a rename", []disturbance{
		{"delete Secret", 1, crashBefore},
	}},
	"an old Secret that loses its owner is not deleted": {"a rename", []disturbance{
		{"get the source's Secret", 1, "a user renames the Secret"}, {"delete Secret", 1, "another client removes the Secret's owner"},
	}},
	"a Secret that becomes foreign during a refresh is not overwritten": {"a refresh", []disturbance{
		{"update Secret", 1, "another client replaces the Secret"},
	}},
	"a takeover without an answer is not lost": {"a credential that is created again", []disturbance{
		{"update Secret", 1, answerLost}, {"rest", 1, crashBefore},
	}},
	"a rule that is withdrawn during the call applies from the next reconcile on": {"the first issue", []disturbance{
		{"call STS", 1, ruleChange}, {"rest", 1, "another client deletes the Secret"},
	}},
	"an MFA code that a crashed process used is not accepted, and the next one is": {"MFA", []disturbance{
		{"call STS", 1, crashAfter},
	}},
	"a refresh request that a crash interrupts is handled after the restart": {"the first issue", []disturbance{
		{"rest", 1, "a user requests a refresh"}, {"call STS", 2, crashBefore},
	}},
}

func TestNamedRunsAreEventuallyStable(t *testing.T) {
	for name, tc := range namedRuns {
		t.Run(name, func(t *testing.T) {
			c := &choices{disturbances: slices.Clone(tc.disturbances), last: true}
			if err := complete(c, explored(scenarios[tc.scenario], &longest{})); err != nil {
				t.Error(err)
			}
		})
	}
}
