package identity_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/request"
)

var (
	keySecret = types.NamespacedName{Namespace: "system", Name: "bootstrap"}
	another   = types.NamespacedName{Namespace: "system", Name: "another"}
	first     = request.Key{Kind: "ClusterIdentity", NamespacedName: types.NamespacedName{Name: "default"}}
	second    = request.Key{Kind: "Identity", NamespacedName: types.NamespacedName{Namespace: "shop", Name: "own"}}
	ownSecret = types.NamespacedName{Namespace: "shop", Name: "own-key"}

	resource = corev1.SchemeGroupVersion.WithResource("secrets")
)

// cluster is a Watcher on a fake cluster, in a bubble whose time passes as soon as all in it wait.
type cluster struct {
	*WithT
	t        *testing.T
	client   *metadatafake.FakeMetadataClient
	watcher  *identity.Watcher
	mu       sync.Mutex
	enqueued []request.Key
	stop     func()
}

// watching runs a test in a bubble, which fails if a goroutine outlives it.
func watching(t *testing.T, test func(c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		scheme := metadatafake.NewTestScheme()
		NewWithT(t).Expect(metav1.AddMetaToScheme(scheme)).To(Succeed())
		c := &cluster{WithT: NewWithT(t), t: t, client: metadatafake.NewSimpleMetadataClient(scheme)}
		c.watcher = identity.NewWatcher(c.client)
		for _, kind := range []string{first.Kind, second.Kind} {
			c.watcher.OnChange(kind, func(name types.NamespacedName) {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.enqueued = append(c.enqueued, request.Key{Kind: kind, NamespacedName: name})
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.watcher.Start(ctx) }()
		c.stop = func() {
			cancel()
			c.Expect(<-ended).To(Succeed())
			ended <- nil
		}
		test(c)
		c.stop()
	})
}

// passMinute lets a minute pass, and everything happen that it causes.
func (c *cluster) passMinute() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	<-ctx.Done()
	synctest.Wait()
}

// changes returns the identities enqueued since the last call, each once.
func (c *cluster) changes() []request.Key {
	c.t.Helper()
	c.passMinute()
	c.mu.Lock()
	defer c.mu.Unlock()
	var enqueued []request.Key
	for _, key := range c.enqueued {
		if !slices.Contains(enqueued, key) {
			enqueued = append(enqueued, key)
		}
	}
	c.enqueued = nil
	return enqueued
}

func object(name types.NamespacedName, version int) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}}
	o.Namespace, o.Name, o.ResourceVersion = name.Namespace, name.Name, strconv.Itoa(version)
	return o
}

func (c *cluster) create(name types.NamespacedName, version int) {
	c.t.Helper()
	c.Expect(c.client.Tracker().Create(resource, object(name, version), name.Namespace)).To(Succeed())
}

func (c *cluster) update(name types.NamespacedName, version int) {
	c.t.Helper()
	c.Expect(c.client.Tracker().Update(resource, object(name, version), name.Namespace)).To(Succeed())
}

func (c *cluster) delete(name types.NamespacedName) {
	c.t.Helper()
	c.Expect(c.client.Tracker().Delete(resource, name.Namespace, name.Name)).To(Succeed())
}

