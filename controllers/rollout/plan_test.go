package rollout_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"pgregory.net/rapid"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/rollout"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

var issuedAt = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)

func after(d time.Duration) time.Time { return issuedAt.Add(d) }

const (
	window   = 20 * time.Minute // from the issue until the previous credential expires
	lifetime = time.Hour
)

// refreshed is a credential whose previous one is valid for the window.
func refreshed() rollout.Credential {
	return rollout.Credential{Name: "RoleCredential shop/s3-reader", Namespace: "shop", Secret: "s3-reader", Record: reissue.Record{
		AccessKeyID: "ASIANEW", Checksum: "seal", IssuedAt: issuedAt, Expiration: after(lifetime),
		PreviousIssuedAt: after(window - lifetime), PreviousExpiration: after(window),
	}}
}

// first is a credential without a previous one.
func first() rollout.Credential {
	c := refreshed()
	c.PreviousIssuedAt, c.PreviousExpiration = time.Time{}, time.Time{}
	return c
}

var web = rollout.Ref{Kind: "Deployment", Name: "web"}

// started is a pod of Deployment web whose first container started at a time after the issue.
func started(d time.Duration) rollout.Pod {
	return rollout.Pod{Name: "web-1", Owner: web, Reads: true, Started: after(d), First: after(d)}
}

// idle is a workload without a rollout in progress.
func idle(change ...func(*rollout.Workload)) *rollout.Workload {
	w := &rollout.Workload{Ref: web, UID: "web-uid", Updated: true, Settled: true}
	for _, c := range change {
		c(w)
	}
	return w
}

func paused(w *rollout.Workload) { w.Blocked = "is paused" }
func stamped(w *rollout.Workload) {
	w.Stamp = readers.Stamp{"s3-reader": "ASIANEW", "other": "ASIAOTHER"}
}
func stampedOld(w *rollout.Workload)  { w.Stamp = readers.Stamp{"s3-reader": "ASIAOLD"} }
func updating(w *rollout.Workload)    { w.Updated, w.Settled = false, false }
func unavailable(w *rollout.Workload) { w.Settled = false }
func givenUp(w *rollout.Workload)     { w.Stuck = true }
func restarted(w *rollout.Workload)   { w.Restarted = true }

// inProgress is a restart that holds a slot until the previous credential expires.
func inProgress() rollout.Restart {
	return rollout.Restart{Credential: "RoleCredential shop/s3-reader", ID: "ASIANEW", State: rollout.Updating, Until: after(window)}
}

// assess returns Deployment web as a pass finds it.
func assess(c rollout.Credential, now time.Time, w *rollout.Workload, pods []rollout.Pod, restart rollout.Restart) rollout.Reader {
	all := c.Readers(v1alpha1.Rollout{Discover: true}, pods, map[rollout.Ref]rollout.Restart{web: restart})
	if len(all) == 0 {
		all = []rollout.Reader{{Ref: web}}
	}
	return c.Assess(now, c.Split(all[0], w)[0])
}

