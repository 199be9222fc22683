// Package testbed starts a real API server with config/complete for tests of the whole operator. Each test starts the manager itself, with
// the ServiceAccount of those manifests.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"rolecredential.dev/operator/hack/cluster"
	"rolecredential.dev/operator/hack/program"
)

// OperatorNamespace is the operator's namespace.
const OperatorNamespace = cluster.OperatorNamespace

// Cluster is an API server with the operator's manifests.
type Cluster struct {
	*cluster.Cluster
	cleanups program.Cleanups
}

// Start starts the API server and installs the operator of the repository at root. KUBEBUILDER_ASSETS names the folder of etcd,
// kube-apiserver and kubectl. From then on, the process can reach no host but loopback. Without an error, the caller must call Stop.
func Start(root string) (_ *Cluster, err error) {
	assets, err := cluster.Assets()
	if err != nil {
		return nil, err
	}
	if err := denyRemoteHosts(); err != nil {
		return nil, fmt.Errorf("denying connections to remote hosts: %w", err)
	}
	dir, err := os.MkdirTemp("", "rolecredential-test-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{}
	c.cleanups.Add(func() error { return os.RemoveAll(dir) })
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	c.Cluster, err = cluster.Start(assets, dir, func(e *envtest.Environment) {
		// The discovery document of the ServiceAccount issuer contains this host.
		e.ControlPlane.GetAPIServer().Configure().Set("external-hostname", "127.0.0.1")
	})
	c.cleanups.Add(c.Close)
	if err != nil {
		return nil, fmt.Errorf("starting the control plane: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := c.Install(ctx, root); err != nil {
		return nil, fmt.Errorf("installing the operator: %w", err)
	}
	return c, nil
}

// Stop stops the API server and deletes its files.
func (c *Cluster) Stop() error { return c.cleanups.Run() }

// denyRemoteHosts makes the process use a proxy that rejects requests to hosts other than loopback.
func denyRemoteHosts() error {
	proxy := httptest.NewServer(http.NotFoundHandler()) // it serves until the process exits
	return errors.Join(os.Setenv("HTTPS_PROXY", proxy.URL), os.Setenv("HTTP_PROXY", proxy.URL), os.Unsetenv("NO_PROXY"), os.Unsetenv("no_proxy"))
}

// Kubectl runs kubectl as the administrator, and returns its output.
func (c *Cluster) Kubectl(args ...string) (string, error) {
	return c.Cluster.Kubectl(context.Background(), args...)
}
