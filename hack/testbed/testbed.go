// Package testbed is what tests of the whole operator stand on: a real API server with config/default applied to it, as a user
// applies it. The manager is for each test to start, as the ServiceAccount of those manifests.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"rolecredential.dev/operator/controllers"
)

// OperatorNamespace is where the operator is installed.
const OperatorNamespace = "rolecredential-system"

// Cluster is the API server, and its administrator's ways to it.
type Cluster struct {
	Config *rest.Config
	Client client.WithWatch
	// Kubeconfig is a file's content.
	Kubeconfig  []byte
	environment *envtest.Environment
	kubectl     kubectl
}

type kubectl interface {
	Run(args ...string) (stdout, stderr io.Reader, err error)
}

// Start takes the repository's root, and the folder of etcd, kube-apiserver and kubectl from KUBEBUILDER_ASSETS. What a process
// that calls it asks of hosts that are not on loopback is refused from then on. Stop must be called if there is no error.
func Start(root string) (*Cluster, error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return nil, errors.New("KUBEBUILDER_ASSETS must name a folder with etcd, kube-apiserver and kubectl: run make test, which builds them")
	}
	if err := stayHere(); err != nil {
		return nil, fmt.Errorf("keeping the tests on this machine: %w", err)
	}
	c := &Cluster{environment: &envtest.Environment{}}
	// Where the discovery of its issuer says that the keys are.
	c.environment.ControlPlane.GetAPIServer().Configure().Set("external-hostname", "127.0.0.1")
	config, err := c.environment.Start()
	if err != nil {
		return nil, fmt.Errorf("starting the control plane: %w", err)
	}
	if err := c.install(root, config); err != nil {
		return nil, errors.Join(fmt.Errorf("installing the operator: %w", err), c.Stop())
	}
	return c, nil
}

// Stop ends the API server.
func (c *Cluster) Stop() error { return c.environment.Stop() }

// stayHere has all that is not on loopback asked of a proxy that refuses it.
func stayHere() error {
	proxy := httptest.NewServer(http.NotFoundHandler()) // for as long as the process
	return errors.Join(os.Setenv("HTTPS_PROXY", proxy.URL), os.Setenv("HTTP_PROXY", proxy.URL), os.Unsetenv("NO_PROXY"), os.Unsetenv("no_proxy"))
}

// install applies what a user applies.
func (c *Cluster) install(root string, config *rest.Config) error {
	user, err := c.environment.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, config)
	if err != nil {
		return err
	}
	if c.kubectl, err = user.Kubectl(); err != nil {
		return err
	}
	if c.Kubeconfig, err = user.KubeConfig(); err != nil {
		return err
	}
	if _, err := c.Kubectl("apply", "--server-side", "-k", filepath.Join(root, "config", "complete")); err != nil {
		return err
	}
	if _, err := c.Kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"); err != nil {
		return err
	}
	c.Config = user.Config()
	c.Config.QPS, c.Config.Burst = 1000, 1000
	scheme, err := controllers.Scheme()
	if err != nil {
		return err
	}
	c.Client, err = client.NewWithWatch(c.Config, client.Options{Scheme: scheme})
	return err
}

// Kubectl runs kubectl as the administrator, and returns all that it prints.
func (c *Cluster) Kubectl(args ...string) (string, error) {
	stdout, stderr, err := c.kubectl.Run(args...)
	text := readAll(stdout) + readAll(stderr)
	if err != nil {
		return text, fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return text, nil
}

func readAll(r io.Reader) string {
	text, err := io.ReadAll(r)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// AsOperator returns a config with a token of the operator's ServiceAccount, and no other rights.
func (c *Cluster) AsOperator(ctx context.Context) (*rest.Config, error) {
	var accounts corev1.ServiceAccountList
	if err := c.Client.List(ctx, &accounts, client.InNamespace(OperatorNamespace)); err != nil {
		return nil, err
	}
	if len(accounts.Items) != 1 {
		return nil, fmt.Errorf("there are %d service accounts in %s, and not 1", len(accounts.Items), OperatorNamespace)
	}
	token := &authenticationv1.TokenRequest{}
	if err := c.Client.SubResource("token").Create(ctx, &accounts.Items[0], token); err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(c.Config)
	config.BearerToken = token.Status.Token
	config.QPS, config.Burst = 1000, 1000
	return config, nil
}
