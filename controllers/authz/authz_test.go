package authz_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/authz"
	"rolecredential.dev/operator/controllers/reason"
)

const reader = "arn:aws:iam::123456789012:role/S3Reader"

// requested returns the request of the credential s3-reader in the namespace shop.
func requested(change ...func(*authz.Request)) authz.Request {
	r := authz.Request{
		Identity: "ClusterIdentity default", Namespace: "shop", NamespaceLabels: map[string]string{"team": "retail", "stage": "prod"},
		Call: v1alpha1.CallAssumeRole, RoleARN: reader, SessionName: "shop.s3-reader", NameField: "spec.sessionName", DefaultSessionName: "shop.s3-reader", Duration: time.Hour,
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

// allowing is a rule that allows only that request.
func allowing(change ...func(*v1alpha1.AllowRule)) v1alpha1.AllowRule {
	rule := v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{reader}, Calls: []v1alpha1.Call{v1alpha1.CallAssumeRole}}
	for _, c := range change {
		c(&rule)
	}
	return rule
}

func upTo(d time.Duration) func(*v1alpha1.AllowRule) {
	return func(r *v1alpha1.AllowRule) { r.MaxDuration = &metav1.Duration{Duration: d} }
}

func forNamespaces(names ...string) func(*v1alpha1.AllowRule) {
	return func(r *v1alpha1.AllowRule) { r.Namespaces = names }
}

func selecting(selector *metav1.LabelSelector) func(*v1alpha1.AllowRule) {
	return func(r *v1alpha1.AllowRule) { r.Namespaces, r.NamespaceSelector = nil, selector }
}

func forRoles(arns ...string) func(*v1alpha1.AllowRule) {
	return func(r *v1alpha1.AllowRule) { r.RoleARNs = arns }
}

func withSessionNames(names ...string) func(*v1alpha1.AllowRule) {
	return func(r *v1alpha1.AllowRule) { r.SessionNames = names }
}

func named(session string) func(*authz.Request) {
	return func(r *authz.Request) { r.SessionName = session }
}

func expression(key string, operator metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}}}
}

