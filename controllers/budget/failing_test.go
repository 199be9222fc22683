package budget_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/controllers/budget"
)

var (
	unreachable = budget.Cause{Reason: "STSUnreachable", Message: "STS did not answer.", Shared: true}
	throttled   = budget.Cause{Reason: "Throttled", Message: "STS is asked too often.", Shared: true}
)

func denied(role string) budget.Cause {
	return budget.Cause{Reason: "AccessDenied", Message: "STS refuses the role " + role + "."}
}

// outage is a budget that so many objects of the hub fail with.
func outage(objects int, why func(i int) budget.Cause) *budget.Budget {
	b := &budget.Budget{Default: 50}
	for i := range objects {
		b.Failed(hub, object(fmt.Sprint(i)), why(i))
	}
	return b
}

func TestAllThatFailTogetherTryAgainOnceInTwoSeconds(t *testing.T) {
	const objects = 500
	g := NewWithT(t)
	b := &budget.Budget{Default: 50}
	come := map[int]time.Time{}
	for i := range objects {
		come[i] = start
	}
	tries := map[int]int{}
	end := start.Add(40 * time.Minute)
	for range 1_000_000 {
		next := 0
		for i := range objects {
			if come[i].Before(come[next]) {
				next = i
			}
		}
		now := come[next]
		if !now.Before(end) {
			break
		}
		wait := b.Retry(now, hub, object(fmt.Sprint(next)), budget.Held{})
		if wait == 0 { // it fails, and waits out its own backoff
			tries[next]++
			wait = 5 * time.Minute
		}
		come[next] = now.Add(wait)
	}
	total := 0
	for i := range objects {
		g.Expect(tries[i]).To(BeNumerically("~", 2, 1), "object %d", i)
		total += tries[i]
	}
	g.Expect(total).To(BeNumerically("~", 40*30, 15))
}

func TestWhoFailsAloneTriesAgainWhenItWants(t *testing.T) {
	g := NewWithT(t)
	b := &budget.Budget{Default: 50}
	for now := start; now.Before(start.Add(time.Minute)); now = now.Add(5 * time.Second) {
		g.Expect(b.Retry(now, hub, object("alone"), budget.Held{})).To(BeZero())
	}
}

func TestAnOutageEndsForAllWithinAFewRounds(t *testing.T) {
	const objects = 500
	g := NewWithT(t)
	b := outage(objects, func(int) budget.Cause { return unreachable })
	round, answered := []budget.Key{object("0")}, map[budget.Key]int{}
	rounds := 0
	for ; len(round) > 0 && rounds < objects; rounds++ {
		var next []budget.Key
		for _, o := range round {
			answered[o]++
			next = append(next, b.Answered(hub, o, true)...)
		}
		g.Expect(len(next)).To(BeNumerically("<=", 2*len(round)))
		round = next
	}
	g.Expect(answered).To(HaveLen(objects))
	for o, n := range answered {
		g.Expect(n).To(Equal(1), "%v is asked for once", o)
	}
	g.Expect(rounds).To(BeNumerically("<=", 10))
}

func TestWhomAnAnswerWakes(t *testing.T) {
	own := denied("own")
	for name, tc := range map[string]struct {
		others []budget.Cause
		own    *budget.Cause // of the object whose call was answered, nil for none
		denied bool          // it was refused
		want   []string
	}{
		"nobody who failed for a reason of its own":            {[]budget.Cause{denied("a"), denied("b")}, nil, false, nil},
		"two who failed for what befalls all":                  {[]budget.Cause{unreachable, throttled, unreachable}, nil, false, []string{"0", "1"}},
		"even if it is a refusal":                              {[]budget.Cause{denied("a"), unreachable}, nil, true, []string{"1"}},
		"after a refusal, others that were refused":            {[]budget.Cause{denied("a"), denied("b"), denied("c")}, &own, false, []string{"0", "1"}},
		"first those for the same role":                        {[]budget.Cause{denied("a"), denied("b"), own}, &own, false, []string{"2", "0"}},
		"but none that were refused if it is refused again":    {[]budget.Cause{denied("a"), denied("b")}, &own, true, nil},
		"and none that failed for another reason of their own": {[]budget.Cause{{Reason: "InvalidRequest"}}, &own, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := outage(len(tc.others), func(i int) budget.Cause { return tc.others[i] })
			if tc.own != nil {
				b.Failed(hub, object("own"), *tc.own)
			}
			var woken []string
			for _, o := range b.Answered(hub, object("own"), !tc.denied) {
				woken = append(woken, o.Name)
			}
			NewWithT(t).Expect(woken).To(Equal(tc.want))
		})
	}
}

func TestWhoFailsAgainWhileOthersDoNotIsLeftToItself(t *testing.T) {
	g := NewWithT(t)
	b := outage(1, func(int) budget.Cause { return unreachable })
	g.Expect(b.Answered(hub, object("well"), true)).To(HaveLen(1))
	g.Expect(b.Answered(hub, object("well"), true)).To(BeEmpty(), "it is on its way")
	for range 3 {
		b.Failed(hub, object("0"), unreachable)
		g.Expect(b.Answered(hub, object("well"), true)).To(BeEmpty())
	}
	b.Answered(hub, object("0"), true)
	b.Failed(hub, object("0"), unreachable)
	g.Expect(b.Answered(hub, object("well"), true)).To(HaveLen(1), "a success is a new start")
}

func TestAnAnswerConcernsItsIdentityOnly(t *testing.T) {
	b := outage(1, func(int) budget.Cause { return unreachable })
	NewWithT(t).Expect(b.Answered(spoke, object("well"), true)).To(BeEmpty())
}

func TestWhoIsGoneIsNotWoken(t *testing.T) {
	g := NewWithT(t)
	b := outage(2, func(int) budget.Cause { return unreachable })
	b.Gone(object("0"))
	g.Expect(b.Answered(hub, object("well"), true)).To(Equal([]budget.Key{object("1")}))
}
