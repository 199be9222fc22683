package credential

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/backoff"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/telemetry"
	"rolecredential.dev/operator/controllers/testkit"
)

var defaultKey = identity.KeyOf(testkit.DefaultIdentity())

// spend uses all calls of the default identity, and those of some more seconds.
func (f *fixture) spend(seconds int) {
	f.Limits.Configure(f.Clock.Now(), defaultKey, 0)
	for range 100 * (1 + seconds) {
		f.Limits.Spend(f.Clock.Now(), defaultKey)
	}
}

// throttleOnce halves the rate of the default identity.
func (f *fixture) throttleOnce() {
	f.T.Helper()
	other := request.Key{Kind: "RoleCredential", NamespacedName: types.NamespacedName{Namespace: "other", Name: "other"}}
	call, _ := f.Limits.Acquire(testkit.Start, limit.Request{Identity: defaultKey, Credential: other})
	f.Expect(call).NotTo(BeNil())
	f.Limits.Release(testkit.Start, call, limit.Throttled)
	f.Limits.Cancel(testkit.Start, other)
}

// level is the state of the default identity's limits.
func (f *fixture) level() limit.Level {
	f.T.Helper()
	levels := f.Limits.Levels(f.Clock.Now())
	f.Expect(levels).To(HaveLen(1))
	return levels[0]
}

// atRate is the state of an identity that nothing waits for.
func atRate(tokens, rate float64) limit.Level {
	return limit.Level{Identity: defaultKey, Tokens: tokens, Rate: rate, Limit: rate, Waiting: map[limit.Class]int{}}
}

// ready returns the names of the credentials that calls are reserved for now.
func (f *fixture) ready() (names []string) {
	keys, _ := f.Limits.Ready(f.Clock.Now())
	for _, key := range keys {
		names = append(names, key.Name)
	}
	return names
}

// reconcileNamed reconciles a credential other than the testkit.Reader.
func (f *fixture) reconcileNamed(name string) reconcile.Result {
	f.T.Helper()
	result, err := f.credentials.Reconcile(f.T.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: name}})
	f.Expect(err).NotTo(HaveOccurred())
	return result
}

// another is a credential like the testkit.Reader.
func another(name string) *v1alpha1.RoleCredential {
	return testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Name, c.UID = name, types.UID(name+"-uid") })
}

func TestShortWaitForTheRateLimitIsNotReported(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.spend(1)
	got, result := f.reconcile()
	f.Expect(result).To(Equal(reconcile.Result{RequeueAfter: limit.Recheck, Priority: new(backoff.OrdinaryPriority)}))
	f.Expect(f.STS.Issued).To(BeEmpty())
	f.Expect(f.Requests.Writes).To(BeEmpty())
	f.Expect(f.Events()).To(BeEmpty())
	f.Expect(got.Status.Conditions).To(BeEmpty())
	f.Expect(f.level().Waiting).To(Equal(map[limit.Class]int{limit.Missing: 1}))

	f.Expect(f.ready()).To(BeEmpty())
	f.Advance(1100 * time.Millisecond)
	f.Expect(f.ready()).To(Equal([]string{"s3-reader"}))
	got, _ = f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.Requests.Writes).To(Equal([]string{"create Secret", "update status RoleCredential"}))
	f.Expect(f.level().Waiting).To(BeEmpty())
}

func TestLongWaitForTheRateLimitIsReportedOnce(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.spend(30)
	got, result := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(Equal("Issued=Unknown NotAttempted: STS was not called for this spec: Waiting for the STS rate limit of ClusterIdentity default."))
	f.Expect(result.RequeueAfter).To(Equal(limit.Recheck))
	f.Expect(f.Requests.Writes).To(Equal([]string{"update status RoleCredential"}))
	f.Events()

	f.Requests.Writes = nil
	f.Advance(10 * time.Second)
	f.spend(30)
	f.reconcile()
	f.Expect(f.Requests.Writes).To(BeEmpty())
	f.Expect(f.Events()).To(BeEmpty())
}

