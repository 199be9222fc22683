// Package telemetry writes events, metrics and traces.
package telemetry

import (
	"errors"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/controllers/reason"
)

// Actions of events: what the operator did (the Kubernetes API's Event, field action).
const (
	ActionIssue   = "Issue"
	ActionVerify  = "Verify"
	ActionRestart = "Restart"
)

// Events writes an event for a change of what a user reads in the status.
type Events struct {
	Recorder events.EventRecorder
	bounds   *eventBounds // nil for none
}

// NewEvents returns bounded Events. LimitHit is called with [LimitObjectEvents] or [LimitNamespaceEvents] for an event that is dropped.
func NewEvents(recorder events.EventRecorder, c clock.PassiveClock, limitHit func(limit string)) Events {
	b := &eventBounds{clock: c, limitHit: limitHit, byObject: lru.New(4096), byNamespace: lru.New(1024)}
	b.normal = b.newBucket(1, 25)
	return Events{recorder, b}
}

// eventBounds bounds events. The client keeps each in memory for 6 to 12 minutes, and the API server for an hour.
//
// An object may have 10 events at once, and one a minute. A namespace may have 100 at once, and one a second: about 800 are in memory,
// which take 2 MB. Of normal states, all objects together may have 25 at once, and one a second: where thousands of credentials are issued,
// no user reads as many events. The bounds forget the objects and namespaces without an event for longest, of which they hold a MB.
type eventBounds struct {
	clock                 clock.PassiveClock
	limitHit              func(limit string)
	mu                    sync.Mutex
	byObject, byNamespace *lru.Cache
	normal                flowcontrol.PassiveRateLimiter
}

func (b *eventBounds) allow(object client.Object, eventType string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.bucket(b.byObject, string(object.GetUID()), 1./60, 10).TryAccept():
		b.limitHit(LimitObjectEvents)
	case !b.bucket(b.byNamespace, object.GetNamespace(), 1, 100).TryAccept():
		b.limitHit(LimitNamespaceEvents)
	default:
		return eventType != corev1.EventTypeNormal || b.normal.TryAccept()
	}
	return false
}

func (b *eventBounds) newBucket(perSecond float32, burst int) flowcontrol.PassiveRateLimiter {
	return flowcontrol.NewTokenBucketPassiveRateLimiterWithClock(perSecond, burst, b.clock)
}

func (b *eventBounds) bucket(buckets *lru.Cache, key string, perSecond float32, burst int) flowcontrol.PassiveRateLimiter {
	if found, ok := buckets.Get(key); ok {
		return found.(flowcontrol.PassiveRateLimiter)
	}
	created := b.newBucket(perSecond, burst)
	buckets.Add(key, created)
	return created
}

// Changed reports that an object reached a normal state.
func (e Events) Changed(object client.Object, action, reason, message string) {
	e.write(object, corev1.EventTypeNormal, action, reason, message)
}

// Failed reports a failure. The event holds the error's own text, which no condition does, unless another namespace could read it there:
// Kubernetes stores the events of cluster-scoped objects in the namespace default, and the source of a credential's identity may be the
// operator's own.
func (e Events) Failed(object client.Object, action, code, message string, f *reason.Error) {
	if f != nil && f.Cause != nil {
		_, ofSource := errors.AsType[*reason.SourceError](f.Cause)
		if object.GetNamespace() != "" && (action == ActionVerify || !ofSource) {
			message += " (" + f.Cause.Error() + ")"
		}
	}
	e.write(object, corev1.EventTypeWarning, action, code, message)
}

// noteLength is the longest note of an event that the API server accepts, in bytes (events.k8s.io/v1, field note).
const noteLength = 1024

func (e Events) write(object client.Object, eventType, action, code, note string) {
	if e.bounds != nil && !e.bounds.allow(object, eventType) {
		return
	}
	if len(note) > noteLength {
		note = reason.Cut(note, noteLength-len("…"))
	}
	// Events that are equal become one series. They are not equal if they name a version of the object.
	regarding, _ := object.DeepCopyObject().(client.Object)
	regarding.SetResourceVersion("")
	e.Recorder.Eventf(regarding, nil, eventType, code, action, "%s", note)
}