func TestChangeOfASecretEnqueuesItsIdentity(t *testing.T) {
	for name, tc := range map[string]struct {
		before int // the version before the subscription; 0 for no Secret
		used   string
		then   func(c *cluster)
		want   bool
	}{
		"it is created":                   {0, "", func(c *cluster) { c.create(keySecret, 1) }, true},
		"it changes":                      {1, "1", func(c *cluster) { c.update(keySecret, 2) }, true},
		"it is deleted":                   {1, "1", func(c *cluster) { c.delete(keySecret) }, true},
		"it changed before the watch":     {2, "1", nil, true},
		"it was deleted before the watch": {0, "1", nil, true},
		"it was created before the watch": {1, "", nil, true},
		"it does not change":              {1, "1", nil, false},
		"there is still no Secret":        {0, "", nil, false},
		"another Secret changes":          {1, "1", func(c *cluster) { c.create(another, 7) }, false},
		"the version in use is created":   {0, "5", func(c *cluster) { c.enqueued = nil; c.create(keySecret, 5) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			watching(t, func(c *cluster) {
				if tc.before != 0 {
					c.create(keySecret, tc.before)
				}
				c.watcher.Subscribe(first, keySecret, tc.used)
				if tc.then != nil {
					c.passMinute()
					tc.then(c)
				}
				var want []request.Key
				if tc.want {
					want = []request.Key{first}
				}
				c.Expect(c.changes()).To(Equal(want))
			})
		})
	}
}

func TestEachChangeEnqueuesTheIdentityUntilItUsesTheVersion(t *testing.T) {
	watching(t, func(c *cluster) {
		c.create(keySecret, 1)
		c.watcher.Subscribe(first, keySecret, "1")
		c.Expect(c.changes()).To(BeEmpty())
		c.update(keySecret, 2)
		c.Expect(c.changes()).To(ConsistOf(first))
		c.update(keySecret, 3)
		c.Expect(c.changes()).To(ConsistOf(first))
		c.watcher.Subscribe(first, keySecret, "3")
		c.Expect(c.changes()).To(BeEmpty())
		c.delete(keySecret)
		c.Expect(c.changes()).To(ConsistOf(first))
		c.watcher.Subscribe(first, keySecret, "")
		c.Expect(c.changes()).To(BeEmpty())
		c.create(keySecret, 4)
		c.Expect(c.changes()).To(ConsistOf(first))
	})
}

func TestChangeBeforeTheSubscriptionEnqueuesTheIdentity(t *testing.T) {
	watching(t, func(c *cluster) {
		c.create(keySecret, 1)
		c.watcher.Subscribe(first, keySecret, "1")
		c.passMinute()
		c.update(keySecret, 2)
		c.passMinute()
		c.enqueued = nil
		c.watcher.Subscribe(second, keySecret, "1") // read before the change
		c.Expect(c.changes()).To(ConsistOf(second))
	})
}

// A build may read the Secret before a change, and subscribe after the event of the change.
func TestSubscriptionWithAnOutdatedVersionEnqueuesTheIdentityOnce(t *testing.T) {
	watching(t, func(c *cluster) {
		c.create(keySecret, 1)
		c.watcher.Subscribe(first, keySecret, "1")
		c.passMinute()
		c.update(keySecret, 2)
		c.Expect(c.changes()).To(ConsistOf(first))
		c.watcher.Subscribe(first, keySecret, "1")
		c.Expect(c.changes()).To(ConsistOf(first))
		c.watcher.Subscribe(first, keySecret, "1")
		c.Expect(c.changes()).To(BeEmpty())
		c.watcher.Subscribe(first, keySecret, "2")
		c.Expect(c.changes()).To(BeEmpty())
	})
}

func TestInformerThatIsBehindEnqueuesTheIdentityOnce(t *testing.T) {
	watching(t, func(c *cluster) {
		c.create(keySecret, 1)
		c.watcher.Subscribe(first, keySecret, "1")
		c.Expect(c.changes()).To(BeEmpty())
		for range 10 {
			c.watcher.Subscribe(first, keySecret, "2")
		}
		c.passMinute()
		c.Expect(len(c.enqueued)).To(BeNumerically("<=", 1))
		c.enqueued = nil
		c.update(keySecret, 2)
		c.Expect(c.changes()).To(BeEmpty())
		c.update(keySecret, 3)
		c.Expect(c.changes()).To(ConsistOf(first))
		c.watcher.Subscribe(first, keySecret, "3")
		c.watcher.Subscribe(first, keySecret, "2") // read before the change
		c.Expect(c.changes()).To(ConsistOf(first))
	})
}

