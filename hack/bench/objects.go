package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/program"
)

const (
	// perNamespace is the number of credentials in a namespace.
	perNamespace = 500
	// shortTimeout bounds single steps, and longTimeout the slowest phase.
	shortTimeout, longTimeout = time.Minute, 20 * time.Minute
)

// parallel calls do for each number below n, with a number of workers. It stops at the first error.
func parallel(ctx context.Context, workers, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	numbers := make(chan int)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := range numbers {
				if err := do(ctx, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case numbers <- i:
		case <-ctx.Done():
		}
	}
	close(numbers)
	group.Wait()
	return context.Cause(ctx)
}

// roleOf returns the role of a credential. Four credentials share a role.
func roleOf(i int) string { return fmt.Sprintf("arn:aws:iam::123456789012:role/bench-%d", i/4) }

// createCredentials creates n credentials, in namespaces with a prefix. change, unless nil, changes each of them first.
func (e *environment) createCredentials(ctx context.Context, prefix string, n int, change func(i int, c *v1alpha1.RoleCredential)) ([]*v1alpha1.RoleCredential, error) {
	for i := 0; i < n; i += perNamespace {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(prefix, "-", i/perNamespace)}}
		if err := e.Client.Create(ctx, namespace); err != nil {
			return nil, err
		}
	}
	credentials := make([]*v1alpha1.RoleCredential, n)
	return credentials, parallel(ctx, controllers.DefaultConcurrency, n, func(ctx context.Context, i int) error {
		credentials[i] = newCredential(fmt.Sprint(prefix, "-", i/perNamespace), fmt.Sprintf("reader-%05d", i), roleOf(i))
		if change != nil {
			change(i, credentials[i])
		}
		return e.Client.Create(ctx, credentials[i])
	})
}

func newCredential(namespace, name, role string) *v1alpha1.RoleCredential {
	credential := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	credential.Spec.RoleARN = role
	credential.Spec.Duration = &metav1.Duration{Duration: 12 * time.Hour} // no credential is due during a measurement
	return credential
}

// observer counts issues by watching the credentials' statuses.
type observer struct {
	mu sync.Mutex
	// keys are the access key IDs of Ready credentials.
	keys    map[string]bool
	last    time.Time
	failure error
}

// observe starts a watch of credentials, which ends with the context.
func (e *environment) observe(ctx context.Context) (*observer, error) {
	o := &observer{keys: map[string]bool{}}
	events, err := e.watchCredentials(ctx)
	if err != nil {
		return nil, err
	}
	go func() {
		for err == nil {
			if err = o.follow(events); err == nil { // the API server ends watches regularly; the next one starts with all objects
				events, err = e.watchCredentials(ctx)
			}
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.failure = fmt.Errorf("the watch of credentials failed: %w", err)
	}()
	return o, nil
}

func (e *environment) watchCredentials(ctx context.Context) (io.ReadCloser, error) {
	return e.extensions.Get().Resource("rolecredentials").VersionedParams(&metav1.ListOptions{Watch: true}, metav1.ParameterCodec).Stream(ctx)
}

// follow reads a watch's events, one per line, until the watch ends.
func (o *observer) follow(events io.ReadCloser) error {
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		o.record(lines.Bytes())
	}
	return errors.Join(lines.Err(), events.Close())
}

// The JSON of a Ready credential: the API server writes keys in alphabetical order.
var (
	isReady   = []byte(`"status":"True","type":"Ready"`)
	accessKey = regexp.MustCompile(`"accessKeyID":"(\w+)"`)
)

// record parses an event as text: to decode it would take CPU from the programs that are measured.
func (o *observer) record(event []byte) {
	now, key := time.Now(), accessKey.FindSubmatch(event)
	if key == nil || !bytes.Contains(event, isReady) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if id := string(key[1]); !o.keys[id] {
		o.keys[id] = true
		o.last = now
	}
}

// count returns the number of issues, and the time of the last one.
func (o *observer) count() (issues int, last time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.keys), o.last, o.failure
}

// await waits for a number of issues, and returns the time of the last one.
func (o *observer) await(ctx context.Context, timeout time.Duration, issues int) (time.Time, error) {
	var at time.Time
	err := program.WaitUntil(ctx, timeout, 10*time.Millisecond, func(context.Context) error {
		count, last, err := o.count()
		at = last
		switch {
		case err != nil:
			return program.Stop(err)
		case count < issues:
			return fmt.Errorf("%d of %d issued", count, issues)
		}
		return nil
	})
	return at, err
}

// sample is one credential of the operator, with its Secret.
type sample struct {
	secret corev1.Secret
	status v1alpha1.CredentialStatus
}

// warmUp makes the operator issue one credential, so that no measurement includes first-time work of the API server.
func (e *environment) warmUp(ctx context.Context) (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var model sample
	o, err := e.observe(ctx)
	if err != nil {
		return model, err
	}
	m, err := e.startManager()
	if err != nil {
		return model, err
	}
	credentials, err := e.createCredentials(ctx, "warm-up", 1, nil)
	if err != nil {
		return model, err
	}
	if _, err := o.await(ctx, shortTimeout, 1); err != nil {
		return model, err
	}
	if err := m.Stop(); err != nil {
		return model, err
	}
	key := client.ObjectKeyFromObject(credentials[0])
	if err := errors.Join(e.Client.Get(ctx, key, credentials[0]), e.Client.Get(ctx, key, &model.secret)); err != nil {
		return model, err
	}
	model.status = *credentials[0].Report()
	// kube-controller-manager deletes the Secret too.
	return model, errors.Join(e.Client.Delete(ctx, credentials[0]), client.IgnoreNotFound(e.Client.Delete(ctx, &model.secret)))
}
