package rollout_test

import (
	"fmt"
	"math/bits"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"pgregory.net/rapid"

	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/rollout"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

var issuedAt = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)

func after(d time.Duration) time.Time { return issuedAt.Add(d) }

const (
	window   = 20 * time.Minute // from the issue until the former credential expires
	lifetime = time.Hour
)

// refreshed is a credential that took the place of one which lives on for the window.
func refreshed() rollout.Credential {
	return rollout.Credential{Namespace: "shop", Secret: "s3-reader", Record: reissue.Record{
		AccessKeyID: "ASIANEW", Seal: "seal", IssuedAt: issuedAt, Expiration: after(lifetime),
		PreviousIssuedAt: after(window - lifetime), PreviousExpiration: after(window),
	}}
}

// first is a credential that nothing is known before.
func first() rollout.Credential {
	c := refreshed()
	c.PreviousIssuedAt, c.PreviousExpiration = time.Time{}, time.Time{}
	return c
}

var web = rollout.Ref{Kind: "Deployment", Name: "web"}

// started is a pod whose first container started then.
func started(d time.Duration) rollout.Pod { return rollout.Pod{Name: "web-1", Started: after(d)} }

// still is a workload in which nothing goes on.
func still(change ...func(*rollout.Workload)) *rollout.Workload {
	w := &rollout.Workload{Ref: web, UID: "web-uid", Updated: true, Settled: true, Progress: "1"}
	for _, c := range change {
		c(w)
	}
	return w
}

func paused(w *rollout.Workload) { w.Held = "is paused" }
func stamped(w *rollout.Workload) {
	w.Stamp = readers.Stamp{"s3-reader": "ASIANEW", "other": "ASIAOTHER"}
}
func stampedOld(w *rollout.Workload)  { w.Stamp = readers.Stamp{"s3-reader": "ASIAOLD"} }
func updating(w *rollout.Workload)    { w.Updated, w.Settled = false, false }
func unavailable(w *rollout.Workload) { w.Settled = false }
func givenUp(w *rollout.Workload)     { w.Stuck = true }
func restarted(w *rollout.Workload)   { w.Restarted = true }

func TestAssessDetectsPodsWithPreviousCredential(t *testing.T) {
	const ago = -time.Minute
	for name, tc := range map[string]struct {
		credential rollout.Credential
		pod        rollout.Pod
		want       bool
		expires    time.Time
	}{
		"one that started with the former credential":                        {refreshed(), started(ago), true, after(window)},
		"one that started as soon as the former credential was issued":       {refreshed(), started(window - lifetime), true, after(window)},
		"one that started before the former credential":                      {refreshed(), started(window - lifetime - time.Second), true, time.Time{}},
		"one that started when the Secret was being written":                 {refreshed(), started(29 * time.Second), true, after(window)},
		"one that started after the Secret was written":                      {refreshed(), started(30 * time.Second), false, time.Time{}},
		"one that has not started":                                           {refreshed(), rollout.Pod{}, false, time.Time{}},
		"one that was restarted onto the credential":                         {refreshed(), rollout.Pod{Started: after(time.Second), Stamp: readers.Stamp{"s3-reader": "ASIANEW"}}, false, time.Time{}},
		"one that was restarted onto the former credential":                  {refreshed(), rollout.Pod{Started: after(ago), Stamp: readers.Stamp{"s3-reader": "ASIAOLD"}}, true, after(window)},
		"one that was restarted onto a credential of that id, of another":    {refreshed(), rollout.Pod{Started: after(ago), Stamp: readers.Stamp{"other": "ASIANEW"}}, true, after(window)},
		"one that waited for its Secret to be made":                          {first(), started(0), false, time.Time{}},
		"one that ran before its Secret was made, or made anew":              {first(), started(ago), true, time.Time{}},
		"one that started after the Secret by a clock that STS is ahead of":  {ahead(refreshed(), time.Minute), started(-30 * time.Second), false, time.Time{}},
		"one that started before the Secret by a clock that is ahead of STS": {ahead(refreshed(), -time.Minute), started(time.Minute), true, after(window)},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := tc.credential.Assess(after(time.Minute), rollout.Reader{Ref: web}, still(), []rollout.Pod{tc.pod})
			if !tc.want {
				g.Expect(got.State).To(Equal(rollout.Fresh))
				return
			}
			g.Expect(got.State).To(Equal(rollout.Outdated))
			g.Expect(got.Expires).To(Equal(tc.expires))
		})
	}
}