func TestAssessDetectsPodsWithPreviousCredential(t *testing.T) {
	const ago = -time.Minute
	for name, tc := range map[string]struct {
		credential rollout.Credential
		pod        rollout.Pod
		want       bool
		expires    time.Time
	}{
		"a pod that started with the previous credential":                      {refreshed(), started(ago), true, after(window)},
		"a pod that started when the previous credential was issued":           {refreshed(), started(window - lifetime), true, after(window)},
		"a pod that started before the previous credential":                    {refreshed(), started(window - lifetime - time.Second), true, time.Time{}},
		"a pod that started while the Secret was written":                      {refreshed(), started(29 * time.Second), true, after(window)},
		"a pod that started after the Secret was written":                      {refreshed(), started(30 * time.Second), false, time.Time{}},
		"a pod that has not started":                                           {refreshed(), rollout.Pod{}, false, time.Time{}},
		"a pod with the stamp of the credential":                               {refreshed(), rollout.Pod{Started: after(time.Second), Stamp: readers.Stamp{"s3-reader": "ASIANEW"}}, false, time.Time{}},
		"a pod with the stamp of the previous credential":                      {refreshed(), rollout.Pod{Started: after(ago), Stamp: readers.Stamp{"s3-reader": "ASIAOLD"}}, true, after(window)},
		"a pod with the ID in the stamp of another Secret":                     {refreshed(), rollout.Pod{Started: after(ago), Stamp: readers.Stamp{"other": "ASIANEW"}}, true, after(window)},
		"a pod that waited for its Secret":                                     {first(), started(0), false, time.Time{}},
		"a pod that started before its Secret was created":                     {first(), started(ago), true, time.Time{}},
		"a pod that started after the Secret by a clock that is behind STS":    {skewed(refreshed(), time.Minute), started(-30 * time.Second), false, time.Time{}},
		"a pod that started before the Secret by a clock that is ahead of STS": {skewed(refreshed(), -time.Minute), started(time.Minute), true, after(window)},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tc.pod.Owner, tc.pod.Reads = web, true
			got := assess(tc.credential, after(time.Minute), idle(), []rollout.Pod{tc.pod}, rollout.Restart{})
			if !tc.want {
				g.Expect(got.State).To(Equal(rollout.Fresh))
				return
			}
			g.Expect(got.State).To(Equal(rollout.Outdated))
			g.Expect(got.Expires).To(Equal(tc.expires))
		})
	}
}

func skewed(c rollout.Credential, d time.Duration) rollout.Credential {
	c.Skew = d
	return c
}

