package iam_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/iam"
	"rolecredential.dev/operator/controllers/request"
)

const (
	user = "arn:aws:iam::210987654321:user/team/operator"
	role = "arn:aws:iam::123456789012:role/team/app/S3Reader"
)

func TestPrincipalReturnsARNForTrustPolicies(t *testing.T) {
	for name, tc := range map[string]struct{ caller, want string }{
		"a user by its ARN":                       {user, user},
		"a role session, by the role's ARN":       {"arn:aws:sts::210987654321:assumed-role/Hub/session", "arn:aws:iam::210987654321:role/Hub"},
		"a role session without a session name":   {"arn:aws-us-gov:sts::210987654321:assumed-role/Hub", "arn:aws-us-gov:iam::210987654321:role/Hub"},
		"text that is not an ARN, unchanged":      {"ARN-OF-THE-CALLER", "ARN-OF-THE-CALLER"},
		"the root of an account by its ARN":       {"arn:aws:iam::210987654321:root", "arn:aws:iam::210987654321:root"},
		"a federated user by its ARN":             {"arn:aws:sts::210987654321:federated-user/x", "arn:aws:sts::210987654321:federated-user/x"},
		"a user whose name begins like a session": {"arn:aws:iam::210987654321:user/assumed-role/x", "arn:aws:iam::210987654321:user/assumed-role/x"},
	} {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(iam.Principal(tc.caller)).To(Equal(tc.want)) })
	}
}

func TestPoliciesAllowOnlyNeededActions(t *testing.T) {
	assume := request.Request{Call: v1alpha1.CallAssumeRole, RoleARN: role}
	for name, tc := range map[string]struct {
		change        func(*request.Request)
		tagged        bool
		trust, caller string
	}{
		"a role": {
			trust:  `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + user + `"},"Action":["sts:AssumeRole"]}]}`,
			caller: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole"],"Resource":"` + role + `"}]}`,
		},
		"a role with an external ID": {
			change: func(r *request.Request) { r.ExternalID = "k8s" },
			trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + user +
				`"},"Action":["sts:AssumeRole"],"Condition":{"StringEquals":{"sts:ExternalId":"k8s"}}}]}`,
			caller: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole"],"Resource":"` + role + `"}]}`,
		},
		"a role with tags and a source identity": {
			change: func(r *request.Request) { r.Tags, r.SourceIdentity = []request.Tag{{Key: "a"}}, "shop" },
			trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + user +
				`"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}]}`,
			caller: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"],"Resource":"` + role + `"}]}`,
		},
		"a role, and the identity adds session tags": {
			tagged: true,
			trust:  `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + user + `"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`,
			caller: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],"Resource":"` + role + `"}]}`,
		},
		"a federated user": {
			change: func(r *request.Request) {
				*r = request.Request{Call: v1alpha1.CallGetFederationToken, SessionName: "shop.uploader"}
			},
			trust:  `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + user + `"},"Action":["sts:GetFederationToken"]}]}`,
			caller: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:GetFederationToken"],"Resource":"arn:aws:sts::210987654321:federated-user/shop.uploader"}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := assume
			if tc.change != nil {
				tc.change(&r)
			}
			g.Expect(iam.TrustPolicy(user, r, tc.tagged).String()).To(MatchJSON(tc.trust))
			g.Expect(iam.CallerPolicy(user, r, tc.tagged).Compact()).To(MatchJSON(tc.caller))
		})
	}
}

func TestWebIdentityTrustPolicyAllowsOneServiceAccount(t *testing.T) {
	NewWithT(t).Expect(iam.WebIdentityTrustPolicy(role, "oidc.example.com/cluster", "sts.amazonaws.com", "system:serviceaccount:shop:reader").String()).To(MatchJSON(`{"Version":"2012-10-17","Statement":[{
		"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/oidc.example.com/cluster"},"Action":["sts:AssumeRoleWithWebIdentity"],
		"Condition":{"StringEquals":{"oidc.example.com/cluster:aud":"sts.amazonaws.com","oidc.example.com/cluster:sub":"system:serviceaccount:shop:reader"}}}]}`))
}

