package observer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kinds are the kinds of credentials.
var kinds = []string{"RoleCredential", "SessionCredential", "FederatedCredential"}

// Watch watches all Secrets and credentials until the context ends. It lists them again when a watch ends.
func (o *Observer) Watch(ctx context.Context, reader client.WithWatch) {
	done := make(chan struct{})
	for _, kind := range kinds {
		go func() {
			o.relist(ctx, func(synced func()) error { return o.watchCredentials(ctx, reader, kind, synced) })
			done <- struct{}{}
		}()
	}
	o.relist(ctx, func(synced func()) error { return o.watchSecrets(ctx, reader, synced) })
	for range kinds {
		<-done
	}
}

// relist runs a list and watch repeatedly. Until synced is called, the view is disrupted.
func (o *Observer) relist(ctx context.Context, once func(synced func()) error) {
	for ctx.Err() == nil {
		o.Disruptions.Begin(View)
		synced := sync.OnceFunc(func() { o.Disruptions.End(View, 0) })
		_ = once(synced) // all errors have the same remedy: the next list
		select {
		case <-ctx.Done():
		case <-time.After(Interval):
		}
		synced()
	}
}

func (o *Observer) watchCredentials(ctx context.Context, reader client.WithWatch, kind string, synced func()) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "sts.rolecredential.dev", Version: "v1alpha1", Kind: kind + "List"})
	err := o.list(ctx, reader, list)
	if err != nil {
		return err
	}
	for i := range list.Items {
		o.CredentialObserved(&list.Items[i])
	}
	return o.events(ctx, reader, list, list.GetResourceVersion(), synced, func(event watch.EventType, object runtime.Object) {
		if found, ok := object.(*unstructured.Unstructured); ok && event != watch.Deleted {
			o.CredentialObserved(found)
		}
	})
}

func (o *Observer) watchSecrets(ctx context.Context, reader client.WithWatch, synced func()) error {
	list := &corev1.SecretList{}
	if err := o.list(ctx, reader, list); err != nil {
		return err
	}
	present := map[types.NamespacedName]bool{}
	for i := range list.Items {
		present[client.ObjectKeyFromObject(&list.Items[i])] = true
		o.SecretObserved(ctx, &list.Items[i])
	}
	for _, name := range o.names() {
		if !present[name] {
			o.SecretAbsent(name)
		}
	}
	return o.events(ctx, reader, list, list.ResourceVersion, synced, func(event watch.EventType, object runtime.Object) {
		secret, ok := object.(*corev1.Secret)
		switch {
		case !ok:
		case event == watch.Deleted:
			o.secretDeleted(secret)
		default:
			o.SecretObserved(ctx, secret)
		}
	})
}

func (o *Observer) names() (names []types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name := range o.credentials {
		names = append(names, name)
	}
	return names
}

func (o *Observer) secretDeleted(secret *corev1.Secret) {
	o.mu.Lock()
	_, foreign := o.foreign[secret.UID]
	o.mu.Unlock()
	if foreign {
		o.Results.CheckTrue(ForeignUnchanged, false, func() string { return fmt.Sprintf("foreign Secret %s/%s was deleted", secret.Namespace, secret.Name) })
	}
	o.SecretAbsent(client.ObjectKeyFromObject(secret))
}

// errWatchEnded is the end of a watch, which the API server ends regularly.
var errWatchEnded = errors.New("the watch ended")

const listTimeout = 10 * time.Second

func (o *Observer) list(ctx context.Context, reader client.WithWatch, list client.ObjectList) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return reader.List(ctx, list)
}

// events passes on the events after a resource version, until the watch ends.
func (o *Observer) events(ctx context.Context, reader client.WithWatch, list client.ObjectList, version string, synced func(), handle func(watch.EventType, runtime.Object)) error {
	watcher, err := reader.Watch(ctx, list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	synced()
	for event := range watcher.ResultChan() {
		if event.Type == watch.Error {
			break
		}
		handle(event.Type, event.Object)
	}
	return errWatchEnded
}
