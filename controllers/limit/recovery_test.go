package limit

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/controllers/request"
)

var outage = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)

// recovered lets the calls of an identity fail while a number of credentials wait for it, then lets them succeed. It returns the limiter once
// all credentials are served, and the time that this takes at the rate limit.
func recovered(credentials int) (*Limiter, time.Duration) {
	l, now := &Limiter{DefaultQPS: 100, Slots: 12}, outage
	identity := request.Key{Kind: "ClusterIdentity", NamespacedName: types.NamespacedName{Name: "default"}}
	requests := make(map[request.Key]Request, credentials)
	for i := range credentials {
		namespace := fmt.Sprint("namespace-", i%10)
		key := request.Key{Kind: "RoleCredential", NamespacedName: types.NamespacedName{Namespace: namespace, Name: fmt.Sprint("reader-", i)}}
		requests[key] = Request{Identity: identity, Credential: key, Class: Class(i % int(classes))}
		if permit, _ := l.Acquire(now, requests[key]); permit != nil {
			l.Release(now, permit, Unavailable)
			l.Acquire(now, requests[key])
		}
	}
	for served := 0; served < credentials; {
		ready, next := l.Ready(now)
		for _, key := range ready {
			permit, _ := l.Acquire(now, requests[key])
			l.Release(now, permit, Answered)
			served++
		}
		if len(ready) == 0 {
			now = next
		}
	}
	return l, now.Sub(outage)
}

func TestRecoveryOfManyCredentialsTakesAFewStepsForEach(t *testing.T) {
	g := NewWithT(t)
	for _, credentials := range []int{100, 1_000, 10_000} {
		l, took := recovered(credentials)
		g.Expect(l.steps).To(BeNumerically("<", 6*credentials+100), "%d credentials", credentials)
		g.Expect(took).To(BeNumerically("~", probeInterval+time.Duration(credentials-100)*10*time.Millisecond, 2*time.Second))
		g.Expect(l.waiting).To(BeEmpty())
		g.Expect(l.shares).To(BeEmpty(), "shares without calls take no memory")
	}
}

func TestCallsOfOneIdentityConsiderNoRequestsOfOthers(t *testing.T) {
	g := NewWithT(t)
	steps := func(others int) int {
		l := &Limiter{DefaultQPS: 1, Slots: 1000}
		call := func(identity, name string) *Permit {
			key := request.Key{Kind: "ClusterIdentity", NamespacedName: types.NamespacedName{Name: identity}}
			granted, _ := l.Acquire(outage, Request{Identity: key, Credential: request.Key{NamespacedName: types.NamespacedName{Namespace: identity, Name: name}}})
			return granted
		}
		for i := range others {
			l.Release(outage, call(fmt.Sprint("other-", i), "first"), Answered)
			g.Expect(call(fmt.Sprint("other-", i), "second")).To(BeNil())
		}
		l.Ready(outage)
		granted := call("default", "first")
		before := l.steps
		l.Release(outage, granted, Answered)
		l.Ready(outage)
		return l.steps - before
	}
	g.Expect(steps(1000)).To(Equal(steps(0)))
}

// BenchmarkReady measures Ready while as many identities wait for their rate limit.
func BenchmarkReady(b *testing.B) {
	for _, identities := range []int{100, 10_000} {
		b.Run(fmt.Sprint(identities), func(b *testing.B) {
			l := &Limiter{DefaultQPS: 1, Slots: 48}
			for i := range identities {
				key := request.Key{Kind: "ClusterIdentity", NamespacedName: types.NamespacedName{Name: fmt.Sprint("identity-", i)}}
				for n := range 2 {
					credential := request.Key{NamespacedName: types.NamespacedName{Namespace: key.Name, Name: fmt.Sprint(n)}}
					if permit, _ := l.Acquire(outage, Request{Identity: key, Credential: credential}); permit != nil {
						l.Release(outage, permit, Answered)
					}
				}
			}
			for now := outage; b.Loop(); now = now.Add(10 * time.Millisecond) {
				l.next = now // another identity is due
				l.Ready(now)
			}
		})
	}
}

func BenchmarkRecovery(b *testing.B) {
	for _, credentials := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint(credentials), func(b *testing.B) {
			for b.Loop() {
				recovered(credentials)
			}
		})
	}
}
