package credential

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
)

func TestChangeEnqueuesOnlyAffectedCredentials(t *testing.T) {
	g := NewWithT(t)
	named := func(namespace, name, identity string) client.Object {
		return testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) {
			c.Namespace, c.Name, c.Spec.IdentityRef.Name = namespace, name, identity
		})
	}
	ofOwn := func(namespace, name string) client.Object {
		return testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) {
			c.Namespace, c.Name, c.Spec.IdentityRef.Kind = namespace, name, v1alpha1.IdentityKindIdentity
		})
	}
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	reads := fake.NewClientBuilder().WithScheme(scheme).WithIndex(&v1alpha1.RoleCredential{}, identityIndex, indexIdentity).WithObjects(
		named("shop", "by-default", ""), named("shop", "by-name", "default"), named("shop", "by-another", "other"), named("team", "in-another-namespace", "default"),
		ofOwn("shop", "by-its-own"), ofOwn("team", "by-its-own"),
	).Build()
	mapper := requestMapper[*v1alpha1.RoleCredential]{reader: reads, kind: request.RoleCredential}
	cluster, own := mapper.byIdentity(v1alpha1.IdentityKindClusterIdentity), mapper.byIdentity(v1alpha1.IdentityKindIdentity)
	request := func(namespace, name string) reconcile.Request {
		return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
	}
	g.Expect(cluster(t.Context(), types.NamespacedName{Name: "default"})).To(ConsistOf(
		request("shop", "by-default"), request("shop", "by-name"), request("team", "in-another-namespace")))
	g.Expect(cluster(t.Context(), types.NamespacedName{Name: "other"})).To(ConsistOf(request("shop", "by-another")))
	g.Expect(cluster(t.Context(), types.NamespacedName{Name: "unused"})).To(BeEmpty())
	g.Expect(own(t.Context(), types.NamespacedName{Namespace: "shop", Name: "default"})).To(ConsistOf(request("shop", "by-its-own")))
	g.Expect(own(t.Context(), types.NamespacedName{Name: "default"})).To(BeEmpty())
	g.Expect(mapper.list(t.Context(), client.InNamespace("team"))).To(ConsistOf(request("team", "in-another-namespace"), request("team", "by-its-own")))
}

func TestObjectThatReplacedAnotherUnseenIsEnqueued(t *testing.T) {
	g := NewWithT(t)
	cred, by := testkit.Reader(), testkit.DefaultIdentity()
	sameSpec := event.UpdateEvent{ObjectOld: cred, ObjectNew: testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.ResourceVersion = "2" })}
	g.Expect(credentialChanged.Update(sameSpec)).To(BeFalse())
	g.Expect(credentialChanged.Update(event.UpdateEvent{
		ObjectOld: cred, ObjectNew: testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.UID = "another" }),
	})).To(BeTrue())
	g.Expect(identity.SpecChanged.Update(event.UpdateEvent{
		ObjectOld: by, ObjectNew: testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) { i.UID = "another" }),
	})).To(BeTrue())
}
