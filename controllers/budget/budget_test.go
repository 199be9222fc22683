package budget_test

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"rolecredential.dev/operator/controllers/budget"
)

func TestASecondsWorthMayCallAtOnceAndTheOthersInTheirTurn(t *testing.T) {
	g := NewWithT(t)
	b := &budget.Budget{Default: 5}
	for i := range 5 {
		g.Expect(b.Take(start, hub, object(fmt.Sprint("first-", i)), budget.Held{})).To(BeZero())
	}
	for i := range 3 {
		wait := b.Take(start.Add(time.Duration(i)), hub, object(fmt.Sprint("then-", i)), budget.Held{})
		g.Expect(wait).To(BeNumerically("~", time.Duration(i+1)*200*time.Millisecond, 2*time.Millisecond))
	}
	g.Expect(level(b, start, hub)).To(Equal(budget.Level{Identity: hub, Tokens: 0, Rate: 5, Limit: 5, Waiting: budget.Waiting{HasNone: 3}}))
	g.Expect(b.Take(start, spoke, object("then-0"), budget.Held{})).To(BeZero(), "another identity has a budget of its own")
}

func TestWhoGoesFirst(t *testing.T) {
	outdated := func(seconds float64) budget.Held { return budget.Held{Until: at(seconds), Outdated: true} }
	none := budget.Held{}
	for name, tc := range map[string]struct {
		asks []ask
		want []string
	}{
		"of credentials that end soon, the one that ends first": {
			[]ask{{"later", 0, lives(50)}, {"soon", 1, lives(30)}, {"between", 2, lives(40)}}, []string{"soon", "between", "later"},
		},
		"of credentials that can wait, the one that ends first": {
			[]ask{{"a day", 0, lives(86400)}, {"an hour", 1, lives(3600)}, {"half a day", 2, lives(43200)}}, []string{"an hour", "half a day", "a day"},
		},
		"of new ones, the one that has waited longest": {
			[]ask{{"first", 0, none}, {"second", 1, none}, {"third", 2, none}}, []string{"first", "second", "third"},
		},
		"what ends soon before what is new": {
			[]ask{{"new", 0, none}, {"ends soon", 1, lives(30)}}, []string{"ends soon", "new"},
		},
		"what is new before what can wait": {
			[]ask{{"can wait", 0, lives(3600)}, {"new", 1, none}}, []string{"new", "can wait"},
		},
		"what ended long ago after what can still be saved": {
			[]ask{{"ended", 0, lives(-3600)}, {"new", 1, none}, {"ends soon", 2, lives(30)}}, []string{"ends soon", "ended", "new"},
		},
		"what is of another spec as if it were new": {
			[]ask{{"can wait", 0, lives(3600)}, {"outdated", 1, outdated(7200)}, {"new", 2, none}}, []string{"outdated", "new", "can wait"},
		},
		"what is of another spec too if it ends soon": {
			[]ask{{"new", 0, none}, {"outdated", 1, outdated(30)}, {"ends soon", 2, lives(20)}}, []string{"ends soon", "outdated", "new"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := spent(1, start)
			for range 8 { // long enough for all of them to come
				b.Spend(start, hub)
			}
			NewWithT(t).Expect(names(run(b, hub, tc.asks...))).To(Equal(tc.want))
		})
	}
}

func TestWhatEndedWhileItWaitedIsAsIfItWereNewSince(t *testing.T) {
	b := spent(1, start)
	for range 100 { // all come back before there is a token
		b.Spend(start, hub)
	}
	order := run(b, hub, ask{"ends meanwhile", 0, lives(5.5)}, ask{"before", 5, budget.Held{}}, ask{"after", 6, budget.Held{}})
	NewWithT(t).Expect(names(order)).To(Equal([]string{"before", "ends meanwhile", "after"}))
}

