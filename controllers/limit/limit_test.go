package limit_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/request"
)

var (
	start    = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)
	operator = request.Key{Kind: "ClusterIdentity", NamespacedName: types.NamespacedName{Name: "default"}}
)

func credential(namespace string, n int) request.Key {
	return request.Key{Kind: "RoleCredential", NamespacedName: types.NamespacedName{Namespace: namespace, Name: fmt.Sprint("reader-", n)}}
}

func callFor(credential request.Key, class limit.Class) limit.Request {
	return limit.Request{Identity: operator, Credential: credential, Class: class}
}

// fill queues requests behind a used-up rate limit, and returns the limiter and the time.
func fill(g *WithT, qps int, requests ...limit.Request) *limit.Limiter {
	l := &limit.Limiter{DefaultQPS: qps, Slots: 1000}
	for i := range qps {
		r := callFor(credential("used", i), limit.Routine)
		permit, _ := l.Acquire(start, r)
		g.Expect(permit).NotTo(BeNil())
		l.Release(start, permit, limit.Answered)
	}
	for _, r := range requests {
		permit, _ := l.Acquire(start, r)
		g.Expect(permit).To(BeNil())
	}
	return l
}

// serve returns the credentials in the order in which calls are reserved for them, up to a time.
func serve(l *limit.Limiter, until time.Duration) (order []string) {
	for now := start; !now.After(start.Add(until)); now = now.Add(100 * time.Millisecond) {
		ready, _ := l.Ready(now)
		for _, key := range ready {
			order = append(order, key.Label())
			permit, _ := l.Acquire(now, callFor(key, limit.Routine))
			l.Release(now, permit, limit.Answered)
		}
	}
	return order
}

func TestQueueServesClassesInOrderAndNamespacesInTurn(t *testing.T) {
	requests := func(class limit.Class, namespace string, numbers ...int) (all []limit.Request) {
		for _, n := range numbers {
			all = append(all, callFor(credential(namespace, n), class))
		}
		return all
	}
	join := func(parts ...[]limit.Request) (all []limit.Request) {
		for _, part := range parts {
			all = append(all, part...)
		}
		return all
	}
	for name, tc := range map[string]struct {
		queued []limit.Request
		want   []string
	}{
		"one namespace is served in the order of its requests": {
			queued: requests(limit.Missing, "shop", 2, 1, 3),
			want:   []string{"shop/reader-2", "shop/reader-1", "shop/reader-3"},
		},
		"a namespace with many requests delays another by one call": {
			queued: join(requests(limit.Missing, "busy", 1, 2, 3, 4), requests(limit.Missing, "shop", 1, 2)),
			want:   []string{"busy/reader-1", "shop/reader-1", "busy/reader-2", "shop/reader-2", "busy/reader-3", "busy/reader-4"},
		},
		"expiring credentials go first, then missing ones": {
			queued: join(requests(limit.Routine, "shop", 1), requests(limit.Missing, "shop", 2), requests(limit.Expiring, "shop", 3)),
			want:   []string{"shop/reader-3", "shop/reader-2", "shop/reader-1"},
		},
		"expiring credentials of one namespace take at most half of the calls": {
			queued: join(requests(limit.Expiring, "greedy", 1, 2, 3, 4), requests(limit.Missing, "shop", 1), requests(limit.Routine, "calm", 1)),
			want:   []string{"greedy/reader-1", "shop/reader-1", "greedy/reader-2", "calm/reader-1", "greedy/reader-3", "greedy/reader-4"},
		},
		"expiring credentials of one namespace delay those of another by one call": {
			queued: join(requests(limit.Expiring, "greedy", 1, 2, 3), requests(limit.Expiring, "shop", 1, 2)),
			want:   []string{"greedy/reader-1", "shop/reader-1", "greedy/reader-2", "shop/reader-2", "greedy/reader-3"},
		},
		"a request whose class changes moves to that class": {
			queued: join(requests(limit.Routine, "shop", 1), requests(limit.Missing, "shop", 2), requests(limit.Expiring, "shop", 1)),
			want:   []string{"shop/reader-1", "shop/reader-2"},
		},
		"a request that is repeated keeps its position": {
			queued: requests(limit.Missing, "shop", 1, 2, 1),
			want:   []string{"shop/reader-1", "shop/reader-2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			l := fill(g, 1, tc.queued...)
			g.Expect(serve(l, 10*time.Second)).To(Equal(tc.want))
		})
	}
}

