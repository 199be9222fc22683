// Package authz decides whether a namespace may use an identity for a request. It is pure.
package authz

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// Request is the request that a rule must allow.
type Request struct {
	// Identity is the identity's kind and name, for messages.
	Identity string
	// Namespace and NamespaceLabels are those of the credential.
	Namespace       string
	NamespaceLabels map[string]string
	// Call is the one that a rule must name: see [CallToAuthorize].
	Call v1alpha1.Call
	// RoleARN is empty for a call without a role.
	RoleARN string
	// SessionName is the name of the role session or federated user. NameField is the spec field that sets it.
	SessionName, NameField string
	// DefaultSessionName is allowed by every rule.
	DefaultSessionName string
	Duration           time.Duration
	// Chain lists the roles that the identity assumes before the requested role.
	Chain []string
}

// CallToAuthorize returns the call that a rule must name to allow a call as AWS names it. A rule for AssumeRole also allows
// AssumeRoleWithWebIdentity.
func CallToAuthorize(call v1alpha1.Call) v1alpha1.Call {
	if call == v1alpha1.CallAssumeRoleWithWebIdentity {
		return v1alpha1.CallAssumeRole
	}
	return call
}

// maxChained is the longest session by role chaining (IAM User Guide, 'Roles terms and concepts': role chaining).
const maxChained = time.Hour

// resource returns the requested role, or the call if there is no role.
func (r Request) resource() string {
	if r.RoleARN == "" {
		return "the call " + string(r.Call)
	}
	return "the role " + r.RoleARN
}

// Decide returns nil if one rule allows the whole request. Otherwise it returns a failure of ConditionAuthorized. Its
// message says which part is not allowed, but not what the rules allow other namespaces.
func Decide(rules []v1alpha1.AllowRule, r Request) *reason.Error {
	var roleAllowed, sessionAllowed bool
	var longest time.Duration
	for _, rule := range rules {
		if !allowsNamespace(rule, r) || !slices.Contains(calls(rule), r.Call) || !allowsRole(rule, r) {
			continue
		}
		roleAllowed = true
		if r.SessionName != r.DefaultSessionName && !slices.ContainsFunc(rule.SessionNames, matches(r.SessionName)) {
			continue
		}
		sessionAllowed = true
		if rule.MaxDuration == nil || r.Duration <= rule.MaxDuration.Duration {
			return decideChain(r)
		}
		longest = max(longest, rule.MaxDuration.Duration)
	}
	switch {
	case sessionAllowed:
		return reason.Denied(v1alpha1.ReasonDurationNotAllowed, "%s allows namespace %q %s for at most %s. Set spec.duration to no more than that, or have a rule's maxDuration raised.",
			r.Identity, r.Namespace, r.resource(), metav1.Duration{Duration: longest}.Duration)
	case roleAllowed:
		return reason.Denied(v1alpha1.ReasonNotAllowed, "%s allows namespace %q %s, but not the session name %q. Leave %s out for the default %q, or have the name added to a rule's sessionNames.",
			r.Identity, r.Namespace, r.resource(), r.SessionName, r.NameField, r.DefaultSessionName)
	case r.RoleARN == "":
		return reason.Denied(v1alpha1.ReasonNotAllowed, "No rule of %s allows namespace %q the call %s. Have a rule added to its spec.allow that names the namespace, and the call in calls, or use another identity.",
			r.Identity, r.Namespace, r.Call)
	default:
		return reason.Denied(v1alpha1.ReasonNotAllowed, "No rule of %s allows namespace %q the call %s for the role %s. Have a rule added to its spec.allow that names both, or use another identity.",
			r.Identity, r.Namespace, r.Call, r.RoleARN)
	}
}

// decideChain returns nil if AWS allows the identity's chain to assume the role. CreateSession is no role chaining.
func decideChain(r Request) *reason.Error {
	switch {
	case len(r.Chain) == 0 || r.Call != v1alpha1.CallAssumeRole:
		return nil
	case slices.Contains(r.Chain, r.RoleARN):
		return reason.Denied(v1alpha1.ReasonNotAllowed, "Role %s is already part of the chain of %s, and cannot be assumed again. Use an identity whose chain does not contain it.", r.RoleARN, r.Identity)
	case r.Duration > maxChained:
		return reason.Denied(v1alpha1.ReasonDurationNotAllowed, "%s reaches role %s by role chaining (%s), which AWS limits to 1h. Set spec.duration to 1h or less, or use an identity without a chain.",
			r.Identity, r.RoleARN, strings.Join(r.Chain, ", "))
	default:
		return nil
	}
}

// allowsRole reports whether the rule allows the requested role, if the request has one.
func allowsRole(rule v1alpha1.AllowRule, r Request) bool {
	forRole := r.Call == v1alpha1.CallAssumeRole || r.Call == v1alpha1.CallCreateSession
	return !forRole || slices.ContainsFunc(rule.RoleARNs, matchesARN(r.RoleARN))
}

func allowsNamespace(rule v1alpha1.AllowRule, r Request) bool {
	if slices.ContainsFunc(rule.Namespaces, matches(r.Namespace)) {
		return true
	}
	if rule.NamespaceSelector == nil {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(rule.NamespaceSelector)
	// A selector that is empty or invalid matches nothing: a rule for all namespaces uses '*'.
	return err == nil && !selector.Empty() && selector.Matches(labels.Set(r.NamespaceLabels))
}

// calls returns the calls that a rule allows. The default is AssumeRole.
func calls(rule v1alpha1.AllowRule) []v1alpha1.Call {
	if rule.Calls == nil {
		return []v1alpha1.Call{v1alpha1.CallAssumeRole}
	}
	return rule.Calls
}

// arnFields is the number of fields of an ARN: arn, partition, service, region, account, resource. The resource may
// contain colons.
const arnFields = 6

// matchesARN matches field by field, so that a '*' never matches across accounts or services. The pattern '*' alone
// matches every ARN.
func matchesARN(arn string) func(pattern string) bool {
	fields := strings.SplitN(arn, ":", arnFields)
	return func(pattern string) bool {
		if pattern == "*" {
			return true
		}
		return slices.EqualFunc(strings.SplitN(pattern, ":", arnFields), fields, Match)
	}
}

func matches(name string) func(pattern string) bool {
	return func(pattern string) bool { return Match(pattern, name) }
}

// Match reports whether the pattern matches all of s. '*' matches any run of characters, including none. No other
// character is special.
func Match(pattern, s string) bool {
	first, rest, glob := strings.Cut(pattern, "*")
	if !glob {
		return pattern == s
	}
	if !strings.HasPrefix(s, first) {
		return false
	}
	s = s[len(first):]
	for {
		piece, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, piece)
		}
		// The leftmost match is sufficient for a piece between two stars.
		at := strings.Index(s, piece)
		if at < 0 {
			return false
		}
		s, rest = s[at+len(piece):], after
	}
}
