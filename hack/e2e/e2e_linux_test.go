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
)

func TestAMachineThatCannotRunItIsToldWhatItLacks(t *testing.T) {
	g := NewWithT(t)
	for _, variable := range []string{"KUBEBUILDER_ASSETS", "NODE_ASSETS", "MINIO", "HELM", "E2E_IMAGES"} {
		t.Setenv(variable, "")
	}
	status, err := dispatch(t.Context(), nil)
	g.Expect(status).To(Equal(exitCannotRun))
	g.Expect(err).To(And(MatchError(errCannotRun), MatchError(ContainSubstring("`make e2e` sets the variables"))))

	if os.Geteuid() == 0 {
		t.Setenv("PATH", t.TempDir())
	}
	status, err = dispatch(t.Context(), []string{roleCheck})
	g.Expect(status).To(Equal(exitCannotRun))
	g.Expect(err).To(And(MatchError(errCannotRun), MatchError(Or(ContainSubstring("as root"), ContainSubstring("apt-get install containerd")))))
}

func TestRunsTakeTurns(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "lock")
	done, err := takeTurn(t.Context(), path)
	g.Expect(err).NotTo(HaveOccurred())
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	_, err = takeTurn(interrupted, path)
	g.Expect(err).To(MatchError(ContainSubstring("interrupted")))
	done()
	done, err = takeTurn(interrupted, path)
	g.Expect(err).NotTo(HaveOccurred())
	done()
}

func TestFoldersAreMadeOnlyWhereTheyAreMissing(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.Mkdir(filepath.Join(dir, "there"), 0o755)).To(Succeed())
	made, err := makeFolders([]string{filepath.Join(dir, "there"), filepath.Join(dir, "there", "a", "b")})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(made).To(Equal([]string{filepath.Join(dir, "there", "a"), filepath.Join(dir, "there", "a", "b")}))
}

func TestWaitingEndsWithTheLastErrorThatSaysSomething(t *testing.T) {
	g := NewWithT(t)
	err := await(t.Context(), time.Millisecond, func(ctx context.Context) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errors.New("not yet")
	})
	g.Expect(err).To(MatchError("for 1ms: not yet"))

	ctx, abort := context.WithCancelCause(t.Context())
	abort(errors.New("etcd ended"))
	g.Expect(await(ctx, time.Hour, func(context.Context) error { return errors.New("not yet") })).To(MatchError("etcd ended"))
	g.Expect(await(t.Context(), time.Hour, func(context.Context) error { return nil })).To(Succeed())
}

func TestTheSummaryHasALineForEachScenario(t *testing.T) {
	g := NewWithT(t)
	all := results{
		{scenario: scenario{name: "it starts"}, seen: "3 Pods", took: 1234 * time.Millisecond},
		{scenario: scenario{name: "it ends"}, seen: "it goes on", took: time.Minute, err: errors.New("it goes on")},
	}
	var out bytes.Buffer
	printSummary(&out, all)
	g.Expect(out.String()).To(Equal("\n      SCENARIO   TOOK  SEEN\nPASS  it starts  1.2s  3 Pods\nFAIL  it ends    1m0s  it goes on\n"))
	g.Expect(all.failed()).To(BeTrue())
	g.Expect(all[:1].failed()).To(BeFalse())
}
