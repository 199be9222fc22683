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
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/cluster"
	"rolecredential.dev/operator/hack/stsemulator"
)

// spread is how some times are spread, in milliseconds.
type spread struct {
	P50 float64 `json:"p50Milliseconds"`
	P99 float64 `json:"p99Milliseconds"`
}

func spreadOf(times []time.Duration) spread {
	slices.Sort(times)
	at := func(part float64) float64 { return times[int(part*float64(len(times)-1))].Seconds() * 1000 }
	return spread{at(0.5), at(0.99)}
}

// latency is how long one credential takes while nothing else goes on.
type latency struct {
	// Writes is how long the API server takes for the two writes of the raw client, one after the other.
	Writes spread `json:"twoWrites"`
	// Ready is from the credential's creation to Ready, and Back from its Secret's deletion to Ready with another.
	Ready spread `json:"applyToReady"`
	Back  spread `json:"deletedSecretBack"`
	// Ended and Killed are until another manager leads, after the leader was ended and after it was killed.
	Ended  float64 `json:"leaderEndedSeconds"`
	Killed float64 `json:"leaderKilledSeconds"`
}

// measureLatency deals with some credentials one by one, then changes leaders.
func measureLatency(ctx context.Context, w *world, samples int) (latency, error) {
	var taken latency
	like, err := w.warmUp(ctx)
	if err != nil {
		return taken, err
	}
	if taken.Writes, err = w.measureWrites(ctx, like, samples); err != nil {
		return taken, err
	}
	m, err := w.startManager()
	if err != nil {
		return taken, err
	}
	o, err := w.observe(ctx)
	if err != nil {
		return taken, err
	}
	if _, err := w.prepare(ctx, "rest", 1, nil); err != nil {
		return taken, err
	}
	if _, err := o.await(ctx, promptly, 1); err != nil {
		return taken, err
	}
	var ready, back []time.Duration
	for i := range samples {
		made := newCredential("rest-0", fmt.Sprint("latency-", i), roleOf(i))
		begin := time.Now()
		if err := w.Client.Create(ctx, made); err != nil {
			return taken, err
		}
		at, err := o.await(ctx, promptly, 2+2*i)
		if err != nil {
			return taken, err
		}
		ready = append(ready, at.Sub(begin))
		begin = time.Now()
		if err := w.Client.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: made.Namespace, Name: made.Name}}); err != nil {
			return taken, err
		}
		if at, err = o.await(ctx, promptly, 3+2*i); err != nil {
			return taken, err
		}
		back = append(back, at.Sub(begin))
	}
	taken.Ready, taken.Back = spreadOf(ready), spreadOf(back)
	err = w.changeLeaders(ctx, m, &taken)
	return taken, err
}

// measureWrites is what the raw client's two writes take, one credential after the other.
func (w *world) measureWrites(ctx context.Context, like sample, samples int) (spread, error) {
	r, err := w.newRaw(ctx, like, "writes", samples)
	if err != nil {
		return spread{}, err
	}
	var times []time.Duration
	for i := range samples {
		begin := time.Now()
		if err := r.issue(ctx, i); err != nil {
			return spread{}, err
		}
		times = append(times, time.Since(begin))
	}
	for i := range samples { // it is not for the operator to look at
		if err := errors.Join(w.Client.Delete(ctx, r.made[i]), client.IgnoreNotFound(w.Client.Delete(ctx, r.secrets[i]))); err != nil {
			return spread{}, err
		}
	}
	return spreadOf(times), nil
}

// changeLeaders ends the leader, and kills the next.
func (w *world) changeLeaders(ctx context.Context, leader *manager, taken *latency) error {
	for _, way := range []struct {
		signal syscall.Signal
		into   *float64
	}{{syscall.SIGTERM, &taken.Ended}, {syscall.SIGKILL, &taken.Killed}} {
		next, err := w.startManager()
		if err != nil {
			return err
		}
		if err := await(ctx, promptly, 100*time.Millisecond, func(ctx context.Context) (bool, error) { // until it stands by
			found, err := next.scrape(ctx)
			return err == nil && found.sum("leader_election_master_status", nil) == 0, ctx.Err()
		}); err != nil {
			return err
		}
		held, err := w.holder(ctx)
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := syscall.Kill(leader.Pid(), way.signal); err != nil {
			return err
		}
		if err := await(ctx, promptly, 10*time.Millisecond, func(ctx context.Context) (bool, error) {
			now, err := w.holder(ctx)
			return now != "" && now != held, err
		}); err != nil {
			return err
		}
		*way.into = time.Since(begin).Seconds()
		leader = next
	}
	return nil
}

func (w *world) holder(ctx context.Context) (string, error) {
	lease := &coordinationv1.Lease{}
	err := w.Client.Get(ctx, client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: controllers.LeaseName("")}, lease)
	return ptr.Deref(lease.Spec.HolderIdentity, ""), err
}

// denied is what is asked of STS for credentials that it refuses.
type denied struct {
	N int `json:"n"`
	// CallsPerMinute are counted after the time to settle.
	CallsPerMinute float64 `json:"stsCallsPerMinute"`
	Events         float64 `json:"events"`
}

