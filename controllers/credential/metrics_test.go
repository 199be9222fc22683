package credential

import (
	"maps"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/telemetry"
	"rolecredential.dev/operator/controllers/testkit"
)

// meter registers the fixture's metrics on a new registry. The returned function returns their values by name and reason.
func (f *fixture) meter() (gather func(prefixes ...string) map[string]float64) {
	f.T.Helper()
	registry := prometheus.NewRegistry()
	metrics, err := telemetry.NewMetrics(registry, f.Clock)
	f.Expect(err).NotTo(HaveOccurred())
	f.credentials.Metrics, f.identities.Metrics = metrics, metrics
	return func(prefixes ...string) map[string]float64 {
		f.T.Helper()
		families, err := registry.Gather()
		f.Expect(err).NotTo(HaveOccurred())
		all := map[string]float64{}
		for _, family := range families {
			name := strings.TrimPrefix(family.GetName(), "rolecredential_")
			for _, metric := range family.GetMetric() {
				all[name+reasonOf(metric)] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue() + metric.GetHistogram().GetSampleSum()
			}
		}
		maps.DeleteFunc(all, func(name string, _ float64) bool {
			for _, prefix := range prefixes {
				if strings.HasPrefix(name, prefix) {
					return false
				}
			}
			return true
		})
		return all
	}
}

func reasonOf(metric *dto.Metric) string {
	for _, label := range metric.GetLabel() {
		if label.GetName() == "reason" {
			return " " + label.GetValue()
		}
	}
	return ""
}

func seconds(t time.Time) float64 { return float64(t.Unix()) }

func TestMetricsFollowCredentialUntilDeletion(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	metrics := f.meter()
	collected := func() map[string]float64 { return metrics("issued", "expir", "next", "failing", "refresh_lateness") }

	got, _ := f.reconcile()
	first := map[string]float64{
		"issued_timestamp_seconds": seconds(testkit.Start), "expiration_timestamp_seconds": seconds(testkit.Start.Add(time.Hour)), "next_refresh_timestamp_seconds": seconds(got.Status.NextRefreshTime.Time),
	}
	f.Expect(collected()).To(Equal(first))

	f.STS.Err = testkit.STSError("AccessDenied")
	f.Clock.SetTime(testkit.Start.Add(45 * time.Minute))
	f.reconcile()
	f.Expect(collected()).To(Equal(withValue(first, "failing AccessDenied", 1)))
	f.Clock.SetTime(testkit.Start.Add(time.Hour)) // without another reconcile
	f.Expect(collected()).To(Equal(withValue(withValue(first, "failing AccessDenied", 1), "expired", 1)))

	f.STS.Err = nil
	f.Clock.SetTime(testkit.Start.Add(2 * time.Hour))
	got, _ = f.reconcile()
	f.Expect(collected()).To(Equal(map[string]float64{
		"issued_timestamp_seconds": seconds(testkit.Start.Add(2 * time.Hour)), "expiration_timestamp_seconds": seconds(testkit.Start.Add(3 * time.Hour)),
		"next_refresh_timestamp_seconds": seconds(got.Status.NextRefreshTime.Time),
		"refresh_lateness_seconds":       testkit.Start.Add(2 * time.Hour).Sub(time.Unix(int64(first["next_refresh_timestamp_seconds"]), 0)).Seconds(),
	}))

	f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true }))
	f.Clock.SetTime(testkit.Start.Add(4 * time.Hour))
	f.reconcile()
	f.Expect(collected()).NotTo(Or(HaveKey("expired"), HaveKey("next_refresh_timestamp_seconds")))

	f.Expect(f.Client.Delete(t.Context(), f.Credential())).To(Succeed())
	_, err := f.credentials.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(testkit.Reader())})
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(metrics("issued", "expir", "next", "failing")).To(BeEmpty())
}

