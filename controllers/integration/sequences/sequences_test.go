package sequences_test

import (
	"crypto/rand"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"pgregory.net/rapid"

	"rolecredential.dev/operator/hack/stsemulator"
)

// sequence changes one object, and checks each state.
type sequence struct {
	Gomega
	t       testingT
	kind    string
	fixture *fixture
	spec    map[string]any
	state   observation
	log     []string
	counts  int // changes
	// lastGood is the last spec with which the credential was Ready, and its state.
	lastGood      map[string]any
	lastGoodState observation
	consumer      map[string]any
	// refreshDue is true from a request for a refresh to the next session.
	refreshDue bool
}

// testingT is a *testing.T or a *rapid.T.
type testingT interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Cleanup(f func())
}

var (
	sequences, changes int
	// covered has the transitions of each leaf that were made, such as "set from good".
	covered = map[string]map[string]bool{}
)

// start creates the object of a new sequence. The clock returns to startTime, which tokens and certificates of the others follow. The MFA
// devices get another seed, because the operator remembers used codes.
func start(t testingT, kind string, consumer map[string]any) *sequence {
	if at := startTime(); now.Now().Sub(at) > 62*time.Second {
		now.SetTime(at)
	}
	sequences++
	emulator.ClearCalls()
	seed := rand.Text()
	for _, name := range []string{"operator", "spare"} {
		if _, err := emulator.PutMFADevice(operatorARN, stsemulator.MFADevice{Name: name, Seed: seed}); err != nil {
			t.Fatalf("%v", err)
		}
	}
	for _, data := range sources {
		data["seed"], data["seed2"] = []byte(seed), []byte(seed)
	}
	s := &sequence{t: t, kind: kind, spec: kinds[kind].Base, consumer: consumer}
	s.Gomega = NewGomega(func(message string, _ ...int) {
		t.Helper()
		t.Fatalf("%s\nThe changes of the %s were:\n%s", message, kind, strings.Join(s.log, "\n"))
	})
	s.fixture = create(s, kind, fmt.Sprintf("sq%04da", sequences), s.spec, consumer)
	t.Cleanup(s.fixture.remove)
	s.state = s.fixture.observe()
	s.Expect(s.state.good).To(BeTrue(), "the base is not Ready: %v", s.state.shape)
	s.lastGood, s.lastGoodState = s.spec, s.state
	return s
}

// wait lets the time pass after which the operator accepts another change: it calls STS at most six times in a row at once.
func (s *sequence) wait() {
	s.counts++
	changes++
	gap := 6 * time.Second
	switch _, mfa := s.spec["mfa"]; {
	case mfa, s.counts > 8:
		gap = 31 * time.Second
	case s.counts > 5:
		gap = 21 * time.Second
	}
	now.Step(gap)
}

// change applies a spec, and checks what holds for every change. It returns false if the API server rejects it.
func (s *sequence) change(what string, spec map[string]any, refresh bool) bool {
	s.log = append(s.log, fmt.Sprintf("%2d. %s", s.counts+1, what))
	s.wait()
	before, request := s.state, ""
	if refresh {
		request = fmt.Sprint(s.counts)
	}
	if err := s.fixture.apply(spec, request); err != nil {
		s.Expect(apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)).To(BeTrue(), "the API server failed: %v", err)
		s.log[len(s.log)-1] += ": rejected"
		s.state = s.fixture.observe()
		s.Expect(cmp.Diff(before.shape, s.state.shape)).To(BeEmpty(), "a rejected change has no effect")
		return false
	}
	s.fixture.waitUntilIdle()
	s.spec, s.state = spec, s.fixture.observe()
	s.refreshDue = (s.refreshDue || refresh) && s.state.session == before.session
	s.log[len(s.log)-1] += fmt.Sprintf(": Ready is %v", s.state.good)
	s.Expect(s.state.bystanders).To(Equal(before.bystanders), "other objects of the namespace changed")
	if s.state.session != "" {
		session, known := emulator.Session(s.state.session)
		s.Expect(known && session.Expiration.After(now.Now())).To(BeTrue(), "the credentials in the Secret are not valid")
	}
	suspended, _ := spec["suspend"].(bool)
	if s.state.good {
		s.Expect(s.refreshDue && !suspended).To(BeFalse(), "the requested refresh was not made")
		s.lastGood, s.lastGoodState = s.spec, s.state
	} else if !before.due.Before(now.Now()) || before.due.IsZero() {
		for name, data := range before.secrets {
			s.Expect(s.state.secrets).To(HaveKeyWithValue(name, data), "a refused spec must not change the Secret before its refresh")
		}
	}
	return true
}

