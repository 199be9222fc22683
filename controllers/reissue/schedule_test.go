package reissue_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"pgregory.net/rapid"

	"rolecredential.dev/operator/controllers/reissue"
)

var issuedAt = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)

func recordOf(life time.Duration) reissue.Record {
	return reissue.Record{IssuedAt: issuedAt, Expiration: issuedAt.Add(life)}
}

// lifetimes are those of STS, and those of an emulator with a fast clock, in seconds.
var lifetimes = rapid.OneOf(rapid.IntRange(900, 43200), rapid.IntRange(1, 30))

func drawLifetime(t *rapid.T) time.Duration {
	return time.Duration(lifetimes.Draw(t, "lifetime")) * time.Second
}

// drawDesired draws a refreshBefore that the schema accepts, none, or any.
func drawDesired(t *rapid.T) reissue.Desired {
	w := reissue.Desired{Key: rapid.String().Draw(t, "key")}
	if rapid.Bool().Draw(t, "has refreshBefore") {
		w.RefreshBefore = new(rapid.OneOf(
			rapid.Map(rapid.Int64Range(60, 50000), func(s int64) time.Duration { return time.Duration(s) * time.Second }),
			rapid.Map(rapid.Int64(), func(ns int64) time.Duration { return time.Duration(ns) }),
			rapid.SampledFrom([]time.Duration{math.MinInt64, -time.Hour, -1, 0, 1, math.MaxInt64}),
		).Draw(t, "refreshBefore"))
	}
	return w
}

func TestRefreshIsBeforeTheExpiry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawDesired(t)
		r := recordOf(drawLifetime(t))
		due := w.RefreshAt(r)
		if !due.After(r.IssuedAt) || !due.Before(r.Expiration) {
			t.Fatalf("due at %s, which is not between %s and %s", due, r.IssuedAt, r.Expiration)
		}
		if life := r.Expiration.Sub(r.IssuedAt); due.Sub(r.IssuedAt) < life/10 {
			t.Fatalf("due after %s, before a tenth of %s has passed", due.Sub(r.IssuedAt), life)
		}
	})
}

func TestRefreshTimeSurvivesARestart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawDesired(t)
		r := recordOf(drawLifetime(t))
		stored, ok := reissue.ParseRecord(r.Annotations())
		if !ok {
			t.Fatal("the annotations are not a record")
		}
		if before, after := w.RefreshAt(r), w.RefreshAt(stored); !before.Equal(after) {
			t.Fatalf("due at %s, and after a restart at %s", before, after)
		}
	})
}

func TestRefreshTimeIsInWholeSeconds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawDesired(t)
		r := recordOf(time.Duration(rapid.IntRange(2, 43200).Draw(t, "life")) * time.Second)
		if due := w.RefreshAt(r); due.Nanosecond() != 0 {
			t.Fatalf("due at %s", due)
		}
	})
}

func TestRefreshIsRefreshBeforeTheExpiry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		life := time.Duration(rapid.IntRange(900, 43200).Draw(t, "life")) * time.Second
		before := time.Duration(rapid.IntRange(60, int(life.Seconds()*9/10)).Draw(t, "refreshBefore")) * time.Second
		w := reissue.Desired{RefreshBefore: &before, Key: rapid.String().Draw(t, "key")}
		after := w.RefreshAt(recordOf(life)).Sub(issuedAt)
		latest := life - before
		if after > latest {
			t.Fatalf("due after %s, later than %s", after, latest)
		}
		if earliest := latest - latest/10 - time.Second; after < earliest {
			t.Fatalf("due after %s, more than a tenth before %s", after, latest)
		}
	})
}

func TestRefreshTime(t *testing.T) {
	const early, late = "shop/reader-556", "shop/reader-1210" // of a spread near 1 and near 0
	for name, tc := range map[string]struct {
		life   time.Duration
		before *time.Duration
		key    string
		want   time.Duration // after the issue
	}{
		"a third of the lifetime is left by default":          {time.Hour, nil, late, 2399 * time.Second},
		"the earliest of many credentials":                    {time.Hour, nil, early, 2160 * time.Second},
		"refreshBefore is set":                                {time.Hour, new(10 * time.Minute), late, 2999 * time.Second},
		"STS returned a shorter lifetime":                     {15 * time.Minute, new(20 * time.Minute), late, 90 * time.Second},
		"a tenth of the lifetime is not in whole seconds":     {905 * time.Second, new(time.Hour), late, 91 * time.Second},
		"a lifetime of seconds":                               {12 * time.Second, nil, late, 7 * time.Second},
		"a lifetime of seconds, with refreshBefore for hours": {12 * time.Second, new(time.Minute), early, 2 * time.Second},
		"a lifetime of one second":                            {time.Second, new(time.Minute), early, time.Second / 10},
		"a negative refreshBefore":                            {time.Hour, new(-time.Hour), late, 3598 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := reissue.Desired{RefreshBefore: tc.before, Key: tc.key}
			g.Expect(w.RefreshAt(recordOf(tc.life)).Sub(issuedAt)).To(Equal(tc.want))
		})
	}
}

func TestRefreshesOfCredentialsIssuedTogetherAreSpread(t *testing.T) {
	g := NewWithT(t)
	const credentials, parts = 24000, 24
	r := recordOf(time.Hour)
	refreshes := make([]int, parts) // in each 10 s of the four minutes of all refreshes
	for i := range credentials {
		w := reissue.Desired{Key: fmt.Sprintf("shop/credential-%d", i)}
		refreshes[int(w.RefreshAt(r).Sub(issuedAt.Add(36*time.Minute))/(10*time.Second))]++
	}
	for part, count := range refreshes {
		g.Expect(count).To(BeNumerically("~", credentials/parts, credentials/parts/8), "in part %d", part)
	}
}

func TestSpreadDependsOnTheKeyOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.String().Draw(t, "key")
		spread := reissue.Spread(key)
		if spread < 0 || spread >= 1 || spread != reissue.Spread(key) {
			t.Fatalf("%v", spread)
		}
	})
}

func TestRequeueIsNeverZero(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "now"), 0)
		at := time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "at"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds"))
		wait := reissue.Requeue(now, at)
		if wait < time.Second || wait > time.Hour {
			t.Fatalf("%s from %s to %s", wait, now, at)
		}
		if left := at.Sub(now); left > time.Second && left < time.Hour && wait != left {
			t.Fatalf("%s from %s to %s", wait, now, at)
		}
	})
}

func TestRequeueIsAtMostAnHour(t *testing.T) {
	g := NewWithT(t)
	g.Expect(reissue.Requeue(issuedAt, issuedAt.Add(59*time.Minute))).To(Equal(59 * time.Minute))
	g.Expect(reissue.Requeue(issuedAt, issuedAt.Add(12*time.Hour))).To(Equal(time.Hour))
}

func TestRequeueForTheZeroTimeIsOneSecond(t *testing.T) {
	NewWithT(t).Expect(reissue.Requeue(issuedAt, time.Time{})).To(Equal(time.Second))
}