func TestCredentialWaitsWhileTooManyCallsAreInFlight(t *testing.T) {
	f := newFixture(t, testkit.World(another("second"), another("third"), another("fourth"))...)
	waiting := ""
	f.STS.Before = func() {
		f.STS.Before = nil
		f.reconcileNamed("second")
		for range 2 { // one identity holds three of four slots
			f.Limits.Acquire(f.Clock.Now(), limit.Request{Identity: defaultKey, Credential: request.Key{Kind: "RoleCredential", NamespacedName: types.NamespacedName{Name: waiting}}})
			waiting += "x"
		}
		f.reconcileNamed("fourth")
	}
	f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(2))
	fourth := &v1alpha1.RoleCredential{}
	f.Expect(f.Client.Get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "fourth"}, fourth)).To(Succeed())
	f.Expect(fourth.Status.Conditions).To(BeEmpty(), "a short wait is not reported")
	f.Expect(f.ready()).To(ContainElement("fourth"), "a slot is free again")
}

func TestRefreshThatWaitsLeavesTheStatusAsItIs(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	before, result := f.reconcile()
	f.Requests.Writes = nil
	f.Advance(result.RequeueAfter)
	f.spend(30)
	got, _ := f.reconcile()
	f.Expect(got.Status).To(Equal(before.Status))
	f.Expect(f.Requests.Writes).To(BeEmpty())
	f.Advance(31 * time.Second)
	f.Expect(f.ready()).To(Equal([]string{"s3-reader"}))
	f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(2))
}

func TestCredentialThatExpiresWhileItWaitsIsNotReady(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.Clock.SetTime(testkit.Start.Add(time.Hour - 10*time.Second))
	f.spend(100)
	_, result := f.reconcile()
	f.Expect(result.RequeueAfter).To(Equal(10 * time.Second))
	f.Advance(result.RequeueAfter)
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("False Expired"))
	f.Expect(f.STS.Issued).To(HaveLen(1))
}

func TestFailureStaysReportedWhileTheNextCallWaits(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.STS.Err = testkit.STSError("AccessDenied")
	got, result := f.reconcile()
	f.Requests.Writes = nil
	f.Advance(result.RequeueAfter)
	f.spend(30)
	again, _ := f.reconcile()
	f.Expect(again.Status).To(Equal(got.Status))
	f.Expect(f.Requests.Writes).To(BeEmpty())
}

func TestClassOfARequestFollowsTheRemainingValidity(t *testing.T) {
	for name, tc := range map[string]struct {
		happens func(f *fixture)
		want    limit.Class
	}{
		"a credential that was never issued": {func(*fixture) {}, limit.Missing},
		"a refresh with twenty minutes left": {func(f *fixture) { f.reconcile(); f.Advance(40 * time.Minute) }, limit.Routine},
		"a refresh with four minutes left":   {func(f *fixture) { f.reconcile(); f.Advance(56 * time.Minute) }, limit.Expiring},
		"an expired credential":              {func(f *fixture) { f.reconcile(); f.Advance(2 * time.Hour) }, limit.Missing},
		"a changed spec": {func(f *fixture) {
			f.reconcile()
			f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.SourceIdentity = "alice" }))
		}, limit.Missing},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			tc.happens(f)
			f.spend(1)
			f.reconcile()
			f.Expect(f.level().Waiting).To(Equal(map[limit.Class]int{tc.want: 1}))
		})
	}
}

func TestCredentialThatNeedsNoCallLeavesTheQueue(t *testing.T) {
	for name, change := range map[string]func(f *fixture){
		"it is suspended": func(f *fixture) {
			f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true }))
		},
		"it is no longer allowed": func(f *fixture) {
			f.Update(testkit.Changed(f.Identity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.Allow = &[]v1alpha1.AllowRule{} }))
		},
		"it is deleted": func(f *fixture) { f.Expect(f.Client.Delete(f.T.Context(), f.Credential())).To(Succeed()) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			f.spend(1)
			f.reconcile()
			f.Expect(f.level().Waiting).To(HaveLen(1))
			change(f)
			_, err := f.credentials.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(testkit.Reader())})
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(f.level().Waiting).To(BeEmpty())
		})
	}
}