func TestWaitNamesItsCause(t *testing.T) {
	g := NewWithT(t)
	l := &limit.Limiter{DefaultQPS: 10, Slots: 4}
	var permits []*limit.Permit
	for i := range 3 {
		permit, _ := l.Acquire(start, callFor(credential("shop", i), limit.Missing))
		g.Expect(permit).NotTo(BeNil())
		permits = append(permits, permit)
	}
	permit, wait := l.Acquire(start, callFor(credential("shop", 3), limit.Missing))
	g.Expect(permit).To(BeNil())
	g.Expect(wait.Cause).To(Equal(limit.ConcurrencyLimit), "one identity holds three quarters of the slots")

	l.Release(start, permits[0], limit.Unavailable)
	_, wait = l.Acquire(start, callFor(credential("shop", 3), limit.Missing))
	g.Expect(wait).To(Equal(limit.Wait{Cause: limit.CircuitOpen, For: 3 * time.Second}))

	l.Release(start, permits[1], limit.Answered)
	for range 8 {
		l.Spend(start, operator)
	}
	_, wait = l.Acquire(start, callFor(credential("shop", 4), limit.Missing))
	g.Expect(wait.Cause).To(Equal(limit.RateLimit))
	g.Expect(wait.For).To(BeNumerically("~", 400*time.Millisecond, 110*time.Millisecond))
}

func TestHangingCallsLeaveSlotsForOthers(t *testing.T) {
	own := func(namespace string, i int) request.Key {
		return request.Key{Kind: "Identity", NamespacedName: types.NamespacedName{Namespace: namespace, Name: fmt.Sprint("own-", i)}}
	}
	const slots = 48
	for name, tc := range map[string]struct {
		hanging func(i int) limit.Request
		want    int // the slots that the hanging calls use
		others  []limit.Request
	}{
		"the calls of one ClusterIdentity hang": {
			hanging: func(i int) limit.Request { return callFor(credential(fmt.Sprint("namespace-", i), i), limit.Missing) },
			want:    36,
			others: []limit.Request{
				{Identity: request.Key{Kind: "ClusterIdentity", NamespacedName: types.NamespacedName{Name: "other"}}, Credential: credential("calm", 1)},
				{Identity: own("calm", 1), Credential: credential("calm", 2)},
			},
		},
		"the calls of four Identities of one namespace hang": {
			hanging: func(i int) limit.Request {
				return limit.Request{Identity: own("shop", i%4), Credential: credential("shop", i)}
			},
			want: 12,
			others: []limit.Request{
				{Identity: own("calm", 1), Credential: credential("calm", 1)},
				callFor(credential("calm", 2), limit.Missing),
				callFor(credential("shop", 1000), limit.Missing),
			},
		},
		"the calls of the Identities of many namespaces hang": {
			hanging: func(i int) limit.Request {
				namespace := fmt.Sprint("namespace-", i%10)
				return limit.Request{Identity: own(namespace, i%5), Credential: credential(namespace, i)}
			},
			want:   24,
			others: []limit.Request{callFor(credential("calm", 1), limit.Missing)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			l := &limit.Limiter{DefaultQPS: 1000, Slots: slots}
			var hanging []*limit.Permit
			for i := range 200 {
				if permit, _ := l.Acquire(start, tc.hanging(i)); permit != nil {
					hanging = append(hanging, permit)
				}
			}
			g.Expect(hanging).To(HaveLen(tc.want))
			for _, other := range tc.others {
				permit, _ := l.Acquire(start, other)
				g.Expect(permit).NotTo(BeNil(), "of %s", other.Identity)
			}

			ready, _ := l.Ready(start)
			g.Expect(ready).To(BeEmpty())
			l.Release(start, hanging[0], limit.Answered)
			ready, _ = l.Ready(start)
			g.Expect(ready).To(HaveLen(1), "one of the credentials that wait for the slot")
		})
	}
}

