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

// simulation lets many credentials live through hours at an emulated STS in seconds: the reconciler, the SDK and the STS are the
// real ones, and the clock stands still but between two reconciles. A queue of its own brings each object back when it was
// told to, in the order of time and priority.
type simulation struct {
	*fixture
	sts   *stsemulator.Server
	queue []visit // in order
	added int
	// ends is when the credential of each object expires.
	ends  map[types.NamespacedName]time.Time
	asked []stsCall
}

// stsCall is one call of STS.
type stsCall struct {
	object types.NamespacedName
	at     time.Time
	// ends is when the credential ends that is to be refreshed, zero if there is none.
	ends time.Time
}

func simulate(t *testing.T, qps int) *simulation {
	t.Helper()
	g := NewWithT(t)
	world, err := stsemulator.DefaultConfig()
	g.Expect(err).NotTo(HaveOccurred())
	s := &simulation{ends: map[types.NamespacedName]time.Time{}}
	s.fixture = newFixture(t)
	s.Client = smallClient(g)
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

// smallClient is a fake client that knows no more kinds than it takes, which makes each write several times as fast.
func smallClient(g *WithT) client.Client {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Secret{}, &corev1.SecretList{}, &corev1.Namespace{})
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(testkit.NamespaceShop()).WithStatusSubresource(&v1alpha1.RoleCredential{}).Build()
}

// restart is a new operator, which knows nothing but what is in the cluster.
func (s *simulation) restart(qps int) {
	connector := &identity.Connector{Limits: &limit.Limiter{DefaultQPS: qps, Slots: 4}, Metrics: s.Metrics, Clock: s.Clock}
	resolver := &identity.Resolver{Reader: s.Client, Secrets: s.Client, Watch: steadyWatch{}, Assume: connector.Assume}
	resolver.Connect = func(key request.Key, config aws.Config, _ identity.STS) identity.STS {
		return watched{connector.Connect(key, config, nil), s}
	}
	before := s.credentials
	s.Limits = connector.Limits
	s.credentials = &Reconciler[*v1alpha1.RoleCredential]{
		Kind: request.RoleCredential, Client: s.Client, Identities: resolver, Secrets: &secretstore.Store{Client: noFormer{s.Client}, Reader: s.Client}, Devices: before.Devices, Limits: connector.Limits, SecretWatches: before.SecretWatches,
		Events: before.Events, Metrics: before.Metrics, Clock: s.Clock,
	}
	listed := slices.SortedFunc(slices.Values(s.queue), func(a, b visit) int { return strings.Compare(a.object.Name, b.object.Name) })
	s.queue = nil
	for _, v := range listed {
		s.add(v.object, s.Clock.Now(), backoff.OrdinaryPriority)
	}
}

// steadyWatch knows that no Secret of a source changes.
type steadyWatch struct{ identity.Watch }

func (steadyWatch) Subscribe(request.Key, types.NamespacedName, string)      {}
func (steadyWatch) IsCurrent(request.Key, types.NamespacedName, string) bool { return true }
func (steadyWatch) Unsubscribe(request.Key)                                  {}

// noFormer spares the fake client, which looks at every Secret for each list, the search for Secrets of a former name.
type noFormer struct{ client.Client }

func (noFormer) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

// watched sees each call.
type watched struct {
	identity.STS
	s *simulation
}

func (w watched) Issue(ctx context.Context, r request.Request, proof request.CallAuth) (request.Credentials, error) {
	namespace, name, _ := strings.Cut(r.SessionName, ".")
	object := types.NamespacedName{Namespace: namespace, Name: name}
	a := stsCall{object: object, at: w.s.Clock.Now(), ends: w.s.ends[object]}
	w.s.asked = append(w.s.asked, a)
	issued, err := w.STS.Issue(ctx, r, proof)
	if err == nil {
		w.s.ends[object] = issued.Expiration
	}
	return issued, err
}

// create makes a number of credentials of 15 minutes, which the operator sees at once.
func (s *simulation) create(prefix string, number int) (made []types.NamespacedName) {
	s.T.Helper()
	for i := range number {
		c := testkit.Reader()
		c.Name, c.UID = fmt.Sprintf("%s-%d", prefix, i), types.UID(fmt.Sprintf("%s-%d-uid", prefix, i))
		c.Spec.Duration = &metav1.Duration{Duration: 15 * time.Minute}
		s.Expect(s.Client.Create(s.T.Context(), c)).To(Succeed())
		made = append(made, client.ObjectKeyFromObject(c))
		s.add(made[i], s.Clock.Now(), backoff.OrdinaryPriority)
	}
	return made
}