// set changes a leaf and what it requires.
func (s *sequence) set(base map[string]any, path string, value any) (accepted bool) {
	return s.setAll(base, []string{path}, func(leaf) any { return value })
}

// setAll changes several leaves at once.
func (s *sequence) setAll(base map[string]any, paths []string, value func(leaf) any) (accepted bool) {
	from, before, spec, refresh := s.state.good, s.spec, base, false
	var what []string
	for _, path := range paths {
		l := kinds[s.kind].Leaves[path]
		spec, refresh = with(spec, path, l, value(l)), refresh || l.Refresh
		what = append(what, path+" = "+short(value(l)))
	}
	accepted = s.change(strings.Join(what, ", "), spec, refresh)
	for _, path := range paths {
		transition := "set"
		if _, had := lookup(before, path); had {
			transition = "changed"
		}
		s.cover(path, transition, from)
	}
	return accepted
}

// remove removes leaves.
func (s *sequence) remove(paths ...string) (accepted bool) {
	from, spec, refresh := s.state.good, s.spec, false
	for _, path := range paths {
		spec, refresh = without(spec, path), refresh || kinds[s.kind].Leaves[path].Refresh
	}
	accepted = s.change("no "+strings.Join(paths, ", "), spec, refresh)
	for _, path := range paths {
		s.cover(path, "removed", from)
		if _, inBase := lookup(kinds[s.kind].Base, path); inBase { // only the creation sets it
			s.cover(path, "set", true)
			s.cover(path, "set", false)
		}
	}
	return accepted
}

func (s *sequence) cover(path, transition string, fromGood bool) {
	of := covered[s.kind+" "+path]
	if of == nil {
		of = map[string]bool{}
		covered[s.kind+" "+path] = of
	}
	of[transitionFrom(transition, fromGood)] = true
}

func transitionFrom(transition string, good bool) string {
	return transition + " from " + map[bool]string{true: "good", false: "bad"}[good]
}

// missing returns the transitions of a leaf that were not made yet.
func missing(kind, path string) (all []string) {
	for _, transition := range []string{"set", "changed", "removed"} {
		if l := kinds[kind].Leaves[path]; transition == "changed" && len(l.Good)+len(l.Wrong) == 1 {
			continue
		}
		for _, good := range []bool{true, false} {
			if name := transitionFrom(transition, good); !covered[kind+" "+path][name] {
				all = append(all, name)
			}
		}
	}
	return all
}

// recovers checks that the state is that of an earlier one with the same spec, and that STS was not called if it need not be.
func (s *sequence) recovers(earlier observation, sameSession bool) {
	s.Expect(cmp.Diff(earlier.shape, s.state.shape)).To(BeEmpty(), "the last good spec leads to another state than before")
	if sameSession && now.Now().Before(earlier.due) {
		s.Expect(s.state.session).To(Equal(earlier.session), "the request is the same, but STS was called again")
	}
}

// shows reports whether two states differ in anything that a user can see.
func shows(a, b observation) bool { return !reflect.DeepEqual(a.shape, b.shape) || a.after != b.after }

