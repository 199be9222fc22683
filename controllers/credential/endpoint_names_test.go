package credential

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/stsemulator"
)

// Role ARNs of STS-compatible servers: Dell ECS and SeaweedFS.
const (
	ecsRole     = "urn:ecs:iam::ns1:role/admins"
	ecsHub      = "urn:ecs:iam::ns1:role/hub"
	seaweedRole = "arn:aws:iam::role/ClientRole"
)

// atEndpoint returns an identity with an endpoint, whose rules allow the given roles.
func atEndpoint(roleARNs ...string) *v1alpha1.ClusterIdentity {
	return everything(func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Endpoint, i.Spec.Region = "https://sts.example.internal", "RegionOne"
		(*i.Spec.Allow)[0].RoleARNs = roleARNs
	})
}

// otherServer returns the configuration of a server whose role ARNs do not have AWS's form. Its roles trust the source's user.
func otherServer(roleARNs ...string) stsemulator.Config {
	account := stsemulator.Account{ID: "210987654321", Users: []stsemulator.User{{
		Name: "operator", AccessKeys: []stsemulator.AccessKey{{ID: "AKIASOURCEOFTHECHAIN", Secret: "source-secret"}}, MayAssume: []string{"*"},
	}}}
	for _, arn := range roleARNs {
		name := arn[strings.LastIndex(arn, "/")+1:]
		account.Roles = append(account.Roles, stsemulator.Role{Name: name, ARN: arn, Trust: []stsemulator.Trust{{Principal: "*"}}, MayAssume: []string{"*"}})
	}
	return stsemulator.Config{Accounts: []stsemulator.Account{account}}
}

func sourceOfTheChain() *corev1.Secret {
	return testkit.Changed(testkit.Bootstrap(), func(s *corev1.Secret) { s.Data["AWS_ACCESS_KEY_ID"] = []byte("AKIASOURCEOFTHECHAIN") })
}

func assuming(roleARN string) *v1alpha1.RoleCredential {
	return testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = roleARN })
}

func TestRoleARNsOfOtherServersAreSentUnchanged(t *testing.T) {
	for name, tc := range map[string]struct {
		role, pattern string
		chain         []v1alpha1.Hop
		want          []string
	}{
		"a URN":                         {role: ecsRole, pattern: "urn:ecs:iam::ns1:role/*", want: []string{ecsRole}},
		"an ARN without an account":     {role: seaweedRole, pattern: "arn:aws:iam::role/Client*", want: []string{seaweedRole}},
		"a hop of the identity's chain": {role: ecsRole, pattern: ecsRole, chain: []v1alpha1.Hop{{RoleARN: ecsHub}}, want: []string{ecsHub, ecsRole}},
	} {
		t.Run(name, func(t *testing.T) {
			by := testkit.Changed(atEndpoint(tc.pattern), func(i *v1alpha1.ClusterIdentity) { i.Spec.Chain = tc.chain })
			f := newFixture(t, testkit.World(sourceOfTheChain(), by, testkit.Changed(assuming(tc.role), func(c *v1alpha1.RoleCredential) {
				c.Spec.Secret.Formats = []v1alpha1.Format{v1alpha1.FormatEnv, v1alpha1.FormatRegion}
			}))...)
			sts := f.emulateIn("RegionOne", otherServer(ecsRole, ecsHub, seaweedRole))
			got, _ := f.reconcile()
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Ready=True Issued"))
			var roles []string
			for _, call := range sts.Calls() {
				roles = append(roles, call.Parameters.Get("RoleArn"))
				f.Expect(call.Region).To(Equal("RegionOne"))
			}
			f.Expect(roles).To(Equal(tc.want))
			f.Expect(f.Secret().Data).To(And(HaveKeyWithValue("AWS_REGION", []byte("RegionOne")), HaveKeyWithValue("AWS_DEFAULT_REGION", []byte("RegionOne"))))
		})
	}
}

func TestRoleARNsOfOtherServersAreDeniedWithoutARule(t *testing.T) {
	for name, tc := range map[string]struct{ role, pattern string }{
		"another namespace of the server": {ecsRole, "urn:ecs:iam::ns2:role/*"},
		"a star that would match a colon": {ecsRole, "urn:ecs:iam:*:role/admins"},
		"a pattern in AWS's form":         {seaweedRole, "arn:aws:iam::*:role/ClientRole"},
		"a pattern of fewer fields":       {"arn:aws:iam::123456789012:role/Admin", "arn:aws:iam::*"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World(atEndpoint(tc.pattern), assuming(tc.role))...)
			got, _ := f.reconcile()
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Authorized=False NotAllowed"))
			f.Expect(f.STS.Issued).To(BeEmpty())
		})
	}
}