func TestCircuitBreakerAllowsOneProbeAtATime(t *testing.T) {
	g := NewWithT(t)
	l := &limit.Limiter{DefaultQPS: 100, Slots: 100}
	first, _ := l.Acquire(start, callFor(credential("shop", 0), limit.Missing))
	g.Expect(l.Release(start, first, limit.Unavailable)).To(BeFalse(), "the credential retries by itself, for the failure may be its own")
	for i := 1; i <= 50; i++ {
		permit, wait := l.Acquire(start, callFor(credential("shop", i), limit.Missing))
		g.Expect(permit).To(BeNil())
		g.Expect(wait.Cause).To(Equal(limit.CircuitOpen))
	}
	ready, next := l.Ready(start)
	g.Expect(ready).To(BeEmpty())
	g.Expect(next).To(Equal(start.Add(3 * time.Second)))

	ready, _ = l.Ready(next)
	g.Expect(ready).To(Equal([]request.Key{credential("shop", 1)}))
	probe, _ := l.Acquire(next, callFor(ready[0], limit.Missing))
	ready, _ = l.Ready(next.Add(time.Minute))
	g.Expect(ready).To(BeEmpty(), "the probe is in flight")

	g.Expect(l.Release(next, probe, limit.Unavailable)).To(BeTrue(), "a failed probe is not a failure of the credential")
	ready, _ = l.Ready(next.Add(3 * time.Second))
	g.Expect(ready).To(Equal([]request.Key{credential("shop", 2)}))
	now := next.Add(3 * time.Second)
	probe, _ = l.Acquire(now, callFor(ready[0], limit.Missing))
	l.Release(now, probe, limit.Answered)
	ready, _ = l.Ready(now)
	g.Expect(ready).To(HaveLen(49), "all others, as far as the rate allows")
}

func TestProbeThatHangsDelaysNoCallOnceAnotherCallIsAnswered(t *testing.T) {
	g := NewWithT(t)
	l := &limit.Limiter{DefaultQPS: 2, Slots: 10}
	failing, _ := l.Acquire(start, callFor(credential("shop", 1), limit.Missing))
	slow, _ := l.Acquire(start, callFor(credential("shop", 2), limit.Missing))
	l.Release(start, failing, limit.Unavailable)
	now := start.Add(3 * time.Second)
	probe, _ := l.Acquire(now, callFor(credential("shop", 3), limit.Missing))
	g.Expect(probe).NotTo(BeNil())
	l.Spend(now, operator)
	l.Release(now, slow, limit.Answered)

	permit, wait := l.Acquire(now, callFor(credential("shop", 4), limit.Missing))
	g.Expect(permit).To(BeNil())
	g.Expect(wait.Cause).To(Equal(limit.RateLimit))
	_, next := l.Ready(now)
	g.Expect(next).To(BeTemporally("~", now.Add(time.Second/2), 2*time.Millisecond), "when the next token comes, and not when the probe ends")
	ready, _ := l.Ready(next)
	g.Expect(ready).To(Equal([]request.Key{credential("shop", 4)}))
}

func TestProbeThatIsNotMadeIsReplaced(t *testing.T) {
	g := NewWithT(t)
	l := &limit.Limiter{DefaultQPS: 1, Slots: 10}
	permit, _ := l.Acquire(start, callFor(credential("shop", 1), limit.Missing))
	l.Release(start, permit, limit.Unavailable)
	l.Acquire(start, callFor(credential("shop", 1), limit.Missing))
	l.Acquire(start, callFor(credential("shop", 2), limit.Missing))
	now := start.Add(3 * time.Second)
	ready, next := l.Ready(now)
	g.Expect(ready).To(Equal([]request.Key{credential("shop", 1)}))
	g.Expect(next).To(Equal(now.Add(5 * time.Second)))

	now = next
	ready, _ = l.Ready(now)
	g.Expect(ready).To(Equal([]request.Key{credential("shop", 2)}), "the first did not claim its call")
	permit, _ = l.Acquire(now, callFor(credential("shop", 2), limit.Missing))
	l.Release(now, permit, limit.NotCalled)
	permit, _ = l.Acquire(now, callFor(credential("shop", 3), limit.Missing))
	g.Expect(permit).NotTo(BeNil(), "neither the token nor the probe was used up")
}

