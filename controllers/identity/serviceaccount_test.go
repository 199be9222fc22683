package identity_test

import (
	"context"
	"errors"
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
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// hop is the credentials of a hop, which say what they were asked for with.
type hop struct {
	roleARN string
	token   identity.TokenSource
}

func (h hop) Retrieve(ctx context.Context) (aws.Credentials, error) {
	keys := aws.Credentials{AccessKeyID: "ASIA", SecretAccessKey: h.roleARN, SessionToken: "signed"}
	if h.token != nil {
		token, err := h.token(ctx)
		keys.SessionToken = string(token)
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
	f.resolver.Assume = func(_ request.Key, _ aws.Config, r request.Request, token identity.TokenSource) aws.CredentialsProvider {
		return hop{r.RoleARN, token}
	}
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
	configured, problem, err := f.resolver.Configure(f.t.Context(), found, types.NamespacedName{Namespace: "shop", Name: account})
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(problem).To(BeNil())
	return configured
}

func TestServiceAccountsShareAClientWhereNoChainTellsThemApart(t *testing.T) {
	f, _ := withTokens(t)
	one, two := f.as(byToken(), "one"), f.as(byToken(), "two")
	f.Expect(one.Client).To(BeIdenticalTo(two.Client))
	f.Expect(one.WebIdentity()(t.Context())).To(BeEquivalentTo("token of shop/one"))
	f.Expect(two.WebIdentity()(t.Context())).To(BeEquivalentTo("token of shop/two"))
	f.Expect(one.Temporary(t.Context())).To(BeTrue())
}

func TestAChainShowsATokenToItsFirstHopAndHasASessionForEachServiceAccount(t *testing.T) {
	f, _ := withTokens(t)
	one, two := f.as(byToken("first"), "one"), f.as(byToken("first"), "two")
	f.Expect(one.WebIdentity()).To(BeNil())
	f.Expect(one.Client).NotTo(BeIdenticalTo(two.Client))
	f.Expect(one.Client.(*connection).before).To(And(Not(BeNil()), BeIdenticalTo(two.Client.(*connection).before)), "what is measured of their STS is measured for all")
	f.Expect(f.as(byToken("first"), "one").Client).To(BeIdenticalTo(one.Client))
	f.Expect(one.Client.(*connection).config.Credentials.Retrieve(t.Context())).To(HaveField("SessionToken", "token of shop/one"))
	f.Expect(two.Client.(*connection).config.Credentials.Retrieve(t.Context())).To(HaveField("SessionToken", "token of shop/two"))

	longer := f.as(changed(byToken("first", "second"), func(i *v1alpha1.Identity) { i.Generation++ }), "one")
	f.Expect(longer.Client.(*connection).config.Credentials).To(Equal(hop{roleARN: roleNamed("second")}))
}

func TestAllWhoComeAsOneServiceAccountShareItsSession(t *testing.T) {
	f, _ := withTokens(t)
	sessions := make(chan *connection, 8)
	var users sync.WaitGroup
	for range cap(sessions) {
		users.Go(func() {
			configured, problem, err := f.resolver.Configure(context.Background(), byToken("first"), types.NamespacedName{Namespace: "shop", Name: "one"})
			if problem != nil || err != nil {
				t.Errorf("%v, %v", problem, err)
				return
			}
			sessions <- configured.Client.(*connection)
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

func TestARefusalOfOneServiceAccountLeavesTheOthersSessions(t *testing.T) {
	f, issued := withTokens(t)
	one, two := f.as(byToken("first"), "one"), f.as(byToken("first"), "two")
	for _, account := range []*identity.Identity{one, two} {
		_, err := account.Client.(*connection).config.Credentials.Retrieve(t.Context())
		f.Expect(err).NotTo(HaveOccurred())
	}
	before := *issued
	one.Refused()
	f.Expect(f.as(byToken("first"), "one").Client).NotTo(BeIdenticalTo(one.Client))
	f.Expect(f.as(byToken("first"), "one").Client.(*connection).before).To(BeIdenticalTo(one.Client.(*connection).before))
	f.Expect(f.as(byToken("first"), "two").Client).To(BeIdenticalTo(two.Client))
	_, err := f.as(byToken("first"), "one").Client.(*connection).config.Credentials.Retrieve(t.Context())
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(*issued).To(Equal(before+1), "its token was dropped too")
}

// What a tenant writes never comes to be the operator's own credentials, whatever the schema let through.
func TestIdentityWithoutASourceDoesNotUseTheOperatorsCredentials(t *testing.T) {
	noAWS(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAAMBIENT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "ambient-secret")
	f := newFixture(t)
	found := changed(byToken(), func(i *v1alpha1.Identity) { i.Spec.Source = v1alpha1.IdentitySource{} })
	configured, problem, err := f.resolver.Configure(t.Context(), found, shopDefault)
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
			_, err := f.as(found, "one").WebIdentity()(t.Context())
			var refused *reason.TokenError
			f.Expect(errors.As(err, &refused)).To(BeTrue())
			f.Expect(refused.Message).To(And(
				ContainSubstring("is the Kubernetes API server's own"), ContainSubstring(tc.want),
				ContainSubstring("Add that to the client IDs of the IAM OIDC provider, and to the condition on aud in the role's trust policy."),
			))
		})
	}
}