func TestNeitherAPermitNorAnMFACodeIsConsumedAlone(t *testing.T) {
	t.Run("a credential that waits for the rate limit leaves the code", func(t *testing.T) {
		f := newFixture(t, testkit.World(guarded(), seedSecret(deviceSeed))...)
		f.spend(1)
		f.reconcile()
		f.Advance(2 * time.Second) // in the same 30 s
		f.ready()
		f.reconcile()
		f.Expect(f.STS.Codes).To(Equal([]string{codeAt(f, testkit.Start)}))
	})
	t.Run("a credential that waits for a code leaves the permit", func(t *testing.T) {
		f := newFixture(t, testkit.World(guarded(), seedSecret(deviceSeed))...)
		_, _, err := f.credentials.Devices.Code(deviceSerial, deviceSeed, testkit.Start, func() bool { return true })
		f.Expect(err).NotTo(HaveOccurred())
		got, _ := f.reconcile()
		f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(ContainSubstring("The current MFA code has already been used."))
		f.Expect(f.STS.Issued).To(BeEmpty())
		f.Expect(f.Limits.Levels(testkit.Start)).To(BeEmpty())
	})
	t.Run("an invalid seed leaves the permit", func(t *testing.T) {
		f := newFixture(t, testkit.World(guarded(), seedSecret("not-a-seed!"))...)
		f.reconcile()
		f.Expect(f.Limits.Levels(testkit.Start)).To(BeEmpty())
	})
}

func TestIdentitySetsItsRateLimit(t *testing.T) {
	own := testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.STSQPS = 7 })
	t.Run("for its own call", func(t *testing.T) {
		f := newFixture(t, testkit.World(own)...)
		f.verify()
		f.Expect(f.level()).To(Equal(atRate(6, 7)))
	})
	t.Run("for those of credentials", func(t *testing.T) {
		f := newFixture(t, testkit.World(own)...)
		f.reconcile()
		f.Expect(f.level()).To(Equal(atRate(6, 7)))
	})
	t.Run("or not", func(t *testing.T) {
		f := newFixture(t, testkit.World()...)
		f.verify()
		f.Expect(f.level()).To(Equal(atRate(99, 100)))
	})
}

func TestAnswersOfSTSSetTheRate(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want float64
	}{
		"success":               {nil, 50 * math.Exp(0.05)},
		"throttling":            {testkit.STSError("Throttling"), 25},
		"throttling of a hop":   {&reason.HopError{RoleARN: "arn:aws:iam::210987654321:role/Hub", Err: testkit.STSError("Throttling")}, 25},
		"denied access":         {testkit.STSError("AccessDenied"), 50 * math.Exp(0.05)},
		"an internal error":     {testkit.STSError("InternalFailure"), 50},
		"no source credentials": {&reason.SourceError{Err: testkit.STSError("Throttling")}, 50},
	} {
		t.Run(name+", to a credential", func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			f.throttleOnce()
			f.Advance(time.Second)
			f.STS.Err = tc.err
			f.reconcile()
			f.Expect(f.level().Rate).To(BeNumerically("~", tc.want, 0.05))
		})
		t.Run(name+", to the identity itself", func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			f.throttleOnce()
			f.Advance(time.Second)
			f.STS.CallerErr = tc.err
			f.verify()
			f.Expect(f.level().Rate).To(BeNumerically("~", tc.want, 0.05))
		})
	}
}

func TestLimitsAreForgottenWithTheirIdentity(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.verify()
	f.Expect(f.Limits.Levels(testkit.Start)).To(HaveLen(1))
	f.Expect(f.Client.Delete(t.Context(), f.Identity())).To(Succeed())
	deleted := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(testkit.DefaultIdentity())}
	result, err := f.identities.Reconcile(t.Context(), deleted)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(f.Limits.Levels(testkit.Start)).To(HaveLen(1), "a new identity of the same name does not escape them")
	f.Advance(result.RequeueAfter)
	result, err = f.identities.Reconcile(t.Context(), deleted)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(result).To(BeZero())
	f.Expect(f.Limits.Levels(testkit.Start)).To(BeEmpty())
}

// callsCounted are the values of rolecredential_sts_calls_total, by kind, call and reason.
func callsCounted(t *testing.T, registry prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	counted := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			if family.GetName() == "rolecredential_sts_calls_total" {
				counted[labels["kind"]+" "+labels["call"]+" "+labels["reason"]] = metric.GetCounter().GetValue()
			}
		}
	}
	return counted
}

