package controllers

import (
	"errors"
	"math"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/budget"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/telemetry"
)

var defaultKey = identity.KeyOf(defaultIdentity())

// spend uses up the default identity's tokens, and as many more as come in some seconds.
func (f *fixture) spend(seconds int) {
	for range DefaultSTSQPS * (1 + seconds) {
		f.budget.Spend(f.clock.Now(), budget.Key(defaultKey))
	}
}

// level is how the default identity's budget stands.
func (f *fixture) level() budget.Level {
	f.t.Helper()
	levels := f.budget.Levels(f.clock.Now())
	f.Expect(levels).To(HaveLen(1))
	return levels[0]
}

func (f *fixture) later(by time.Duration) { f.clock.SetTime(f.clock.Now().Add(by)) }

func TestAShortWaitForATokenCostsNothing(t *testing.T) {
	f := newFixture(t, world()...)
	f.spend(1)
	got, result := f.reconcile()
	f.Expect(result).To(Equal(reconcile.Result{RequeueAfter: 1011 * time.Millisecond, Priority: new(turnPriority)}))
	f.Expect(f.sts.issued).To(BeEmpty())
	f.Expect(f.requests.writes).To(BeEmpty())
	f.Expect(f.told()).To(BeEmpty())
	f.Expect(got.Status.Conditions).To(BeEmpty())
	f.Expect(f.level().Waiting).To(Equal(budget.Waiting{HasNone: 1}))

	f.later(result.RequeueAfter)
	got, result = f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.requests.writes).To(Equal([]string{"create Secret", "update status RoleCredential"}))
	f.Expect(*result.Priority).To(Equal(ordinaryPriority))
	f.Expect(f.level().Waiting).To(BeZero())
}

func TestALongWaitForATokenIsToldOnce(t *testing.T) {
	f := newFixture(t, world()...)
	f.spend(30)
	got, result := f.reconcile()
	f.Expect(firstBad(got.Status.Conditions)).To(And(
		HavePrefix("Issued=Unknown NotAttempted"), ContainSubstring("its turn has not come, since ClusterIdentity default makes only so many calls a second."),
	))
	f.Expect(result.RequeueAfter).To(BeNumerically("~", 30*time.Second, 100*time.Millisecond))
	f.Expect(*result.Priority).To(Equal(turnPriority))
	f.Expect(f.requests.writes).To(Equal([]string{"update status RoleCredential"}))
	f.told()

	f.requests.writes = nil
	f.later(10 * time.Second)
	f.spend(30)
	f.reconcile()
	f.Expect(f.requests.writes).To(BeEmpty())
	f.Expect(f.told()).To(BeEmpty())
}

func TestACredentialWaitsWhileSTSAnswersNoOther(t *testing.T) {
	f := newFixture(t, world()...)
	woken, places, by := f.wakes(), f.credentials.Places, budget.Key(defaultKey)
	f.Expect(takes(places, by)).To(Equal(2), "as many as one identity may have of three, and one more is sent away")
	got, result := f.reconcile()
	f.Expect(result).To(Equal(reconcile.Result{RequeueAfter: lookAgain, Priority: new(turnPriority)}))
	f.Expect(firstBad(got.Status.Conditions)).To(Equal("Issued=Unknown NotAttempted: STS was not asked for this spec: its turn has not come, since STS has not answered other calls of ClusterIdentity default."))
	f.Expect(f.sts.issued).To(BeEmpty())
	f.Expect(f.budget.Levels(f.clock.Now())).To(BeEmpty(), "no token was taken")

	_, found := places.free(by)
	f.Expect(found).To(BeTrue())
	got, _ = f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(*woken).To(BeEmpty(), "nobody else was sent away")
}

func TestTheEndOfACallWakesWhoWaitsForIt(t *testing.T) {
	f := newFixture(t, world()...)
	woken := f.wakes()
	f.sts.before = func() { f.Expect(takes(f.credentials.Places, budget.Key(defaultKey))).To(Equal(1)) }
	f.reconcile()
	f.Expect(*woken).To(Equal([]string{"default-1"}))
}

func TestARefreshThatWaitsLeavesTheStatusAsItIs(t *testing.T) {
	f := newFixture(t, world()...)
	before, result := f.reconcile()
	f.requests.writes = nil
	f.later(result.RequeueAfter)
	f.spend(30)
	got, result := f.reconcile()
	f.Expect(got.Status).To(Equal(before.Status))
	f.Expect(f.requests.writes).To(BeEmpty())
	f.Expect(result.RequeueAfter).To(BeNumerically("~", 30*time.Second, 100*time.Millisecond))
	f.later(result.RequeueAfter)
	f.reconcile()
	f.Expect(f.sts.issued).To(HaveLen(2))
}

