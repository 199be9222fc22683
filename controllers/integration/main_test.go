// Package integration_test runs the operator against a real API server and the STS emulator, with the ServiceAccount and RBAC of the
// manifests.
package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/hack/testbed"
)

// The control plane, and the clients of its administrator.
var (
	cluster     *testbed.Cluster
	adminConfig *rest.Config
	admin       client.WithWatch
	kubectl     func(args ...string) (string, error)
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	if config := os.Getenv(operatorProcessEnv); config != "" {
		if err := runOperator(config); err != nil {
			fmt.Fprintln(os.Stderr, "the operator process:", err)
			return 1
		}
		return 0
	}
	var err error
	if cluster, err = testbed.Start(filepath.Join("..", "..")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	adminConfig, admin, kubectl = cluster.Config, cluster.Client, cluster.Kubectl
	defer func() {
		if err := cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the control plane:", err)
			code = 1
		}
	}()
	code = m.Run()
	if sharedSeaweedFS != nil {
		if err := sharedSeaweedFS.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping SeaweedFS:", err)
			code = 1
		}
	}
	return code
}
