package credential

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
)

// byToken returns the default identity with service account tokens as its source.
func byToken(change ...func(*v1alpha1.ClusterIdentity)) *v1alpha1.ClusterIdentity {
	return testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Source = v1alpha1.ClusterIdentitySource{ServiceAccount: &v1alpha1.ServiceAccountSource{Audience: "sts.amazonaws.com"}}
		for _, c := range change {
			c(i)
		}
	})
}

// ownIdentity returns an Identity of the namespace shop with an access key.
func ownIdentity() *v1alpha1.Identity {
	return &v1alpha1.Identity{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own", UID: "own-uid", Generation: 1},
		Spec: v1alpha1.IdentitySpec{
			IdentitySettings: v1alpha1.IdentitySettings{Region: "eu-west-1"},

			Source: v1alpha1.IdentitySource{AccessKey: &v1alpha1.LocalAccessKeySource{SecretRef: v1alpha1.LocalSecretReference{Name: "own-key"}}},
		},
	}
}

func ownKey() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own-key"},
		Data:       map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("AKIAOWN"), "AWS_SECRET_ACCESS_KEY": []byte("own-secret")},
	}
}

// ofOwn returns the Reader with the Identity of its namespace.
func ofOwn() *v1alpha1.RoleCredential {
	return testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) {
		c.Spec.IdentityRef = v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindIdentity, Name: "own"}
	})
}

func TestCallUsesTokenOfServiceAccount(t *testing.T) {
	named := testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.ServiceAccountName = "reader" })
	for name, tc := range map[string]struct {
		objects []client.Object
		want    string
	}{
		"a named service account":     {testkit.World(byToken(), named), "shop:reader for sts.amazonaws.com"},
		"the default service account": {testkit.World(byToken()), "shop:default for sts.amazonaws.com"},
		"the audience of the identity": {
			testkit.World(byToken(func(i *v1alpha1.ClusterIdentity) { i.Spec.Source.ServiceAccount.Audience = "sts.example" }), named), "shop:reader for sts.example",
		},
		"an Identity": {
			testkit.World(ofOwn(), testkit.Changed(ownIdentity(), func(i *v1alpha1.Identity) {
				i.Spec.Source = v1alpha1.IdentitySource{ServiceAccount: &v1alpha1.ServiceAccountSource{}}
			})), "shop:default for sts.amazonaws.com",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tc.objects...)
			got, _ := f.reconcile()
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Ready=True Issued"))
			f.Expect(f.Tokens.Requested).To(HaveLen(2)) // the first finds the API server's own audience
			f.Expect(f.Tokens.Requested[1]).To(Equal(tc.want))
			f.Expect(f.STS.Tokens).To(Equal([]string{"token of " + tc.want}))
		})
	}
}

func TestTokenIsCachedUntilItExpires(t *testing.T) {
	f := newFixture(t, testkit.World(byToken())...)
	f.reconcile()
	for _, step := range []struct {
		after    time.Duration
		requests int // in total
	}{{7 * time.Minute, 2}, {9 * time.Minute, 3}} {
		f.Clock.SetTime(testkit.Start.Add(step.after))
		f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) {
			c.Annotations = map[string]string{v1alpha1.RefreshAnnotation: step.after.String()}
		}))
		f.reconcile()
		f.Expect(f.Tokens.Requested).To(HaveLen(step.requests))
	}
	f.Expect(f.STS.Tokens).To(HaveLen(3))
}

func TestRejectedTokenIsReplaced(t *testing.T) {
	f := newFixture(t, testkit.World(byToken())...)
	f.STS.Err = testkit.STSError("InvalidIdentityToken")
	got, result := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(And(
		HavePrefix("Issued=False InvalidSourceCredentials"), ContainSubstring("rejected the token of system:serviceaccount:shop:default (ClusterIdentity default)")))
	f.STS.Err = nil
	f.Clock.SetTime(testkit.Start.Add(result.RequeueAfter))
	got, _ = f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.Tokens.Requested).To(HaveLen(3))
}

