package telemetry

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/request"
)

// Metrics holds the metrics of the [Catalogue]. It is a prometheus.Collector. It holds the state of each object, and makes the
// metrics at a scrape: 10,000 credentials take 3 MiB.
type Metrics struct {
	clock clock.PassiveClock

	calls, restarts, limitHits *prometheus.CounterVec
	requests, lateness         *prometheus.HistogramVec

	mu sync.Mutex
	state
	stopped bool // this manager no longer works, and reports no object
	levels  func() []limit.Level
}

// state is the source of the gauges.
type state struct {
	leading     bool
	credentials map[request.Key]CredentialState
	readers     map[request.Key]readers
	identities  map[string]identity
	sources     map[request.Key]time.Time
	limits      []limit.Level
	underWay    int
}

type readers struct{ stale, stuck int }

type identity struct {
	ready bool
	skew  *time.Duration // nil while the clock skew is not known
}

// NewMetrics registers the metrics, in place of those of an earlier manager in this process.
func NewMetrics(registry prometheus.Registerer, clock clock.PassiveClock) (*Metrics, error) {
	m := &Metrics{
		clock: clock,
		calls: callsMetric.counter(), restarts: restartsMetric.counter(), limitHits: limitHitsMetric.counter(),
		requests: requestsMetric.histogram(), lateness: latenessMetric.histogram(),
		state: state{
			credentials: map[request.Key]CredentialState{}, readers: map[request.Key]readers{}, identities: map[string]identity{}, sources: map[request.Key]time.Time{},
		},
	}
	registry.Unregister(m)
	return m, registry.Register(m)
}

// Start reports that this manager is the leader, until the context is done. It is a manager.Runnable that only a leader runs.
func (m *Metrics) Start(ctx context.Context) error {
	m.set(func() { m.leading = true }) // the reconcilers start at the same time: keep what they reported
	<-ctx.Done()
	m.set(func() { m.stopped = true })
	return nil
}

func (m *Metrics) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// Limits sets the function that returns the state of the limits. It is called at each scrape.
func (m *Metrics) Limits(levels func() []limit.Level) {
	m.set(func() { m.levels = levels })
}

// Called counts an STS call.
func (m *Metrics) Called(kind, call, reason string) {
	m.calls.WithLabelValues(kind, call, reason).Inc()
}

// Bounds between namespaces, as values of the label limit.
const (
	LimitIssueInterval   = "issue_interval"
	LimitDeletedBackoff  = "deleted_backoff"
	LimitObjectEvents    = "object_events"
	LimitNamespaceEvents = "namespace_events"
)

// LimitHit counts that a bound between namespaces had an effect.
func (m *Metrics) LimitHit(limit string) {
	m.limitHits.WithLabelValues(limit).Inc()
}

// Requested measures a request to STS, from now until the returned function is called.
func (m *Metrics) Requested(call string) (answered func()) {
	sent := m.clock.Now()
	return func() { m.requests.WithLabelValues(call).Observe(m.clock.Since(sent).Seconds()) }
}

// Refreshed measures how long after its due time a credential was refreshed.
func (m *Metrics) Refreshed(kind string, late time.Duration) {
	m.lateness.WithLabelValues(kind).Observe(max(0, late).Seconds())
}

// CredentialState is the state of a credential, for its metrics.
type CredentialState struct {
	// IssuedAt, Expiration and RefreshAt are by the clock of STS; zero for none.
	IssuedAt, Expiration, RefreshAt time.Time
	// ClockSkew is how far the clock of STS is ahead of the operator's.
	ClockSkew time.Duration
	// Suspended is true for a credential that may fail or expire without harm.
	Suspended bool
	// Failing is the reason why the operator cannot issue the credential, empty for none.
	Failing string
}

// Credential sets the state of a credential.
func (m *Metrics) Credential(kind string, name types.NamespacedName, state CredentialState) {
	m.set(func() { m.credentials[request.Key{Kind: kind, NamespacedName: name}] = state })
}

// ForgetCredential drops the series of a deleted credential.
func (m *Metrics) ForgetCredential(kind string, name types.NamespacedName) {
	m.set(func() { delete(m.credentials, request.Key{Kind: kind, NamespacedName: name}) })
}

// Identity sets whether an identity is ready.
func (m *Metrics) Identity(label string, ready bool) {
	m.set(func() { m.identities[label] = identity{ready, m.identities[label].skew} })
}

// ClockSkew sets how far the clock of an identity's STS is ahead, unless the identity was deleted.
func (m *Metrics) ClockSkew(label string, skew time.Duration) {
	m.set(func() {
		if known, ok := m.identities[label]; ok {
			m.identities[label] = identity{known.ready, &skew}
		}
	})
}

// ForgetIdentity drops the series of a deleted identity.
func (m *Metrics) ForgetIdentity(label string) {
	m.set(func() { delete(m.identities, label) })
}

// SourceExpiration sets when the certificate or token of an identity's source expires. A zero time drops the series.
func (m *Metrics) SourceExpiration(kind string, name types.NamespacedName, expires time.Time) {
	key := request.Key{Kind: kind, NamespacedName: name}
	m.set(func() {
		if expires.IsZero() {
			delete(m.sources, key)
			return
		}
		m.sources[key] = expires
	})
}

// Results of restarts.
const (
	RestartFinished  = "Finished"
	RestartStalled   = "Stalled"
	RestartTakenBack = "TakenBack"
)

// Restarted counts the completed restart of a workload.
func (m *Metrics) Restarted(result string) {
	m.restarts.WithLabelValues(result).Inc()
}

// Restarting sets how many workloads are restarting.
func (m *Metrics) Restarting(workloads int) {
	m.set(func() { m.underWay = workloads })
}

// Readers sets how many workloads use an earlier credential than the Secret's, and how many of these the operator will not restart.
func (m *Metrics) Readers(kind string, name types.NamespacedName, stale, stuck int) {
	m.set(func() { m.readers[request.Key{Kind: kind, NamespacedName: name}] = readers{stale, stuck} })
}

// ForgetReaders drops the series of a credential without spec.rollout.
func (m *Metrics) ForgetReaders(kind string, name types.NamespacedName) {
	m.set(func() { delete(m.readers, request.Key{Kind: kind, NamespacedName: name}) })
}

// now copies the state, so that a scrape does not block reconciles.
func (m *Metrics) now() state {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return state{}
	}
	s := m.state
	s.credentials, s.readers, s.identities = maps.Clone(s.credentials), maps.Clone(s.readers), maps.Clone(s.identities)
	s.sources = maps.Clone(s.sources)
	if m.levels != nil {
		s.limits = m.levels()
	}
	return s
}
