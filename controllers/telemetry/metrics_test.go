package telemetry_test

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/telemetry"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(after time.Duration) time.Time { return start.Add(after) }

// unix returns a time of [at] as in a metric.
func unix(after time.Duration) float64 { return float64(at(after).Unix()) }

func shop(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "shop", Name: name}
}

// scraped is a registry with the operator's metrics that rejects contradictions.
type scraped struct {
	*WithT
	registry *prometheus.Registry
	clock    *clocktesting.FakePassiveClock
	metrics  *telemetry.Metrics
}

func newScraped(t *testing.T) *scraped {
	t.Helper()
	s := &scraped{WithT: NewWithT(t), registry: prometheus.NewPedanticRegistry(), clock: clocktesting.NewFakePassiveClock(start)}
	var err error
	s.metrics, err = telemetry.NewMetrics(s.registry, s.clock)
	s.Expect(err).NotTo(HaveOccurred())
	return s
}

// series returns the values of a registry, by name without the prefix and labels. A histogram has a count and a sum.
func (s *scraped) series() map[string]float64 {
	families, err := s.registry.Gather()
	s.Expect(err).NotTo(HaveOccurred())
	all := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			series := strings.TrimPrefix(family.GetName(), "rolecredential_")
			for _, label := range metric.GetLabel() {
				series += fmt.Sprintf(" %s=%s", label.GetName(), label.GetValue())
			}
			if histogram := metric.GetHistogram(); histogram != nil {
				all[series+" count"], all[series+" sum"] = float64(histogram.GetSampleCount()), histogram.GetSampleSum()
				continue
			}
			all[series] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return all
}

// idle returns the series of a manager without objects.
func idle(more map[string]float64) map[string]float64 {
	all := map[string]float64{"leading": 0, "rollouts_in_progress": 0}
	maps.Copy(all, more)
	return all
}

func TestCredentialHasItsSeries(t *testing.T) {
	const labels = " kind=RoleCredential name=s3-reader namespace=shop"
	state := telemetry.CredentialState{IssuedAt: at(-time.Hour), Expiration: at(time.Hour), RefreshAt: at(20 * time.Minute)}
	times := func(more map[string]float64) map[string]float64 {
		all := map[string]float64{
			"issued_timestamp_seconds" + labels: unix(-time.Hour), "expiration_timestamp_seconds" + labels: unix(time.Hour), "next_refresh_timestamp_seconds" + labels: unix(20 * time.Minute),
		}
		maps.Copy(all, more)
		return all
	}
	expired, failing := map[string]float64{"expired" + labels: 1}, map[string]float64{"failing" + labels + " reason=AccessDenied": 1}
	for name, tc := range map[string]struct {
		change func(*telemetry.CredentialState)
		after  time.Duration
		want   map[string]float64
	}{
		"one that is well":                 {func(*telemetry.CredentialState) {}, 0, times(nil)},
		"one that was not issued":          {func(h *telemetry.CredentialState) { *h = telemetry.CredentialState{} }, 0, map[string]float64{}},
		"one that never was":               {func(h *telemetry.CredentialState) { *h = telemetry.CredentialState{Failing: "AccessDenied"} }, 0, failing},
		"one that expires just so":         {func(*telemetry.CredentialState) {}, time.Hour - time.Second, times(nil)},
		"one that has expired":             {func(*telemetry.CredentialState) {}, time.Hour, times(expired)},
		"one that has by the clock of STS": {func(h *telemetry.CredentialState) { h.ClockSkew = time.Hour }, 0, times(expired)},
		"one that has not by that":         {func(h *telemetry.CredentialState) { h.ClockSkew = -time.Minute }, time.Hour, times(nil)},
		"one that fails":                   {func(h *telemetry.CredentialState) { h.Failing = "AccessDenied" }, 0, times(failing)},
		"one that is suspended":            {func(h *telemetry.CredentialState) { h.Failing, h.Suspended = "AccessDenied", true }, 2 * time.Hour, times(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScraped(t)
			sample := state
			tc.change(&sample)
			s.metrics.Credential("RoleCredential", shop("s3-reader"), sample)
			s.clock.SetTime(at(tc.after))
			s.Expect(s.series()).To(Equal(idle(tc.want)))
			s.metrics.Credential("RoleCredential", shop("s3-reader"), sample)
			s.Expect(s.series()).To(Equal(idle(tc.want)), "set twice")
			s.metrics.ForgetCredential("RoleCredential", shop("s3-reader"))
			s.Expect(s.series()).To(Equal(idle(nil)))
		})
	}
}

