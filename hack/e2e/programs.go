package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
			lacking = append(lacking, "the variable "+variable)
		}
	}
	if len(lacking) > 0 {
		return given, fmt.Errorf("%w: it lacks %s, which `make e2e` sets", errCannotRun, strings.Join(lacking, ", "))
	}
	if os.Geteuid() != 0 {
		return given, fmt.Errorf("%w: a kubelet and containers need root. Run it as root, best on a machine that is for that alone", errCannotRun)
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc", "ip", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			lacking = append(lacking, program)
		}
	}
	var err error
	if given.CNI, err = findPlugins("/usr/lib/cni", "/opt/cni/bin"); err != nil {
		lacking = append(lacking, err.Error())
	}
	if len(lacking) > 0 {
		return given, fmt.Errorf("%w: there is no %s. On Debian: %s", errCannotRun, strings.Join(lacking, ", no "), packages)
	}
	return given, nil
}

// findPlugins returns the folder that holds the network plugins: /usr/lib/cni on Debian, /opt/cni/bin on most others.
func findPlugins(folders ...string) (string, error) {
	for _, folder := range folders {
		complete := true
		for _, plugin := range []string{"bridge", "host-local", "loopback"} {
			if _, err := exec.LookPath(filepath.Join(folder, plugin)); err != nil {
				complete = false
			}
		}
		if complete {
			return folder, nil
		}
	}
	return "", errors.New("CNI plugins bridge, host-local and loopback")
}
