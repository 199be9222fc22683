package perturb_test

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// What a plan does.
const (
	crashBefore = "crash before"
	crashAfter  = "crash after"
	answerLost  = "lose the answer of"
	hold        = "hold"
	unseen      = "unseen"
	newProcess  = "new process"
)

// point is the nth request of a name, counted from 1.
type point struct {
	what string
	nth  int
}

// plan is one disturbance of a scenario. The zero plan is none.
type plan struct {
	scenario, action string
	// at is the point; zero for a hold that begins with a step, and for changes that are unseen.
	at point
	// step is the number of the step, from 1, with which a hold begins; zero for a hold that begins at a point.
	step int
	// kind is what the operator does not see.
	kind string
	// watchList is whether the API server knows WatchList when the new process starts.
	watchList bool
}

// String describes the plan. PERTURB_PLAN selects it by this text.
func (p plan) String() string {
	at := fmt.Sprintf("%s (%d)", p.at.what, p.at.nth)
	switch {
	case p.step > 0:
		return fmt.Sprintf("%s: hold %s from step %d", p.scenario, p.kind, p.step)
	case p.action == hold:
		return fmt.Sprintf("%s: hold %s from %s", p.scenario, p.kind, at)
	case p.action == unseen:
		return fmt.Sprintf("%s: %s unseen", p.scenario, p.kind)
	case p.action == newProcess:
		return fmt.Sprintf("%s: new process on the state before %s, WatchList=%t", p.scenario, at, p.watchList)
	}
	return fmt.Sprintf("%s: %s %s", p.scenario, p.action, at)
}

// isStale reports whether the operator acts on a state that has changed.
func (p plan) isStale() bool {
	return p.action == hold || p.action == unseen || p.action == newProcess
}

// selected reports whether a run of the tests makes the plan: PERTURB_PLAN alone, else all with PERTURB_ALL, else a tenth.
func (p plan) selected() bool {
	if only := os.Getenv("PERTURB_PLAN"); only != "" {
		return only == p.String()
	}
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(p.String()))
	return os.Getenv("PERTURB_ALL") != "" || sum.Sum32()%10 == 0
}

// reference is what a scenario does without a disturbance.
type reference struct {
	changes []change
	frames  []string
	// state is masked: values that differ between two runs are empty.
	state map[string]string
}

// runPlan makes one run of a scenario. Without a reference, it makes one.
func runPlan(t *testing.T, s scenario, p plan, known *reference) (w *world, err error) {
	t.Helper()
	w = newWorld(t, p)
	w.collects = s.collects
	defer func() {
		w.crash() // from now on, nothing is recorded
		err = errors.Join(err, w.wait(), w.violation)
	}()
	if err := w.begin(s); err != nil {
		return w, fmt.Errorf("before the scenario: %w", err)
	}
	for i, step := range s.steps {
		last := i == len(s.steps)-1
		if p.step == i+1 || p.action == unseen && i == 0 {
			w.withhold(p.kind)
		}
		w.clock.Step(10 * time.Second) // identities are verified each 5 s at most
		w.mu.Lock()
		w.step = i
		w.mu.Unlock()
		step.do(w)
		if p.action == unseen && !last {
			continue
		}
		if p.action == unseen {
			w.skip(p.kind)
		}
		expected := func() error {
			if err := step.expected(w); err != nil || !last || known == nil {
				return err
			}
			return w.compare(known)
		}
		if err := w.waitUntil(expected); err != nil {
			return w, fmt.Errorf("after step %d: %w", i+1, err)
		}
	}
	if p.action == newProcess {
		err = w.restartOn(p, known)
	}
	return w, err
}

// begin brings the world to where the scenario begins.
func (w *world) begin(s scenario) error {
	err := w.waitUntil(func() error { return verified(w) })
	if err == nil && !s.absent {
		createApp(w)
		err = w.waitUntil(func() error { return issued(w) })
	}
	if err == nil && s.preparation != nil {
		s.preparation.do(w)
		err = w.waitUntil(func() error { return s.preparation.expected(w) })
	}
	w.mu.Lock()
	w.recording = true
	w.mu.Unlock()
	return err
}

// skip ends a hold so that the process sees only its result, as with a new list.
func (w *world) skip(kind string) {
	versions, until := w.versions(kind)
	w.mu.Lock()
	w.gaps[kind] = gap{until, versions}
	w.mu.Unlock()
	w.release()
}

