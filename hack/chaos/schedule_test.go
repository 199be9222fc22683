package main

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func drawn(t *testing.T, seed uint64, total time.Duration) []occurrence {
	t.Helper()
	plan, err := schedule(random(seed, 0), total, faults)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return plan
}

func TestASeedMakesTheSameScheduleEachTime(t *testing.T) {
	g := NewWithT(t)
	one := drawn(t, 7, 10*time.Minute)
	g.Expect(drawn(t, 7, 10*time.Minute)).To(Equal(one))
	g.Expect(drawn(t, 8, 10*time.Minute)).NotTo(Equal(one))
}

func TestASeedMakesTheSameWorldEachTime(t *testing.T) {
	g := NewWithT(t)
	one := newWorld(random(7, 0), 500)
	g.Expect(newWorld(random(7, 0), 500)).To(Equal(one))
	g.Expect(newWorld(random(8, 0), 500)).NotTo(Equal(one))
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

func TestEveryFaultComesInTenMinutes(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint("with seed ", seed), func(t *testing.T) {
			g := NewWithT(t)
			came := map[string]bool{}
			for _, o := range drawn(t, seed, 10*time.Minute) {
				came[o.fault.name] = true
			}
			for _, f := range faults {
				g.Expect(came).To(HaveKey(f.name))
			}
		})
	}
}

func TestFaultsKeepToTheirStorms(t *testing.T) {
	for name, total := range map[string]time.Duration{"a minute": time.Minute, "a minute and a half": 90 * time.Second, "ten minutes": 10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			plan := drawn(t, 1, total)
			storms := plan[len(plan)-1].storm + 1
			for i, o := range plan {
				start := time.Duration(o.storm) * max(period, total/time.Duration(storms))
				g.Expect(o.at).To(BeNumerically(">=", start))
				g.Expect(o.at + o.lasts).To(BeNumerically("<=", start+storm))
				g.Expect(o.at + o.lasts).To(BeNumerically("<=", total))
				g.Expect(o.lasts).To(BeNumerically(">", 0))
				if i > 0 {
					g.Expect(o.at).To(BeNumerically(">=", plan[i-1].at), "in order of time")
				}
				if o.fault.kills {
					g.Expect(o.storm).To(BeNumerically("<", (storms+1)/2), "what leaks has time to show")
				}
			}
		})
	}
}

func TestAScheduleNeedsFaults(t *testing.T) {
	_, err := schedule(random(1, 0), time.Minute, nil)
	NewWithT(t).Expect(err).To(MatchError("there are no faults to choose from"))
}
