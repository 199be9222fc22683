// Package rules reports which rule of an identity allows a request, and why each of the other rules does not match. It evaluates rules
// with the operator's own code, so that both always agree. It is pure.
package rules

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/authz"
	"rolecredential.dev/operator/controllers/reason"
)

// Verdict is the result of evaluating an identity's rules on a request.
type Verdict struct {
	// Rule is the index of the rule that allows the request, -1 if none does.
	Rule int
	// Denied says why the request is denied, nil if it is allowed. The identity's chain can deny a request that matches
	// a rule.
	Denied *reason.Error
	// Mismatches has an entry for each rule: the parts that do not match the request. The entry of a matching rule is empty.
	Mismatches [][]string
}

// Evaluate evaluates rules as the operator does.
func Evaluate(allow []v1alpha1.AllowRule, r authz.Request) Verdict {
	verdict := Verdict{Rule: -1, Denied: authz.Decide(allow, r), Mismatches: make([][]string, len(allow))}
	for i, rule := range allow {
		verdict.Mismatches[i] = mismatches(rule, r)
		if verdict.Rule < 0 && len(verdict.Mismatches[i]) == 0 {
			verdict.Rule = i
		}
	}
	return verdict
}

// matchAll returns a rule that allows any request with this call.
func matchAll(r authz.Request) v1alpha1.AllowRule {
	return v1alpha1.AllowRule{Namespaces: []string{"*"}, RoleARNs: []string{"*"}, SessionNames: []string{"*"}, Calls: []v1alpha1.Call{r.Call}}
}

// Parts of a rule, as [Verdict.Mismatches] names them.
const (
	Namespace   = "namespace"
	Call        = "call"
	Role        = "role"
	SessionName = "session name"
	MaxDuration = "duration"
)

// parts lists the parts of a rule. narrow copies one part of a rule to a rule that matches everything.
var parts = []struct {
	name   string
	narrow func(to *v1alpha1.AllowRule, from v1alpha1.AllowRule)
}{
	{Namespace, func(o *v1alpha1.AllowRule, from v1alpha1.AllowRule) {
		o.Namespaces, o.NamespaceSelector = from.Namespaces, from.NamespaceSelector
	}},
	{Call, func(o *v1alpha1.AllowRule, from v1alpha1.AllowRule) { o.Calls = from.Calls }},
	{Role, func(o *v1alpha1.AllowRule, from v1alpha1.AllowRule) { o.RoleARNs = from.RoleARNs }},
	{SessionName, func(o *v1alpha1.AllowRule, from v1alpha1.AllowRule) { o.SessionNames = from.SessionNames }},
	{MaxDuration, func(o *v1alpha1.AllowRule, from v1alpha1.AllowRule) { o.MaxDuration = from.MaxDuration }},
}

// mismatches returns the parts of a rule that do not match the request.
func mismatches(rule v1alpha1.AllowRule, r authz.Request) (names []string) {
	r.Chain = nil // no part of a rule concerns the chain
	for _, part := range parts {
		narrowed := matchAll(r)
		part.narrow(&narrowed, rule)
		if authz.Decide([]v1alpha1.AllowRule{narrowed}, r) != nil {
			names = append(names, part.name)
		}
	}
	return names
}

// Describe formats a rule on one line, with the field names of the API.
func Describe(rule v1alpha1.AllowRule) string {
	var fields []string
	list := func(field string, values []string) {
		if len(values) > 0 {
			fields = append(fields, fmt.Sprintf("%s [%s]", field, strings.Join(values, ", ")))
		}
	}
	list("namespaces", rule.Namespaces)
	if rule.NamespaceSelector != nil {
		fields = append(fields, "namespaceSelector "+metav1.FormatLabelSelector(rule.NamespaceSelector))
	}
	var calls []string
	for _, call := range rule.Calls {
		calls = append(calls, string(call))
	}
	list("calls", calls)
	list("roleARNs", rule.RoleARNs)
	list("sessionNames", rule.SessionNames)
	if rule.MaxDuration != nil {
		fields = append(fields, "maxDuration "+Duration(rule.MaxDuration.Duration))
	}
	return strings.Join(fields, ", ")
}

// Duration formats a duration without zero units: 1h, not 1h0m0s.
func Duration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