func TestACredentialThatEndsWhileItWaitsSaysSo(t *testing.T) {
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

func TestAFailureIsStillToldWhileTheNextTryWaits(t *testing.T) {
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

func TestACredentialThatCanWaitLetsOthersGoFirst(t *testing.T) {
	waits := changed(reader(), func(c *v1alpha1.RoleCredential) { c.Name, c.UID = "waits", "waits-uid" })
	for name, happens := range map[string]func(f *fixture){
		"one that has none": func(*fixture) {},
		"one of another spec": func(f *fixture) {
			f.reconcile()
			f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.SourceIdentity = "alice" }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, world(waits)...)
			visit := func() {
				_, err := f.credentials.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(waits)})
				f.Expect(err).NotTo(HaveOccurred())
			}
			visit()
			happens(f)
			f.clock.SetTime(start.Add(40 * time.Minute)) // the one is due, with 20 minutes left
			f.spend(1)
			visit()
			_, result := f.reconcile()
			f.Expect(f.level().Waiting).To(Equal(budget.Waiting{HasNone: 1, EndsLater: 1}))
			f.sts.issued = nil
			f.later(result.RequeueAfter)
			visit()
			f.reconcile()
			f.Expect(f.sts.issued).To(HaveLen(1))
			f.Expect(f.sts.issued[0].SessionName).To(Equal("shop.s3-reader"))
		})
	}
}

func TestAPlaceIsGivenUpAtOnceByWhoNoLongerWaits(t *testing.T) {
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
			f.Expect(f.level().Waiting).To(Equal(budget.Waiting{HasNone: 1}))
			change(f)
			_, err := f.credentials.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(reader())})
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(f.level().Waiting).To(BeZero())
		})
	}
}

func TestNeitherATokenNorACodeIsUsedUpWithoutTheOther(t *testing.T) {
	t.Run("a turn that waits for a token leaves the code", func(t *testing.T) {
		f := newFixture(t, world(guarded(), seedSecret(deviceSeed))...)
		f.spend(1)
		_, result := f.reconcile()
		f.later(result.RequeueAfter) // in the same 30 s
		f.reconcile()
		f.Expect(f.sts.codes).To(Equal([]string{codeAt(f, start)}))
	})
	t.Run("a turn that waits for a code leaves the token", func(t *testing.T) {
		f := newFixture(t, world(guarded(), seedSecret(deviceSeed))...)
		_, _, err := f.credentials.Devices.Code(deviceSerial, deviceSeed, start, func() bool { return true })
		f.Expect(err).NotTo(HaveOccurred())
		f.reconcile()
		f.Expect(f.sts.issued).To(BeEmpty())
		f.Expect(f.budget.Levels(start)).To(BeEmpty())
	})
	t.Run("a seed that is none leaves the token", func(t *testing.T) {
		f := newFixture(t, world(guarded(), seedSecret("not-a-seed!"))...)
		f.reconcile()
		f.Expect(f.budget.Levels(start)).To(BeEmpty())
	})
}

func TestAnIdentityMaySayHowManyCallsASecond(t *testing.T) {
	own := changed(defaultIdentity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.STSQPS = 7 })
	t.Run("for its own call", func(t *testing.T) {
		f := newFixture(t, world(own)...)
		f.verify()
		f.Expect(f.level()).To(Equal(budget.Level{Identity: budget.Key(defaultKey), Tokens: 6, Rate: 7, Limit: 7}))
	})
	t.Run("for those of credentials", func(t *testing.T) {
		f := newFixture(t, world(own)...)
		f.reconcile()
		f.Expect(f.level()).To(Equal(budget.Level{Identity: budget.Key(defaultKey), Tokens: 6, Rate: 7, Limit: 7}))
	})
	t.Run("or not", func(t *testing.T) {
		f := newFixture(t, world()...)
		f.verify()
		f.Expect(f.level()).To(Equal(budget.Level{Identity: budget.Key(defaultKey), Tokens: 99, Rate: 100, Limit: 100}))
	})
}

func TestWhatSTSAnswersSlowsAnIdentityDownOrNot(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want float64
	}{
		"a credential":                {nil, 50 * math.Exp(0.05)},
		"that it is throttled":        {answers("Throttling"), 25},
		"that a hop is throttled":     {&failure.HopError{RoleARN: "arn:aws:iam::210987654321:role/Hub", Err: answers("Throttling")}, 25},
		"that it may not":             {answers("AccessDenied"), 50},
		"that something went wrong":   {answers("InternalFailure"), 50},
		"nothing, for want of a call": {&failure.SourceError{Err: answers("Throttling")}, 50},
	} {
		t.Run(name+", to a credential", func(t *testing.T) {
			f := newFixture(t, world()...)
			f.budget.Throttled(start, start, budget.Key(defaultKey))
			f.later(time.Second)
			f.sts.err = tc.err
			f.reconcile()
			f.Expect(f.level().Rate).To(BeNumerically("~", tc.want, 0.05))
		})
		t.Run(name+", to the identity itself", func(t *testing.T) {
			f := newFixture(t, world()...)
			f.budget.Throttled(start, start, budget.Key(defaultKey))
			f.later(time.Second)
			f.sts.callerErr = tc.err
			f.verify()
			f.Expect(f.level().Rate).To(BeNumerically("~", tc.want, 0.05))
		})
	}
}

