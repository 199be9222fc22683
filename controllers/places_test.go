package controllers

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"pgregory.net/rapid"

	"rolecredential.dev/operator/controllers/budget"
)

func key(kind, name string) budget.Key {
	return budget.Key{Kind: kind, NamespacedName: types.NamespacedName{Name: name}}
}

// takes has credentials come for places, as long as there are any without waiting, and returns how many had one.
func takes(p *places, identity budget.Key) (taken int) {
	gaveUp, cancel := context.WithCancel(context.Background())
	cancel()
	for p.take(gaveUp, identity, key("RoleCredential", fmt.Sprint(identity.Name, "-", taken))) {
		taken++
	}
	return taken
}

func TestCallsThatAreNotAnsweredLeavePlacesToOthers(t *testing.T) {
	for workers, want := range map[int][3]int{
		1:  {1, 0, 0}, // with one worker there is none to spare
		2:  {1, 0, 0},
		4:  {2, 1, 0},
		16: {8, 3, 1},
		64: {32, 11, 4},
	} {
		p := newPlaces(workers)
		got := [3]int{takes(p, key("ClusterIdentity", "one")), takes(p, key("ClusterIdentity", "another")), takes(p, key("Identity", "third"))}
		NewWithT(t).Expect(got).To(Equal(want), "of %d workers", workers)
	}
}

// While STS answers, nobody is sent away, whoever comes first goes first, and no place is left empty.
func TestAWorkerWaitsForAPlaceForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		const workers = 10
		p, by := newPlaces(4), key("ClusterIdentity", "default")
		answered := make(chan int, workers)
		for i := range workers {
			go func() {
				if p.take(t.Context(), by, key("RoleCredential", fmt.Sprint(i))) {
					clock.RealClock{}.Sleep(slow / 5)
					answered <- i
					p.free(by)
				}
			}()
			synctest.Wait()
		}
		clock.RealClock{}.Sleep(slow)
		for round := range workers / 2 { // two at a time
			g.Expect([]int{<-answered, <-answered}).To(ConsistOf(2*round, 2*round+1))
		}
		synctest.Wait()
		g.Expect(p.by).To(BeEmpty())
	})
}

func TestWhoIsSentAwayIsNamedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		p, by, other := newPlaces(4), key("ClusterIdentity", "default"), key("ClusterIdentity", "other")
		takesAfter := func(identity budget.Key, name string) string {
			var wall clock.RealClock
			came := wall.Now()
			took := p.take(t.Context(), identity, key("RoleCredential", name))
			return fmt.Sprint(took, " after ", wall.Since(came))
		}
		free := func(identity budget.Key) string {
			next, _ := p.free(identity)
			return next.Name
		}
		g.Expect(takesAfter(by, "a")).To(Equal("true after 0s"))
		g.Expect(takesAfter(by, "b")).To(Equal("true after 0s"))
		g.Expect(takesAfter(by, "first")).To(Equal("false after 1s"))
		g.Expect(takesAfter(by, "second")).To(Equal("false after 0s"), "nobody waits for what others did not get")
		g.Expect(takesAfter(by, "first")).To(Equal("false after 0s"))
		g.Expect(takesAfter(by, "third")).To(Equal("false after 0s"))
		g.Expect(takesAfter(other, "c")).To(Equal("true after 0s"))
		g.Expect(free(other)).To(BeEmpty(), "its place is not for those of an identity that has its share")

		g.Expect(free(by)).To(Equal("first"))
		g.Expect(takesAfter(by, "second")).To(Equal("true after 0s"), "it came before who was named")
		g.Expect(takesAfter(by, "first")).To(Equal("false after 0s"))
		g.Expect(free(by)).To(Equal("third"))
		g.Expect(free(by)).To(Equal("first"))
		g.Expect(takesAfter(by, "third")).To(Equal("true after 0s"))
		g.Expect(takesAfter(by, "first")).To(Equal("true after 0s"))
		g.Expect(takesAfter(by, "late")).To(Equal("false after 1s"), "as long as nobody is away, a worker waits again")
		g.Expect(free(by)).To(Equal("late"))
		g.Expect(free(by)).To(BeEmpty())
		g.Expect(p.by).To(BeEmpty())
	})
}

func TestAPlaceIsForTheIdentityWithTheFewest(t *testing.T) {
	g := NewWithT(t)
	p, most, some, few := newPlaces(16), key("ClusterIdentity", "most"), key("ClusterIdentity", "some"), key("ClusterIdentity", "few")
	g.Expect([]int{takes(p, most), takes(p, some), takes(p, few)}).To(Equal([]int{8, 3, 1}), "and one of each is sent away")
	g.Expect(p.take(t.Context(), few, key("RoleCredential", "few-more"))).To(BeFalse())
	for _, want := range []string{"few-1", "few-more", "some-3"} {
		next, _ := p.free(most)
		g.Expect(next.Name).To(Equal(want))
	}
}

// Whoever wants to call does, as long as calls end, and there are never more than there are places.
func TestEachHasAPlaceInTheEnd(t *testing.T) {
	identities := []budget.Key{key("ClusterIdentity", "one"), key("ClusterIdentity", "another")}
	gaveUp, cancel := context.WithCancel(t.Context())
	cancel()
	rapid.Check(t, func(t *rapid.T) {
		p := newPlaces(rapid.IntRange(1, 64).Draw(t, "workers"))
		calling, away := map[budget.Key]int{}, map[budget.Key]budget.Key{} // by identity, and of which identity
		take := func(identity, credential budget.Key) {
			if p.take(gaveUp, identity, credential) {
				calling[identity]++
				delete(away, credential)
			} else {
				away[credential] = identity
			}
			if p.taken > p.max {
				t.Fatalf("%d places are taken of %d", p.taken, p.max)
			}
		}
		free := func(identity budget.Key) {
			calling[identity]--
			if next, found := p.free(identity); found {
				take(away[next], next)
			}
		}
		for i := range rapid.IntRange(0, 300).Draw(t, "steps") {
			identity := rapid.SampledFrom(identities).Draw(t, "identity")
			if calling[identity] > 0 && rapid.Bool().Draw(t, "ends") {
				free(identity)
			} else {
				take(identity, key("RoleCredential", fmt.Sprint(i)))
			}
		}
		for range 1000 {
			for _, identity := range identities {
				if calling[identity] > 0 {
					free(identity)
				}
			}
		}
		if len(away) > 0 || p.taken > 0 {
			t.Fatalf("%d are away though nobody calls, and %d places are taken", len(away), p.taken)
		}
	})
}
