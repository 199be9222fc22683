// Package advice says what to do about each reason of the API: in the cluster, and in AWS. It is pure.
package advice

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/rules"
)

// Situation is what is known when advice is asked for.
type Situation struct {
	// Condition is the one that is not as it should be.
	Condition metav1.Condition
	// Credential is nil if the condition is an identity's.
	Credential *cluster.Credential
	// Identity is nil if it could not be read, or does not exist; Ref names it either way.
	Identity *cluster.Identity
	Ref      cluster.IdentityRef
	// Verdict of the identity's rules on the credential; nil if either is not known.
	Verdict *rules.Verdict
}

// Explanation is why something is as it is, and what to do about it.
type Explanation struct {
	Subject   string                 `json:"subject"`
	Condition string                 `json:"condition"`
	Status    metav1.ConditionStatus `json:"status"`
	Reason    string                 `json:"reason"`
	Message   string                 `json:"message,omitempty"`
	// Means is what the reason stands for.
	Means string `json:"means"`
	// Here is what to do in the cluster, and AWS what to do there; nothing where there is nothing to do.
	Here []Step `json:"here,omitempty"`
	AWS  []Step `json:"aws,omitempty"`
}

// Step is one thing to do.
type Step struct {
	Do string `json:"do"`
	// Copy is what to copy for it: commands, or a document.
	Copy string `json:"copy,omitempty"`
}

// answer is what the catalogue says to a reason.
type answer struct {
	means     string
	here, aws []Step
}

// Explain explains a condition by its reason. A reason of a later version of the operator is explained by the condition's own
// message, which says what to do as well.
func Explain(s Situation) Explanation {
	explanation := Explanation{
		Subject: s.subject(), Condition: s.Condition.Type, Status: s.Condition.Status, Reason: s.Condition.Reason, Message: s.Condition.Message,
		Means: "This version of the plugin does not know the reason. The operator's message above says what is wrong and what to do.",
	}
	if s.Condition.Reason == "" {
		explanation.Means = "The operator has not looked at it yet, which it does within a second or two."
		explanation.Here = []Step{{Do: "See whether the operator runs.", Copy: operatorRuns}}
	}
	if answers, known := catalogue[s.Condition.Reason]; known {
		a := answers(s)
		explanation.Means, explanation.Here, explanation.AWS = a.means, a.here, a.aws
	}
	return explanation
}

// failedCall is the STS call that failed, nil if there was none.
func (s Situation) failedCall() *v1alpha1.FailedCall {
	switch {
	case s.Credential != nil:
		return s.Credential.Report().FailedCall
	case s.Identity != nil:
		return s.Identity.FailedCall
	default:
		return nil
	}
}

func (s Situation) subject() string {
	if s.Credential == nil {
		return s.Ref.Path()
	}
	return s.Credential.String()
}

// steps of the way, in which the first that went wrong is the one to mend.
var way = []string{v1alpha1.ConditionAuthorized, v1alpha1.ConditionIssued, v1alpha1.ConditionReady}

// pointers are reasons that only point to another condition.
var pointers = []string{v1alpha1.ReasonNotAttempted, v1alpha1.ReasonNotIssued, v1alpha1.ReasonExpired, v1alpha1.ReasonOutdated}

// Pick returns the condition to mend: the first on the way that is not True, but one that only points to another if there is no
// other. It is false if all are True.
func Pick(conditions []metav1.Condition) (metav1.Condition, bool) {
	sorted := slices.Clone(conditions)
	slices.SortStableFunc(sorted, func(a, b metav1.Condition) int { return place(a.Type) - place(b.Type) })
	var pointing *metav1.Condition
	for i, c := range sorted {
		if c.Status == metav1.ConditionTrue || c.Reason == v1alpha1.ReasonRestarting { // which takes its course
			continue
		}
		if !slices.Contains(pointers, c.Reason) {
			return c, true
		}
		if pointing == nil {
			pointing = &sorted[i]
		}
	}
	if pointing != nil {
		return *pointing, true
	}
	if ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); ready != nil {
		return *ready, false
	}
	return metav1.Condition{}, false
}

// Arrived tells whether a credential came all the way. An identity has no way: it is there when it is Ready.
func Arrived(conditions []metav1.Condition) bool {
	return meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) &&
		!slices.ContainsFunc(conditions, func(c metav1.Condition) bool { return slices.Contains(way, c.Type) && c.Status != metav1.ConditionTrue })
}

// place is a condition's on the way; those that are not on it come last.
func place(conditionType string) int {
	if i := slices.Index(way, conditionType); i >= 0 {
		return i
	}
	return len(way)
}
