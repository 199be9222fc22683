package credential

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/stsemulator"
)

const chineseRole = "arn:aws-cn:iam::123456789012:role/S3Reader"

// everything returns an identity that allows all requests, changed by f.
func everything(f func(*v1alpha1.ClusterIdentity)) *v1alpha1.ClusterIdentity {
	return testkit.Changed(allowing(v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken), f)
}

func TestARNsOfAnotherPartitionAreRejectedBeforeCallingSTS(t *testing.T) {
	reconcileWith := func(change func(*v1alpha1.RoleCredential)) func(f *fixture) request.Object {
		return func(f *fixture) request.Object {
			return reconcileKind(f, request.RoleCredential, testkit.Changed(anotherReader(time.Hour, nil), change))
		}
	}
	role := func(arn string) func(f *fixture) request.Object {
		return reconcileWith(func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = arn })
	}
	const issued, rejected = "Ready=True Issued", "Issued=False WrongPartition: "
	const message = " is in the partition aws-cn, but the region eu-west-1 is in aws, whose credentials are not valid in other partitions. " +
		"Use an ARN of the partition of ClusterIdentity default, or an identity of the other partition. STS was not called."
	for name, tc := range map[string]struct {
		region, endpoint string
		reconcile        func(f *fixture) request.Object
		want             string
	}{
		"a role of the region's partition":                  {reconcile: role(readerARN), want: issued},
		"a role of another partition":                       {reconcile: role(chineseRole), want: rejected + "spec.roleARN: " + chineseRole + message},
		"a role and a region of another partition":          {region: "cn-north-1", reconcile: role(chineseRole), want: issued},
		"a role of the partition aws in a region of aws-cn": {region: "cn-north-1", reconcile: role(readerARN), want: rejected},
		"a role of another partition, in an unknown region": {region: "moon-far-1", reconcile: role(chineseRole), want: issued},
		"a role of another partition, at an endpoint":       {endpoint: "https://sts.example.internal", reconcile: role(chineseRole), want: issued},
		"a session policy of another partition": {
			reconcile: reconcileWith(func(c *v1alpha1.RoleCredential) {
				c.Spec.PolicyARNs = []string{"arn:aws:iam::aws:policy/ReadOnlyAccess", "arn:aws-cn:iam::aws:policy/ReadOnlyAccess"}
			}),
			want: rejected + "spec.policyARNs[1]: arn:aws-cn:iam::aws:policy/ReadOnlyAccess" + message,
		},
		"a federated user's policy of another partition": {
			reconcile: func(f *fixture) request.Object {
				return reconcileKind(f, request.FederatedCredential, testkit.Changed(federated(), func(c *v1alpha1.FederatedCredential) {
					c.Spec.PolicyARNs = []string{"arn:aws-cn:iam::aws:policy/ReadOnlyAccess"}
				}))
			},
			want: rejected + "spec.policyARNs[0]: arn:aws-cn:iam::aws:policy/ReadOnlyAccess" + message,
		},
		"an MFA device of another partition": {
			reconcile: func(f *fixture) request.Object {
				return reconcileKind(f, request.SessionCredential, testkit.Changed(session(), func(c *v1alpha1.SessionCredential) {
					c.Spec.MFA = device()
					c.Spec.MFA.SerialNumber = "arn:aws-cn:iam::210987654321:mfa/operator"
				}))
			},
			want: rejected + "spec.mfa.serialNumber: arn:aws-cn:iam::210987654321:mfa/operator" + message,
		},
		"a user's session, which has no ARNs": {
			region: "cn-north-1", reconcile: func(f *fixture) request.Object { return reconcileKind(f, request.SessionCredential, session()) }, want: issued,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World(seedSecret(deviceSeed), everything(func(i *v1alpha1.ClusterIdentity) {
				if tc.region != "" {
					i.Spec.Region = tc.region
				}
				i.Spec.Endpoint = tc.endpoint
			}))...)
			got := tc.reconcile(f)
			f.Expect(testkit.FirstProblem(got.Report().Conditions)).To(HavePrefix(tc.want))
			calls := 0
			if tc.want == issued {
				calls = 1
			}
			f.Expect(f.STS.Issued).To(HaveLen(calls))
		})
	}
}

