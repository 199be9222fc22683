package credential

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	"go.opentelemetry.io/otel/trace/noop"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/backoff"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/stsemulator"
)

// simulation runs many credentials through hours in seconds, with the real reconciler and SDK, and an emulated STS. The clock advances only
// between two reconciles. Its queue returns each object after RequeueAfter, ordered by time and priority.
type simulation struct {
	*fixture
	sts   *stsemulator.Server
	queue []queueItem // in order
	added int
	// expirations has the expiration of each object's credential.
	expirations map[types.NamespacedName]time.Time
	requested   []stsCall
}

// stsCall is one call of STS.
type stsCall struct {
	object types.NamespacedName
	at     time.Time
	// expires is the expiration of the current credential, zero without one.
	expires time.Time
}

func simulate(t *testing.T, qps int) *simulation {
	t.Helper()
	g := NewWithT(t)
	world, err := stsemulator.DefaultConfig()
	g.Expect(err).NotTo(HaveOccurred())
	s := &simulation{expirations: map[types.NamespacedName]time.Time{}}
	s.fixture = newFixture(t)
	s.Client = newSmallClient(g)
	s.sts, err = stsemulator.New(world, stsemulator.Options{Clock: s.Clock, SignatureClock: clock.RealClock{}})
	g.Expect(err).NotTo(HaveOccurred())
	endpoint, err := s.sts.Start("")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(endpoint.Close()).To(Succeed()) })

	by, key := testkit.DefaultIdentity(), testkit.Bootstrap()
	by.Spec.Endpoint = endpoint.URL
	key.Data["AWS_ACCESS_KEY_ID"], key.Data["AWS_SECRET_ACCESS_KEY"] = []byte("AKIAIOSFODNN7EXAMPLE"), []byte("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	g.Expect(s.Client.Create(t.Context(), by)).To(Succeed())
	g.Expect(s.Client.Create(t.Context(), key)).To(Succeed())
	s.restart(qps)
	return s
}

// newSmallClient returns a fake client with only the necessary kinds, which makes each write several times as fast.
func newSmallClient(g *WithT) client.Client {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Secret{}, &corev1.SecretList{}, &corev1.Namespace{})
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(testkit.NamespaceShop()).WithStatusSubresource(&v1alpha1.RoleCredential{}).Build()
}

// restart replaces the operator with a new one without state.
func (s *simulation) restart(qps int) {
	connector := &identity.Connector{Limits: &limit.Limiter{DefaultQPS: qps, Slots: 4}, Metrics: s.Metrics, Clock: s.Clock, Tracer: noop.Tracer{}}
	resolver := &identity.Resolver{Reader: s.Client, APIReader: s.Client, Watch: staticWatch{}, Clock: s.Clock}
	resolver.NewSTS = func(key request.Key, config aws.Config) identity.STS {
		return recordingClient{connector.NewSTS(key, config), s}
	}
	before := s.credentials
	s.Limits = connector.Limits
	s.credentials = &Reconciler[*v1alpha1.RoleCredential]{
		Kind: request.RoleCredential, Client: s.Client, Identities: resolver, Secrets: &secretstore.Store{Client: withoutLists{s.Client}, APIReader: s.Client}, Devices: before.Devices, Limits: connector.Limits,
		Events: before.Events, Metrics: before.Metrics, Clock: s.Clock,
	}
	listed := slices.SortedFunc(slices.Values(s.queue), func(a, b queueItem) int { return strings.Compare(a.object.Name, b.object.Name) })
	s.queue = nil
	for _, v := range listed {
		s.add(v.object, s.Clock.Now(), backoff.OrdinaryPriority)
	}
}

// staticWatch reports that no Secret of a source changes.
type staticWatch struct{ identity.Watch }

func (staticWatch) Subscribe(request.Key, types.NamespacedName, string)      {}
func (staticWatch) IsCurrent(request.Key, types.NamespacedName, string) bool { return true }
func (staticWatch) Unsubscribe(request.Key)                                  {}

// withoutLists skips the search for Secrets with a former name, since the fake client reads every Secret for each list.
type withoutLists struct{ client.Client }

