package identity

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
	ctrlsource "sigs.k8s.io/controller-runtime/pkg/source"

	"rolecredential.dev/operator/controllers/request"
)

// Watcher watches the Secrets of identities' sources: one informer of metadata for each identity, which lists and watches
// one Secret by name. These Secrets have no label that one watch could select. It implements [Watch].
type Watcher struct {
	client metadata.Interface

	// mu is not locked while handlers run.
	mu       sync.Mutex
	stopped  bool
	watches  map[request.Key]*secretWatch
	handlers map[string][]func(types.NamespacedName) // by the identity's kind
}

// secretWatch is the informer of one identity's Secret. Versions are empty for no Secret.
type secretWatch struct {
	secret   types.NamespacedName
	informer cache.SharedIndexInformer
	stop     chan struct{}
	// used is the version that the identity uses.
	used string
	// notified is the version that a subscription last enqueued the identity for; nil if the version in use is current.
	notified *string
}

// NewWatcher returns a Watcher without watches.
func NewWatcher(client metadata.Interface) *Watcher {
	return &Watcher{client: client, watches: map[request.Key]*secretWatch{}, handlers: map[string][]func(types.NamespacedName){}}
}

// Start stops all watches when the context is done. It implements manager.Runnable.
func (w *Watcher) Start(ctx context.Context) error {
	<-ctx.Done()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	for identity := range w.watches {
		w.end(identity)
	}
	return nil
}

// Source enqueues the objects that depend on an identity of a kind when the identity's Secret changes.
func (w *Watcher) Source(kind string, dependents func(context.Context, types.NamespacedName) []reconcile.Request) ctrlsource.Source {
	return ctrlsource.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		w.onChange(kind, func(identity types.NamespacedName) {
			for _, req := range dependents(ctx, identity) {
				queue.Add(req)
			}
		})
		return nil
	})
}

func (w *Watcher) onChange(kind string, handle func(types.NamespacedName)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handlers[kind] = append(w.handlers[kind], handle)
}

// Subscribe enqueues the identity when the Secret no longer has the version, which is empty for no Secret. It replaces the
// identity's subscription to another Secret.
func (w *Watcher) Subscribe(identity request.Key, secret types.NamespacedName, version string) {
	w.mu.Lock()
	watch := w.watches[identity]
	switch {
	case w.stopped:
		w.mu.Unlock()
		return
	case watch == nil || watch.secret != secret:
		w.end(identity)
		w.watches[identity] = w.start(identity, secret, version)
		w.mu.Unlock()
		return
	}
	// The event of a later change may have come before this call. An informer that is behind must not enqueue the identity
	// again and again.
	watch.used = version
	current := watch.version()
	repeated := watch.notified != nil && *watch.notified == current
	if watch.notified = &current; current == version {
		watch.notified = nil
	}
	w.mu.Unlock()
	if !repeated {
		w.notify(identity, watch)
	}
}

// Unsubscribe ends the identity's subscription.
func (w *Watcher) Unsubscribe(identity request.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end(identity)
}

// IsCurrent reports whether the Secret is known to have the version still.
func (w *Watcher) IsCurrent(identity request.Key, secret types.NamespacedName, version string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	watch := w.watches[identity]
	return watch != nil && watch.secret == secret && watch.informer.HasSynced() && watch.version() == version
}

func (w *Watcher) end(identity request.Key) {
	if watch := w.watches[identity]; watch != nil {
		close(watch.stop)
		delete(w.watches, identity)
	}
}

func (w *Watcher) start(identity request.Key, secret types.NamespacedName, version string) *secretWatch {
	informer := metadatainformer.NewFilteredMetadataInformer(w.client, corev1.SchemeGroupVersion.WithResource("secrets"), secret.Namespace, 0,
		cache.Indexers{}, func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, secret.Name).String()
		}).Informer()
	watch := &secretWatch{secret: secret, informer: informer, stop: make(chan struct{}), used: version}
	notify := func() { w.notify(identity, watch) }
	// This fails only on an informer that was stopped already.
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { notify() }, UpdateFunc: func(any, any) { notify() }, DeleteFunc: func(any) { notify() },
	})
	go informer.Run(watch.stop)
	go func() {
		// A Secret that was deleted before the first list causes no event.
		select {
		case <-informer.HasSyncedChecker().Done():
			notify()
		case <-watch.stop:
		}
	}()
	return watch
}

// notify calls the handlers of an identity if its Secret has another version than the identity uses.
func (w *Watcher) notify(identity request.Key, watch *secretWatch) {
	w.mu.Lock()
	var handlers []func(types.NamespacedName)
	if w.watches[identity] == watch && watch.informer.HasSynced() && watch.used != watch.version() {
		handlers = w.handlers[identity.Kind]
	}
	w.mu.Unlock()
	for _, handle := range handlers {
		handle(identity.NamespacedName)
	}
}

// version returns the resource version of the Secret in the informer's store; empty if there is none.
func (w *secretWatch) version() string {
	object, exists, err := w.informer.GetStore().GetByKey(w.secret.String())
	metadata, ok := object.(*metav1.PartialObjectMetadata)
	if err != nil || !exists || !ok {
		return ""
	}
	return metadata.ResourceVersion
}