func TestSecretStaysWhenItsRoleIsInAnotherPartition(t *testing.T) {
	f := newFixture(t, testkit.World(everything(func(*v1alpha1.ClusterIdentity) {}))...)
	f.reconcile()
	f.Update(testkit.Changed(f.Identity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.Region = "cn-north-1" }))
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)).To(Equal(map[string]string{"Authorized": "True Allowed", "Issued": "False WrongPartition", "Ready": "True Issued"}))
	f.Expect(got.Status.NextRefreshTime).To(BeNil())
	f.Expect(f.STS.Issued).To(HaveLen(1))
}

func TestIdentityWithChainIntoAnotherPartitionIsNotReady(t *testing.T) {
	hub := v1alpha1.Hop{RoleARN: "arn:aws:iam::210987654321:role/Hub"}
	govHub := v1alpha1.Hop{RoleARN: "arn:aws-us-gov:iam::210987654321:role/Hub"}
	for name, tc := range map[string]struct {
		chain    []v1alpha1.Hop
		endpoint string
		want     string
		message  string
	}{
		"a hop of the region's partition": {chain: []v1alpha1.Hop{hub}, want: "True Verified"},
		"a hop of another partition": {
			chain: []v1alpha1.Hop{hub, govHub}, want: "False WrongPartition",
			message: "spec.chain[1].roleARN: arn:aws-us-gov:iam::210987654321:role/Hub is in the partition aws-us-gov, but the region eu-west-1 is in aws, whose credentials are not valid in other partitions. " +
				"Use a region, a source and hops of one partition.",
		},
		"a hop of another partition, at an endpoint": {chain: []v1alpha1.Hop{govHub}, endpoint: "https://sts.example.internal", want: "True Verified"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World(everything(func(i *v1alpha1.ClusterIdentity) { i.Spec.Chain, i.Spec.Endpoint = tc.chain, tc.endpoint }))...)
			got, result := f.verify()
			f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal(tc.want))
			if tc.message == "" {
				return
			}
			f.Expect(testkit.Message(got.Status.Conditions, "Ready")).To(Equal(tc.message))
			f.Expect(result.RequeueAfter).To(BeZero(), "until its spec changes")
			credential, _ := f.reconcile()
			f.Expect(testkit.FirstProblem(credential.Status.Conditions)).To(Equal("Authorized=False IdentityNotReady: ClusterIdentity default cannot be used: " + tc.message))
			f.Expect(f.STS.Issued).To(BeEmpty())
			f.Expect(f.STS.Callers).To(BeZero())

			f.Update(testkit.Changed(f.Identity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.Chain, i.Generation = []v1alpha1.Hop{hub}, 2 }))
			credential, _ = f.reconcile()
			f.Expect(testkit.States(credential.Status.Conditions)).To(HaveKeyWithValue("Ready", string(metav1.ConditionTrue)+" Issued"))
		})
	}
}

// worldOf returns an emulator configuration in a partition: an account with a user and a role, and an account whose
// roles trust that role.
func worldOf(partition string) stsemulator.Config {
	trustOf := func(principal string) []stsemulator.Trust {
		return []stsemulator.Trust{{Principal: "arn:" + partition + ":iam::" + principal}}
	}
	all := []string{"*"}
	return stsemulator.Config{Accounts: []stsemulator.Account{
		{
			ID: "210987654321", Partition: partition,
			Users: []stsemulator.User{{Name: "operator", AccessKeys: []stsemulator.AccessKey{{ID: "AKIASOURCEOFTHECHAIN", Secret: "source-secret"}}, MayAssume: all, MayFederate: all}},
			Roles: []stsemulator.Role{{Name: "Hub", Trust: trustOf("210987654321:user/operator"), MayAssume: all}},
		},
		{ID: "123456789012", Partition: partition, Roles: []stsemulator.Role{
			{Name: "Entry", Trust: trustOf("210987654321:role/Hub"), MayAssume: all},
			{Name: "S3Reader", Trust: trustOf("123456789012:role/Entry")},
		}},
	}}
}