// checkTwin checks that an object that is created with the last spec has the same state. The object itself is deleted first, so that all
// calls are the twin's. A suspended object is resumed first: a twin would have no Secret.
func (s *sequence) checkTwin() {
	if suspended, _ := s.spec["suspend"].(bool); suspended {
		s.change("resume", without(s.spec, "suspend"), false)
	}
	want := s.state
	s.fixture.remove()
	s.wait()
	twin := create(s, s.kind, strings.TrimSuffix(s.fixture.namespace, "a")+"b", s.spec, s.consumer) // as long, since tags name it
	s.t.Cleanup(twin.remove)
	s.log = append(s.log, "    the twin is created")
	s.Eventually(func(g Gomega) {
		got := twin.observe()
		g.Expect(got.good).To(Equal(want.good), "%v, and before %v", got.shape, want.shape)
		if want.good {
			g.Expect(cmp.Diff(want.shape, got.shape)).To(BeEmpty(), "the twin's state differs")
		}
		for condition, text := range want.refused { // what the Secret holds depends on earlier specs
			if _, both := got.refused[condition]; both {
				g.Expect(got.refused).To(HaveKeyWithValue(condition, text), "the twin's state differs")
			}
		}
		if got.failed != "" && want.failed != "" {
			g.Expect(got.failed).To(Equal(want.failed))
		}
	}).WithTimeout(5 * time.Second).WithPolling(10 * time.Millisecond).Should(Succeed())
	twin.remove()
}

// checkLeaf changes one leaf in the ways that a spec which is Ready allows, and recovers from wrong values.
func (s *sequence) checkLeaf(path string, byDefault any) (removable bool) {
	k, l := kinds[s.kind], kinds[s.kind].Leaves[path]
	_, inBase := lookup(k.Base, path)
	_, left := lookup(s.spec, path) // by the leaf before
	if byDefault != nil || left && !inBase || !s.state.good {
		s.Expect(s.change("base", k.Base, false)).To(BeTrue())
	}
	if byDefault != nil && len(l.With) == 0 {
		before := s.state
		s.Expect(s.set(k.Base, path, byDefault)).To(BeTrue())
		s.recovers(before, true)
	}
	s.Expect(s.set(k.Base, path, l.Good[0])).To(BeTrue())
	s.Expect(s.state.good).To(BeTrue(), "%v", s.state.shape)
	first := s.state
	for i, value := range l.Wrong {
		accepted := s.set(s.spec, path, value)
		s.Expect(accepted && (l.Rejected || s.state.good)).To(BeFalse(), "%v is accepted", value)
		s.Expect(accepted || i > 0 || l.Rejected).To(BeTrue(), "the API server rejects the first wrong value")
	}
	if !s.state.good {
		s.Expect(s.set(s.spec, path, l.Good[0])).To(BeTrue())
		s.recovers(first, !l.Refresh)
	}
	last := l.Good[len(l.Good)-1]
	if len(l.Good) > 1 {
		before := s.state
		s.Expect(s.set(s.spec, path, last)).To(BeTrue())
		s.Expect(s.state.good).To(BeTrue(), "%v", s.state.shape)
		s.Expect(shows(before, s.state)).To(Equal(l.Silent == ""), "whether the change shows")
	}
	before := s.state
	removable = s.remove(path)
	if removable && l.Silent == "" && !reflect.DeepEqual(last, byDefault) {
		s.Expect(shows(before, s.state)).To(BeTrue(), "the removal does not show")
	}
	return removable
}

// changesOf is about how many changes checkLeaf makes.
func changesOf(l leaf) int { return 5 + len(l.Wrong) }

// maxChanges is about how many changes a sequence has.
const maxChanges = 15

// checkLeaves makes sequences of the leaves of a kind.
func checkLeaves(t *testing.T, kind string, defaults map[string]any) {
	removable := map[bool][]string{}
	var group []string
	planned := 0
	run := func() {
		if len(group) > 0 {
			t.Run(strings.Join(group, ","), func(t *testing.T) {
				s := start(t, kind, kinds[kind].Leaves[group[0]].Consumer)
				for _, path := range group {
					accepted := s.checkLeaf(path, defaults[path])
					removable[accepted] = append(removable[accepted], path)
				}
				s.end()
			})
		}
		group, planned = nil, 0
	}
	for _, path := range slices.Sorted(maps.Keys(kinds[kind].Leaves)) {
		l := kinds[kind].Leaves[path]
		if planned+changesOf(l) > maxChanges || l.Consumer != nil {
			run()
		}
		group, planned = append(group, path), planned+changesOf(l)
		if l.Consumer != nil {
			run()
		}
	}
	run()
	for accepted, paths := range removable {
		checkLeavesInBadState(t, kind, paths, accepted)
	}
	if len(removable[true])+len(removable[false]) < len(kinds[kind].Leaves) { // a part was selected, or failed
		return
	}
	for path := range kinds[kind].Leaves {
		if lacking := missing(kind, path); len(lacking) > 0 {
			t.Errorf("%s of %s was not: %s", path, kind, strings.Join(lacking, ", "))
		}
	}
}

