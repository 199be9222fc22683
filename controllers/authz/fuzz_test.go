package authz_test

import (
	"testing"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/authz"
)

// naive reports whether the pattern matches all of s, by trying every expansion of each star. It tries each pair of
// rests once.
func naive(pattern, s string) bool {
	failed := map[[2]int]bool{}
	var match func(i, j int) bool
	match = func(i, j int) bool {
		switch {
		case failed[[2]int{i, j}]:
			return false
		case i == len(pattern):
			return j == len(s)
		case pattern[i] == '*' && (match(i+1, j) || j < len(s) && match(i, j+1)):
			return true
		case pattern[i] != '*' && j < len(s) && pattern[i] == s[j] && match(i+1, j+1):
			return true
		}
		failed[[2]int{i, j}] = true
		return false
	}
	return match(0, 0)
}

// tooMuch bounds the time of the naive matcher.
func tooMuch(pattern, s string) bool { return len(pattern)*len(s) > 1<<16 }

func FuzzMatch(f *testing.F) {
	f.Fuzz(func(t *testing.T, pattern, s string) {
		got := authz.Match(pattern, s)
		if tooMuch(pattern, s) {
			return // the matcher terminated; the naive one may not
		}
		if want := naive(pattern, s); got != want {
			t.Errorf("Match(%q, %q) = %t", pattern, s, got)
		}
	})
}

// naiveARN matches each of the six fields of an ARN separately. The last field includes all remaining colons.
func naiveARN(pattern, arn string) bool {
	if pattern == "*" {
		return true
	}
	patterns, fields := fieldsOf(pattern), fieldsOf(arn)
	if len(patterns) != len(fields) {
		return false
	}
	for i := range fields {
		if !naive(patterns[i], fields[i]) {
			return false
		}
	}
	return true
}

func fieldsOf(arn string) []string {
	fields := []string{""}
	for i := range len(arn) {
		if arn[i] == ':' && len(fields) < 6 {
			fields = append(fields, "")
			continue
		}
		fields[len(fields)-1] += arn[i : i+1]
	}
	return fields
}

// FuzzRule checks that a rule allows only a namespace, a role and a session name that its patterns match.
func FuzzRule(f *testing.F) {
	f.Fuzz(func(t *testing.T, namespaces, namespace, roleARNs, roleARN, sessionNames, sessionName string) {
		if tooMuch(namespaces, namespace) || tooMuch(roleARNs, roleARN) || tooMuch(sessionNames, sessionName) {
			t.Skip("for FuzzMatch")
		}
		const ownName = "shop.s3-reader"
		rules := []v1alpha1.AllowRule{{Namespaces: []string{namespaces}, RoleARNs: []string{roleARNs}, SessionNames: []string{sessionNames}}}
		request := authz.Request{
			Identity: "ClusterIdentity default", Namespace: namespace, Call: v1alpha1.CallAssumeRole, RoleARN: roleARN, SessionName: sessionName,
			NameField: "spec.sessionName", DefaultSessionName: ownName,
		}
		want := naive(namespaces, namespace) && naiveARN(roleARNs, roleARN) && (sessionName == ownName || naive(sessionNames, sessionName))
		if denied := authz.Decide(rules, request); (denied == nil) != want {
			t.Errorf("%q of %q as %q: %v", roleARN, namespace, sessionName, denied)
		}
	})
}
