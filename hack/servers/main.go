// Command servers provides the programs of other projects that the tests, the demo and `make e2e` run. It prints their folder:
//
//	go run ./hack/servers controlplane   # etcd, kube-apiserver and kubectl
//	go run ./hack/servers node           # kube-scheduler, kube-controller-manager and kubelet, for make e2e and make bench
//	go run ./hack/servers seaweedfs      # SeaweedFS, an STS and S3
//	go run ./hack/servers helm           # Helm
//	go run ./hack/servers prometheus     # Prometheus and promtool
//	go run ./hack/servers oidcprovider   # an OIDC provider
//
// The control plane comes from the first of these that has it: the folder in KUBEBUILDER_ASSETS, the folder .cache, a release of
// envtest, a build from source. ENVTEST_INDEX is the URL of another index of envtest releases, or "off". The other sets come from
// .cache or a build. A build uses the versions that the set's go.mod in hack pins.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"rolecredential.dev/operator/hack/program"
)

func main() {
	program.Main("servers", run)
}

func run(ctx context.Context, args []string) error {
	at := slices.IndexFunc(sets, func(s set) bool { return len(args) == 1 && s.name == args[0] })
	if at < 0 {
		return errors.New("usage: servers controlplane|node|seaweedfs|helm|prometheus|oidcprovider")
	}
	dir, err := ensure(ctx, sets[at], os.Stderr)
	if err != nil {
		return err
	}
	fmt.Println(dir)
	return nil
}

// ensure returns a folder that holds every binary of a set. It downloads or builds the set if necessary, and reports that to log.
func ensure(ctx context.Context, s set, log io.Writer) (string, error) {
	if dir := os.Getenv(s.variable); dir != "" {
		missing := s.missing(dir)
		if len(missing) == 0 {
			return filepath.Abs(dir)
		}
		fmt.Fprintf(log, "%s: %s=%s has no %s; ignoring it\n", s.name, s.variable, dir, strings.Join(missing, ", "))
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
	if len(s.missing(dir)) == 0 { // another run finished it while this run waited
		return dir, nil
	}

	// The folder gets its final name only when it is complete.
	partial := dir + ".partial"
	if err := pinned.fill(ctx, partial, log); err != nil {
		return "", fmt.Errorf("%s: %w", s.name, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Rename(partial, dir)
}

// fill replaces dir with a folder of the set's binaries.
func (p pinned) fill(ctx context.Context, dir string, log io.Writer) error {
	if p.prebuilt {
		err := empty(dir)
		if err == nil {
			err = p.download(ctx, release{index: os.Getenv("ENVTEST_INDEX"), idle: idleTimeout}, dir, log)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(log, "%s: no prebuilt binaries: %s\n", p.name, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	if err := empty(dir); err != nil {
		return err
	}
	return p.build(ctx, dir, log)
}

func empty(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

// missing returns the names of the set's binaries that are not executable files in dir.
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

// lock waits until no other run holds the lock of a set. The kernel releases the lock when the process exits.
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
			fmt.Fprintf(log, "%s: waiting for another run that provides it\n", name)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, ctx.Err()
		case <-again.C:
		}
	}
}