func TestOfWhoAreAlikeTheSameGoesFirstEachTime(t *testing.T) {
	g := NewWithT(t)
	var asks []ask
	for i := range 9 {
		asks = append(asks, ask{fmt.Sprint("object-", i), 0, budget.Held{}})
	}
	order := names(run(spent(1, start), hub, asks...))
	for i, a := range asks {
		asks[i], asks[8-i] = asks[8-i], a
		g.Expect(names(run(spent(1, start), hub, asks...))).To(Equal(order))
	}
	g.Expect(slices.IsSorted(order)).To(BeFalse(), "a name is no merit")
}

func TestAPlaceThatIsNotTakenIsGivenUp(t *testing.T) {
	for name, tc := range map[string]struct {
		happens func(b *budget.Budget)
		want    float64 // when the other may call, in seconds
	}{
		"by a waiter that does not come back": {func(*budget.Budget) {}, 6.1},
		"at once by one that is forgotten":    {func(b *budget.Budget) { b.Forget(object("first")) }, 1},
		"never by one that comes": {func(b *budget.Budget) {
			b.Take(at(1.2), hub, object("first"), budget.Held{})
		}, 2.2},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := spent(1, start)
			g.Expect(b.Take(start, hub, object("first"), budget.Held{})).To(BeNumerically("~", time.Second, 2*time.Millisecond))
			tc.happens(b)
			now := at(1.1)
			for b.Take(now, hub, object("other"), budget.Held{}) > 0 {
				now = now.Add(100 * time.Millisecond)
			}
			g.Expect(now.Sub(start).Seconds()).To(BeNumerically("~", tc.want, 0.3))
			g.Expect(level(b, now, hub).Waiting).To(BeZero())
		})
	}
}

func TestATokenDoesNotWaitForWhoComesMuchLater(t *testing.T) {
	g := NewWithT(t)
	b := spent(1, start)
	for range 30 {
		b.Spend(start, hub)
	}
	g.Expect(b.Take(start, hub, object("early"), lives(600))).To(BeNumerically("~", 31*time.Second, 10*time.Millisecond))
	b.ForgetIdentity(hub) // and with it its debts
	g.Expect(b.Levels(start)).To(BeEmpty())

	b.Limit(start, hub, 1)
	for range 40 {
		b.Spend(start, hub)
	}
	g.Expect(b.Take(start, hub, object("early"), lives(600))).To(BeNumerically(">", 35*time.Second))
	b.Limit(start, hub, 100) // what it was told is no longer so
	g.Expect(b.Take(at(3), hub, object("other"), lives(3600))).To(BeZero())
}

func TestWhoWaitsIsCountedByWhoseTurnComesFirst(t *testing.T) {
	g := NewWithT(t)
	b := spent(1, start)
	for name, held := range map[string]budget.Held{
		"new": {}, "ended": lives(-5), "of another spec": {Until: at(7200), Outdated: true}, "ends soon": lives(40), "can wait": lives(3600),
	} {
		b.Take(start, hub, object(name), held)
	}
	g.Expect(level(b, start, hub).Waiting).To(Equal(budget.Waiting{EndsSoon: 1, HasNone: 3, EndsLater: 1}))
	g.Expect(level(b, start, hub).Deadline).To(Equal(at(40)), "of those that can still be saved")
	b.Forget(object("ends soon"))
	b.Forget(object("can wait"))
	b.Forget(object("of another spec"))
	g.Expect(level(b, start, hub).Deadline).To(BeZero())
}

func TestEveryCallThatIsThrottledIsCounted(t *testing.T) {
	g := NewWithT(t)
	b := &budget.Budget{Default: 40}
	g.Expect(level(b, start, hub).Throttled).To(BeZero())
	b.Throttled(at(1), at(1), hub)
	b.Throttled(at(2), at(0.5), hub) // which halves nothing
	b.Succeeded(at(3), hub)
	g.Expect(level(b, at(3), hub).Throttled).To(Equal(2))
	g.Expect(level(b, at(3), spoke).Throttled).To(BeZero())
}

