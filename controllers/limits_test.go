package controllers

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/telemetry"
)

var defaultKey = identity.KeyOf(defaultIdentity())

// spend uses all calls of the default identity, and those of some more seconds.
func (f *fixture) spend(seconds int) {
	f.limits.Configure(f.clock.Now(), limit.Key(defaultKey), 0)
	for range DefaultSTSQPS * (1 + seconds) {
		f.limits.Spend(f.clock.Now(), limit.Key(defaultKey))
	}
}

// throttleOnce halves the rate of the default identity.
func (f *fixture) throttleOnce() {
	f.limits.Configure(start, limit.Key(defaultKey), 0)
	f.limits.Throttled(start, start, limit.Key(defaultKey))
}

// level is the state of the default identity's limits.
func (f *fixture) level() limit.Level {
	f.t.Helper()
	levels := f.limits.Levels(f.clock.Now())
	f.Expect(levels).To(HaveLen(1))
	return levels[0]
}

// atRate is the state of an identity that nothing waits for.
func atRate(tokens, rate float64) limit.Level {
	return limit.Level{Identity: limit.Key(defaultKey), Tokens: tokens, Rate: rate, Limit: rate, Waiting: map[limit.Class]int{}}
}

// ready returns the names of the credentials that calls are reserved for now.
func (f *fixture) ready() (names []string) {
	keys, _ := f.limits.Ready(f.clock.Now())
	for _, key := range keys {
		names = append(names, key.Name)
	}
	return names
}

// reconcileNamed reconciles a credential other than the reader.
func (f *fixture) reconcileNamed(name string) reconcile.Result {
	f.t.Helper()
	result, err := f.credentials.Reconcile(f.t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: name}})
	f.Expect(err).NotTo(HaveOccurred())
	return result
}

// another is a credential like the reader.
func another(name string) *v1alpha1.RoleCredential {
	return changed(reader(), func(c *v1alpha1.RoleCredential) { c.Name, c.UID = name, types.UID(name+"-uid") })
}

func (f *fixture) later(by time.Duration) { f.clock.SetTime(f.clock.Now().Add(by)) }

func TestShortWaitForTheRateLimitIsNotReported(t *testing.T) {
	f := newFixture(t, world()...)
	f.spend(1)
	got, result := f.reconcile()
	f.Expect(result).To(Equal(reconcile.Result{RequeueAfter: limitRecheck, Priority: new(ordinaryPriority)}))
	f.Expect(f.sts.issued).To(BeEmpty())
	f.Expect(f.requests.writes).To(BeEmpty())
	f.Expect(f.told()).To(BeEmpty())
	f.Expect(got.Status.Conditions).To(BeEmpty())
	f.Expect(f.level().Waiting).To(Equal(map[limit.Class]int{limit.Missing: 1}))

	f.Expect(f.ready()).To(BeEmpty())
	f.later(1100 * time.Millisecond)
	f.Expect(f.ready()).To(Equal([]string{"s3-reader"}))
	got, _ = f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.requests.writes).To(Equal([]string{"create Secret", "update status RoleCredential"}))
	f.Expect(f.level().Waiting).To(BeEmpty())
}

func TestLongWaitForTheRateLimitIsReportedOnce(t *testing.T) {
	f := newFixture(t, world()...)
	f.spend(30)
	got, result := f.reconcile()
	f.Expect(firstBad(got.Status.Conditions)).To(Equal("Issued=Unknown NotAttempted: STS was not called for this spec: Waiting for the STS rate limit of ClusterIdentity default."))
	f.Expect(result.RequeueAfter).To(Equal(limitRecheck))
	f.Expect(f.requests.writes).To(Equal([]string{"update status RoleCredential"}))
	f.told()

	f.requests.writes = nil
	f.later(10 * time.Second)
	f.spend(30)
	f.reconcile()
	f.Expect(f.requests.writes).To(BeEmpty())
	f.Expect(f.told()).To(BeEmpty())
}

