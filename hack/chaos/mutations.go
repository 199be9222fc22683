package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rolecredential.dev/operator/hack/chaos/wallclock"
	"rolecredential.dev/operator/hack/mutation"
	"rolecredential.dev/operator/hack/program"
)

// defect is a patch that makes the operator break one invariant, and no other.
type defect struct {
	mutation.Mutation
	// invariant is the broken one. faults and time are the settings of the run that detects it.
	invariant, faults, time string
}

// readMutations reads all patches of a folder.
func readMutations(folder string) (mutations []defect, err error) {
	found, err := mutation.Read(folder, "Invariant", "Faults", "Time")
	for _, m := range found {
		mutations = append(mutations, defect{m, m.Head["Invariant"], m.Head["Faults"], m.Head["Time"]})
	}
	return mutations, err
}

// mutate applies each named mutation, or all, to the operator of the last commit. It returns whether a run detects each of them: exactly
// its invariant is broken.
func mutate(ctx context.Context, s settings, names []string) (detected bool, err error) {
	mutations, err := readMutations(filepath.Join("hack", "chaos", "mutations"))
	if err != nil {
		return false, err
	}
	detected = true
	for _, m := range mutations {
		if len(names) > 0 && !slices.Contains(names, m.Name) {
			continue
		}
		start := time.Now()
		broken, err := m.detect(ctx, s)
		if err != nil {
			return false, fmt.Errorf("%s: %w", m.Name, err)
		}
		verdict := "DETECTED"
		if !slices.Equal(broken, []string{m.invariant}) {
			verdict, detected = "MISSED", false
		}
		fmt.Fprintf(s.out, "%-8s  %-24s  %4.0fs  broken: %s\n", verdict, m.Name, time.Since(start).Seconds(), strings.Join(broken, "; "))
	}
	return detected, nil
}

// detect builds and runs the operator with the mutation, and returns the broken invariants.
func (m defect) detect(ctx context.Context, s settings) (broken []string, err error) {
	dir := filepath.Join(s.dir, "mutations", m.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	tree, err := os.MkdirTemp("", "mutation-")
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(m.Path)
	if err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"worktree", "add", "--quiet", "--detach", tree, "HEAD"}, {"-C", tree, "apply", path}} {
		if output, err := exec.CommandContext(ctx, "git", args...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, output)
		}
	}
	defer func() { err = errors.Join(err, exec.Command("git", "worktree", "remove", "--force", tree).Run()) }()
	manager := filepath.Join(dir, "manager")
	if err := wallclock.Build(tree, "./cmd/manager", manager); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "chaos.log"))
	if err != nil {
		return nil, err
	}
	return m.run(ctx, s, dir, manager, log)
}

func (m defect) run(ctx context.Context, s settings, dir, manager string, log io.WriteCloser) ([]string, error) {
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, own, fmt.Sprint("-seed=", s.seed), "-time="+m.time, "-faults="+m.faults, "-manager="+manager, "-dir="+dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Stdout, cmd.Stderr = log, log
	failure := cmd.Run()
	if err := log.Close(); err != nil {
		return nil, err
	}
	if exit, ok := errors.AsType[*exec.ExitError](failure); failure != nil && (!ok || exit.ExitCode() != program.Failed) {
		return nil, fmt.Errorf("%w; see %s", failure, dir)
	}
	text, err := os.ReadFile(filepath.Join(dir, "result.json"))
	if err != nil {
		return nil, err
	}
	var r result
	err = json.Unmarshal(text, &r)
	return r.Broken, err
}