func ahead(c rollout.Credential, d time.Duration) rollout.Credential {
	c.Ahead = d
	return c
}

func TestAssessUsesTheEarliestExpiry(t *testing.T) {
	g := NewWithT(t)
	c := refreshed()
	got := c.Assess(after(time.Minute), rollout.Reader{Ref: web}, still(), []rollout.Pod{started(-time.Minute), started(-2 * time.Hour), started(time.Minute)})
	g.Expect(got.Expires).To(BeZero())
	g.Expect(got.Due).To(Equal(after(30 * time.Second)))
}

func TestCredentialWithoutAccessKeyIDIsIdentifiedByItsSeal(t *testing.T) {
	c := refreshed()
	c.AccessKeyID = ""
	NewWithT(t).Expect(c.ID()).To(Equal("seal"))
}

func TestAssessReturnsTheStateOfAWorkload(t *testing.T) {
	old, fresh := []rollout.Pod{started(-time.Minute)}, []rollout.Pod{started(time.Minute)}
	const early, late = time.Minute, 19 * time.Minute // before it is due, and after
	for name, tc := range map[string]struct {
		at       time.Duration
		workload *rollout.Workload
		pods     []rollout.Pod
		named    bool
		want     rollout.State
		why      string
		ours     bool
		look     time.Duration // from now
	}{
		"it has no pods":                               {early, still(), nil, false, rollout.Fresh, "", false, 0},
		"its pods started with the credential":         {early, still(), fresh, false, rollout.Fresh, "", false, 0},
		"somebody restarts it, and its pods are fresh": {late, still(updating), fresh, false, rollout.Fresh, "", false, 0},
		"it is gone":                            {late, nil, nil, false, rollout.Fresh, "", false, 0},
		"it does not exist, and is asked for":   {late, nil, nil, true, rollout.Missing, "", false, 5 * time.Minute},
		"it waits until it is due":              {early, still(), old, false, rollout.Outdated, "", false, 0},
		"it is due":                             {late, still(stampedOld), old, false, rollout.Outdated, "", false, 0},
		"it is due, and a pod is not available": {late, still(unavailable), old, false, rollout.Outdated, "", false, 0},

		"its pods are being replaced after a restart": {late, still(stamped, updating), old, false, rollout.Updating, "", true, 10 * time.Second},
		"its new pods are not available yet":          {late, still(stamped, unavailable), fresh, false, rollout.Updating, "", true, 10 * time.Second},
		"its restart is over, and an old pod lingers": {late, still(stamped), old, false, rollout.Updating, "", false, 10 * time.Second},
		"its restart is over":                         {late, still(stamped), fresh, false, rollout.Fresh, "", false, 0},
		"its restart is given up, and its pods are fresh": {
			late, still(stamped, unavailable, givenUp), fresh, false, rollout.Fresh, "", false, 0,
		},
		"its restart is given up": {
			late, still(stamped, updating, givenUp), old, false, rollout.Held, "was restarted, but not all of its pods were replaced", false, 5 * time.Minute,
		},
		"its pods are being replaced in place": {late, still(stamped, unavailable), old, false, rollout.Updating, "", true, 10 * time.Second},
		"its restart in place missed a pod":    {late, still(stamped, restarted), old, false, rollout.Outdated, "", false, 0},
		"its restart in place is over":         {late, still(stamped, restarted), fresh, false, rollout.Fresh, "", false, 0},
		"its restart in place is given up": {
			late, still(stamped, unavailable, givenUp), old, false, rollout.Held, "was restarted, but not all of its pods were replaced", false, 5 * time.Minute,
		},
		"it was paused in the middle of a restart": {late, still(stamped, updating, paused), old, false, rollout.Held, "is paused", false, 5 * time.Minute},
		"it was paused when all pods were fresh":   {late, still(stamped, unavailable, paused), fresh, false, rollout.Fresh, "", false, 0},

		"it is paused, and may go on before it is due":  {early, still(paused), old, false, rollout.Outdated, "", false, 0},
		"it is paused, and due":                         {late, still(paused), old, false, rollout.Held, "is paused", false, 5 * time.Minute},
		"it is paused, and its pods may have expired":   {time.Second, still(paused), []rollout.Pod{started(-2 * time.Hour)}, false, rollout.Held, "is paused", false, 5 * time.Minute},
		"somebody restarts it before it is due":         {early, still(updating), old, false, rollout.Outdated, "", false, 0},
		"somebody restarts it when it is due":           {late, still(updating), old, false, rollout.Updating, "", false, 10 * time.Second},
		"somebody's restart is given up when it is due": {late, still(updating, givenUp), old, false, rollout.Held, "is in the middle of a rollout that makes no progress", false, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			now := after(tc.at)
			got := refreshed().Assess(now, rollout.Reader{Ref: web, Named: tc.named}, tc.workload, tc.pods)
			g.Expect(got.State).To(Equal(tc.want))
			g.Expect(got.Why).To(Equal(tc.why))
			g.Expect(got.Ours).To(Equal(tc.ours))
			if tc.look != 0 {
				g.Expect(got.Look).To(Equal(now.Add(tc.look)))
			}
		})
	}
}