func TestCredentialWaitsWhileTooManyCallsAreInFlight(t *testing.T) {
	f := newFixture(t, world(another("second"), another("third"), another("fourth"))...)
	waiting := ""
	f.sts.before = func() {
		f.sts.before = nil
		f.reconcileNamed("second")
		for range 2 { // one identity holds three of four slots
			f.limits.Acquire(f.clock.Now(), limit.Request{Identity: limit.Key(defaultKey), Credential: limit.Key{Kind: "RoleCredential", NamespacedName: types.NamespacedName{Name: waiting}}})
			waiting += "x"
		}
		f.reconcileNamed("fourth")
	}
	f.reconcile()
	f.Expect(f.sts.issued).To(HaveLen(2))
	fourth := &v1alpha1.RoleCredential{}
	f.Expect(f.client.Get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "fourth"}, fourth)).To(Succeed())
	f.Expect(fourth.Status.Conditions).To(BeEmpty(), "a short wait is not reported")
	f.Expect(f.ready()).To(ContainElement("fourth"), "a slot is free again")
}

func TestRefreshThatWaitsLeavesTheStatusAsItIs(t *testing.T) {
	f := newFixture(t, world()...)
	before, result := f.reconcile()
	f.requests.writes = nil
	f.later(result.RequeueAfter)
	f.spend(30)
	got, _ := f.reconcile()
	f.Expect(got.Status).To(Equal(before.Status))
	f.Expect(f.requests.writes).To(BeEmpty())
	f.later(31 * time.Second)
	f.Expect(f.ready()).To(Equal([]string{"s3-reader"}))
	f.reconcile()
	f.Expect(f.sts.issued).To(HaveLen(2))
}

func TestCredentialThatExpiresWhileItWaitsIsNotReady(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	f.clock.SetTime(start.Add(time.Hour - 10*time.Second))
	f.spend(100)
	_, result := f.reconcile()
	f.Expect(result.RequeueAfter).To(Equal(10 * time.Second))
	f.later(result.RequeueAfter)
	got, _ := f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("False Expired"))
	f.Expect(f.sts.issued).To(HaveLen(1))
}

func TestFailureStaysReportedWhileTheNextCallWaits(t *testing.T) {
	f := newFixture(t, world()...)
	f.sts.err = answers("AccessDenied")
	got, result := f.reconcile()
	f.requests.writes = nil
	f.later(result.RequeueAfter)
	f.spend(30)
	again, _ := f.reconcile()
	f.Expect(again.Status).To(Equal(got.Status))
	f.Expect(f.requests.writes).To(BeEmpty())
}

func TestClassOfARequestFollowsTheRemainingValidity(t *testing.T) {
	for name, tc := range map[string]struct {
		happens func(f *fixture)
		want    limit.Class
	}{
		"a credential that was never issued": {func(*fixture) {}, limit.Missing},
		"a refresh with twenty minutes left": {func(f *fixture) { f.reconcile(); f.later(40 * time.Minute) }, limit.Routine},
		"a refresh with four minutes left":   {func(f *fixture) { f.reconcile(); f.later(56 * time.Minute) }, limit.Expiring},
		"an expired credential":              {func(f *fixture) { f.reconcile(); f.later(2 * time.Hour) }, limit.Missing},
		"a changed spec": {func(f *fixture) {
			f.reconcile()
			f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.SourceIdentity = "alice" }))
		}, limit.Missing},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, world()...)
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
			f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true }))
		},
		"it is no longer allowed": func(f *fixture) {
			f.update(changed(f.identity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.Allow = &[]v1alpha1.AllowRule{} }))
		},
		"it is deleted": func(f *fixture) { f.Expect(f.client.Delete(f.t.Context(), f.credential())).To(Succeed()) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, world()...)
			f.spend(1)
			f.reconcile()
			f.Expect(f.level().Waiting).To(HaveLen(1))
			change(f)
			_, err := f.credentials.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(reader())})
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(f.level().Waiting).To(BeEmpty())
		})
	}
}