func TestThrottlingHalvesTheRateAndSuccessRestoresIt(t *testing.T) {
	g := NewWithT(t)
	l := &limit.Limiter{DefaultQPS: 100, Slots: 1000}
	permit, _ := l.Acquire(start, callFor(credential("shop", 1), limit.Missing))
	late, _ := l.Acquire(start, callFor(credential("shop", 2), limit.Missing))
	l.Release(start.Add(time.Second), permit, limit.Throttled)
	l.Release(start.Add(time.Second), late, limit.Throttled)
	level := l.Levels(start.Add(time.Second))[0]
	g.Expect(level.Rate).To(BeEquivalentTo(50), "a call that started before the rate was halved does not halve it again")
	g.Expect(level.Throttled).To(Equal(2))
	g.Expect(level.Tokens).To(BeNumerically("<", 1))
	g.Expect(level.Waiting).To(Equal(map[limit.Class]int{limit.Missing: 2}))

	now := start.Add(time.Minute)
	l.Cancel(now, credential("shop", 2))
	for range 3 {
		permit, _ = l.Acquire(now, callFor(credential("shop", 1), limit.Missing))
		l.Release(now, permit, limit.Answered)
	}
	g.Expect(l.Levels(now)[0].Rate).To(BeEquivalentTo(100))
}

func TestIdentityOfANamespaceCannotExceedTheDefaultRate(t *testing.T) {
	for name, tc := range map[string]struct {
		namespace string
		qps, want int
	}{
		"an identity of a namespace that asks for more": {"shop", 500, 100},
		"an identity of a namespace that asks for less": {"shop", 5, 5},
		"an identity of the cluster that asks for more": {"", 500, 500},
		"an identity that asks for nothing":             {"", 0, 100},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			l := &limit.Limiter{DefaultQPS: 100, Slots: 10}
			key := request.Key{Kind: "Identity", NamespacedName: types.NamespacedName{Namespace: tc.namespace, Name: "own"}}
			l.Acquire(start, limit.Request{Identity: key, Credential: credential("shop", 1), QPS: tc.qps})
			g.Expect(l.Levels(start)[0].Limit).To(BeEquivalentTo(tc.want))
		})
	}
}

func TestCancelledCredentialIsNotServed(t *testing.T) {
	g := NewWithT(t)
	l := fill(g, 1, callFor(credential("shop", 1), limit.Missing), callFor(credential("shop", 2), limit.Missing))
	l.Cancel(start, credential("shop", 1))
	g.Expect(serve(l, 5*time.Second)).To(Equal([]string{"shop/reader-2"}))
}

func TestCredentialThatChangesItsIdentityWaitsForTheNewOneOnly(t *testing.T) {
	g := NewWithT(t)
	l := fill(g, 1, callFor(credential("shop", 1), limit.Missing))
	other := request.Key{Kind: "ClusterIdentity", NamespacedName: types.NamespacedName{Name: "other"}}
	permit, _ := l.Acquire(start, limit.Request{Identity: other, Credential: credential("shop", 1)})
	g.Expect(permit).NotTo(BeNil())
	g.Expect(serve(l, 5*time.Second)).To(BeEmpty())
}

func TestCallOfADeletedIdentityLeavesNoEntry(t *testing.T) {
	for name, end := range map[string]func(*limit.Limiter, *limit.Permit){
		"its failure opens no circuit":  func(l *limit.Limiter, permit *limit.Permit) { l.Release(start, permit, limit.Unavailable) },
		"its throttling queues nothing": func(l *limit.Limiter, permit *limit.Permit) { l.Release(start, permit, limit.Throttled) },
		"its answer":                    func(l *limit.Limiter, permit *limit.Permit) { l.Release(start, permit, limit.Answered) },
		"the call of a hop": func(l *limit.Limiter, permit *limit.Permit) {
			l.Spend(start, operator)
			l.Release(start, permit, limit.Answered)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			l := &limit.Limiter{DefaultQPS: 100, Slots: 4}
			var permits []*limit.Permit
			for i := range 3 {
				permit, _ := l.Acquire(start, callFor(credential("shop", i), limit.Missing))
				permits = append(permits, permit)
			}
			denied, _ := l.Acquire(start, callFor(credential("shop", 3), limit.Missing))
			g.Expect(denied).To(BeNil())
			l.Forget(start, operator)
			for _, permit := range permits {
				end(l, permit)
			}
			g.Expect(l.Levels(start)).To(BeEmpty())
			ready, next := l.Ready(start)
			g.Expect(ready).To(BeEmpty())
			g.Expect(next).To(BeZero())
			for i := range 3 {
				permit, _ := l.Acquire(start, callFor(credential("shop", 9+i), limit.Missing))
				g.Expect(permit).NotTo(BeNil(), "the slots are free again, and the circuit of the new identity is closed")
			}
		})
	}
}