func TestRestartIsHeldAfter10MinutesWithoutProgress(t *testing.T) {
	g := NewWithT(t)
	c, old := refreshed(), []rollout.Pod{started(-time.Minute)}
	w := still(stamped, updating)
	r := c.Assess(after(time.Minute), rollout.Reader{Ref: web}, w, old)
	r = c.Assess(after(10*time.Minute), r, w, old)
	g.Expect(r.State).To(Equal(rollout.Updating))
	w.Progress = "2"
	r = c.Assess(after(11*time.Minute), r, w, old)
	r = c.Assess(after(20*time.Minute), r, w, old)
	g.Expect(r.State).To(Equal(rollout.Updating), "it moved on after 11 minutes")
	r = c.Assess(after(21*time.Minute), r, w, old)
	g.Expect(r.State).To(Equal(rollout.Held))
	g.Expect(r.Ours).To(BeFalse())
	w.Progress = "3"
	g.Expect(c.Assess(after(26*time.Minute), r, w, old).State).To(Equal(rollout.Updating), "it goes on after all")
}

func TestRemovedStampIsRestoredThreeTimesAndOnceForTheNextCredential(t *testing.T) {
	g := NewWithT(t)
	c, now, old := refreshed(), after(19*time.Minute), []rollout.Pod{started(-time.Minute)}
	fight := func(c rollout.Credential, r rollout.Reader) (rollout.Reader, int) {
		for restarts := range 10 {
			r = c.Assess(now, r, still(), old) // what was there before is there again
			if r.State == rollout.Contended {
				g.Expect(r.Look).To(Equal(now.Add(5 * time.Minute)))
				return r, restarts
			}
			g.Expect(r.State).To(Equal(rollout.Outdated))
			r = r.Restarted(now, c.ID())
			g.Expect(r.Ours).To(BeTrue())
		}
		return r, 10
	}
	r, restarts := fight(c, rollout.Reader{Ref: web})
	g.Expect(restarts).To(Equal(3))
	again := c.Assess(now.Add(time.Hour), r, still(), old)
	g.Expect(again.State).To(Equal(rollout.Contended), "it is left alone")

	next := c
	next.AccessKeyID = "ASIANEXT"
	r = rollout.Reader{}.Remembering(r)
	r.Ref = web
	_, restarts = fight(next, r)
	g.Expect(restarts).To(Equal(1))
}

func TestStampThatStaysResetsReverts(t *testing.T) {
	g := NewWithT(t)
	c, now, old := refreshed(), after(19*time.Minute), []rollout.Pod{started(-time.Minute)}
	r := rollout.Reader{Ref: web}
	for range 2 {
		r = c.Assess(now, r, still(), old).Restarted(now, c.ID())
	}
	r = c.Assess(now, r, still(stamped), []rollout.Pod{started(time.Minute)})
	g.Expect(r.State).To(Equal(rollout.Fresh))
	g.Expect(rollout.Reader{}.Remembering(r)).To(Equal(rollout.Reader{}))
}

