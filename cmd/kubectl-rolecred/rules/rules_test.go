package rules_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/rules"
	"rolecredential.dev/operator/controllers/authz"
)

const reader = "arn:aws:iam::123456789012:role/S3Reader"

func request(change ...func(*authz.Request)) authz.Request {
	r := authz.Request{
		Identity: "ClusterIdentity default", Namespace: "shop", NamespaceLabels: map[string]string{"team": "retail"},
		Call: v1alpha1.CallAssumeRole, RoleARN: reader, SessionName: "shop.s3-reader", DefaultSessionName: "shop.s3-reader", Duration: time.Hour,
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func upTo(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

func TestEvaluateReturnsMismatches(t *testing.T) {
	for name, tc := range map[string]struct {
		rule   v1alpha1.AllowRule
		change func(*authz.Request)
		want   []string
	}{
		"no mismatch":   {rule: v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{reader}}},
		"the namespace": {rule: v1alpha1.AllowRule{Namespaces: []string{"bank"}, RoleARNs: []string{"*"}}, want: []string{rules.Namespace}},
		"the namespace selector": {
			rule: v1alpha1.AllowRule{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "bank"}}, RoleARNs: []string{"*"}}, want: []string{rules.Namespace},
		},
		"no mismatch with a namespace selector": {
			rule: v1alpha1.AllowRule{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "retail"}}, RoleARNs: []string{"*"}},
		},
		"the role":     {rule: v1alpha1.AllowRule{Namespaces: []string{"*"}, RoleARNs: []string{"arn:aws:iam::1:role/*"}}, want: []string{rules.Role}},
		"the call":     {rule: v1alpha1.AllowRule{Namespaces: []string{"*"}, Calls: []v1alpha1.Call{v1alpha1.CallGetSessionToken}, RoleARNs: []string{"*"}}, want: []string{rules.Call}},
		"the duration": {rule: v1alpha1.AllowRule{Namespaces: []string{"*"}, RoleARNs: []string{"*"}, MaxDuration: upTo(30 * time.Minute)}, want: []string{rules.MaxDuration}},
		"the session name": {
			rule:   v1alpha1.AllowRule{Namespaces: []string{"*"}, RoleARNs: []string{"*"}, SessionNames: []string{"nightly-*"}},
			change: func(r *authz.Request) { r.SessionName = "daily" }, want: []string{rules.SessionName},
		},
		"all parts": {
			rule:   v1alpha1.AllowRule{Namespaces: []string{"bank"}, Calls: []v1alpha1.Call{v1alpha1.CallGetSessionToken}, MaxDuration: upTo(30 * time.Minute)},
			change: func(r *authz.Request) { r.SessionName = "daily" },
			want:   []string{rules.Namespace, rules.Call, rules.Role, rules.SessionName, rules.MaxDuration},
		},
		"a call without a role": {
			rule: v1alpha1.AllowRule{Namespaces: []string{"*"}, Calls: []v1alpha1.Call{v1alpha1.CallGetSessionToken}},
			change: func(r *authz.Request) {
				r.Call, r.RoleARN, r.SessionName, r.DefaultSessionName = v1alpha1.CallGetSessionToken, "", "", ""
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := request()
			if tc.change != nil {
				tc.change(&r)
			}
			verdict := rules.Evaluate([]v1alpha1.AllowRule{tc.rule}, r)
			g.Expect(verdict.Mismatches).To(Equal([][]string{tc.want}))
			g.Expect(verdict.Denied == nil).To(Equal(len(tc.want) == 0), "the mismatches agree with the operator's decision")
			g.Expect(verdict.Rule).To(Equal(map[bool]int{true: 0, false: -1}[len(tc.want) == 0]))
		})
	}
}

func TestEvaluateReturnsFirstMatchingRule(t *testing.T) {
	g := NewWithT(t)
	verdict := rules.Evaluate([]v1alpha1.AllowRule{{Namespaces: []string{"bank"}}, {Namespaces: []string{"shop"}, RoleARNs: []string{reader}}, {Namespaces: []string{"*"}, RoleARNs: []string{"*"}}}, request())
	g.Expect(verdict.Rule).To(Equal(1))
	g.Expect(verdict.Denied).To(BeNil())
	g.Expect(rules.Evaluate(nil, request()).Rule).To(Equal(-1))
}

func TestChainDeniesRequestThatRuleAllows(t *testing.T) {
	g := NewWithT(t)
	verdict := rules.Evaluate([]v1alpha1.AllowRule{{Namespaces: []string{"*"}, RoleARNs: []string{"*"}}}, request(func(r *authz.Request) {
		r.Chain, r.Duration = []string{"arn:aws:iam::210987654321:role/Hub"}, 2*time.Hour
	}))
	g.Expect(verdict.Rule).To(Equal(0))
	g.Expect(verdict.Denied.Reason).To(Equal(v1alpha1.ReasonDurationNotAllowed))
}

func TestDescribeFormatsRuleOnOneLine(t *testing.T) {
	g := NewWithT(t)
	g.Expect(rules.Describe(v1alpha1.AllowRule{
		Namespaces: []string{"shop", "team-*"}, RoleARNs: []string{"*"}, SessionNames: []string{"n-*"}, MaxDuration: upTo(90 * time.Minute), Calls: []v1alpha1.Call{v1alpha1.CallAssumeRole},
	})).To(Equal("namespaces [shop, team-*], calls [AssumeRole], roleARNs [*], sessionNames [n-*], maxDuration 1h30m"))
	g.Expect(rules.Describe(v1alpha1.AllowRule{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "retail"}}})).To(Equal("namespaceSelector team=retail"))
}

func TestDurationHasNoZeroUnits(t *testing.T) {
	g := NewWithT(t)
	for d, want := range map[time.Duration]string{
		time.Hour: "1h", 90 * time.Minute: "1h30m", 15 * time.Minute: "15m", 5400*time.Second + time.Second: "1h30m1s", 36 * time.Hour: "36h", 30 * time.Second: "30s", time.Hour + 30*time.Second: "1h0m30s",
	} {
		g.Expect(rules.Duration(d)).To(Equal(want))
	}
}