// A record with a valid checksum can be an old one from a backup, or a forged one.
func TestLatenessIgnoresOldAndForgedRecords(t *testing.T) {
	for name, issuedAt := range map[string]string{"a year ago": "2025-12-01T12:00:00Z", "in the year 2": "0002-01-01T00:00:00Z", "in the year 2999": "2999-01-01T00:00:00Z"} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			metrics := f.meter()
			f.reconcile()
			f.Forge(map[string]string{"issued-at": issuedAt, "expiration": issuedAt[:4] + issuedAt[4:10] + "T23:00:00Z"})
			got, _ := f.reconcile()
			f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
			f.Expect(got.Status.LastRefreshTime.Time).To(BeTemporally("==", testkit.Start))
			f.Expect(f.STS.Issued).To(HaveLen(2))
			for _, late := range metrics("refresh_lateness") {
				f.Expect(late).To(BeZero())
			}
		})
	}
}

func TestTerminatingCredentialHasNoMetrics(t *testing.T) {
	for name, terminate := range map[string]func(f *fixture){
		"the credential": func(f *fixture) {
			f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Finalizers = []string{"example.com/foreground"} }))
			f.Expect(f.Client.Delete(f.T.Context(), f.Credential())).To(Succeed())
		},
		"its namespace": func(f *fixture) {
			f.Update(testkit.Changed(testkit.NamespaceShop(), func(n *corev1.Namespace) { n.Finalizers = []string{"example.com/foreground"} }))
			f.Expect(f.Client.Delete(f.T.Context(), testkit.NamespaceShop())).To(Succeed())
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			metrics := f.meter()
			f.reconcile()
			f.Expect(metrics("issued", "expir", "next")).To(HaveLen(3))
			terminate(f)
			f.reconcile()
			f.Expect(metrics("issued", "expir", "next")).To(BeEmpty())
		})
	}
}

func withValue(all map[string]float64, name string, value float64) map[string]float64 {
	more := maps.Clone(all)
	more[name] = value
	return more
}

// Only a due refresh can be late, not a requested refresh or a first issue.
func TestRequestedRefreshIsNotLate(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	metrics := f.meter()
	f.reconcile()
	f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) {
		c.Annotations = map[string]string{v1alpha1.RefreshAnnotation: "1"}
	}))
	f.Clock.SetTime(testkit.Start.Add(time.Minute))
	f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(2))
	f.Expect(metrics("refresh_lateness")).To(BeEmpty())
}

func TestFailingMetricHasReason(t *testing.T) {
	for name, tc := range map[string]struct {
		objects []client.Object
		reason  string
	}{
		"it is not allowed": {
			testkit.World(testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.Allow = &[]v1alpha1.AllowRule{} })), "NotAllowed",
		},
		"its identity is missing":       {testkit.Without(testkit.DefaultIdentity(), testkit.World()), "IdentityNotFound"},
		"its identity's key is missing": {testkit.Without(testkit.Bootstrap(), testkit.World()), "IdentityNotReady"},
		"its Secret is foreign":         {testkit.World(testkit.ForeignSecret()), "SecretConflict"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tc.objects...)
			metrics := f.meter()
			f.reconcile()
			f.Expect(metrics("failing", "issued", "expired")).To(Equal(map[string]float64{"failing " + tc.reason: 1}))
		})
	}
}

func TestMetricsFollowIdentityUntilDeletion(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	metrics := f.meter()
	f.STS.Skewed = 90 * time.Second
	f.verify()
	f.Expect(metrics("identity", "sts_clock")).To(Equal(map[string]float64{"identity_ready": 1, "sts_clock_skew_seconds": 90}))

	f.STS.Skewed = -time.Hour
	f.reconcile() // a call for a credential measures the skew too
	f.Expect(metrics("identity", "sts_clock")).To(Equal(map[string]float64{"identity_ready": 1, "sts_clock_skew_seconds": -3600}))

	f.Expect(f.Client.Delete(t.Context(), f.Source())).To(Succeed())
	f.verify()
	f.Expect(metrics("identity")).To(Equal(map[string]float64{"identity_ready": 0}))

	f.Expect(f.Client.Delete(t.Context(), f.Identity())).To(Succeed())
	_, err := f.identities.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(testkit.DefaultIdentity())})
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(metrics("identity", "sts_clock")).To(BeEmpty())
}
