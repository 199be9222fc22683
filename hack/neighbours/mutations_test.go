package main

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestEachAttackHasAMutationThatAppliesAndCompiles(t *testing.T) {
	g := NewWithT(t)
	mutations, err := readMutations("mutations")
	g.Expect(err).NotTo(HaveOccurred())
	var attacked, want []string
	for _, a := range attacks {
		want = append(want, a.name)
	}
	for _, m := range mutations {
		t.Run(m.Name, func(t *testing.T) {
			g := NewWithT(t)
			isProblem := func(c check) bool { return c.problem == m.Head["Problem"] }
			g.Expect(slices.ContainsFunc(checks, isProblem)).To(BeTrue(), "a problem is named %q", m.Head["Problem"])
			if text, ok := m.Head["Time"]; ok {
				_, err := time.ParseDuration(text)
				g.Expect(err).NotTo(HaveOccurred())
			}
			g.Expect(m.Compile(t.Context(), filepath.Join("..", ".."), t.TempDir())).To(Succeed())
		})
		attacked = append(attacked, m.Head["Attack"])
	}
	g.Expect(attacked).To(ConsistOf(want))
}

func TestProblemsOfAnAttackExceedItsBounds(t *testing.T) {
	good := func() measurement {
		return measurement{
			most: bounds{growth: 10, cpu: 0.5, calls: 10, hanging: 10, events: 10}, duration: time.Minute, refreshes: 1,
			rest: 100, leader: 110, standby: 105, cpu: 30 * time.Second, calls: 10, hanging: 10, events: 10,
		}
	}
	for problem, change := range map[string]func(*measurement){
		"":                                  func(*measurement) {},
		"the victim was not Ready":          func(m *measurement) { m.notReady = time.Millisecond },
		"the victim was refreshed too late": func(m *measurement) { m.late = maxLate + 1 },
		"the victim was not refreshed":      func(m *measurement) { m.refreshes = 0 },
		"the victim's workload was not restarted": func(m *measurement) { m.mustRestart = true },
		"a manager exceeded the memory limit":     func(m *measurement) { m.rest, m.standby = memoryLimit, memoryLimit+1 },
		"a manager grew too much":                 func(m *measurement) { m.standby = 111 },
		"the managers took too much CPU time":     func(m *measurement) { m.cpu = 31 * time.Second },
		"STS was called too often":                func(m *measurement) { m.calls = 11 },
		"too many calls were in flight":           func(m *measurement) { m.hanging = 11 },
		"too many events were written":            func(m *measurement) { m.events = 11 },
		"a manager ended":                         func(m *measurement) { m.died = []string{"exit status 1"} },
	} {
		t.Run(problem, func(t *testing.T) {
			m := good()
			change(&m)
			var want []string
			if problem != "" {
				want = []string{problem}
			}
			NewWithT(t).Expect(m.problems()).To(Equal(want))
		})
	}
}
