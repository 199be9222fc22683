package credential

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/request"
)

// Dispatcher enqueues the credentials that the limiter has reserved calls for.
type Dispatcher struct {
	Limits *limit.Limiter
	clock  clock.Clock

	mu sync.Mutex
	// queues holds the queue of each kind of credential.
	queues map[string]workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// NewDispatcher returns a Dispatcher with a limiter of qps calls per second for each identity, and of calls in flight.
func NewDispatcher(qps, slots int, c clock.Clock) *Dispatcher {
	return &Dispatcher{
		Limits: &limit.Limiter{DefaultQPS: qps, Slots: slots, Changed: make(chan struct{}, 1)},
		clock:  c, queues: map[string]workqueue.TypedRateLimitingInterface[reconcile.Request]{},
	}
}

// Start runs until the context is done.
func (d *Dispatcher) Start(ctx context.Context) error {
	for {
		now := d.clock.Now()
		ready, next := d.Limits.Ready(now)
		for _, key := range ready {
			d.enqueue(key)
		}
		var due <-chan time.Time
		if !next.IsZero() {
			due = d.clock.After(max(next.Sub(now), time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.Limits.Changed:
		case <-due:
		}
	}
}

func (d *Dispatcher) enqueue(key request.Key) {
	d.mu.Lock()
	queue := d.queues[key.Kind]
	d.mu.Unlock()
	req := reconcile.Request{NamespacedName: key.NamespacedName}
	switch q := queue.(type) {
	case nil:
	case priorityqueue.PriorityQueue[reconcile.Request]:
		q.AddWithOpts(priorityqueue.AddOpts{Priority: new(reservedPriority)}, req)
	default:
		q.Add(req)
	}
}

// Source gives the dispatcher the queue of a kind of credential, or of a kind of identity, which waits for calls too.
func (d *Dispatcher) Source(kind string) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.queues[kind] = queue
		return nil
	})
}