func TestAssessUsesTheEarliestExpiry(t *testing.T) {
	g := NewWithT(t)
	got := assess(refreshed(), after(time.Second), idle(), []rollout.Pod{started(-time.Minute), started(-2 * time.Hour), started(time.Minute)}, rollout.Restart{})
	g.Expect(got.Stale).To(Equal(2))
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
	const notReplaced = "was restarted, but not all of its pods were replaced"
	none, slot := rollout.Restart{}, inProgress()
	other := rollout.Restart{Credential: "RoleCredential shop/other", ID: "ASIAOTHER", State: rollout.Updating, Until: after(window)}
	overdue := inProgress()
	overdue.Until = after(late)
	rejected := rollout.Restart{Credential: slot.Credential, ID: slot.ID, State: rollout.Blocked, Problem: "was rejected", Until: after(window)}
	for name, tc := range map[string]struct {
		at       time.Duration
		workload *rollout.Workload
		pods     []rollout.Pod
		restart  rollout.Restart
		want     rollout.State
		problem  string
		slot     bool          // it holds its slot afterwards
		next     time.Duration // from now
	}{
		"no pods":                                {early, idle(), nil, none, rollout.Fresh, "", false, 0},
		"fresh pods":                             {early, idle(), fresh, none, rollout.Fresh, "", false, 0},
		"fresh pods, and the rollout of another": {late, idle(updating), fresh, none, rollout.Fresh, "", false, 0},
		"a deleted workload":                     {late, nil, nil, none, rollout.Fresh, "", false, 0},
		"a deleted workload with a slot":         {late, nil, nil, slot, rollout.Fresh, "", false, 0},
		"stale pods before it is due":            {early, idle(), old, none, rollout.Outdated, "", false, -1},
		"stale pods when it is due":              {late, idle(stampedOld), old, none, rollout.Outdated, "", false, 30 * time.Second},
		"due, and a pod is not available":        {late, idle(unavailable), old, none, rollout.Outdated, "", false, 30 * time.Second},

		"restarted, and pods are being replaced":        {late, idle(stamped, updating), old, slot, rollout.Updating, "", true, 10 * time.Second},
		"restarted for another credential too":          {late, idle(stamped, updating), old, other, rollout.Updating, "", true, 10 * time.Second},
		"restarted, and new pods are not available":     {late, idle(stamped, unavailable), fresh, slot, rollout.Updating, "", true, 10 * time.Second},
		"restarted, and an old pod remains":             {late, idle(stamped), old, slot, rollout.Updating, "", true, 10 * time.Second},
		"restarted, and complete":                       {late, idle(stamped), fresh, slot, rollout.Fresh, "", false, 0},
		"restarted, and stuck with fresh pods":          {late, idle(stamped, unavailable, givenUp), fresh, slot, rollout.Fresh, "", false, 0},
		"restarted, and stuck":                          {late, idle(stamped, updating, givenUp), old, slot, rollout.Blocked, notReplaced, false, 5 * time.Minute},
		"restarted, and the slot's deadline has passed": {late, idle(stamped, updating), old, overdue, rollout.Blocked, notReplaced, false, 5 * time.Minute},
		"restarted by another manager":                  {late, idle(stamped, updating), old, none, rollout.Blocked, notReplaced, false, 5 * time.Minute},
		"a forged stamp":                                {late, idle(stamped, updating), nil, none, rollout.Fresh, "", false, 0},
		"paused during the restart":                     {late, idle(stamped, updating, paused), old, slot, rollout.Blocked, "is paused", false, 5 * time.Minute},
		"paused when all pods were fresh":               {late, idle(stamped, unavailable, paused), fresh, slot, rollout.Fresh, "", false, 0},
		"a restart in place in progress":                {late, idle(stamped, unavailable), old, slot, rollout.Updating, "", true, 10 * time.Second},
		"a restart in place that missed a pod":          {late, idle(stamped, restarted), old, slot, rollout.Outdated, "", false, 30 * time.Second},
		"a restart in place that is complete":           {late, idle(stamped, restarted), fresh, slot, rollout.Fresh, "", false, 0},
		"a removed stamp":                               {late, idle(), old, slot, rollout.Outdated, "", false, 30 * time.Second},
		"a rejected restart":                            {late, idle(), old, rejected, rollout.Blocked, "was rejected", false, 5 * time.Minute},

		"paused before it is due":               {early, idle(paused), old, none, rollout.Outdated, "", false, -1},
		"paused when it is due":                 {late, idle(paused), old, none, rollout.Blocked, "is paused", false, 5 * time.Minute},
		"the rollout of another before due":     {early, idle(updating), old, none, rollout.Outdated, "", false, -1},
		"the rollout of another when it is due": {late, idle(updating), old, none, rollout.Updating, "", false, 30 * time.Second},
		"a stuck rollout of another":            {late, idle(updating, givenUp), old, none, rollout.Blocked, "is in the middle of a rollout that makes no progress", false, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			now := after(tc.at)
			got := assess(refreshed(), now, tc.workload, tc.pods, tc.restart)
			g.Expect(got.State).To(Equal(tc.want))
			g.Expect(got.Problem).To(Equal(tc.problem))
			g.Expect(got.Restart.State == rollout.Updating).To(Equal(tc.slot), "%+v", got.Restart)
			switch tc.next {
			case 0:
				g.Expect(got.Next).To(BeZero())
			case -1:
				g.Expect(got.Next).To(Equal(got.Due))
			default:
				g.Expect(got.Next).To(Equal(now.Add(tc.next)))
			}
		})
	}
}

func TestTargetThatDoesNotExistIsMissing(t *testing.T) {
	g := NewWithT(t)
	c := refreshed()
	all := c.Readers(v1alpha1.Rollout{Targets: []v1alpha1.WorkloadReference{{Kind: "Deployment", Name: "web"}}}, nil, nil)
	got := c.Assess(issuedAt, c.Split(all[0], nil)[0])
	g.Expect(got.State).To(Equal(rollout.Missing))
	g.Expect(got.Next).To(Equal(after(5 * time.Minute)))
}

