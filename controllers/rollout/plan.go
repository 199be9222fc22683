// Package rollout restarts workloads whose pods still use a previous credential. Each pass reads the pods and workloads
// again, decides which workloads to restart and when, and restarts those that are due.
package rollout

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"rolecredential.dev/operator/controllers/rollout/readers"
)

// Ref identifies a workload or a standalone pod in a credential's namespace.
type Ref struct{ Kind, Name string }

func (r Ref) String() string { return r.Kind + " " + r.Name }

// kindPod is the kind of a [Ref] to a pod without a restartable owner.
const kindPod = "Pod"

// Pod is the relevant state of an active pod.
type Pod struct {
	Name string
	// Owner is the workload that controls the pod, or the pod itself if no restartable workload does. OwnerUID is
	// empty if only the owner's name is known.
	Owner    Ref
	OwnerUID types.UID
	// Stamp is the entry for the Secret in the stamp of the pod template that the pod was created from.
	Stamp readers.Stamp
	// Reads reports whether a container reads the Secret when it starts. Started is when the first of these containers
	// started, and First when the first container of any kind did; zero if none runs. A container has the Secret's
	// content of that time. The creation of the pod does not matter: a pod may wait for its Secret.
	Reads          bool
	Started, First time.Time
	// Secrets are the Secrets that its containers read when they start.
	Secrets []string
}

// Workload is the observed state of a workload.
type Workload struct {
	Ref
	UID      types.UID
	Selector labels.Selector
	// Stamp contains the credentials of the last restart.
	Stamp readers.Stamp
	// Blocked is the reason why it cannot be restarted; empty if it can.
	Blocked string
	// Updated reports whether all desired pods have the current template. Settled reports whether they are also
	// available.
	Updated, Settled bool
	// Restarted reports whether a restart in place is complete. A pod that it missed needs another restart.
	Restarted bool
	// Stuck reports whether its controller has given up.
	Stuck bool
}

// stopped reports whether its controller does not replace its pods.
func (w Workload) stopped() bool { return w.Blocked != "" || w.Stuck }

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
	// Blocked: some of its pods use a previous credential, and cannot be restarted.
	Blocked State = "Blocked"
	// Denied: the API server denies the operator the restart.
	Denied State = "Denied"
	// Contended: another writer removed its stamp repeatedly, so the operator no longer restarts it.
	Contended State = "Contended"
	// Missing: it is a target, but does not exist.
	Missing State = "Missing"
)

// Restart is what the manager remembers of its last restart of a workload. It is lost with the manager's process.
type Restart struct {
	// Credential is the credential that the workload was restarted for, and ID the ID in the stamp.
	Credential, ID string
	// State is Updating while the restart holds a slot, until the deadline Until at most. It is Denied or Blocked, with
	// the reason Problem, if the API server rejected the restart, which is repeated after Until.
	State   State
	Problem string
	Until   time.Time
	// Undone is how often another writer removed the stamp before the restart was complete.
	Undone int
}

func (r Restart) running(now time.Time) bool { return r.State == Updating && now.Before(r.Until) }

// Reader is a workload or a standalone pod that uses a credential, with the state that a pass finds.
type Reader struct {
	Ref
	// Named reports whether spec.rollout.targets names it. Blocked is why the operator must not restart it.
	Named   bool
	Blocked string
	Pods    []Pod
	// Stale is the number of pods with a previous credential. Expires is the earliest expiry of these credentials; zero
	// if one may have expired. Due is when to restart the workload.
	Stale        int
	Expires, Due time.Time
	Restart      Restart
	// Workload is nil if it was not read, or if it is Absent.
	Workload *Workload
	Absent   bool

	State State
	// Problem is the reason for the state Blocked.
	Problem string
	// Next is when to check it again; zero for not before the Secret changes.
	Next time.Time
}

const (
	// poll is the interval of checks while pods are replaced.
	poll = 10 * time.Second
	// slotPoll is the interval of checks while a workload waits for a slot, or for the rollout of another writer.
	slotPoll = 30 * time.Second
	// recheck is the interval of checks of a workload that cannot be restarted.
	recheck = 5 * time.Minute
	// maxUndone is how often the operator writes a stamp that another writer removes.
	maxUndone = 3
)

// DependsOnWorkload reports whether the state depends on the workload, so that the pass must read it.
func (r Reader) DependsOnWorkload(now time.Time) bool {
	return r.Kind != kindPod && (r.Restart.State == Updating || len(r.Pods) == 0 || r.Stale > 0 && !now.Before(r.Due))
}