func TestABudgetEndsWithItsIdentity(t *testing.T) {
	f := newFixture(t, world()...)
	f.verify()
	f.Expect(f.budget.Levels(start)).To(HaveLen(1))
	f.Expect(f.client.Delete(t.Context(), f.identity())).To(Succeed())
	_, err := f.identities.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(defaultIdentity())})
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(f.budget.Levels(start)).To(BeEmpty())
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

func TestACallOfAHopIsCountedWhereItIsMade(t *testing.T) {
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
	hops := account{defaultKey, f.budget, metrics, f.clock}
	hops.HopCalled(v1alpha1.CallAssumeRole, v1alpha1.ReasonAccessDenied)
	hops.Spend()
	f.Expect(callsCounted(t, registry)).To(Equal(map[string]float64{"ClusterIdentity AssumeRole AccessDenied": 1}))
	f.Expect(f.level().Tokens).To(BeEquivalentTo(DefaultSTSQPS - 3))
}

// wakes collects whom the fixture's credentials wake.
func (f *fixture) wakes() *[]string {
	woken := &[]string{}
	f.credentials.Wakers.by[roleCredential.Name] = func(name types.NamespacedName) {
		f.credentials.attempts.wake(name)
		*woken = append(*woken, name.Name)
	}
	return woken
}

func TestTheEndOfAnOutageIsFoundByOneForAll(t *testing.T) {
	other := changed(reader(), func(c *v1alpha1.RoleCredential) { c.Name, c.UID = "other", "other-uid" })
	visit := func(f *fixture) reconcile.Result {
		result, err := f.credentials.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(other)})
		f.Expect(err).NotTo(HaveOccurred())
		return result
	}
	for name, fail := range map[string]func(*fixture){
		"of STS":                       func(f *fixture) { f.sts.err = errors.New("connection refused") },
		"of the identity's own rights": func(f *fixture) { f.sts.err = answers("AccessDenied") },
		"of the API server's own rules": func(f *fixture) {
			f.requests.fail = func(_ string, object client.Object) error {
				if _, isSecret := object.(*corev1.Secret); isSecret {
					return apierrors.NewForbidden(corev1.Resource("secrets"), object.GetName(), errors.New("RBAC is not there yet"))
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, world(other)...)
			woken := f.wakes()
			fail(f)
			visit(f)
			_, result := f.reconcile()
			for range 5 { // both wait for longer and longer
				f.later(result.RequeueAfter + time.Minute)
				visit(f)
				f.later(2 * time.Second)
				_, result = f.reconcile()
			}
			f.Expect(*woken).To(BeEmpty())
			asked := len(f.sts.issued)
			visit(f)
			f.Expect(f.sts.issued).To(HaveLen(asked), "it waits")

			f.sts.err, f.requests.fail = nil, nil
			f.later(result.RequeueAfter)
			got, _ := f.reconcile()
			f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
			f.Expect(*woken).To(Equal([]string{"other"}))
			asked = len(f.sts.issued)
			visit(f)
			f.Expect(f.sts.issued).To(HaveLen(asked+1), "it waits no longer")
			visit(f)
			f.Expect(*woken).To(HaveLen(1), "and wakes nobody who is well")
		})
	}
}

func TestThoseOfAnIdentityThatAreRefusedTakeTurns(t *testing.T) {
	other := changed(reader(), func(c *v1alpha1.RoleCredential) { c.Name, c.UID = "other", "other-uid" })
	f := newFixture(t, world(other)...)
	f.sts.err = answers("AccessDenied")
	visit := func() reconcile.Result {
		result, err := f.credentials.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(other)})
		f.Expect(err).NotTo(HaveOccurred())
		return result
	}
	visit()
	f.reconcile()
	f.later(time.Minute)
	f.reconcile()
	f.requests.writes = nil
	result := visit()
	f.Expect(f.sts.issued).To(HaveLen(3), "both, and one of them again")
	f.Expect(f.requests.writes).To(BeEmpty())
	f.Expect(result.RequeueAfter).To(BeNumerically("~", 2*time.Second, 10*time.Millisecond))
	f.later(result.RequeueAfter)
	visit()
	f.Expect(f.sts.issued).To(HaveLen(4))
}
