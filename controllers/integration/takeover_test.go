package integration_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/hack/stsemulator"
)

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// restoredCopy returns a Secret as a backup tool restores it: without UID and owner references.
func restoredCopy(s *corev1.Secret) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, Labels: s.Labels, Annotations: s.Annotations}, Data: s.Data, Type: s.Type}
}

// recreated returns a new credential with the same name and spec.
func recreated(c *v1alpha1.RoleCredential) *v1alpha1.RoleCredential {
	return &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name}, Spec: c.Spec}
}

// No garbage collector runs here: the tests delete Secrets themselves.
func TestRecreatedCredentialTakesOverItsSecret(t *testing.T) {
	for name, recreate := range map[string]func(*harness, *v1alpha1.RoleCredential, *corev1.Secret) *v1alpha1.RoleCredential{
		"after a restore from a backup": func(h *harness, old *v1alpha1.RoleCredential, s *corev1.Secret) *v1alpha1.RoleCredential {
			h.Expect(admin.Delete(h.ctx, old)).To(Succeed())
			h.Expect(admin.Delete(h.ctx, s)).To(Succeed())
			h.Expect(admin.Create(h.ctx, restoredCopy(s))).To(Succeed())
			return recreated(old)
		},
		"after a restore from a backup while the operator is down": func(h *harness, old *v1alpha1.RoleCredential, s *corev1.Secret) *v1alpha1.RoleCredential {
			h.stop()
			h.Expect(admin.Delete(h.ctx, old)).To(Succeed())
			h.Expect(admin.Delete(h.ctx, s)).To(Succeed())
			h.Expect(admin.Create(h.ctx, restoredCopy(s))).To(Succeed())
			h.Expect(admin.Create(h.ctx, recreated(old))).To(Succeed())
			h.start()
			return nil
		},
		"after it was deleted with --cascade=orphan": func(h *harness, old *v1alpha1.RoleCredential, s *corev1.Secret) *v1alpha1.RoleCredential {
			h.Expect(admin.Delete(h.ctx, old)).To(Succeed())
			update(h, s, func(s *corev1.Secret) { s.OwnerReferences = nil })
			return recreated(old)
		},
		"before the garbage collector has run": func(h *harness, old *v1alpha1.RoleCredential, _ *corev1.Secret) *v1alpha1.RoleCredential {
			h.Expect(admin.Delete(h.ctx, old)).To(Succeed())
			return recreated(old)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, stsemulator.Options{})
			h.start()
			namespace := h.namespace(nil)
			created := h.credential(namespace, "recreated", h.identity())
			h.eventually(created, "Ready", "True Issued")
			before := h.secret(namespace, "recreated")
			if next := recreate(h, created, before); next != nil {
				h.Expect(admin.Create(h.ctx, next)).To(Succeed())
			}
			h.waitForTakeOver(created)
			h.Expect(len(h.sts.Sessions())).To(BeNumerically("<=", 2), "at most one more STS call")
			h.Expect(h.secret(namespace, "recreated").Annotations).To(HaveKeyWithValue("sts.rolecredential.dev/credential", "RoleCredential/recreated"))
		})
	}
}

// waitForTakeOver waits until the recreated credential is Ready, and returns it. It must control its Secret and have no Warning event.
func (h *harness) waitForTakeOver(former *v1alpha1.RoleCredential) *v1alpha1.RoleCredential {
	h.t.Helper()
	current := recreated(former)
	h.eventually(current, "Ready", "True Issued")
	h.Expect(current.UID).NotTo(Equal(former.UID))
	h.Expect(metav1.IsControlledBy(h.secret(former.Namespace, former.Name), current)).To(BeTrue())
	h.Expect(h.events(current)()).NotTo(ContainElement(HavePrefix("Warning")))
	return current
}

func TestSecretIsReissuedAfterLateGarbageCollection(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	created := h.credential(namespace, "replaced", h.identity())
	h.eventually(created, "Ready", "True Issued")
	observed := h.secret(namespace, "replaced") // by the garbage collector
	h.Expect(admin.Delete(h.ctx, created)).To(Succeed())
	h.Expect(admin.Create(h.ctx, recreated(created))).To(Succeed())
	current := h.waitForTakeOver(created)
	h.Expect(h.issues()).To(Equal(1))

	err := admin.Delete(h.ctx, observed, client.Preconditions{UID: &observed.UID, ResourceVersion: &observed.ResourceVersion})
	h.Expect(apierrors.IsConflict(err)).To(BeTrue(), "the garbage collector does not delete a changed Secret")

	h.Expect(admin.Delete(h.ctx, observed, client.Preconditions{UID: &observed.UID})).To(Succeed())
	h.lastIssued(2)
	h.Eventually(func() *corev1.Secret { return h.secret(namespace, "replaced") }).WithTimeout(waitLimit).Should(HaveField("UID", Not(Equal(observed.UID))))
	h.waitForTakeOver(created)
	h.Expect(h.issues()).To(Equal(2))
	h.Expect(h.events(current)()).NotTo(ContainElement(HavePrefix("Warning")))
}

