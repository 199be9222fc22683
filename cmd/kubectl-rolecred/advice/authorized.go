package advice

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/rules"
	"rolecredential.dev/operator/controllers/authz"
)

func identityNotFound(s Situation) guidance {
	return guidance{
		means: fmt.Sprintf("spec.identityRef names the %s, which does not exist.", s.Ref),
		cluster: []Step{
			{Do: "List the identities.", Copy: lines(kubectl("get", "clusteridentities"), kubectl("get", "identities", "-n", s.namespace()))},
			s.otherIdentity(" from that list"),
			s.create(),
		},
	}
}

func (s Situation) create() Step {
	if s.Ref.Kind != v1alpha1.IdentityKindClusterIdentity {
		return Step{Do: fmt.Sprintf("Or create the %s in this namespace, with a source of the namespace.", s.Ref)}
	}
	return Step{Do: fmt.Sprintf("Or create the %s with a source and this rule in spec.allow:", s.Ref), Copy: s.rule()}
}

func identityNotReady(s Situation) guidance {
	a := guidance{means: fmt.Sprintf("%s is not Ready, so the operator makes no STS calls with it.", s.Ref)}
	if s.Identity == nil {
		a.cluster = []Step{{Do: "Ask the owner of the identity to fix it. Its condition Ready says what is wrong.", Copy: kubectl(append([]string{"describe"}, s.Ref.Args()...)...)}}
		return a
	}
	condition, wrong := ConditionToFix(s.Identity.Conditions)
	if !wrong {
		a.cluster = []Step{{Do: "The identity is Ready now, so the operator reconciles the credential soon. If nothing changes, check that the operator runs.", Copy: operatorRuns}}
		return a
	}
	cause := Explain(Situation{Condition: condition, Identity: s.Identity, Ref: s.Ref})
	a.means += fmt.Sprintf(" Its condition %s is %s, %s: %s", cause.Condition, cause.Status, cause.Reason, cause.Means)
	a.cluster, a.aws = cause.Cluster, cause.AWS
	return a
}

// closestRule returns the index of the rule that mismatches the request in the fewest parts, and these parts. The index is -1 if
// there is no rule or the rules are not known. Rules that match the namespace come before all others.
func (s Situation) closestRule() (parts []string, rule int) {
	rule = -1
	if s.Verdict == nil {
		return nil, rule
	}
	distance := func(mismatches []string) int {
		if slices.Contains(mismatches, rules.Namespace) {
			return len(mismatches) + 10
		}
		return len(mismatches)
	}
	for i, mismatches := range s.Verdict.Mismatches {
		if rule < 0 || distance(mismatches) < distance(parts) {
			parts, rule = mismatches, i
		}
	}
	return parts, rule
}

func notAllowed(s Situation) guidance {
	a := guidance{means: fmt.Sprintf("No rule of %s allows the request. The operator did not call STS.", s.Ref)}
	if s.Credential == nil {
		return a
	}
	if s.Identity != nil && slices.Contains(s.Identity.Roles(), s.Credential.Request.RoleARN) {
		a.means = fmt.Sprintf("The role is already a hop in the chain of %s and cannot be assumed again. The operator did not call STS.", s.Ref)
		a.cluster = []Step{{Do: "Use an identity whose chain does not contain the role.", Copy: s.patch(`{"identityRef":{"name":"NAME"}}`)}}
		return a
	}
	parts, rule := s.closestRule()
	if slices.Equal(parts, []string{rules.SessionName}) {
		field := strings.TrimPrefix(s.Credential.Kind.NameField, "spec.")
		a.cluster = append(a.cluster, Step{
			Do:   fmt.Sprintf("Remove %s. The default, %s, is always allowed.", s.Credential.Kind.NameField, s.Credential.DefaultSessionName()),
			Copy: s.patch(fmt.Sprintf(`{%q:null}`, field)),
		}, Step{
			Do:   fmt.Sprintf("Or ask the owner of the identity to add %s to sessionNames of spec.allow[%d].", s.Credential.Request.SessionName, rule),
			Copy: s.editIdentity(),
		})
		return a
	}
	if len(parts) > 0 {
		a.means += fmt.Sprintf(" The closest rule is spec.allow[%d]. It does not match: %s.", rule, strings.Join(parts, ", "))
	}
	a.cluster = []Step{
		s.addRule(),
		s.otherIdentity(" that allows it"),
	}
	return a
}

