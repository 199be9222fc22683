package budget_test

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	"pgregory.net/rapid"

	"rolecredential.dev/operator/controllers/budget"
)

// begin has as many objects as there are begin calls as an identity, and returns how many did.
func begin(c *budget.Calls, identity budget.Key, objects int) (begun int) {
	for i := range objects {
		if ok, _ := c.Begin(start, identity, object(fmt.Sprint(identity.Name, "-", i))); ok {
			begun++
		}
	}
	return begun
}

func TestCallsThatAreNotAnsweredLeaveRoomForOthers(t *testing.T) {
	third := budget.Key{Kind: "ClusterIdentity", NamespacedName: object("third").NamespacedName}
	for most, want := range map[int][3]int{
		1:  {1, 0, 0},
		2:  {2, 0, 0},
		3:  {2, 1, 0},
		12: {8, 3, 1},
		48: {32, 11, 4},
	} {
		g := NewWithT(t)
		c := &budget.Calls{Max: most}
		got := [3]int{begin(c, hub, 100), begin(c, spoke, 100), begin(c, third, 100)}
		g.Expect(got).To(Equal(want), "of %d", most)
	}
}

func TestWhoWaitsForAnAnswerIsNamedInTurn(t *testing.T) {
	g := NewWithT(t)
	c := &budget.Calls{Max: 3}
	begins := func(seconds float64, identity budget.Key, name string) string {
		begun, waited := c.Begin(at(seconds), identity, object(name))
		return fmt.Sprintf("%t, waited %s", begun, waited)
	}
	end := func(identity budget.Key) string {
		next, _ := c.End(identity)
		return next.Name
	}
	g.Expect(begin(c, hub, 2)).To(Equal(2))
	for i, name := range []string{"first", "second", "third"} {
		g.Expect(begins(float64(i), hub, name)).To(Equal("false, waited 0s"))
	}
	g.Expect(begins(3, hub, "first")).To(Equal("false, waited 3s"), "it keeps its place")
	g.Expect(begins(3, spoke, "other")).To(Equal("true, waited 0s"))
	g.Expect(end(spoke)).To(BeEmpty(), "its place is not for those of an identity that has its share")

	c.Forget(object("second"))
	g.Expect(end(hub)).To(Equal("first"))
	g.Expect(begins(4, hub, "late")).To(Equal("true, waited 0s"))
	g.Expect(begins(5, hub, "first")).To(Equal("false, waited 0s"), "it was named, and lost its place")
	g.Expect(end(hub)).To(Equal("third"), "who was forgotten is not named")
	g.Expect(begins(6, hub, "third")).To(Equal("true, waited 0s"))
	g.Expect(end(hub)).To(Equal("first"))
	g.Expect(end(hub)).To(BeEmpty())
}

// Whoever wants to call does, as long as calls end, and there are never more than may be.
func TestEachCallBeginsInTheEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &budget.Calls{Max: rapid.IntRange(1, 64).Draw(t, "max")}
		identities := []budget.Key{hub, spoke}
		under := map[budget.Key]int{}
		waiting := map[budget.Key]budget.Key{} // for which identity
		ask := func(identity, who budget.Key) {
			if begun, _ := c.Begin(start, identity, who); begun {
				under[identity]++
				delete(waiting, who)
			} else {
				waiting[who] = identity
			}
			if under[hub]+under[spoke] > c.Max {
				t.Fatalf("%v calls are under way, and %d may be", under, c.Max)
			}
		}
		end := func(identity budget.Key) {
			under[identity]--
			if next, found := c.End(identity); found {
				ask(waiting[next], next)
			}
		}
		for i := range rapid.IntRange(0, 300).Draw(t, "steps") {
			identity := rapid.SampledFrom(identities).Draw(t, "identity")
			if under[identity] > 0 && rapid.Bool().Draw(t, "ends") {
				end(identity)
			} else {
				ask(identity, object(fmt.Sprint(i)))
			}
		}
		for range 1000 {
			for _, identity := range identities {
				if under[identity] > 0 {
					end(identity)
				}
			}
		}
		if len(waiting) > 0 || under[hub]+under[spoke] > 0 {
			t.Fatalf("%d wait though nobody calls; %v are under way", len(waiting), under)
		}
	})
}