func TestCredentialsOfOneNameHaveSeparateSeries(t *testing.T) {
	s := newScraped(t)
	s.metrics.Credential("RoleCredential", shop("a"), telemetry.CredentialState{IssuedAt: at(0)})
	s.metrics.Credential("SessionCredential", shop("a"), telemetry.CredentialState{IssuedAt: at(1 * time.Second)})
	s.metrics.Credential("RoleCredential", types.NamespacedName{Namespace: "lab", Name: "a"}, telemetry.CredentialState{IssuedAt: at(2 * time.Second)})
	s.metrics.ForgetCredential("FederatedCredential", shop("a"))
	s.Expect(s.series()).To(Equal(idle(map[string]float64{
		"issued_timestamp_seconds kind=RoleCredential name=a namespace=shop":    unix(0),
		"issued_timestamp_seconds kind=SessionCredential name=a namespace=shop": unix(time.Second),
		"issued_timestamp_seconds kind=RoleCredential name=a namespace=lab":     unix(2 * time.Second),
	})))
}

func TestCallsAreCountedAndMeasured(t *testing.T) {
	s := newScraped(t)
	s.metrics.Called("RoleCredential", "AssumeRole", "Issued")
	s.metrics.Called("RoleCredential", "AssumeRole", "Issued")
	s.metrics.Called("RoleCredential", "AssumeRole", "Throttled")
	answered := s.metrics.Requested("AssumeRole")
	s.clock.SetTime(at(2 * time.Second))
	answered()
	s.metrics.Refreshed("RoleCredential", 90*time.Second)
	s.metrics.Refreshed("RoleCredential", -time.Second) // of clocks that differ
	s.Expect(s.series()).To(Equal(idle(map[string]float64{
		"sts_calls_total call=AssumeRole kind=RoleCredential reason=Issued":    2,
		"sts_calls_total call=AssumeRole kind=RoleCredential reason=Throttled": 1,
		"sts_request_duration_seconds call=AssumeRole count":                   1,
		"sts_request_duration_seconds call=AssumeRole sum":                     2,
		"refresh_lateness_seconds kind=RoleCredential count":                   2,
		"refresh_lateness_seconds kind=RoleCredential sum":                     90,
	})))
}

func TestSeriesOfAnIdentityEndWithIt(t *testing.T) {
	s := newScraped(t)
	s.metrics.ClockSkew("hub", time.Minute) // of a call that was under way when the identity was deleted
	s.Expect(s.series()).To(Equal(idle(nil)))
	s.metrics.Identity("hub", true)
	s.metrics.ClockSkew("hub", -time.Minute)
	s.metrics.Identity("shop/hub", false)
	s.Expect(s.series()).To(Equal(idle(map[string]float64{
		"identity_ready identity=hub": 1, "identity_ready identity=shop/hub": 0, "sts_clock_skew_seconds identity=hub": -60,
	})))
	s.metrics.Identity("hub", false)
	s.metrics.ForgetIdentity("shop/hub")
	s.Expect(s.series()).To(Equal(idle(map[string]float64{"identity_ready identity=hub": 0, "sts_clock_skew_seconds identity=hub": -60})))
}