func TestWorkloadIsDueInTheMiddleHalfOfTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := refreshed()
		until := time.Duration(rapid.IntRange(61, 86400).Draw(t, "seconds until the expiry")) * time.Second
		c.PreviousExpiration = after(until)
		ref := rollout.Ref{Kind: "Deployment", Name: rapid.String().Draw(t, "name")}
		due := c.Assess(issuedAt, rollout.Reader{Ref: ref}, still(), []rollout.Pod{started(-time.Minute)}).Due
		if due.Before(after(until/4).Truncate(time.Second)) && due.Before(after(30*time.Second)) {
			t.Fatalf("due %s after the issue, before a quarter of %s", due.Sub(issuedAt), until)
		}
		if due.Before(after(30 * time.Second)) {
			t.Fatalf("due %s after the issue, before the Secret is known everywhere", due.Sub(issuedAt))
		}
		if due.After(after(max(until*3/4, 30*time.Second))) {
			t.Fatalf("due %s after the issue, after three quarters of %s", due.Sub(issuedAt), until)
		}
		if due.Nanosecond() != 0 {
			t.Fatalf("due at %s", due)
		}
	})
}

func TestPossiblyExpiredCredentialIsDueAtOnce(t *testing.T) {
	for name, until := range map[string]time.Duration{"it has expired": -time.Minute, "it expires with the issue": 0} {
		t.Run(name, func(t *testing.T) {
			c := refreshed()
			c.PreviousExpiration = after(until)
			r := c.Assess(issuedAt, rollout.Reader{Ref: web}, still(), []rollout.Pod{started(-time.Minute)})
			NewWithT(t).Expect(r.Due).To(Equal(after(30 * time.Second)))
		})
	}
}

func TestDueTimesAreSpread(t *testing.T) {
	g := NewWithT(t)
	const workloads, parts = 10000, 10
	due := make([]int, parts) // in each minute of the ten in which they are
	for i := range workloads {
		r := refreshed().Assess(issuedAt, rollout.Reader{Ref: rollout.Ref{Kind: "Deployment", Name: fmt.Sprint("web-", i)}}, still(), []rollout.Pod{started(-time.Minute)})
		due[int(r.Due.Sub(after(5*time.Minute))/time.Minute)]++
	}
	for part, n := range due {
		g.Expect(n).To(BeNumerically("~", workloads/parts, workloads/parts/8), "in part %d", part)
	}
}

func TestDecideSelectsChecksAndRestarts(t *testing.T) {
	now := after(10 * time.Minute)
	reader := func(name string, state rollout.State, expires, due, look time.Duration) rollout.Reader {
		return rollout.Reader{Ref: rollout.Ref{Kind: "Deployment", Name: name}, State: state, Expires: after(expires), Due: after(due), Look: after(look)}
	}
	expired := reader("expired", rollout.Outdated, 0, 8*time.Minute, 0)
	expired.Expires = time.Time{}
	all := []rollout.Reader{
		reader("fresh", rollout.Fresh, 0, 0, 0),
		reader("not-due", rollout.Outdated, window, 10*time.Minute+1, 0),
		reader("due-b", rollout.Outdated, window, 9*time.Minute, 0),
		reader("due-a", rollout.Outdated, window, 9*time.Minute, 0),
		reader("due-now", rollout.Outdated, window, 10*time.Minute, 0),
		expired,
		reader("sooner", rollout.Outdated, window-time.Minute, 10*time.Minute, 0),
		reader("updating", rollout.Updating, window, 0, 10*time.Minute),
		reader("updating-since-just-now", rollout.Updating, window, 0, 10*time.Minute+1),
		reader("held", rollout.Held, window, 0, 9*time.Minute),
		reader("missing", rollout.Missing, 0, 0, 11*time.Minute),
	}
	names := func(indexes []int) (names []string) {
		for _, i := range indexes {
			names = append(names, all[i].Name)
		}
		return names
	}
	for name, tc := range map[string]struct {
		free    int
		restart []string
	}{
		"no place is free":          {0, nil},
		"there are too many places": {-1, nil},
		"one place is free":         {1, []string{"expired"}},
		"some places are free":      {3, []string{"expired", "sooner", "due-a"}},
		"all places are free":       {9, []string{"expired", "sooner", "due-a", "due-b", "due-now"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			look, restart := rollout.Decide(now, all, tc.free)
			g.Expect(names(look)).To(Equal([]string{"updating", "held"}))
			g.Expect(names(restart)).To(Equal(tc.restart))
			slices.Reverse(all) // in whatever order they were found
			defer slices.Reverse(all)
			_, restart = rollout.Decide(now, all, tc.free)
			g.Expect(names(restart)).To(Equal(tc.restart))
		})
	}
}