func TestRuleAllowsMatchingRequests(t *testing.T) {
	const allowed = ""
	for name, tc := range map[string]struct {
		rule   func(*v1alpha1.AllowRule)
		change func(*authz.Request)
		want   string // the reason of the failure
	}{
		"a rule that names just the request allows it": {want: allowed},

		"another namespace":                      {rule: forNamespaces("bank"), want: v1alpha1.ReasonNotAllowed},
		"a namespace whose name begins the same": {rule: forNamespaces("sho"), want: v1alpha1.ReasonNotAllowed},
		"a namespace with a longer name":         {change: func(r *authz.Request) { r.Namespace = "shop-admin" }, want: v1alpha1.ReasonNotAllowed},
		"a namespace whose name ends the same":   {change: func(r *authz.Request) { r.Namespace = "my-shop" }, want: v1alpha1.ReasonNotAllowed},
		"one of several namespaces":              {rule: forNamespaces("bank", "shop"), want: allowed},
		"a pattern of namespaces":                {rule: forNamespaces("sh*"), want: allowed},
		"every namespace":                        {rule: forNamespaces("*"), want: allowed},
		"no list of namespaces":                  {rule: forNamespaces(), want: v1alpha1.ReasonNotAllowed},
		"an empty list of namespaces":            {rule: func(r *v1alpha1.AllowRule) { r.Namespaces = []string{} }, want: v1alpha1.ReasonNotAllowed},
		"an empty pattern of namespaces":         {rule: forNamespaces(""), want: v1alpha1.ReasonNotAllowed},
		"an empty list of namespaces, and a selector": {rule: func(r *v1alpha1.AllowRule) {
			selecting(expression("team", metav1.LabelSelectorOpExists))(r)
			r.Namespaces = []string{}
		}, want: allowed},

		"a selector by label":                             {rule: selecting(&metav1.LabelSelector{MatchLabels: map[string]string{"team": "retail"}}), want: allowed},
		"a selector by another label":                     {rule: selecting(&metav1.LabelSelector{MatchLabels: map[string]string{"team": "ops"}}), want: v1alpha1.ReasonNotAllowed},
		"a selector by two labels":                        {rule: selecting(&metav1.LabelSelector{MatchLabels: map[string]string{"team": "retail", "stage": "dev"}}), want: v1alpha1.ReasonNotAllowed},
		"a selector by expression":                        {rule: selecting(expression("team", metav1.LabelSelectorOpIn, "ops", "retail")), want: allowed},
		"a selector by expression, not met":               {rule: selecting(expression("team", metav1.LabelSelectorOpNotIn, "ops", "retail")), want: v1alpha1.ReasonNotAllowed},
		"no selector":                                     {rule: selecting(nil), want: v1alpha1.ReasonNotAllowed},
		"an empty selector":                               {rule: selecting(&metav1.LabelSelector{}), want: v1alpha1.ReasonNotAllowed},
		"a selector of empty lists":                       {rule: selecting(&metav1.LabelSelector{MatchLabels: map[string]string{}, MatchExpressions: []metav1.LabelSelectorRequirement{}}), want: v1alpha1.ReasonNotAllowed},
		"an invalid selector":                             {rule: selecting(expression("team", "Like", "ret*")), want: v1alpha1.ReasonNotAllowed},
		"a selector without a required value":             {rule: selecting(expression("team", metav1.LabelSelectorOpIn)), want: v1alpha1.ReasonNotAllowed},
		"a selector does not read names as labels":        {rule: selecting(&metav1.LabelSelector{MatchLabels: map[string]string{"shop": ""}}), want: v1alpha1.ReasonNotAllowed},
		"a selector of a namespace without labels":        {rule: selecting(expression("team", metav1.LabelSelectorOpExists)), change: func(r *authz.Request) { r.NamespaceLabels = nil }, want: v1alpha1.ReasonNotAllowed},
		"a selector's value has no stars":                 {rule: selecting(&metav1.LabelSelector{MatchLabels: map[string]string{"team": "*"}}), want: v1alpha1.ReasonNotAllowed},
		"a selector by the label that each namespace has": {rule: selecting(&metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "shop"}}), change: func(r *authz.Request) { r.NamespaceLabels = map[string]string{"kubernetes.io/metadata.name": "shop"} }, want: allowed},

		"another role":              {rule: forRoles("arn:aws:iam::123456789012:role/Other"), want: v1alpha1.ReasonNotAllowed},
		"one of several roles":      {rule: forRoles("arn:aws:iam::123456789012:role/Other", reader), want: allowed},
		"no list of roles":          {rule: forRoles(), want: v1alpha1.ReasonNotAllowed},
		"an empty list of roles":    {rule: func(r *v1alpha1.AllowRule) { r.RoleARNs = []string{} }, want: v1alpha1.ReasonNotAllowed},
		"an empty pattern of roles": {rule: forRoles(""), want: v1alpha1.ReasonNotAllowed},

		"another call":                       {change: func(r *authz.Request) { r.Call = "GetSessionToken" }, want: v1alpha1.ReasonNotAllowed},
		"no list of calls: the default":      {rule: func(r *v1alpha1.AllowRule) { r.Calls = nil }, want: allowed},
		"no list of calls, and another call": {rule: func(r *v1alpha1.AllowRule) { r.Calls = nil }, change: func(r *authz.Request) { r.Call = "GetSessionToken" }, want: v1alpha1.ReasonNotAllowed},
		"an empty list of calls":             {rule: func(r *v1alpha1.AllowRule) { r.Calls = []v1alpha1.Call{} }, want: v1alpha1.ReasonNotAllowed},
		"a list of calls with another":       {rule: func(r *v1alpha1.AllowRule) { r.Calls = []v1alpha1.Call{"GetSessionToken"} }, want: v1alpha1.ReasonNotAllowed},
		"a call is no pattern":               {rule: func(r *v1alpha1.AllowRule) { r.Calls = []v1alpha1.Call{"*"} }, want: v1alpha1.ReasonNotAllowed},
		"a call with an allowed prefix":      {change: func(r *authz.Request) { r.Call = "AssumeRoleWithSAML" }, want: v1alpha1.ReasonNotAllowed},

		"another session name":                         {change: named("night-job"), want: v1alpha1.ReasonNotAllowed},
		"the default name of another's session":        {change: named("bank.s3-reader"), want: v1alpha1.ReasonNotAllowed},
		"a session name that the rule names":           {rule: withSessionNames("day-job", "night-job"), change: named("night-job"), want: allowed},
		"a session name of the rule's pattern":         {rule: withSessionNames("night-*"), change: named("night-job"), want: allowed},
		"a session name that begins before it":         {rule: withSessionNames("night-*"), change: named("mid-night-job"), want: v1alpha1.ReasonNotAllowed},
		"every session name":                           {rule: withSessionNames("*"), change: named("anything"), want: allowed},
		"the default session name beside named ones":   {rule: withSessionNames("night-job"), want: allowed},
		"an empty list of session names, default name": {rule: func(r *v1alpha1.AllowRule) { r.SessionNames = []string{} }, want: allowed},
		"an empty list of session names, another name": {rule: func(r *v1alpha1.AllowRule) { r.SessionNames = []string{} }, change: named("night-job"), want: v1alpha1.ReasonNotAllowed},

		"the maximum duration":           {rule: upTo(time.Hour), want: allowed},
		"a second more than the maximum": {rule: upTo(time.Hour - time.Second), want: v1alpha1.ReasonDurationNotAllowed},
		"no bound but that of STS":       {change: func(r *authz.Request) { r.Duration = 12 * time.Hour }, want: allowed},
		"a bound of zero is a bound":     {rule: upTo(0), want: v1alpha1.ReasonDurationNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			rule, request := allowing(), requested()
			if tc.rule != nil {
				tc.rule(&rule)
			}
			if tc.change != nil {
				tc.change(&request)
			}
			denied := authz.Decide([]v1alpha1.AllowRule{rule}, request)
			if tc.want == allowed {
				g.Expect(denied).To(BeNil())
				return
			}
			g.Expect(denied).NotTo(BeNil())
			g.Expect(denied.Reason).To(Equal(tc.want))
			g.Expect(denied.Condition).To(Equal(v1alpha1.ConditionAuthorized))
			g.Expect(denied.Retry).To(Equal(reason.Never))
		})
	}
}

