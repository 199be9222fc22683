package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/program"
	"rolecredential.dev/operator/hack/stsemulator"
)

// denied is the load on STS from credentials that STS denies.
type denied struct {
	N int `json:"n"`
	// CallsPerMinute is counted after a time to settle.
	CallsPerMinute float64 `json:"stsCallsPerMinute"`
	Events         float64 `json:"events"`
}

// measureDenied measures the calls for n credentials with a denied role each.
func measureDenied(ctx context.Context, e *environment, n int, settleTime, counted time.Duration) (denied, error) {
	result := denied{N: n}
	if _, err := e.createCredentials(ctx, "denied", n, func(i int, c *v1alpha1.RoleCredential) {
		c.Spec.RoleARN = fmt.Sprint("arn:aws:iam::123456789012:role/absent-", i)
	}); err != nil {
		return result, err
	}
	before, err := e.apiCounters(ctx)
	if err != nil {
		return result, err
	}
	if _, err := e.startManager(); err != nil {
		return result, err
	}
	if err := program.Sleep(ctx, settleTime); err != nil {
		return result, err
	}
	if err := e.sts.resetCalls(ctx); err != nil {
		return result, err
	}
	if err := program.Sleep(ctx, counted); err != nil {
		return result, err
	}
	calls, err := e.sts.issues(ctx)
	if err != nil {
		return result, err
	}
	after, err := e.apiCounters(ctx)
	result.CallsPerMinute, result.Events = float64(len(calls))/counted.Minutes(), after.requests.since(before.requests)["POST events"]
	return result, err
}

// outage is the recovery after an outage of STS.
type outage struct {
	N              int     `json:"n"`
	OutageSeconds  float64 `json:"outageSeconds"`
	SecondsToReady float64 `json:"secondsUntilAllReady"`
	// MaxCallsPerSecond is expected to be at most twice the rate limit: a full bucket, and the tokens of a second.
	MaxCallsPerSecond int `json:"mostSTSCallsInASecond"`
	CallsInOutage     int `json:"stsCallsInOutage"`
	QPS               int `json:"stsQPS"`
}

// measureOutage makes STS unreachable for a duration, creates n credentials meanwhile, and measures their recovery at the default rate
// limit.
func measureOutage(ctx context.Context, e *environment, n int, duration time.Duration) (outage, error) {
	result := outage{N: n, OutageSeconds: duration.Seconds(), QPS: defaultQPS}
	err := errors.Join(
		e.change(ctx, func(spec *v1alpha1.ClusterIdentitySpec) { spec.STSQPS = defaultQPS }),
		e.sts.fault(ctx, stsemulator.Fault{Kind: stsemulator.FaultOutage}),
	)
	if err != nil {
		return result, err
	}
	if _, err := e.createCredentials(ctx, "outage", n, nil); err != nil {
		return result, err
	}
	o, err := e.observe(ctx)
	if err != nil {
		return result, err
	}
	if _, err := e.startManager(); err != nil {
		return result, err
	}
	if err := program.Sleep(ctx, duration); err != nil {
		return result, err
	}
	during, err := e.sts.issues(ctx)
	if err != nil {
		return result, err
	}
	begin := time.Now()
	err = errors.Join(e.sts.resetCalls(ctx), e.sts.clearFaults(ctx), e.sts.fault(ctx, stsemulator.Fault{Kind: stsemulator.FaultLatency, Duration: metav1.Duration{Duration: e.latency}}))
	if err != nil {
		return result, err
	}
	end, err := o.await(ctx, longTimeout, n)
	if err != nil {
		return result, err
	}
	calls, err := e.sts.issues(ctx)
	result.SecondsToReady, result.MaxCallsPerSecond, result.CallsInOutage = end.Sub(begin).Seconds(), maxCalls(calls, time.Second), len(during)
	return result, err
}

// defaultQPS is the default of the manager's --sts-qps.
const defaultQPS = controllers.DefaultSTSQPS

// maxCalls returns the largest number of calls within any window of a length.
func maxCalls(calls []stsemulator.Call, window time.Duration) (most int) {
	first := 0
	for last := range calls {
		for calls[last].Time.Sub(calls[first].Time) > window {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}
