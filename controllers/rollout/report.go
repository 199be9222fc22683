package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
)

// FieldManager is the operator's name in the managedFields of workloads. It owns the annotation, and spec.restartAt of a Rollout.
const FieldManager = "rolecredential-rollout"

// Verdict is what there is to say of a credential's readers, in words that stay the same for as long as it does.
type Verdict struct {
	Status          metav1.ConditionStatus
	Reason, Message string
}

// Report says how far a Secret's readers are: what somebody has to see to before what takes its course.
func Report(now time.Time, secret string, readers []Reader) Verdict {
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
	problem := func(reason, format string, args ...any) Verdict {
		return Verdict{metav1.ConditionFalse, reason, fmt.Sprintf(format, args...)}
	}
	if names := of(state(Refused), name); names != "" {
		return problem(v1alpha1.ReasonForbidden, "The API server refuses the operator the restart of %s. %s", names, permissions)
	}
	if names := of(state(Contended), name); names != "" {
		return problem(v1alpha1.ReasonContended, "Something keeps undoing the restart of %s, so that the operator leaves these alone until the next refresh: it removes the "+
			"annotation %s, or changes spec.restartAt of a Rollout. Find it (kubectl get --show-managed-fields), and have it leave these fields: in Argo CD, put "+
			"managedFieldsManagers: [%s] into the Application's ignoreDifferences, and RespectIgnoreDifferences=true into its syncOptions.",
			names, v1alpha1.CredentialsAnnotation, FieldManager)
	}
	if names := of(func(r Reader) bool { return r.State == Held || r.late(now) }, func(r Reader) string { return r.why(now) }); names != "" {
		return problem(v1alpha1.ReasonPodsOutdated, "Pods hold an earlier credential than Secret %s does, and fail once it expires: %s. Resume these, or restart them by hand.", secret, names)
	}
	if names := of(state(Missing), name); names != "" {
		return problem(v1alpha1.ReasonTargetNotFound, "spec.rollout.targets names what does not exist in this namespace: %s. Create it, or take it out.", names)
	}
	if slices.ContainsFunc(readers, func(r Reader) bool { return r.State != Fresh }) {
		return problem(v1alpha1.ReasonRestarting, "Workloads whose pods hold an earlier credential than Secret %s does are restarted, a few at a time, before it expires.", secret)
	}
	return Verdict{metav1.ConditionTrue, v1alpha1.ReasonRolledOut, fmt.Sprintf("No running pod holds an earlier credential than Secret %s does.", secret)}
}

// permissions says what to do where the operator may not.
const permissions = "Apply config/rbac/rollout_role.yaml and its binding, which let it restart workloads, or take spec.rollout out; the event holds the error."

// Forbidden is the verdict where the operator may not even look.
func Forbidden() Verdict {
	return Verdict{metav1.ConditionFalse, v1alpha1.ReasonForbidden, "The API server refuses the operator the workloads and pods of this namespace. " + permissions}
}

// late tells whether its pods' credential has expired while it was waiting or being restarted.
func (r Reader) late(now time.Time) bool {
	return (r.State == Outdated || r.State == Updating) && !r.Expires.IsZero() && !r.Expires.After(now)
}

// Stuck tells whether pods of it hold an earlier credential and will not be restarted, or were not in time.
func (r Reader) Stuck(now time.Time) bool {
	return r.State == Held || r.State == Refused || r.State == Contended || r.late(now)
}

func (r Reader) why(now time.Time) string {
	if r.late(now) {
		return r.String() + " has not been restarted in time"
	}
	return r.String() + " " + r.Why
}

// mostNames is how many names a message holds.
const mostNames = 10

// list joins what is said, the same text for the same in any order.
func list(said []string) string {
	slices.Sort(said)
	if more := len(said) - mostNames; more > 0 {
		said = append(said[:mostNames:mostNames], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(said, ", ")
}