// run lets time pass until a time after the testkit.Start.
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
	s.queue = slices.DeleteFunc(s.queue, func(v visit) bool { return v.object == object }) // as a workqueue does
	v := visit{object, at, priority, s.added}
	i, _ := slices.BinarySearchFunc(s.queue, v, visit.compare)
	s.queue = slices.Insert(s.queue, i, v)
}

// throttle has STS answer so many calls a second from now on, 0 for as many as there are.
func (s *simulation) throttle(rate int) {
	s.T.Helper()
	s.sts.ClearFaults()
	if rate > 0 {
		_, err := s.sts.SetFault(stsemulator.Fault{Kind: stsemulator.FaultThrottle, Rate: rate})
		s.Expect(err).NotTo(HaveOccurred())
	}
}

// lost are those that were without a valid credential for a while, after their first one, until now.
func (s *simulation) lost() (lost []string) {
	ended := map[string]time.Time{}
	for _, session := range s.sts.Sessions() {
		name := session.ARN[strings.LastIndex(session.ARN, "/")+1:]
		if before, ok := ended[name]; ok && before.Before(session.Issued) {
			lost = append(lost, fmt.Sprintf("%s from %s to %s", name, before.Sub(testkit.Start), session.Issued.Sub(testkit.Start)))
		}
		ended[name] = session.Expiration
	}
	for name, end := range ended {
		if end.Before(s.Clock.Now()) {
			lost = append(lost, fmt.Sprintf("%s from %s", name, end.Sub(testkit.Start)))
		}
	}
	return lost
}

// calls are the times of all calls that STS received from one time after the testkit.Start to another.
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

// most is how many of some times, which are in order, are within any window of a length.
func most(times []time.Time, window time.Duration) (most int) {
	first := 0
	for last := range times {
		for times[last].Sub(times[first]) > window {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

type visit struct {
	object   types.NamespacedName
	at       time.Time
	priority int
	added    int
}

func (v visit) compare(other visit) int {
	return cmp.Or(v.at.Compare(other.at), cmp.Compare(other.priority, v.priority), cmp.Compare(v.added, other.added))
}

func TestNoCredentialExpiresWhileSTSThrottles(t *testing.T) {
	const throttledFrom, throttledUntil = 9 * time.Minute, 14 * time.Minute // all are due within a minute of the former
	for name, qps := range map[string]int{
		"an operator that would ask faster by far": 50,
		"one that asks as fast as STS bears":       2,
		"one that asks more slowly":                1,
	} {
		t.Run(name, func(t *testing.T) {
			s := simulate(t, qps)
			s.create("reader", 200)
			s.run(throttledFrom)
			s.throttle(2)
			s.run(throttledUntil)
			s.throttle(0)
			s.run(16 * time.Minute)
			s.Expect(s.ends).To(HaveLen(200))
			s.Expect(s.lost()).To(BeEmpty())
			s.neverFasterThan(qps)
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
	s.Clock.SetTime(testkit.Start.Add(15*time.Minute - left)) // there was no operator in between
	s.create("new", 1000)
	s.throttle(2)
	s.restart(50)
	s.run(20*time.Minute - left)
	s.Expect(s.lost()).To(BeEmpty())
	s.neverFasterThan(50)
	s.Expect(s.throttled()).To(BeNumerically("<=", len(s.asked)/10))
	s.Expect(len(s.ends)).To(BeNumerically(">=", 450), "the new ones have the calls that the others do not need")
	for _, call := range s.asked {
		s.Expect(call.ends.IsZero() || call.ends.Sub(call.at) > 30*time.Second).To(BeTrue(), "%v", call)
	}
}

// neverFasterThan holds that STS received no more calls in any time than come in it and a second more.
func (s *simulation) neverFasterThan(qps int) {
	s.T.Helper()
	for _, window := range []time.Duration{0, time.Second, 10 * time.Second, time.Minute} {
		s.Expect(most(s.calls(0, time.Hour), window)).To(BeNumerically("<=", float64(qps)*(window.Seconds()+1)), "within %s", window)
	}
}