func TestFailedTokenRequestIsReportedBeforeCallingSTS(t *testing.T) {
	resource := corev1.Resource("serviceaccounts")
	for name, tc := range map[string]struct {
		err      error
		audience string
		want     string
	}{
		"a missing service account":       {err: apierrors.NewNotFound(resource, "default"), want: "Service account default does not exist in this namespace."},
		"RBAC forbids the request":        {err: apierrors.NewForbidden(resource, "default", errors.New("RBAC")), want: "Bind the ClusterRole rolecredential-serviceaccount-token-role in this namespace"},
		"the API server is not reachable": {err: errors.New("connection refused"), want: "issued no token for the service account default"},
		"the API server's own audience":   {audience: testkit.APIAudience, want: "Set source.serviceAccount.audience of the identity to another audience, such as sts.amazonaws.com. Add that to the client IDs of the IAM OIDC provider, and to the condition on aud"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World(byToken(func(i *v1alpha1.ClusterIdentity) {
				if tc.audience != "" {
					i.Spec.Source.ServiceAccount.Audience = tc.audience
				}
			}))...)
			f.Tokens.Err = tc.err
			got, result := f.reconcile()
			f.Expect(testkit.States(got.Status.Conditions)).To(Equal(map[string]string{"Authorized": "True Allowed", "Issued": "False TokenNotIssued", "Ready": "False NotIssued"}))
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(And(ContainSubstring(tc.want), HaveSuffix("STS was not called.")))
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).NotTo(ContainSubstring("token of shop"))
			f.Expect(f.STS.Issued).To(BeEmpty())
			f.Expect(result.RequeueAfter).To(BeNumerically("<=", reason.MaxWait))
			f.Expect(result.RequeueAfter).To(BeNumerically(">", 0))
		})
	}
}

func TestFieldsUnsupportedByAssumeRoleWithWebIdentityAreRejected(t *testing.T) {
	for field, set := range map[string]func(*v1alpha1.RoleCredentialSpec){
		"externalID":     func(s *v1alpha1.RoleCredentialSpec) { s.ExternalID = "k8s" },
		"sourceIdentity": func(s *v1alpha1.RoleCredentialSpec) { s.SourceIdentity = "alice" },
		"tags":           func(s *v1alpha1.RoleCredentialSpec) { s.Tags = []v1alpha1.Tag{{Key: "team", Value: new("shop")}} },
		"mfa":            func(s *v1alpha1.RoleCredentialSpec) { s.MFA = device() },
	} {
		t.Run(field, func(t *testing.T) {
			credential := testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { set(&c.Spec) })
			f := newFixture(t, testkit.World(byToken(), credential, seedSecret(deviceSeed))...)
			got, result := f.reconcile()
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(And(HavePrefix("Issued=False UnsupportedField"), ContainSubstring("has no parameter for spec."+field+".")))
			f.Expect(f.Tokens.Requested).To(BeEmpty())
			f.Expect(f.STS.Issued).To(BeEmpty())
			f.Expect(result.RequeueAfter).To(BeZero())
		})
	}
}

func TestChangedServiceAccountCausesReissue(t *testing.T) {
	f := newFixture(t, testkit.World(byToken())...)
	f.reconcile()
	f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.ServiceAccountName = "other" }))
	f.reconcile()
	f.Expect(f.STS.Tokens).To(Equal([]string{"token of shop:default for sts.amazonaws.com", "token of shop:other for sts.amazonaws.com"}))
}

// A client takes memory, and a user of one namespace chooses the name.
func TestDeniedAndSuspendedCredentialsBuildNoClient(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.RoleCredential){
		"suspended": func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true },
		"denied":    func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::999999999999:role/Denied" },
	} {
		t.Run(name, func(t *testing.T) {
			chained := byToken(func(i *v1alpha1.ClusterIdentity) {
				i.Spec.Chain = []v1alpha1.Hop{{RoleARN: "arn:aws:iam::210987654321:role/Hub"}}
			})
			f := newFixture(t, testkit.World(chained, testkit.Changed(testkit.Reader(), change))...)
			built := 0
			f.credentials.Identities.NewSTS = func(request.Key, aws.Config) identity.STS {
				built++
				return f.STS
			}
			for n := range 30 {
				f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.ServiceAccountName = fmt.Sprint("account-", n) }))
				f.reconcile()
			}
			f.Expect(built).To(BeZero())
		})
	}
}

