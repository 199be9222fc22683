package rollout

import (
	"cmp"
	"time"

	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

// Credential is the credential in a Secret, and the known times of the previous one.
type Credential struct {
	reissue.Record
	// Namespace and Secret are the namespace and name of the Secret.
	Namespace, Secret string
	// Ahead is how far the clock of STS is ahead of the cluster's. The times of the record follow the clock of STS.
	Ahead time.Duration
}

// ID identifies a credential of a Secret. It is not secret: CloudTrail shows it.
func (c Credential) ID() string { return cmp.Or(c.AccessKeyID, c.Seal) }

// Place returns the key of a workload in [Places].
func (c Credential) Place(r Ref) string { return c.Namespace + "/" + r.String() }

// issued converts the credential for the package readers.
func (c Credential) issued() readers.Issued {
	return readers.Issued{
		Secret: c.Secret, ID: c.ID(), At: c.IssuedAt, Expiration: c.Expiration,
		PreviousAt: c.PreviousIssuedAt, PreviousExpiration: c.PreviousExpiration,
	}
}

// Pod is the relevant state of an active pod.
type Pod struct {
	Name string
	// Stamp is the stamp of the pod template that the pod was created from.
	Stamp readers.Stamp
	// Started is when the first relevant running container started; zero if none runs. A container has the Secret's
	// content of that time. The creation of the pod does not matter: a pod may wait for its Secret.
	Started time.Time
}

// outdates reports whether a pod has, or may have, a previous credential, and when that expires; zero if it may have
// expired already.
func (c Credential) outdates(p Pod) (until time.Time, outdated bool) {
	if p.Started.IsZero() {
		return time.Time{}, false
	}
	holds, until, _ := c.issued().HeldSince(p.Started.Add(c.Ahead), p.Stamp)
	return until, holds != readers.Current
}

// outdated counts the pods with a previous credential, and returns the earliest expiry.
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

// due returns when to restart a workload whose pods' credential expires at until. It divides the time from the issue
// to the expiry. The first quarter passes without a restart, so that one restart covers other credentials that are
// refreshed at about the same time. The last quarter is reserved for restarts that have to wait or take long. A hash
// of their names spreads workloads over the half between. A workload whose credential may have expired is due at
// once.
func (c Credential) due(r Ref, until time.Time) time.Time {
	soonest := c.IssuedAt.Add(readers.Settle)
	window := until.Sub(c.IssuedAt)
	if window <= 0 {
		return soonest
	}
	spread := reissue.Spread(c.Place(r))
	due := c.IssuedAt.Add(window/4 + time.Duration(spread*float64(window/2))).Truncate(time.Second)
	if due.Before(soonest) {
		return soonest
	}
	return due
}
