package authz_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/authz"
)

func TestDecideChecksRoleChaining(t *testing.T) {
	const hub, last = "arn:aws:iam::210987654321:role/Hub", "arn:aws:iam::123456789012:role/Last"
	everything := []v1alpha1.AllowRule{{
		Namespaces: []string{"*"}, RoleARNs: []string{"*"}, Calls: []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken},
	}}
	for name, tc := range map[string]struct {
		rules   []v1alpha1.AllowRule
		request authz.Request
		want    string
	}{
		"a role for an hour":                 {everything, authz.Request{Call: v1alpha1.CallAssumeRole, RoleARN: last, Duration: time.Hour, Chain: []string{hub}}, ""},
		"a role for longer, without a chain": {everything, authz.Request{Call: v1alpha1.CallAssumeRole, RoleARN: last, Duration: 2 * time.Hour}, ""},
		"a role for a second longer":         {everything, authz.Request{Call: v1alpha1.CallAssumeRole, RoleARN: last, Duration: time.Hour + time.Second, Chain: []string{hub}}, v1alpha1.ReasonDurationNotAllowed},
		"a role that is a hop":               {everything, authz.Request{Call: v1alpha1.CallAssumeRole, RoleARN: hub, Duration: time.Hour, Chain: []string{hub}}, v1alpha1.ReasonNotAllowed},
		"a longer call without a role":       {everything, authz.Request{Call: v1alpha1.CallGetSessionToken, Duration: 12 * time.Hour, Chain: []string{hub}}, ""},
		"a request that no rule allows":      {nil, authz.Request{Call: v1alpha1.CallAssumeRole, RoleARN: hub, Duration: 2 * time.Hour, Chain: []string{hub}}, v1alpha1.ReasonNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tc.request.Identity, tc.request.Namespace = "ClusterIdentity default", "shop"
			got := authz.Decide(tc.rules, tc.request)
			if tc.want == "" {
				g.Expect(got).To(BeNil())
				return
			}
			g.Expect(got.Reason).To(Equal(tc.want))
			if tc.rules == nil { // only namespaces that may use the chain see it
				g.Expect(got.Message).NotTo(ContainSubstring("chain"))
			} else {
				g.Expect(got.Message).To(ContainSubstring(hub))
			}
		})
	}
}