func TestRevokeDeniesOlderSessions(t *testing.T) {
	before := time.Date(2026, 11, 23, 16, 22, 30, 0, time.FixedZone("CET", 3600))
	const older = `"DateLessThan":{"aws:TokenIssueTime":"2026-11-23T15:22:30Z"}`
	for name, tc := range map[string]struct {
		request                       request.Request
		caller                        string
		all                           bool
		target, policyName, condition string
	}{
		"a role's sessions with one session name": {
			request: request.Request{Call: v1alpha1.CallAssumeRole, RoleARN: role, SessionName: "shop.s3-reader"},
			target:  "role S3Reader", policyName: "RevokeOlderSessions.shop.s3-reader", condition: older + `,"StringLike":{"aws:userid":"*:shop.s3-reader"}`,
		},
		"all sessions of a role": {
			request: request.Request{Call: v1alpha1.CallAssumeRole, RoleARN: role, SessionName: "shop.s3-reader"}, all: true,
			target: "role S3Reader", policyName: "RevokeOlderSessions", condition: older,
		},
		"sessions of a federated user": {
			request: request.Request{Call: v1alpha1.CallGetFederationToken, SessionName: "shop.uploader"}, caller: user,
			target: "user operator", policyName: "RevokeOlderSessions.shop.uploader", condition: older + `,"StringLike":{"aws:userid":"*:shop.uploader"}`,
		},
		"sessions of GetSessionToken, which have no names": {
			request: request.Request{Call: v1alpha1.CallGetSessionToken}, caller: user,
			target: "user operator", policyName: "RevokeOlderSessions", condition: older,
		},
		"sessions of an unknown user": {
			request: request.Request{Call: v1alpha1.CallGetSessionToken},
			target:  "user <user>", policyName: "RevokeOlderSessions", condition: older,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			found := iam.Revoke(tc.request, tc.caller, before, tc.all)
			g.Expect(found.Target).To(Equal(tc.target))
			g.Expect(found.Policy.Compact()).To(MatchJSON(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["*"],"Resource":"*","Condition":{` + tc.condition + `}}]}`))
			g.Expect(found.Put).To(ContainElements("--policy-name="+tc.policyName, "--policy-document="+found.Policy.Compact()))
			g.Expect(found.Remove).To(ContainElement("--policy-name=" + tc.policyName))
		})
	}
}

func TestConsoleOfReturnsConsoleOfPartition(t *testing.T) {
	g := NewWithT(t)
	for arn, host := range map[string]string{
		role: "https://signin.aws.amazon.com/federation",
		"arn:aws-cn:sts::123456789012:assumed-role/R/s":     "https://signin.amazonaws.cn/federation",
		"arn:aws-us-gov:sts::123456789012:assumed-role/R/s": "https://signin.amazonaws-us-gov.com/federation",
	} {
		console, err := iam.ConsoleOf(arn)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(console.Federation).To(Equal(host))
	}
	_, err := iam.ConsoleOf("arn:aws-iso:iam::123456789012:role/R")
	g.Expect(err).To(MatchError(ContainSubstring("--endpoint")))
}

func TestConsoleOfRejectsARNsOfOtherServers(t *testing.T) {
	for _, arn := range []string{"urn:ecs:sts::ns1:assumed-role/admins/s", "arn:aws:sts::assumed-role/ClientRole/s", "S3Reader", ""} {
		t.Run(arn, func(t *testing.T) {
			_, err := iam.ConsoleOf(arn)
			NewWithT(t).Expect(err).To(MatchError(And(ContainSubstring("is not an ARN of AWS"), ContainSubstring("--endpoint"))))
		})
	}
}

func TestARNsOfOtherServersStayUnchanged(t *testing.T) {
	for _, arn := range []string{"urn:ecs:iam::ns1:role/admins", "arn:aws:iam::role/ClientRole", "S3Reader", "", ":::::", "arn:aws:iam::123456789012:"} {
		t.Run(arn, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(iam.Name(arn, "role/", "ROLE")).To(Equal("ROLE"))
			g.Expect(iam.Principal(arn)).To(Equal(arn))
			g.Expect(iam.WebIdentityTrustPolicy(arn, "ISSUER", "aud", "sub").Compact()).To(ContainSubstring(`:oidc-provider/ISSUER"`))
			g.Expect(iam.CallerPolicy(arn, request.Request{Call: v1alpha1.CallAssumeRole, RoleARN: arn}, true).Statement[0].Resource).To(Equal(arn))
		})
	}
}

func TestRevokeTakesNoNameAsOption(t *testing.T) {
	for name, r := range map[string]request.Request{
		"a role": {Call: v1alpha1.CallAssumeRole, RoleARN: "arn:aws:iam::123456789012:role/--endpoint-url=x", SessionName: "--debug"},
		"a user": {Call: v1alpha1.CallGetFederationToken, SessionName: "--debug"},
	} {
		t.Run(name, func(t *testing.T) {
			found := iam.Revoke(r, "arn:aws:iam::123456789012:user/--endpoint-url=x", time.Time{}, false)
			for _, command := range [][]string{found.Put, found.Remove} {
				NewWithT(t).Expect(command).NotTo(ContainElement(Or(HavePrefix("--endpoint-url"), HavePrefix("--debug"))))
			}
		})
	}
}
