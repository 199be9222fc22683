// Package telemetry tells people and machines what happened: events and metrics.
package telemetry

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/controllers/failure"
)

// What an event says was done (the Kubernetes API's Event, field action).
const (
	ActionIssue   = "Issue"
	ActionVerify  = "Verify"
	ActionRestart = "Restart"
)

// Events are written once for each change of what a user reads in the status.
type Events struct{ Recorder events.EventRecorder }

// noteLength is what the API server bears for an event's note, in bytes (events.k8s.io/v1, field note).
const noteLength = 1024

// Changed says that an object came to a good state.
func (e Events) Changed(object client.Object, action, reason, message string) {
	e.write(object, corev1.EventTypeNormal, action, reason, message)
}

// Failed says that an object came to a bad state, with the cause in its own words, which no condition holds.
func (e Events) Failed(object client.Object, action, reason, message string, f *failure.Failure) {
	if f != nil && f.Cause != nil {
		message += " (" + f.Cause.Error() + ")"
	}
	e.write(object, corev1.EventTypeWarning, action, reason, message)
}

func (e Events) write(object client.Object, eventType, action, reason, note string) {
	if len(note) > noteLength {
		note = failure.Cut(note, noteLength-len("…"))
	}
	e.Recorder.Eventf(object, nil, eventType, reason, action, "%s", note)
}

// Metrics counts and measures. Its series are few: one for each kind, call and reason of the API, one for each identity, and one
// for each credential that restarts workloads.
type Metrics struct {
	calls    *prometheus.CounterVec
	skew     *prometheus.GaugeVec
	restarts *prometheus.CounterVec
	underWay prometheus.Gauge
	stale    *prometheus.GaugeVec
}

// NewMetrics registers the metrics; a second manager in one process counts with the first.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	var m Metrics
	var errs [5]error
	m.calls, errs[0] = registered(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rolecredential_sts_calls_total",
		Help: "Calls of STS, each with the SDK's own retries, by kind of object (of a chain's hops, the identity's), call and reason: Issued or Verified, or why not.",
	}, []string{"kind", "call", "reason"}))
	m.skew, errs[1] = registered(registry, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "rolecredential_sts_clock_skew_seconds",
		Help: "How far the clock of an identity's STS is ahead of the operator's, 0 within 5 s.",
	}, []string{"identity"}))
	m.restarts, errs[2] = registered(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rolecredential_rollouts_total",
		Help: "Restarts of workloads that are over, by result: Finished, Stalled, or TakenBack by somebody else.",
	}, []string{"result"}))
	m.underWay, errs[3] = registered(registry, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "rolecredential_rollouts_in_progress",
		Help: "Workloads in the middle of a restart.",
	}))
	m.stale, errs[4] = registered(registry, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "rolecredential_stale_readers",
		Help: "Workloads, and pods of none, that hold an earlier credential than the Secret does, by credential with spec.rollout.",
	}, []string{"kind", "namespace", "name"}))
	return &m, errors.Join(errs[:]...)
}

// registered returns the collector, or the one that was registered before it.
func registered[C prometheus.Collector](registry prometheus.Registerer, collector C) (C, error) {
	err := registry.Register(collector)
	if before, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := before.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	return collector, err
}

// Called counts a call of STS.
func (m *Metrics) Called(kind, call, reason string) {
	m.calls.WithLabelValues(kind, call, reason).Inc()
}

// ClockSkew tells how far the clock of an identity's STS is ahead.
func (m *Metrics) ClockSkew(identity string, ahead time.Duration) {
	m.skew.WithLabelValues(identity).Set(ahead.Seconds())
}

// ForgetIdentity ends the series of an identity that no longer exists.
func (m *Metrics) ForgetIdentity(identity string) {
	m.skew.DeleteLabelValues(identity)
}

// Results of restarts.
const (
	RestartFinished  = "Finished"
	RestartStalled   = "Stalled"
	RestartTakenBack = "TakenBack"
)

// Restarted counts a restart of a workload that is over.
func (m *Metrics) Restarted(result string) {
	m.restarts.WithLabelValues(result).Inc()
}

// Restarting tells how many workloads are in the middle of a restart.
func (m *Metrics) Restarting(workloads int) {
	m.underWay.Set(float64(workloads))
}

// StaleReaders tells how many workloads hold an earlier credential than a Secret does.
func (m *Metrics) StaleReaders(kind, namespace, name string, readers int) {
	m.stale.WithLabelValues(kind, namespace, name).Set(float64(readers))
}

// ForgetReaders ends the series of a credential that restarts nothing any more.
func (m *Metrics) ForgetReaders(kind, namespace, name string) {
	m.stale.DeleteLabelValues(kind, namespace, name)
}
