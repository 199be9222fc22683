package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/tools/setup-envtest/remote"
	"sigs.k8s.io/controller-runtime/tools/setup-envtest/versions"
)

// idleTimeout is how long the index or an archive may send nothing.
const idleTimeout = 5 * time.Second

// release says where envtest's releases are.
type release struct {
	// index is the URL of the index; empty for setup-envtest's default, "off" for none.
	index string
	// idle is how long a download may make no progress.
	idle time.Duration
}

// download writes the set's binaries from an envtest release to dir. It verifies the archive's checksum.
func (p pinned) download(ctx context.Context, from release, dir string, log io.Writer) error {
	if from.index == "off" {
		return errors.New("ENVTEST_INDEX is off")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := idleWatch{Timer: time.AfterFunc(from.idle, func() { cancel(fmt.Errorf("no data for %s", from.idle)) }), idle: from.idle}
	defer watch.Stop()

	version, err := p.fetch(ctx, from, dir, watch)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	if missing := p.missing(dir); len(missing) > 0 {
		return fmt.Errorf("the archive of envtest v%s has no %s", version, strings.Join(missing, ", "))
	}
	fmt.Fprintf(log, "%s: downloaded the binaries of envtest v%s\n", p.name, version)
	return nil
}

// fetch downloads and unpacks an archive, and returns its version.
func (p pinned) fetch(ctx context.Context, from release, dir string, watch io.Writer) (versions.Concrete, error) {
	client := &remote.HTTPClient{Log: logr.Discard(), IndexURL: from.index}
	available, err := client.ListVersions(ctx)
	if err != nil {
		return versions.Concrete{}, err
	}
	version, archive, err := choose(available, p.version, versions.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH})
	if err != nil {
		return version, err
	}
	file, err := os.Create(filepath.Join(dir, "envtest.tar.gz"))
	if err != nil {
		return version, err
	}
	defer func() {
		_ = file.Close()
		_ = os.Remove(file.Name())
	}()
	if err := client.GetVersion(ctx, version, archive, io.MultiWriter(file, watch)); err != nil {
		return version, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return version, err
	}
	return version, p.unpack(file, dir)
}

// choose returns the pinned version, or the newest patch of its minor version if the index lacks the pinned one. available is
// sorted, newest first.
func choose(available []versions.Set, pinned string, platform versions.Platform) (versions.Concrete, versions.PlatformItem, error) {
	spec, err := versions.FromExpr(strings.TrimPrefix(pinned, "v"))
	if err != nil {
		return versions.Concrete{}, versions.PlatformItem{}, err
	}
	exact := spec.AsConcrete()
	if exact == nil {
		return versions.Concrete{}, versions.PlatformItem{}, fmt.Errorf("%s is no version of Kubernetes", pinned)
	}
	for _, selector := range []versions.Selector{*exact, versions.PatchSelector{Major: exact.Major, Minor: exact.Minor, Patch: versions.AnyPoint}} {
		for _, set := range available {
			at := slices.IndexFunc(set.Platforms, func(item versions.PlatformItem) bool { return item.Platform == platform })
			if at >= 0 && selector.Matches(set.Version) {
				return set.Version, set.Platforms[at], nil
			}
		}
	}
	return *exact, versions.PlatformItem{}, fmt.Errorf("the index has no release of Kubernetes %d.%d for %s", exact.Major, exact.Minor, platform)
}

// unpack writes the set's binaries to dir. It ignores other files and folders of the archive.
func (p pinned) unpack(archive io.Reader, dir string) error {
	uncompressed, err := gzip.NewReader(archive)
	if err != nil {
		return err
	}
	for reader := tar.NewReader(uncompressed); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Base(header.Name)
		if header.Typeflag != tar.TypeReg || !slices.ContainsFunc(p.binaries, func(b binary) bool { return b.name == name }) {
			continue
		}
		if err := writeProgram(filepath.Join(dir, name), reader); err != nil {
			return err
		}
	}
}

func writeProgram(file string, content io.Reader) error {
	program, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(program, content)
	return errors.Join(err, program.Close())
}

// idleWatch restarts a timer with each write.
type idleWatch struct {
	*time.Timer
	idle time.Duration
}

func (w idleWatch) Write(text []byte) (int, error) {
	w.Reset(w.idle)
	return len(text), nil
}
