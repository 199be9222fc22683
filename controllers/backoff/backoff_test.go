package backoff

import (
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
	a.Succeeded(readerKey, "uid", reissue.Due, start)
	g.Expect(a.last).To(BeEmpty(), "what does not matter takes no memory")
	a.Failed(readerKey, "inputs", throttled, start, 0)
	g.Expect(a.Get(readerKey).failures).To(Equal(1))
}

func TestBackoffIsPerObject(t *testing.T) {
	g := NewWithT(t)
	var a Calls
	a.Failed(readerKey, "inputs", throttled, start, 0)
	g.Expect(a.Get(writerKey)).To(BeZero())
	a.Succeeded(writerKey, "uid", reissue.Missing, start)
	g.Expect(a.Get(readerKey).failures).To(Equal(1))
	a.Forget(readerKey)
	g.Expect(a.Get(readerKey)).To(BeZero())
	g.Expect(a.last).To(HaveLen(1), "what is forgotten takes no memory")
	a.Forget(readerKey)
}

func TestInBackoff(t *testing.T) {
	for name, tc := range map[string]struct {
		failure *reason.Error // nil for a success
		inputs  string
		after   time.Duration
		want    bool
	}{
		"just after it":                              {throttled, "inputs", 0, true},
		"just before the next try":                   {throttled, "inputs", 5*time.Second - 1, true},
		"once its time has come":                     {throttled, "inputs", 7 * time.Second, false},
		"something that it depends on changed":       {throttled, "other inputs", 0, false},
		"it is never tried again":                    {malformed, "inputs", 1000 * time.Hour, true},
		"what can never be changed":                  {malformed, "other inputs", 0, false},
		"a while is to pass":                         {contested, "inputs", time.Hour - 1, true},
		"a while has passed":                         {contested, "inputs", time.Hour, false},
		"the last try went well":                     {nil, "inputs", 0, false},
		"the clock went back by less than is told":   {throttled, "inputs", -time.Minute, true},
		"the clock was ahead, and no longer is":      {throttled, "inputs", -10 * time.Minute, false},
		"the clock was ahead, and it is never tried": {malformed, "inputs", -10 * time.Minute, true},
		"the clock went back, and something changed": {throttled, "other inputs", -time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var a Calls
			if tc.failure != nil {
				a.Failed(readerKey, "inputs", tc.failure, start, 0)
			} else {
				a.Succeeded(readerKey, "uid", reissue.Due, start)
			}
			g.Expect(a.Get(readerKey).InBackoff(tc.inputs, start.Add(tc.after))).To(Equal(tc.want))
		})
	}
	t.Run("nothing was tried", func(t *testing.T) {
		NewWithT(t).Expect(Call{}.InBackoff("", start)).To(BeFalse())
	})
}

func TestRepairsOfTheSameSecretSlowDown(t *testing.T) {
	g := NewWithT(t)
	var a Calls
	now := start
	repair := func(want time.Duration) {
		t.Helper()
		soonest := a.Get(readerKey).NextRepairAllowed("uid")
		g.Expect(max(0, soonest.Sub(now))).To(Equal(want))
		now = now.Add(want)
		a.Succeeded(readerKey, "uid", reissue.Tampered, now)
	}
	a.Succeeded(readerKey, "uid", reissue.Missing, now) // the first issue
	repair(0)
	repair(5 * time.Second)
	repair(10 * time.Second)
	repair(20 * time.Second)
	repair(40 * time.Second)
	repair(80 * time.Second)
	repair(160 * time.Second)
	repair(5 * time.Minute)
	repair(5 * time.Minute)
}

func TestRepairIsImmediateAgain(t *testing.T) {
	fought := func() *Calls {
		var a Calls
		for range 5 {
			a.Succeeded(readerKey, "uid", reissue.Tampered, start)
		}
		return &a
	}
	for name, tc := range map[string]struct {
		then func(*Calls)
		want bool
	}{
		"not while it goes on":        {func(*Calls) {}, false},
		"not after a failure":         {func(a *Calls) { a.Failed(readerKey, "inputs", throttled, start, 0) }, false},
		"after a refresh in its time": {func(a *Calls) { a.Succeeded(readerKey, "uid", reissue.Due, start) }, true},
		"after a change of the spec":  {func(a *Calls) { a.Succeeded(readerKey, "uid", reissue.OtherRequest, start) }, true},
		"after a repair long after the others": {func(a *Calls) {
			a.Succeeded(readerKey, "uid", reissue.Missing, start.Add(2*reason.MaxWait+1))
		}, true},
		"not after a repair soon after the others": {func(a *Calls) { a.Succeeded(readerKey, "uid", reissue.Missing, start.Add(2*reason.MaxWait)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := fought()
			tc.then(a)
			soonest := a.Get(readerKey).NextRepairAllowed("uid")
			NewWithT(t).Expect(soonest.IsZero()).To(Equal(tc.want))
		})
	}
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
		for range rapid.IntRange(1, 30).Draw(t, "failures") {
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
