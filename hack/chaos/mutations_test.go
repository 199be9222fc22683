package main

import (
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/chaos/observer"
)

func TestEachInvariantHasAMutationThatAppliesAndCompiles(t *testing.T) {
	g := NewWithT(t)
	mutations, err := readMutations("mutations")
	g.Expect(err).NotTo(HaveOccurred())
	broken := map[observer.Invariant]bool{}
	for _, m := range mutations {
		t.Run(m.Name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(observer.Invariants).To(ContainElement(observer.Invariant(m.invariant)))
			faultsOf, err := regexp.Compile(m.faults)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(slices.ContainsFunc(faults, func(f *fault) bool { return faultsOf.MatchString(f.name) })).To(BeTrue(), "a fault is named %q", m.faults)
			_, err = time.ParseDuration(m.time)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(m.Compile(t.Context(), filepath.Join("..", ".."), t.TempDir())).To(Succeed())
		})
		broken[observer.Invariant(m.invariant)] = true
	}
	for _, invariant := range observer.Invariants {
		g.Expect(broken).To(HaveKey(invariant))
	}
}
