package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/program"
)

func TestDispatchNamesWhatTheMachineLacks(t *testing.T) {
	g := NewWithT(t)
	for _, variable := range []string{"KUBEBUILDER_ASSETS", "NODE_ASSETS", "SEAWEEDFS", "HELM", "E2E_IMAGES", "E2E_CHART"} {
		t.Setenv(variable, "")
	}
	status, err := dispatch(t.Context(), nil)
	g.Expect(status).To(Equal(program.CannotRun))
	g.Expect(err).To(And(MatchError(errCannotRun), MatchError(ContainSubstring("`make e2e` sets the variables"))))

	if os.Geteuid() == 0 {
		t.Setenv("PATH", t.TempDir())
	}
	status, err = dispatch(t.Context(), []string{roleCheck})
	g.Expect(status).To(Equal(program.CannotRun))
	g.Expect(err).To(And(MatchError(errCannotRun), MatchError(Or(ContainSubstring("as root"), ContainSubstring("apt-get install containerd")))))
}

func TestLockWaitsForAnotherRun(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	g.Expect(err).NotTo(HaveOccurred())
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	_, err = lock(interrupted, path)
	g.Expect(err).To(MatchError(ContainSubstring("stopped waiting")))
	unlock()
	unlock, err = lock(interrupted, path)
	g.Expect(err).NotTo(HaveOccurred())
	unlock()
}

func TestCreateFoldersCreatesOnlyMissingOnes(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.Mkdir(filepath.Join(dir, "there"), 0o755)).To(Succeed())
	created, err := createFolders([]string{filepath.Join(dir, "there"), filepath.Join(dir, "there", "a", "b")})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(created).To(Equal([]string{filepath.Join(dir, "there", "a"), filepath.Join(dir, "there", "a", "b")}))
}

func TestSummaryHasALineForEachScenario(t *testing.T) {
	g := NewWithT(t)
	all := results{
		{scenario: scenario{name: "it starts"}, result: "3 Pods", took: 1234 * time.Millisecond},
		{scenario: scenario{name: "it stops"}, result: "it keeps running", took: time.Minute, err: errors.New("it keeps running")},
	}
	var out bytes.Buffer
	printSummary(&out, all)
	g.Expect(out.String()).To(Equal("\n      SCENARIO   TOOK  RESULT\nPASS  it starts  1.2s  3 Pods\nFAIL  it stops   1m0s  it keeps running\n"))
	g.Expect(all.failed()).To(BeTrue())
	g.Expect(all[:1].failed()).To(BeFalse())
}
