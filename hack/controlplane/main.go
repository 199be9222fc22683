// Command controlplane makes sure that etcd, kube-apiserver and kubectl are at hand and prints the
// folder that holds them, which is what envtest takes as KUBEBUILDER_ASSETS:
//
//	export KUBEBUILDER_ASSETS="$(go -C hack/controlplane run .)"
//
// A KUBEBUILDER_ASSETS that is already set and complete is printed as it is. Otherwise the three are
// built from the Go modules pinned in this module's go.mod, once, into the repository's .cache folder.
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
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	dir, err := ensure(ctx, os.Stderr)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
		fmt.Println(dir)
	case interrupted:
		fmt.Fprintln(os.Stderr, "controlplane: interrupted; the next run goes on from here")
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "controlplane: %v\n", err)
		os.Exit(1)
	}
}

// ensure returns a folder that holds every binary, building what is missing. Only progress goes to log.
func ensure(ctx context.Context, log io.Writer) (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		lacking := missing(dir)
		if len(lacking) == 0 {
			return filepath.Abs(dir)
		}
		fmt.Fprintf(log, "controlplane: KUBEBUILDER_ASSETS=%s has no %s; using our own build instead\n",
			dir, strings.Join(lacking, ", "))
	}

	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	version, err := kubernetesVersion(goMod)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, cacheKey(version, runtime.GOOS, runtime.GOARCH))
	if len(missing(dir)) == 0 {
		return dir, nil
	}

	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, dir+".lock", log)
	if err != nil {
		return "", err
	}
	defer unlock()
	if len(missing(dir)) == 0 { // built by another run while this one waited
		return dir, nil
	}

	// The folder gets its name only when it is complete. The one being filled keeps its finished
	// binaries over an interruption, so that the next run does not build them again.
	partial := dir + ".partial"
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return "", err
	}
	if err := buildAll(ctx, partial, version, log); err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Rename(partial, dir)
}

// cacheDir is <repository>/.cache/controlplane. The module to build from is the working directory,
// which must be the very one this program was compiled from.
func cacheDir() (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	if found, err := os.ReadFile("go.mod"); err != nil || string(found) != goMod {
		return "", fmt.Errorf("%s is not the controlplane module: run it as `go -C hack/controlplane run .`", here)
	}
	return filepath.Abs(filepath.Join(here, "..", "..", ".cache", "controlplane"))
}

// missing names the binaries that dir does not hold as executable files.
func missing(dir string) []string {
	var names []string
	for _, b := range binaries {
		info, err := os.Stat(filepath.Join(dir, b.name))
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			names = append(names, b.name)
		}
	}
	return names
}

// lock waits until this run is the only one that builds. The lock ends with the process at the latest.
func lock(ctx context.Context, path string, log io.Writer) (unlock func(), err error) {
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
			fmt.Fprintln(log, "controlplane: another run is building it; waiting for that one")
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, ctx.Err()
		case <-again.C:
		}
	}
}

// buildAll fills dir with the binaries that it lacks, in order, and reports on the way.
func buildAll(ctx context.Context, dir, version string, log io.Writer) error {
	lacking := missing(dir)
	var todo []binary
	for _, b := range binaries {
		for _, name := range lacking {
			if b.name == name {
				todo = append(todo, b)
			}
		}
	}
	// An interrupted go command leaves its work folder behind, so it gets one that is cleared here.
	scratch := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()

	p := startProgress(log, version, todo)
	defer p.stop()
	for _, b := range todo {
		if err := build(ctx, dir, scratch, version, b); err != nil {
			return err
		}
		p.finished()
	}
	return nil
}

// build links b beside its place and moves it there, so that what bears its name is whole.
func build(ctx context.Context, dir, scratch, version string, b binary) error {
	unfinished := filepath.Join(dir, b.name+".unfinished")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", ldflags(version), "-o", unfinished, b.pkg)
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
