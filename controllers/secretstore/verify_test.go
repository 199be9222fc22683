package secretstore_test

import (
	"errors"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/secretstore"
)

func TestEditWhileNoManagerRunsIsFoundAfterTheStart(t *testing.T) {
	for _, manager := range []string{"kubectl", secretstore.FieldManager} {
		t.Run("by the field manager "+manager, func(t *testing.T) {
			f := newFixture(t)
			f.put(content(1))
			s := f.stored()
			s.Data["AWS_ACCESS_KEY_ID"] = []byte("edited")
			f.Expect(f.client.Update(t.Context(), s, client.FieldOwner(manager))).To(Succeed())
			f.restart()
			f.Expect(f.observe().Record).To(BeNil())
		})
	}
}

// owners writes the Secrets of credentials of two kinds, and restarts the operator.
func (f *fixture) owners(namespace string, n int) (owners []client.Object) {
	f.t.Helper()
	for i := range n {
		m := metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("reader-%03d", i), UID: types.UID(fmt.Sprintf("%s-%d", namespace, i))}
		var owner client.Object = &v1alpha1.RoleCredential{ObjectMeta: m}
		if i%2 == 1 {
			owner = &v1alpha1.SessionCredential{ObjectMeta: m}
		}
		f.Expect(f.store.Write(f.t.Context(), owner, m.Name, secretstore.Observed{}, content(1))).To(Succeed())
		owners = append(owners, owner)
	}
	f.restart()
	f.pages, f.reads, f.writes = nil, 0, nil
	return owners
}

// observeAll observes the Secrets of owners, which must be as they were written.
func (f *fixture) observeAll(owners []client.Object) {
	f.t.Helper()
	for _, owner := range owners {
		observed, err := f.store.Observe(f.t.Context(), owner, owner.GetName(), v1alpha1.SecretTemplate{}, false)
		f.Expect(err).NotTo(HaveOccurred())
		f.Expect(*observed.Record).To(Equal(content(1).Record), owner.GetName())
	}
}

func TestRestartVerifiesAllSecretsWithOnePagedList(t *testing.T) {
	f := newFixture(t)
	owners := append(f.owners("bank", 25), f.owners("shop", 20)...)
	f.observeAll(owners)
	f.observeAll(owners)
	f.Expect(f.pages).To(Equal([]string{"", "", ""}))
	f.Expect(f.reads).To(BeZero())
}

func TestManagerOfSomeNamespacesListsOnlyThese(t *testing.T) {
	f := newFixture(t)
	owners := append(f.owners("bank", 25), f.owners("shop", 1)...)
	f.store.Namespaces = []string{"bank", "shop"}
	f.observeAll(owners)
	f.Expect(f.pages).To(Equal([]string{"bank", "bank", "shop"}))
	f.Expect(f.reads).To(BeZero())
}

func TestNewCredentialsCauseNoList(t *testing.T) {
	f := newFixture(t)
	f.put(content(1))
	f.put(content(2))
	f.Expect(f.pages).To(BeEmpty())
}

func TestSecretsThatAFailedListOmitsAreRead(t *testing.T) {
	f := newFixture(t)
	owners := f.owners("shop", 30)
	f.listed = func() error {
		if len(f.pages) > 1 {
			return errors.New("connection refused")
		}
		return nil
	}
	f.observeAll(owners)
	f.observeAll(owners)
	f.Expect(f.pages).To(HaveLen(2), "the list is not repeated")
	f.Expect(f.reads).To(Equal(10), "each of the second page is read once")
}

// Large Secrets that anyone can create must not delay the credentials of other namespaces.
func TestListStopsAtALargePage(t *testing.T) {
	f := newFixture(t)
	f.create(foreign(func(s *corev1.Secret) {
		s.Namespace, s.Labels = "attacker", map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}
		s.Data["large"] = make([]byte, 1<<20)
	}))
	owners := f.owners("shop", 25)
	f.observeAll(owners)
	f.Expect(f.pages).To(HaveLen(1))
	f.Expect(f.reads).To(Equal(25 - 19))
}

func TestChangesDuringTheList(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*fixture, secretstore.Observed)
		want   secretstore.Content
		reads  int
	}{
		"an own write is newer than the list": {func(f *fixture, observed secretstore.Observed) {
			f.Expect(f.store.Write(f.t.Context(), owner(), readerID.Name, observed, content(2))).To(Succeed())
		}, content(2), 0},
		"a foreign write is read": {func(f *fixture, _ secretstore.Observed) {
			f.edit(func(s *corev1.Secret) { s.Labels["team"] = "shop" })
		}, content(1), 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.put(content(1))
			observed := f.observe()
			other := f.owners("shop", 1)
			f.listed = func() error {
				tc.change(f, observed)
				return nil
			}
			f.observeAll(other)
			f.Expect(*f.observe().Record).To(Equal(tc.want.Record))
			f.Expect(f.reads).To(Equal(tc.reads))
		})
	}
}

func TestSecretThatWasDeletedIsForgotten(t *testing.T) {
	f := newFixture(t)
	f.put(content(1))
	f.Expect(f.store.IsCurrent(f.stored())).To(BeTrue())
	f.store.Forget(f.stored())
	f.Expect(f.store.IsCurrent(f.stored())).To(BeFalse())
}

func TestConcurrentObservesShareTheList(t *testing.T) {
	f := newFixture(t)
	owners := f.owners("shop", 30)
	errs := make(chan error)
	for _, owner := range owners {
		go func() {
			_, err := f.store.Observe(t.Context(), owner, owner.GetName(), v1alpha1.SecretTemplate{}, false)
			errs <- err
		}()
	}
	for range owners {
		f.Expect(<-errs).NotTo(HaveOccurred())
	}
	f.Expect(f.pages).To(HaveLen(2))
	f.Expect(f.reads).To(BeZero())
}