// Some tools delete and create objects instead of updating them.
func TestRepeatedlyReplacedCredentialKeepsItsSecret(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	created := h.credential(namespace, "often", h.identity())
	h.eventually(created, "Ready", "True Issued")
	first := h.secret(namespace, "often")
	for range 5 {
		h.Expect(admin.Delete(h.ctx, created)).To(Succeed())
		h.Expect(admin.Create(h.ctx, recreated(created))).To(Succeed())
		created = h.waitForTakeOver(created)
	}
	h.Expect(h.issues()).To(Equal(1))
	h.Expect(h.secret(namespace, "often").UID).To(Equal(first.UID))
	h.Expect(h.secret(namespace, "often").Data).To(Equal(first.Data))
}

func TestRemovedOwnerReferenceIsRestored(t *testing.T) {
	for name, down := range map[string]bool{"while the operator runs": false, "while the operator is down": true} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, stsemulator.Options{})
			h.start()
			namespace := h.namespace(nil)
			created := h.credential(namespace, "owned", h.identity())
			h.eventually(created, "Ready", "True Issued")
			h.Eventually(h.events(created)).WithTimeout(waitLimit).Should(Equal([]string{"Normal Issued"})) // a stop may lose it
			before, ready := h.secret(namespace, "owned"), *meta.FindStatusCondition(created.Status.Conditions, "Ready")
			if down {
				h.stop()
			}
			patch := client.RawPatch(types.JSONPatchType, []byte(`[{"op":"remove","path":"/metadata/ownerReferences"}]`))
			h.Expect(admin.Patch(h.ctx, before.DeepCopy(), patch)).To(Succeed())
			if down {
				h.start()
			}
			h.Eventually(func() []metav1.OwnerReference { return h.secret(namespace, "owned").OwnerReferences }).WithTimeout(waitLimit).Should(Equal(before.OwnerReferences))
			h.Expect(h.secret(namespace, "owned").Data).To(Equal(before.Data))
			h.eventually(created, "Ready", "True Issued")
			h.Expect(*meta.FindStatusCondition(created.Status.Conditions, "Ready")).To(Equal(ready), "Ready stays True")
			h.Expect(h.issues()).To(Equal(1))
			h.Expect(h.events(created)()).To(Equal([]string{"Normal Issued"}))
		})
	}
}

func TestAdoptionRemovesCopiesOfOldData(t *testing.T) {
	const old = "AKIAIOSFODNN7EXAMPLE"
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	applied := func(name string, labels map[string]string) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}, StringData: map[string]string{"AWS_ACCESS_KEY_ID": old}}
		s.Annotations = map[string]string{lastApplied: `{"apiVersion":"v1","kind":"Secret","stringData":{"AWS_ACCESS_KEY_ID":"` + old + `"}}`, "team": "shop"}
		return s
	}
	adopted := applied("adopted", nil)
	adopted.Annotations[v1alpha1.AdoptAnnotation] = "RoleCredential/adopted"
	h.Expect(admin.Create(h.ctx, adopted)).To(Succeed())
	foreign := applied("foreign", map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})
	h.Expect(admin.Create(h.ctx, foreign)).To(Succeed())
	created := h.credential(namespace, "adopted", h.identity())
	h.eventually(created, "Ready", "True Issued")
	h.Expect(h.secret(namespace, "adopted").Annotations).NotTo(HaveKey(lastApplied))
	h.Expect(h.secret(namespace, "adopted").Annotations).To(HaveKeyWithValue("team", "shop"))

	// A user who applies the old manifest again restores the annotation.
	update(h, h.secret(namespace, "adopted"), func(s *corev1.Secret) { s.Annotations[lastApplied] = applied("adopted", nil).Annotations[lastApplied] })
	for _, name := range []string{"adopted", "foreign"} {
		version := h.secret(namespace, name).ResourceVersion
		cached := secretstore.Metadata()
		h.Eventually(func(g Gomega) {
			g.Expect(h.cache.Get(h.ctx, client.ObjectKey{Namespace: namespace, Name: name}, cached)).To(Succeed())
			g.Expect(cached.ResourceVersion).To(Equal(version))
		}).WithTimeout(waitLimit).Should(Succeed())
		for key, value := range cached.Annotations {
			h.Expect(strings.Contains(value, old)).To(BeFalse(), "%s: %s", name, key)
		}
	}

	// A refresh keeps the annotation, which belongs to the tool.
	h.refresh(created, "1")
	h.lastIssued(2)
	h.Eventually(func() string { h.state(created, "Ready")(); return created.Status.LastHandledRefreshRequest }).WithTimeout(waitLimit).Should(Equal("1"))
	h.Expect(h.secret(namespace, "adopted").Annotations).To(And(HaveKey(lastApplied), HaveKeyWithValue("team", "shop")))
}
