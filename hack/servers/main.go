// Command servers makes sure that servers and tools which others wrote, and that the tests, the demo and `make e2e` run, are at
// hand, and prints the folder that holds them:
//
//	go run ./hack/servers controlplane   # etcd, kube-apiserver and kubectl
//	go run ./hack/servers node           # kube-scheduler, kube-controller-manager and kubelet, for make e2e and make bench
//	go run ./hack/servers minio          # MinIO, an STS and an S3
//	go run ./hack/servers helm           # Helm
//	go run ./hack/servers prometheus     # Prometheus and promtool
//
// They are built from the Go modules that a go.mod in hack/controlplane, hack/node, hack/minio, hack/helm or hack/prometheus pins, once, into the
// repository's .cache folder. What a set's variable names (KUBEBUILDER_ASSETS, as envtest knows it) is taken in their place if it is complete.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	dir, err := run(ctx, os.Args[1:])
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
		fmt.Println(dir)
	case interrupted:
		fmt.Fprintln(os.Stderr, "interrupted; the next run goes on from here")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (string, error) {
	if len(args) == 1 {
		for _, s := range sets {
			if s.name == args[0] {
				return ensure(ctx, s, os.Stderr)
			}
		}
	}
	return "", errors.New("usage: servers controlplane|node|minio|helm|prometheus")
}

// ensure returns a folder that holds every binary of a set, building what is missing. Only progress goes to log.
func ensure(ctx context.Context, s set, log io.Writer) (string, error) {
	if dir := os.Getenv(s.variable); dir != "" {
		lacking := s.missing(dir)
		if len(lacking) == 0 {
			return filepath.Abs(dir)
		}
		fmt.Fprintf(log, "%s: %s=%s has no %s; using our own build instead\n", s.name, s.variable, dir, strings.Join(lacking, ", "))
	}

	pinned, err := s.read()
	if err != nil {
		return "", err
	}
	cache, err := filepath.Abs(filepath.Join(".cache", s.name))
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, pinned.cacheKey(runtime.GOOS, runtime.GOARCH))
	if len(s.missing(dir)) == 0 {
		return dir, nil
	}

	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, dir+".lock", s.name, log)
	if err != nil {
		return "", err
	}
	defer unlock()
	if len(s.missing(dir)) == 0 { // built by another run while this one waited
		return dir, nil
	}

	// The folder gets its name only when it is complete. The one being filled keeps its finished
	// binaries over an interruption, so that the next run does not build them again.
	partial := dir + ".partial"
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return "", err
	}
	if err := pinned.build(ctx, partial, log); err != nil {
		return "", fmt.Errorf("%s: %w", s.name, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Rename(partial, dir)
}

// missing names the binaries of the set that dir does not hold as executable files.
func (s set) missing(dir string) []string {
	var names []string
	for _, b := range s.binaries {
		info, err := os.Stat(filepath.Join(dir, b.name))
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			names = append(names, b.name)
		}
	}
	return names
}

// lock waits until this run is the only one that builds. The lock ends with the process at the latest.
func lock(ctx context.Context, path, name string, log io.Writer) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(300 * time.Millisecond)
	defer again.Stop()
	for waited := false; ; waited = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			_ = file.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		if !waited {
			fmt.Fprintf(log, "%s: another run is building it; waiting for that one\n", name)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, ctx.Err()
		case <-again.C:
		}
	}
}

// build fills dir with the binaries that it lacks, in order, and reports on the way.
func (p pinned) build(ctx context.Context, dir string, log io.Writer) error {
	lacking := p.missing(dir)
	todo := slices.DeleteFunc(slices.Clone(p.binaries), func(b binary) bool { return !slices.Contains(lacking, b.name) })
	// An interrupted go command leaves its work folder behind, so it gets one that is cleared here.
	scratch := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()

	reports := startProgress(log, p, todo)
	defer reports.stop()
	for _, b := range todo {
		if err := p.buildOne(ctx, dir, scratch, b); err != nil {
			return err
		}
		reports.finished()
	}
	return nil
}

// buildOne links b beside its place and moves it there, so that what bears its name is whole.
func (p pinned) buildOne(ctx context.Context, dir, scratch string, b binary) error {
	unfinished := filepath.Join(dir, b.name+".unfinished")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-tags", strings.Join(p.tags, ","), "-ldflags", p.ldflags(), "-o", unfinished, b.pkg)
	cmd.Dir = p.folder()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOTMPDIR="+scratch)
	// In a process group of its own, so that an interruption reaches the compilers too and not
	// just the go command, which would wait for them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s (%s): %w\n%s", b.name, b.pkg, err, lastLines(string(out), 20))
	}
	return os.Rename(unfinished, filepath.Join(dir, b.name))
}