func (withoutLists) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

// recordingClient records each call.
type recordingClient struct {
	identity.STS
	s *simulation
}

func (w recordingClient) Issue(ctx context.Context, keys aws.CredentialsProvider, r request.Request, auth request.CallAuth) (request.Credentials, error) {
	namespace, name, _ := strings.Cut(r.SessionName, ".")
	object := types.NamespacedName{Namespace: namespace, Name: name}
	a := stsCall{object: object, at: w.s.Clock.Now(), expires: w.s.expirations[object]}
	w.s.requested = append(w.s.requested, a)
	issued, err := w.STS.Issue(ctx, keys, r, auth)
	if err == nil {
		w.s.expirations[object] = issued.Expiration
	}
	return issued, err
}

// create creates and enqueues credentials with a duration of 15 minutes.
func (s *simulation) create(prefix string, number int) (created []types.NamespacedName) {
	s.T.Helper()
	for i := range number {
		c := testkit.Reader()
		c.Name, c.UID = fmt.Sprintf("%s-%d", prefix, i), types.UID(fmt.Sprintf("%s-%d-uid", prefix, i))
		c.Spec.Duration = &metav1.Duration{Duration: 15 * time.Minute}
		s.Expect(s.Client.Create(s.T.Context(), c)).To(Succeed())
		created = append(created, client.ObjectKeyFromObject(c))
		s.add(created[i], s.Clock.Now(), backoff.OrdinaryPriority)
	}
	return created
}

// run advances the clock and reconciles until a time after testkit.Start.
func (s *simulation) run(until time.Duration) {
	s.T.Helper()
	end := testkit.Start.Add(until)
	for {
		ready, next := s.Limits.Ready(s.Clock.Now())
		for _, key := range ready {
			s.add(key.NamespacedName, s.Clock.Now(), reservedPriority)
		}
		if len(s.queue) > 0 && (next.IsZero() || !s.queue[0].at.After(next)) {
			next = s.queue[0].at
		}
		if next.IsZero() || !next.Before(end) {
			break
		}
		if next.After(s.Clock.Now()) {
			s.Clock.SetTime(next)
		}
		if len(s.queue) == 0 || s.queue[0].at.After(s.Clock.Now()) {
			continue
		}
		v := s.queue[0]
		s.queue = s.queue[1:]
		result, err := s.credentials.Reconcile(s.T.Context(), reconcile.Request{NamespacedName: v.object})
		s.Events()
		s.Expect(err).NotTo(HaveOccurred())
		s.Expect(result.RequeueAfter).To(BeNumerically(">=", 100*time.Millisecond))
		s.add(v.object, s.Clock.Now().Add(result.RequeueAfter), *result.Priority)
	}
	s.Clock.SetTime(end)
}

func (s *simulation) add(object types.NamespacedName, at time.Time, priority int) {
	s.added++
	s.queue = slices.DeleteFunc(s.queue, func(v queueItem) bool { return v.object == object }) // as a workqueue does
	v := queueItem{object, at, priority, s.added}
	i, _ := slices.BinarySearchFunc(s.queue, v, queueItem.compare)
	s.queue = slices.Insert(s.queue, i, v)
}

// throttle limits the calls per second that STS accepts from now on; 0 removes the limit.
func (s *simulation) throttle(rate int) {
	s.T.Helper()
	s.sts.ClearFaults()
	if rate > 0 {
		_, err := s.sts.SetFault(stsemulator.Fault{Kind: stsemulator.FaultThrottle, Rate: rate})
		s.Expect(err).NotTo(HaveOccurred())
	}
}

// gaps returns the times in which a credential was expired after its first issue.
func (s *simulation) gaps() (found []string) {
	ended := map[string]time.Time{}
	for _, session := range s.sts.Sessions() {
		name := session.ARN[strings.LastIndex(session.ARN, "/")+1:]
		if before, ok := ended[name]; ok && before.Before(session.Issued) {
			found = append(found, fmt.Sprintf("%s from %s to %s", name, before.Sub(testkit.Start), session.Issued.Sub(testkit.Start)))
		}
		ended[name] = session.Expiration
	}
	for name, end := range ended {
		if end.Before(s.Clock.Now()) {
			found = append(found, fmt.Sprintf("%s from %s", name, end.Sub(testkit.Start)))
		}
	}
	return found
}

