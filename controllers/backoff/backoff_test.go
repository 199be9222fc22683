package backoff

import (
	"fmt"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
)

var (
	start     = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	readerKey = types.NamespacedName{Namespace: "shop", Name: "s3-reader"}
	writerKey = types.NamespacedName{Namespace: "shop", Name: "s3-writer"}

	throttled = &reason.Error{Reason: "Throttled", Retry: reason.Backoff}
	malformed = &reason.Error{Reason: "MalformedPolicy", Retry: reason.Never}
	contested = &reason.Error{Reason: "SecretConflict", Retry: reason.After(time.Hour)}
)

func TestBackoffGrowsWithEachFailure(t *testing.T) {
	g := NewWithT(t)
	var a Calls
	now, spread := start, reissue.Spread(readerKey.String())
	for n := 1; n <= 10; n++ {
		next := a.Failed(readerKey, "inputs", throttled, now, 0)
		g.Expect(next).To(Equal(now.Add(reason.Wait(n, 0, spread))))
		g.Expect(a.Get(readerKey).failures).To(Equal(n))
		g.Expect(a.Get(readerKey).Next).To(Equal(next))
		now = next
	}
}

func TestFirstFailureOfNewInputsWaitsTheFirstBackoffStep(t *testing.T) {
	g := NewWithT(t)
	var a Calls
	for range 10 {
		a.Failed(readerKey, "inputs", throttled, start, 0)
	}
	first := a.Failed(readerKey, "other inputs", throttled, start, 0)
	g.Expect(a.Get(readerKey).failures).To(Equal(1))
	g.Expect(first).To(Equal(start.Add(reason.Wait(1, 0, reissue.Spread(readerKey.String())))))
	a.Failed(readerKey, "other inputs", throttled, first, 0)
	g.Expect(a.Get(readerKey).failures).To(Equal(2), "the same inputs fail again")
}

func TestBackoffEndsBeforeTheOldCredentialsExpire(t *testing.T) {
	g := NewWithT(t)
	var a Calls
	for range 10 {
		a.Failed(readerKey, "inputs", throttled, start, time.Minute)
	}
	g.Expect(a.Get(readerKey).Next).To(Equal(start.Add(30 * time.Second)))
}

func TestFailureOfTheIdentityDoesNotGrowTheBackoff(t *testing.T) {
	g := NewWithT(t)
	var a Calls
	a.Failed(readerKey, "inputs", throttled, start, 0)
	for range 10 {
		a.FailedForAll(readerKey, "inputs", throttled, start.Add(time.Minute))
	}
	g.Expect(a.Get(readerKey).failures).To(Equal(1))
	g.Expect(a.Get(readerKey).InBackoff("inputs", start.Add(time.Minute))).To(BeFalse(), "the limiter decides when the next call is made")
}

func TestSuccessResetsTheBackoff(t *testing.T) {
	g := NewWithT(t)
	var a Calls
	for range 5 {
		a.Failed(readerKey, "inputs", throttled, start, 0)
	}
	a.Succeeded(readerKey, "inputs", time.Hour, start)
	a.Failed(readerKey, "inputs", throttled, start, 0)
	g.Expect(a.Get(readerKey).failures).To(Equal(1))
}

func TestBackoffIsPerObject(t *testing.T) {
	g := NewWithT(t)
	var a Calls
	a.Failed(readerKey, "inputs", throttled, start, 0)
	g.Expect(a.Get(writerKey)).To(BeZero())
	a.Succeeded(writerKey, "inputs", time.Hour, start)
	g.Expect(a.Get(readerKey).failures).To(Equal(1))
	a.Forget(readerKey)
	g.Expect(a.Get(readerKey)).To(BeZero())
	g.Expect(a.last).To(HaveLen(1), "a forgotten object takes no memory")
	a.Forget(readerKey)
}

func TestInBackoff(t *testing.T) {
	for name, tc := range map[string]struct {
		failure *reason.Error // nil for a success
		inputs  string
		after   time.Duration
		want    bool
	}{
		"just after the failure":                     {throttled, "inputs", 0, true},
		"just before the end of the wait":            {throttled, "inputs", 5*time.Second - 1, true},
		"after the wait":                             {throttled, "inputs", 7 * time.Second, false},
		"with other inputs":                          {throttled, "other inputs", 0, false},
		"after a failure that is never retried":      {malformed, "inputs", 1000 * time.Hour, true},
		"after such a failure, with other inputs":    {malformed, "other inputs", 0, false},
		"just before the end of a fixed wait":        {contested, "inputs", time.Hour - 1, true},
		"after a fixed wait":                         {contested, "inputs", time.Hour, false},
		"after a success":                            {nil, "inputs", 0, false},
		"the clock went back by a minute":            {throttled, "inputs", -time.Minute, true},
		"the clock went back by ten minutes":         {throttled, "inputs", -10 * time.Minute, false},
		"the clock went back, and there is no retry": {malformed, "inputs", -10 * time.Minute, true},
		"the clock went back, with other inputs":     {throttled, "other inputs", -time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var a Calls
			if tc.failure != nil {
				a.Failed(readerKey, "inputs", tc.failure, start, 0)
			} else {
				a.Succeeded(readerKey, "inputs", time.Hour, start)
			}
			g.Expect(a.Get(readerKey).InBackoff(tc.inputs, start.Add(tc.after))).To(Equal(tc.want))
		})
	}
	t.Run("before the first call", func(t *testing.T) {
		NewWithT(t).Expect(LastCall{}.InBackoff("", start)).To(BeFalse())
	})
}

