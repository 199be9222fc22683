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

// kinds are those of credentials.
var kinds = []string{"RoleCredential", "SessionCredential", "FederatedCredential"}

// View watches all Secrets and credentials by a client until the context ends. What it loses sight of it looks at anew at once.
func (o *Observer) View(ctx context.Context, reader client.WithWatch) {
	done := make(chan struct{})
	for _, kind := range kinds {
		go func() {
			o.follow(ctx, func(seen func()) error { return o.credentialsOnce(ctx, reader, kind, seen) })
			done <- struct{}{}
		}()
	}
	o.follow(ctx, func(seen func()) error { return o.secretsOnce(ctx, reader, seen) })
	for range kinds {
		<-done
	}
}

// follow lists and watches again and again. Until seen is called, the view is not clear.
func (o *Observer) follow(ctx context.Context, once func(seen func()) error) {
	for ctx.Err() == nil {
		o.Weather.Begin(OfView)
		seen := sync.OnceFunc(func() { o.Weather.End(0, OfView) })
		_ = once(seen) // whatever it was, all is looked at anew
		select {
		case <-ctx.Done():
		case <-time.After(Interval):
		}
		seen()
	}
}

func (o *Observer) credentialsOnce(ctx context.Context, reader client.WithWatch, kind string, seen func()) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "sts.rolecredential.dev", Version: "v1alpha1", Kind: kind + "List"})
	err := o.list(ctx, reader, list)
	if err != nil {
		return err
	}
	for i := range list.Items {
		o.SawCredential(&list.Items[i])
	}
	return o.events(ctx, reader, list, list.GetResourceVersion(), seen, func(event watch.EventType, object runtime.Object) {
		if found, ok := object.(*unstructured.Unstructured); ok && event != watch.Deleted {
			o.SawCredential(found)
		}
	})
}

func (o *Observer) secretsOnce(ctx context.Context, reader client.WithWatch, seen func()) error {
	list := &corev1.SecretList{}
	if err := o.list(ctx, reader, list); err != nil {
		return err
	}
	there := map[types.NamespacedName]bool{}
	for i := range list.Items {
		there[client.ObjectKeyFromObject(&list.Items[i])] = true
		o.SawSecret(ctx, &list.Items[i])
	}
	for _, name := range o.names() {
		if !there[name] {
			o.LostSecret(name)
		}
	}
	return o.events(ctx, reader, list, list.ResourceVersion, seen, func(event watch.EventType, object runtime.Object) {
		secret, ok := object.(*corev1.Secret)
		switch {
		case !ok:
		case event == watch.Deleted:
			o.goneSecret(secret)
		default:
			o.SawSecret(ctx, secret)
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

func (o *Observer) goneSecret(secret *corev1.Secret) {
	o.mu.Lock()
	_, foreign := o.foreign[secret.UID]
	o.mu.Unlock()
	if foreign {
		o.Ledger.Holds(Untouched, false, func() string { return fmt.Sprintf("foreign Secret %s/%s was deleted", secret.Namespace, secret.Name) })
	}
	o.LostSecret(client.ObjectKeyFromObject(secret))
}

// errGone says that a watch ended, as they do.
var errGone = errors.New("the watch ended")

const patience = 10 * time.Second

func (o *Observer) list(ctx context.Context, reader client.WithWatch, list client.ObjectList) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return reader.List(ctx, list)
}

// events hands on what happens after a version, until the watch ends.
func (o *Observer) events(ctx context.Context, reader client.WithWatch, list client.ObjectList, version string, seen func(), handle func(watch.EventType, runtime.Object)) error {
	watcher, err := reader.Watch(ctx, list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	seen()
	for event := range watcher.ResultChan() {
		if event.Type == watch.Error {
			break
		}
		handle(event.Type, event.Object)
	}
	return errGone
}
