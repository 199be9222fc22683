package identity_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/authz"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// hop is the credentials of a hop. They contain its role and token.
type hop struct {
	roleARN string
	auth    identity.AuthSource
}

func (h *hop) Retrieve(ctx context.Context) (aws.Credentials, error) {
	keys := aws.Credentials{AccessKeyID: "ASIA", SecretAccessKey: h.roleARN, SessionToken: "signed"}
	if h.auth != nil {
		auth, err := h.auth(ctx)
		keys.SessionToken = string(auth.WebIdentityToken)
		return keys, err
	}
	return keys, nil
}

// withTokens is a fixture whose API server issues tokens, and counts them.
func withTokens(t *testing.T) (f *fixture, issued *int) {
	t.Helper()
	now := clocktesting.NewFakePassiveClock(metav1.Now().Time)
	issued = new(int)
	f = failing(t, interceptor.Funcs{
		SubResourceCreate: func(_ context.Context, _ client.Client, _ string, o, body client.Object, _ ...client.SubResourceCreateOption) error {
			request := body.(*authenticationv1.TokenRequest)
			*issued++
			request.Status.Token = "token of " + o.GetNamespace() + "/" + o.GetName()
			request.Status.ExpirationTimestamp = metav1.NewTime(now.Now().Add(identity.TokenLifetime))
			return nil
		},
	})
	f.resolver.Tokens = identity.NewTokens(f.client, now)
	return f, issued
}

// roleNamed is the ARN of a role of a name.
func roleNamed(name string) string { return "arn:aws:iam::123456789012:role/" + name }

// byToken is an identity whose source is a service account, with a chain of the roles of these names.
func byToken(chain ...string) *v1alpha1.Identity {
	found := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own", UID: "own-uid", Generation: 1}}
	found.Spec.Region = "eu-west-1"
	found.Spec.Source.ServiceAccount = &v1alpha1.ServiceAccountSource{}
	for _, role := range chain {
		found.Spec.Chain = append(found.Spec.Chain, v1alpha1.Hop{RoleARN: roleNamed(role)})
	}
	return found
}

func (f *fixture) as(found identity.Object, account string) *identity.Identity {
	f.t.Helper()
	f.exists(found)
	configured, problem, err := f.resolver.ResolveObject(f.t.Context(), found, types.NamespacedName{Namespace: "shop", Name: account})
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(problem).To(BeNil())
	return configured
}

func TestServiceAccountsWithoutAChainShareTheClient(t *testing.T) {
	f, _ := withTokens(t)
	one, two := f.as(byToken(), "one"), f.as(byToken(), "two")
	f.Expect(one.STS()).To(BeIdenticalTo(two.STS()))
	f.Expect(one.Call(v1alpha1.CallAssumeRole)).To(Equal(v1alpha1.CallAssumeRoleWithWebIdentity))
	f.Expect(authz.CallToAuthorize(one.Call(v1alpha1.CallAssumeRole))).To(Equal(v1alpha1.CallAssumeRole))
	f.Expect(one.Token(t.Context())).To(BeEquivalentTo("token of shop/one"))
	f.Expect(two.Token(t.Context())).To(BeEquivalentTo("token of shop/two"))
	f.Expect(one.Temporary(t.Context())).To(BeTrue())
}

func TestFirstHopUsesTheTokenOfEachServiceAccount(t *testing.T) {
	f, _ := withTokens(t)
	one, two := f.as(byToken("first"), "one"), f.as(byToken("first"), "two")
	f.Expect(one.Call(v1alpha1.CallAssumeRole)).To(Equal(v1alpha1.CallAssumeRole))
	f.Expect(one.STS()).To(BeIdenticalTo(two.STS()))
	session := one.Keys()
	two.Keys()
	f.Expect(f.as(byToken("first"), "one").Keys()).To(BeIdenticalTo(session))
	f.Expect(f.hops).To(HaveLen(2), "each has one session")
	f.Expect(one.Keys().Retrieve(t.Context())).To(HaveField("SessionToken", "token of shop/one"))
	f.Expect(two.Keys().Retrieve(t.Context())).To(HaveField("SessionToken", "token of shop/two"))

	longer := f.as(changed(byToken("first", "second"), func(i *v1alpha1.Identity) { i.Generation++ }), "one")
	f.Expect(longer.Keys()).To(Equal(&hop{roleARN: roleNamed("second")}))
}

func TestConcurrentCallersOfAServiceAccountShareItsSession(t *testing.T) {
	f, _ := withTokens(t)
	f.exists(byToken("first"))
	sessions := make(chan aws.CredentialsProvider, 8)
	var users sync.WaitGroup
	for range cap(sessions) {
		users.Go(func() {
			configured, problem, err := f.resolver.ResolveObject(context.Background(), byToken("first"), types.NamespacedName{Namespace: "shop", Name: "one"})
			if problem != nil || err != nil {
				t.Errorf("%v, %v", problem, err)
				return
			}
			sessions <- configured.Keys()
		})
	}
	users.Wait()
	close(sessions)
	f.Expect(sessions).To(HaveLen(cap(sessions)))
	first := <-sessions
	for session := range sessions {
		f.Expect(session).To(BeIdenticalTo(first))
	}
}