func TestNeitherAPermitNorAnMFACodeIsConsumedAlone(t *testing.T) {
	t.Run("a credential that waits for the rate limit leaves the code", func(t *testing.T) {
		f := newFixture(t, world(guarded(), seedSecret(deviceSeed))...)
		f.spend(1)
		f.reconcile()
		f.later(2 * time.Second) // in the same 30 s
		f.ready()
		f.reconcile()
		f.Expect(f.sts.codes).To(Equal([]string{codeAt(f, start)}))
	})
	t.Run("a credential that waits for a code leaves the permit", func(t *testing.T) {
		f := newFixture(t, world(guarded(), seedSecret(deviceSeed))...)
		_, _, err := f.credentials.Devices.Code(deviceSerial, deviceSeed, start, func() bool { return true })
		f.Expect(err).NotTo(HaveOccurred())
		got, _ := f.reconcile()
		f.Expect(firstBad(got.Status.Conditions)).To(ContainSubstring("The current MFA code has already been used."))
		f.Expect(f.sts.issued).To(BeEmpty())
		f.Expect(f.limits.Levels(start)).To(BeEmpty())
	})
	t.Run("an invalid seed leaves the permit", func(t *testing.T) {
		f := newFixture(t, world(guarded(), seedSecret("not-a-seed!"))...)
		f.reconcile()
		f.Expect(f.limits.Levels(start)).To(BeEmpty())
	})
}

func TestIdentitySetsItsRateLimit(t *testing.T) {
	own := changed(defaultIdentity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.STSQPS = 7 })
	t.Run("for its own call", func(t *testing.T) {
		f := newFixture(t, world(own)...)
		f.verify()
		f.Expect(f.level()).To(Equal(atRate(6, 7)))
	})
	t.Run("for those of credentials", func(t *testing.T) {
		f := newFixture(t, world(own)...)
		f.reconcile()
		f.Expect(f.level()).To(Equal(atRate(6, 7)))
	})
	t.Run("or not", func(t *testing.T) {
		f := newFixture(t, world()...)
		f.verify()
		f.Expect(f.level()).To(Equal(atRate(99, 100)))
	})
}

func TestAnswersOfSTSSetTheRate(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want float64
		// answered is true if the answer lets the rate recover after a credential's call.
		answered bool
	}{
		"a credential":                {nil, 50 * math.Exp(0.05), true},
		"that it is throttled":        {answers("Throttling"), 25, false},
		"that a hop is throttled":     {&failure.HopError{RoleARN: "arn:aws:iam::210987654321:role/Hub", Err: answers("Throttling")}, 25, false},
		"that it may not":             {answers("AccessDenied"), 50, true},
		"that something went wrong":   {answers("InternalFailure"), 50, false},
		"nothing, for want of a call": {&failure.SourceError{Err: answers("Throttling")}, 50, false},
	} {
		t.Run(name+", to a credential", func(t *testing.T) {
			f := newFixture(t, world()...)
			f.throttleOnce()
			f.later(time.Second)
			f.sts.err = tc.err
			f.reconcile()
			want := tc.want
			if tc.answered {
				want = 50 * math.Exp(0.05)
			}
			f.Expect(f.level().Rate).To(BeNumerically("~", want, 0.05))
		})
		t.Run(name+", to the identity itself", func(t *testing.T) {
			f := newFixture(t, world()...)
			f.throttleOnce()
			f.later(time.Second)
			f.sts.callerErr = tc.err
			f.verify()
			f.Expect(f.level().Rate).To(BeNumerically("~", tc.want, 0.05))
		})
	}
}

func TestLimitsAreForgottenWithTheirIdentity(t *testing.T) {
	f := newFixture(t, world()...)
	f.verify()
	f.Expect(f.limits.Levels(start)).To(HaveLen(1))
	f.Expect(f.client.Delete(t.Context(), f.identity())).To(Succeed())
	_, err := f.identities.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(defaultIdentity())})
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(f.limits.Levels(start)).To(BeEmpty())
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
	f := newFixture(t, world()...)
	metrics, err := telemetry.NewMetrics(registry, f.clock)
	f.Expect(err).NotTo(HaveOccurred())
	f.credentials.Metrics, f.identities.Metrics = metrics, metrics
	f.sts.err = &failure.HopError{RoleARN: "arn:aws:iam::210987654321:role/Hub", Err: answers("AccessDenied")}
	f.sts.callerErr = f.sts.err
	f.reconcile()
	f.verify()
	f.Expect(callsCounted(t, registry)).To(BeEmpty())
	hops := account{defaultKey, f.limits, metrics, f.clock}
	hops.HopCalled(v1alpha1.CallAssumeRole, v1alpha1.ReasonAccessDenied)
	hops.Spend()
	f.Expect(callsCounted(t, registry)).To(Equal(map[string]float64{"ClusterIdentity AssumeRole AccessDenied": 1}))
	f.Expect(f.level().Tokens).To(BeEquivalentTo(DefaultSTSQPS - 3))
}