func TestNobodyIsToldToComeAtOnceOrInAnHour(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &budget.Budget{Default: rapid.IntRange(budget.MinQPS, budget.MaxQPS).Draw(t, "qps")}
		for range rapid.IntRange(0, 5000).Draw(t, "spent") {
			b.Spend(start, hub)
		}
		for i := range rapid.IntRange(1, 300).Draw(t, "objects") {
			wait := b.Take(start, hub, object(fmt.Sprint(i)), budget.Held{})
			if wait != 0 && (wait < 100*time.Millisecond || wait > time.Minute) {
				t.Fatalf("%s", wait)
			}
		}
	})
}

// Whatever happens, an identity makes no more calls in any time than come in it and a second more.
func TestNoMoreCallsThanTokens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		qps := rapid.IntRange(1, 20).Draw(t, "qps")
		b := &budget.Budget{Default: qps}
		now := start
		var calls []time.Time
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "pause") / int64(qps)))
			who := object(fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "who")))
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				b.Throttled(now, now, hub)
			case 1:
				b.Succeeded(now, hub)
			case 2:
				b.Forget(who)
			case 3:
				b.Spend(now, hub)
			default:
				held := budget.Held{Outdated: rapid.Bool().Draw(t, "outdated")}
				if rapid.Bool().Draw(t, "has one") {
					held.Until = now.Add(time.Duration(rapid.IntRange(-100, 4000).Draw(t, "left")) * time.Second)
				}
				if b.Take(now, hub, who, held) == 0 {
					calls = append(calls, now)
				}
			}
		}
		for _, window := range []time.Duration{0, time.Second, 3 * time.Second, 10 * time.Second, time.Minute} {
			if n, bound := most(calls, window), float64(qps)*(window.Seconds()+1); float64(n) > bound+1e-6 {
				t.Fatalf("%d calls within %s at %d a second", n, window, qps)
			}
		}
	})
}

// No token is wasted: whoever waits calls as soon as there is one.
func TestNoTokenIsWasted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		qps := rapid.IntRange(1, 20).Draw(t, "qps")
		asks := rapid.SliceOfN(rapid.Custom(anAsk), 1, 60).Draw(t, "asks")
		all := run(spent(qps, start), hub, named(asks)...)
		free := start.Add(time.Duration(float64(time.Second) / float64(qps)))
		last := start
		for _, s := range all {
			last = s.at
		}
		// All ask at the start. Each comes when its token is there, but no sooner than a tenth of a second after the last time.
		if ideal := free.Sub(start) * time.Duration(len(all)); last.Sub(start) > ideal+ideal/10+time.Second {
			t.Fatalf("%d calls took %s, and not %s", len(all), last.Sub(start), ideal)
		}
	})
}

func anAsk(t *rapid.T) ask {
	if rapid.Bool().Draw(t, "new") {
		return ask{}
	}
	return ask{held: lives(rapid.OneOf(rapid.Float64Range(-100, -1), rapid.Float64Range(300, 4000)).Draw(t, "ends"))}
}

func named(asks []ask) []ask {
	for i := range asks {
		asks[i].name = fmt.Sprint("object-", i)
	}
	return asks
}

func TestRefreshesGoByTheEndOfWhatTheyReplace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		qps := rapid.IntRange(1, 10).Draw(t, "qps")
		var asks []ask
		for range rapid.IntRange(2, 60).Draw(t, "objects") {
			asks = append(asks, ask{held: lives(rapid.Float64Range(100, 4000).Draw(t, "ends"))})
		}
		b := spent(qps, start)
		for range qps { // all have asked before the first token comes
			b.Spend(start, hub)
		}
		if all := run(b, hub, named(asks)...); !slices.IsSortedFunc(all, func(a, b served) int { return a.held.Until.Compare(b.held.Until) }) {
			t.Fatalf("%v", all)
		}
	})
}

