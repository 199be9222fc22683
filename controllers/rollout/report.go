package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
)

// FieldManager is the operator's field manager for workloads. It owns the annotation, and spec.restartAt of an Argo
// Rollout.
const FieldManager = "rolecredential-rollout"

// Report returns ConditionRolledOut for a Secret's readers. It is the same for the same state. Problems that need an action come before
// restarts in progress.
func Report(now time.Time, secret string, readers []Reader) metav1.Condition {
	of := func(is func(Reader) bool, say func(Reader) string) string {
		var said []string
		for _, r := range readers {
			if is(r) {
				said = append(said, say(r))
			}
		}
		return list(said)
	}
	state := func(s State) func(Reader) bool { return func(r Reader) bool { return r.State == s } }
	name := func(r Reader) string { return r.String() }
	notRolledOut := func(reason, format string, args ...any) metav1.Condition {
		return rolledOut(metav1.ConditionFalse, reason, fmt.Sprintf(format, args...))
	}
	if names := of(state(Denied), name); names != "" {
		return notRolledOut(v1alpha1.ReasonForbidden, "The operator may not restart %s. %s", names, permissions)
	}
	if names := of(state(Contended), name); names != "" {
		return notRolledOut(v1alpha1.ReasonContended, "Another writer keeps undoing the restart of %s, so the operator does not restart these again before the next refresh. It removes the "+
			"annotation %s, or changes spec.restartAt of a Rollout. Find the writer (kubectl get --show-managed-fields), and configure it to ignore these fields. In Argo CD, set "+
			"managedFieldsManagers: [%s] in the Application's ignoreDifferences, and RespectIgnoreDifferences=true in its syncOptions.",
			names, v1alpha1.CredentialsAnnotation, FieldManager)
	}
	if names := of(func(r Reader) bool { return r.State == Blocked || r.late(now) }, func(r Reader) string { return r.describe(now) }); names != "" {
		return notRolledOut(v1alpha1.ReasonPodsOutdated, "Pods use a previous credential of Secret %s, and fail after it expires: %s. Resume or restart these workloads manually.", secret, names)
	}
	if names := of(state(Missing), name); names != "" {
		return notRolledOut(v1alpha1.ReasonTargetNotFound, "spec.rollout.targets contains workloads that do not exist in this namespace: %s. Create them, or remove them from targets.", names)
	}
	if slices.ContainsFunc(readers, func(r Reader) bool { return r.State != Fresh }) {
		return notRolledOut(v1alpha1.ReasonRestarting, "The operator restarts the workloads whose pods use a previous credential of Secret %s, a few at a time, before it expires.", secret)
	}
	return rolledOut(metav1.ConditionTrue, v1alpha1.ReasonRolledOut, fmt.Sprintf("All running pods use the current credential of Secret %s.", secret))
}

func rolledOut(status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: v1alpha1.ConditionRolledOut, Status: status, Reason: reason, Message: message}
}

// permissions explains how to grant the operator access.
const permissions = "Bind ClusterRole rolecredential-rollout-role: Helm value rbac.rollout=true, or the Kustomize component rollout. Or remove spec.rollout. See the event for the error."

// Undiscovered returns ConditionRolledOut if the operator may not read the workloads and pods, or reads no more of them
// because they are too large.
func Undiscovered(tooLarge bool) metav1.Condition {
	if tooLarge {
		return rolledOut(metav1.ConditionFalse, v1alpha1.ReasonDiscoveryTooLarge, fmt.Sprintf("The pods that the operator must read to find workloads exceed %d MiB, so no workload is "+
			"restarted. Name the workloads in spec.rollout.targets, and remove spec.rollout.discover. The pods of the targets must not exceed this size either.", maxBytes>>20))
	}
	return rolledOut(metav1.ConditionFalse, v1alpha1.ReasonForbidden, "The operator may not read the workloads and pods of this namespace. "+permissions)
}

// NoRollout returns ConditionRolledOut for a credential that is not authorized, or whose Secret holds no usable credential,
// with the reason of the condition that reports why.
func NoRollout(reason string) metav1.Condition {
	condition := v1alpha1.ConditionAuthorized
	if reason == v1alpha1.ReasonNotIssued || reason == v1alpha1.ReasonExpired {
		condition = v1alpha1.ConditionReady
	}
	return rolledOut(metav1.ConditionUnknown, reason, fmt.Sprintf("No workload is restarted. See the condition %s.", condition))
}

// late reports whether its pods' credential expired before the restart was complete.
func (r Reader) late(now time.Time) bool {
	return (r.State == Outdated || r.State == Updating) && !r.Expires.IsZero() && !r.Expires.After(now)
}

// Stuck reports whether its pods use a previous credential and were not restarted in time, or will not be.
func (r Reader) Stuck(now time.Time) bool {
	return r.State == Blocked || r.State == Denied || r.State == Contended || r.late(now)
}

func (r Reader) describe(now time.Time) string {
	if r.late(now) {
		return r.String() + " was not restarted in time"
	}
	return r.String() + " " + r.Problem
}

// maxNames is the maximum number of names in a message.
const maxNames = 10

// list joins sorted items, so that the message is stable.
func list(said []string) string {
	slices.Sort(said)
	if more := len(said) - maxNames; more > 0 {
		said = append(said[:maxNames:maxNames], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(said, ", ")
}