func TestRequestsStayWithinOnePartition(t *testing.T) {
	for partition, region := range map[string]string{
		"aws": "eu-west-1", "aws-cn": "cn-northwest-1", "aws-us-gov": "us-gov-east-1", "aws-iso-b": "us-isob-east-1", "aws-eusc": "eusc-de-east-1",
	} {
		t.Run(partition, func(t *testing.T) {
			role := func(account, name string) string { return "arn:" + partition + ":iam::" + account + ":role/" + name }
			session := func(name string) string { return "arn:" + partition + ":sts::123456789012:assumed-role/" + name }
			by := everything(func(i *v1alpha1.ClusterIdentity) {
				i.Spec.Region = region
				i.Spec.Chain = []v1alpha1.Hop{{RoleARN: role("210987654321", "Hub")}, {RoleARN: role("123456789012", "Entry")}}
			})
			key := testkit.Changed(testkit.Bootstrap(), func(s *corev1.Secret) { s.Data["AWS_ACCESS_KEY_ID"] = []byte("AKIASOURCEOFTHECHAIN") })
			cred := testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = role("123456789012", "S3Reader") })
			f := newFixture(t, testkit.World(key, by, cred)...)
			sts := f.emulate(worldOf(partition))

			verified, _ := f.verify()
			f.Expect(verified.Status.ARN).To(Equal(session("Entry")))
			issued, _ := f.reconcile()
			f.Expect(testkit.FirstProblem(issued.Status.Conditions)).To(HavePrefix("Ready=True Issued"))
			f.Expect(issued.Status.PrincipalARN).To(Equal(session("S3Reader/shop.s3-reader")))
			record, ok := reissue.ParseRecord(f.Secret().Annotations)
			f.Expect(ok).To(BeTrue())
			f.Expect(record.PrincipalARN).To(Equal(session("S3Reader/shop.s3-reader")))
			for _, call := range sts.Calls() {
				f.Expect(call.Region).To(Equal(region))
			}

			f.Update(testkit.Changed(f.Identity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.Chain, i.Generation = nil, 2 }))
			f.Advance(time.Minute)
			verified, _ = f.verify()
			f.Expect(verified.Status.ARN).To(Equal("arn:" + partition + ":iam::210987654321:user/operator"))
			user := reconcileKind(f, request.FederatedCredential, federated())
			f.Expect(user.Status.PrincipalARN).To(Equal("arn:" + partition + ":sts::210987654321:federated-user/shop.narrowed"))
		})
	}
}

// emulate connects the fixture's identities to an STS emulator, with the operator's own clients and as if it were
// AWS.
func (f *fixture) emulate(world stsemulator.Config) *stsemulator.Server {
	return f.emulateIn("", world)
}

// emulateIn is emulate with a server that accepts signatures for one region only, if region is not empty.
func (f *fixture) emulateIn(region string, world stsemulator.Config) *stsemulator.Server {
	f.T.Helper()
	server, err := stsemulator.New(world, stsemulator.Options{Clock: f.Clock, SignatureClock: clock.RealClock{}, Region: region})
	f.Expect(err).NotTo(HaveOccurred())
	endpoint, err := server.Start("")
	f.Expect(err).NotTo(HaveOccurred())
	f.T.Cleanup(func() { f.Expect(endpoint.Close()).To(Succeed()) })
	resolver := f.credentials.Identities
	resolver.NewSTS = func(key request.Key, config aws.Config) identity.STS {
		config.BaseEndpoint = &endpoint.URL
		return f.Connector.NewSTS(key, config)
	}
	return server
}
