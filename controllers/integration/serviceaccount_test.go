package integration_test

import (
	"encoding/json"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

const tenantAccount = "123456789012"

// newTokenHarness returns a harness whose STS trusts the API server as an OIDC provider, the provider's ARN, and the issuer's URL.
func newTokenHarness(t *testing.T) (h *harness, provider, issuer string) {
	t.Helper()
	h = newHarness(t, stsemulator.Options{TokenClock: clock.RealClock{}})
	provider, issuer = h.trustAPIServer()
	return h, provider, issuer
}

// trustAPIServer registers the API server as an OIDC provider of the STS.
func (h *harness) trustAPIServer() (provider, issuer string) {
	h.t.Helper()
	issuer = tokenIssuer(h.WithT)
	keys, err := kubectl("get", "--raw", "/openid/v1/jwks")
	h.Expect(err).NotTo(HaveOccurred())
	provider, err = h.sts.PutOIDCProvider(tenantAccount, stsemulator.OIDCProvider{Issuer: issuer, ClientIDs: []string{"sts.amazonaws.com"}, JWKS: json.RawMessage(keys)})
	h.Expect(err).NotTo(HaveOccurred())
	return provider, issuer
}

// tokenIssuer returns the URL of the issuer of service account tokens.
func tokenIssuer(g *WithT) string {
	discovery, err := kubectl("get", "--raw", "/.well-known/openid-configuration")
	g.Expect(err).NotTo(HaveOccurred())
	var configuration struct{ Issuer string }
	g.Expect(json.Unmarshal([]byte(discovery), &configuration)).To(Succeed())
	return configuration.Issuer
}

// putWebIdentityRole creates a role that trusts one service account, and returns its ARN.
func (h *harness) putWebIdentityRole(name, provider, namespace, account string, mayAssume ...string) string {
	h.t.Helper()
	issuer := provider[len("arn:aws:iam::"+tenantAccount+":oidc-provider/"):]
	h.Expect(h.sts.PutRole(tenantAccount, stsemulator.Role{Name: name, MaxSessionDuration: 43200, MayAssume: mayAssume, Trust: []stsemulator.Trust{{
		Federated:    provider,
		StringEquals: map[string][]string{issuer + ":aud": {"sts.amazonaws.com"}, issuer + ":sub": {"system:serviceaccount:" + namespace + ":" + account}},
	}}})).To(Succeed())
	return "arn:aws:iam::" + tenantAccount + ":role/" + name
}

func (h *harness) serviceAccount(namespace, name string) {
	h.t.Helper()
	h.Expect(admin.Create(h.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})).To(Succeed())
}

// useTokens sets service account tokens as the source of an identity.
func useTokens(i *v1alpha1.ClusterIdentity) {
	i.Spec.Source = v1alpha1.ClusterIdentitySource{ServiceAccount: &v1alpha1.ServiceAccountSource{}}
}

// withServiceAccount sets the service account and the role of a credential.
func withServiceAccount(account, roleARN string) func(*v1alpha1.RoleCredential) {
	return func(c *v1alpha1.RoleCredential) { c.Spec.ServiceAccountName, c.Spec.RoleARN = account, roleARN }
}

func TestRoleTrustsOneServiceAccount(t *testing.T) {
	h, provider, _ := newTokenHarness(t)
	h.start()
	shop, bank := h.namespace(nil), h.namespace(nil)
	role := h.putWebIdentityRole("Trusting", provider, shop, "reader")
	for _, namespace := range []string{shop, bank} {
		h.serviceAccount(namespace, "reader")
	}
	h.serviceAccount(shop, "writer")
	identity := h.identity(useTokens)
	h.eventually(identity, "Ready", "True NotVerifiable")

	created := h.credential(shop, "trusted", identity, withServiceAccount("reader", role))
	h.eventually(created, "Ready", "True Issued")
	session, ok := h.sts.Session(created.Status.AccessKeyID)
	h.Expect(ok).To(BeTrue())
	h.Expect(session).To(And(
		HaveField("Action", "AssumeRoleWithWebIdentity"), HaveField("Subject", "system:serviceaccount:"+shop+":reader"),
		HaveField("Audience", "sts.amazonaws.com"), HaveField("ARN", created.Status.PrincipalARN)))

	h.eventually(h.credential(shop, "of-another", identity, withServiceAccount("writer", role)), "Issued", "False AccessDenied")
	h.eventually(h.credential(bank, "of-another-namespace", identity, withServiceAccount("reader", role)), "Issued", "False AccessDenied")
	h.eventually(h.credential(shop, "without-account", identity, withServiceAccount("missing", role)), "Issued", "False TokenNotIssued")
	for _, call := range h.sts.Calls() {
		h.Expect(call.AccessKeyID).To(BeEmpty(), "the call is not signed")
	}
}

func TestChainStartsWithServiceAccountToken(t *testing.T) {
	h, provider, _ := newTokenHarness(t)
	h.start()
	namespace := h.namespace(nil)
	h.serviceAccount(namespace, "reader")
	first := h.putWebIdentityRole("First", provider, namespace, "reader", "*")
	h.Expect(h.sts.PutRole(tenantAccount, stsemulator.Role{Name: "Last", MayAssume: []string{"*"}, Trust: []stsemulator.Trust{{Principal: first}}})).To(Succeed())
	identity := h.identity(useTokens, func(i *v1alpha1.ClusterIdentity) { i.Spec.Chain = []v1alpha1.Hop{{RoleARN: first}} })
	last := "arn:aws:iam::" + tenantAccount + ":role/Last"
	for _, name := range []string{"one", "two"} {
		h.eventually(h.credential(namespace, name, identity, withServiceAccount("reader", last)), "Ready", "True Issued")
	}
	var actions []string
	for _, session := range h.sts.Sessions() {
		actions = append(actions, session.Action)
	}
	h.Expect(actions).To(Equal([]string{"AssumeRoleWithWebIdentity", "AssumeRole", "AssumeRole"}), "both share the hop's session")
}

func TestIdentityServesOnlyItsOwnNamespace(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.options.AllowNamespacedEndpoints = true
	h.start()
	shop, bank := h.namespace(nil), h.namespace(nil)
	own := &v1alpha1.Identity{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: "own"},
		Spec: v1alpha1.IdentitySpec{
			IdentitySettings: v1alpha1.IdentitySettings{Region: "eu-west-1", Endpoint: h.endpoint.URL},

			Source: v1alpha1.IdentitySource{AccessKey: &v1alpha1.LocalAccessKeySource{SecretRef: v1alpha1.LocalSecretReference{Name: "own-key"}}},
		},
	}
	create := func(namespace string) *v1alpha1.RoleCredential {
		created := roleCredential(namespace, "reader", "own")
		created.Spec.IdentityRef.Kind = v1alpha1.IdentityKindIdentity
		h.Expect(admin.Create(h.ctx, created)).To(Succeed())
		return created
	}
	created := create(shop)
	h.eventually(created, "Authorized", "False IdentityNotFound")
	h.Expect(admin.Create(h.ctx, own)).To(Succeed()) // enqueues the credential
	h.eventually(created, "Authorized", "False IdentityNotReady")
	h.putKeyIn(shop, "own-key", h.sts.AccessKeys(operatorARN)[0]) // its Secret does too
	h.eventually(created, "Ready", "True Issued")
	h.eventually(own, "Ready", "True Verified")
	h.Expect(own.Status.ARN).To(Equal(operatorARN))
	h.eventually(create(bank), "Authorized", "False IdentityNotFound")
}