// If all credentials can be refreshed in time when nothing else is to be done, they are, however many new ones are wanted, and
// however many are lost already.
func TestWhatCanBeSavedIsSaved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		qps := rapid.IntRange(1, 10).Draw(t, "qps")
		var asks []ask
		end := 1.0
		for range rapid.IntRange(1, 80).Draw(t, "alive") {
			end += 1.01/float64(qps) + rapid.SampledFrom([]float64{0, 0, 0, 1, 30}).Draw(t, "later")
			asks = append(asks, ask{held: lives(end)})
		}
		for range rapid.IntRange(0, 150).Draw(t, "none") {
			asks = append(asks, ask{held: rapid.SampledFrom([]budget.Held{{}, lives(-60)}).Draw(t, "held")})
		}
		asks = rapid.Permutation(asks).Draw(t, "order")
		for _, s := range run(spent(qps, start), hub, named(asks)...) {
			if s.held.Until.After(start) && s.at.After(s.held.Until) {
				t.Fatalf("%s was lost at %s and served at %s", s.name, s.held.Until.Sub(start), s.at.Sub(start))
			}
		}
	})
}

func TestNewOnesAreNotStarvedByRefreshesThatCanWait(t *testing.T) {
	g := NewWithT(t)
	asks := []ask{{"new", 10, budget.Held{}}}
	for i := range 500 {
		asks = append(asks, ask{fmt.Sprint("refresh-", i), 0, lives(4 * 3600)})
	}
	for _, s := range run(spent(2, start), hub, asks...) {
		if s.name == "new" {
			g.Expect(s.at.Sub(at(10))).To(BeNumerically("<", 2*time.Second))
		}
	}
}

func TestAnIdentityIsSlowedDownAndGetsFasterAgain(t *testing.T) {
	type step struct {
		at        float64
		throttled bool
		made      float64 // when the call was made, if that was before its answer
		want      float64 // the rate after it
	}
	for name, steps := range map[string][]step{
		"each throttled call halves the rate": {
			{1, true, 1, 20}, {2, true, 2, 10}, {3, true, 3, 5},
		},
		"but not one that was made before the rate was halved": {
			{1, true, 0.9, 20}, {1.1, true, 0.95, 20}, {1.2, true, 1, 20}, {1.3, true, 1.05, 10},
		},
		"there is an end to it": {
			{1, true, 1, 20}, {2, true, 2, 10}, {3, true, 3, 5}, {4, true, 4, 2.5}, {5, true, 5, 1.25}, {6, true, 6, 0.625}, {7, true, 7, 0.5}, {8, true, 8, 0.5},
		},
		"success makes it a twentieth faster with each second": {
			{1, true, 1, 20}, {2, false, 2, 20 * math.Exp(0.05)}, {4, false, 4, 20 * math.Exp(0.15)},
		},
		"and in the end as fast as it was": {
			{1, true, 1, 20}, {14, false, 14, 20 * math.Exp(0.65)}, {16, false, 16, 40}, {100, false, 100, 40},
		},
		"success changes nothing where nothing was throttled": {
			{1, false, 1, 40}, {100, false, 100, 40},
		},
		"time alone makes nothing faster": {
			{1, true, 1, 20}, {1000, true, 1000, 10},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := &budget.Budget{Default: 40}
			for _, s := range steps {
				if s.throttled {
					b.Throttled(at(s.at), at(s.made), hub)
				} else {
					b.Succeeded(at(s.at), hub)
				}
				got := level(b, at(s.at), hub)
				g.Expect(got.Rate).To(BeNumerically("~", s.want, 1e-9), "after %v s", s.at)
				g.Expect(got.Limit).To(BeEquivalentTo(40))
			}
		})
	}
}

func TestTheTokensThatWereSavedAreNoLongerGood(t *testing.T) {
	g := NewWithT(t)
	b := &budget.Budget{Default: 40}
	b.Throttled(start, start, hub)
	g.Expect(level(b, start, hub).Tokens).To(BeZero())
	g.Expect(b.Take(start, hub, object("a"), budget.Held{})).To(BeNumerically(">", 0))
	g.Expect(level(b, at(60), hub).Tokens).To(BeEquivalentTo(20), "a second's worth at the new rate")
}

