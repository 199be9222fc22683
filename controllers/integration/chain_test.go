package integration_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	account = "123456789012"
	hubARN  = "arn:aws:iam::210987654321:role/Hub"
	lastARN = "arn:aws:iam::123456789012:role/Last"
)

// createChain creates an identity with a chain, and roles that each trust the previous hop.
func (h *harness) createChain(change func(*v1alpha1.ClusterIdentity)) *v1alpha1.ClusterIdentity {
	h.t.Helper()
	before := hubARN
	for _, name := range []string{"Second", "Third", "Last"} {
		h.Expect(h.sts.PutRole(account, stsemulator.Role{
			Name: name, MaxSessionDuration: 43200, MayAssume: []string{"*"}, Trust: []stsemulator.Trust{{Principal: before, ExternalID: map[string]string{"Second": "k8s"}[name]}},
		})).To(Succeed())
		before = "arn:aws:iam::" + account + ":role/" + name
	}
	return h.identity(change)
}

// threeHops sets a chain of three hops.
func threeHops(i *v1alpha1.ClusterIdentity) {
	i.Spec.Chain = []v1alpha1.Hop{
		{RoleARN: hubARN, SessionName: "first-hop", Tags: []v1alpha1.Tag{{Key: "team", Value: new("platform")}, {Key: "step", Value: new("1")}}, TransitiveTagKeys: []string{"team"}},
		{RoleARN: "arn:aws:iam::123456789012:role/Second", ExternalID: "k8s"},
		{RoleARN: "arn:aws:iam::123456789012:role/Third"},
	}
}

func TestChainAssumesEachHopInOrder(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	by := h.createChain(threeHops)
	h.eventually(by, "Ready", "True Verified")
	h.Expect(by.Status.ARN).To(Equal("arn:aws:sts::123456789012:assumed-role/Third"))
	namespace := h.namespace(nil)
	created := h.credential(namespace, "far", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = lastARN })
	h.eventually(created, "Ready", "True Issued")

	var roles, names []string
	for _, session := range h.sts.Sessions() {
		roles, names = append(roles, session.RoleARN), append(names, session.ARN[len("arn:aws:sts::123456789012:assumed-role/"):])
		h.Expect(session.Tags).To(HaveKeyWithValue("team", "platform")) // a transitive tag
	}
	h.Expect(roles).To(Equal([]string{hubARN, "arn:aws:iam::123456789012:role/Second", "arn:aws:iam::123456789012:role/Third", lastARN}))
	h.Expect(names).To(Equal([]string{"Hub/first-hop", "Second/rolecredential." + by.Name, "Third/rolecredential." + by.Name, "Last/" + namespace + ".far"}))

	// The next credential reuses the sessions of the hops.
	second := h.credential(namespace, "second", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = lastARN })
	h.eventually(second, "Ready", "True Issued")
	h.Expect(h.sts.Sessions()).To(HaveLen(5))
}

func TestChainDeniesRequestsBeforeCallingSTS(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	by := h.createChain(func(i *v1alpha1.ClusterIdentity) {
		threeHops(i)
		*i.Spec.Allow = append(*i.Spec.Allow, v1alpha1.AllowRule{Namespaces: []string{"*"}, Calls: []v1alpha1.Call{v1alpha1.CallGetSessionToken}})
	})
	h.eventually(by, "Ready", "True Verified")
	calls := len(h.sts.Calls())
	namespace := h.namespace(nil)
	long := h.credential(namespace, "long", by, func(c *v1alpha1.RoleCredential) {
		c.Spec.RoleARN, c.Spec.Duration = lastARN, &metav1.Duration{Duration: 2 * time.Hour}
	})
	h.eventually(long, "Authorized", "False DurationNotAllowed")
	h.Expect(meta.FindStatusCondition(long.Status.Conditions, "Authorized").Message).To(ContainSubstring("by role chaining (" + hubARN))
	loop := h.credential(namespace, "loop", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = hubARN })
	h.eventually(loop, "Authorized", "False NotAllowed")

	own := &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "own"}}
	own.Spec.IdentityRef.Name = by.Name
	h.Expect(admin.Create(h.ctx, own)).To(Succeed())
	h.eventually(own, "Issued", "False WrongSourceType")
	h.Expect(h.sts.Calls()).To(HaveLen(calls))
}

func TestMessageNamesDeniedHop(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	by := h.createChain(func(i *v1alpha1.ClusterIdentity) {
		threeHops(i)
		i.Spec.Chain[1].ExternalID = "wrong"
	})
	h.eventually(by, "Ready", "False AccessDenied")
	created := h.credential(h.namespace(nil), "far", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = lastARN })
	h.eventually(created, "Issued", "False AccessDenied")
	h.Expect(meta.FindStatusCondition(created.Status.Conditions, "Issued").Message).To(ContainSubstring("on arn:aws:iam::123456789012:role/Second, a hop in the chain of ClusterIdentity"))

	update(h, by, threeHops)
	h.eventually(created, "Ready", "True Issued")
}

func TestSessionTagsIdentifyCredential(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	by := h.identity(func(i *v1alpha1.ClusterIdentity) {
		i.Spec.SessionTags = &v1alpha1.SessionTags{ClusterName: "prod-eu", Transitive: true}
	})
	namespace := h.namespace(nil)
	created := h.credential(namespace, "tagged", by, func(c *v1alpha1.RoleCredential) { c.Spec.Tags = []v1alpha1.Tag{{Key: "team", Value: new("shop")}} })
	h.eventually(created, "Ready", "True Issued")
	session := h.sts.Sessions()[0]
	h.Expect(session.Tags).To(Equal(map[string]string{
		"team": "shop", "kubernetes-cluster": "prod-eu", "kubernetes-namespace": namespace, "kubernetes-name": "tagged", "kubernetes-uid": string(created.UID), "kubernetes-kind": "RoleCredential",
	}))
	h.Expect(session.TransitiveTagKeys).To(ConsistOf("kubernetes-cluster", "kubernetes-namespace", "kubernetes-name", "kubernetes-uid", "kubernetes-kind"))
	h.Expect(created.Status.PackedPolicySize).To(HaveValue(BeNumerically(">", 0)))

	forged := h.credential(namespace, "forged", by, func(c *v1alpha1.RoleCredential) {
		c.Spec.Tags = []v1alpha1.Tag{{Key: "Kubernetes-Namespace", Value: new("kube-system")}}
	})
	h.eventually(forged, "Issued", "False InvalidTags")
	h.Expect(h.issues()).To(Equal(1))

	// Session tags are part of the request, so a change causes a reissue.
	update(h, by, func(i *v1alpha1.ClusterIdentity) { i.Spec.SessionTags = nil })
	h.lastIssued(2)
}
