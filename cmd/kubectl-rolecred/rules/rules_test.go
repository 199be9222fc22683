package rules_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/rules"
	"rolecredential.dev/operator/controllers/access"
)

const reader = "arn:aws:iam::123456789012:role/S3Reader"

func asked(change ...func(*access.Request)) access.Request {
	r := access.Request{
		Identity: "ClusterIdentity default", Namespace: "shop", NamespaceLabels: map[string]string{"team": "retail"},
		Call: v1alpha1.CallAssumeRole, RoleARN: reader, SessionName: "shop.s3-reader", DefaultSessionName: "shop.s3-reader", Duration: time.Hour,
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func upTo(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

func TestWhatOfARuleDoesNotFit(t *testing.T) {
	for name, tc := range map[string]struct {
		rule v1alpha1.AllowRule
		ask  func(*access.Request)
		want []string
	}{
		"nothing, of one that allows the request": {rule: v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{reader}}},
		"the namespace": {rule: v1alpha1.AllowRule{Namespaces: []string{"bank"}, RoleARNs: []string{"*"}}, want: []string{rules.Namespace}},
		"the namespace's labels": {
			rule: v1alpha1.AllowRule{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "bank"}}, RoleARNs: []string{"*"}}, want: []string{rules.Namespace},
		},
		"nothing, when the labels fit": {
			rule: v1alpha1.AllowRule{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "retail"}}, RoleARNs: []string{"*"}},
		},
		"the role":     {rule: v1alpha1.AllowRule{Namespaces: []string{"*"}, RoleARNs: []string{"arn:aws:iam::1:role/*"}}, want: []string{rules.Role}},
		"the call":     {rule: v1alpha1.AllowRule{Namespaces: []string{"*"}, Calls: []v1alpha1.Call{v1alpha1.CallGetSessionToken}, RoleARNs: []string{"*"}}, want: []string{rules.Call}},
		"the duration": {rule: v1alpha1.AllowRule{Namespaces: []string{"*"}, RoleARNs: []string{"*"}, MaxDuration: upTo(30 * time.Minute)}, want: []string{rules.MaxDuration}},
		"the session's name": {
			rule: v1alpha1.AllowRule{Namespaces: []string{"*"}, RoleARNs: []string{"*"}, SessionNames: []string{"nightly-*"}},
			ask:  func(r *access.Request) { r.SessionName = "daily" }, want: []string{rules.SessionName},
		},
		"all of it": {
			rule: v1alpha1.AllowRule{Namespaces: []string{"bank"}, Calls: []v1alpha1.Call{v1alpha1.CallGetSessionToken}, MaxDuration: upTo(30 * time.Minute)},
			ask:  func(r *access.Request) { r.SessionName = "daily" },
			want: []string{rules.Namespace, rules.Call, rules.Role, rules.SessionName, rules.MaxDuration},
		},
		"no role, of a call that asks for none": {
			rule: v1alpha1.AllowRule{Namespaces: []string{"*"}, Calls: []v1alpha1.Call{v1alpha1.CallGetSessionToken}},
			ask: func(r *access.Request) {
				r.Call, r.RoleARN, r.SessionName, r.DefaultSessionName = v1alpha1.CallGetSessionToken, "", "", ""
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := asked()
			if tc.ask != nil {
				tc.ask(&r)
			}
			verdict := rules.Judge([]v1alpha1.AllowRule{tc.rule}, r)
			g.Expect(verdict.Missed).To(Equal([][]string{tc.want}))
			g.Expect(verdict.Denied == nil).To(Equal(len(tc.want) == 0), "what is missed of a rule is what the operator decides")
			g.Expect(verdict.Rule).To(Equal(map[bool]int{true: 0, false: -1}[len(tc.want) == 0]))
		})
	}
}

func TestTheFirstRuleThatFitsIsTheOneThatAllows(t *testing.T) {
	g := NewWithT(t)
	verdict := rules.Judge([]v1alpha1.AllowRule{{Namespaces: []string{"bank"}}, {Namespaces: []string{"shop"}, RoleARNs: []string{reader}}, {Namespaces: []string{"*"}, RoleARNs: []string{"*"}}}, asked())
	g.Expect(verdict.Rule).To(Equal(1))
	g.Expect(verdict.Denied).To(BeNil())
	g.Expect(rules.Judge(nil, asked()).Rule).To(Equal(-1))
}

func TestARequestThatARuleAllowsMayBeDeniedForTheChain(t *testing.T) {
	g := NewWithT(t)
	verdict := rules.Judge([]v1alpha1.AllowRule{{Namespaces: []string{"*"}, RoleARNs: []string{"*"}}}, asked(func(r *access.Request) {
		r.Chain, r.Duration = []string{"arn:aws:iam::210987654321:role/Hub"}, 2*time.Hour
	}))
	g.Expect(verdict.Rule).To(Equal(0))
	g.Expect(verdict.Denied.Reason).To(Equal(v1alpha1.ReasonDurationNotAllowed))
}

func TestARuleOnOneLine(t *testing.T) {
	g := NewWithT(t)
	g.Expect(rules.Describe(v1alpha1.AllowRule{
		Namespaces: []string{"shop", "team-*"}, RoleARNs: []string{"*"}, SessionNames: []string{"n-*"}, MaxDuration: upTo(90 * time.Minute), Calls: []v1alpha1.Call{v1alpha1.CallAssumeRole},
	})).To(Equal("namespaces [shop, team-*], calls [AssumeRole], roleARNs [*], sessionNames [n-*], maxDuration 1h30m"))
	g.Expect(rules.Describe(v1alpha1.AllowRule{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "retail"}}})).To(Equal("namespaceSelector team=retail"))
}

func TestADurationIsWrittenAsInSpecs(t *testing.T) {
	g := NewWithT(t)
	for d, want := range map[time.Duration]string{
		time.Hour: "1h", 90 * time.Minute: "1h30m", 15 * time.Minute: "15m", 5400*time.Second + time.Second: "1h30m1s", 36 * time.Hour: "36h", 30 * time.Second: "30s", time.Hour + 30*time.Second: "1h0m30s",
	} {
		g.Expect(rules.Duration(d)).To(Equal(want))
	}
}
