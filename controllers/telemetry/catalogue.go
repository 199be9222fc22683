package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Type of a metric, as Prometheus names it.
type Type string

// Types of metrics.
const (
	Counter   Type = "counter"
	Gauge     Type = "gauge"
	Histogram Type = "histogram"
)

// Metric describes one metric. Registration, docs/metrics.md, and the tests of the dashboard and the alerts use it.
type Metric struct {
	Name   string
	Type   Type
	Labels []string
	Help   string
	// Buckets are the upper bounds of a histogram's buckets.
	Buckets []float64
}

var (
	ofCredential = []string{"kind", "namespace", "name"}
	ofIdentity   = []string{"identity"}
)

var (
	expirationMetric = Metric{
		Name: "rolecredential_expiration_timestamp_seconds", Type: Gauge, Labels: ofCredential,
		Help: "Expiry of the credential in the Secret (Unix time, clock of STS).",
	}
	issuedMetric = Metric{
		Name: "rolecredential_issued_timestamp_seconds", Type: Gauge, Labels: ofCredential,
		Help: "When STS issued the credential in the Secret (Unix time, clock of STS).",
	}
	refreshMetric = Metric{
		Name: "rolecredential_next_refresh_timestamp_seconds", Type: Gauge, Labels: ofCredential,
		Help: "When the next refresh is due (Unix time, clock of STS); absent while refreshes are suspended or impossible.",
	}
	expiredMetric = Metric{
		Name: "rolecredential_expired", Type: Gauge, Labels: ofCredential,
		Help: "1 for each credential whose Secret holds expired credentials, unless it is suspended.",
	}
	failingMetric = Metric{
		Name: "rolecredential_failing", Type: Gauge, Labels: append(ofCredential[:3:3], "reason"),
		Help: "1 for each credential that the operator cannot issue, by the reason of Authorized, Issued or Ready, unless it is suspended.",
	}
	latenessMetric = Metric{
		Name: "rolecredential_refresh_lateness_seconds", Type: Histogram, Labels: []string{"kind"},
		Help:    "Delay between the due time and the refresh of credentials. Delays over 36 hours are not counted.",
		Buckets: []float64{1, 5, 15, 60, 300, 900, 3600, 3 * 3600, 12 * 3600},
	}
	staleMetric = Metric{
		Name: "rolecredential_stale_readers", Type: Gauge, Labels: ofCredential,
		Help: "Workloads and standalone pods that still use a previous credential, for each credential with spec.rollout.",
	}
	stuckMetric = Metric{
		Name: "rolecredential_stuck_readers", Type: Gauge, Labels: ofCredential,
		Help: "Stale readers that the operator will not restart, or did not restart in time.",
	}
	restartsMetric = Metric{
		Name: "rolecredential_rollouts_total", Type: Counter, Labels: []string{"result"},
		Help: "Completed restarts of workloads, by result: Finished, Stalled, or TakenBack by another writer.",
	}
	underWayMetric = Metric{
		Name: "rolecredential_rollouts_in_progress", Type: Gauge,
		Help: "Workloads that are being restarted.",
	}
	callsMetric = Metric{
		Name: "rolecredential_sts_calls_total", Type: Counter, Labels: []string{"kind", "call", "reason"},
		Help: "STS calls, each including the SDK's retries, by kind of object (for a hop of a chain, the identity's), call, and reason: Issued, Verified, or that of the failure.",
	}
	requestsMetric = Metric{
		Name: "rolecredential_sts_request_duration_seconds", Type: Histogram, Labels: []string{"call"},
		Help:    "Duration of requests to STS, including each retry of the SDK, until the response or the timeout.",
		Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}
	throttledMetric = Metric{
		Name: "rolecredential_sts_throttled_total", Type: Counter, Labels: ofIdentity,
		Help: "STS calls that STS throttled.",
	}
	limitMetric = Metric{
		Name: "rolecredential_sts_rate_limit", Type: Gauge, Labels: ofIdentity,
		Help: "STS calls per second while STS does not throttle.",
	}
	rateMetric = Metric{
		Name: "rolecredential_sts_rate", Type: Gauge, Labels: ofIdentity,
		Help: "STS calls per second at present: the limit, or less after STS throttled.",
	}
	tokensMetric = Metric{
		Name: "rolecredential_sts_tokens", Type: Gauge, Labels: ofIdentity,
		Help: "STS calls that can start at once; negative after calls that do not wait, such as those of a chain.",
	}
	inFlightMetric = Metric{
		Name: "rolecredential_sts_calls_in_flight", Type: Gauge, Labels: ofIdentity,
		Help: "STS calls that are in flight or reserved for a credential.",
	}
	circuitMetric = Metric{
		Name: "rolecredential_sts_circuit_open", Type: Gauge, Labels: ofIdentity,
		Help: "1 while STS calls fail and only probes are made, else 0.",
	}
	waitingMetric = Metric{
		Name: "rolecredential_sts_waiting_credentials", Type: Gauge, Labels: append([]string{"class"}, ofIdentity...),
		Help: "Credentials that wait for an STS call, by class: expiring (valid for less than 5 minutes), missing, or routine.",
	}
	skewMetric = Metric{
		Name: "rolecredential_sts_clock_skew_seconds", Type: Gauge, Labels: ofIdentity,
		Help: "How far the clock of the identity's STS is ahead of the operator's; 0 if within 5 s.",
	}
	readyMetric = Metric{
		Name: "rolecredential_identity_ready", Type: Gauge, Labels: ofIdentity,
		Help: "1 if the identity's condition Ready is True, else 0.",
	}
	sourceExpirationMetric = Metric{
		Name: "rolecredential_source_expiration_timestamp_seconds", Type: Gauge, Labels: ofCredential,
		Help: "Expiry of the certificate or token in the Secret of an identity's source (Unix time). The namespace of a ClusterIdentity is empty.",
	}
	limitHitsMetric = Metric{
		Name: "rolecredential_limit_hits_total", Type: Counter, Labels: []string{"limit"},
		Help: "How often a bound between namespaces had an effect, by bound: issue_interval (a call waits after several in a row), " +
			"deleted_backoff (the backoff of a deleted credential is not kept), object_events and namespace_events (an event is dropped).",
	}
	leadingMetric = Metric{
		Name: "rolecredential_leading", Type: Gauge,
		Help: "1 if this manager is the leader, else 0.",
	}
)

// Catalogue lists the operator's own metrics in the order of docs/metrics.md.
var Catalogue = []Metric{
	expirationMetric, issuedMetric, refreshMetric, expiredMetric, failingMetric, latenessMetric,
	callsMetric, requestsMetric, throttledMetric, limitMetric, rateMetric, tokensMetric, inFlightMetric, circuitMetric, waitingMetric,
	readyMetric, skewMetric, sourceExpirationMetric,
	staleMetric, stuckMetric, restartsMetric, underWayMetric,
	limitHitsMetric, leadingMetric,
}

func (m *Metric) counter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name, Help: m.Help}, m.Labels)
}

func (m *Metric) histogram() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.Name, Help: m.Help, Buckets: m.Buckets}, m.Labels)
}
