// Package telemetry tells people and machines what happened: events and metrics.
package telemetry

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/controllers/reason"
)

// What an event says was done (the Kubernetes API's Event, field action).
const (
	ActionIssue   = "Issue"
	ActionVerify  = "Verify"
	ActionRestart = "Restart"
)

// Events are written once for each change of what a user reads in the status.
type Events struct {
	Recorder events.EventRecorder
	// good bounds those of good states, nil for no bound.
	good flowcontrol.PassiveRateLimiter
}

// Bounds of events of good states. Where thousands of credentials are issued at once nobody reads as many events, each of which
// would cost the API server as much as a Secret; their statuses tell the same.
const (
	goodPerSecond = 1
	goodAtOnce    = 25
)

// NewEvents returns Events of which there are no more than so many of good states.
func NewEvents(recorder events.EventRecorder, now clock.PassiveClock) Events {
	return Events{Recorder: recorder, good: flowcontrol.NewTokenBucketPassiveRateLimiterWithClock(goodPerSecond, goodAtOnce, now)}
}

// noteLength is what the API server bears for an event's note, in bytes (events.k8s.io/v1, field note).
const noteLength = 1024

// Changed says that an object came to a good state.
func (e Events) Changed(object client.Object, action, reason, message string) {
	if e.good == nil || e.good.TryAccept() {
		e.write(object, corev1.EventTypeNormal, action, reason, message)
	}
}

// Failed says that an object came to a bad state, with the cause in its own words, which no condition holds.
func (e Events) Failed(object client.Object, action, code, message string, f *reason.Error) {
	if f != nil && f.Cause != nil {
		message += " (" + f.Cause.Error() + ")"
	}
	e.write(object, corev1.EventTypeWarning, action, code, message)
}

func (e Events) write(object client.Object, eventType, action, code, note string) {
	if len(note) > noteLength {
		note = reason.Cut(note, noteLength-len("…"))
	}
	e.Recorder.Eventf(object, nil, eventType, code, action, "%s", note)
}
