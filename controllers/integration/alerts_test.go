package integration_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/telemetry"
	"rolecredential.dev/operator/hack/stsemulator"
)

func TestPrometheusMetricsRequireAuthorization(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	m := h.startManager()
	namespace := h.namespace(nil)
	allowed, unauthorized := h.token(namespace, "prometheus", true), h.token(namespace, "unauthorized", false)
	cred := h.credential(namespace, "s3-reader", h.identity())
	h.eventually(cred, "Ready", "True Issued")

	status := func(url, token string) int {
		code, body, err := get(url, token)
		h.Expect(err).NotTo(HaveOccurred())
		if code != http.StatusOK {
			h.Expect(body).NotTo(ContainSubstring("rolecredential_"))
		}
		return code
	}
	h.Expect(status(m.metricsURL, "")).To(Equal(http.StatusUnauthorized))
	h.Expect(status(m.metricsURL, "no token")).NotTo(Equal(http.StatusOK))
	h.Expect(status(m.metricsURL, unauthorized)).To(Equal(http.StatusForbidden))
	code, _, err := get(strings.Replace(m.metricsURL, "https:", "http:", 1), allowed)
	h.Expect(err != nil || code == http.StatusBadRequest).To(BeTrue(), "without TLS")
	h.Expect(status(m.metricsURL, allowed)).To(Equal(http.StatusOK))

	// The catalogue lists each metric.
	_, text, err := get(m.metricsURL, allowed)
	h.Expect(err).NotTo(HaveOccurred())
	listed := map[string]bool{}
	for _, metric := range telemetry.Catalogue {
		listed[metric.Name] = true
	}
	own := strings.Join(regexp.MustCompile(`(?m)^(# (HELP|TYPE) )?rolecredential_.*\n`).FindAllString(text, -1), "")
	for _, family := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(own, -1) {
		h.Expect(listed).To(HaveKey(family[1]))
	}
	h.Expect(own).To(ContainSubstring(`rolecredential_expiration_timestamp_seconds{kind="RoleCredential",name="s3-reader",namespace="` + namespace + `"} `))
	t.Run("promtool accepts the metrics", func(t *testing.T) {
		lint := exec.CommandContext(h.ctx, filepath.Join(serverProgram(t, "PROMETHEUS"), "promtool"), "check", "metrics")
		lint.Stdin = strings.NewReader(own)
		output, err := lint.CombinedOutput()
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), string(output))
	})

	// The metrics of a deleted credential are gone at the next scrape.
	h.Expect(admin.Delete(h.ctx, cred)).To(Succeed())
	h.Eventually(func() string { _, text, _ := get(m.metricsURL, allowed); return text }).WithTimeout(waitLimit).
		Should(And(ContainSubstring("rolecredential_leading 1"), Not(ContainSubstring(`name="s3-reader"`))))
}

// scenario is one credential with its own identity and STS, so that a fault affects no other credential.
type scenario struct {
	*harness
	identity  *v1alpha1.ClusterIdentity
	cred      *v1alpha1.RoleCredential
	refreshes int
}

func (h *harness) scenario(namespace, name string, options stsemulator.Options, change ...func(*v1alpha1.RoleCredential)) *scenario {
	h.t.Helper()
	p := &scenario{harness: newHarness(h.t, options)}
	p.stop = h.stop
	p.identity = p.harness.identity(func(i *v1alpha1.ClusterIdentity) {
		i.Name = name
		i.Spec.Source.AccessKey.SecretRef.Name = name
		h.putKey(name, p.sts.AccessKeys(operatorARN)[0])
	})
	p.cred = p.credential(namespace, name, p.identity, change...)
	return p
}

// requestRefresh requests a refresh with a new value of the annotation.
func (p *scenario) requestRefresh() {
	p.t.Helper()
	p.refreshes++
	p.refresh(p.cred, fmt.Sprint(p.refreshes))
}

func (p *scenario) fault(f stsemulator.Fault) {
	p.t.Helper()
	_, err := p.sts.SetFault(f)
	p.Expect(err).NotTo(HaveOccurred())
}

// createPausedReader creates a paused Deployment, and returns its pod. The pod started an hour ago and reads the Secret s3-reader.
func (p *scenario) createPausedReader() *corev1.Pod {
	p.t.Helper()
	hourAgo := clocktesting.NewFakeClock(clock.RealClock{}.Now().Add(-time.Hour))
	s := &stage{harness: p.harness, namespace: p.cred.Namespace, clock: hourAgo, restarting: map[string]time.Time{}}
	d := s.deploy("web")
	update(p.harness, d, func(d *appsv1.Deployment) { d.Spec.Paused = true })
	var pods corev1.PodList
	p.Expect(admin.List(p.ctx, &pods, client.InNamespace(s.namespace))).To(Succeed())
	p.Expect(pods.Items).To(HaveLen(1))
	return &pods.Items[0]
}