func TestRemovedStampIsRestoredThreeTimesAndOnceForTheNextCredential(t *testing.T) {
	g := NewWithT(t)
	c, now, old := refreshed(), after(19*time.Minute), []rollout.Pod{started(-time.Minute)}
	contend := func(c rollout.Credential, restart rollout.Restart) (rollout.Restart, int) {
		for restarts := range 10 {
			r := assess(c, now, idle(), old, restart)
			if r.State == rollout.Contended {
				g.Expect(r.Next).To(Equal(now.Add(5 * time.Minute)))
				return r.Restart, restarts
			}
			g.Expect(r.State).To(Equal(rollout.Outdated))
			restart = rollout.Restart{Credential: c.Name, ID: c.ID(), State: rollout.Updating, Until: now.Add(time.Minute), Undone: r.Restart.Undone}
		}
		return restart, 10
	}
	restart, restarts := contend(c, rollout.Restart{})
	g.Expect(restarts).To(Equal(3))
	g.Expect(assess(c, now.Add(time.Hour), idle(), old, restart).State).To(Equal(rollout.Contended), "no more restarts follow")
	c.AccessKeyID = "ASIANEXT"
	_, restarts = contend(c, restart)
	g.Expect(restarts).To(Equal(1))
}

func TestCompleteRestartForgetsRemovedStamps(t *testing.T) {
	restart := inProgress()
	restart.Undone = 2
	got := assess(refreshed(), after(19*time.Minute), idle(stamped), []rollout.Pod{started(time.Minute)}, restart)
	NewWithT(t).Expect(got.Restart).To(BeZero())
}

func TestWorkloadIsDueInTheMiddleHalfOfTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := refreshed()
		until := time.Duration(rapid.IntRange(61, 86400).Draw(t, "seconds until the expiry")) * time.Second
		c.PreviousExpiration = after(until)
		ref := rollout.Ref{Kind: "Deployment", Name: rapid.String().Draw(t, "name")}
		p := started(-time.Minute)
		p.Owner = ref
		due := c.Readers(discover, []rollout.Pod{p}, nil)[0].Due
		if due.Before(after(until/4).Truncate(time.Second)) && due.Before(after(30*time.Second)) {
			t.Fatalf("due %s after the issue, before a quarter of %s", due.Sub(issuedAt), until)
		}
		if due.Before(after(30 * time.Second)) {
			t.Fatalf("due %s after the issue, before the propagation delay", due.Sub(issuedAt))
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
			NewWithT(t).Expect(c.Readers(discover, []rollout.Pod{started(-time.Minute)}, nil)[0].Due).To(Equal(after(30 * time.Second)))
		})
	}
}

func TestDueTimesAreSpread(t *testing.T) {
	g := NewWithT(t)
	const workloads, parts = 10000, 10
	due := make([]int, parts) // of each of the ten minutes in which workloads are due
	for i := range workloads {
		p := started(-time.Minute)
		p.Owner.Name = fmt.Sprint("web-", i)
		r := refreshed().Readers(discover, []rollout.Pod{p}, nil)[0]
		due[int(r.Due.Sub(after(5*time.Minute))/time.Minute)]++
	}
	for part, n := range due {
		g.Expect(n).To(BeNumerically("~", workloads/parts, workloads/parts/8), "in part %d", part)
	}
}

func TestDueSelectsTheMostUrgentFirst(t *testing.T) {
	g := NewWithT(t)
	now := after(10 * time.Minute)
	reader := func(name string, state rollout.State, expires, due time.Duration) rollout.Reader {
		return rollout.Reader{Ref: rollout.Ref{Kind: "Deployment", Name: name}, State: state, Expires: after(expires), Due: after(due)}
	}
	expired := reader("expired", rollout.Outdated, 0, 8*time.Minute)
	expired.Expires = time.Time{}
	all := []rollout.Reader{
		reader("fresh", rollout.Fresh, 0, 0),
		reader("not-due", rollout.Outdated, window, 10*time.Minute+1),
		reader("due-b", rollout.Outdated, window, 9*time.Minute),
		reader("due-a", rollout.Outdated, window, 9*time.Minute),
		reader("due-now", rollout.Outdated, window, 10*time.Minute),
		expired,
		reader("sooner", rollout.Outdated, window-time.Minute, 10*time.Minute),
		reader("updating", rollout.Updating, window, 0),
		reader("blocked", rollout.Blocked, window, 0),
	}
	for range 2 {
		var names []string
		for _, i := range rollout.Due(now, all) {
			names = append(names, all[i].Name)
		}
		g.Expect(names).To(Equal([]string{"expired", "sooner", "due-a", "due-b", "due-now"}))
		slices.Reverse(all) // the order of the readers does not matter
	}
}

