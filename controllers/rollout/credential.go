package rollout

import (
	"cmp"
	"time"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

// Credential is the credential in a Secret.
type Credential struct {
	reissue.Record
	// Name is the kind, namespace and name of the credential, and identifies it among all kinds.
	Name string
	// Namespace and Secret are the namespace and name of the Secret.
	Namespace, Secret string
	// Skew is how far the clock of STS is ahead of the cluster's. The times of the record follow the clock of STS.
	Skew time.Duration
}

// ID identifies a credential of a Secret. It is not secret: CloudTrail shows it.
func (c Credential) ID() string { return cmp.Or(c.AccessKeyID, c.Checksum) }

const notOwned = "is not owned by a workload that can be restarted"

// Readers returns the targets, the workloads with a remembered restart, and the owner of each pod that reads the
// Secret when it starts. A pod without a restartable owner counts for itself.
func (c Credential) Readers(want v1alpha1.Rollout, pods []Pod, restarts map[Ref]Restart) []Reader {
	named := map[Ref]bool{}
	byOwner := map[Ref][]Pod{}
	for _, target := range want.Targets {
		ref := Ref{string(target.Kind), target.Name}
		named[ref], byOwner[ref] = true, nil
	}
	for ref, restart := range restarts {
		if restart.Credential == c.Name {
			byOwner[ref] = nil
		}
	}
	for _, p := range pods {
		if p.Reads || named[p.Owner] {
			byOwner[p.Owner] = append(byOwner[p.Owner], p)
		}
	}
	var all []Reader
	for ref, pods := range byOwner {
		r := Reader{Ref: ref, Named: named[ref], Pods: pods, Restart: restarts[ref]}
		switch {
		case ref.Kind == kindPod:
			r.Blocked = notOwned
		case !r.Named && !want.Discover:
			r.Blocked = "is not named by spec.rollout.targets, and spec.rollout.discover is not set"
		}
		all = append(all, c.countStale(r))
	}
	return all
}

// countStale counts the pods with a previous credential, and sets their earliest expiry.
func (c Credential) countStale(r Reader) Reader {
	issued := readers.Issued{
		Secret: c.Secret, ID: c.ID(), At: c.IssuedAt, Expiration: c.Expiration,
		PreviousAt: c.PreviousIssuedAt, PreviousExpiration: c.PreviousExpiration,
	}
	r.Stale, r.Expires, r.Due = 0, time.Time{}, time.Time{}
	for _, p := range r.Pods {
		started := p.Started
		if r.Named { // a target counts however its pods use the Secret
			started = p.First
		}
		if started.IsZero() {
			continue
		}
		holds, until, _ := issued.HeldSince(started.Add(c.Skew), p.Stamp)
		if holds == readers.Current {
			continue
		}
		if r.Stale == 0 || until.Before(r.Expires) {
			r.Expires = until
		}
		r.Stale++
	}
	if r.Stale > 0 {
		r.Due = c.due(r.Ref, r.Expires)
	}
	return r
}

// due returns when to restart a workload whose pods' credential expires at until. It divides the time from the issue
// to the expiry. The first quarter passes without a restart, so that one restart covers other credentials that are
// refreshed at about the same time. The last quarter is reserved for restarts that have to wait or take long. A hash
// of their names spreads workloads over the half between. A workload whose credential may have expired is due at
// once.
func (c Credential) due(r Ref, until time.Time) time.Time {
	soonest := c.IssuedAt.Add(readers.PropagationDelay)
	window := until.Sub(c.IssuedAt)
	if window <= 0 {
		return soonest
	}
	spread := reissue.Spread(c.Namespace + "/" + r.String())
	due := c.IssuedAt.Add(window/4 + time.Duration(spread*float64(window/2))).Truncate(time.Second)
	if due.Before(soonest) {
		return soonest
	}
	return due
}