// restartOn starts a process on the state before the plan's point. It sees later events once it has reconciled that state, and again if it
// tries again.
func (w *world) restartOn(p plan, known *reference) error {
	nth, snapshot := 0, uint64(0)
	for _, c := range w.changes {
		if c.what == p.at.what && nth < p.at.nth {
			nth, snapshot = nth+1, c.revision-1
		}
	}
	if w.disturbed = snapshot > 0; !w.disturbed {
		return nil
	}
	w.crash()
	if err := w.wait(); err != nil {
		return err
	}
	w.withhold("RoleCredential", "Secret", "ClusterIdentity", "Namespace", sourceSecret)
	w.start(fmt.Sprint(snapshot), p.watchList)
	w.await(forever, func() bool { return len(w.streams) >= 4 })
	w.await(2*blocked, func() bool {
		for name := range w.streams["RoleCredential"] {
			if w.started[name] < 3 { // conflicts make it try again
				return false
			}
		}
		return w.running == 0
	})
	w.release()
	return w.waitUntil(func() error { return w.compare(known) })
}

// compare returns an error if the state is not that of the reference.
func (w *world) compare(known *reference) error {
	state, err := w.state()
	if err != nil {
		return err
	}
	for path, value := range known.state {
		if _, ok := state[path]; ok && value == "" {
			state[path] = ""
		}
	}
	if diff := gocmp.Diff(known.state, state); diff != "" {
		return fmt.Errorf("the state differs from the reference:\n%s", diff)
	}
	return nil
}

// learn makes the reference from two runs.
func learn(t *testing.T, name string) *reference {
	t.Helper()
	var all [2]reference
	for i := range all {
		w, err := runPlan(t, scenarios[name], plan{scenario: name}, nil)
		if err == nil {
			all[i].state, err = w.state()
		}
		if err != nil {
			t.Fatalf("without a disturbance: %v", err)
		}
		w.end()
		all[i].changes, all[i].frames = w.changes, w.frames
		// Identities are reconciled beside credentials.
		slices.SortStableFunc(all[i].changes, func(a, b change) int {
			return cmp.Or(cmp.Compare(a.step, b.step), strings.Compare(a.actor(), b.actor()))
		})
	}
	for path, value := range all[0].state {
		if all[1].state[path] != value {
			all[0].state[path] = ""
		}
	}
	if diff := gocmp.Diff(all[0].text(), all[1].text()); diff != "" {
		t.Errorf("two runs differ:\n%s", diff)
	}
	return &all[0]
}

// text lists the requests and the events of the reference, those of each object in their order.
func (r *reference) text() string {
	var text strings.Builder
	text.WriteString("Requests:\n")
	for _, c := range r.changes {
		fmt.Fprintf(&text, "- %s", c.what)
		if c.fields != "" {
			fmt.Fprintf(&text, ": %s", c.fields)
		}
		text.WriteString("\n")
	}
	text.WriteString("\nWatch events:\n")
	counted := map[string]int{}
	for _, f := range r.frames {
		counted[f]++
	}
	for _, f := range slices.Sorted(maps.Keys(counted)) {
		fmt.Fprintf(&text, "- %s: %d\n", f, counted[f])
	}
	return text.String()
}

var update = flag.Bool("update", false, "write the golden files")

// checkGolden compares the requests with the committed list.
func (r *reference) checkGolden(t *testing.T, name string) {
	t.Helper()
	file := filepath.Join("testdata", strings.NewReplacer(" ", "-", ",", "").Replace(name)+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(r.text()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), r.text()); diff != "" {
		t.Errorf("the operator makes other requests than %s lists; run the test with -update, and review the change:\n%s", file, diff)
	}
}

