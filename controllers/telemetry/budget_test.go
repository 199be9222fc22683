package telemetry_test

import (
	"testing"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"

	"rolecredential.dev/operator/controllers/budget"
	"rolecredential.dev/operator/controllers/telemetry"
)

// shown are the gauges of a registry, by name and labels.
func shown(t *testing.T, registry prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	gauges := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			NewWithT(t).Expect(metric.GetLabel()).To(HaveLen(1))
			gauges[family.GetName()+" "+metric.GetLabel()[0].GetName()+"="+metric.GetLabel()[0].GetValue()] = metric.GetGauge().GetValue()
		}
	}
	return gauges
}

func TestABudgetIsShownAsItStandsAndNoLongerThanItsIdentity(t *testing.T) {
	g := NewWithT(t)
	registry := prometheus.NewPedanticRegistry()
	levels := map[string]budget.Level{
		"hub":      {Tokens: -2.5, Rate: 10, Limit: 50, Waiting: 7},
		"shop/hub": {Tokens: 3, Rate: 3, Limit: 3},
	}
	g.Expect(telemetry.ShowBudget(registry, func() map[string]budget.Level { return levels })).To(Succeed())
	g.Expect(shown(t, registry)).To(Equal(map[string]float64{
		"rolecredential_sts_budget_tokens identity=hub":       -2.5,
		"rolecredential_sts_budget_rate identity=hub":         10,
		"rolecredential_sts_budget_limit identity=hub":        50,
		"rolecredential_sts_budget_waiters identity=hub":      7,
		"rolecredential_sts_budget_tokens identity=shop/hub":  3,
		"rolecredential_sts_budget_rate identity=shop/hub":    3,
		"rolecredential_sts_budget_limit identity=shop/hub":   3,
		"rolecredential_sts_budget_waiters identity=shop/hub": 0,
	}))
	levels = nil
	g.Expect(shown(t, registry)).To(BeEmpty())
	g.Expect(telemetry.ShowBudget(registry, func() map[string]budget.Level { return nil })).To(Succeed(), "as a second manager does")
}