// Split returns the reader with the pods that the workload owns, and then each other pod as a reader of its own: its
// owner was deleted, or is an earlier workload of that name. w is nil if the workload does not exist.
func (c Credential) Split(r Reader, w *Workload) []Reader {
	all, pods := []Reader{r}, r.Pods
	r.Workload, r.Absent, r.Pods = w, w == nil, nil
	for _, p := range pods {
		switch {
		case w != nil && (p.OwnerUID == "" || p.OwnerUID == w.UID):
			r.Pods = append(r.Pods, p)
		case p.Reads:
			all = append(all, c.countStale(Reader{Ref: Ref{kindPod, p.Name}, Blocked: notOwned, Pods: []Pod{p}}))
		}
	}
	all[0] = c.countStale(r)
	return all
}

// Assess sets the state of a reader whose workload was read, if the state depends on it.
func (c Credential) Assess(now time.Time, r Reader) Reader {
	w := ptr.Deref(r.Workload, Workload{Updated: true, Settled: true})
	w.Blocked = cmp.Or(r.Blocked, w.Blocked)
	stamped := c.stamped(r, w)
	mine := r.Restart.Credential == c.Name
	if mine {
		r.Restart = r.Restart.observed(c.ID(), r.Stale > 0 && !stamped)
	}
	r.Next = now.Add(recheck)
	switch inProgress := r.Stale > 0 || !w.Settled; {
	case r.Absent && r.Named:
		r.State = Missing
	case stamped && inProgress && !w.stopped() && r.Restart.running(now.Add(-c.Skew)):
		r.State, r.Next = Updating, now.Add(poll)
	case r.Stale == 0:
		r.State, r.Next = Fresh, time.Time{}
	case stamped:
		r.State, r.Problem = Blocked, cmp.Or(w.Blocked, "was restarted, but not all of its pods were replaced")
	default:
		r = c.assessStale(now, r, w)
	}
	if mine {
		r.Restart = r.Restart.after(r.State)
	}
	return r
}

// observed returns the restart with what the workload shows of it: whether it was undone, or belongs to earlier session credentials.
func (r Restart) observed(id string, undone bool) Restart {
	switch {
	case r.ID != id: // a workload that was contended gets only one more restart
		r.Undone = min(r.Undone, maxUndone-1)
	case r.State == Updating && undone:
		r.State, r.Undone = "", r.Undone+1
	}
	return r
}

// after returns what to remember of the restart of a workload in a state.
func (r Restart) after(state State) Restart {
	switch {
	case state == Fresh || state == Missing:
		return Restart{}
	case state != Updating && r.State == Updating:
		r.State = ""
	}
	return r
}

// assessStale sets the state of a reader with stale pods that was not restarted for the credential.
func (c Credential) assessStale(now time.Time, r Reader, w Workload) Reader {
	switch {
	case r.Restart.Credential == c.Name && r.Restart.Undone >= maxUndone:
		r.State = Contended
	case now.Before(r.Due):
		r.State, r.Next = Outdated, r.Due
	case w.Blocked != "":
		r.State, r.Problem = Blocked, w.Blocked
	case r.Restart.ID == c.ID() && r.Restart.State != "" && now.Add(-c.Skew).Before(r.Restart.Until):
		r.State, r.Problem = r.Restart.State, r.Restart.Problem
	case w.Updated:
		r.State, r.Next = Outdated, now.Add(slotPoll)
	case !w.Stuck: // the rollout of another writer, after which its pods are fresh
		r.State, r.Next = Updating, now.Add(slotPoll)
	default:
		r.State, r.Problem = Blocked, "is in the middle of a rollout that makes no progress"
	}
	if (r.State == Outdated || r.State == Updating) && r.Expires.After(now) && r.Expires.Before(r.Next) {
		r.Next = r.Expires // to report that the restart is late
	}
	return r
}

// InProgress reports whether the workload was restarted for the credential, and its pods are not replaced yet.
func (c Credential) InProgress(r Reader) bool {
	return r.Restart == Restart{} && r.Workload != nil && c.stamped(r, *r.Workload) && (r.Stale > 0 || !r.Workload.Settled)
}

// stamped reports whether the workload was restarted for the credential. A restart in place that missed a pod does not
// count.
func (c Credential) stamped(r Reader, w Workload) bool {
	return w.Stamp[c.Secret] == c.ID() && (r.Stale == 0 || !w.Restarted)
}

// Due returns the indexes of the readers to restart, the most urgent first.
func Due(now time.Time, all []Reader) (due []int) {
	for i, r := range all {
		if r.State == Outdated && !now.Before(r.Due) {
			due = append(due, i)
		}
	}
	slices.SortFunc(due, func(i, j int) int {
		a, b := all[i], all[j]
		return cmp.Or(a.Expires.Compare(b.Expires), a.Due.Compare(b.Due), cmp.Compare(a.String(), b.String()))
	})
	return due
}

// Next returns the time of the next pass: the earliest Next of the readers. It is zero if all are Fresh.
func Next(all []Reader) (next time.Time) {
	for _, r := range all {
		if !r.Next.IsZero() && (next.IsZero() || r.Next.Before(next)) {
			next = r.Next
		}
	}
	return next
}
