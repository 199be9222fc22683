package secretstore_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
)

// FuzzForeignEdit edits an annotation, a label and a value of a Secret. The operator trusts the record only if it and the data are as the
// operator wrote them, also after a restart.
func FuzzForeignEdit(f *testing.F) {
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
