package secretstore

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"rolecredential.dev/operator/controllers/request"
)

// Watcher watches single Secrets by name, metadata only: an identity's source, or a stranger where a credential's Secret
// should be. These carry no label of ours that one watch could select, and are few.
type Watcher struct {
	client metadata.Interface

	mu          sync.Mutex
	closed      bool
	watches     map[types.NamespacedName]*watch
	subscribers map[request.Key]types.NamespacedName
	wake        map[string][]func(types.NamespacedName)
}

type watch struct {
	informer cache.SharedIndexInformer
	stop     chan struct{}
	// seen is the version of the Secret that each subscriber knows; empty for absent.
	seen map[request.Key]string
	// told is the version that a subscriber was woken for on waiting: a watch that lags behind what the subscriber has seen is no
	// reason to wake it again and again.
	told map[request.Key]string
}

// NewWatcher returns a Watcher that watches nothing yet.
func NewWatcher(client metadata.Interface) *Watcher {
	return &Watcher{
		client:      client,
		watches:     map[types.NamespacedName]*watch{},
		subscribers: map[request.Key]types.NamespacedName{},
		wake:        map[string][]func(types.NamespacedName){},
	}
}

// Start ends all watches when the context ends. It implements manager.Runnable.
func (w *Watcher) Start(ctx context.Context) error {
	<-ctx.Done()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for subscriber := range w.subscribers {
		w.release(subscriber)
	}
	return nil
}

// OnChange calls wake for each subscriber of a kind whose Secret is no longer the version it has seen. The call is made without locks held, so
// that wake may use the Watcher.
func (w *Watcher) OnChange(kind string, wake func(types.NamespacedName)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wake[kind] = append(w.wake[kind], wake)
}

// Subscribe calls back the subscriber once the Secret is no longer the version that it has seen, an empty one if there was none. A subscriber
// waits for one Secret at a time; awaiting it again renews what it has seen.
func (w *Watcher) Subscribe(subscriber request.Key, secret types.NamespacedName, seen string) {
	for _, call := range w.await(subscriber, secret, seen) {
		call()
	}
}

// await returns the calls to make without locks held.
func (w *Watcher) await(subscriber request.Key, secret types.NamespacedName, seen string) []func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	if before, waits := w.subscribers[subscriber]; waits && before != secret {
		w.release(subscriber)
	}
	w.subscribers[subscriber] = secret
	watched, ok := w.watches[secret]
	if !ok {
		watched = w.watch(secret)
		w.watches[secret] = watched
	}
	watched.seen[subscriber] = seen
	if !watched.informer.HasSynced() {
		return nil
	}
	now := version(watched.informer, secret)
	told, again := watched.told[subscriber]
	switch {
	case now == seen:
		delete(watched.told, subscriber)
	case !again || told != now:
		watched.told[subscriber] = now
		return w.callbacks(subscriber)
	}
	return nil
}

// Unsubscribe ends a subscription.
func (w *Watcher) Unsubscribe(subscriber request.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release(subscriber)
}

// IsCurrent reports whether the Secret is known to be still the version that the subscriber has seen.
func (w *Watcher) IsCurrent(subscriber request.Key, secret types.NamespacedName, seen string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	watched := w.watches[secret]
	return w.subscribers[subscriber] == secret && watched != nil && watched.informer.HasSynced() && version(watched.informer, secret) == seen
}

func (w *Watcher) release(subscriber request.Key) {
	secret, waits := w.subscribers[subscriber]
	if !waits {
		return
	}
	delete(w.subscribers, subscriber)
	watched := w.watches[secret]
	delete(watched.seen, subscriber)
	delete(watched.told, subscriber)
	if len(watched.seen) == 0 {
		close(watched.stop)
		delete(w.watches, secret)
	}
}

// callbacks returns the calls that report a change to a subscriber. They are made without locks held.
func (w *Watcher) callbacks(subscriber request.Key) (calls []func()) {
	for _, wake := range w.wake[subscriber.Kind] {
		calls = append(calls, func() { wake(subscriber.NamespacedName) })
	}
	return calls
}

// changed returns the calls for all subscribers that know another version of a Secret.
func (w *Watcher) changed(watched *watch, secret types.NamespacedName) (calls []func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for subscriber, seen := range watched.seen {
		if version(watched.informer, secret) != seen {
			calls = append(calls, w.callbacks(subscriber)...)
		}
	}
	return calls
}

func (w *Watcher) watch(secret types.NamespacedName) *watch {
	informer := metadatainformer.NewFilteredMetadataInformer(w.client, corev1.SchemeGroupVersion.WithResource("secrets"), secret.Namespace, 0,
		cache.Indexers{}, func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, secret.Name).String()
		}).Informer()
	watched := &watch{informer: informer, stop: make(chan struct{}), seen: map[request.Key]string{}, told: map[request.Key]string{}}
	changed := func() {
		for _, call := range w.changed(watched, secret) {
			call()
		}
	}
	// This fails only on an informer that was stopped already.
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	})
	go informer.Run(watched.stop)
	go func() {
		// A Secret that went before the first list was made leaves no event.
		if cache.WaitForCacheSync(watched.stop, informer.HasSynced) {
			changed()
		}
	}()
	return watched
}

// version returns the resource version of the Secret in the informer's store, empty if there is none.
func version(informer cache.SharedIndexInformer, secret types.NamespacedName) string {
	object, exists, err := informer.GetStore().GetByKey(secret.String())
	if err != nil || !exists {
		return ""
	}
	if metadata, ok := object.(*metav1.PartialObjectMetadata); ok {
		return metadata.ResourceVersion
	}
	return ""
}

// Source enqueues the objects that a change of a Secret affects, by the subscribers of a kind.
func (w *Watcher) Source(kind string, affected func(context.Context, types.NamespacedName) []reconcile.Request) source.Source {
	return source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		w.OnChange(kind, func(subscriber types.NamespacedName) {
			for _, request := range affected(ctx, subscriber) {
				queue.Add(request)
			}
		})
		return nil
	})
}