// end checks that the base leads to the first state again, and that a twin does.
func (s *sequence) end() {
	s.Expect(s.change("base", kinds[s.kind].Base, false)).To(BeTrue())
	s.Expect(s.state.good).To(BeTrue(), "%v", s.state.shape)
	s.checkTwin()
}

// checkLeavesInBadState sets, changes and removes leaves while something else keeps the credential from being Ready: all at once that
// require the same keys.
func checkLeavesInBadState(t *testing.T, kind string, paths []string, removable bool) {
	k, groups := kinds[kind], map[string][]string{}
	for _, path := range paths {
		key := fmt.Sprint(k.Leaves[path].Spoil, k.Leaves[path].With)
		groups[key] = append(groups[key], path)
	}
	for keys := range slices.Chunk(slices.Sorted(maps.Keys(groups)), maxChanges/5) {
		t.Run("while not Ready, "+groups[keys[0]][0], func(t *testing.T) {
			s := start(t, kind, nil)
			for _, key := range keys {
				group := groups[key]
				s.change("spoil", k.spoil(k.Leaves[group[0]]), false)
				s.Expect(s.state.good).To(BeFalse(), "%v", s.state.shape)
				s.Expect(s.setAll(s.spec, group, func(l leaf) any { return l.Good[0] })).To(BeTrue())
				s.Expect(s.setAll(s.spec, group, func(l leaf) any { return l.Good[len(l.Good)-1] })).To(BeTrue())
				s.Expect(s.remove(group...)).To(Equal(removable))
			}
			s.end()
		})
	}
}

// Every leaf is set, changed and removed, from a state that is Ready and from one that is not.
func TestEachLeafCanBeSetChangedAndRemoved(t *testing.T) {
	for kind, defaults := range schemaLeaves(NewWithT(t)) {
		t.Run(kind, func(t *testing.T) { checkLeaves(t, kind, defaults) })
	}
	t.Logf("%d sequences with %d changes", sequences, changes)
}

// A twin of the object has the same state after any changes.
func TestStateDependsOnlyOnTheSpec(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(slices.Sorted(maps.Keys(kinds))).Draw(t, "kind")
		s := start(t, kind, nil)
		for range rapid.IntRange(8, 15).Draw(t, "changes") {
			s.changeRandomly(t)
		}
		s.checkTwin()
	})
	t.Logf("%d sequences with %d changes", sequences, changes)
}

func (s *sequence) changeRandomly(t *rapid.T) {
	path := rapid.SampledFrom(slices.Sorted(maps.Keys(kinds[s.kind].Leaves))).Draw(t, "leaf")
	l := kinds[s.kind].Leaves[path]
	values := slices.Concat(l.Good, l.Good, l.Wrong)
	choice := rapid.IntRange(-3, len(values)-1).Draw(t, "choice")
	switch _, has := lookup(s.spec, path); {
	case choice >= 0:
		s.set(s.spec, path, values[choice])
	case choice == -1 && has:
		s.remove(path)
	case !s.state.good:
		earlier, spec := s.lastGoodState, s.lastGood
		untouched := s.state.session == earlier.session && !s.refreshDue
		s.Expect(s.change("back to the last good spec", spec, false)).To(BeTrue())
		s.recovers(earlier, untouched)
	default:
		s.set(s.spec, path, l.Good[0])
	}
}
