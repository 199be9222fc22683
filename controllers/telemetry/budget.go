package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"rolecredential.dev/operator/controllers/budget"
)

// ShowBudget registers gauges of the budgets of identities, by their labels, which are read as they stand at each scrape, and
// end with the identity. A second manager in one process shows those of the first.
func ShowBudget(registry prometheus.Registerer, levels func() map[string]budget.Level) error {
	_, err := registered(registry, levelGauges(levels))
	return err
}

// levelGauges is a prometheus.Collector.
type levelGauges func() map[string]budget.Level

func gauge(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("rolecredential_sts_budget_"+name, help, []string{"identity"}, nil)
}

var (
	tokensGauge  = gauge("tokens", "Calls of STS that may be made as an identity at once; below 0 after calls that do not wait, such as those of a chain.")
	rateGauge    = gauge("rate", "Calls of STS per second that may be made as an identity now: its limit, or less after STS throttled.")
	limitGauge   = gauge("limit", "Calls of STS per second that may be made as an identity if STS throttles none.")
	waitersGauge = gauge("waiters", "Credentials that wait for their turn to ask STS as an identity.")
)

func (levelGauges) Describe(descriptions chan<- *prometheus.Desc) {
	for _, description := range []*prometheus.Desc{tokensGauge, rateGauge, limitGauge, waitersGauge} {
		descriptions <- description
	}
}

func (g levelGauges) Collect(metrics chan<- prometheus.Metric) {
	for identity, level := range g() {
		for description, value := range map[*prometheus.Desc]float64{
			tokensGauge: level.Tokens, rateGauge: level.Rate, limitGauge: level.Limit, waitersGauge: float64(level.Waiting),
		} {
			metrics <- prometheus.MustNewConstMetric(description, prometheus.GaugeValue, value, identity)
		}
	}
}
