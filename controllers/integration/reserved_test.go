package integration_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/hack/stsemulator"
)

// Anyone who can create Secrets can give them the operator's label.
func TestForeignSecretsDoNotFillTheCache(t *testing.T) {
	const secrets, size = 600, 250_000
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	for i := range secrets {
		h.Expect(admin.Create(h.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("large-%d", i), Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue},
			Annotations: map[string]string{"x": strings.Repeat("A", size)},
		}})).To(Succeed())
	}
	cached := &metav1.PartialObjectMetadataList{}
	cached.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	h.Eventually(func() (int, error) {
		err := h.cache.List(h.ctx, cached, client.InNamespace(namespace))
		return len(cached.Items), err
	}).WithTimeout(waitLimit).Should(Equal(secrets))
	h.Expect(cached.Size()).To(BeNumerically("<", secrets*256), "bytes")
}

func TestAdmissionPolicyReservesTheOperatorsMetadata(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.stop = func() {}
	namespace := h.namespace(nil)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "tenant"}}
	h.Expect(admin.Create(h.ctx, account)).To(Succeed())
	h.Expect(admin.Create(h.ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "tenant"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:aggregate-to-edit"}, // no controller aggregates it into edit here
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account.Name}},
	})).To(Succeed())
	as := func(c client.Client, err error) client.Client {
		h.Expect(err).NotTo(HaveOccurred())
		return c
	}
	tenant := as(client.New(h.configFor(account), client.Options{Scheme: admin.Scheme()}))
	operator := as(client.New(h.asOperator(), client.Options{Scheme: admin.Scheme()}))
	secret := func(change func(*corev1.Secret)) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "s-", Labels: map[string]string{}, Annotations: map[string]string{}}}
		change(s)
		return s
	}
	plain := func(*corev1.Secret) {}
	labelled := func(s *corev1.Secret) { s.Labels[v1alpha1.ManagedByLabel] = v1alpha1.ManagedByValue }
	recorded := func(s *corev1.Secret) { s.Annotations[reissue.AnnotationCredential] = "RoleCredential/reader" }
	adopted := func(s *corev1.Secret) { s.Annotations[v1alpha1.AdoptAnnotation] = "RoleCredential/reader" }
	other := func(s *corev1.Secret) { s.Labels[v1alpha1.ManagedByLabel] = "Helm" }
	h.Eventually(func() error { return tenant.Create(h.ctx, secret(plain), client.DryRunAll) }).WithTimeout(waitLimit).Should(Succeed(), "RBAC takes effect")
	h.Expect(tenant.Create(h.ctx, secret(labelled))).To(Succeed(), "off by default")
	owned := secret(func(s *corev1.Secret) { labelled(s); recorded(s) })
	h.Expect(operator.Create(h.ctx, owned)).To(Succeed())

	_, err := kubectl("apply", "-k", manifests("admission"))
	h.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		_, err := kubectl("delete", "-k", manifests("admission"))
		h.Expect(err).NotTo(HaveOccurred())
		h.Eventually(func() error { return tenant.Create(context.Background(), secret(labelled), client.DryRunAll) }).WithTimeout(waitLimit).Should(Succeed())
	})
	forbidden := Satisfy(apierrors.IsForbidden)
	h.Eventually(func() error { return tenant.Create(h.ctx, secret(labelled), client.DryRunAll) }).WithTimeout(waitLimit).WithPolling(100 * time.Millisecond).Should(forbidden)
	h.Expect(tenant.Create(h.ctx, secret(recorded))).To(forbidden)
	h.Expect(tenant.Create(h.ctx, secret(adopted))).To(Succeed())
	h.Expect(tenant.Create(h.ctx, secret(other))).To(Succeed())
	h.Expect(operator.Create(h.ctx, secret(func(s *corev1.Secret) { labelled(s); recorded(s) }))).To(Succeed())
	h.Expect(admin.Create(h.ctx, secret(func(s *corev1.Secret) { labelled(s); recorded(s) }))).To(Succeed(), "a cluster admin restores a backup")

	update := func(change func(*corev1.Secret)) error {
		s := &corev1.Secret{}
		h.Expect(tenant.Get(h.ctx, client.ObjectKeyFromObject(owned), s)).To(Succeed())
		change(s)
		return tenant.Update(h.ctx, s)
	}
	h.Expect(update(func(s *corev1.Secret) { s.Annotations["team"], s.Labels["team"] = "shop", "shop" })).To(Succeed())
	h.Expect(update(func(s *corev1.Secret) { s.Annotations[reissue.AnnotationCredential] = "RoleCredential/other" })).To(forbidden)
	h.Expect(update(func(s *corev1.Secret) { s.Annotations["sts.rolecredential.dev/expiration"] = "2999-01-01T00:00:00Z" })).To(forbidden)
	plainSecret := secret(plain)
	h.Expect(tenant.Create(h.ctx, plainSecret)).To(Succeed())
	plainSecret.Labels = map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}
	h.Expect(tenant.Update(h.ctx, plainSecret)).To(forbidden)
}
