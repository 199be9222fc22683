package secretstore_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/secretstore"
)

// FuzzForeignHand edits an annotation, a label and a value of a Secret that was written: what is still believed is what was
// written, also by an operator that was started anew and then reads no data.
func FuzzForeignHand(f *testing.F) {
	f.Fuzz(func(t *testing.T, annotation, note, managedBy, key string, value []byte, restarts bool) {
		s := newFixture(t)
		s.put(content(1))
		s.edit(func(s *corev1.Secret) {
			s.Annotations[annotation], s.Labels[v1alpha1.ManagedByLabel], s.Data[key] = note, managedBy, value
		})
		if restarts {
			s.restart()
		}
		observed := s.observe()
		s.Expect(observed.Ownership).To(Equal(reissue.Ours))
		if observed.Record == nil {
			return
		}
		s.Expect(*observed.Record).To(Equal(content(1).Record))
		s.Expect(managedBy).To(Equal(v1alpha1.ManagedByValue))
		s.Expect(s.stored().Data).To(Equal(content(1).Data))
	})
}

// FuzzManagedFields reads what the API server keeps of who wrote what: only what is all of our hand is taken for that.
func FuzzManagedFields(f *testing.F) {
	f.Fuzz(func(t *testing.T, ours []byte, manager string, theirs []byte, forged string) {
		g := NewWithT(t)
		seen := secretstore.Metadata()
		seen.Annotations = map[string]string{"cache-keys": forged, "cache-others": forged, "sts.rolecredential.dev/credential": forged}
		seen.OwnerReferences = []metav1.OwnerReference{ownedBy("owner-uid")}
		seen.ManagedFields = []metav1.ManagedFieldsEntry{
			{Manager: secretstore.FieldManager, FieldsV1: metav1.NewFieldsV1(string(ours))}, {Manager: manager, FieldsV1: metav1.NewFieldsV1(string(theirs))},
		}
		kept, err := secretstore.TrimForCache(runtime.Object(seen))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(kept).To(BeIdenticalTo(seen))
		g.Expect(seen.ManagedFields).To(BeNil())
		if manager != secretstore.FieldManager {
			g.Expect(seen.Annotations).NotTo(HaveKey(HavePrefix("cache-keys")), "others had their hands in it")
		}
	})
}
