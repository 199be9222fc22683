// Package advice explains each condition reason of the API and lists what to do, in the cluster and in AWS. It is pure.
package advice

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/iam"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/rules"
)

// Situation is the input of an explanation.
type Situation struct {
	// Condition is the condition to explain.
	Condition metav1.Condition
	// Credential is nil if the condition is an identity's.
	Credential *cluster.Credential
	// Identity is nil if it does not exist or cannot be read. Ref is set in both cases.
	Identity *cluster.Identity
	Ref      cluster.IdentityRef
	// Verdict of the identity's rules on the credential, nil if either is not known.
	Verdict *rules.Verdict
	// CommonName of the certificate of the source x509, empty if it is not known.
	CommonName string
}

// Explanation says what a condition means and what to do.
type Explanation struct {
	Subject   string                 `json:"subject"`
	Condition string                 `json:"condition"`
	Status    metav1.ConditionStatus `json:"status"`
	Reason    string                 `json:"reason"`
	Message   string                 `json:"message,omitempty"`
	// Means explains the reason.
	Means string `json:"means"`
	// Cluster lists the steps in the cluster, AWS those in AWS. Both are empty if nothing is wrong, except that AWS always shows the
	// policies of an identity with the source x509.
	Cluster []Step `json:"here,omitempty"`
	AWS     []Step `json:"aws,omitempty"`
}

// Step is one instruction.
type Step struct {
	Do string `json:"do"`
	// Copy holds the commands or the document of the step.
	Copy string `json:"copy,omitempty"`
	// Grant is the policy or profile in Copy, nil if there is none.
	Grant *iam.Grant `json:"-"`
}

// guidance is what the catalogue has for a reason.
type guidance struct {
	means        string
	cluster, aws []Step
}

// Explain explains a condition by its reason. A reason of a newer operator version is not in the catalogue; the condition's message
// says what to do then.
func Explain(s Situation) Explanation {
	explanation := Explanation{
		Subject: s.subject(), Condition: s.Condition.Type, Status: s.Condition.Status, Reason: s.Condition.Reason, Message: s.Condition.Message,
		Means: "This version of the plugin does not know the reason. The operator's message says what is wrong and what to do.",
	}
	if s.Condition.Reason == "" {
		explanation.Means = "The operator has not reconciled it yet. This normally takes a second or two."
		explanation.Cluster = []Step{{Do: "Check that the operator runs.", Copy: operatorRuns}}
	}
	if entry, known := catalogue[s.Condition.Reason]; known {
		a := entry(s)
		explanation.Means, explanation.Cluster, explanation.AWS = a.means, a.cluster, a.aws
	}
	if s.Credential == nil && s.usesCertificate() && len(explanation.Grants()) == 0 {
		explanation.AWS = append(explanation.AWS, s.certificateSteps()...)
	}
	return explanation
}

// Grants returns the policies and profiles of the steps.
func (e Explanation) Grants() (grants []*iam.Grant) {
	for _, step := range e.AWS {
		if step.Grant != nil {
			grants = append(grants, step.Grant)
		}
	}
	return grants
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

// order lists the conditions of the steps of a reconcile. The first that is not True is the cause of those after it.
var order = []string{v1alpha1.ConditionAuthorized, v1alpha1.ConditionIssued, v1alpha1.ConditionReady}

// derivedReasons are reasons that only refer to another condition.
var derivedReasons = []string{v1alpha1.ReasonNotAttempted, v1alpha1.ReasonNotIssued, v1alpha1.ReasonExpired, v1alpha1.ReasonOutdated}

// ConditionToFix returns the first condition in [order] that is not True. It prefers conditions that do not just refer to another
// one. It returns the condition Ready and false if nothing is wrong.
func ConditionToFix(conditions []metav1.Condition) (metav1.Condition, bool) {
	sorted := slices.Clone(conditions)
	slices.SortStableFunc(sorted, func(a, b metav1.Condition) int { return position(a.Type) - position(b.Type) })
	var derived *metav1.Condition
	for i, c := range sorted {
		if c.Status == metav1.ConditionTrue || c.Reason == v1alpha1.ReasonRestarting { // a rollout in progress needs no fix
			continue
		}
		if !slices.Contains(derivedReasons, c.Reason) {
			return c, true
		}
		if derived == nil {
			derived = &sorted[i]
		}
	}
	if derived != nil {
		return *derived, true
	}
	if ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); ready != nil {
		return *ready, false
	}
	return metav1.Condition{}, false
}

// Healthy reports whether a credential is Ready and nothing prevents its refresh, or whether an identity is Ready.
func Healthy(conditions []metav1.Condition) bool {
	return meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) &&
		!slices.ContainsFunc(conditions, func(c metav1.Condition) bool {
			return slices.Contains(order, c.Type) && c.Status != metav1.ConditionTrue
		})
}

// position returns the index of a condition in [order]. All other conditions come last.
func position(conditionType string) int {
	if i := slices.Index(order, conditionType); i >= 0 {
		return i
	}
	return len(order)
}