func TestSecretThatWasDeletedAfterItWasReadEnqueuesTheIdentity(t *testing.T) {
	watching(t, func(c *cluster) {
		c.watcher.Subscribe(first, keySecret, "")
		c.passMinute()
		c.watcher.Subscribe(first, keySecret, "1") // the informer does not know it yet
		c.Expect(c.changes()).To(ConsistOf(first))
		c.watcher.Subscribe(first, keySecret, "") // it was deleted
		c.Expect(c.changes()).To(BeEmpty())
		c.watcher.Subscribe(first, keySecret, "2") // created, read and deleted
		c.Expect(c.changes()).To(ConsistOf(first))
	})
}

func TestIdentitiesMayShareASecret(t *testing.T) {
	watching(t, func(c *cluster) {
		c.create(keySecret, 1)
		c.watcher.Subscribe(first, keySecret, "1")
		c.watcher.Subscribe(second, keySecret, "1")
		c.Expect(c.changes()).To(BeEmpty())
		c.update(keySecret, 2)
		c.Expect(c.changes()).To(ConsistOf(first, second))
		c.watcher.Subscribe(first, keySecret, "2")
		c.watcher.Unsubscribe(second)
		c.update(keySecret, 3)
		c.Expect(c.changes()).To(ConsistOf(first))
		c.Expect(c.watches()).To(HaveLen(2), "one informer for each identity")
	})
}

// watches returns the namespaces and field selectors of the watches that were started.
func (c *cluster) watches() []string {
	c.t.Helper()
	var watches []string
	for _, action := range c.client.Actions() {
		c.Expect(action.GetResource()).To(Equal(resource))
		if watch, ok := action.(clienttesting.WatchAction); ok {
			watches = append(watches, action.GetNamespace()+"/"+watch.GetWatchRestrictions().Fields.String())
		}
	}
	return watches
}

func TestWatcherListsAndWatchesOneSecretByName(t *testing.T) {
	watching(t, func(c *cluster) {
		c.watcher.Subscribe(first, keySecret, "")
		c.watcher.Subscribe(second, ownSecret, "")
		c.passMinute()
		c.Expect(c.watches()).To(ConsistOf("system/metadata.name=bootstrap", "shop/metadata.name=own-key"))
		for _, action := range c.client.Actions() {
			if list, ok := action.(clienttesting.ListAction); ok {
				c.Expect(list.GetListRestrictions().Fields.String()).To(HavePrefix("metadata.name="))
			}
		}
	})
}

func TestSubscriptionToAnotherSecretReplacesTheFirst(t *testing.T) {
	watching(t, func(c *cluster) {
		c.watcher.Subscribe(first, keySecret, "")
		c.passMinute()
		c.watcher.Subscribe(first, another, "")
		c.passMinute()
		c.create(keySecret, 1)
		c.Expect(c.changes()).To(BeEmpty())
		c.create(another, 2)
		c.Expect(c.changes()).To(ConsistOf(first))
	})
}

func TestChangeAfterUnsubscribeEnqueuesNothing(t *testing.T) {
	watching(t, func(c *cluster) {
		c.watcher.Unsubscribe(first) // not subscribed
		c.watcher.Subscribe(first, keySecret, "")
		c.passMinute()
		c.watcher.Unsubscribe(first)
		c.watcher.Unsubscribe(first)
		c.create(keySecret, 1)
		c.Expect(c.changes()).To(BeEmpty())
		c.watcher.Subscribe(first, keySecret, "1")
		c.Expect(c.changes()).To(BeEmpty())
		c.update(keySecret, 2)
		c.Expect(c.changes()).To(ConsistOf(first), "subscribed again")
	})
}