// plans returns all plans for a scenario.
func (r *reference) plans(name string, s scenario) (all []plan) {
	kinds := map[string]bool{}
	for _, f := range r.frames {
		_, rest, _ := strings.Cut(f, " ")
		kinds[rest[:strings.LastIndex(rest, " ")]] = true
	}
	if s.reverses != "" {
		kinds[s.reverses] = true
		all = append(all, plan{scenario: name, action: unseen, kind: s.reverses})
	}
	counts := map[string]int{}
	for _, c := range r.changes {
		counts[c.what]++
		at := point{c.what, counts[c.what]}
		for _, action := range []string{crashBefore, crashAfter, answerLost} {
			all = append(all, plan{scenario: name, action: action, at: at})
		}
		for kind := range kinds {
			all = append(all, plan{scenario: name, action: hold, at: at, kind: kind})
		}
		if c.revision > 0 {
			all = append(all, plan{scenario: name, action: newProcess, at: at}, plan{scenario: name, action: newProcess, at: at, watchList: true})
		}
	}
	for kind := range kinds {
		for i := range s.steps {
			all = append(all, plan{scenario: name, action: hold, step: i + 1, kind: kind})
		}
	}
	slices.SortFunc(all, func(a, b plan) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// evaluate returns an error if a disturbed run has more requests than the disturbance explains.
func (w *world) evaluate(known *reference) error {
	if p := w.plan; !w.disturbed && p.action != unseen && p.step == 0 {
		return errors.New("the run did not reach the point")
	}
	count := func(changes []change) (counts map[string]int, calls int) {
		counts = map[string]int{}
		for _, c := range changes {
			counts[c.what]++
			if strings.HasPrefix(c.what, "call Assume") {
				calls++
			}
		}
		return counts, calls
	}
	want, wantCalls := count(known.changes)
	got, calls := count(w.changes)
	more, statuses := w.plan.allowance(known)
	more += w.collected // an issue for a credential that the operator did not know to be deleted
	var problems []error
	if calls > wantCalls+more {
		problems = append(problems, fmt.Errorf("%d calls that issue sessions, and %d in the reference", calls, wantCalls))
	}
	for _, what := range slices.Sorted(maps.Keys(got)) {
		allowed := want[what]
		switch verb, _, _ := strings.Cut(what, " "); {
		case w.collected > 0:
			allowed += w.collected
		case strings.HasPrefix(what, "update status"):
			allowed += statuses
		case verb == "call" || verb == "update" || verb == "apply":
			allowed += more
		}
		if got[what] > allowed {
			problems = append(problems, fmt.Errorf("%s: %d times, and %d in the reference", what, got[what], want[what]))
		}
	}
	for what, n := range want {
		if verb, _, _ := strings.Cut(what, " "); (verb == "create" || verb == "delete") && got[what] < n && w.plan.action != unseen {
			problems = append(problems, fmt.Errorf("%s: %d times, and %d in the reference", what, got[what], n))
		}
	}
	return errors.Join(problems...)
}

// allowance returns how many calls, with the writes of their results, and how many writes of a status the disturbance explains.
func (p plan) allowance(known *reference) (calls, statuses int) {
	switch p.action {
	case hold, unseen:
		return 0, 0
	case answerLost:
		return 1, 2 // the failure, and it again when something else has changed
	case newProcess:
		if known.stepOf(p.at) < known.changes[len(known.changes)-1].step {
			return 2, 2 // for the earlier spec, and back
		}
	}
	return 1, 1
}

func (r *reference) stepOf(at point) (step int) {
	for _, c := range r.changes {
		if c.what == at.what && at.nth > 0 {
			step, at.nth = c.step, at.nth-1
		}
	}
	return step
}

// TestDisturbedOperatorReachesReference makes a tenth of all plans, or all with PERTURB_ALL. PERTURB_PLAN names one.
func TestDisturbedOperatorReachesReference(t *testing.T) {
	only, _, _ := strings.Cut(os.Getenv("PERTURB_PLAN"), ":")
	var ran, found atomic.Int64
	t.Cleanup(func() { t.Logf("%d of %d plans", ran.Load(), found.Load()) })
	for _, name := range slices.Sorted(maps.Keys(scenarios)) {
		if only != "" && only != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			known := learn(t, name)
			known.checkGolden(t, name)
			for _, p := range known.plans(name, scenarios[name]) {
				found.Add(1)
				if !p.selected() {
					continue
				}
				ran.Add(1)
				w, err := runPlan(t, scenarios[name], p, known)
				if err = errors.Join(err, w.evaluate(known)); err != nil {
					t.Errorf("%s:\n%v\nRun this plan alone: PERTURB_PLAN='%s' go test -run=Reference ./controllers/integration/perturb", p, err, p)
				}
				w.end()
			}
		})
	}
}
