package controllers

import (
	"strings"
	"testing"
	"unsafe"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
)

func TestCacheDropsUnusedFieldsOfCredential(t *testing.T) {
	g := NewWithT(t)
	stored := func() *v1alpha1.RoleCredential {
		return testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) {
			c.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
			c.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}", v1alpha1.RefreshAnnotation: "1"}
			c.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionIssued, Reason: strings.Clone("Reason"), Message: strings.Clone("A message.")}}
		})
	}
	one, other := stored(), stored()
	for _, c := range []*v1alpha1.RoleCredential{one, other} {
		got, err := trimForCache(c)
		g.Expect(err).NotTo(HaveOccurred())
		want := stored()
		want.ManagedFields = nil
		delete(want.Annotations, corev1.LastAppliedConfigAnnotation)
		g.Expect(got).To(Equal(want))
	}
	g.Expect(unsafe.StringData(one.Status.Conditions[0].Message)).To(BeIdenticalTo(unsafe.StringData(other.Status.Conditions[0].Message)))
	deleted := cache.DeletedFinalStateUnknown{Key: "shop/s3-reader"}
	g.Expect(trimForCache(deleted)).To(Equal(deleted))
}
