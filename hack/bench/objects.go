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
)

const (
	// perNamespace is how many credentials are in one namespace.
	perNamespace = 500
	// bounds of what comes at once, and of the slowest thing measured.
	promptly, slowly = time.Minute, 20 * time.Minute
)

// parallel does something for each number below n, so many at a time. It stops at the first error.
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

// roleOf is a role of a credential: a few to a role.
func roleOf(i int) string { return fmt.Sprintf("arn:aws:iam::123456789012:role/bench-%d", i/4) }

// prepare makes n credentials that nobody deals with yet, in namespaces that begin with a prefix.
func (w *world) prepare(ctx context.Context, prefix string, n int, change func(i int, c *v1alpha1.RoleCredential)) ([]*v1alpha1.RoleCredential, error) {
	for i := 0; i < n; i += perNamespace {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(prefix, "-", i/perNamespace)}}
		if err := w.Client.Create(ctx, namespace); err != nil {
			return nil, err
		}
	}
	made := make([]*v1alpha1.RoleCredential, n)
	return made, parallel(ctx, controllers.DefaultConcurrency, n, func(ctx context.Context, i int) error {
		made[i] = newCredential(fmt.Sprint(prefix, "-", i/perNamespace), fmt.Sprintf("reader-%05d", i), roleOf(i))
		if change != nil {
			change(i, made[i])
		}
		return w.Client.Create(ctx, made[i])
	})
}

func newCredential(namespace, name, role string) *v1alpha1.RoleCredential {
	made := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	made.Spec.RoleARN = role
	made.Spec.Duration = &metav1.Duration{Duration: 12 * time.Hour} // so that none is due while something is measured
	return made
}

// observer sees each issue in the credentials' statuses, as any user may.
type observer struct {
	mu sync.Mutex
	// keys are the access key ids that a Ready credential had.
	keys  map[string]bool
	last  time.Time
	ended error
}

// observe watches credentials from now on, for as long as the context lives.
func (w *world) observe(ctx context.Context) (*observer, error) {
	o := &observer{keys: map[string]bool{}}
	events, err := w.watchCredentials(ctx)
	if err != nil {
		return nil, err
	}
	go func() {
		for err == nil {
			if err = o.follow(events); err == nil { // the API server ends a watch now and then; another begins with all that is there
				events, err = w.watchCredentials(ctx)
			}
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.ended = fmt.Errorf("the watch of credentials ended: %w", err)
	}()
	return o, nil
}

func (w *world) watchCredentials(ctx context.Context) (io.ReadCloser, error) {
	return w.extensions.Get().Resource("rolecredentials").VersionedParams(&metav1.ListOptions{Watch: true}, metav1.ParameterCodec).Stream(ctx)
}

// follow reads a watch's events, a line each, until its end.
func (o *observer) follow(events io.ReadCloser) error {
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		o.see(lines.Bytes())
	}
	return errors.Join(lines.Err(), events.Close())
}

// What the API server writes of a credential that is Ready, with keys in the order of the alphabet.
var (
	isReady   = []byte(`"status":"True","type":"Ready"`)
	accessKey = regexp.MustCompile(`"accessKeyID":"(\w+)"`)
)

// see takes an event as text, since to decode it would take the machine more time than there is to spare for one who looks on.
func (o *observer) see(event []byte) {
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

// count is how many issues were seen so far, and when the last was.
func (o *observer) count() (issues int, last time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.keys), o.last, o.ended
}

// await waits until so many issues were seen, and returns when the last was.
func (o *observer) await(ctx context.Context, bounds time.Duration, issues int) (time.Time, error) {
	var at time.Time
	err := await(ctx, bounds, 10*time.Millisecond, func(context.Context) (bool, error) {
		seen, last, err := o.count()
		at = last
		return seen >= issues, err
	})
	if err != nil {
		seen, _, _ := o.count()
		err = fmt.Errorf("%d of %d issued: %w", seen, issues, err)
	}
	return at, err
}

// sample is one credential with its Secret, as the operator makes them.
type sample struct {
	secret corev1.Secret
	status v1alpha1.CredentialStatus
}

// warmUp has the operator issue one credential, so that all has been done once before anything is measured.
func (w *world) warmUp(ctx context.Context) (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var of sample
	o, err := w.observe(ctx)
	if err != nil {
		return of, err
	}
	m, err := w.startManager()
	if err != nil {
		return of, err
	}
	made, err := w.prepare(ctx, "warm-up", 1, nil)
	if err != nil {
		return of, err
	}
	if _, err := o.await(ctx, promptly, 1); err != nil {
		return of, err
	}
	if err := m.End(); err != nil {
		return of, err
	}
	key := client.ObjectKeyFromObject(made[0])
	if err := errors.Join(w.Client.Get(ctx, key, made[0]), w.Client.Get(ctx, key, &of.secret)); err != nil {
		return of, err
	}
	of.status = *made[0].Report()
	// kube-controller-manager deletes the Secret too.
	return of, errors.Join(w.Client.Delete(ctx, made[0]), client.IgnoreNotFound(w.Client.Delete(ctx, &of.secret)))
}