// delays makes calls as early as they are allowed and returns the wait before each. The nth call has the nth inputs, and lives for a time.
func delays(a *Calls, inputs func(n int) string, lifetime time.Duration, calls int) (waited []time.Duration) {
	now := start
	for n := range calls {
		wait := time.Duration(0)
		if next := a.Get(readerKey).NextIssue(inputs(n), now); !next.IsZero() {
			wait = next.Sub(now)
		}
		waited = append(waited, wait)
		now = now.Add(wait)
		a.Succeeded(readerKey, inputs(n), lifetime, now)
	}
	return waited
}

func TestCallsInALoopSlowDown(t *testing.T) {
	const s = time.Second
	same := func(int) string { return "inputs" }
	for name, tc := range map[string]struct {
		inputs   func(n int) string
		lifetime time.Duration
		want     []time.Duration
	}{
		"the Secret is deleted, or its record edited, again and again": {
			same, time.Hour, []time.Duration{0, 0, 10 * s, 20 * s, 40 * s, 80 * s, 160 * s, 300 * s, 300 * s},
		},
		"the spec changes to and fro": {
			func(n int) string { return fmt.Sprint("inputs ", n%2) }, time.Hour,
			[]time.Duration{0, 0, 0, 0, 0, 0, 5 * s, 10 * s, 20 * s, 30 * s, 30 * s, 30 * s, 30 * s, 30 * s},
		},
		"the spec changes once, after many repairs": {
			func(n int) string { return fmt.Sprint("inputs ", n/5) }, time.Hour,
			[]time.Duration{0, 0, 10 * s, 20 * s, 40 * s, 0, 0, 10 * s},
		},
		"the spec changes after each repair": {
			func(n int) string { return fmt.Sprint("inputs ", n/2) }, time.Hour,
			[]time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5 * s, 20 * s, 10 * s, 80 * s, 20 * s},
		},
		"credentials live for a few seconds": {
			same, 20 * s, []time.Duration{0, 0, 10 * s, 10 * s, 10 * s},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var a Calls
			NewWithT(t).Expect(delays(&a, tc.inputs, tc.lifetime, len(tc.want))).To(Equal(tc.want))
		})
	}
}

func TestRefreshesByDefaultNeverWait(t *testing.T) {
	g := NewWithT(t)
	for _, lifetime := range []time.Duration{20 * time.Second, 15 * time.Minute, time.Hour, 12 * time.Hour} {
		var a Calls
		now := start
		for range 100 {
			g.Expect(a.Get(readerKey).NextIssue("inputs", now)).To(BeZero(), "%s", lifetime)
			a.Succeeded(readerKey, "inputs", lifetime, now)
			now = now.Add(lifetime * 6 / 10)
		}
	}
}

func TestLoopIsForgottenAfterAQuietTime(t *testing.T) {
	for name, tc := range map[string]struct {
		inputs func(n int) string
		quiet  time.Duration
		then   string
		want   bool // a call is made at once
	}{
		"not after repairs a little earlier":    {func(int) string { return "inputs" }, 4 * time.Minute, "inputs", false},
		"after repairs long before":             {func(int) string { return "inputs" }, 11 * time.Minute, "inputs", true},
		"after repairs, with a new spec":        {func(int) string { return "inputs" }, 0, "new spec", true},
		"not after changes, with one more":      {func(n int) string { return fmt.Sprint(n) }, 0, "new spec", false},
		"after changes long before":             {func(n int) string { return fmt.Sprint(n) }, 11 * time.Minute, "new spec", true},
		"after changes, for the Secret's sake":  {func(n int) string { return fmt.Sprint(n) }, 0, "19", false},
		"the clock went back by ten minutes":    {func(int) string { return "inputs" }, -10 * time.Minute, "inputs", true},
		"not after the clock went back a while": {func(int) string { return "inputs" }, -time.Minute, "inputs", false},
	} {
		t.Run(name, func(t *testing.T) {
			var a Calls
			delays(&a, tc.inputs, time.Hour, 20)
			last := a.Get(readerKey)
			NewWithT(t).Expect(last.NextIssue(tc.then, last.At.Add(tc.quiet)).IsZero()).To(Equal(tc.want))
		})
	}
}

func TestFailuresWithChangingInputsSlowDown(t *testing.T) {
	g := NewWithT(t)
	var a Calls
	now := start
	for n := range freeChanges {
		inputs := fmt.Sprint("inputs ", n%2)
		g.Expect(a.Get(readerKey).NextIssue(inputs, now)).To(BeZero(), "a corrected spec is tried at once")
		a.Failed(readerKey, inputs, throttled, now, 0)
	}
	g.Expect(a.Get(readerKey).NextIssue("inputs 0", now)).To(Equal(now.Add(5 * time.Second)))
}

