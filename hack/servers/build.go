package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// build builds all binaries of the set with one go command, so that idle cores compile the next binary. The Go build cache keeps
// the packages of an interrupted build. dir is an absolute path.
func (p pinned) build(ctx context.Context, dir string, log io.Writer) error {
	reports := startProgress(log, p)
	defer reports.stop()
	var packages []string
	for _, b := range p.binaries {
		packages = append(packages, b.pkg)
	}
	// The list downloads the modules that the packages need, and no others.
	listed, err := p.run(ctx, dir, reports, append([]string{"list", "-deps", "-tags", strings.Join(p.tags, ",")}, packages...)...)
	if err != nil {
		return fmt.Errorf("downloading the modules: %w", err)
	}
	reports.expect(strings.Fields(listed))
	args := []string{
		"build", "-v", "-trimpath", "-buildvcs=false", "-tags", strings.Join(p.tags, ","), "-ldflags", p.ldflags(),
		"-o", dir + string(filepath.Separator),
	}
	if _, err := p.run(ctx, dir, reports, append(args, packages...)...); err != nil {
		return fmt.Errorf("building %s: %w", p.title, err)
	}
	for _, b := range p.binaries {
		if err := os.Rename(filepath.Join(dir, defaultName(b.pkg)), filepath.Join(dir, b.name)); err != nil {
			return err
		}
	}
	return nil
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// defaultName returns the name that the go command gives to the program of a package.
func defaultName(pkg string) string {
	if name := path.Base(pkg); !majorVersion.MatchString(name) {
		return name
	}
	return path.Base(path.Dir(pkg))
}

// run runs the go command in the set's module and returns its standard output. The error contains the last lines of other output.
func (p pinned) run(ctx context.Context, dir string, reports *progress, args ...string) (string, error) {
	// An interrupted go command does not remove its temporary folder.
	scratch := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	var stdout strings.Builder
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = p.folder()
	// The compilers collect garbage only once one of them has 1 GiB of it.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOTMPDIR="+scratch, "GOGC=off", "GOMEMLIMIT=1GiB")
	cmd.Stdout, cmd.Stderr = &stdout, reports
	// The process group contains the compilers, so that an interruption ends them too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, lastLines(reports.messages(), 20))
	}
	return stdout.String(), nil
}
