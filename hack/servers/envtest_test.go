package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/tools/setup-envtest/versions"
)

// published is an envtest release on a server of the test.
type published struct {
	archive string // file
	hash    string // SHA-512 of the archive, unless the test changes it
	version string
	// sent is the number of bytes that the server sends of the archive; 0 for all.
	sent int64
}

// publish makes the archive of a release from the programs of a folder.
func publish(t *testing.T, version, folder string, names ...string) *published {
	t.Helper()
	g := NewWithT(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "archive.tar.gz"))
	g.Expect(err).NotTo(HaveOccurred())
	sum := sha512.New()
	compressed, err := gzip.NewWriterLevel(io.MultiWriter(file, sum), gzip.NoCompression)
	g.Expect(err).NotTo(HaveOccurred())
	archive := tar.NewWriter(compressed)
	g.Expect(archive.WriteHeader(&tar.Header{Name: "controller-tools/envtest/", Typeflag: tar.TypeDir, Mode: 0o755})).To(Succeed())
	for _, name := range names {
		program, err := os.Open(filepath.Join(folder, name))
		g.Expect(err).NotTo(HaveOccurred())
		info, err := program.Stat()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(archive.WriteHeader(&tar.Header{Name: "controller-tools/envtest/" + name, Mode: 0o755, Size: info.Size()})).To(Succeed())
		_, err = io.Copy(archive, program)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(program.Close()).To(Succeed())
	}
	g.Expect(archive.Close()).To(Succeed())
	g.Expect(compressed.Close()).To(Succeed())
	g.Expect(file.Close()).To(Succeed())
	return &published{archive: file.Name(), version: version, hash: hex.EncodeToString(sum.Sum(nil))}
}

// serve serves the index and the archive, and returns the URL of the index.
func (p *published) serve(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/index.yaml", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "releases:\n  %s:\n    envtest-%s-%s-%s.tar.gz:\n      hash: %q\n      selfLink: %s/archive\n",
			p.version, p.version, runtime.GOOS, runtime.GOARCH, p.hash, server.URL)
	})
	mux.HandleFunc("/archive", func(w http.ResponseWriter, r *http.Request) {
		if p.sent == 0 {
			http.ServeFile(w, r, p.archive)
			return
		}
		file, err := os.Open(p.archive)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer func() { _ = file.Close() }()
		w.Header().Set("Content-Length", fmt.Sprint(p.sent+1000))
		_, _ = io.CopyN(w, file, p.sent)
	})
	return server.URL + "/index.yaml"
}

// scripts is a folder of small programs with the names of the control plane.
func scripts(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, b := range controlplane.binaries {
		NewWithT(t).Expect(os.WriteFile(filepath.Join(dir, b.name), []byte("#!/bin/sh\necho "+b.name+"\n"), 0o600)).To(Succeed())
	}
	return dir
}

var pinnedControlPlane = pinned{set: controlplane, version: "v1.37.2"}

func TestDownloadedReleaseRuns(t *testing.T) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		t.Fatal("KUBEBUILDER_ASSETS must name a folder with etcd, kube-apiserver and kubectl: run make test")
	}
	g := NewWithT(t)
	index := publish(t, "v1.37.2", assets, "etcd", "kube-apiserver", "kubectl").serve(t)
	dir := t.TempDir()
	var log strings.Builder
	g.Expect(pinnedControlPlane.download(t.Context(), release{index: index, idle: idleTimeout}, dir, &log)).To(Succeed())
	g.Expect(log.String()).To(Equal("controlplane: downloaded the binaries of envtest v1.37.2\n"))
	for _, command := range [][]string{{"etcd", "--version"}, {"kube-apiserver", "--version"}, {"kubectl", "version", "--client"}} {
		output, err := exec.CommandContext(t.Context(), filepath.Join(dir, command[0]), command[1:]...).CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(output))
	}
	entries, err := os.ReadDir(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(HaveLen(3), "the archive is removed")
}

func TestFaultyReleaseIsRefused(t *testing.T) {
	all := []string{"etcd", "kube-apiserver", "kubectl"}
	for name, tc := range map[string]struct {
		change func(*published)
		names  []string
		want   string
	}{
		"a wrong checksum":                       {names: all, change: func(p *published) { p.hash = strings.Repeat("0", 128) }, want: "checksum mismatch"},
		"no checksum":                            {names: all, change: func(p *published) { p.hash = "" }, want: "checksum mismatch"},
		"an archive that is cut off":             {names: all, change: func(p *published) { p.sent = 100 }, want: "unexpected EOF"},
		"an archive without kubectl":             {names: all[:2], want: "has no kubectl"},
		"an index without that minor version":    {names: all, change: func(p *published) { p.version = "v1.36.9" }, want: "no release of Kubernetes 1.37"},
		"an archive that the server cannot read": {names: all, change: func(p *published) { p.archive += ".gone" }, want: "404"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := publish(t, "v1.37.2", scripts(t), tc.names...)
			if tc.change != nil {
				tc.change(p)
			}
			err := pinnedControlPlane.download(t.Context(), release{index: p.serve(t), idle: idleTimeout}, t.TempDir(), io.Discard)
			g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
		})
	}
}

func TestUnreachableIndexIsGivenUp(t *testing.T) {
	g := NewWithT(t)
	g.Expect(idleTimeout).To(BeNumerically("<=", 5*time.Second))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	url := "http://" + listener.Addr().String()

	// The kernel accepts the connection, and nothing answers.
	err = pinnedControlPlane.download(t.Context(), release{index: url, idle: time.Millisecond}, t.TempDir(), io.Discard)
	g.Expect(err).To(MatchError(ContainSubstring("no data for 1ms")))

	g.Expect(listener.Close()).To(Succeed())
	err = pinnedControlPlane.download(t.Context(), release{index: url, idle: idleTimeout}, t.TempDir(), io.Discard)
	g.Expect(err).To(MatchError(ContainSubstring("connection refused")))
}

