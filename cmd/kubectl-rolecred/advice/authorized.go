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
)

func identityNotFound(s Situation) answer {
	return answer{
		means: fmt.Sprintf("spec.identityRef names the %s, which does not exist.", s.Ref),
		here: []Step{
			{Do: "See which identities there are.", Copy: lines(kubectl("get", "clusteridentities"), kubectl("get", "identities", "-n", s.namespace()))},
			s.otherIdentity(", one of those"),
			s.create(),
		},
	}
}

func (s Situation) create() Step {
	if s.Ref.Kind != v1alpha1.IdentityKindClusterIdentity {
		return Step{Do: fmt.Sprintf("Or create the %s in this namespace, with a source: an access key or the service accounts of the namespace.", s.Ref)}
	}
	return Step{Do: fmt.Sprintf("Or create the %s. A new one needs a source, and a rule in allow:", s.Ref), Copy: s.rule()}
}

func identityNotReady(s Situation) answer {
	a := answer{means: fmt.Sprintf("The configuration of %s cannot work, so that nothing can be asked for as it.", s.Ref)}
	if s.Identity == nil {
		a.here = []Step{{Do: "Have those who own the identity mend it: its condition Ready says what of it.", Copy: kubectl(append([]string{"describe"}, s.Ref.Args()...)...)}}
		return a
	}
	condition, wrong := Pick(s.Identity.Conditions)
	if !wrong {
		a.here = []Step{{Do: "The identity is Ready by now. The operator looks at the credential again by itself; if it does not, see whether it runs.", Copy: operatorRuns}}
		return a
	}
	cause := Explain(Situation{Condition: condition, Identity: s.Identity, Ref: s.Ref})
	a.means += fmt.Sprintf(" Its condition %s is %s, %s: %s", cause.Condition, cause.Status, cause.Reason, cause.Means)
	a.here, a.aws = cause.Here, cause.AWS
	return a
}

// nearest returns what does not fit of the rule that comes nearest to the request, and that rule's index; nothing if rules are not
// known. One for the namespace is nearer than one for another.
func (s Situation) nearest() (parts []string, rule int) {
	rule = -1
	if s.Verdict == nil {
		return nil, rule
	}
	far := func(missed []string) int {
		if slices.Contains(missed, rules.Namespace) {
			return len(missed) + 10
		}
		return len(missed)
	}
	for i, missed := range s.Verdict.Missed {
		if rule < 0 || far(missed) < far(parts) {
			parts, rule = missed, i
		}
	}
	return parts, rule
}

func notAllowed(s Situation) answer {
	a := answer{means: fmt.Sprintf("Nothing is allowed that no rule of %s allows. STS was not asked.", s.Ref)}
	if s.Credential == nil {
		return a
	}
	if s.Identity != nil && slices.Contains(s.Identity.Roles(), s.Credential.Request.RoleARN) {
		a.means = fmt.Sprintf("The role is itself a hop in the chain of %s, which would come to it twice. STS was not asked.", s.Ref)
		a.here = []Step{{Do: "Name an identity whose chain ends before that role.", Copy: s.patch(`{"identityRef":{"name":"NAME"}}`)}}
		return a
	}
	parts, rule := s.nearest()
	if slices.Equal(parts, []string{rules.SessionName}) {
		field := strings.TrimPrefix(s.Credential.Kind.NameField, "spec.")
		a.here = append(a.here, Step{
			Do:   fmt.Sprintf("Leave %s out: the default, %s, is always allowed.", s.Credential.Kind.NameField, s.Credential.DefaultSessionName()),
			Copy: s.patch(fmt.Sprintf(`{%q:null}`, field)),
		}, Step{
			Do:   fmt.Sprintf("Or have those who own the identity add %s to sessionNames of spec.allow[%d].", s.Credential.Request.SessionName, rule),
			Copy: s.editIdentity(),
		})
		return a
	}
	if len(parts) > 0 {
		a.means += fmt.Sprintf(" The nearest is spec.allow[%d], which does not fit in: %s.", rule, strings.Join(parts, ", "))
	}
	a.here = []Step{
		s.addRule(),
		s.otherIdentity(" that allows it"),
	}
	return a
}