func identityKey(namespace, name string) request.Key {
	return request.Key{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

func TestLimitsHaveTheirSeries(t *testing.T) {
	s := newScraped(t)
	levels := []limit.Level{
		{Identity: identityKey("", "hub"), Tokens: -2.5, Rate: 10, Limit: 50, Throttled: 4, Waiting: map[limit.Class]int{limit.Expiring: 1, limit.Missing: 2, limit.Routine: 3}, InFlight: 7, CircuitOpen: true},
		{Identity: identityKey("shop", "hub"), Tokens: 3, Rate: 3, Limit: 3},
	}
	s.metrics.Limits(func() []limit.Level { return levels })
	s.Expect(s.series()).To(Equal(idle(map[string]float64{
		"sts_tokens identity=hub": -2.5, "sts_tokens identity=shop/hub": 3,
		"sts_rate identity=hub": 10, "sts_rate identity=shop/hub": 3,
		"sts_rate_limit identity=hub": 50, "sts_rate_limit identity=shop/hub": 3,
		"sts_throttled_total identity=hub": 4, "sts_throttled_total identity=shop/hub": 0,
		"sts_calls_in_flight identity=hub": 7, "sts_calls_in_flight identity=shop/hub": 0,
		"sts_circuit_open identity=hub": 1, "sts_circuit_open identity=shop/hub": 0,
		"sts_waiting_credentials class=expiring identity=hub": 1, "sts_waiting_credentials class=expiring identity=shop/hub": 0,
		"sts_waiting_credentials class=missing identity=hub": 2, "sts_waiting_credentials class=missing identity=shop/hub": 0,
		"sts_waiting_credentials class=routine identity=hub": 3, "sts_waiting_credentials class=routine identity=shop/hub": 0,
	})))
	levels = nil
	s.Expect(s.series()).To(Equal(idle(nil)))
}

func TestRestartsAreCounted(t *testing.T) {
	s := newScraped(t)
	s.metrics.Restarted(telemetry.RestartFinished)
	s.metrics.Restarted(telemetry.RestartFinished)
	s.metrics.Restarted(telemetry.RestartTakenBack)
	s.metrics.Restarting(3)
	s.metrics.Readers("RoleCredential", shop("s3-reader"), 0, 0)
	s.metrics.Readers("RoleCredential", shop("another"), 7, 2)
	all := map[string]float64{
		"rollouts_total result=Finished": 2, "rollouts_total result=TakenBack": 1, "rollouts_in_progress": 3,
		"stale_readers kind=RoleCredential name=s3-reader namespace=shop": 0, "stuck_readers kind=RoleCredential name=s3-reader namespace=shop": 0,
	}
	both := map[string]float64{"stale_readers kind=RoleCredential name=another namespace=shop": 7, "stuck_readers kind=RoleCredential name=another namespace=shop": 2}
	maps.Copy(both, all)
	s.Expect(s.series()).To(Equal(idle(both)))
	s.metrics.ForgetReaders("RoleCredential", shop("another"))
	s.Expect(s.series()).To(Equal(idle(all)))
}

// everything sets each metric.
func (s *scraped) everything() {
	s.metrics.Credential("RoleCredential", shop("a"), telemetry.CredentialState{IssuedAt: at(-2 * time.Second), Expiration: at(-time.Second), RefreshAt: at(-time.Second), Failing: "Throttled"})
	s.metrics.Readers("RoleCredential", shop("a"), 1, 1)
	s.metrics.Restarting(1)
	s.metrics.Identity("hub", true)
	s.metrics.ClockSkew("hub", time.Minute)
	s.metrics.SourceExpiration("Identity", shop("own"), at(time.Hour))
	s.metrics.Limits(func() []limit.Level { return []limit.Level{{Identity: identityKey("", "hub")}} })
	s.metrics.Called("RoleCredential", "AssumeRole", "Issued")
	s.metrics.Requested("AssumeRole")()
	s.metrics.Refreshed("RoleCredential", 0)
	s.metrics.Restarted(telemetry.RestartFinished)
	s.metrics.LimitHit(telemetry.LimitObjectEvents)
}

func TestStoppedManagerReportsNoObject(t *testing.T) {
	s := newScraped(t)
	s.everything()
	before := s.series()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.metrics.Start(ctx) }()
	s.Eventually(s.series).Should(HaveKeyWithValue("leading", 1.0))
	before["leading"] = 1
	s.Expect(s.series()).To(Equal(before), "the reports of reconcilers that started earlier")
	stop()
	s.Expect(<-ended).To(Succeed())
	s.everything() // reconciles in progress still report
	counts := map[string]float64{
		"leading": 0, "rollouts_in_progress": 0, "limit_hits_total limit=object_events": 2, "rollouts_total result=Finished": 2, "sts_calls_total call=AssumeRole kind=RoleCredential reason=Issued": 2,
		"sts_request_duration_seconds call=AssumeRole count": 2, "sts_request_duration_seconds call=AssumeRole sum": 0,
		"refresh_lateness_seconds kind=RoleCredential count": 2, "refresh_lateness_seconds kind=RoleCredential sum": 0,
	}
	s.Expect(s.series()).To(Equal(counts))

	again, err := telemetry.NewMetrics(s.registry, s.clock)
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(s.series()).To(Equal(idle(nil)), "another manager starts from zero")
	again.Identity("hub", true)
	s.Expect(s.series()).To(HaveKeyWithValue("identity_ready identity=hub", 1.0))
}

func TestAnotherMetricOfThatNameIsAnError(t *testing.T) {
	g := NewWithT(t)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "rolecredential_sts_calls_total", Help: "Something else."}))
	_, err := telemetry.NewMetrics(registry, clocktesting.NewFakePassiveClock(start))
	g.Expect(err).To(HaveOccurred())
}

