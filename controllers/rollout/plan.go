// Package rollout restarts workloads whose pods hold an earlier credential since their containers started: it finds them, decides
// which of them to restart when, and restarts them.
package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/controllers/rollout/readers"
)

// Ref names a workload, or a pod that is of none, in a credential's namespace.
type Ref struct{ Kind, Name string }

func (r Ref) String() string { return r.Kind + " " + r.Name }

// kindPod is the kind of a [Ref] to a pod which no workload owns that could be restarted.
const kindPod = "Pod"

// Workload is what counts of a workload.
type Workload struct {
	Ref
	UID types.UID
	// Stamp names the credentials that it was last restarted for.
	Stamp readers.Stamp
	// Secrets are the Secrets whose content its pods keep as it was when their containers started.
	Secrets []string
	// Held says why it cannot be restarted; empty if it can.
	Held string
	// Updated tells whether all pods that are to be are of the present template, and Settled whether they are available too.
	Updated, Settled bool
	// Restarted tells whether a restart in place is over. A pod that it missed is then replaced by another restart only.
	Restarted bool
	// Stuck tells whether its controller has given up.
	Stuck bool
	// Progress changes for as long as its pods are being replaced.
	Progress string
}

// State is how far a workload is.
type State string

// How far a workload is.
const (
	// Fresh: no pod of it holds an earlier credential.
	Fresh State = "Fresh"
	// Outdated: it is to be restarted when it is due.
	Outdated State = "Outdated"
	// Updating: its pods are being replaced.
	Updating State = "Updating"
	// Held: pods of it hold an earlier credential and stay as they are.
	Held State = "Held"
	// Refused: the operator may not restart it.
	Refused State = "Refused"
	// Contended: it is left alone, since its stamp was taken back again and again.
	Contended State = "Contended"
	// Missing: it was asked for by name, and does not exist.
	Missing State = "Missing"
)

// Reader is a workload, or a pod of none, that a credential concerns, and what is remembered of it from one look to the next.
// All of it but Reverts can be found anew.
type Reader struct {
	Ref
	// Named tells whether it was asked for by name.
	Named bool
	State State
	// Why is why it is Held.
	Why string
	// Expires is when the first of its pods' credentials does; zero if one may have expired.
	Expires time.Time
	// Due is when it is to be restarted if it is Outdated, and Look when to look at it again if it is neither that nor Fresh.
	Due, Look time.Time
	// Ours tells whether it is in the middle of a restart that is counted among those under way.
	Ours bool

	// stamped is the credential that it was restarted onto, empty once its stamp was found to be taken back; reverts counts that.
	stamped string
	reverts int
	// progress and since say since when nothing has moved.
	progress string
	since    time.Time
}

const (
	// poll is how often one is looked at whose pods are being replaced, and how long one waits for others to be done.
	poll = 10 * time.Second
	// recheck is how often one is looked at that cannot be restarted.
	recheck = 5 * time.Minute
	// stalled is how long nothing may move before one is given up; the progress deadline of a Deployment, unless it says otherwise.
	stalled = 10 * time.Minute
	// maxReverts is how many times the stamp of one is put back that something takes away.
	maxReverts = 3
)

// Assess says how far a reader is, by what was found of it now; a nil workload for nothing.
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
		r.State, r.Why = Held, cmp.Or(w.Held, "was restarted, and not all of its pods have been replaced")
	case r.reverts >= maxReverts:
		r.State = Contended
	case w.Held != "" && (due || overdue):
		r.State, r.Why = Held, w.Held
	case !due || w.Updated:
		r.State = Outdated
	case !stuck: // a change of somebody else's, after which its pods will be fresh
		r.State, r.Look = Updating, now.Add(poll)
	default:
		r.State, r.Why = Held, "is in the middle of a rollout that makes no progress"
	}
	return r
}

// Restarted is the reader just after its stamp was written.
func (r Reader) Restarted(now time.Time, id string) Reader {
	r.State, r.Ours, r.Look, r.stamped = Updating, true, now.Add(poll), id
	return r
}

// Refused is the reader whose stamp the API server did not take.
func (r Reader) Refused(now time.Time, state State, why string) Reader {
	r.State, r.Why, r.Look = state, why, now.Add(recheck)
	return r
}

// Remembering returns the reader with what is remembered of it from the credential before: one that was contended is tried once
// more.
func (r Reader) Remembering(before Reader) Reader {
	r.reverts = min(before.reverts, maxReverts-1)
	return r
}

// Decide says which readers to look at again now, and which to restart, if at a look they are still Outdated: of those that are due
// as many as there are places free, the most urgent first. Both are indexes.
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

// Next is when to decide again: when a reader is due or to be looked at, and when one that is not done yet is late. It is zero once
// all are Fresh.
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