func TestRejectedTokenInvalidatesOneServiceAccountOnly(t *testing.T) {
	f, issued := withTokens(t)
	one, two := f.as(byToken("first"), "one"), f.as(byToken("first"), "two")
	for _, account := range []*identity.Identity{one, two} {
		_, err := account.Keys().Retrieve(t.Context())
		f.Expect(err).NotTo(HaveOccurred())
	}
	before, retained := *issued, two.Keys()
	one.InvalidateCredentials()
	f.Expect(f.as(byToken("first"), "two").Keys()).To(BeIdenticalTo(retained))
	f.Expect(f.hops).To(HaveLen(2))
	_, err := f.as(byToken("first"), "one").Keys().Retrieve(t.Context())
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(f.hops).To(HaveLen(3), "it has a new session")
	f.Expect(*issued).To(Equal(before+1), "and a new token")
	f.Expect(f.connected).To(Equal(1), "all share the client")
}

// of resolves an identity that exists for a service account.
func (f *fixture) of(found identity.Object, namespace, account string) *identity.Identity {
	f.t.Helper()
	configured, problem, err := f.resolver.ResolveObject(f.t.Context(), found, types.NamespacedName{Namespace: namespace, Name: account})
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(problem).To(BeNil())
	return configured
}

// A user of one namespace can change spec.serviceAccountName of a credential in a loop.
func TestServiceAccountNamesTakeBoundedMemory(t *testing.T) {
	f, _ := withTokens(t)
	found := byToken("first", "second")
	f.exists(found)
	for i := range 3000 {
		f.of(found, "shop", fmt.Sprint("account-", i))
	}
	f.Expect(f.connected).To(BeZero(), "no client is built before STS is called")
	f.Expect(f.hops).To(BeEmpty())
	for i := range 3000 {
		_, err := f.of(found, "shop", fmt.Sprint("account-", i)).Issue(t.Context(), request.Request{Call: v1alpha1.CallAssumeRole}, "")
		f.Expect(err).NotTo(HaveOccurred())
	}
	f.Expect(f.connected).To(Equal(1))
	_, sessions := f.of(found, "shop", "last").Sessions()
	f.Expect(sessions).To(Equal(16))
}

func TestNamespaceThatUsesManyServiceAccountsEvictsOnlyItsOwnSessions(t *testing.T) {
	f, _ := withTokens(t)
	found := withKey(func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Source = v1alpha1.ClusterIdentitySource{ServiceAccount: &v1alpha1.ServiceAccountSource{}}
		i.Spec.Chain = []v1alpha1.Hop{{RoleARN: roleNamed("first")}}
	})
	f.exists(found)
	victim := f.of(found, "shop", "reader").Keys()
	for i := range 1000 {
		f.of(found, "lab", fmt.Sprint("account-", i)).Keys()
	}
	f.Expect(f.of(found, "shop", "reader").Keys()).To(BeIdenticalTo(victim))
	for i := range 1000 {
		f.of(found, fmt.Sprint("namespace-", i), "reader").Keys()
	}
	namespaces, _ := f.of(found, "shop", "reader").Sessions()
	f.Expect(namespaces).To(Equal(64))
}

// What a tenant writes never comes to be the operator's own credentials, whatever the schema let through.
func TestIdentityWithoutASourceDoesNotUseTheOperatorsCredentials(t *testing.T) {
	noAWS(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAAMBIENT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "ambient-secret")
	f := newFixture(t)
	found := changed(byToken(), func(i *v1alpha1.Identity) { i.Spec.Source = v1alpha1.IdentitySource{} })
	f.exists(found)
	configured, problem, err := f.resolver.ResolveObject(t.Context(), found, shopDefault)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(configured).To(BeNil())
	f.Expect(problem).To(HaveField("Message", "spec.source of Identity has no source that this version of the operator supports. Set exactly one source, or upgrade the operator if the CRDs are newer."))
	f.Expect(f.connected).To(BeZero())
}

func changed[T any](object T, change func(T)) T {
	change(object)
	return object
}

func TestAPIServersAudienceIsRefusedWithAdviceForAnother(t *testing.T) {
	for name, tc := range map[string]struct {
		apiServers []string
		audience   string // the schema's default if empty
		want       string
	}{
		"the API server has the default audience of AWS": {[]string{"sts.amazonaws.com"}, "", "such as sts.amazonaws.com/rolecredential."},
		"the API server has both":                        {[]string{"sts.amazonaws.com", "sts.amazonaws.com/rolecredential"}, "", "such as sts.amazonaws.com/rolecredential/rolecredential."},
		"the API server has its own audience only":       {[]string{"https://api.example"}, "https://api.example", "such as sts.amazonaws.com."},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := withTokens(t)
			f.client = interceptor.NewClient(f.client.(client.WithWatch), interceptor.Funcs{
				SubResourceCreate: func(_ context.Context, _ client.Client, _ string, _, body client.Object, _ ...client.SubResourceCreateOption) error {
					body.(*authenticationv1.TokenRequest).Spec.Audiences = tc.apiServers
					return nil
				},
			})
			f.resolver.Tokens = identity.NewTokens(f.client, clocktesting.NewFakePassiveClock(metav1.Now().Time))
			found := changed(byToken(), func(i *v1alpha1.Identity) { i.Spec.Source.ServiceAccount.Audience = tc.audience })
			_, err := f.as(found, "one").Token(t.Context())
			var refused *reason.TokenError
			f.Expect(errors.As(err, &refused)).To(BeTrue())
			f.Expect(refused.Message).To(And(
				ContainSubstring("is the Kubernetes API server's own"), ContainSubstring(tc.want),
				ContainSubstring("Add that to the client IDs of the IAM OIDC provider, and to the condition on aud in the role's trust policy."),
			))
		})
	}
}
