package telemetry

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/controllers/limit"
)

// Metrics counts and measures what is in the [Catalogue]. It is a prometheus.Collector. What it tells of objects it keeps in a few
// words for each, and writes out at a scrape: of 10,000 credentials, two MiB.
type Metrics struct {
	clock clock.PassiveClock

	calls, restarts    *prometheus.CounterVec
	requests, lateness *prometheus.HistogramVec

	mu sync.Mutex
	state
	// over tells that this manager works no more, and is to tell of no object.
	over   bool
	levels func() map[string]limit.Level
}

// state is what there is to tell at a time.
type state struct {
	leading     bool
	credentials map[object]held
	readers     map[object]readers
	identities  map[string]identity
	limits      map[string]limit.Level
	underWay    int
}

func newState() state {
	return state{credentials: map[object]held{}, readers: map[object]readers{}, identities: map[string]identity{}}
}

// object names a credential.
type object struct {
	kind string
	types.NamespacedName
}

// held is [Held], times in seconds since 1970, zero for none.
type held struct {
	issued, expiration, refresh int64
	ahead                       time.Duration
	suspended                   bool
	failing                     string
}

type readers struct{ stale, stuck int }

type identity struct {
	ready bool
	// ahead is nil while it is not known.
	ahead *time.Duration
}

// NewMetrics registers the metrics. A second manager in one process, which comes after the first, goes on with its counts.
func NewMetrics(registry prometheus.Registerer, clock clock.PassiveClock) (*Metrics, error) {
	m := &Metrics{
		clock: clock,
		calls: callsMetric.counter(), restarts: restartsMetric.counter(), requests: requestsMetric.histogram(), lateness: latenessMetric.histogram(),
		state: newState(),
	}
	err := registry.Register(m)
	if before, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := before.ExistingCollector.(*Metrics); ok {
			existing.begin()
			return existing, nil
		}
	}
	return m, err
}

// Start tells that this manager works, until it does no more. It is a manager.Runnable that only a leader runs.
func (m *Metrics) Start(ctx context.Context) error {
	m.lead() // the reconcilers, which start at the same time, may have told something already
	<-ctx.Done()
	m.end()
	return nil
}

func (m *Metrics) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state, m.over = newState(), false
}

func (m *Metrics) lead() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leading = true
}

func (m *Metrics) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state, m.over = newState(), true
}

// Limits sets the function that returns the state of the limits by the labels of their identities. It is called at each scrape.
func (m *Metrics) Limits(levels func() map[string]limit.Level) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.levels = levels
}

// Called counts a call of STS.
func (m *Metrics) Called(kind, call, reason string) {
	m.calls.WithLabelValues(kind, call, reason).Inc()
}

// Requested measures a request of STS, from now until what it returns is called.
func (m *Metrics) Requested(call string) (answered func()) {
	asked := m.clock.Now()
	return func() { m.requests.WithLabelValues(call).Observe(m.clock.Since(asked).Seconds()) }
}

// Refreshed measures how long after it was due a credential was refreshed.
func (m *Metrics) Refreshed(kind string, late time.Duration) {
	m.lateness.WithLabelValues(kind).Observe(max(0, late).Seconds())
}

// Held is what there is to tell of a credential.
type Held struct {
	// IssuedAt, Expiration and RefreshAt are by the clock of STS; zero for none.
	IssuedAt, Expiration, RefreshAt time.Time
	// Ahead is how far the clock of STS is ahead of the operator's.
	Ahead time.Duration
	// Suspended tells that nothing is wrong with one that fails or expires.
	Suspended bool
	// Failing is the reason for which no new one can be had; empty if one can.
	Failing string
}

// Credential tells of a credential. To tell the same again costs next to nothing.
func (m *Metrics) Credential(kind string, name types.NamespacedName, h Held) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.credentials[object{kind, name}] = held{unix(h.IssuedAt), unix(h.Expiration), unix(h.RefreshAt), h.Ahead, h.Suspended, h.Failing}
}

// ForgetCredential ends the series of a credential that no longer exists.
func (m *Metrics) ForgetCredential(kind string, name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.credentials, object{kind, name})
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// Identity tells whether an identity is ready.
func (m *Metrics) Identity(label string, ready bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.identities[label] = identity{ready, m.identities[label].ahead}
}

// ClockSkew tells how far the clock of an identity's STS is ahead, unless the identity is gone.
func (m *Metrics) ClockSkew(label string, ahead time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known, ok := m.identities[label]; ok {
		m.identities[label] = identity{known.ready, &ahead}
	}
}

// ForgetIdentity ends the series of an identity that no longer exists.
func (m *Metrics) ForgetIdentity(label string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.identities, label)
}

// Results of restarts.
const (
	RestartFinished  = "Finished"
	RestartStalled   = "Stalled"
	RestartTakenBack = "TakenBack"
)

// Restarted counts a restart of a workload that is over.
func (m *Metrics) Restarted(result string) {
	m.restarts.WithLabelValues(result).Inc()
}

// Restarting tells how many workloads are in the middle of a restart.
func (m *Metrics) Restarting(workloads int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.underWay = workloads
}

// Readers tells how many workloads hold an earlier credential than a Secret does, and how many of these will not be restarted.
func (m *Metrics) Readers(kind string, name types.NamespacedName, stale, stuck int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readers[object{kind, name}] = readers{stale, stuck}
}

// ForgetReaders ends the series of a credential that restarts nothing any more.
func (m *Metrics) ForgetReaders(kind string, name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.readers, object{kind, name})
}

// now copies the state, so that a scrape holds nobody up.
func (m *Metrics) now() state {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return state{}
	}
	s := m.state
	s.credentials, s.readers, s.identities = maps.Clone(s.credentials), maps.Clone(s.readers), maps.Clone(s.identities)
	if m.levels != nil {
		s.limits = m.levels()
	}
	return s
}
