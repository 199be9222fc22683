package rollout

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/rollout/readers"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/telemetry"
)

// plan is the state of the workloads of one credential. It is kept in memory only; a discovery restores it.
type plan struct {
	credential Credential
	generation int64
	spec       v1alpha1.Rollout
	readers    []Reader
}

// places returns the places of the workloads that restart.
func (p *plan) places() sets.Set[string] {
	places := sets.Set[string]{}
	if p == nil {
		return places
	}
	for _, reader := range p.readers {
		if reader.Ours {
			places.Insert(p.credential.Place(reader.Ref))
		}
	}
	return places
}

// plans are the plans of a kind's credentials. Each plan is used by one reconcile at a time.
type plans struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*plan
}

func (p *plans) get(key types.NamespacedName) *plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[key]
}

// set stores a plan, and returns the previous one.
func (p *plans) set(key types.NamespacedName, made *plan) *plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[types.NamespacedName]*plan{}
	}
	before := p.all[key]
	if p.all[key] = made; made == nil {
		delete(p.all, key)
	}
	return before
}

// plan returns the plan of a credential, and discovers its workloads if the credential or its spec changed. Workloads
// created later need no discovery: their pods start with the current Secret.
func (r *Reconciler[T]) plan(ctx context.Context, object T, held Credential, now time.Time) (*plan, error) {
	key := client.ObjectKeyFromObject(object)
	before := r.plans.get(key)
	same := before != nil && before.credential.Seal == held.Seal
	if same && before.generation == object.GetGeneration() {
		before.credential.Ahead = held.Ahead
		return before, nil
	}
	switch {
	case same:
		held.Record = before.credential.Record
	case before != nil && before.credential.Secret == held.Secret && held.PreviousIssuedAt.IsZero(): // the times were lost with a deleted or edited Secret
		held.Record = held.After(&before.credential.Record)
	}
	made := &plan{credential: held, generation: object.GetGeneration(), spec: *object.Common().Rollout}
	found, err := r.Workloads.Discover(ctx, held, made.spec)
	if err != nil {
		return nil, err
	}
	remembered := map[Ref]Reader{}
	if before != nil {
		for _, reader := range before.readers {
			remembered[reader.Ref] = reader
		}
	}
	for _, s := range found {
		reader := remembered[s.Ref]
		if !same {
			reader = Reader{}.Remembering(reader)
		}
		reader.Ref, reader.Named = s.Ref, s.Named
		if reader = held.Assess(now, reader, s.Workload, s.Pods); reader.State != Fresh {
			made.readers = append(made.readers, reader)
		}
	}
	r.replace(key, made)
	return made, nil
}

// look updates the state of a workload.
func (r *Reconciler[T]) look(ctx context.Context, p *plan, i int, now time.Time) (WorkloadState, error) {
	before := p.readers[i]
	found, err := r.Workloads.Get(ctx, p.credential, p.spec, before.Ref)
	if err != nil {
		return found, err
	}
	after := p.credential.Assess(now, before, found.Workload, found.Pods)
	p.readers[i] = after
	place := p.credential.Place(before.Ref)
	if after.Ours {
		r.Places.Hold(place)
	} else if before.Ours && r.Places.Release(place) { // another credential's plan may have released it first
		r.Metrics.Restarted(resultOf(after.State))
		log.FromContext(ctx).Info("restart finished", "workload", before.String(), "state", after.State)
	}
	return found, nil
}

func resultOf(after State) string {
	switch after {
	case Fresh, Updating:
		return telemetry.RestartFinished
	case Held:
		return telemetry.RestartStalled
	default:
		return telemetry.RestartTakenBack
	}
}

// restart restarts a workload that is still due, if a place is free. It returns the error if the API server rejects
// the restart.
func (r *Reconciler[T]) restart(ctx context.Context, p *plan, i int, found WorkloadState, now time.Time) (refusal, err error) {
	reader, place := p.readers[i], p.credential.Place(found.Ref)
	if reader.State != Outdated || now.Before(reader.Due) || !r.Places.Take(place) {
		return nil, nil
	}
	stamp, err := r.stamp(ctx, p.credential, *found.Workload, now)
	if err == nil {
		err = r.Workloads.Restart(ctx, p.credential.Namespace, *found.Workload, stamp, now.Add(-p.credential.Ahead))
	}
	if err == nil {
		p.readers[i] = reader.Restarted(now, p.credential.ID())
		log.FromContext(ctx).Info("restarting", "workload", found.String(), "credentials", stamp)
		return nil, nil
	}
	r.Places.Release(place)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case apierrors.IsForbidden(err):
		p.readers[i] = reader.Refused(now, Refused, "")
		return err, nil
	case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		p.readers[i] = reader.Refused(now, Held, fmt.Sprintf("was rejected by the API server (%s)", apierrors.ReasonForError(err)))
		return err, nil
	default: // it stays due, and does not block others
		log.FromContext(ctx).Error(err, "failed to restart a workload")
		return nil, nil
	}
}

// stamp returns the credentials that a workload's pods will start with: of this Secret, and of all other owned
// Secrets that its pods read or that it was restarted for before, so that one restart covers all. It omits a
// credential that was just issued: a pod may still start with the previous one.
func (r *Reconciler[T]) stamp(ctx context.Context, held Credential, w Workload, now time.Time) (readers.Stamp, error) {
	stamp := readers.Stamp{}
	for _, name := range slices.Concat(w.Secrets, slices.Collect(maps.Keys(w.Stamp))) {
		kept := secretstore.Metadata() // the cache holds owned Secrets only
		if err := r.Client.Get(ctx, client.ObjectKey{Namespace: held.Namespace, Name: name}, kept); err != nil {
			if apierrors.IsNotFound(err) {
				continue
			}
			return nil, err
		}
		record, ok := reissue.ParseRecord(kept.GetAnnotations())
		if ok && record.ChecksumValid() && !now.Before(record.IssuedAt.Add(readers.Settle)) {
			stamp[name] = Credential{Record: record}.ID()
		}
	}
	stamp[held.Secret] = held.ID()
	return stamp, nil
}

// forget removes the state of a credential.
func (r *Reconciler[T]) forget(key types.NamespacedName) {
	r.replace(key, nil)
	r.Metrics.Restarting(r.Places.Taken())
	r.Metrics.ForgetReaders(r.Kind.Name, key)
}

// reset removes the state of a credential's workloads while none needs a restart, but keeps the credential.
func (r *Reconciler[T]) reset(key types.NamespacedName) {
	if before := r.plans.get(key); before != nil {
		r.replace(key, &plan{credential: before.credential})
	}
	r.measure(key, time.Time{}, nil)
}

// replace replaces a plan. A restart of a workload that the new plan does not contain continues without a place.
func (r *Reconciler[T]) replace(key types.NamespacedName, made *plan) {
	places := made.places()
	for place := range places {
		r.Places.Hold(place)
	}
	for place := range r.plans.set(key, made).places() {
		if !places.Has(place) {
			r.Places.Release(place)
		}
	}
}

func (r *Reconciler[T]) measure(key types.NamespacedName, now time.Time, readers []Reader) {
	stale, stuck := 0, 0
	for _, reader := range readers {
		if reader.State != Fresh && reader.State != Missing {
			stale++
		}
		if reader.Stuck(now) {
			stuck++
		}
	}
	r.Metrics.Readers(r.Kind.Name, key, stale, stuck)
	r.Metrics.Restarting(r.Places.Taken())
}
