package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// set is what is built together from one module in hack/.
type set struct {
	// name of the module's folder in hack/ and of the set's in the cache.
	name string
	// title of the whole and what it is for, as the progress tells them.
	title, use string
	// module whose version is that of the whole.
	module string
	// variable of the environment that may name a folder with the binaries; empty for none.
	variable string
	// stamped are the packages that take the version as those of a Kubernetes release do.
	stamped []string
	// tags of the build.
	tags     []string
	binaries []binary
}

// binary is a program to build. usual is the middle of what it took on two cores with an empty Go build
// cache, in the order of its set (each finds compiled what it shares with those before it).
type binary struct {
	name, pkg string
	usual     time.Duration
}

var controlplane = set{
	name:     "controlplane",
	title:    "Kubernetes",
	use:      "the demo and the tests",
	module:   "k8s.io/kubernetes",
	variable: "KUBEBUILDER_ASSETS",
	stamped:  []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"},
	binaries: []binary{
		{name: "etcd", pkg: "go.etcd.io/etcd/server/v3", usual: 60 * time.Second},
		{name: "kube-apiserver", pkg: "k8s.io/kubernetes/cmd/kube-apiserver", usual: 330 * time.Second},
		{name: "kubectl", pkg: "k8s.io/kubernetes/cmd/kubectl", usual: 35 * time.Second},
	},
}

// minio is under the AGPL: a server that the tests run and speak to, which nothing of ours may import.
var minio = set{
	name:     "minio",
	title:    "MinIO",
	use:      "the tests",
	module:   "github.com/minio/minio",
	binaries: []binary{{name: "minio", pkg: "github.com/minio/minio", usual: 240 * time.Second}},
}

// node is what a node and its Pods need beside a control plane. Its module pins the release of controlplane, and is another one
// so that the tests need not wait for what they do not run.
var node = set{
	name:    "node",
	title:   "the rest of Kubernetes",
	use:     "`make e2e` and `make bench`",
	module:  "k8s.io/kubernetes",
	stamped: controlplane.stamped,
	binaries: []binary{
		{name: "kube-scheduler", pkg: "k8s.io/kubernetes/cmd/kube-scheduler", usual: 80 * time.Second},
		{name: "kube-controller-manager", pkg: "k8s.io/kubernetes/cmd/kube-controller-manager", usual: 84 * time.Second},
		{name: "kubelet", pkg: "k8s.io/kubernetes/cmd/kubelet", usual: 33 * time.Second},
	},
}

// helm is what many install charts with; ours is held against what kubectl installs.
var helm = set{
	name:     "helm",
	title:    "Helm",
	use:      "the tests",
	module:   "helm.sh/helm/v4",
	binaries: []binary{{name: "helm", pkg: "helm.sh/helm/v4/cmd/helm", usual: 90 * time.Second}},
}

// prometheus scrapes a manager in the tests, and tries the alerts on it.
var prometheus = set{
	name:   "prometheus",
	title:  "Prometheus",
	use:    "the tests",
	module: "github.com/prometheus/prometheus",
	tags:   []string{"remove_all_sd"}, // discovery in clouds, whose clients take most of the time
	binaries: []binary{
		{name: "prometheus", pkg: "github.com/prometheus/prometheus/cmd/prometheus", usual: 100 * time.Second},
		{name: "promtool", pkg: "github.com/prometheus/prometheus/cmd/promtool", usual: 15 * time.Second},
	},
}

var sets = []set{controlplane, node, minio, helm, prometheus}

// pinned is a set as its module pins it.
type pinned struct {
	set
	goMod, goSum string
	// version of the set's module, such as v1.37.2.
	version string
}

// folder of the set's module, in the repository's root.
func (s set) folder() string { return filepath.Join("hack", s.name) }

func (s set) read() (pinned, error) {
	p := pinned{set: s}
	for file, text := range map[string]*string{"go.mod": &p.goMod, "go.sum": &p.goSum} {
		found, err := os.ReadFile(filepath.Join(s.folder(), file))
		if errors.Is(err, fs.ErrNotExist) {
			return p, fmt.Errorf("there is no %s here: run it in the repository's root as `go run ./hack/servers %s`", filepath.Join(s.folder(), file), s.name)
		}
		if err != nil {
			return p, err
		}
		*text = string(found)
	}
	var err error
	p.version, err = requiredVersion(p.goMod, s.module)
	return p, err
}

// requiredVersion reads the version of a module out of a go.mod that requires it.
func requiredVersion(mod, module string) (string, error) {
	for line := range strings.Lines(mod) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == module {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("go.mod requires no %s", module)
}

// cacheKey names the folder of a build: everything that decides the bytes of the binaries is in it,
// except the Go toolchain, whose update is no reason to build again.
func (p pinned) cacheKey(goos, goarch string) string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{p.goMod, p.goSum, p.ldflags(), goos, goarch}, p.tags...), "\x00")))
	return p.version + "-" + hex.EncodeToString(sum[:6])
}

// ldflags stamps the version as a Kubernetes release does; without it neither `kubectl version` nor
// its skew check can parse what it finds. The commit is not in a Go module, hence the zeros.
func (p pinned) ldflags() string {
	major, rest, _ := strings.Cut(strings.TrimPrefix(p.version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	flags := []string{"-s", "-w"}
	for _, pkg := range p.stamped {
		for _, stamp := range [][2]string{
			{"gitVersion", p.version},
			{"gitMajor", major},
			{"gitMinor", minor},
			{"gitTreeState", "clean"},
			{"gitCommit", strings.Repeat("0", 40)},
		} {
			flags = append(flags, fmt.Sprintf("-X=%s.%s=%s", pkg, stamp[0], stamp[1]))
		}
	}
	return strings.Join(flags, " ")
}

// left estimates the time until all is built. did is what this run has finished and took the time
// that needed; todo is the rest, its first under way since elapsed.
//
// The usual times are scaled by what this machine has shown so far. A build that takes longer than
// that foretold is held to be nine tenths done, and the later ones to be late by as much.
func left(did []binary, took time.Duration, todo []binary, elapsed time.Duration) time.Duration {
	if len(todo) == 0 {
		return 0
	}
	scale := 1.0
	if len(did) > 0 {
		scale = float64(took) / float64(usual(did))
	}
	current := float64(todo[0].usual)
	scale = max(scale, float64(elapsed)*10/9/current)
	return time.Duration(scale*float64(usual(todo))) - elapsed
}

func usual(list []binary) (sum time.Duration) {
	for _, b := range list {
		sum += b.usual
	}
	return sum
}

// lastLines cuts all but the last n lines of text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