// Who was told when STS throttled would otherwise come long after it has ceased to.
func TestWhoWaitsForASlowIdentityComesAsSoonAsItMayBeFast(t *testing.T) {
	g := NewWithT(t)
	b := &budget.Budget{Default: 40}
	for i := range 7 {
		b.Throttled(at(float64(i)), at(float64(i)), hub)
	}
	now := at(6)
	g.Expect(level(b, now, hub).Rate).To(Equal(0.5))
	var told time.Duration
	for i := range 100 {
		told = b.Take(now.Add(time.Duration(i)), hub, object(fmt.Sprint(i)), budget.Held{})
	}
	came := now.Add(told)
	for now.Before(came) {
		now = now.Add(time.Second)
		b.Succeeded(now, hub)
	}
	g.Expect(told).To(BeNumerically("~", 48*time.Second, time.Second), "and not 200 s")
	g.Expect(level(b, now, hub).Rate).To(BeNumerically(">", 5))
}

func TestALimitMayChange(t *testing.T) {
	for name, tc := range map[string]struct {
		limits      []int
		throttled   int
		rate, limit float64
	}{
		"none is the default":    {[]int{0}, 0, 40, 40},
		"a lower one":            {[]int{5}, 0, 5, 5},
		"a higher one":           {[]int{200}, 0, 200, 200},
		"one that is taken away": {[]int{200, 0}, 0, 40, 40},
		"a higher one of an identity that is slowed down": {[]int{200}, 1, 20, 200},
		"a lower one of an identity that is slowed down":  {[]int{30}, 1, 20, 30},
		"one that is lower still":                         {[]int{10}, 1, 10, 10},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := &budget.Budget{Default: 40}
			for range tc.throttled {
				b.Throttled(start, start, hub)
			}
			for _, qps := range tc.limits {
				b.Limit(start, hub, qps)
				b.Limit(start, hub, qps)
			}
			got := level(b, start, hub)
			g.Expect([]float64{got.Rate, got.Limit}).To(Equal([]float64{tc.rate, tc.limit}))
			g.Expect(level(b, at(60), hub).Tokens).To(Equal(tc.rate))
		})
	}
}

func TestATenantMaySayLessThanTheDefaultAndNotMore(t *testing.T) {
	for name, tc := range map[string]struct {
		namespace string
		qps       int
		want      float64
	}{
		"less, of a namespace":   {"shop", 5, 5},
		"more, of a namespace":   {"shop", 200, 40},
		"nothing, of one":        {"shop", 0, 40},
		"more, of the cluster's": {"", 200, 200},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := &budget.Budget{Default: 40}
			own := budget.Key{Kind: "Identity", NamespacedName: types.NamespacedName{Namespace: tc.namespace, Name: "own"}}
			b.Limit(start, own, tc.qps)
			g.Expect(level(b, start, own).Limit).To(Equal(tc.want))
		})
	}
}

func TestCallsThatWaitForNoTokenArePaidBack(t *testing.T) {
	g := NewWithT(t)
	b := &budget.Budget{Default: 2}
	for range 6 {
		b.Spend(start, hub)
	}
	g.Expect(level(b, start, hub).Tokens).To(BeEquivalentTo(-4))
	g.Expect(b.Take(start, hub, object("a"), budget.Held{})).To(BeNumerically("~", 2500*time.Millisecond, 2*time.Millisecond))
}

func TestABudgetMayBeUsedByMany(t *testing.T) {
	g := NewWithT(t)
	b := &budget.Budget{Default: 20}
	var all sync.WaitGroup
	var let atomic.Int32
	for i := range 200 {
		all.Go(func() {
			if b.Take(start, hub, object(fmt.Sprint(i)), budget.Held{}) == 0 {
				let.Add(1)
			}
			b.Levels(start)
		})
	}
	all.Wait()
	g.Expect(let.Load()).To(BeEquivalentTo(20))
}
