package controllers

import (
	"fmt"
	"maps"
	"runtime"
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

func TestCacheKeepsOfACredentialWhatTheOperatorReads(t *testing.T) {
	g := NewWithT(t)
	stored := func() *v1alpha1.RoleCredential {
		return testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) {
			c.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
			c.Labels = map[string]string{"app": "shop"}
			c.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "example.com/note": "text", v1alpha1.RefreshAnnotation: "1"}
			c.Status.Conditions = []metav1.Condition{{Type: strings.Clone(v1alpha1.ConditionIssued), Reason: strings.Clone("TrimReason"), Message: "A message."}}
		})
	}
	one, other := stored(), stored()
	for _, c := range []*v1alpha1.RoleCredential{one, other} {
		for range 2 { // an informer may apply a transform twice
			got, err := trimForCache(c)
			g.Expect(err).NotTo(HaveOccurred())
			want := stored()
			want.ManagedFields, want.Labels, want.Annotations = nil, nil, map[string]string{v1alpha1.RefreshAnnotation: "1"}
			g.Expect(got).To(Equal(want))
		}
	}
	g.Expect(unsafe.StringData(one.Status.Conditions[0].Reason)).To(BeIdenticalTo(unsafe.StringData(other.Status.Conditions[0].Reason)))
	deleted := cache.DeletedFinalStateUnknown{Key: "shop/s3-reader"}
	g.Expect(trimForCache(deleted)).To(Equal(deleted))
}

// The label sets are as large as the API server accepts, and differ.
func TestCacheDropsTheLabelsOfCredentials(t *testing.T) {
	g := NewWithT(t)
	const sets = 1000
	labels := map[string]string{}
	for i := range 12_000 {
		labels[fmt.Sprintf("k%d", i)] = ""
	}
	large := func(n int) *v1alpha1.RoleCredential {
		return testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) {
			c.ManagedFields = nil // a tenant can clear them
			c.Labels = maps.Clone(labels)
			c.Labels["set"] = fmt.Sprint(n)
			c.Annotations = map[string]string{v1alpha1.RefreshAnnotation: strings.Repeat("r", 200<<10)}
		})
	}
	retained := make([]any, sets)
	before := heap()
	for i := range retained {
		var err error
		retained[i], err = trimForCache(large(i))
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(heap()).To(BeNumerically("<", before+sets*(10<<10)), "bytes for 1,000 credentials")
	runtime.KeepAlive(retained)
}

// heap returns the size of all reachable objects, in bytes.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and the package unique release with the first
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