func TestDecideDeniesWithoutRules(t *testing.T) {
	for name, rules := range map[string][]v1alpha1.AllowRule{
		"no list": nil, "an empty list": {}, "an empty rule": {{}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(authz.Decide(rules, requested())).To(HaveField("Reason", v1alpha1.ReasonNotAllowed))
		})
	}
}

func TestDecideDeniesEmptyRequest(t *testing.T) {
	NewWithT(t).Expect(authz.Decide([]v1alpha1.AllowRule{{}}, authz.Request{})).NotTo(BeNil())
}

func TestRolePatternMatchesWithinARNFields(t *testing.T) {
	for name, tc := range map[string]struct {
		pattern string
		yes, no []string
	}{
		"a whole ARN": {reader, []string{reader}, []string{reader + "X", reader + "/x", "x" + reader, strings.ToLower(reader)}},
		"a pattern of names": {
			"arn:aws:iam::123456789012:role/shop-*",
			[]string{"arn:aws:iam::123456789012:role/shop-reader", "arn:aws:iam::123456789012:role/shop-"},
			[]string{"arn:aws:iam::123456789012:role/myshop-reader", "arn:aws:iam::210987654321:role/shop-reader", "arn:aws:iam::123456789012:user/shop-reader"},
		},
		"every role of an account": {
			"arn:aws:iam::123456789012:role/*",
			[]string{reader, "arn:aws:iam::123456789012:role/team/S3Reader"},
			[]string{"arn:aws:iam::1234567890123:role/S3Reader", "arn:aws:iam::210987654321:role/S3Reader", "arn:aws-cn:iam::123456789012:role/S3Reader"},
		},
		"a name in every account": {
			"arn:aws:iam::*:role/S3Reader",
			[]string{reader, "arn:aws:iam::210987654321:role/S3Reader"},
			[]string{"arn:aws:iam::123456789012:role/team/S3Reader", "arn:aws:iam::123456789012:role/x:role/S3Reader", "arn:aws-cn:iam::123456789012:role/S3Reader"},
		},
		"a star of the account does not reach into the resource": {
			"arn:aws:iam::12*:role/S3Reader",
			[]string{reader},
			[]string{"arn:aws:iam::12:role/evil:role/S3Reader", "arn:aws:iam::210987654321:role/S3Reader"},
		},
		"a star of the partition does not reach into the account": {
			"arn:aws*:iam::123456789012:role/S3Reader",
			[]string{reader, "arn:aws-cn:iam::123456789012:role/S3Reader"},
			[]string{"arn:aws:iam::666666666666:iam::123456789012:role/S3Reader", "arn:minio:iam::123456789012:role/S3Reader"},
		},
		"a star of the service does not reach into the region": {
			"arn:aws:*:123456789012:role/S3Reader", nil, []string{reader},
		},
		"a pattern of too few fields": {"arn:*", nil, []string{reader}},
		"two stars are no star alone": {"**", nil, []string{reader}},
		"a star in every field":       {"*:*:*:*:*:*", []string{reader}, []string{"S3Reader", "arn:aws:iam::123456789012"}},
		"a star alone is every role":  {"*", []string{reader, "arn:minio:iam:::role/S3Reader"}, nil},
		"an empty field is no star":   {"arn:aws:iam:::role/S3Reader", []string{"arn:aws:iam:::role/S3Reader"}, []string{reader}},
		"a server that is not AWS":    {"arn:minio:iam:::role/*", []string{"arn:minio:iam:::role/S3Reader"}, []string{reader}},
		"a role of Dell ECS": {
			"urn:ecs:iam::ns1:role/*",
			[]string{"urn:ecs:iam::ns1:role/admins", "urn:ecs:iam::ns1:role/team/admins"},
			[]string{"urn:ecs:iam::ns2:role/admins", "arn:ecs:iam::ns1:role/admins", "urn:ecs:iam::ns1:user/admins", "urn:ecs:iam::ns1"},
		},
		"a name in every namespace of Dell ECS": {
			"urn:ecs:iam::*:role/admins",
			[]string{"urn:ecs:iam::ns1:role/admins"},
			[]string{"urn:ecs:iam::ns1:role/x:role/admins", "urn:ecs:iam:role/admins", reader},
		},
		"a role of SeaweedFS": {
			"arn:aws:iam::role/Client*",
			[]string{"arn:aws:iam::role/ClientRole", "arn:aws:iam::role/Client"},
			[]string{"arn:aws:iam::role/Admin", "arn:aws:iam::role/ClientRole:x", "arn:aws:iam:::role/ClientRole", "arn:aws:iam::123456789012:role/ClientRole"},
		},
		"a pattern of five fields does not reach into a sixth": {
			"arn:aws:iam::*", []string{"arn:aws:iam::role/ClientRole"}, []string{reader, "arn:aws:iam:::role/S3Reader"},
		},
		"a name without fields":      {"shop-*", []string{"shop-reader"}, []string{reader, "shop-reader:x", "bank-reader"}},
		"a resource may hold colons": {"arn:aws:iam::123456789012:role/a:*", []string{"arn:aws:iam::123456789012:role/a:b:c"}, []string{"arn:aws:iam::123456789012:role/a"}},
		"stars within one name":      {"arn:aws:iam::123456789012:role/a*a", []string{"arn:aws:iam::123456789012:role/aba"}, []string{"arn:aws:iam::123456789012:role/a"}},
		"an empty pattern":           {"", nil, []string{reader}},
		"nothing else is special":    {"arn:aws:iam::123456789012:role/S3.eader", nil, []string{reader}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			rules := []v1alpha1.AllowRule{allowing(forRoles(tc.pattern))}
			allows := func(arn string) bool {
				return authz.Decide(rules, requested(func(r *authz.Request) { r.RoleARN = arn })) == nil
			}
			for _, arn := range tc.yes {
				g.Expect(allows(arn)).To(BeTrue(), "%q should allow %q", tc.pattern, arn)
			}
			for _, arn := range tc.no {
				g.Expect(allows(arn)).To(BeFalse(), "%q should not allow %q", tc.pattern, arn)
			}
		})
	}
}

