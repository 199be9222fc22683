package telemetry

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/request"
)

// descs holds the descriptions of the catalogue, by name.
var descs = func() map[string]*prometheus.Desc {
	all := map[string]*prometheus.Desc{}
	for i := range Catalogue {
		m := &Catalogue[i]
		all[m.Name] = prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
	}
	return all
}()

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(descriptions chan<- *prometheus.Desc) {
	for _, desc := range descs {
		descriptions <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	for _, counted := range []prometheus.Collector{m.calls, m.restarts, m.limitHits, m.requests, m.lateness} {
		counted.Collect(metrics)
	}
	s, now, to := m.now(), m.clock.Now(), sink(metrics)
	to.send(&leadingMetric, flag(s.leading), nil)
	to.send(&underWayMetric, float64(s.underWay), nil)
	for name, state := range s.credentials {
		to.credential(name, state, now)
	}
	for name, r := range s.readers {
		labels := labelsOf(name)
		to.send(&staleMetric, float64(r.stale), labels)
		to.send(&stuckMetric, float64(r.stuck), labels)
	}
	for name, i := range s.identities {
		labels := pairs("identity", name)
		to.send(&readyMetric, flag(i.ready), labels)
		if i.skew != nil {
			to.send(&skewMetric, i.skew.Seconds(), labels)
		}
	}
	for name, expires := range s.sources {
		to.sendTime(&sourceExpirationMetric, expires, labelsOf(name))
	}
	for _, level := range s.limits {
		to.limits(level)
	}
}

// sink receives the metrics of a scrape.
type sink chan<- prometheus.Metric

func (s sink) credential(name request.Key, state CredentialState, now time.Time) {
	labels := labelsOf(name)
	s.sendTime(&issuedMetric, state.IssuedAt, labels)
	s.sendTime(&expirationMetric, state.Expiration, labels)
	s.sendTime(&refreshMetric, state.RefreshAt, labels)
	if state.Suspended {
		return
	}
	if !state.Expiration.IsZero() && !now.Add(state.ClockSkew).Before(state.Expiration) {
		s.send(&expiredMetric, 1, labels)
	}
	if state.Failing != "" {
		s.send(&failingMetric, 1, append(labels, pairs("reason", state.Failing)...))
	}
}

// classNames are the values of the label class.
var classNames = map[limit.Class]string{limit.Expiring: "expiring", limit.Missing: "missing", limit.Routine: "routine"}

func (s sink) limits(level limit.Level) {
	name := level.Identity.Label()
	labels := pairs("identity", name)
	s.send(&limitMetric, level.Limit, labels)
	s.send(&rateMetric, level.Rate, labels)
	s.send(&tokensMetric, level.Tokens, labels)
	s.send(&throttledMetric, float64(level.Throttled), labels)
	s.send(&inFlightMetric, float64(level.InFlight), labels)
	s.send(&circuitMetric, flag(level.CircuitOpen), labels)
	for class, className := range classNames {
		s.send(&waitingMetric, float64(level.Waiting[class]), pairs("class", className, "identity", name))
	}
}

func (s sink) send(metric *Metric, value float64, labels []*dto.LabelPair) {
	s <- &sample{metric, value, labels}
}

// sendTime sends a time, unless it is zero.
func (s sink) sendTime(metric *Metric, at time.Time, labels []*dto.LabelPair) {
	if !at.IsZero() {
		s.send(metric, float64(at.Unix()), labels)
	}
}

// sample is a prometheus.Metric that shares its labels with others. So the samples of 10,000 credentials take a third of the memory.
type sample struct {
	of     *Metric
	value  float64
	labels []*dto.LabelPair
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return descs[s.of.Name] }

// Write implements prometheus.Metric.
func (s *sample) Write(out *dto.Metric) error {
	out.Label = s.labels
	if s.of.Type == Counter {
		out.Counter = &dto.Counter{Value: &s.value}
		return nil
	}
	out.Gauge = &dto.Gauge{Value: &s.value}
	return nil
}

func labelsOf(name request.Key) []*dto.LabelPair {
	return pairs("kind", name.Kind, "name", name.Name, "namespace", name.Namespace)
}

// pairs returns labels. The names must be in order.
func pairs(namesAndValues ...string) []*dto.LabelPair {
	labels := make([]*dto.LabelPair, 0, len(namesAndValues)/2)
	for pair := range slices.Chunk(namesAndValues, 2) {
		labels = append(labels, &dto.LabelPair{Name: &pair[0], Value: &pair[1]})
	}
	return labels
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
