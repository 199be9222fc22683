package reason_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"pgregory.net/rapid"

	"rolecredential.dev/operator/controllers/reason"
)

var (
	tries   = rapid.OneOf(rapid.IntRange(1, 12), rapid.IntRange(1, math.MaxInt))
	spreads = rapid.Float64Range(0, 1)
	lefts   = rapid.OneOf(
		rapid.Just(time.Duration(0)),
		rapid.Map(rapid.Int64Range(1, int64(12*time.Hour)), func(ns int64) time.Duration { return time.Duration(ns) }),
		rapid.Map(rapid.Int64Range(1, 60), func(s int64) time.Duration { return time.Duration(s) * time.Second }),
	)
)

func TestAWaitIsWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, left, spread := tries.Draw(t, "n"), lefts.Draw(t, "left"), spreads.Draw(t, "spread")
		wait := reason.Wait(n, left, spread)
		if wait <= 0 || wait > reason.MaxWait+reason.MaxWait/4 {
			t.Fatalf("%s", wait)
		}
		if left >= time.Second && wait > left {
			t.Fatalf("%s, past the %s that are left", wait, left)
		}
		if wait < reason.MinWait && (left == 0 || left >= reason.MinWait) {
			t.Fatalf("%s, though the end is %s away", wait, left)
		}
	})
}

func TestThereIsATryBeforeTheEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		left := time.Duration(rapid.Int64Range(int64(2*reason.MinWait), int64(12*time.Hour)).Draw(t, "left"))
		if wait := reason.Wait(tries.Draw(t, "n"), left, spreads.Draw(t, "spread")); wait > left/2 {
			t.Fatalf("%s of the %s that are left", wait, left)
		}
	})
}

func TestAWaitGetsLongerWithEachFailure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, left, spread := rapid.IntRange(1, 20).Draw(t, "n"), lefts.Draw(t, "left"), spreads.Draw(t, "spread")
		now, next := reason.Wait(n, left, spread), reason.Wait(n+1, left, spread)
		if next < now {
			t.Fatalf("%s after failure %d, and %s after the next", now, n, next)
		}
		if left == 0 && now < reason.MaxWait && next == now {
			t.Fatalf("%s after failure %d and after the next", now, n)
		}
	})
}

func TestAWaitIsLengthenedByUpToAQuarter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, spread := tries.Draw(t, "n"), spreads.Draw(t, "spread")
		least, wait := reason.Wait(n, 0, 0), reason.Wait(n, 0, spread)
		if wait < least || wait > least+least/4 {
			t.Fatalf("%s for %s", wait, least)
		}
		if more := reason.Wait(n, 0, spread+(1-spread)/2); more < wait {
			t.Fatalf("%s, and %s for a larger spread", wait, more)
		}
	})
}

func TestHowLongItIsToTheNextTry(t *testing.T) {
	for name, tc := range map[string]struct {
		n      int
		left   time.Duration
		spread float64
		want   time.Duration
	}{
		"the first time":               {1, 0, 0, 5 * time.Second},
		"the second time":              {2, 0, 0, 10 * time.Second},
		"the sixth time":               {6, 0, 0, 160 * time.Second},
		"at last":                      {7, 0, 0, 5 * time.Minute},
		"ever after":                   {math.MaxInt, 0, 0, 5 * time.Minute},
		"at the end of the jitter":     {1, 0, 1, 6250 * time.Millisecond},
		"at its latest":                {7, 0, 1, 375 * time.Second},
		"a count that cannot be":       {0, 0, 0, 5 * time.Second},
		"a negative count":             {math.MinInt, 0, 0, 5 * time.Second},
		"the credential lives long":    {7, 12 * time.Hour, 0, 5 * time.Minute},
		"half of what is left is less": {7, 4 * time.Minute, 1, 2 * time.Minute},
		"half of what is left is less than the least": {7, 8 * time.Second, 0, 5 * time.Second},
		"the end is near":            {1, 3 * time.Second, 0, 3 * time.Second},
		"the end is there":           {1, 10 * time.Millisecond, 0, time.Second},
		"there is no credential":     {3, 0, 0, 20 * time.Second},
		"the credential has expired": {3, -time.Hour, 0, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(reason.Wait(tc.n, tc.left, tc.spread)).To(Equal(tc.want))
		})
	}
}

func TestRulesOfRetry(t *testing.T) {
	for name, tc := range map[string]struct {
		retry reason.Retry
		want  time.Duration
	}{
		"backoff waits longer with each failure":            {reason.Backoff, reason.Wait(3, time.Hour, 0.5)},
		"never is no time":                                  {reason.Never, 0},
		"no rule is never":                                  {reason.Retry{}, 0},
		"after a while is that while, whatever the rest is": {reason.After(42 * time.Second), 42 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(tc.retry.In(3, time.Hour, 0.5)).To(Equal(tc.want))
		})
	}
}

func TestAnErrorOfTheSourceIsKnownAsSuch(t *testing.T) {
	g := NewWithT(t)
	cause := errors.New("no such profile")
	err := fmt.Errorf("calling: %w", &reason.SourceError{Err: cause})
	var source *reason.SourceError
	g.Expect(errors.As(err, &source)).To(BeTrue())
	g.Expect(err).To(MatchError(cause))
	g.Expect(err).To(MatchError("calling: source credentials: no such profile"))
}