func (s Situation) addRule() Step {
	return Step{Do: fmt.Sprintf("Have those who own the identity add this rule to its spec.allow (%s):", s.editIdentity()), Copy: s.rule()}
}

// rule is one that allows the credential, and no more.
func (s Situation) rule() string {
	if s.Credential == nil {
		return ""
	}
	asked := s.Credential.Request
	rule := v1alpha1.AllowRule{Namespaces: []string{s.Credential.GetNamespace()}}
	if asked.RoleARN != "" {
		rule.RoleARNs = []string{asked.RoleARN}
	} else {
		rule.Calls = []v1alpha1.Call{asked.Call}
	}
	if asked.SessionName != s.Credential.DefaultSessionName() {
		rule.SessionNames = []string{asked.SessionName}
	}
	text, err := yaml.Marshal([]v1alpha1.AllowRule{rule})
	if err != nil {
		panic(err) // a rule is made of strings
	}
	return strings.TrimSpace(string(text))
}

func durationNotAllowed(s Situation) answer {
	a := answer{means: fmt.Sprintf("The request is allowed, but not for that long. STS was not asked. The condition's message says how long %s allows.", s.Ref)}
	if s.Credential == nil {
		return a
	}
	longest, chained := s.longest()
	value := "1h"
	if longest > 0 {
		value = rules.Duration(longest)
	}
	a.here = []Step{{Do: fmt.Sprintf("Ask for no longer than that; it is %s now.", rules.Duration(s.Credential.Request.Duration)), Copy: s.patch(fmt.Sprintf(`{"duration":%q}`, value))}}
	if chained {
		a.means = fmt.Sprintf("%s comes to the role by a chain of roles, and AWS ends sessions so made after 1h, whatever the role's MaxSessionDuration. STS was not asked.", s.Ref)
		a.here = append(a.here, s.otherIdentity(" that has no chain"))
		return a
	}
	a.here = append(a.here, Step{Do: "Or have those who own the identity raise maxDuration of the rule.", Copy: s.editIdentity()})
	return a
}

// longest is the longest duration that a rule allows which misses nothing else, zero if that is not known, and whether a chain is
// what bounds it.
func (s Situation) longest() (longest time.Duration, chained bool) {
	if s.Identity == nil || s.Verdict == nil {
		return 0, false
	}
	if s.Verdict.Rule >= 0 {
		return time.Hour, true // a rule allows it, and yet it is denied
	}
	for i, missed := range s.Verdict.Missed {
		if slices.Equal(missed, []string{rules.MaxDuration}) {
			longest = max(longest, s.Identity.Rules[i].MaxDuration.Duration)
		}
	}
	return longest, false
}

// ToPass returns the credential as its identity would allow it, and what else there is to do for that: nothing if a change of its
// own spec is all.
func ToPass(s Situation) (cluster.Credential, []Step) {
	ask := s.Credential.Ask()
	bound := func(longest time.Duration) {
		if ask.Duration.Duration > longest {
			ask.Duration = &metav1.Duration{Duration: longest}
		}
	}
	chained := len(s.Identity.Chain) > 0 && ask.RoleARN != ""
	if chained {
		bound(time.Hour)
	}
	for i, missed := range s.Verdict.Missed {
		if slices.ContainsFunc(missed, func(part string) bool { return part != rules.SessionName && part != rules.MaxDuration }) {
			continue
		}
		if slices.Contains(missed, rules.SessionName) {
			ask.SessionName = ""
		}
		if slices.Contains(missed, rules.MaxDuration) {
			bound(s.Identity.Rules[i].MaxDuration.Duration)
		}
		if !slices.Contains(s.Identity.Roles(), ask.RoleARN) {
			return s.Credential.Asking(ask), nil
		}
	}
	if slices.Contains(s.Identity.Roles(), ask.RoleARN) {
		return s.Credential.Asking(ask), []Step{{Do: fmt.Sprintf("Ask by an identity whose chain ends before that role: it is a hop in the chain of %s.", s.Ref)}}
	}
	return s.Credential.Asking(ask), []Step{s.addRule()}
}