func (s Situation) addRule() Step {
	return Step{Do: fmt.Sprintf("Ask the owner of the identity to add this rule to its spec.allow (%s):", s.editIdentity()), Copy: s.rule()}
}

// rule returns, as YAML, the narrowest rule that allows the credential.
func (s Situation) rule() string {
	if s.Credential == nil {
		return ""
	}
	request := s.Credential.Request
	call := request.Call
	if s.Identity != nil {
		call = authz.CallToAuthorize(s.Identity.Call(call))
	}
	rule := v1alpha1.AllowRule{Namespaces: []string{s.Credential.GetNamespace()}}
	if request.RoleARN != "" {
		rule.RoleARNs = []string{request.RoleARN}
	}
	if call != v1alpha1.CallAssumeRole {
		rule.Calls = []v1alpha1.Call{call}
	}
	if request.SessionName != s.Credential.DefaultSessionName() {
		rule.SessionNames = []string{request.SessionName}
	}
	text, err := yaml.Marshal([]v1alpha1.AllowRule{rule})
	if err != nil {
		panic(err) // a rule holds strings only
	}
	return strings.TrimSpace(string(text))
}

func durationNotAllowed(s Situation) guidance {
	a := guidance{means: fmt.Sprintf("A rule of %s allows the request, but not its duration. The operator did not call STS. The condition's message names the maximum.", s.Ref)}
	if s.Credential == nil {
		return a
	}
	longest, chained := s.longest()
	value := "1h"
	if longest > 0 {
		value = rules.Duration(longest)
	}
	a.cluster = []Step{{Do: fmt.Sprintf("Reduce spec.duration to the maximum. It is %s now.", rules.Duration(s.Credential.Request.Duration)), Copy: s.patch(fmt.Sprintf(`{"duration":%q}`, value))}}
	if chained {
		a.means = fmt.Sprintf("%s reaches the role by role chaining, which AWS limits to 1h, whatever the role's MaxSessionDuration. The operator did not call STS.", s.Ref)
		a.cluster = append(a.cluster, s.otherIdentity(" that has no chain"))
		return a
	}
	a.cluster = append(a.cluster, Step{Do: "Or ask the owner of the identity to raise maxDuration of the rule.", Copy: s.editIdentity()})
	return a
}

// longest returns the longest duration among the rules that match in all other parts, zero if it is not known. It also reports
// whether role chaining is the limit.
func (s Situation) longest() (longest time.Duration, chained bool) {
	if s.Identity == nil || s.Verdict == nil {
		return 0, false
	}
	if s.Verdict.Rule >= 0 {
		return time.Hour, true // a rule matches, so the chain is why it is denied
	}
	for i, mismatches := range s.Verdict.Mismatches {
		if slices.Equal(mismatches, []string{rules.MaxDuration}) {
			longest = max(longest, s.Identity.Rules[i].MaxDuration.Duration)
		}
	}
	return longest, false
}

// SuggestAllowed returns the credential with a spec that its identity allows. If no change of the spec is enough, it also returns the
// steps that are needed first.
func SuggestAllowed(s Situation) (cluster.Credential, []Step) {
	fields := s.Credential.RequestFields()
	bound := func(longest time.Duration) {
		if fields.Duration.Duration > longest {
			fields.Duration = &metav1.Duration{Duration: longest}
		}
	}
	chained := len(s.Identity.Chain) > 0 && fields.RoleARN != ""
	if chained {
		bound(time.Hour)
	}
	for i, mismatches := range s.Verdict.Mismatches {
		if slices.ContainsFunc(mismatches, func(part string) bool { return part != rules.SessionName && part != rules.MaxDuration }) {
			continue
		}
		if slices.Contains(mismatches, rules.SessionName) {
			fields.SessionName = ""
		}
		if slices.Contains(mismatches, rules.MaxDuration) {
			bound(s.Identity.Rules[i].MaxDuration.Duration)
		}
		if !slices.Contains(s.Identity.Roles(), fields.RoleARN) {
			return s.Credential.WithRequestFields(fields), nil
		}
	}
	if slices.Contains(s.Identity.Roles(), fields.RoleARN) {
		return s.Credential.WithRequestFields(fields), []Step{{Do: fmt.Sprintf("Use an identity whose chain does not contain the role. It is a hop in the chain of %s.", s.Ref)}}
	}
	return s.Credential.WithRequestFields(fields), []Step{s.addRule()}
}
