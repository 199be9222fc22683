package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/cluster"
	"rolecredential.dev/operator/hack/program"
)

// percentiles are percentiles of durations in milliseconds.
type percentiles struct {
	P50 float64 `json:"p50Milliseconds"`
	P99 float64 `json:"p99Milliseconds"`
}

func percentilesOf(times []time.Duration) percentiles {
	slices.Sort(times)
	at := func(part float64) float64 { return times[int(part*float64(len(times)-1))].Seconds() * 1000 }
	return percentiles{at(0.5), at(0.99)}
}

// latency is the time that one credential takes while the operator is otherwise idle.
type latency struct {
	// Writes is the time of a bare client's two writes.
	Writes percentiles `json:"twoWrites"`
	// Ready is the time from the creation of a credential to Ready, and Replaced from the deletion of its Secret to Ready with a new one.
	Ready    percentiles `json:"applyToReady"`
	Replaced percentiles `json:"deletedSecretBack"`
	// Terminated and Killed are the seconds until another manager leads, after SIGTERM and SIGKILL to the leader.
	Terminated float64 `json:"leaderEndedSeconds"`
	Killed     float64 `json:"leaderKilledSeconds"`
}

// measureLatency creates credentials one by one, and then changes leaders.
func measureLatency(ctx context.Context, e *environment, samples int) (latency, error) {
	var result latency
	model, err := e.warmUp(ctx)
	if err != nil {
		return result, err
	}
	if result.Writes, err = e.measureWrites(ctx, model, samples); err != nil {
		return result, err
	}
	m, err := e.startManager()
	if err != nil {
		return result, err
	}
	o, err := e.observe(ctx)
	if err != nil {
		return result, err
	}
	if _, err := e.createCredentials(ctx, "rest", 1, nil); err != nil {
		return result, err
	}
	if _, err := o.await(ctx, shortTimeout, 1); err != nil {
		return result, err
	}
	var ready, replaced []time.Duration
	for i := range samples {
		credential := newCredential("rest-0", fmt.Sprint("latency-", i), roleOf(i))
		begin := time.Now()
		if err := e.Client.Create(ctx, credential); err != nil {
			return result, err
		}
		at, err := o.await(ctx, shortTimeout, 2+2*i)
		if err != nil {
			return result, err
		}
		ready = append(ready, at.Sub(begin))
		begin = time.Now()
		if err := e.Client.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: credential.Namespace, Name: credential.Name}}); err != nil {
			return result, err
		}
		if at, err = o.await(ctx, shortTimeout, 3+2*i); err != nil {
			return result, err
		}
		replaced = append(replaced, at.Sub(begin))
	}
	result.Ready, result.Replaced = percentilesOf(ready), percentilesOf(replaced)
	err = e.changeLeaders(ctx, m, &result)
	return result, err
}

// measureWrites measures the two writes of a bare client, one credential after the other.
func (e *environment) measureWrites(ctx context.Context, model sample, samples int) (percentiles, error) {
	r, err := e.newRaw(ctx, model, "writes", samples)
	if err != nil {
		return percentiles{}, err
	}
	var times []time.Duration
	for i := range samples {
		begin := time.Now()
		if err := r.issue(ctx, i); err != nil {
			return percentiles{}, err
		}
		times = append(times, time.Since(begin))
	}
	for i := range samples { // the operator must not see them
		if err := errors.Join(e.Client.Delete(ctx, r.credentials[i]), client.IgnoreNotFound(e.Client.Delete(ctx, r.secrets[i]))); err != nil {
			return percentiles{}, err
		}
	}
	return percentilesOf(times), nil
}

// changeLeaders terminates the leader, and kills the next one.
func (e *environment) changeLeaders(ctx context.Context, leader *manager, result *latency) error {
	for _, way := range []struct {
		signal syscall.Signal
		into   *float64
	}{{syscall.SIGTERM, &result.Terminated}, {syscall.SIGKILL, &result.Killed}} {
		next, err := e.startManager()
		if err != nil {
			return err
		}
		// The manager serves metrics once it waits for the lease.
		if err := program.WaitUntil(ctx, shortTimeout, 100*time.Millisecond, func(ctx context.Context) error {
			_, err := next.scrape(ctx)
			return err
		}); err != nil {
			return err
		}
		before, err := e.holder(ctx)
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := syscall.Kill(leader.Pid(), way.signal); err != nil {
			return err
		}
		if err := program.WaitUntil(ctx, shortTimeout, 10*time.Millisecond, func(ctx context.Context) error {
			now, err := e.holder(ctx)
			if err == nil && (now == "" || now == before) {
				return errors.New("the former leader still holds the lease")
			}
			return err
		}); err != nil {
			return err
		}
		*way.into = time.Since(begin).Seconds()
		leader = next
	}
	return nil
}

func (e *environment) holder(ctx context.Context) (string, error) {
	lease := &coordinationv1.Lease{}
	err := e.Client.Get(ctx, client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: controllers.LeaseName("")}, lease)
	return ptr.Deref(lease.Spec.HolderIdentity, ""), err
}