func TestCallOfAHopIsCountedWhereItIsMade(t *testing.T) {
	registry := prometheus.NewRegistry()
	f := newFixture(t, testkit.World()...)
	metrics, err := telemetry.NewMetrics(registry, f.Clock)
	f.Expect(err).NotTo(HaveOccurred())
	f.credentials.Metrics, f.identities.Metrics = metrics, metrics
	f.STS.Err = &reason.HopError{RoleARN: "arn:aws:iam::210987654321:role/Hub", Err: testkit.STSError("AccessDenied")}
	f.STS.CallerErr = f.STS.Err
	f.reconcile()
	f.verify()
	f.Expect(callsCounted(t, registry)).To(BeEmpty())
	f.Connector.Metrics = metrics
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(errorDocument("AccessDenied")))
	}))
	defer server.Close()
	client := f.Connector.NewSTS(defaultKey, aws.Config{Region: "eu-west-1", BaseEndpoint: &server.URL})
	_, err = client.Hop(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "secret"}, nil
	}), request.Request{Call: v1alpha1.CallAssumeRole, RoleARN: hubRole, SessionName: "hub"}, nil).Retrieve(t.Context())
	f.Expect(err).To(HaveOccurred())
	f.Expect(callsCounted(t, registry)).To(Equal(map[string]float64{"ClusterIdentity AssumeRole AccessDenied": 1}))
	f.Expect(f.level().Tokens).To(BeEquivalentTo(100 - 3))
}

func TestOutageIsEndedByOneProbe(t *testing.T) {
	f := newFixture(t, testkit.World(another("second"), another("third"))...)
	f.STS.Err = errors.New("connection refused")
	got, result := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Issued=False STSUnreachable"))
	f.Expect(result.RequeueAfter).To(BeNumerically("<", 10*time.Second), "it retries, for the failure may be its own")
	f.reconcileNamed("second")
	f.reconcileNamed("third")
	f.Expect(f.STS.Issued).To(HaveLen(1), "the circuit is open")

	for range 10 { // one probe at a time, of another credential each time
		f.Advance(3 * time.Second)
		ready := f.ready()
		f.Expect(ready).To(HaveLen(1))
		before := len(f.STS.Issued)
		f.reconcileNamed(ready[0])
		f.Expect(f.STS.Issued).To(HaveLen(before + 1))
	}
	f.STS.Err = nil
	f.Advance(3 * time.Second)
	f.reconcileNamed(f.ready()[0])
	ready := f.ready()
	f.Expect(ready).NotTo(BeEmpty())
	for _, name := range ready {
		f.reconcileNamed(name)
	}
	f.Expect(f.level().Waiting).To(BeEmpty())
	for _, name := range []string{"second", "third"} {
		c := &v1alpha1.RoleCredential{}
		f.Expect(f.Client.Get(t.Context(), types.NamespacedName{Namespace: "shop", Name: name}, c)).To(Succeed())
		f.Expect(testkit.States(c.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	}
}

func TestStatusDuringAnOutageStaysTheSame(t *testing.T) {
	f := newFixture(t, testkit.World(another("second"))...)
	f.STS.Err = errors.New("connection refused")
	first, _ := f.reconcile()
	f.Requests.Writes = nil
	for range 5 {
		f.Advance(time.Minute)
		f.ready()
		f.reconcile()
	}
	f.Expect(f.Credential().Status).To(Equal(first.Status))
	f.Expect(f.Requests.Writes).To(BeEmpty())
}

func TestDispatcherEnqueuesACredentialOnceItsCallIsReserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		var wall clock.RealClock
		d := NewDispatcher(1, 4, wall)
		queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
		defer queue.ShutDown()
		g.Expect(d.Source("RoleCredential").Start(t.Context(), queue)).To(Succeed())
		go func() { _ = d.Start(t.Context()) }()
		key := request.Key{Kind: "RoleCredential", NamespacedName: types.NamespacedName{Namespace: "shop", Name: "s3-reader"}}
		call, _ := d.Limits.Acquire(wall.Now(), limit.Request{Identity: defaultKey, Credential: key})
		d.Limits.Release(wall.Now(), call, limit.Answered)
		call, _ = d.Limits.Acquire(wall.Now(), limit.Request{Identity: defaultKey, Credential: key})
		g.Expect(call).To(BeNil())
		synctest.Wait()
		g.Expect(queue.Len()).To(BeZero())
		begun := wall.Now()
		request, _ := queue.Get()
		g.Expect(request.NamespacedName).To(Equal(key.NamespacedName))
		g.Expect(wall.Since(begun)).To(BeNumerically("~", time.Second, 10*time.Millisecond))
		call, _ = d.Limits.Acquire(wall.Now(), limit.Request{Identity: defaultKey, Credential: key})
		g.Expect(call).NotTo(BeNil())
	})
}