func TestDecideRequiresOneRuleForTheWholeRequest(t *testing.T) {
	other := "arn:aws:iam::123456789012:role/Other"
	for name, tc := range map[string]struct {
		rules  []v1alpha1.AllowRule
		change func(*authz.Request)
		want   string
	}{
		"the namespace from one and the role from the other": {
			rules: []v1alpha1.AllowRule{allowing(forRoles(other)), allowing(forNamespaces("bank"))},
			want:  v1alpha1.ReasonNotAllowed,
		},
		"the call from one and the role from the other": {
			rules: []v1alpha1.AllowRule{allowing(forRoles(other)), allowing(func(r *v1alpha1.AllowRule) { r.Calls = []v1alpha1.Call{"GetSessionToken"} })},
			want:  v1alpha1.ReasonNotAllowed,
		},
		"the session name from one and the role from the other": {
			rules:  []v1alpha1.AllowRule{allowing(), allowing(forRoles(other), withSessionNames("*"))},
			change: named("night-job"),
			want:   v1alpha1.ReasonNotAllowed,
		},
		"the session name from one and the namespace from the other": {
			rules:  []v1alpha1.AllowRule{allowing(), allowing(forNamespaces("bank"), withSessionNames("*"))},
			change: named("night-job"),
			want:   v1alpha1.ReasonNotAllowed,
		},
		"the session name from one and the duration from the other": {
			rules:  []v1alpha1.AllowRule{allowing(withSessionNames("*"), upTo(30*time.Minute)), allowing(upTo(2 * time.Hour))},
			change: named("night-job"),
			want:   v1alpha1.ReasonDurationNotAllowed,
		},
		"the duration from one and the role from the other": {
			rules: []v1alpha1.AllowRule{allowing(upTo(30 * time.Minute)), allowing(forRoles(other))},
			want:  v1alpha1.ReasonDurationNotAllowed,
		},
		"the selector from one and the role from the other": {
			rules: []v1alpha1.AllowRule{allowing(selecting(expression("team", metav1.LabelSelectorOpExists)), forRoles(other)), allowing(forNamespaces("bank"))},
			want:  v1alpha1.ReasonNotAllowed,
		},
		"a rule that allows less does not forbid what another allows": {
			rules: []v1alpha1.AllowRule{allowing(upTo(30 * time.Minute)), allowing(), allowing(forNamespaces("bank"))},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			request := requested()
			if tc.change != nil {
				tc.change(&request)
			}
			for range 2 { // the order of the rules does not matter
				denied := authz.Decide(tc.rules, request)
				if tc.want == "" {
					g.Expect(denied).To(BeNil())
				} else {
					g.Expect(denied).To(HaveField("Reason", tc.want))
				}
				slices.Reverse(tc.rules)
			}
		})
	}
}

