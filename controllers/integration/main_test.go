// Package integration_test runs the operator on a real API server, as its own ServiceAccount with the RBAC that is shipped,
// against the STS emulator.
package integration_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"rolecredential.dev/operator/controllers"
)

// The control plane, and the administrator's way to it.
var (
	adminConfig *rest.Config
	admin       client.WithWatch
	kubectl     func(args ...string) (string, error)
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "KUBEBUILDER_ASSETS must name a folder with etcd, kube-apiserver and kubectl: run make test, which builds them")
		return 1
	}
	if err := stayHere(); err != nil {
		fmt.Fprintln(os.Stderr, "keeping the tests on this machine:", err)
		return 1
	}
	environment := &envtest.Environment{}
	// Where the discovery of its issuer says that the keys are.
	environment.ControlPlane.GetAPIServer().Configure().Set("external-hostname", "127.0.0.1")
	config, err := environment.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the control plane:", err)
		return 1
	}
	defer func() {
		if err := environment.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the control plane:", err)
			code = 1
		}
	}()
	if err := install(environment, config); err != nil {
		fmt.Fprintln(os.Stderr, "installing the operator:", err)
		return 1
	}
	return m.Run()
}

// stayHere has all that is not on loopback asked of a proxy that refuses it.
func stayHere() error {
	proxy := httptest.NewServer(http.NotFoundHandler()) // for as long as the process
	return errors.Join(os.Setenv("HTTPS_PROXY", proxy.URL), os.Setenv("HTTP_PROXY", proxy.URL), os.Unsetenv("NO_PROXY"), os.Unsetenv("no_proxy"))
}

// install applies what a user applies.
func install(environment *envtest.Environment, config *rest.Config) error {
	user, err := environment.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, config)
	if err != nil {
		return err
	}
	ctl, err := user.Kubectl()
	if err != nil {
		return err
	}
	kubectl = func(args ...string) (string, error) {
		stdout, stderr, err := ctl.Run(args...)
		text := readAll(stdout) + readAll(stderr)
		if err != nil {
			return text, fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, text)
		}
		return text, nil
	}
	if _, err := kubectl("apply", "--server-side", "-k", filepath.Join("..", "..", "config", "default")); err != nil {
		return err
	}
	if _, err := kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"); err != nil {
		return err
	}
	adminConfig = user.Config()
	adminConfig.QPS, adminConfig.Burst = 1000, 1000
	scheme, err := controllers.Scheme()
	if err != nil {
		return err
	}
	admin, err = client.NewWithWatch(adminConfig, client.Options{Scheme: scheme})
	return err
}