func TestReleaseIsThePinnedVersionOrTheNewestOfItsMinorVersion(t *testing.T) {
	platform := versions.Platform{OS: "linux", Arch: "arm64"}
	set := func(patch int, platforms ...versions.Platform) versions.Set {
		s := versions.Set{Version: versions.Concrete{Major: 1, Minor: 37, Patch: patch}}
		for _, p := range platforms {
			s.Platforms = append(s.Platforms, versions.PlatformItem{Platform: p})
		}
		return s
	}
	other := versions.Set{Version: versions.Concrete{Major: 1, Minor: 38}, Platforms: []versions.PlatformItem{{Platform: platform}}}
	for name, tc := range map[string]struct {
		available []versions.Set
		want      int // -1 for an error
	}{
		"the pinned version, although there is a newer one": {available: []versions.Set{other, set(4, platform), set(2, platform), set(1, platform)}, want: 2},
		"the newest one, newer than the pinned version":     {available: []versions.Set{other, set(4, platform), set(1, platform)}, want: 4},
		"the newest one, older than the pinned version":     {available: []versions.Set{other, set(1, platform), set(0, platform)}, want: 1},
		"the newest one for the platform":                   {available: []versions.Set{set(2, versions.Platform{OS: "linux", Arch: "amd64"}), set(1, platform)}, want: 1},
		"none of another minor version":                     {available: []versions.Set{other}, want: -1},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			version, item, err := choose(tc.available, "v1.37.2", platform)
			if tc.want < 0 {
				g.Expect(err).To(MatchError(ContainSubstring("no release of Kubernetes 1.37 for linux/arm64")))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(version).To(Equal(versions.Concrete{Major: 1, Minor: 37, Patch: tc.want}))
			g.Expect(item.Platform).To(Equal(platform))
		})
	}
}

// tiny is a set of two programs in a module of the test, in the current folder.
func tiny(t *testing.T) pinned {
	t.Helper()
	g := NewWithT(t)
	t.Chdir(t.TempDir())
	for file, text := range map[string]string{
		"go.mod":      "module example.com/tiny\n\ngo 1.26\n",
		"one/main.go": "package main\n\nvar version string\n\nfunc main() { println(version) }\n",
		"v3/main.go":  "package main\n\nfunc main() {}\n",
	} {
		file = filepath.Join("hack", "tiny", file)
		g.Expect(os.MkdirAll(filepath.Dir(file), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(file, []byte(text), 0o600)).To(Succeed())
	}
	return pinned{version: "v1.2.3", set: set{
		name: "tiny", title: "Tiny", use: "this test", usual: 2 * time.Minute, prebuilt: true,
		binaries: []binary{{name: "one", pkg: "example.com/tiny/one"}, {name: "two", pkg: "example.com/tiny/v3"}},
	}}
}

func TestSetIsBuiltWhereThereIsNoRelease(t *testing.T) {
	g := NewWithT(t)
	p := tiny(t)
	dir := filepath.Join(t.TempDir(), "partial")
	g.Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "one"), []byte("of an earlier run"), 0o600)).To(Succeed())
	t.Setenv("ENVTEST_INDEX", "off")
	var log strings.Builder
	g.Expect(p.fill(t.Context(), dir, &log)).To(Succeed())
	g.Expect(p.missing(dir)).To(BeEmpty())
	g.Expect(log.String()).To(HavePrefix("tiny: no prebuilt binaries: ENVTEST_INDEX is off\n" +
		"tiny: building Tiny v1.2.3 from source for this test, once; on two cores this takes about 2 minutes\n"))
	g.Expect(log.String()).To(MatchRegexp(`tiny: compiled \d+ of at most \d+ packages, after \d+s\n$`))
	entries, err := os.ReadDir(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(HaveLen(2), "no temporary file is left")
}

func TestBuildErrorNamesTheCause(t *testing.T) {
	g := NewWithT(t)
	p := tiny(t)
	g.Expect(os.WriteFile(filepath.Join("hack", "tiny", "one", "main.go"), []byte("package main\n\nfunc main() { missing() }\n"), 0o600)).To(Succeed())
	g.Expect(p.build(t.Context(), t.TempDir(), io.Discard)).To(MatchError(And(ContainSubstring("building Tiny"), ContainSubstring("undefined: missing"))))
}

func TestInterruptedDownloadDoesNotStartABuild(t *testing.T) {
	g := NewWithT(t)
	p := tiny(t)
	t.Setenv("ENVTEST_INDEX", "http://127.0.0.1:1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var log strings.Builder
	g.Expect(p.fill(ctx, t.TempDir(), &log)).To(MatchError(context.Canceled))
	g.Expect(log.String()).To(BeEmpty())
}

func TestProgressCountsModulesThenPackages(t *testing.T) {
	g := NewWithT(t)
	p := &progress{}
	write := func(text string) { _, err := io.WriteString(p, text); g.Expect(err).NotTo(HaveOccurred()) }
	write("go: downloading example.com/a v1.0.0\ngo: downloading exam")
	g.Expect(p.state()).To(Equal("downloaded 1 modules"))
	write("ple.com/b v1.0.0\n")
	g.Expect(p.state()).To(Equal("downloaded 2 modules"))
	p.expect([]string{"example.com/a", "example.com/b", "example.com/c"})
	write("example.com/a\nexample.com/b\n# example.com/b\nb.go:1: no")
	g.Expect(p.state()).To(Equal("compiled 2 of at most 3 packages"))
	g.Expect(p.messages()).To(Equal("# example.com/b\nb.go:1: no"))
}