func TestCallThatPanicsFreesItsSlot(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.STS.Before = func() { panic("a fault in the SDK") }
	f.Expect(func() { f.reconcile() }).To(Panic())
	f.Expect(f.level().InFlight).To(BeZero())
	f.Expect(f.level().Tokens).To(BeEquivalentTo(100), "the call does not count")
}

func TestCallsInALoopAreLimited(t *testing.T) {
	const period, step, most = 10 * time.Minute, 20 * time.Second, 20
	for name, attack := range map[string]func(f *fixture, n int){
		"the record is rewritten as if it expired in 3 seconds": func(f *fixture, _ int) {
			if f.Secret() == nil {
				return
			}
			f.Forge(map[string]string{
				"issued-at":  f.Clock.Now().Add(-time.Hour).UTC().Format(time.RFC3339),
				"expiration": f.Clock.Now().Add(3 * time.Second).UTC().Format(time.RFC3339),
			})
		},
		"the Secret is deleted": func(f *fixture, _ int) {
			if f.Secret() != nil {
				f.Expect(f.Client.Delete(f.T.Context(), f.Secret())).To(Succeed())
			}
		},
		"the spec changes to and fro": func(f *fixture, n int) {
			f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) {
				c.Spec.Duration = &metav1.Duration{Duration: time.Duration(15+n%2) * time.Minute}
			}))
		},
		"a refresh is requested": func(f *fixture, n int) {
			f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) {
				c.Annotations = map[string]string{v1alpha1.RefreshAnnotation: strconv.Itoa(n)}
			}))
		},
		"the credential is deleted and created again": func(f *fixture, n int) {
			f.Expect(f.Client.Delete(f.T.Context(), f.Credential())).To(Succeed())
			f.reconcileNamed("s3-reader")
			if f.Secret() != nil { // the garbage collector deletes it
				f.Expect(f.Client.Delete(f.T.Context(), f.Secret())).To(Succeed())
			}
			f.Expect(f.Client.Create(f.T.Context(), testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.UID = types.UID(strconv.Itoa(n)) }))).To(Succeed())
		},
	} {
		for _, sts := range []string{"answers", "denies"} {
			t.Run(name+", and STS "+sts, func(t *testing.T) {
				f := newFixture(t, testkit.World()...)
				f.reconcile()
				if sts == "denies" {
					f.STS.Err = testkit.STSError("AccessDenied")
				}
				for n := range int(period / step) {
					f.Advance(step)
					attack(f, n)
					f.reconcile()
					f.Events()
				}
				f.Expect(len(f.STS.Issued)).To(BeNumerically("<=", most))
			})
		}
	}
}

func TestOrdinaryUseIsNotDelayed(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	change := func(edit func(c *v1alpha1.RoleCredential)) {
		f.Update(testkit.Changed(f.Credential(), edit))
		before := len(f.STS.Issued)
		f.reconcile()
		f.Expect(f.STS.Issued).To(HaveLen(before + 1))
	}
	f.STS.Err = testkit.STSError("AccessDenied")
	f.reconcile()
	f.STS.Err = nil
	change(func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::123456789012:role/S3Corrected" })
	change(func(c *v1alpha1.RoleCredential) { c.Spec.Duration = &metav1.Duration{Duration: 15 * time.Minute} })
	change(func(c *v1alpha1.RoleCredential) {
		c.Annotations = map[string]string{v1alpha1.RefreshAnnotation: "now"}
	})
	f.Expect(f.Client.Delete(t.Context(), f.Secret())).To(Succeed())
	change(func(*v1alpha1.RoleCredential) {})
	for range 20 {
		f.Advance(10 * time.Minute)
		change(func(*v1alpha1.RoleCredential) {})
	}
}

func TestWaitAfterCallsInARowIsReported(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	for n := range 8 {
		f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.SourceIdentity = strconv.Itoa(n) }))
		f.reconcile()
	}
	got, result := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Issued=Unknown NotAttempted: STS was not called for this spec: Waiting: the operator has called STS for this credential several times within minutes."))
	f.Expect(result.RequeueAfter).To(BeNumerically("<=", 5*time.Second))
	f.Advance(result.RequeueAfter)
	got, _ = f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
}
