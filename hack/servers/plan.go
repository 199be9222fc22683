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

// set is a group of programs that one module in hack pins.
type set struct {
	// name of the module's folder in hack, and of the set's folder in the cache.
	name string
	// title and use describe the set in the progress report.
	title, use string
	// usual is a typical build time with an empty Go build cache on two cores.
	usual time.Duration
	// module whose version is the version of the set.
	module string
	// variable is an environment variable with a folder of the binaries; empty for none.
	variable string
	// prebuilt sets are in releases of envtest.
	prebuilt bool
	// stamped packages get the version, like those of a Kubernetes release.
	stamped []string
	// tags of the build.
	tags []string
	// binaries in the order of their build. The go command gives the first one priority.
	binaries []binary
}

// binary is a program and its main package.
type binary struct{ name, pkg string }

// The Kubernetes API server takes longer than the rest together. It goes first, and the rest fills the core that its last
// packages and its linking leave idle.
var controlplane = set{
	name:     "controlplane",
	title:    "Kubernetes",
	use:      "the demo and the tests",
	usual:    11 * time.Minute,
	module:   "k8s.io/kubernetes",
	variable: "KUBEBUILDER_ASSETS",
	prebuilt: true,
	stamped:  []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"},
	binaries: []binary{
		{name: "kube-apiserver", pkg: "k8s.io/kubernetes/cmd/kube-apiserver"},
		{name: "etcd", pkg: "go.etcd.io/etcd/server/v3"},
		{name: "kubectl", pkg: "k8s.io/kubernetes/cmd/kubectl"},
	},
}

// seaweedfs is an STS and S3 that are not AWS's.
var seaweedfs = set{
	name:     "seaweedfs",
	title:    "SeaweedFS",
	use:      "the tests and `make e2e`",
	usual:    6 * time.Minute,
	module:   "github.com/seaweedfs/seaweedfs",
	binaries: []binary{{name: "weed", pkg: "github.com/seaweedfs/seaweedfs/weed"}},
}

// node holds the programs that a node and its Pods need in addition to the control plane. It is a module of its own, so that
// the tests need not wait for it.
var node = set{
	name:    "node",
	title:   "the rest of Kubernetes",
	use:     "`make e2e` and `make bench`",
	usual:   4 * time.Minute,
	module:  "k8s.io/kubernetes",
	stamped: controlplane.stamped,
	binaries: []binary{
		{name: "kube-scheduler", pkg: "k8s.io/kubernetes/cmd/kube-scheduler"},
		{name: "kube-controller-manager", pkg: "k8s.io/kubernetes/cmd/kube-controller-manager"},
		{name: "kubelet", pkg: "k8s.io/kubernetes/cmd/kubelet"},
	},
}

// helm renders the chart, which the tests compare with the output of kustomize.
var helm = set{
	name:     "helm",
	title:    "Helm",
	use:      "the tests",
	usual:    2 * time.Minute,
	module:   "helm.sh/helm/v4",
	binaries: []binary{{name: "helm", pkg: "helm.sh/helm/v4/cmd/helm"}},
}

// prometheus scrapes a manager in the tests, and evaluates the alerts.
var prometheus = set{
	name:   "prometheus",
	title:  "Prometheus",
	use:    "the tests",
	usual:  2 * time.Minute,
	module: "github.com/prometheus/prometheus",
	tags:   []string{"remove_all_sd"}, // service discovery in clouds, whose clients take most of the build
	binaries: []binary{
		{name: "prometheus", pkg: "github.com/prometheus/prometheus/cmd/prometheus"},
		{name: "promtool", pkg: "github.com/prometheus/prometheus/cmd/promtool"},
	},
}

// oidcprovider issues tokens for the grant client_credentials. Its module has a program of its own, since no released program of a Go
// module does.
var oidcprovider = set{
	name:     "oidcprovider",
	title:    "an OIDC provider",
	use:      "the tests",
	usual:    time.Minute,
	module:   "github.com/zitadel/oidc/v3",
	binaries: []binary{{name: "oidcprovider", pkg: "rolecredential.dev/operator/hack/oidcprovider"}},
}

var sets = []set{controlplane, node, seaweedfs, helm, prometheus, oidcprovider}

// pinned is a set with the versions that its module pins.
type pinned struct {
	set
	goMod, goSum string
	// source is the module's own program; empty if it has none.
	source string
	// version of the set's module, such as v1.37.2.
	version string
}

// folder of the set's module, in the repository's root.
func (s set) folder() string { return filepath.Join("hack", s.name) }

func (s set) read() (pinned, error) {
	p := pinned{set: s}
	for file, text := range map[string]*string{"go.mod": &p.goMod, "go.sum": &p.goSum, "main.go": &p.source} {
		found, err := os.ReadFile(filepath.Join(s.folder(), file))
		if errors.Is(err, fs.ErrNotExist) && file == "main.go" {
			continue
		}
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

// requiredVersion returns the version of a module in a go.mod that requires it.
func requiredVersion(mod, module string) (string, error) {
	if version, ok := requirements(mod)[module]; ok {
		return version, nil
	}
	return "", fmt.Errorf("go.mod requires no %s", module)
}

// requirements returns the version of each module that a go.mod requires.
func requirements(mod string) map[string]string {
	versions := map[string]string{}
	for line := range strings.Lines(mod) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && strings.HasPrefix(fields[1], "v") {
			versions[fields[0]] = fields[1]
		}
	}
	return versions
}

// cacheKey returns the name of the set's folder in the cache. It changes with all inputs of a build except the Go toolchain,
// whose update is no reason to build again.
func (p pinned) cacheKey(goos, goarch string) string {
	inputs := append([]string{p.goMod, p.goSum, p.ldflags(), goos, goarch}, p.tags...)
	if p.source != "" {
		inputs = append(inputs, p.source)
	}
	sum := sha256.Sum256([]byte(strings.Join(inputs, "\x00")))
	return p.version + "-" + hex.EncodeToString(sum[:6])
}

// ldflags stamps the version like a Kubernetes release. Without the version, `kubectl version` fails. A Go module does not know
// its commit, hence the zeros.
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

// lastLines returns the last n lines of text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
