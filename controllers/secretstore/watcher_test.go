package secretstore_test

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

	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/secretstore"
)

var (
	source   = types.NamespacedName{Namespace: "system", Name: "bootstrap"}
	another  = types.NamespacedName{Namespace: "system", Name: "another"}
	identity = request.Key{Kind: "ClusterIdentity", NamespacedName: types.NamespacedName{Name: "default"}}
	reader   = request.Key{Kind: "RoleCredential", NamespacedName: readerID}

	resource = corev1.SchemeGroupVersion.WithResource("secrets")
)

// cluster is a Watcher on a fake cluster, in a bubble whose time passes as soon as all in it wait.
type cluster struct {
	*WithT
	t       *testing.T
	client  *metadatafake.FakeMetadataClient
	watcher *secretstore.Watcher
	mu      sync.Mutex
	woken   []request.Key
	stop    func()
}

// watching runs a test in a bubble, which at its end no goroutine may have outlived.
func watching(t *testing.T, test func(c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		scheme := metadatafake.NewTestScheme()
		NewWithT(t).Expect(metav1.AddMetaToScheme(scheme)).To(Succeed())
		c := &cluster{WithT: NewWithT(t), t: t, client: metadatafake.NewSimpleMetadataClient(scheme)}
		c.watcher = secretstore.NewWatcher(c.client)
		for _, kind := range []string{identity.Kind, reader.Kind} {
			c.watcher.OnChange(kind, func(name types.NamespacedName) {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.woken = append(c.woken, request.Key{Kind: kind, NamespacedName: name})
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

// settle lets everything happen that is going to, and a minute pass.
func (c *cluster) settle() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	<-ctx.Done()
	synctest.Wait()
}

// wakes are those woken since the last call, once all has settled.
func (c *cluster) wakes() []request.Key {
	c.t.Helper()
	c.settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	var woken []request.Key
	for _, subscriber := range c.woken {
		if !slices.Contains(woken, subscriber) {
			woken = append(woken, subscriber)
		}
	}
	c.woken = nil
	return woken
}

func object(name types.NamespacedName, version int) *metav1.PartialObjectMetadata {
	o := secretstore.Metadata()
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

func TestWhatWakes(t *testing.T) {
	for name, tc := range map[string]struct {
		before int // the version that there is, 0 for none
		seen   string
		then   func(c *cluster)
		want   bool
	}{
		"it is created":                           {0, "", func(c *cluster) { c.create(source, 1) }, true},
		"it changes":                              {1, "1", func(c *cluster) { c.update(source, 2) }, true},
		"it is deleted":                           {1, "1", func(c *cluster) { c.delete(source) }, true},
		"it had changed before it was watched":    {2, "1", nil, true},
		"it had gone before it was watched":       {0, "1", nil, true},
		"it had come before it was watched":       {1, "", nil, true},
		"it is as it was seen":                    {1, "1", nil, false},
		"there is none, as it was seen":           {0, "", nil, false},
		"another of its namespace changes":        {1, "1", func(c *cluster) { c.create(another, 7) }, false},
		"it comes to be as it was seen meanwhile": {0, "5", func(c *cluster) { c.woken = nil; c.create(source, 5) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			watching(t, func(c *cluster) {
				if tc.before != 0 {
					c.create(source, tc.before)
				}
				c.watcher.Subscribe(identity, source, tc.seen)
				if tc.then != nil {
					c.settle()
					tc.then(c)
				}
				var want []request.Key
				if tc.want {
					want = []request.Key{identity}
				}
				c.Expect(c.wakes()).To(Equal(want))
			})
		})
	}
}

func TestAWaiterIsWokenByEachChangeUntilItHasSeenIt(t *testing.T) {
	watching(t, func(c *cluster) {
		c.create(source, 1)
		c.watcher.Subscribe(identity, source, "1")
		c.Expect(c.wakes()).To(BeEmpty())
		c.update(source, 2)
		c.Expect(c.wakes()).To(ConsistOf(identity))
		c.update(source, 3)
		c.Expect(c.wakes()).To(ConsistOf(identity))
		c.watcher.Subscribe(identity, source, "3")
		c.Expect(c.wakes()).To(BeEmpty())
		c.delete(source)
		c.Expect(c.wakes()).To(ConsistOf(identity))
		c.watcher.Subscribe(identity, source, "")
		c.Expect(c.wakes()).To(BeEmpty())
		c.create(source, 4)
		c.Expect(c.wakes()).To(ConsistOf(identity))
	})
}

func TestAChangeThatCameBeforeTheWaiterIsNoticed(t *testing.T) {
	watching(t, func(c *cluster) {
		c.create(source, 1)
		c.watcher.Subscribe(identity, source, "1")
		c.settle()
		c.update(source, 2)
		c.settle()
		c.woken = nil
		c.watcher.Subscribe(reader, source, "1") // read just before the change
		c.Expect(c.wakes()).To(ConsistOf(reader))
	})
}

// A watch that lags behind, or is broken, must not make a subscriber that reads the newest version run in circles.
func TestAWaiterThatKnowsMoreThanTheWatchIsNotWokenAgainAndAgain(t *testing.T) {
	watching(t, func(c *cluster) {
		c.create(source, 1)
		c.watcher.Subscribe(identity, source, "1")
		c.Expect(c.wakes()).To(BeEmpty())
		for range 10 {
			c.watcher.Subscribe(identity, source, "2")
		}
		c.settle()
		c.Expect(len(c.woken)).To(BeNumerically("<=", 1))
		c.woken = nil
		c.update(source, 2)
		c.Expect(c.wakes()).To(BeEmpty())
		c.update(source, 3)
		c.Expect(c.wakes()).To(ConsistOf(identity))
		c.watcher.Subscribe(identity, source, "3")
		c.watcher.Subscribe(identity, source, "2") // an old look
		c.Expect(c.wakes()).To(ConsistOf(identity))
	})
}

func TestAWaiterThatSawWhatCameAndWentIsWoken(t *testing.T) {
	watching(t, func(c *cluster) {
		c.watcher.Subscribe(identity, source, "")
		c.settle()
		c.watcher.Subscribe(identity, source, "1") // which the watch does not know yet
		c.Expect(c.wakes()).To(ConsistOf(identity))
		c.watcher.Subscribe(identity, source, "") // it went
		c.Expect(c.wakes()).To(BeEmpty())
		c.watcher.Subscribe(identity, source, "2") // and came again, and went just after it was read
		c.Expect(c.wakes()).To(ConsistOf(identity))
	})
}

func TestSeveralMayWaitForOneSecret(t *testing.T) {
	watching(t, func(c *cluster) {
		second := request.Key{Kind: identity.Kind, NamespacedName: types.NamespacedName{Name: "second"}}
		c.create(source, 1)
		c.watcher.Subscribe(identity, source, "1")
		c.watcher.Subscribe(second, source, "1")
		c.watcher.Subscribe(reader, source, "1")
		c.Expect(c.wakes()).To(BeEmpty())
		c.update(source, 2)
		c.Expect(c.wakes()).To(ConsistOf(identity, second, reader))
		c.watcher.Subscribe(second, source, "2")
		c.watcher.Unsubscribe(reader)
		c.update(source, 3)
		c.Expect(c.wakes()).To(ConsistOf(identity, second))
		c.Expect(c.watches()).To(Equal([]string{"system/metadata.name=bootstrap"}), "one watch for all")
	})
}

// watches are the namespaces and field selectors of the watches that were begun.
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

func TestOnlyTheSecretThatIsAwaitedIsAskedFor(t *testing.T) {
	watching(t, func(c *cluster) {
		c.watcher.Subscribe(identity, source, "")
		c.watcher.Subscribe(reader, readerID, "")
		c.settle()
		c.Expect(c.watches()).To(ConsistOf("system/metadata.name=bootstrap", "shop/metadata.name=s3-reader"))
		for _, action := range c.client.Actions() {
			if list, ok := action.(clienttesting.ListAction); ok {
				c.Expect(list.GetListRestrictions().Fields.String()).To(HavePrefix("metadata.name="))
			}
		}
	})
}

func TestAWaiterWaitsForOneSecretAtATime(t *testing.T) {
	watching(t, func(c *cluster) {
		c.watcher.Subscribe(identity, source, "")
		c.settle()
		c.watcher.Subscribe(identity, another, "")
		c.settle()
		c.create(source, 1)
		c.Expect(c.wakes()).To(BeEmpty())
		c.create(another, 2)
		c.Expect(c.wakes()).To(ConsistOf(identity))
	})
}

func TestWhoIsDoneIsNotWoken(t *testing.T) {
	watching(t, func(c *cluster) {
		c.watcher.Unsubscribe(identity) // who never waited
		c.watcher.Subscribe(identity, source, "")
		c.settle()
		c.watcher.Unsubscribe(identity)
		c.watcher.Unsubscribe(identity)
		c.create(source, 1)
		c.Expect(c.wakes()).To(BeEmpty())
		c.watcher.Subscribe(identity, source, "1")
		c.Expect(c.wakes()).To(BeEmpty())
		c.update(source, 2)
		c.Expect(c.wakes()).To(ConsistOf(identity), "it may wait again")
	})
}

// That no goroutine outlives it is what the bubble sees to.
func TestAWatchEndsWithItsLastWaiter(t *testing.T) {
	watching(t, func(c *cluster) {
		c.watcher.Subscribe(identity, source, "")
		c.watcher.Subscribe(reader, source, "")
		c.settle()
		c.watcher.Unsubscribe(identity)
		c.create(source, 1)
		c.Expect(c.wakes()).To(ConsistOf(reader))
		c.watcher.Unsubscribe(reader)
		c.watcher.Subscribe(reader, another, "")
		c.watcher.Unsubscribe(reader) // before it is under way
	})
}

func TestAStoppedWatcherWatchesNothing(t *testing.T) {
	watching(t, func(c *cluster) {
		c.create(source, 1)
		c.watcher.Subscribe(identity, source, "1")
		c.watcher.Subscribe(reader, readerID, "")
		c.settle()
		c.stop()
		c.Expect(c.watcher.IsCurrent(identity, source, "1")).To(BeFalse())
		c.client.ClearActions()
		c.watcher.Subscribe(identity, another, "")
		c.watcher.Unsubscribe(identity)
		c.update(source, 2)
		c.Expect(c.wakes()).To(BeEmpty())
		c.Expect(c.client.Actions()).To(BeEmpty())
	})
}

func TestWhetherASecretIsKnownToBeAsItWasSeen(t *testing.T) {
	watching(t, func(c *cluster) {
		c.create(source, 1)
		c.Expect(c.watcher.IsCurrent(identity, source, "1")).To(BeFalse(), "it is not watched")
		c.watcher.Subscribe(identity, source, "1")
		c.Expect(c.watcher.IsCurrent(identity, source, "1")).To(BeFalse(), "the watch is not under way")
		c.settle()
		c.Expect(c.watcher.IsCurrent(identity, source, "1")).To(BeTrue())
		c.Expect(c.watcher.IsCurrent(identity, source, "2")).To(BeFalse(), "another version")
		c.Expect(c.watcher.IsCurrent(identity, another, "1")).To(BeFalse(), "another Secret")
		c.Expect(c.watcher.IsCurrent(reader, source, "1")).To(BeFalse(), "another subscriber")
		c.update(source, 2)
		c.settle()
		c.Expect(c.watcher.IsCurrent(identity, source, "1")).To(BeFalse(), "it changed")
		c.delete(source)
		c.settle()
		c.Expect(c.watcher.IsCurrent(identity, source, "2")).To(BeFalse(), "it is gone")
		c.Expect(c.watcher.IsCurrent(identity, source, "")).To(BeTrue(), "and known to be")
		c.watcher.Unsubscribe(identity)
		c.Expect(c.watcher.IsCurrent(identity, source, "")).To(BeFalse(), "nobody looks any more")
	})
}

func TestSeveralMayBeToldOfAKind(t *testing.T) {
	watching(t, func(c *cluster) {
		var told []types.NamespacedName
		c.watcher.OnChange(identity.Kind, func(name types.NamespacedName) { told = append(told, name) })
		c.watcher.Subscribe(identity, source, "")
		c.watcher.Subscribe(reader, readerID, "")
		c.settle()
		c.create(source, 1)
		c.create(readerID, 2)
		c.Expect(c.wakes()).To(ConsistOf(identity, reader))
		c.Expect(told).To(Equal([]types.NamespacedName{identity.NamespacedName}))
	})
}

func TestCallbackMayUseTheWatcher(t *testing.T) {
	watching(t, func(c *cluster) {
		used := make(chan bool, 10)
		c.watcher.OnChange(reader.Kind, func(types.NamespacedName) {
			c.watcher.Unsubscribe(identity) // would wait for ever if the Watcher held its lock
			used <- c.watcher.IsCurrent(reader, source, "")
		})
		c.watcher.Subscribe(reader, source, "")
		c.create(source, 1)
		c.settle()
		c.Expect(used).To(Receive(BeFalse()))
	})
}