func TestNextReturnsTheEarliestTime(t *testing.T) {
	now := after(10 * time.Minute)
	for name, tc := range map[string]struct {
		readers []rollout.Reader
		want    time.Time
	}{
		"there is nothing to do":             {nil, time.Time{}},
		"all are fresh":                      {[]rollout.Reader{{State: rollout.Fresh, Look: after(time.Minute), Expires: after(window)}}, time.Time{}},
		"one is due":                         {[]rollout.Reader{{State: rollout.Outdated, Due: after(12 * time.Minute), Expires: after(window)}}, after(12 * time.Minute)},
		"one waits for a place":              {[]rollout.Reader{{State: rollout.Outdated, Due: after(time.Minute), Expires: after(window)}}, now.Add(10 * time.Second)},
		"one waits, and expires before":      {[]rollout.Reader{{State: rollout.Outdated, Due: after(time.Minute), Expires: now.Add(time.Second)}}, now.Add(time.Second)},
		"one waits, and has expired":         {[]rollout.Reader{{State: rollout.Outdated, Due: after(time.Minute), Expires: now}}, now.Add(10 * time.Second)},
		"one is held":                        {[]rollout.Reader{{State: rollout.Held, Look: after(15 * time.Minute)}}, after(15 * time.Minute)},
		"one is held, and expires before":    {[]rollout.Reader{{State: rollout.Held, Look: after(15 * time.Minute), Expires: after(12 * time.Minute)}}, after(15 * time.Minute)},
		"of several the first of all counts": {[]rollout.Reader{{State: rollout.Held, Look: after(15 * time.Minute)}, {State: rollout.Fresh}, {State: rollout.Updating, Look: after(11 * time.Minute)}}, after(11 * time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(rollout.Next(now, tc.readers)).To(Equal(tc.want))
		})
	}
}

// A whole rollout on paper: whatever the workloads are called and however long each takes, no more are restarted at once than may
// be, each is restarted once, and all are done before the former credential expires, if there is time for it.
func TestAllWorkloadsRestartInTimeWithinTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 5
		c := refreshed()
		n := rapid.IntRange(1, 30).Draw(t, "workloads")
		salt := rapid.StringN(1, 8, 8).Draw(t, "name")
		takes := time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds that a restart takes")) * time.Second
		now := issuedAt
		readers, done := make([]rollout.Reader, n), make([]time.Time, n)
		find := func(i int) {
			w, pods := still(), []rollout.Pod{started(-time.Minute)}
			switch {
			case done[i].IsZero():
			case now.Before(done[i]):
				w = still(stamped, updating)
			default:
				w, pods = still(stamped), []rollout.Pod{started(now.Sub(issuedAt))}
			}
			readers[i] = c.Assess(now, readers[i], w, pods)
		}
		for i := range readers {
			readers[i].Ref = rollout.Ref{Kind: "Deployment", Name: fmt.Sprint(salt, i)}
			find(i)
		}
		for steps := 0; ; steps++ {
			underWay := 0
			for _, r := range readers {
				if r.Ours {
					underWay++
				}
			}
			if underWay > most {
				t.Fatalf("%d at once", underWay)
			}
			look, restart := rollout.Decide(now, readers, most-underWay)
			for _, i := range look {
				find(i)
			}
			for _, i := range restart {
				if find(i); readers[i].State != rollout.Outdated || !done[i].IsZero() {
					t.Fatalf("%s is restarted again", readers[i])
				}
				readers[i], done[i] = readers[i].Restarted(now, c.ID()), now.Add(takes)
			}
			next := rollout.Next(now, readers)
			if next.IsZero() {
				break
			}
			if !next.After(now) || steps > 100*bits.Len(uint(n))*n {
				t.Fatalf("from %s to %s in step %d", now, next, steps)
			}
			now = next
		}
		for i, at := range done {
			if at.IsZero() || !at.Before(c.PreviousExpiration) {
				t.Fatalf("%s is done at %s", readers[i], at)
			}
		}
	})
}