// measureDenied has STS refuse n credentials, each for a role of its own.
func measureDenied(ctx context.Context, w *world, n int, settle, counted time.Duration) (denied, error) {
	taken := denied{N: n}
	if _, err := w.prepare(ctx, "denied", n, func(i int, c *v1alpha1.RoleCredential) {
		c.Spec.RoleARN = fmt.Sprint("arn:aws:iam::123456789012:role/absent-", i)
	}); err != nil {
		return taken, err
	}
	before, err := w.apiCounters(ctx)
	if err != nil {
		return taken, err
	}
	if _, err := w.startManager(); err != nil {
		return taken, err
	}
	if err := pause(ctx, settle); err != nil {
		return taken, err
	}
	if err := w.sts.forget(ctx); err != nil {
		return taken, err
	}
	if err := pause(ctx, counted); err != nil {
		return taken, err
	}
	calls, err := w.sts.issues(ctx)
	if err != nil {
		return taken, err
	}
	after, err := w.apiCounters(ctx)
	taken.CallsPerMinute, taken.Events = float64(len(calls))/counted.Minutes(), after.requests.since(before.requests)["POST events"]
	return taken, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// outage is how credentials come back after one.
type outage struct {
	N              int     `json:"n"`
	OutageSeconds  float64 `json:"outageSeconds"`
	SecondsToReady float64 `json:"secondsUntilAllReady"`
	// MostCallsInASecond is to be at most twice the identity's calls a second: a full bucket, and what comes in.
	MostCallsInASecond int `json:"mostSTSCallsInASecond"`
	CallsInOutage      int `json:"stsCallsInOutage"`
	QPS                int `json:"stsQPS"`
}

// measureOutage has STS answer nobody for a while, from before n credentials are made, with the calls a second that a manager
// allows an identity by default.
func measureOutage(ctx context.Context, w *world, n int, lasts time.Duration) (outage, error) {
	taken := outage{N: n, OutageSeconds: lasts.Seconds(), QPS: defaultQPS}
	err := errors.Join(
		w.change(ctx, func(spec *v1alpha1.ClusterIdentitySpec) { spec.STSQPS = defaultQPS }),
		w.sts.fault(ctx, stsemulator.Fault{Kind: stsemulator.FaultOutage}),
	)
	if err != nil {
		return taken, err
	}
	if _, err := w.prepare(ctx, "outage", n, nil); err != nil {
		return taken, err
	}
	o, err := w.observe(ctx)
	if err != nil {
		return taken, err
	}
	if _, err := w.startManager(); err != nil {
		return taken, err
	}
	if err := pause(ctx, lasts); err != nil {
		return taken, err
	}
	during, err := w.sts.issues(ctx)
	if err != nil {
		return taken, err
	}
	begin := time.Now()
	err = errors.Join(w.sts.forget(ctx), w.sts.clearFaults(ctx), w.sts.fault(ctx, stsemulator.Fault{Kind: stsemulator.FaultLatency, Duration: metav1.Duration{Duration: w.latency}}))
	if err != nil {
		return taken, err
	}
	end, err := o.await(ctx, slowly, n)
	if err != nil {
		return taken, err
	}
	calls, err := w.sts.issues(ctx)
	taken.SecondsToReady, taken.MostCallsInASecond, taken.CallsInOutage = end.Sub(begin).Seconds(), most(calls, time.Second), len(during)
	return taken, err
}

// defaultQPS is the manager's --sts-qps.
const defaultQPS = controllers.DefaultSTSQPS

// most is how many calls are within any window of a length.
func most(calls []stsemulator.Call, window time.Duration) (most int) {
	first := 0
	for last := range calls {
		for calls[last].Time.Sub(calls[first].Time) > window {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// shards is how two managers share credentials.
type shards struct {
	N         int     `json:"n"`
	PerSecond float64 `json:"perSecond"`
	// Each is how many credentials each of them issued, and Calls how many calls STS had of both.
	Each  []int `json:"issuedByEach"`
	Calls int   `json:"stsCalls"`
}

// measureShards has two managers, each with its own leader, share n credentials by a label.
func measureShards(ctx context.Context, w *world, n int) (shards, error) {
	taken := shards{N: n}
	if _, err := w.prepare(ctx, "shards", n, func(i int, c *v1alpha1.RoleCredential) {
		if i%2 == 0 { // the other takes what says nothing
			c.Labels = map[string]string{"shard": "a"}
		}
	}); err != nil {
		return taken, err
	}
	o, err := w.observe(ctx)
	if err != nil {
		return taken, err
	}
	selectors := []string{"shard=a", "shard!=a"}
	// The chart gives a manager the right to the lease of its selector.
	leases := rbacv1.PolicyRule{APIGroups: []string{coordinationv1.GroupName}, Resources: []string{"leases"}, Verbs: []string{"get", "update"}}
	for _, selector := range selectors {
		leases.ResourceNames = append(leases.ResourceNames, controllers.LeaseName(selector))
	}
	if err := w.allow(ctx, "shards", leases); err != nil {
		return taken, err
	}
	var managers []*manager
	for _, selector := range selectors {
		m, err := w.startManager("--selector=" + selector)
		if err != nil {
			return taken, err
		}
		managers = append(managers, m)
	}
	end, err := o.await(ctx, slowly, n)
	if err != nil {
		return taken, err
	}
	calls, err := w.sts.issues(ctx)
	if err != nil {
		return taken, err
	}
	for _, m := range managers {
		found, err := m.scrape(ctx)
		if err != nil {
			return taken, err
		}
		issued := found.sum("rolecredential_sts_calls_total", func(labels map[string]string) bool {
			return labels["kind"] == "RoleCredential" && labels["reason"] == v1alpha1.ReasonIssued
		})
		taken.Each = append(taken.Each, int(issued))
	}
	taken.Calls, taken.PerSecond = len(calls), float64(n)/end.Sub(first(calls)).Seconds()
	return taken, nil
}