// calls returns the times of the calls that STS received between two times after testkit.Start.
func (s *simulation) calls(from, to time.Duration) (times []time.Time) {
	for _, call := range s.sts.Calls() {
		if !call.Time.Before(testkit.Start.Add(from)) && call.Time.Before(testkit.Start.Add(to)) {
			times = append(times, call.Time)
		}
	}
	return times
}

// throttled counts the calls that STS throttled.
func (s *simulation) throttled() (throttled int) {
	for _, call := range s.sts.Calls() {
		if call.Code == "Throttling" {
			throttled++
		}
	}
	return throttled
}

// maxInWindow returns the maximum number of sorted times within a window.
func maxInWindow(times []time.Time, window time.Duration) (maximum int) {
	first := 0
	for last := range times {
		for times[last].Sub(times[first]) > window {
			first++
		}
		maximum = max(maximum, last-first+1)
	}
	return maximum
}

type queueItem struct {
	object   types.NamespacedName
	at       time.Time
	priority int
	added    int
}

func (v queueItem) compare(other queueItem) int {
	return cmp.Or(v.at.Compare(other.at), cmp.Compare(other.priority, v.priority), cmp.Compare(v.added, other.added))
}

func TestNoCredentialExpiresWhileSTSThrottles(t *testing.T) {
	const throttledFrom, throttledUntil = 9 * time.Minute, 14 * time.Minute // all are due within a minute after throttledFrom
	for name, qps := range map[string]int{
		"a rate limit far above that of STS": 50,
		"the same rate limit as STS":         2,
		"a lower rate limit":                 1,
	} {
		t.Run(name, func(t *testing.T) {
			s := simulate(t, qps)
			s.create("reader", 200)
			s.run(throttledFrom)
			s.throttle(2)
			s.run(throttledUntil)
			s.throttle(0)
			s.run(16 * time.Minute)
			s.Expect(s.expirations).To(HaveLen(200))
			s.Expect(s.gaps()).To(BeEmpty())
			s.expectRateLimit(qps)
			calls := len(s.calls(throttledFrom, throttledUntil))
			s.Expect(calls).To(BeNumerically(">=", 180))
			s.Expect(s.throttled()).To(BeNumerically("<=", calls/10))
			if qps <= 2 {
				s.Expect(s.throttled()).To(BeZero())
			}
		})
	}
}

func TestNewCredentialsDoNotDelayExpiringCredentials(t *testing.T) {
	const left = 3 * time.Minute
	s := simulate(t, 50)
	s.create("reader", 200)
	s.run(time.Minute)
	s.Clock.SetTime(testkit.Start.Add(15*time.Minute - left)) // without an operator in between
	s.create("new", 1000)
	s.throttle(2)
	s.restart(50)
	s.run(20*time.Minute - left)
	s.Expect(s.gaps()).To(BeEmpty())
	s.expectRateLimit(50)
	s.Expect(s.throttled()).To(BeNumerically("<=", len(s.requested)/10))
	s.Expect(len(s.expirations)).To(BeNumerically(">=", 450), "new credentials get the calls that expiring ones do not need")
	for _, call := range s.requested {
		s.Expect(call.expires.IsZero() || call.expires.Sub(call.at) > 30*time.Second).To(BeTrue(), "%v", call)
	}
}

// expectRateLimit expects at most the calls of the rate limit in each window, with a burst of one second.
func (s *simulation) expectRateLimit(qps int) {
	s.T.Helper()
	for _, window := range []time.Duration{0, time.Second, 10 * time.Second, time.Minute} {
		s.Expect(maxInWindow(s.calls(0, time.Hour), window)).To(BeNumerically("<=", float64(qps)*(window.Seconds()+1)), "within %s", window)
	}
}