func TestDenialExplainsWhatToDo(t *testing.T) {
	for name, tc := range map[string]struct {
		rules  []v1alpha1.AllowRule
		change func(*authz.Request)
		want   string
	}{
		"no rule matches": {
			rules: []v1alpha1.AllowRule{allowing(forNamespaces("bank"))},
			want: `No rule of ClusterIdentity default allows namespace "shop" the call AssumeRole for the role arn:aws:iam::123456789012:role/S3Reader. ` +
				`Have a rule added to its spec.allow that names both, or use another identity.`,
		},
		"another session name": {
			rules:  []v1alpha1.AllowRule{allowing()},
			change: named("night-job"),
			want: `ClusterIdentity default allows namespace "shop" the role arn:aws:iam::123456789012:role/S3Reader, but not the session name "night-job". ` +
				`Leave spec.sessionName out for the default "shop.s3-reader", or have the name added to a rule's sessionNames.`,
		},
		"a duration over the maximum: the message has the largest maximum": {
			rules: []v1alpha1.AllowRule{allowing(upTo(15 * time.Minute)), allowing(upTo(30 * time.Minute)), allowing(upTo(20 * time.Minute))},
			want: `ClusterIdentity default allows namespace "shop" the role arn:aws:iam::123456789012:role/S3Reader for at most 30m0s. ` +
				`Set spec.duration to no more than that, or have a rule's maxDuration raised.`,
		},
		"the maximum of the rules that allow the session name": {
			rules:  []v1alpha1.AllowRule{allowing(upTo(45 * time.Minute)), allowing(withSessionNames("night-*"), upTo(30*time.Minute))},
			change: named("night-job"),
			want: `ClusterIdentity default allows namespace "shop" the role arn:aws:iam::123456789012:role/S3Reader for at most 30m0s. ` +
				`Set spec.duration to no more than that, or have a rule's maxDuration raised.`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			request := requested()
			if tc.change != nil {
				tc.change(&request)
			}
			denied := authz.Decide(tc.rules, request)
			g.Expect(denied).NotTo(BeNil())
			g.Expect(denied.Message).To(Equal(tc.want))
			g.Expect(denied.Cause).To(BeNil())
		})
	}
}

func TestDenialDoesNotRevealOtherRules(t *testing.T) {
	others := []v1alpha1.AllowRule{
		allowing(forNamespaces("secret-bank"), withSessionNames("secret-session"), upTo(37*time.Minute)),
		allowing(selecting(&metav1.LabelSelector{MatchLabels: map[string]string{"secret-label": "secret-value"}}), upTo(37*time.Minute)),
		allowing(forRoles("arn:aws:iam::999999999999:role/secret-role"), upTo(37*time.Minute)),
	}
	for name, tc := range map[string]struct {
		own    []v1alpha1.AllowRule
		change func(*authz.Request)
	}{
		"no rule of the namespace":    {},
		"another session name":        {own: []v1alpha1.AllowRule{allowing()}, change: named("night-job")},
		"a duration over the maximum": {own: []v1alpha1.AllowRule{allowing(upTo(20 * time.Minute))}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			request := requested()
			if tc.change != nil {
				tc.change(&request)
			}
			denied := authz.Decide(append(slices.Clone(others), tc.own...), request)
			g.Expect(denied).NotTo(BeNil())
			g.Expect(denied.Message).NotTo(Or(ContainSubstring("secret"), ContainSubstring("999999999999"), ContainSubstring("37m")))
			g.Expect(denied.Message).To(Equal(authz.Decide(tc.own, request).Message), "the same as if there were no others")
		})
	}
}
