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

// programs is all that a run is given: programs, images, and where to put logs.
type programs struct {
	// ControlPlane holds etcd, kube-apiserver and kubectl; Node holds kube-scheduler, kube-controller-manager and kubelet.
	ControlPlane, Node string
	MinIO, Helm        string
	// Images is a folder of OCI archives, and CNI that of the network plugins.
	Images, CNI string
	// Logs is where the servers' logs are left.
	Logs string
	// Run matches the names of the scenarios to run: all, unless E2E_RUN says otherwise.
	Run *regexp.Regexp
	// Soak is for how long clients are to live on at the end; zero, unless E2E_SOAK says otherwise.
	Soak time.Duration
}

// packages are what Debian has to give, as the message says that tells of a lack.
const packages = "apt-get install containerd runc containernetworking-plugins iproute2 iptables"

// findPrograms looks for all that it takes. Its error says what is missing.
func findPrograms() (programs, error) {
	given := programs{Logs: filepath.Join("bin", "e2e", "logs")}
	var lacking []string
	for variable, path := range map[string]*string{
		"KUBEBUILDER_ASSETS": &given.ControlPlane,
		"NODE_ASSETS":        &given.Node,
		"MINIO":              &given.MinIO,
		"HELM":               &given.Helm,
		"E2E_IMAGES":         &given.Images,
	} {
		if *path = os.Getenv(variable); *path == "" {
			lacking = append(lacking, variable)
		}
	}
	slices.Sort(lacking)
	if len(lacking) > 0 {
		return given, fmt.Errorf("%w: `make e2e` sets the variables %s", errCannotRun, strings.Join(lacking, ", "))
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

// checkMachine says what keeps this machine from running it, apart from what `make e2e` builds.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: a kubelet and containers need root. Run it as root, best on a machine that is for that alone", errCannotRun)
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc", "ip", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: there is no %s. On Debian: %s", errCannotRun, program, packages)
		}
	}
	_, err := findPlugins()
	return err
}

// findPlugins returns the folder that holds the network plugins: /usr/lib/cni on Debian, /opt/cni/bin on most others.
func findPlugins() (string, error) {
	for _, folder := range []string{"/usr/lib/cni", "/opt/cni/bin"} {
		lacking := false
		for _, plugin := range []string{"bridge", "host-local", "loopback"} {
			_, err := exec.LookPath(filepath.Join(folder, plugin))
			lacking = lacking || err != nil
		}
		if !lacking {
			return folder, nil
		}
	}
	return "", fmt.Errorf("%w: there are no CNI plugins bridge, host-local and loopback. On Debian: %s", errCannotRun, packages)
}
