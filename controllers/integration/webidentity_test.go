package integration_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

func TestTokenInSecretReachesARoleForTwelveHours(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	i := h.newIssuer()
	h.start()
	namespace := h.namespace(nil)
	first, second := h.putRole("First", i.trust("spiffe://example/first")), h.putRole("Second", i.trust("spiffe://example/second"))
	by := h.identity(useTokenIn, func(by *v1alpha1.ClusterIdentity) {
		h.putSecret(operatorNamespace, by.Name, "value", i.token("spiffe://example/first", time.Hour))
	})
	h.eventually(by, "Ready", "True NotVerifiable")
	created := h.credential(namespace, "first", by, func(c *v1alpha1.RoleCredential) {
		c.Spec.RoleARN, c.Spec.Duration = first, &metav1.Duration{Duration: 12 * time.Hour}
	})
	h.eventually(created, "Ready", "True Issued")
	session, ok := h.sts.Session(created.Status.AccessKeyID)
	h.Expect(ok).To(BeTrue())
	h.Expect(session).To(And(HaveField("Action", "AssumeRoleWithWebIdentity"), HaveField("Subject", "spiffe://example/first"), HaveField("Audience", "sts.amazonaws.com")))
	h.Expect(session.Expiration.Sub(session.Issued)).To(Equal(12 * time.Hour))

	// A new token is used without a restart and without a failed refresh.
	h.putSecret(operatorNamespace, by.Name, "value", i.token("spiffe://example/second", time.Hour))
	current := h.secret(operatorNamespace, by.Name).ResourceVersion
	h.Eventually(func() string { h.state(by, "Ready")(); return by.Status.ObservedSecretVersion }).WithTimeout(waitLimit).Should(Equal(current))
	replaced := h.credential(namespace, "second", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = second })
	h.eventually(replaced, "Ready", "True Issued")
	session, _ = h.sts.Session(replaced.Status.AccessKeyID)
	h.Expect(session.Subject).To(Equal("spiffe://example/second"))

	// An expired token fails the refresh before STS is called, and the next token repairs it.
	before := len(h.sts.Calls())
	h.putSecret(operatorNamespace, by.Name, "value", i.token("spiffe://example/first", -time.Minute))
	h.eventually(by, "Ready", "False TokenExpired")
	h.refresh(created, "1")
	h.eventually(created, "Issued", "False TokenExpired")
	h.Expect(h.state(created, "Ready")()).To(Equal("True Issued"))
	h.Expect(h.sts.Calls()).To(HaveLen(before))
	h.putSecret(operatorNamespace, by.Name, "value", i.token("spiffe://example/first", time.Hour))
	h.eventually(by, "Ready", "True NotVerifiable")
	h.eventually(created, "Issued", "True Issued")
	h.Expect(created.Status.LastHandledRefreshRequest).To(Equal("1"))
	for _, call := range h.sts.Calls() {
		h.Expect(call.Code).To(BeEmpty())
		h.Expect(call.AccessKeyID).To(BeEmpty(), "no call is signed")
	}
}

// The tenants do not hold the token, so that policies can rely on the session tags behind a hop.
func TestTokenReachesTheFirstHopAndTagsTheRest(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	i := h.newIssuer()
	h.start()
	namespace := h.namespace(nil)
	hub := h.putRole("Hub", i.trust("operator"), "*")
	last := h.putRole("Last", stsemulator.Trust{Principal: hub, StringEquals: map[string][]string{"aws:RequestTag/kubernetes-namespace": {namespace}}})
	by := h.identity(i.useClient, func(by *v1alpha1.ClusterIdentity) {
		by.Spec.Chain = []v1alpha1.Hop{{RoleARN: hub}}
		by.Spec.SessionTags = &v1alpha1.SessionTags{ClusterName: "prod"}
		h.putSecret(operatorNamespace, by.Name, "value", i.secret)
	})
	h.eventually(by, "Ready", "True Verified")
	h.Expect(by.Status.ARN).To(Equal("arn:aws:sts::" + tenantAccount + ":assumed-role/Hub"))
	for _, name := range []string{"one", "two"} {
		created := h.credential(namespace, name, by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = last })
		h.eventually(created, "Ready", "True Issued")
		session, _ := h.sts.Session(created.Status.AccessKeyID)
		h.Expect(session.Tags).To(And(HaveKeyWithValue("kubernetes-name", name), HaveKeyWithValue("kubernetes-cluster", "prod")))
	}
	h.eventually(h.credential(h.namespace(nil), "another", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = last }), "Issued", "False AccessDenied")
	var actions []string
	for _, session := range h.sts.Sessions() {
		actions = append(actions, session.Action)
	}
	h.Expect(actions).To(Equal([]string{"AssumeRoleWithWebIdentity", "AssumeRole", "AssumeRole"}), "all credentials share the hop's session")
	h.Expect(i.issued()).To(HaveLen(1), "and its token")
}

func TestOIDCClientOfANamespace(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.options.AllowNamespacedEndpoints = true
	i := h.newIssuer()
	h.start()
	namespace := h.namespace(nil)
	role := h.putRole("Reached", i.trust("shop"))
	own := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "own"}}
	own.Spec.Region, own.Spec.Endpoint = "eu-west-1", h.endpoint.URL
	own.Spec.Source.OIDC = &v1alpha1.LocalOIDCSource{
		OIDCSettings:    v1alpha1.OIDCSettings{TokenURL: i.server.URL + "/token", ClientID: "shop", CABundle: i.caBundle()},
		ClientSecretRef: v1alpha1.SecretKeyReference{Name: "client", Key: "secret"},
	}
	h.Expect(admin.Create(h.ctx, own)).To(Succeed())
	h.eventually(own, "Ready", "False SecretNotFound")
	h.putSecret(namespace, "client", "secret", "a-wrong-secret")
	h.eventually(own, "Ready", "False ClientRejected")
	h.putSecret(namespace, "client", "secret", i.secret)
	h.eventually(own, "Ready", "True NotVerifiable")
	created := roleCredential(namespace, "reader", "own")
	created.Spec.IdentityRef.Kind, created.Spec.RoleARN = v1alpha1.IdentityKindIdentity, role
	h.Expect(admin.Create(h.ctx, created)).To(Succeed())
	h.eventually(created, "Ready", "True Issued")
	session, _ := h.sts.Session(created.Status.AccessKeyID)
	h.Expect(session.Subject).To(Equal("shop"))
	i.server.Close()
	h.Expect(h.state(created, "Ready")()).To(Equal("True Issued"))
}
