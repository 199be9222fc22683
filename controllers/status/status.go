// Package status writes the statuses of credentials and identities, and events for their changes.
package status

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/telemetry"
)

// maxMessage bounds a message that quotes a spec, in bytes. The API server accepts 32768 characters.
const maxMessage = 2048

// Condition returns a condition, with a message of at most maxMessage bytes.
func Condition(conditionType string, state metav1.ConditionStatus, code, format string, args ...any) metav1.Condition {
	return metav1.Condition{Type: conditionType, Status: state, Reason: code, Message: reason.Cut(fmt.Sprintf(format, args...), maxMessage)}
}

// False returns the condition of a failure.
func False(f *reason.Error) metav1.Condition {
	return Condition(f.Condition, metav1.ConditionFalse, f.Reason, "%s", f.Message)
}

// Merge returns the old conditions with the current ones. The transition time changes only with the status.
func Merge(old, current []metav1.Condition, generation int64, now time.Time) []metav1.Condition {
	updated := slices.Clone(old)
	for _, c := range current {
		c.ObservedGeneration, c.LastTransitionTime = generation, metav1.NewTime(now.Truncate(time.Second))
		meta.SetStatusCondition(&updated, c)
	}
	return updated
}

// Write writes an object's status. It returns false, with no error, if the object was deleted meanwhile. An update costs the API server
// less than a patch, and fails with a conflict if the object was read from a cache that is behind the operator's own last write.
func Write(ctx context.Context, writer client.Client, object client.Object) (bool, error) {
	if err := writer.Status().Update(ctx, object); err != nil {
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return false, fmt.Errorf("writing the status: %w", err)
	}
	return true, nil
}

// statusAttempts bounds the writes of one status when other writers change it.
const statusAttempts = 3

// Update changes the status of a credential, and writes it if it differs. It returns the credential as it was before. Two reconcilers
// write a credential's status, each its own conditions: after a conflict, the change is made to the status that the other one wrote.
//
// Only the status and the resource version of object change. If the spec was edited meanwhile, the status reports on the older generation,
// and the edit has enqueued another reconcile. Update does not change a status that reports on a newer generation, or that of a
// credential that was deleted and created again.
func Update[T request.Object](ctx context.Context, c client.Client, object T, change func(*v1alpha1.CredentialStatus)) (before T, written bool, err error) {
	for attempt := 1; ; attempt++ {
		before = copyOf(object)
		change(object.Report())
		if apiequality.Semantic.DeepEqual(before.Report(), object.Report()) {
			return before, false, nil
		}
		stored := copyOf(object) // the API server's answer has the present spec
		written, err = Write(ctx, c, stored)
		if !apierrors.IsConflict(err) || attempt == statusAttempts {
			object.SetResourceVersion(stored.GetResourceVersion())
			return before, written, err
		}
		current, _ := reflect.TypeAssert[T](reflect.New(reflect.TypeOf(object).Elem()))
		if err = c.Get(ctx, client.ObjectKeyFromObject(object), current); err != nil {
			return before, false, client.IgnoreNotFound(err)
		}
		if current.GetUID() != object.GetUID() || current.Report().ObservedGeneration > object.GetGeneration() {
			return before, false, nil
		}
		object.SetResourceVersion(current.GetResourceVersion())
		*object.Report() = *current.Report()
	}
}

func copyOf[T request.Object](object T) T {
	copied, _ := object.DeepCopyObject().(T)
	return copied
}

// Announce writes at most one event for a change of conditions: for the first that became False, or else for the last that became True.
// A refresh that changes only times has no event.
func Announce(events telemetry.Events, object client.Object, action string, old, current []metav1.Condition, cause func(conditionType string) *reason.Error) {
	var normal *metav1.Condition
	for i, c := range current {
		before := meta.FindStatusCondition(old, c.Type)
		if before != nil && before.Status == c.Status && before.Reason == c.Reason {
			continue
		}
		if c.Status == metav1.ConditionFalse {
			events.Failed(object, action, c.Reason, c.Message, cause(c.Type))
			return
		}
		normal = &current[i]
	}
	if normal != nil && normal.Status == metav1.ConditionTrue {
		events.Changed(object, action, normal.Reason, normal.Message)
	}
}