// TestEveryRequestIsServedWithinTheLimits draws requests, outcomes and cancellations, and checks after each step that no limit is exceeded.
// At the end, every request that still waits is served.
func TestEveryRequestIsServedWithinTheLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		qps, slots := rapid.IntRange(1, 5).Draw(t, "qps"), rapid.IntRange(1, 4).Draw(t, "slots")
		l := &limit.Limiter{DefaultQPS: qps, Slots: slots}
		now, waiting, inFlight := start, map[request.Key]bool{}, map[request.Key]*limit.Permit{}
		var granted []time.Time
		acquire := func(key request.Key, class limit.Class) {
			if inFlight[key] != nil {
				return
			}
			permit, _ := l.Acquire(now, callFor(key, class))
			waiting[key] = permit == nil
			if permit != nil {
				granted = append(granted, now)
				inFlight[key] = permit
			}
			if len(inFlight) > slots {
				t.Fatalf("%d calls in flight, with %d slots", len(inFlight), slots)
			}
		}
		pass := func(by time.Duration) {
			now = now.Add(by)
			ready, _ := l.Ready(now)
			for _, key := range ready {
				if !waiting[key] {
					t.Fatalf("a call is reserved for %v, which does not wait", key)
				}
				acquire(key, limit.Missing)
				if inFlight[key] == nil {
					t.Fatalf("the call reserved for %v is gone", key)
				}
			}
		}
		release := func(key request.Key, outcome limit.Outcome) {
			permit := inFlight[key]
			delete(inFlight, key)
			waiting[key] = l.Release(now, permit, outcome)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			key := credential(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "namespace"), rapid.IntRange(0, 5).Draw(t, "number"))
			switch rapid.IntRange(0, 3).Draw(t, "pass") {
			case 0:
				acquire(key, limit.Class(rapid.IntRange(0, 2).Draw(t, "class")))
			case 1:
				if inFlight[key] != nil {
					release(key, limit.Outcome(rapid.IntRange(0, 2).Draw(t, "outcome")))
				}
			case 2:
				l.Cancel(now, key)
				waiting[key] = false
			case 3:
				pass(time.Duration(rapid.IntRange(0, 4000).Draw(t, "milliseconds")) * time.Millisecond)
			}
		}
		for i, at := range granted { // the rate holds over every window
			for j := i; j < len(granted); j++ {
				if most := float64(qps)*granted[j].Sub(at).Seconds() + float64(qps) + 0.01; float64(j-i+1) > most {
					t.Fatalf("%d calls within %s at %d per second", j-i+1, granted[j].Sub(at), qps)
				}
			}
		}
		for range 400 {
			for key := range inFlight {
				release(key, limit.Answered)
			}
			pass(500 * time.Millisecond)
		}
		for key, waits := range waiting {
			if waits && inFlight[key] == nil {
				t.Fatalf("%v was never served", key)
			}
		}
	})
}

func TestNewVersionOfAnIdentityClosesItsCircuit(t *testing.T) {
	g := NewWithT(t)
	l := &limit.Limiter{DefaultQPS: 100, Slots: 10}
	r := callFor(credential("shop", 1), limit.Missing)
	permit, _ := l.Acquire(start, r)
	l.Release(start, permit, limit.Unavailable)
	permit, _ = l.Acquire(start, r)
	g.Expect(permit).To(BeNil())
	r.Version = "another key"
	permit, _ = l.Acquire(start, r)
	g.Expect(permit).NotTo(BeNil())
}

func TestReadyReturnsWhenTheNextCallCanBeMade(t *testing.T) {
	g := NewWithT(t)
	l := fill(g, 2, callFor(credential("shop", 1), limit.Missing))
	ready, next := l.Ready(start)
	g.Expect(ready).To(BeEmpty())
	g.Expect(next.Sub(start)).To(BeNumerically("~", 500*time.Millisecond, 2*time.Millisecond))
	ready, _ = l.Ready(next)
	g.Expect(ready).To(HaveLen(1))
	_, next = (&limit.Limiter{}).Ready(start)
	g.Expect(next).To(BeZero())
}