func TestExpiryThatIsAlwaysNearDoesNotKeepTheWaitShort(t *testing.T) {
	g := NewWithT(t)
	var a Calls
	now := start
	for range maxUrgent + 10 {
		now = a.Failed(readerKey, "inputs", throttled, now, 3*time.Second)
	}
	g.Expect(a.Get(readerKey).Next.Sub(a.Get(readerKey).At)).To(BeNumerically(">=", reason.MaxWait))
}

func TestRetriesBeforeTheExpiryAreNotUsedUp(t *testing.T) {
	g := NewWithT(t)
	for _, left := range []time.Duration{10 * time.Minute, time.Hour, 12 * time.Hour} {
		var a Calls
		now, expiry := start, start.Add(left)
		for expiry.Sub(now) > 2*reason.MinWait {
			next := a.Failed(readerKey, "inputs", throttled, now, expiry.Sub(now))
			g.Expect(next).To(BeTemporally("<", expiry))
			now = next
		}
	}
}

func TestBackoffSurvivesDeletionForAWhile(t *testing.T) {
	t.Run("an object that is created again waits", func(t *testing.T) {
		g := NewWithT(t)
		var a Calls
		now := start
		for n := range freeChanges {
			uid := fmt.Sprint(n)
			g.Expect(a.Get(readerKey).NextIssue(uid, now)).To(BeZero())
			a.Succeeded(readerKey, uid, time.Hour, now)
			g.Expect(a.Deleted(readerKey, now)).To(BeTrue())
			now = now.Add(time.Second)
		}
		g.Expect(a.Get(readerKey).NextIssue("another", now)).NotTo(BeZero())
	})
	t.Run("it is forgotten after the quiet time", func(t *testing.T) {
		g := NewWithT(t)
		var a Calls
		a.Succeeded(readerKey, "inputs", time.Hour, start)
		a.Deleted(readerKey, start)
		a.Deleted(readerKey, start.Add(quietTime)) // reconciled again
		a.Deleted(writerKey, start.Add(quietTime+1))
		g.Expect(a.last).To(BeEmpty())
		g.Expect(a.deleted).To(BeEmpty())
		g.Expect(a.perNamespace).To(BeEmpty())
	})
	t.Run("an object that exists again is not forgotten", func(t *testing.T) {
		g := NewWithT(t)
		var a Calls
		a.Succeeded(readerKey, "inputs", time.Hour, start)
		a.Deleted(readerKey, start)
		a.Succeeded(readerKey, "inputs", time.Hour, start.Add(time.Second))
		a.Deleted(writerKey, start.Add(quietTime+1))
		g.Expect(a.Get(readerKey).successes).To(Equal(2))
	})
	t.Run("the number is bounded in a namespace and in all", func(t *testing.T) {
		g := NewWithT(t)
		var a Calls
		retained := map[string]int{}
		for n := range maxDeletedPerNamespace + 1 {
			for _, namespace := range []string{"shop", "lab"} {
				key := types.NamespacedName{Namespace: namespace, Name: fmt.Sprint(n)}
				a.Succeeded(key, "inputs", time.Hour, start)
				if a.Deleted(key, start) {
					retained[namespace]++
				}
			}
		}
		g.Expect(retained).To(Equal(map[string]int{"shop": maxDeletedPerNamespace, "lab": maxDeletedPerNamespace}))
		for n := range maxDeleted {
			key := types.NamespacedName{Namespace: fmt.Sprint(n), Name: "reader"}
			a.Succeeded(key, "inputs", time.Hour, start)
			a.Deleted(key, start)
		}
		g.Expect(a.last).To(HaveLen(maxDeleted))
	})
}

func TestBackoffMayBeUsedConcurrently(t *testing.T) {
	g := NewWithT(t)
	var a Calls
	var workers sync.WaitGroup
	keys := []types.NamespacedName{readerKey, writerKey}
	for _, key := range keys {
		workers.Go(func() {
			for range 100 {
				a.Failed(key, "inputs", throttled, start, 0)
			}
		})
	}
	workers.Wait()
	for _, key := range keys {
		g.Expect(a.Get(key).failures).To(Equal(100))
	}
}

func TestNextCallIsAlwaysLater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a Calls
		key := types.NamespacedName{Namespace: "shop", Name: rapid.StringN(1, 20, -1).Draw(t, "name")}
		now := start
		for range rapid.IntRange(1, maxUrgent).Draw(t, "failures") {
			left := time.Duration(rapid.Int64Range(0, int64(12*time.Hour)).Draw(t, "left"))
			next := a.Failed(key, "inputs", throttled, now, left)
			if !next.After(now) {
				t.Fatalf("%s after a failure at %s", next, now)
			}
			if left >= time.Second && next.After(now.Add(left)) {
				t.Fatalf("%s after a failure at %s, past the %s that were left", next, now, left)
			}
			now = next
		}
	})
}