func TestARNsInAnotherFormRequireAnEndpoint(t *testing.T) {
	const message = " is not the ARN of an IAM role, such as arn:aws:iam::123456789012:role/S3Reader. " +
		"Correct it, or use an identity with the endpoint of the server that the ARN belongs to: ClusterIdentity default has none. STS was not called."
	for name, tc := range map[string]struct {
		change func(*v1alpha1.RoleCredential)
		want   string
	}{
		"a URN":                       {func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = ecsRole }, "spec.roleARN: " + ecsRole + message},
		"an ARN without an account":   {func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = seaweedRole }, "spec.roleARN: " + seaweedRole + message},
		"a role of MinIO":             {func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:minio:iam:::role/reader" }, "spec.roleARN: arn:minio:iam:::role/reader" + message},
		"a user":                      {func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::123456789012:user/alice" }, "spec.roleARN: arn:aws:iam::123456789012:user/alice" + message},
		"an account of eleven digits": {func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::12345678901:role/S3Reader" }, "spec.roleARN: arn:aws:iam::12345678901:role/S3Reader" + message},
		"the role's name alone":       {func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "S3Reader" }, "spec.roleARN: S3Reader" + message},
		"a managed policy of another server": {
			func(c *v1alpha1.RoleCredential) {
				c.Spec.PolicyARNs = []string{"arn:aws:iam::aws:policy/ReadOnlyAccess", "urn:ecs:iam:::policy/ECSS3FullAccess"}
			},
			"spec.policyARNs[1]: urn:ecs:iam:::policy/ECSS3FullAccess is not the ARN of an IAM managed policy, such as arn:aws:iam::aws:policy/ReadOnlyAccess. ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World(everything(func(*v1alpha1.ClusterIdentity) {}), testkit.Changed(testkit.Reader(), tc.change))...)
			got, result := f.reconcile()
			f.Expect(testkit.States(got.Status.Conditions)).To(And(HaveKeyWithValue("Authorized", "True Allowed"), HaveKeyWithValue("Issued", "False InvalidRequest")))
			f.Expect(testkit.Message(got.Status.Conditions, "Issued")).To(HavePrefix(tc.want))
			f.Expect(result.RequeueAfter).To(BeZero(), "until the spec or the identity changes")
			f.Expect(f.STS.Issued).To(BeEmpty())

			f.Update(testkit.Changed(f.Identity(), func(i *v1alpha1.ClusterIdentity) { i.Generation, i.Spec.Endpoint = 2, "https://sts.example.internal" }))
			got, _ = f.reconcile()
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Ready=True Issued"))
		})
	}
}

func TestIdentityWithNamesInAnotherFormRequiresAnEndpoint(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*v1alpha1.ClusterIdentity)
		want   string
	}{
		"a region of another server": {
			func(i *v1alpha1.ClusterIdentity) { i.Spec.Region = "RegionOne" },
			"spec.region: RegionOne is not the code of an AWS region, such as eu-west-1. Correct it, or set spec.endpoint to the server that uses this region.",
		},
		"a hop of another server": {
			func(i *v1alpha1.ClusterIdentity) { i.Spec.Chain = []v1alpha1.Hop{{RoleARN: ecsHub}} },
			"spec.chain[0].roleARN: " + ecsHub + " is not the ARN of an IAM role, such as arn:aws:iam::123456789012:role/S3Reader. " +
				"Correct it, or set spec.endpoint to the server of this role.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World(everything(tc.change))...)
			got, _ := f.verify()
			f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("False InvalidRequest"))
			f.Expect(testkit.Message(got.Status.Conditions, "Ready")).To(Equal(tc.want))
			f.Expect(f.STS.Callers).To(BeZero())

			f.Update(testkit.Changed(f.Identity(), func(i *v1alpha1.ClusterIdentity) { i.Generation, i.Spec.Endpoint = 2, "https://sts.example.internal" }))
			got, _ = f.verify()
			f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Verified"))
		})
	}
}
