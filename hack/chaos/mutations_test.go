package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/chaos/observer"
)

func TestEachInvariantHasAMutationThatFitsTheOperator(t *testing.T) {
	g := NewWithT(t)
	mutations, err := readMutations("mutations")
	g.Expect(err).NotTo(HaveOccurred())
	shown := map[observer.Invariant]bool{}
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(observer.Invariants).To(ContainElement(observer.Invariant(m.invariant)))
			faultsOf, err := regexp.Compile(m.faults)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(slices.ContainsFunc(faults, func(f *fault) bool { return faultsOf.MatchString(f.name) })).To(BeTrue(), "a fault is named %q", m.faults)
			_, err = time.ParseDuration(m.time)
			g.Expect(err).NotTo(HaveOccurred())
			path, err := filepath.Abs(m.path)
			g.Expect(err).NotTo(HaveOccurred())
			fits := exec.CommandContext(t.Context(), "git", "apply", "--check", path)
			fits.Dir = filepath.Join("..", "..")
			said, err := fits.CombinedOutput()
			g.Expect(err).NotTo(HaveOccurred(), string(said))
		})
		shown[observer.Invariant(m.invariant)] = true
	}
	for _, invariant := range observer.Invariants {
		g.Expect(shown).To(HaveKey(invariant))
	}
}
