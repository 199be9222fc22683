package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Type of a metric, in Prometheus's words.
type Type string

// Types of metrics.
const (
	Counter   Type = "counter"
	Gauge     Type = "gauge"
	Histogram Type = "histogram"
)

// Metric is one metric as those who scrape it see it. What registers it, documents it, and checks the dashboard and the alerts reads
// the same.
type Metric struct {
	Name   string
	Type   Type
	Labels []string
	Help   string
	// Series says how many there are.
	Series string
	// Buckets are the upper bounds of a histogram's.
	Buckets []float64
}

var (
	ofCredential = []string{"kind", "namespace", "name"}
	ofIdentity   = []string{"identity"}
)

const (
	forEachIdentity = "one for each identity"
	forEachRollout  = "one for each credential with `spec.rollout`"
)

var (
	expirationMetric = Metric{
		Name: "rolecredential_expiration_timestamp_seconds", Type: Gauge, Labels: ofCredential,
		Help:   "When the credential in the Secret expires, in seconds since 1970 by the clock of STS.",
		Series: "one for each credential that was issued",
	}
	issuedMetric = Metric{
		Name: "rolecredential_issued_timestamp_seconds", Type: Gauge, Labels: ofCredential,
		Help:   "When STS issued the credential in the Secret, in seconds since 1970 by its clock.",
		Series: "one for each credential that was issued",
	}
	refreshMetric = Metric{
		Name: "rolecredential_next_refresh_timestamp_seconds", Type: Gauge, Labels: ofCredential,
		Help:   "When the credential in the Secret is due to be refreshed, in seconds since 1970 by the clock of STS; none while nothing will refresh it.",
		Series: "one for each credential that was issued and will be refreshed",
	}
	expiredMetric = Metric{
		Name: "rolecredential_expired", Type: Gauge, Labels: ofCredential,
		Help:   "1 for each credential that is not suspended and whose Secret holds one that has expired.",
		Series: "one for each credential that has expired: none when all is well",
	}
	failingMetric = Metric{
		Name: "rolecredential_failing", Type: Gauge, Labels: append(ofCredential[:3:3], "reason"),
		Help:   "1 for each credential that is not suspended and for which no new one can be had, by the reason of its condition Authorized, Issued or Ready.",
		Series: "one for each credential that fails: none when all is well",
	}
	latenessMetric = Metric{
		Name: "rolecredential_refresh_lateness_seconds", Type: Histogram, Labels: []string{"kind"},
		Help:    "How long after they were due credentials were refreshed. Those that were due over 36 hours ago are left out.",
		Series:  "12 for each of three kinds",
		Buckets: []float64{1, 5, 15, 60, 300, 900, 3600, 3 * 3600, 12 * 3600},
	}
	staleMetric = Metric{
		Name: "rolecredential_stale_readers", Type: Gauge, Labels: ofCredential,
		Help:   "Workloads, and pods of none, that hold an earlier credential than the Secret does, by credential with spec.rollout.",
		Series: forEachRollout,
	}
	stuckMetric = Metric{
		Name: "rolecredential_stuck_readers", Type: Gauge, Labels: ofCredential,
		Help:   "Of the stale readers, those that will not be restarted, or were not in time.",
		Series: forEachRollout,
	}
	restartsMetric = Metric{
		Name: "rolecredential_rollouts_total", Type: Counter, Labels: []string{"result"},
		Help:   "Restarts of workloads that are over, by result: Finished, Stalled, or TakenBack by somebody else.",
		Series: "at most 3",
	}
	underWayMetric = Metric{
		Name: "rolecredential_rollouts_in_progress", Type: Gauge,
		Help:   "Workloads in the middle of a restart.",
		Series: "1",
	}
	callsMetric = Metric{
		Name: "rolecredential_sts_calls_total", Type: Counter, Labels: []string{"kind", "call", "reason"},
		Help:   "Calls of STS, each with the SDK's own retries, by kind of object (of a chain's hops, the identity's), call and reason: Issued or Verified, or why not.",
		Series: "some 10 when all is well; at most 10 of kind and call, with 20 reasons each",
	}
	requestsMetric = Metric{
		Name: "rolecredential_sts_request_duration_seconds", Type: Histogram, Labels: []string{"call"},
		Help:    "How long STS took to answer a request, or the operator to give it up, by call; a call that the SDK repeats is several requests.",
		Series:  "13 for each of five calls",
		Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}
	throttledMetric = Metric{
		Name: "rolecredential_sts_throttled_total", Type: Counter, Labels: ofIdentity,
		Help:   "STS calls of an identity that STS throttled.",
		Series: forEachIdentity,
	}
	limitMetric = Metric{
		Name: "rolecredential_sts_rate_limit", Type: Gauge, Labels: ofIdentity,
		Help:   "STS calls per second that an identity may make while STS does not throttle.",
		Series: forEachIdentity,
	}
	rateMetric = Metric{
		Name: "rolecredential_sts_rate", Type: Gauge, Labels: ofIdentity,
		Help:   "STS calls per second that an identity may make at present: its limit, or less after STS throttled.",
		Series: forEachIdentity,
	}
	tokensMetric = Metric{
		Name: "rolecredential_sts_tokens", Type: Gauge, Labels: ofIdentity,
		Help:   "STS calls that an identity can make at once; negative after calls that do not wait, such as those of a chain.",
		Series: forEachIdentity,
	}
	inFlightMetric = Metric{
		Name: "rolecredential_sts_calls_in_flight", Type: Gauge, Labels: ofIdentity,
		Help:   "STS calls of an identity that are in flight or reserved for a credential.",
		Series: forEachIdentity,
	}
	circuitMetric = Metric{
		Name: "rolecredential_sts_circuit_open", Type: Gauge, Labels: ofIdentity,
		Help:   "1 while the STS calls of an identity fail and only probes are made, else 0.",
		Series: forEachIdentity,
	}
	waitingMetric = Metric{
		Name: "rolecredential_sts_waiting_credentials", Type: Gauge, Labels: append([]string{"class"}, ofIdentity...),
		Help:   "Credentials that wait for an STS call of an identity, by class: expiring is served first, then missing, then routine.",
		Series: "3 for each identity",
	}
	waitingExpirationMetric = Metric{
		Name: "rolecredential_sts_waiting_expiration_timestamp_seconds", Type: Gauge, Labels: ofIdentity,
		Help:   "Earliest expiry among the credentials that wait for an STS call of an identity, in seconds since 1970 by the operator's clock; absent if none waits with valid credentials.",
		Series: "one for each identity that credentials wait for",
	}
	skewMetric = Metric{
		Name: "rolecredential_sts_clock_skew_seconds", Type: Gauge, Labels: ofIdentity,
		Help:   "How far the clock of an identity's STS is ahead of the operator's, 0 within 5 s.",
		Series: forEachIdentity,
	}
	readyMetric = Metric{
		Name: "rolecredential_identity_ready", Type: Gauge, Labels: ofIdentity,
		Help:   "1 for an identity whose condition Ready is True, and 0 for one that is not ready.",
		Series: forEachIdentity,
	}
	leadingMetric = Metric{
		Name: "rolecredential_leading", Type: Gauge,
		Help:   "1 of the manager that works, and 0 of one that stands by.",
		Series: "1",
	}
)

// Catalogue is all metrics of the operator's own, in the order in which they are documented.
var Catalogue = []Metric{
	expirationMetric, issuedMetric, refreshMetric, expiredMetric, failingMetric, latenessMetric,
	callsMetric, requestsMetric, throttledMetric, limitMetric, rateMetric, tokensMetric, inFlightMetric, circuitMetric, waitingMetric, waitingExpirationMetric,
	readyMetric, skewMetric,
	staleMetric, stuckMetric, restartsMetric, underWayMetric,
	leadingMetric,
}

func (m *Metric) desc() *prometheus.Desc { return prometheus.NewDesc(m.Name, m.Help, m.Labels, nil) }

func (m *Metric) counter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name, Help: m.Help}, m.Labels)
}

func (m *Metric) histogram() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.Name, Help: m.Help, Buckets: m.Buckets}, m.Labels)
}