// The bubble fails if an informer outlives it.
func TestUnsubscribeStopsTheInformer(t *testing.T) {
	watching(t, func(c *cluster) {
		c.watcher.Subscribe(first, keySecret, "")
		c.watcher.Subscribe(second, keySecret, "")
		c.passMinute()
		c.watcher.Unsubscribe(first)
		c.create(keySecret, 1)
		c.Expect(c.changes()).To(ConsistOf(second))
		c.watcher.Unsubscribe(second)
		c.watcher.Subscribe(second, another, "")
		c.watcher.Unsubscribe(second) // before the informer has synced
	})
}

func TestStoppedWatcherWatchesNothing(t *testing.T) {
	watching(t, func(c *cluster) {
		c.create(keySecret, 1)
		c.watcher.Subscribe(first, keySecret, "1")
		c.watcher.Subscribe(second, ownSecret, "")
		c.passMinute()
		c.stop()
		c.Expect(c.watcher.IsCurrent(first, keySecret, "1")).To(BeFalse())
		c.client.ClearActions()
		c.watcher.Subscribe(first, another, "")
		c.watcher.Unsubscribe(first)
		c.update(keySecret, 2)
		c.Expect(c.changes()).To(BeEmpty())
		c.Expect(c.client.Actions()).To(BeEmpty())
	})
}

func TestIsCurrentComparesTheWatchedVersion(t *testing.T) {
	watching(t, func(c *cluster) {
		c.create(keySecret, 1)
		c.Expect(c.watcher.IsCurrent(first, keySecret, "1")).To(BeFalse(), "not subscribed")
		c.watcher.Subscribe(first, keySecret, "1")
		c.Expect(c.watcher.IsCurrent(first, keySecret, "1")).To(BeFalse(), "not synced")
		c.passMinute()
		c.Expect(c.watcher.IsCurrent(first, keySecret, "1")).To(BeTrue())
		c.Expect(c.watcher.IsCurrent(first, keySecret, "2")).To(BeFalse(), "another version")
		c.Expect(c.watcher.IsCurrent(first, another, "1")).To(BeFalse(), "another Secret")
		c.Expect(c.watcher.IsCurrent(second, keySecret, "1")).To(BeFalse(), "another identity")
		c.update(keySecret, 2)
		c.passMinute()
		c.Expect(c.watcher.IsCurrent(first, keySecret, "1")).To(BeFalse(), "changed")
		c.delete(keySecret)
		c.passMinute()
		c.Expect(c.watcher.IsCurrent(first, keySecret, "2")).To(BeFalse(), "deleted")
		c.Expect(c.watcher.IsCurrent(first, keySecret, "")).To(BeTrue(), "no Secret")
		c.watcher.Unsubscribe(first)
		c.Expect(c.watcher.IsCurrent(first, keySecret, "")).To(BeFalse(), "not subscribed")
	})
}

func TestEachHandlerOfAKindIsCalled(t *testing.T) {
	watching(t, func(c *cluster) {
		var recorded []types.NamespacedName
		c.watcher.OnChange(first.Kind, func(name types.NamespacedName) { recorded = append(recorded, name) })
		c.watcher.Subscribe(first, keySecret, "")
		c.watcher.Subscribe(second, ownSecret, "")
		c.passMinute()
		c.create(keySecret, 1)
		c.create(ownSecret, 2)
		c.Expect(c.changes()).To(ConsistOf(first, second))
		c.Expect(recorded).To(Equal([]types.NamespacedName{first.NamespacedName}))
	})
}

func TestHandlerRunsWithoutTheWatchersLock(t *testing.T) {
	watching(t, func(c *cluster) {
		used := make(chan bool, 10)
		c.watcher.OnChange(second.Kind, func(types.NamespacedName) {
			c.watcher.Unsubscribe(first) // deadlocks if the Watcher holds its lock
			used <- c.watcher.IsCurrent(second, keySecret, "")
		})
		c.watcher.Subscribe(second, keySecret, "")
		c.create(keySecret, 1)
		c.passMinute()
		c.Expect(used).To(Receive(BeFalse()))
	})
}