// The list is what documentation, dashboard and alerts are held to: what it says is what is scraped, and it says all.
func TestScrapeHasTheMetricsOfTheCatalogue(t *testing.T) {
	s := newScraped(t)
	s.everything()
	families, err := s.registry.Gather()
	s.Expect(err).NotTo(HaveOccurred())
	found := map[string]*dto.MetricFamily{}
	for _, family := range families {
		found[family.GetName()] = family
	}
	for _, metric := range telemetry.Catalogue {
		s.Expect(found).To(HaveKey(metric.Name))
		family := found[metric.Name]
		delete(found, metric.Name)
		s.Expect(strings.ToLower(family.GetType().String())).To(Equal(string(metric.Type)), metric.Name)
		s.Expect(family.GetHelp()).To(Equal(metric.Help))
		var labels []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, label.GetName())
		}
		s.Expect(labels).To(ConsistOf(metric.Labels), metric.Name)
		s.Expect(regexp.MustCompile(`^rolecredential_[a-z_]+$`).MatchString(metric.Name)).To(BeTrue(), metric.Name)
	}
	s.Expect(slices.Collect(maps.Keys(found))).To(BeEmpty())
}

// BenchmarkScrape measures a scrape of 10,000 credentials, without the network.
func BenchmarkScrape(b *testing.B) {
	registry := prometheus.NewRegistry()
	metrics, err := telemetry.NewMetrics(registry, clocktesting.NewFakePassiveClock(start))
	NewWithT(b).Expect(err).NotTo(HaveOccurred())
	for i := range 10_000 {
		name := types.NamespacedName{Namespace: fmt.Sprint("team-", i%100), Name: fmt.Sprint("credential-", i)}
		metrics.Credential("RoleCredential", name, telemetry.CredentialState{IssuedAt: at(0), Expiration: at(time.Hour), RefreshAt: at(40 * time.Minute)})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdle measures the metrics of an idle reconcile.
func BenchmarkIdle(b *testing.B) {
	metrics, err := telemetry.NewMetrics(prometheus.NewRegistry(), clocktesting.NewFakePassiveClock(start))
	NewWithT(b).Expect(err).NotTo(HaveOccurred())
	state := telemetry.CredentialState{IssuedAt: at(0), Expiration: at(time.Hour), RefreshAt: at(40 * time.Minute)}
	b.ReportAllocs()
	for b.Loop() {
		metrics.Credential("RoleCredential", shop("s3-reader"), state)
	}
}
