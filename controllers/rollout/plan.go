// Package rollout restarts workloads whose pods still use a previous credential. It finds them, decides which to
// restart and when, and restarts them.
package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/controllers/rollout/readers"
)

// Ref identifies a workload or a standalone pod in a credential's namespace.
type Ref struct{ Kind, Name string }

func (r Ref) String() string { return r.Kind + " " + r.Name }

// kindPod is the kind of a [Ref] to a pod without a restartable owner.
const kindPod = "Pod"

// Workload is the relevant state of a workload.
type Workload struct {
	Ref
	UID types.UID
	// Stamp contains the credentials of the last restart.
	Stamp readers.Stamp
	// Secrets are the Secrets that its pods read when their containers start.
	Secrets []string
	// Held is the reason why it cannot be restarted; empty if it can.
	Held string
	// Updated reports whether all desired pods have the current template. Settled reports whether they are also
	// available.
	Updated, Settled bool
	// Restarted reports whether a restart in place is complete. A pod that it missed needs another restart.
	Restarted bool
	// Stuck reports whether its controller has given up.
	Stuck bool
	// Progress changes while pods are being replaced.
	Progress string
}

// State is the rollout state of a workload.
type State string

// The rollout states of a workload.
const (
	// Fresh: none of its pods uses a previous credential.
	Fresh State = "Fresh"
	// Outdated: the operator restarts it when it is due.
	Outdated State = "Outdated"
	// Updating: its pods are being replaced.
	Updating State = "Updating"
	// Held: some of its pods use a previous credential, and cannot be restarted.
	Held State = "Held"
	// Refused: the API server denies the operator the restart.
	Refused State = "Refused"
	// Contended: another writer removed its stamp repeatedly, so the operator no longer restarts it.
	Contended State = "Contended"
	// Missing: it is a target, but does not exist.
	Missing State = "Missing"
)

// Reader is a workload or a standalone pod that uses a credential, with its state from the last check. Everything but
// reverts can be observed again.
type Reader struct {
	Ref
	// Named reports whether spec.rollout.targets names it.
	Named bool
	State State
	// Why is the reason for the state Held.
	Why string
	// Expires is the earliest expiry of its pods' credentials; zero if one may have expired.
	Expires time.Time
	// Due is when to restart it in the state Outdated. Look is when to check it again in other states than Fresh and
	// Outdated.
	Due, Look time.Time
	// Ours reports whether a restart by the operator is in progress and counts against the limit.
	Ours bool

	// stamped is the credential of the last restart; empty after its stamp was removed. reverts counts the removals.
	stamped string
	reverts int
	// since is when progress last changed.
	progress string
	since    time.Time
}

const (
	// poll is the interval of checks while pods are replaced, and while a workload waits for a place.
	poll = 10 * time.Second
	// recheck is the interval of checks of a workload that cannot be restarted.
	recheck = 5 * time.Minute
	// stalled is how long a restart may make no progress: the default progress deadline of a Deployment.
	stalled = 10 * time.Minute
	// maxReverts is how often the operator restores a removed stamp.
	maxReverts = 3
)

// Assess returns the state of a reader for an observed workload, nil if it does not exist.
func (c Credential) Assess(now time.Time, r Reader, w *Workload, pods []Pod) Reader {
	r.Why, r.Expires, r.Due, r.Look, r.Ours = "", time.Time{}, time.Time{}, now.Add(recheck), false
	if w == nil {
		r.State = Fresh
		if r.Named {
			r.State = Missing
		}
		return r
	}
	n, until := c.outdated(pods)
	if n > 0 {
		r.Expires, r.Due = until, c.due(r.Ref, until)
	}
	due, overdue := !now.Before(r.Due), !until.After(now)
	stamped := w.Stamp[c.Secret] == c.ID() && (n == 0 || !w.Restarted)
	if progress := fmt.Sprint(w.Progress, n, stamped); progress != r.progress {
		r.progress, r.since = progress, now
	}
	stuck := w.Stuck || now.Sub(r.since) >= stalled
	if n > 0 && !stamped && r.stamped == c.ID() {
		r.stamped = ""
		r.reverts++
	}
	switch {
	case n == 0 && (!stamped || w.Settled || w.Held != "" || stuck):
		r.State = Fresh
		if stamped {
			r.reverts = 0
		}
	case stamped && w.Held == "" && !stuck:
		r.State, r.Ours, r.Look = Updating, !w.Settled, now.Add(poll)
	case stamped:
		r.State, r.Why = Held, cmp.Or(w.Held, "was restarted, but not all of its pods were replaced")
	case r.reverts >= maxReverts:
		r.State = Contended
	case w.Held != "" && (due || overdue):
		r.State, r.Why = Held, w.Held
	case !due || w.Updated:
		r.State = Outdated
	case !stuck: // another writer's rollout, after which its pods are fresh
		r.State, r.Look = Updating, now.Add(poll)
	default:
		r.State, r.Why = Held, "is in the middle of a rollout that makes no progress"
	}
	return r
}

// Restarted returns the reader after its stamp was written.
func (r Reader) Restarted(now time.Time, id string) Reader {
	r.State, r.Ours, r.Look, r.stamped = Updating, true, now.Add(poll), id
	return r
}

// Refused returns the reader after the API server rejected the restart.
func (r Reader) Refused(now time.Time, state State, why string) Reader {
	r.State, r.Why, r.Look = state, why, now.Add(recheck)
	return r
}

// Remembering keeps what must survive a new credential: a contended workload gets only one more attempt.
func (r Reader) Remembering(before Reader) Reader {
	r.reverts = min(before.reverts, maxReverts-1)
	return r
}

// Decide returns the indexes of the readers to check now, and of the readers to restart if a check still finds them
// Outdated. It selects as many due readers as there are free places, the most urgent first.
func Decide(now time.Time, readers []Reader, free int) (look, restart []int) {
	for i, r := range readers {
		switch {
		case r.State == Fresh:
		case r.State == Outdated && !now.Before(r.Due):
			restart = append(restart, i)
		case r.State != Outdated && !now.Before(r.Look):
			look = append(look, i)
		}
	}
	slices.SortFunc(restart, func(i, j int) int {
		a, b := readers[i], readers[j]
		return cmp.Or(a.Expires.Compare(b.Expires), a.Due.Compare(b.Due), cmp.Compare(a.String(), b.String()))
	})
	return look, restart[:min(len(restart), max(free, 0))]
}

// Next returns the time of the next decision: when a reader is due or needs a check, or when its credential expires.
// It is zero if all readers are Fresh.
func Next(now time.Time, readers []Reader) (next time.Time) {
	at := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, r := range readers {
		switch {
		case r.State == Fresh:
			continue
		case r.State != Outdated:
			at(r.Look)
		case now.Before(r.Due):
			at(r.Due)
		default: // it waits for a place
			at(now.Add(poll))
		}
		if (r.State == Outdated || r.State == Updating) && r.Expires.After(now) {
			at(r.Expires)
		}
	}
	return next
}
