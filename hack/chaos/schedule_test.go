package main

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func scheduled(t *testing.T, seed uint64, total time.Duration) []occurrence {
	t.Helper()
	plan, err := schedule(random(seed, 0), total, faults)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return plan
}

func TestSameSeedGivesSameSchedule(t *testing.T) {
	g := NewWithT(t)
	one := scheduled(t, 7, 10*time.Minute)
	g.Expect(scheduled(t, 7, 10*time.Minute)).To(Equal(one))
	g.Expect(scheduled(t, 8, 10*time.Minute)).NotTo(Equal(one))
}

func TestSameSeedGivesSameWorkload(t *testing.T) {
	g := NewWithT(t)
	one := newWorkload(random(7, 0), 500)
	g.Expect(newWorkload(random(7, 0), 500)).To(Equal(one))
	g.Expect(newWorkload(random(8, 0), 500)).NotTo(Equal(one))
	kinds, namespaces, identities := map[string]int{}, map[string]int{}, map[string]int{}
	for _, c := range one.credentials {
		kinds[c.Kind]++
		namespaces[c.Namespace]++
		identities[c.Identity]++
	}
	g.Expect(kinds).To(HaveLen(3))
	g.Expect(namespaces).To(HaveLen(8))
	g.Expect(identities).To(HaveLen(7))
}

func TestEveryFaultComesWithinTenMinutes(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint("with seed ", seed), func(t *testing.T) {
			g := NewWithT(t)
			came := map[string]bool{}
			for _, o := range scheduled(t, seed, 10*time.Minute) {
				came[o.fault.name] = true
			}
			for _, f := range faults {
				g.Expect(came).To(HaveKey(f.name))
			}
		})
	}
}

func TestFaultsStayWithinTheirBursts(t *testing.T) {
	for name, total := range map[string]time.Duration{"a minute": time.Minute, "a minute and a half": 90 * time.Second, "ten minutes": 10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			plan := scheduled(t, 1, total)
			bursts := plan[len(plan)-1].burst + 1
			for i, o := range plan {
				start := time.Duration(o.burst) * max(period, total/time.Duration(bursts))
				g.Expect(o.at).To(BeNumerically(">=", start))
				g.Expect(o.at + o.lasts).To(BeNumerically("<=", start+burst))
				g.Expect(o.at + o.lasts).To(BeNumerically("<=", total))
				g.Expect(o.lasts).To(BeNumerically(">", 0))
				if i > 0 {
					g.Expect(o.at).To(BeNumerically(">=", plan[i-1].at), "in order of time")
				}
				if o.fault.kills {
					g.Expect(o.burst).To(BeNumerically("<", (bursts+1)/2), "leaks have time to show")
				}
			}
		})
	}
}

func TestScheduleRequiresFaults(t *testing.T) {
	_, err := schedule(random(1, 0), time.Minute, nil)
	NewWithT(t).Expect(err).To(MatchError("there are no faults to choose from"))
}