// Prometheus scrapes the manager and evaluates the shipped alerts, with seconds instead of minutes. Six credentials start without a fault.
// Five of them get one fault each, and a seventh is never issued. Each alert fires only for the credential or identity with its fault, and
// stops after the repair.
func TestPrometheusFiresEachAlertOnlyOnItsFault(t *testing.T) {
	serverProgram(t, "PROMETHEUS") // skips the test before it starts a manager
	h := newHarness(t, stsemulator.Options{})
	m := h.startManager()
	namespace := h.namespace(nil)
	token := h.token(namespace, "prometheus", true)
	h.Eventually(func() string { _, text, _ := get(m.metricsURL, token); return text }).WithTimeout(waitLimit).Should(ContainSubstring("rolecredential_leading 1"))
	p := startPrometheus(t, m, token)

	expires := h.scenario(namespace, "expires", stsemulator.Options{LifetimeFraction: 30.0 / 3600})
	stale := h.scenario(namespace, "s3-reader", stsemulator.Options{LifetimeFraction: 30.0 / 3600}, func(c *v1alpha1.RoleCredential) { c.Spec.Rollout = &v1alpha1.Rollout{Discover: true} })
	throttled := h.scenario(namespace, "throttled", stsemulator.Options{})
	broken := h.scenario(namespace, "broken", stsemulator.Options{})
	skewed := h.scenario(namespace, "skewed", stsemulator.Options{})
	h.scenario(namespace, "healthy", stsemulator.Options{})
	eventually := func(actual func() []string) AsyncAssertion {
		return h.Eventually(actual).WithTimeout(2 * waitLimit).WithPolling(200 * time.Millisecond)
	}
	eventually(func() []string { return p.query("rolecredential_expiration_timestamp_seconds") }).Should(HaveLen(6))
	eventually(func() []string { return p.query("rolecredential_identity_ready == 1") }).Should(HaveLen(6))
	eventually(func() []string { return p.query("rolecredential_stuck_readers") }).Should(HaveLen(1))
	h.Expect(p.query("rolecredential_leading == 1")).To(HaveLen(1))
	h.Expect(p.everFired()).To(BeEmpty())

	denied := h.scenario(namespace, "denied", stsemulator.Options{}, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::123456789012:role/Nobody" })
	expires.fault(stsemulator.Fault{Kind: stsemulator.FaultError, Action: "AssumeRole", Code: "AccessDenied"})
	pod := stale.createPausedReader()
	eventually(func() []string { stale.requestRefresh(); return p.query("rolecredential_stale_readers == 1") }).WithPolling(time.Second).Should(HaveLen(1), "after a refresh that is later than the pod's creation")
	throttled.fault(stsemulator.Fault{Kind: stsemulator.FaultError, Action: "AssumeRole", Code: "Throttling"})
	h.putKey("broken", stsemulator.AccessKey{ID: "AKIAI44QH8DHBNOTTHERE", Secret: "no such key"})
	skewed.fault(stsemulator.Fault{Kind: stsemulator.FaultSkewedDate, Duration: metav1.Duration{Duration: 3 * time.Minute}})
	skewed.requestRefresh()
	throttled.requestRefresh() // the operator retries it
	eventually(p.firing).WithPolling(time.Second).Should(ContainElements(
		"RoleCredentialReadersStale s3-reader", "RoleCredentialThrottled throttled", "RoleCredentialIdentityBroken broken", "RoleCredentialClockSkew skewed",
		"RoleCredentialNotIssued denied",
	))
	output := p.annotations()
	h.Expect(output).To(ContainSubstring("1 workloads use a previous credential of RoleCredential " + namespace + "/s3-reader"))
	h.Expect(output).NotTo(Or(ContainSubstring("<no value>"), ContainSubstring("error expanding")))

	h.Expect(admin.Delete(h.ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
	stale.requestRefresh()
	throttled.sts.ClearFaults()
	update(h, denied.cred, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = readerRole })
	h.putKey("broken", broken.sts.AccessKeys(operatorARN)[0])
	skewed.sts.ClearFaults()
	skewed.requestRefresh()
	eventually(p.firing).Should(Equal([]string{"RoleCredentialExpired expires"}), "the other alerts stop, and the credential of this one has expired")
	expires.sts.ClearFaults()
	expires.requestRefresh()
	eventually(p.firing).Should(BeEmpty())

	h.stop()
	eventually(p.firing).Should(Equal([]string{"RoleCredentialOperatorAbsent"}))
	h.Expect(p.everFired()).To(Equal([]string{
		"RoleCredentialClockSkew skewed", "RoleCredentialExpired expires", "RoleCredentialExpiring expires", "RoleCredentialIdentityBroken broken",
		"RoleCredentialNotIssued denied", "RoleCredentialOperatorAbsent", "RoleCredentialReadersStale s3-reader", "RoleCredentialThrottled throttled",
	}))
}