func TestNextReturnsTheEarliestTime(t *testing.T) {
	g := NewWithT(t)
	g.Expect(rollout.Next(nil)).To(BeZero())
	g.Expect(rollout.Next([]rollout.Reader{{}, {}})).To(BeZero())
	g.Expect(rollout.Next([]rollout.Reader{{Next: after(3)}, {}, {Next: after(1)}, {Next: after(2)}})).To(Equal(after(1)))
}

func TestPassFollowsAtTheExpiryToReportALateRestart(t *testing.T) {
	g := NewWithT(t)
	old := []rollout.Pod{started(-time.Minute)}
	g.Expect(assess(refreshed(), after(window-time.Second), idle(), old, rollout.Restart{}).Next).To(Equal(after(window)))
	g.Expect(assess(refreshed(), after(window), idle(), old, rollout.Restart{}).Next).To(Equal(after(window + 30*time.Second)))
}

// However many workloads there are, and however long each restart takes, no more run at once than there are slots for
// the namespace, each workload is restarted once, and all are done before the previous credential expires, if there is
// time for it.
func TestAllWorkloadsRestartInTimeWithinTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 5
		c, slots := refreshed(), &rollout.Slots{Max: 9} // of which a namespace gets five
		n := rapid.IntRange(1, 30).Draw(t, "workloads")
		salt := rapid.StringN(1, 8, 8).Draw(t, "name")
		takes := time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds that a restart takes")) * time.Second
		now, done := issuedAt, map[rollout.Ref]time.Time{}
		pods := func() (all []rollout.Pod) {
			for i := range n {
				ref := rollout.Ref{Kind: "Deployment", Name: fmt.Sprint(salt, i)}
				p := rollout.Pod{Owner: ref, Reads: true, Started: after(-time.Minute)}
				if at, begun := done[ref]; begun && !now.Before(at) {
					p.Started = now
				}
				all = append(all, p)
			}
			return all
		}
		observe := func() (all []rollout.Reader) {
			for _, r := range c.Readers(discover, pods(), slots.Restarts(c.Namespace)) {
				if r.DependsOnWorkload(now) {
					w := idle()
					if at, begun := done[r.Ref]; begun {
						stamped(w)
						w.Updated, w.Settled = !now.Before(at), !now.Before(at)
					}
					r = c.Split(r, w)[0]
				}
				r = c.Assess(now, r)
				slots.Set(c.Namespace, r.Ref, r.Restart)
				all = append(all, r)
			}
			return all
		}
		for steps := 0; ; steps++ {
			all := observe()
			for _, i := range rollout.Due(now, all) {
				if _, ok := slots.Acquire(c.Namespace, all[i].Ref, rollout.Restart{Credential: c.Name, ID: c.ID()}, now); !ok {
					continue
				}
				if _, again := done[all[i].Ref]; again {
					t.Fatalf("%s is restarted again", all[i])
				}
				done[all[i].Ref] = now.Add(takes)
				all[i].Next = now.Add(10 * time.Second)
			}
			if slots.Taken(now) > most {
				t.Fatalf("%d at once", slots.Taken(now))
			}
			next := rollout.Next(all)
			if next.IsZero() {
				break
			}
			if !next.After(now) || steps > 1000 {
				t.Fatalf("from %s to %s in step %d", now, next, steps)
			}
			now = next
		}
		for ref, at := range done {
			if !at.Before(c.PreviousExpiration) {
				t.Fatalf("%s is done at %s", ref, at)
			}
		}
		if len(done) != n {
			t.Fatalf("%d of %d are restarted", len(done), n)
		}
	})
}
