// Package rules tells which rule of an identity allows a request, and what is amiss with each of the others. It decides nothing
// itself: all that it says is what the operator's own decision is, to a rule or to a part of one. It is pure.
package rules

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/access"
	"rolecredential.dev/operator/controllers/failure"
)

// Verdict is what an identity's rules say to a request.
type Verdict struct {
	// Rule is the index of the rule that allows the request, -1 if none does.
	Rule int
	// Denied is why the request is not allowed, nil if it is. A request that a rule allows may still be denied for the
	// identity's chain.
	Denied *failure.Failure
	// Missed has for each rule what of it does not fit the request, in words; nothing for one that fits.
	Missed [][]string
}

// Judge evaluates rules as the operator does.
func Judge(allow []v1alpha1.AllowRule, r access.Request) Verdict {
	verdict := Verdict{Rule: -1, Denied: access.Decide(allow, r), Missed: make([][]string, len(allow))}
	for i, rule := range allow {
		verdict.Missed[i] = missed(rule, r)
		if verdict.Rule < 0 && len(verdict.Missed[i]) == 0 {
			verdict.Rule = i
		}
	}
	return verdict
}

// open returns a rule that allows the request, whatever it is.
func open(r access.Request) v1alpha1.AllowRule {
	return v1alpha1.AllowRule{Namespaces: []string{"*"}, RoleARNs: []string{"*"}, SessionNames: []string{"*"}, Calls: []v1alpha1.Call{r.Call}}
}

// Parts of a rule, as [Verdict.Missed] names them.
const (
	Namespace   = "namespace"
	Call        = "call"
	Role        = "role"
	SessionName = "session name"
	MaxDuration = "duration"
)

// parts of a rule, each with what makes an open rule as narrow as another in that part alone.
var parts = []struct {
	name   string
	narrow func(open *v1alpha1.AllowRule, by v1alpha1.AllowRule)
}{
	{Namespace, func(o *v1alpha1.AllowRule, by v1alpha1.AllowRule) {
		o.Namespaces, o.NamespaceSelector = by.Namespaces, by.NamespaceSelector
	}},
	{Call, func(o *v1alpha1.AllowRule, by v1alpha1.AllowRule) { o.Calls = by.Calls }},
	{Role, func(o *v1alpha1.AllowRule, by v1alpha1.AllowRule) { o.RoleARNs = by.RoleARNs }},
	{SessionName, func(o *v1alpha1.AllowRule, by v1alpha1.AllowRule) { o.SessionNames = by.SessionNames }},
	{MaxDuration, func(o *v1alpha1.AllowRule, by v1alpha1.AllowRule) { o.MaxDuration = by.MaxDuration }},
}

// missed names the parts of a rule that do not fit the request.
func missed(rule v1alpha1.AllowRule, r access.Request) (names []string) {
	r.Chain = nil // is the identity's, and no rule's
	for _, part := range parts {
		narrowed := open(r)
		part.narrow(&narrowed, rule)
		if access.Decide([]v1alpha1.AllowRule{narrowed}, r) != nil {
			names = append(names, part.name)
		}
	}
	return names
}

// Describe writes a rule on one line, as its fields are named.
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

// Duration writes a duration as specs do: 1h, and not 1h0m0s.
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
