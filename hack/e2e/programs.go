package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// programs are the inputs of a run: programs, images and settings.
type programs struct {
	// ControlPlane contains etcd, kube-apiserver and kubectl. Node contains kube-scheduler, kube-controller-manager and kubelet.
	ControlPlane, Node string
	SeaweedFS, Helm    string
	// Images is a folder of OCI archives, Chart the operator's Helm chart, and CNI the folder of the network plugins.
	Images, Chart, CNI string
	// Logs is the folder of the servers' logs.
	Logs string
	// Run selects scenarios by their names: E2E_RUN, or all.
	Run *regexp.Regexp
	// Soak is the duration of the scenario soak: E2E_SOAK, or zero for none.
	Soak time.Duration
}

// packages is the command that installs the required Debian packages.
const packages = "apt-get install containerd runc containernetworking-plugins iproute2 iptables"

// findPrograms returns the inputs. Its error names what is missing.
func findPrograms() (programs, error) {
	given := programs{Logs: filepath.Join("bin", "e2e", "logs")}
	var missing []string
	for variable, path := range map[string]*string{
		"KUBEBUILDER_ASSETS": &given.ControlPlane,
		"NODE_ASSETS":        &given.Node,
		"SEAWEEDFS":          &given.SeaweedFS,
		"HELM":               &given.Helm,
		"E2E_IMAGES":         &given.Images,
		"E2E_CHART":          &given.Chart,
	} {
		if *path = os.Getenv(variable); *path == "" {
			missing = append(missing, variable)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		return given, fmt.Errorf("%w: `make e2e` sets the variables %s", errCannotRun, strings.Join(missing, ", "))
	}
	var err error
	if given.Run, err = regexp.Compile(os.Getenv("E2E_RUN")); err != nil {
		return given, fmt.Errorf("E2E_RUN: %w", err)
	}
	if text := os.Getenv("E2E_SOAK"); text != "" {
		if given.Soak, err = time.ParseDuration(text); err != nil {
			return given, fmt.Errorf("E2E_SOAK: %w", err)
		}
	}
	if given.CNI, err = findPlugins(); err != nil {
		return given, err
	}
	return given, checkMachine()
}

// checkMachine returns an error if this machine lacks something that `make e2e` does not build.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: a kubelet and containers need root: run it as root, best on a dedicated machine", errCannotRun)
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc", "ip", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: there is no %s. On Debian: %s", errCannotRun, program, packages)
		}
	}
	_, err := findPlugins()
	return err
}

// findPlugins returns the folder of the network plugins: /usr/lib/cni on Debian, /opt/cni/bin on most other systems.
func findPlugins() (string, error) {
	for _, folder := range []string{"/usr/lib/cni", "/opt/cni/bin"} {
		missing := false
		for _, plugin := range []string{"bridge", "host-local", "loopback"} {
			_, err := exec.LookPath(filepath.Join(folder, plugin))
			missing = missing || err != nil
		}
		if !missing {
			return folder, nil
		}
	}
	return "", fmt.Errorf("%w: there are no CNI plugins bridge, host-local and loopback. On Debian: %s", errCannotRun, packages)
}
