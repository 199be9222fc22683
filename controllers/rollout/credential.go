package rollout

import (
	"cmp"
	"time"

	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

// Credential is what a Secret holds, and what is known of the one that it held before.
type Credential struct {
	credential.Record
	// Namespace and Secret are where it is.
	Namespace, Secret string
	// Ahead is how far the clock of STS, which its times are by, is ahead of the cluster's.
	Ahead time.Duration
}

// ID tells a Secret's credentials apart. It is not secret: what CloudTrail shows of a session.
func (c Credential) ID() string { return cmp.Or(c.AccessKeyID, c.Seal) }

// Place is the name of the place that a workload of the credential's namespace takes when it is restarted.
func (c Credential) Place(r Ref) string { return c.Namespace + "/" + r.String() }

// issued is the credential as [readers] takes it.
func (c Credential) issued() readers.Issued {
	return readers.Issued{
		Secret: c.Secret, ID: c.ID(), At: c.IssuedAt, Expiration: c.Expiration,
		PreviousAt: c.PreviousIssuedAt, PreviousExpiration: c.PreviousExpiration,
	}
}

// Pod is what counts of an active pod.
type Pod struct {
	Name string
	// Stamp is that of the pod template which it was made from.
	Stamp readers.Stamp
	// Started is when the first of its running containers that count started. A container has what the Secret held at that time,
	// and not when the pod was created: a pod may wait for its Secret. It is zero while no such container runs.
	Started time.Time
}

// outdates tells whether a pod holds an earlier credential, or may do so, and until when that lives; zero if it may have expired.
func (c Credential) outdates(p Pod) (until time.Time, outdated bool) {
	if p.Started.IsZero() {
		return time.Time{}, false
	}
	holds, until, _ := c.issued().HeldSince(p.Started.Add(c.Ahead), p.Stamp)
	return until, holds != readers.Current
}

// outdated counts the pods that hold an earlier credential, and tells until when the first of those lives.
func (c Credential) outdated(pods []Pod) (n int, until time.Time) {
	for _, p := range pods {
		expires, outdated := c.outdates(p)
		if !outdated {
			continue
		}
		if n == 0 || expires.Before(until) {
			until = expires
		}
		n++
	}
	return n, until
}

// due is when a workload is to be restarted whose pods' credential lives until then. Of the time from the issue until the expiry
// the first quarter is waited out, so that other credentials of the workload that are refreshed at about the same time are
// restarted onto along with this; the last is kept for those that have to wait for others or take long; and over what is between
// workloads are spread by a hash of their names. One whose credential may have expired is due at once.
func (c Credential) due(r Ref, until time.Time) time.Time {
	soonest := c.IssuedAt.Add(readers.Settle)
	window := until.Sub(c.IssuedAt)
	if window <= 0 {
		return soonest
	}
	spread := credential.Spread(c.Place(r))
	due := c.IssuedAt.Add(window/4 + time.Duration(spread*float64(window/2))).Truncate(time.Second)
	if due.Before(soonest) {
		return soonest
	}
	return due
}