// verifyOwn reconciles ownIdentity once, and returns it as stored afterwards.
func (f *fixture) verifyOwn() *v1alpha1.Identity {
	f.T.Helper()
	base := f.identities
	r := &identity.Reconciler[*v1alpha1.Identity]{
		New: func() *v1alpha1.Identity { return &v1alpha1.Identity{} }, Client: base.Client, Identities: base.Identities, Limits: base.Limits, Events: base.Events, Metrics: base.Metrics, Clock: base.Clock,
	}
	key := client.ObjectKeyFromObject(ownIdentity())
	_, err := r.Reconcile(f.T.Context(), reconcile.Request{NamespacedName: key})
	f.Expect(err).NotTo(HaveOccurred())
	got := &v1alpha1.Identity{}
	f.Expect(f.Client.Get(f.T.Context(), key, got)).To(Succeed())
	return got
}

func TestIdentityReportsCondition(t *testing.T) {
	changedIdentity := func(change func(*v1alpha1.Identity)) *v1alpha1.Identity {
		return testkit.Changed(ownIdentity(), change)
	}
	for name, tc := range map[string]struct {
		objects   []client.Object
		endpoints bool // whether the operator allows endpoints
		want      string
		wantCalls int
	}{
		"a valid key":                            {objects: testkit.World(ownIdentity(), ownKey()), want: "True Verified", wantCalls: 1},
		"a key in another namespace":             {objects: testkit.World(ownIdentity(), testkit.Changed(ownKey(), func(s *corev1.Secret) { s.Namespace = "bank" })), want: "False SecretNotFound"},
		"an endpoint":                            {objects: testkit.World(changedIdentity(func(i *v1alpha1.Identity) { i.Spec.Endpoint = "https://sts.example" }), ownKey()), want: "False InvalidEndpoint"},
		"an endpoint, which the operator allows": {objects: testkit.World(changedIdentity(func(i *v1alpha1.Identity) { i.Spec.Endpoint = "https://sts.example" }), ownKey()), endpoints: true, want: "True Verified", wantCalls: 1},
		"a service account, which has no caller to verify": {
			objects: testkit.World(changedIdentity(func(i *v1alpha1.Identity) {
				i.Spec.Source = v1alpha1.IdentitySource{ServiceAccount: &v1alpha1.ServiceAccountSource{}}
			})), want: "True NotVerifiable",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tc.objects...)
			f.identities.Identities.AllowNamespacedEndpoints = tc.endpoints
			f.Expect(testkit.States(f.verifyOwn().Status.Conditions)).To(HaveKeyWithValue("Ready", tc.want))
			f.Expect(f.STS.Callers).To(Equal(tc.wantCalls))
		})
	}
}

func TestIdentityAllowsAllRequestsOfItsNamespace(t *testing.T) {
	credential := testkit.Changed(ofOwn(), func(c *v1alpha1.RoleCredential) {
		c.Spec.RoleARN, c.Spec.SessionName, c.Spec.Duration = "arn:aws:iam::999999999999:role/any", "any-name", &metav1.Duration{Duration: 12 * time.Hour}
	})
	f := newFixture(t, testkit.Without(testkit.DefaultIdentity(), testkit.World(ownIdentity(), ownKey(), credential))...)
	got, _ := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Ready=True Issued"))
	f.Expect(testkit.Message(got.Status.Conditions, "Authorized")).To(Equal("Identity own allows the request."))

	own := v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindIdentity, Name: "own"}
	user := testkit.Changed(session(), func(c *v1alpha1.SessionCredential) { c.Spec.IdentityRef = own })
	f.Expect(testkit.FirstProblem(reconcileKind(f, request.SessionCredential, user).Status.Conditions)).To(HavePrefix("Ready=True Issued"))
	narrower := testkit.Changed(federated(), func(c *v1alpha1.FederatedCredential) { c.Spec.IdentityRef = own })
	f.Expect(testkit.FirstProblem(reconcileKind(f, request.FederatedCredential, narrower).Status.Conditions)).To(HavePrefix("Ready=True Issued"))
}

func TestIdentityOfAnotherNamespaceIsNotFound(t *testing.T) {
	f := newFixture(t, testkit.World(ofOwn(), testkit.Changed(ownIdentity(), func(i *v1alpha1.Identity) { i.Namespace = "bank" }), ownKey())...)
	got, _ := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(Equal("Authorized=False IdentityNotFound: There is no Identity own. Create it, or change spec.identityRef."))
}
