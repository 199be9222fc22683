package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
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
		t.Run(m.name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(observer.Invariants).To(ContainElement(observer.Invariant(m.invariant)))
			faultsOf, err := regexp.Compile(m.faults)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(slices.ContainsFunc(faults, func(f *fault) bool { return faultsOf.MatchString(f.name) })).To(BeTrue(), "a fault is named %q", m.faults)
			_, err = time.ParseDuration(m.time)
			g.Expect(err).NotTo(HaveOccurred())
			m.compile(t)
		})
		broken[observer.Invariant(m.invariant)] = true
	}
	for _, invariant := range observer.Invariants {
		g.Expect(broken).To(HaveKey(invariant))
	}
}

// compile applies the patch to copies of the files that it changes, and compiles the operator with them.
func (m mutation) compile(t *testing.T) {
	g := NewWithT(t)
	patch, err := filepath.Abs(m.path)
	g.Expect(err).NotTo(HaveOccurred())
	tree, err := filepath.Abs(filepath.Join("..", ".."))
	g.Expect(err).NotTo(HaveOccurred())
	copies := t.TempDir()
	run := func(dir, program string, args ...string) string {
		command := exec.CommandContext(t.Context(), program, args...)
		command.Dir = dir
		command.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(copies)) // the copies are in no repository
		output, err := command.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(output))
		return string(output)
	}
	replaced := map[string]string{}
	build := []string{"build", "-overlay", filepath.Join(copies, "overlay.json")}
	for line := range strings.Lines(run(tree, "git", "apply", "--numstat", patch)) {
		file := strings.Fields(line)[2]
		text, err := os.ReadFile(filepath.Join(tree, file))
		g.Expect(err).NotTo(HaveOccurred())
		replaced[filepath.Join(tree, file)] = filepath.Join(copies, file)
		g.Expect(os.MkdirAll(filepath.Join(copies, filepath.Dir(file)), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(copies, file), text, 0o600)).To(Succeed())
		build = append(build, "./"+filepath.Dir(file))
	}
	run(copies, "git", "apply", patch)
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(filepath.Join(copies, "overlay.json"), overlay, 0o600)).To(Succeed())
	run(tree, "go", build...)
}
