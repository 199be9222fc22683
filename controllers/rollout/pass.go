package rollout

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/rollout/readers"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/telemetry"
)

// DefaultMaxConcurrent is the default number of slots.
const DefaultMaxConcurrent = 5

const (
	// adoption is how long after the start of the manager no restart begins. In this time, each credential gets a pass,
	// in which the restarts that an earlier manager left in progress take their slots again.
	adoption = time.Minute
	// pause is how long a namespace waits after a pass, as a multiple of the time that the pass took. It leaves most of
	// the time to other namespaces.
	pause = 9
)

// Coordinator is shared by the rollout reconcilers of all kinds.
type Coordinator struct {
	Workloads Cluster
	// Slots limits the restarts of all kinds together.
	Slots *Slots

	mu sync.Mutex
	// adoptUntil is when restarts may begin; zero before the first pass.
	adoptUntil time.Time
	// paused is when namespaces may have their next pass.
	paused map[string]time.Time
}

// enter waits until no other pass runs, because a pass holds pods of up to maxBytes. It returns a function that ends the
// pass, or how long the namespace must wait for its next pass.
func (r *Coordinator) enter(namespace string, now clock.PassiveClock) (leave func(), wait time.Duration) {
	r.mu.Lock()
	begun := now.Now()
	maps.DeleteFunc(r.paused, func(_ string, until time.Time) bool { return !begun.Before(until) })
	if until, paused := r.paused[namespace]; paused {
		r.mu.Unlock()
		return nil, until.Sub(begun)
	}
	if r.adoptUntil.IsZero() {
		r.adoptUntil, r.paused = begun.Add(adoption), map[string]time.Time{}
	}
	return func() {
		defer r.mu.Unlock()
		r.paused[namespace] = now.Now().Add(pause * now.Since(begun))
	}, 0
}

// pass reads the workloads of a credential, decides, and restarts those that are due. It returns the last rejection of a
// restart, or an error if a read fails.
func (r *Reconciler[T]) pass(ctx context.Context, cred T, c Credential, now time.Time) (all []Reader, rejection, err error) {
	adopt := r.Clock.Now().Before(r.adoptUntil)
	if all, err = r.observe(ctx, cred, c, now, adopt); err != nil || adopt {
		return all, nil, err
	}
	for _, i := range Due(now, all) {
		rejected, err := r.restart(ctx, c, &all[i], now)
		if err != nil {
			return nil, nil, err
		}
		if rejected != nil {
			rejection = rejected
		}
	}
	return all, rejection, nil
}

// observe returns the state of each workload that uses the credential. With adopt, a restart that the status proves to
// be in progress takes a slot. The stamp alone is no proof: anyone who may write the workload may write it.
func (r *Reconciler[T]) observe(ctx context.Context, cred T, c Credential, now time.Time, adopt bool) (all []Reader, err error) {
	want := *cred.Common().Rollout
	rolledOut := meta.FindStatusCondition(cred.Report().Conditions, v1alpha1.ConditionRolledOut)
	adopt = adopt && rolledOut != nil && rolledOut.Reason == v1alpha1.ReasonRestarting
	pods, err := r.Workloads.Discover(ctx, c, want)
	if err != nil {
		return nil, err
	}
	for _, reader := range c.Readers(want, pods, r.Slots.Restarts(c.Namespace)) {
		found := []Reader{reader}
		if reader.Kind != kindPod && (adopt || reader.DependsOnWorkload(now)) {
			w, err := r.Workloads.Get(ctx, c.Namespace, reader.Ref)
			if err != nil {
				return nil, err
			}
			found = c.Split(reader, w)
		}
		if adopt && c.InProgress(found[0]) {
			found[0].Restart, _ = r.Slots.Acquire(c.Namespace, reader.Ref, Restart{Credential: c.Name, ID: c.ID()}, r.Clock.Now())
		}
		for _, reader := range found {
			assessed := c.Assess(now, reader)
			r.release(ctx, c, reader.Restart, assessed)
			all = append(all, assessed)
		}
	}
	return all, nil
}

// release gives the slot of a restart back that is over, and counts the restart.
func (r *Reconciler[T]) release(ctx context.Context, c Credential, before Restart, reader Reader) {
	if reader.Restart == before {
		return
	}
	r.Slots.Set(c.Namespace, reader.Ref, reader.Restart)
	if before.State != Updating {
		return
	}
	result := telemetry.RestartTakenBack
	switch reader.State {
	case Fresh:
		result = telemetry.RestartFinished
	case Blocked:
		result = telemetry.RestartStalled
	}
	r.Metrics.Restarted(result)
	log.FromContext(ctx).Info("restart finished", "workload", reader.String(), "state", reader.State)
}

// restart restarts a workload if a slot is free. It returns the error if the API server rejects the restart.
func (r *Reconciler[T]) restart(ctx context.Context, c Credential, reader *Reader, now time.Time) (rejection, err error) {
	restart := Restart{Credential: c.Name, ID: c.ID()}
	if reader.Restart.Credential == c.Name {
		restart.Undone = reader.Restart.Undone
	}
	restart, ok := r.Slots.Acquire(c.Namespace, reader.Ref, restart, r.Clock.Now())
	if !ok {
		return nil, nil
	}
	stamp, err := r.stamp(ctx, c, *reader, now)
	if err == nil {
		err = r.Workloads.Restart(ctx, c.Namespace, *reader.Workload, stamp, r.Clock.Now())
	}
	switch {
	case err == nil:
		reader.State, reader.Next = Updating, now.Add(poll)
		log.FromContext(ctx).Info("restarting", "workload", reader.String(), "credentials", stamp)
		return nil, nil
	case apierrors.IsForbidden(err):
		restart.State = Denied
	case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		restart.State, restart.Problem = Blocked, fmt.Sprintf("was rejected by the API server (%s)", apierrors.ReasonForError(err))
	default: // it stays due, and does not block others
		restart.State = ""
	}
	restart.Until = r.Clock.Now().Add(recheck)
	r.Slots.Set(c.Namespace, reader.Ref, restart)
	if restart.State == "" {
		log.FromContext(ctx).Error(err, "failed to restart a workload")
		return nil, ctx.Err()
	}
	reader.State, reader.Problem, reader.Next = restart.State, restart.Problem, now.Add(recheck)
	return err, nil
}

// stamp returns the credentials that a workload's pods will start with: of this Secret, and of all other owned
// Secrets that its pods read or that it was restarted for before, so that one restart covers all. It omits a
// credential that was just issued: a pod may still start with the previous one.
func (r *Reconciler[T]) stamp(ctx context.Context, c Credential, reader Reader, now time.Time) (readers.Stamp, error) {
	secrets := sets.KeySet(reader.Workload.Stamp)
	for _, p := range reader.Pods {
		secrets.Insert(p.Secrets...)
	}
	stamp := readers.Stamp{c.Secret: c.ID()}
	for name := range secrets.Delete(c.Secret) {
		secret := secretstore.Metadata() // the cache holds owned Secrets only
		if err := r.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, secret); err != nil {
			if apierrors.IsNotFound(err) {
				continue
			}
			return nil, err
		}
		record, ok := reissue.ParseRecord(secret.GetAnnotations())
		if ok && record.ChecksumValid() && !now.Before(record.IssuedAt.Add(readers.PropagationDelay)) {
			stamp[name] = Credential{Record: record}.ID()
		}
	}
	return stamp, nil
}