func TestOutageIsEndedByOneProbe(t *testing.T) {
	f := newFixture(t, world(another("second"), another("third"))...)
	f.sts.err = errors.New("connection refused")
	got, result := f.reconcile()
	f.Expect(firstBad(got.Status.Conditions)).To(HavePrefix("Issued=False STSUnreachable"))
	f.Expect(result.RequeueAfter).To(BeNumerically("<", 10*time.Second), "it retries, for the failure may be its own")
	f.reconcileNamed("second")
	f.reconcileNamed("third")
	f.Expect(f.sts.issued).To(HaveLen(1), "the circuit is open")

	for range 10 { // one probe at a time, of another credential each time
		f.later(3 * time.Second)
		ready := f.ready()
		f.Expect(ready).To(HaveLen(1))
		before := len(f.sts.issued)
		f.reconcileNamed(ready[0])
		f.Expect(f.sts.issued).To(HaveLen(before + 1))
	}
	f.sts.err = nil
	f.later(3 * time.Second)
	f.reconcileNamed(f.ready()[0])
	ready := f.ready()
	f.Expect(ready).NotTo(BeEmpty())
	for _, name := range ready {
		f.reconcileNamed(name)
	}
	f.Expect(f.level().Waiting).To(BeEmpty())
	for _, name := range []string{"second", "third"} {
		c := &v1alpha1.RoleCredential{}
		f.Expect(f.client.Get(t.Context(), types.NamespacedName{Namespace: "shop", Name: name}, c)).To(Succeed())
		f.Expect(states(c.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	}
}

func TestStatusDuringAnOutageStaysTheSame(t *testing.T) {
	f := newFixture(t, world(another("second"))...)
	f.sts.err = errors.New("connection refused")
	first, _ := f.reconcile()
	f.requests.writes = nil
	for range 5 {
		f.later(time.Minute)
		f.ready()
		f.reconcile()
	}
	f.Expect(f.credential().Status).To(Equal(first.Status))
	f.Expect(f.requests.writes).To(BeEmpty())
}

func TestDispatcherEnqueuesACredentialOnceItsCallIsReserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		var wall clock.RealClock
		d := newDispatcher(1, 4, wall)
		queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
		defer queue.ShutDown()
		g.Expect(d.source("RoleCredential").Start(t.Context(), queue)).To(Succeed())
		go func() { _ = d.Start(t.Context()) }()
		key := limit.Key{Kind: "RoleCredential", NamespacedName: types.NamespacedName{Namespace: "shop", Name: "s3-reader"}}
		call, _ := d.limits.Acquire(wall.Now(), limit.Request{Identity: limit.Key(defaultKey), Credential: key})
		d.limits.Release(wall.Now(), call, limit.Answered)
		call, _ = d.limits.Acquire(wall.Now(), limit.Request{Identity: limit.Key(defaultKey), Credential: key})
		g.Expect(call).To(BeNil())
		synctest.Wait()
		g.Expect(queue.Len()).To(BeZero())
		asked := wall.Now()
		request, _ := queue.Get()
		g.Expect(request.NamespacedName).To(Equal(key.NamespacedName))
		g.Expect(wall.Since(asked)).To(BeNumerically("~", time.Second, 10*time.Millisecond))
		call, _ = d.limits.Acquire(wall.Now(), limit.Request{Identity: limit.Key(defaultKey), Credential: key})
		g.Expect(call).NotTo(BeNil())
	})
}

func TestCallThatPanicsFreesItsSlot(t *testing.T) {
	f := newFixture(t, world()...)
	f.sts.before = func() { panic("a fault in the SDK") }
	f.Expect(func() { f.reconcile() }).To(Panic())
	f.Expect(f.level().InFlight).To(BeZero())
	f.Expect(f.level().Tokens).To(BeEquivalentTo(DefaultSTSQPS), "the call does not count")
}
