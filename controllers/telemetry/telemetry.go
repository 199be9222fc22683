// Package telemetry tells people and machines what happened: events and metrics.
package telemetry

import (
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
