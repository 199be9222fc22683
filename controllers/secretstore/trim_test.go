package secretstore_test

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/secretstore"
)

// trimmed returns the metadata of the reader's Secret as the cache holds it.
func trimmed(g *WithT, change func(*metav1.ObjectMeta)) *metav1.PartialObjectMetadata {
	cached := secretstore.Metadata()
	cached.ObjectMeta = metav1.ObjectMeta{
		Namespace: "shop", Name: "s3-reader", UID: "00000000-0000-4000-8000-000000000000", ResourceVersion: "12345678",
		Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}, Annotations: content(1).Record.Annotations(),
	}
	change(&cached.ObjectMeta)
	_, err := secretstore.TrimForCache(cached)
	g.Expect(err).NotTo(HaveOccurred())
	once := cached.DeepCopy()
	_, err = secretstore.TrimForCache(cached)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cached).To(Equal(once), "an informer may apply a transform twice")
	return cached
}

func TestCachedMetadataIsBounded(t *testing.T) {
	large := strings.Repeat("A", 250_000)
	many := func(prefix string) map[string]string {
		all := map[string]string{}
		for i := range 20_000 {
			all[fmt.Sprintf("%s-%d", prefix, i)] = "v"
		}
		return all
	}
	owned := func(m *metav1.ObjectMeta) { m.OwnerReferences = append(m.OwnerReferences, ownedBy("owner-uid")) }
	for name, tc := range map[string]struct {
		change func(*metav1.ObjectMeta)
		most   int // bytes
	}{
		"a foreign Secret with a large annotation": {func(m *metav1.ObjectMeta) { m.Annotations = map[string]string{"x": large} }, 256},
		"a foreign Secret with a large credential name in its record": {
			func(m *metav1.ObjectMeta) { m.Annotations = map[string]string{reissue.AnnotationCredential: large} }, 256,
		},
		"a foreign Secret with many labels": {func(m *metav1.ObjectMeta) { m.Annotations, m.Labels = nil, many("label") }, 256},
		"a foreign Secret with many owners and finalizers": {func(m *metav1.ObjectMeta) {
			m.Annotations = nil
			for i := range 5_000 {
				m.OwnerReferences = append(m.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: fmt.Sprint(i), UID: "uid"})
				m.Finalizers = append(m.Finalizers, fmt.Sprintf("example.com/%d", i))
			}
		}, 256},
		"a foreign Secret with a controller of another group": {func(m *metav1.ObjectMeta) {
			m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: large, UID: "uid", Controller: new(true)}}
		}, 256},
		"an orphaned Secret with a record":            {func(*metav1.ObjectMeta) {}, 512},
		"an owned Secret with a large annotation":     {func(m *metav1.ObjectMeta) { owned(m); m.Annotations["x"] = large }, 2 << 10},
		"an owned Secret with many labels":            {func(m *metav1.ObjectMeta) { owned(m); m.Labels = many("label") }, 2 << 10},
		"an owned Secret with many finalizers":        {func(m *metav1.ObjectMeta) { owned(m); m.Finalizers = strings.Split(large, "") }, 2 << 10},
		"an owned Secret with a large generated name": {func(m *metav1.ObjectMeta) { owned(m); m.GenerateName = large }, 2 << 10},
		"an owned Secret with many owners": {func(m *metav1.ObjectMeta) {
			owned(m)
			for i := range 5_000 {
				m.OwnerReferences = append(m.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: fmt.Sprint(i), UID: "uid"})
			}
		}, 2 << 10},
		"an owned Secret with a record of large values": {func(m *metav1.ObjectMeta) {
			owned(m)
			for key := range m.Annotations {
				m.Annotations[key] = large[:17_000]
			}
		}, 1 << 10},
		"an owned Secret with a large controller": {func(m *metav1.ObjectMeta) {
			m.OwnerReferences = []metav1.OwnerReference{ownedBy(types.UID(large))}
		}, 256},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cached := trimmed(g, tc.change)
			g.Expect(cached.Size()).To(BeNumerically("<=", tc.most))
			g.Expect(cached.Namespace + "/" + cached.Name).To(Equal("shop/s3-reader"))
			g.Expect(cached.UID).NotTo(BeEmpty())
			g.Expect(cached.ResourceVersion).NotTo(BeEmpty())
		})
	}
}

// The bound must not affect a Secret that the operator itself wrote.
func TestCacheKeepsARecordWithTheLongestValues(t *testing.T) {
	g := NewWithT(t)
	longest := content(1, func(c *secretstore.Content) {
		c.Record.Credential = "FederatedCredential/" + strings.Repeat("n", 253)
		hash := strings.Repeat("f", 64)
		c.Record.RequestHash, c.Record.IssuerHash, c.Record.TemplateHash = hash, hash, hash
		c.Record.PreviousIssuedAt, c.Record.PreviousExpiration = start, start
		c.Record.AccessKeyID, c.Record.PrincipalARN = strings.Repeat("A", reissue.MaxAccessKeyID), strings.Repeat("a", reissue.MaxPrincipalARN)
		c.Record.PackedPolicySize, c.Record.RefreshRequest = new(int32(100)), strings.Repeat("r", reissue.MaxRefreshRequest)
	})
	controller := ownedBy("00000000-0000-4000-8000-000000000000")
	controller.Kind, controller.Name = "FederatedCredential", strings.Repeat("n", 253)
	cached := trimmed(g, func(m *metav1.ObjectMeta) {
		m.Name, m.Annotations, m.OwnerReferences = controller.Name, longest.Record.Annotations(), []metav1.OwnerReference{controller}
	})
	record, ok := reissue.ParseRecord(cached.Annotations)
	g.Expect(ok).To(BeTrue())
	g.Expect(record).To(Equal(longest.Record))
	g.Expect(cached.OwnerReferences).To(Equal([]metav1.OwnerReference{controller}))
}

// The owner's other references and finalizers are not in the cache. So a refresh must read them, or it would remove them.
func TestRefreshKeepsFinalizersAndOwnersOfOthers(t *testing.T) {
	f := newFixture(t)
	f.put(content(1))
	f.edit(func(s *corev1.Secret) {
		s.Finalizers, s.OwnerReferences = []string{"example.com/backup"}, append(s.OwnerReferences, settingsOwner)
	})
	f.Expect(*f.observe().Record).To(Equal(content(1).Record))
	for n := 2; n <= 3; n++ {
		f.put(content(n))
		f.restart()
	}
	f.Expect(f.stored().Finalizers).To(Equal([]string{"example.com/backup"}))
	f.Expect(f.stored().OwnerReferences).To(ConsistOf(ownedBy("owner-uid"), settingsOwner))
}

func TestSecretBeyondTheBoundOfTheCacheIsRead(t *testing.T) {
	f := newFixture(t)
	c := content(1, func(c *secretstore.Content) { c.Record.IssuerHash = strings.Repeat("f", 17_000) })
	f.put(c)
	f.reads = 0
	f.Expect(*f.observe().Record).To(Equal(c.Record))
	f.Expect(f.reads).To(Equal(1))
	f.put(content(2))
	f.Expect(f.stored().Data).To(Equal(content(2).Data))
}
