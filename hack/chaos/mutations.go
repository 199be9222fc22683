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
	"rolecredential.dev/operator/hack/program"
)

// mutation is a patch that makes the operator break one invariant, and no other.
type mutation struct {
	name, path string
	// invariant is the broken one. faults and time are the settings of the run that detects it.
	invariant, faults, time string
}

// readMutations reads all patches of a folder. The head of a patch, before its first diff, has lines such as 'Invariant: ...'.
func readMutations(folder string) (mutations []mutation, err error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.patch"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		m := mutation{name: strings.TrimSuffix(filepath.Base(path), ".patch"), path: path}
		head, _, _ := strings.Cut(string(text), "\ndiff ")
		for line := range strings.Lines(head) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch name {
			case "Invariant":
				m.invariant = value
			case "Faults":
				m.faults = value
			case "Time":
				m.time = value
			}
		}
		if m.invariant == "" || m.faults == "" || m.time == "" {
			return nil, fmt.Errorf("%s: want the lines Invariant, Faults and Time", path)
		}
		mutations = append(mutations, m)
	}
	return mutations, nil
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
		if len(names) > 0 && !slices.Contains(names, m.name) {
			continue
		}
		start := time.Now()
		broken, err := m.detect(ctx, s)
		if err != nil {
			return false, fmt.Errorf("%s: %w", m.name, err)
		}
		verdict := "DETECTED"
		if !slices.Equal(broken, []string{m.invariant}) {
			verdict, detected = "MISSED", false
		}
		fmt.Fprintf(s.out, "%-8s  %-24s  %4.0fs  broken: %s\n", verdict, m.name, time.Since(start).Seconds(), strings.Join(broken, "; "))
	}
	return detected, nil
}

// detect builds and runs the operator with the mutation, and returns the broken invariants.
func (m mutation) detect(ctx context.Context, s settings) (broken []string, err error) {
	dir := filepath.Join(s.dir, "mutations", m.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	tree, err := os.MkdirTemp("", "mutation-")
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(m.path)
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

func (m mutation) run(ctx context.Context, s settings, dir, manager string, log io.WriteCloser) ([]string, error) {
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
