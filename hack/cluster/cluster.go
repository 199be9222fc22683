// Package cluster starts etcd, kube-apiserver and other processes for the programs in hack and for tests. All of them use loopback and one
// folder.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"rolecredential.dev/operator/controllers"
)

// The operator's namespace and ServiceAccount in config/complete.
const (
	OperatorNamespace = "rolecredential-system"
	OperatorAccount   = "rolecredential-manager"
)

// Cluster is an API server with etcd.
type Cluster struct {
	// Dir contains all files of the cluster. Assets contains etcd, kube-apiserver and kubectl.
	Dir, Assets string
	// Kubeconfig is the path of the admin's kubeconfig.
	Kubeconfig string
	// Config and Client are the admin's, without a rate limit.
	Config *rest.Config
	Client client.WithWatch

	environment *envtest.Environment
}

// Assets returns the folder of etcd, kube-apiserver and kubectl, KUBEBUILDER_ASSETS.
func Assets() (string, error) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		return "", errors.New("KUBEBUILDER_ASSETS is not set: set it to the folder that `make controlplane` prints, or use the make target")
	}
	return assets, nil
}

// Durable makes etcd sync each write to the disk before it responds, as in production. It makes the cluster slower.
func Durable(e *envtest.Environment) { e.ControlPlane.Etcd.Configure().Disable("unsafe-no-fsync") }

// Start starts a cluster in a folder, after changes to its configuration. It returns a Cluster to close even with an error.
func Start(assets, dir string, changes ...func(*envtest.Environment)) (*Cluster, error) {
	c := &Cluster{Dir: dir, Assets: assets, Kubeconfig: filepath.Join(dir, "kubeconfig")}
	c.environment = &envtest.Environment{
		UseExistingCluster:       new(false),
		BinaryAssetsDirectory:    assets,
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  20 * time.Second,
	}
	c.environment.ControlPlane.Etcd = &envtest.Etcd{}
	for _, change := range changes {
		change(c.environment)
	}
	if err := c.startEnvironment(); err != nil {
		return c, err
	}
	c.Config.QPS = -1
	scheme, err := controllers.Scheme()
	if err != nil {
		return c, err
	}
	if c.Client, err = client.NewWithWatch(c.Config, client.Options{Scheme: scheme}); err != nil {
		return c, err
	}
	return c, os.WriteFile(c.Kubeconfig, c.environment.KubeConfig, 0o600)
}

// startEnvironment starts envtest. Its folders are created in TMPDIR, which has to be the cluster's folder meanwhile.
func (c *Cluster) startEnvironment() (err error) {
	before, set := os.LookupEnv("TMPDIR")
	if err := os.Setenv("TMPDIR", c.Dir); err != nil {
		return err
	}
	c.Config, err = c.environment.Start()
	if set {
		return errors.Join(err, os.Setenv("TMPDIR", before))
	}
	return errors.Join(err, os.Unsetenv("TMPDIR"))
}

// Close stops the API server and etcd.
func (c *Cluster) Close() error { return c.environment.Stop() }

// KubectlCommand returns a command that runs kubectl as the admin.
func (c *Cluster) KubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := Command(ctx, filepath.Join(c.Assets, "kubectl"), args...)
	cmd.Env = []string{"KUBECONFIG=" + c.Kubeconfig, "HOME=" + c.Dir, "KUBECACHEDIR=" + filepath.Join(c.Dir, "kubectl-cache")}
	return cmd
}

// Kubectl runs kubectl as the admin, and returns its output, which an error contains too.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	output, err := c.KubectlCommand(ctx, args...).CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, output)
	}
	return string(output), nil
}

// Install applies config/complete of the repository at root, and waits until its kinds are served.
func (c *Cluster) Install(ctx context.Context, root string) error {
	if _, err := c.Kubectl(ctx, "apply", "--server-side", "-k", filepath.Join(root, "config", "complete")); err != nil {
		return err
	}
	_, err := c.Kubectl(ctx, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	return err
}

// tokenSeconds is the lifetime of the manager's token, longer than any run.
const tokenSeconds = 7 * 24 * 60 * 60

// ManagerConfig returns a config with a token of the manager's ServiceAccount, and so with the permissions of config/rbac only.
func (c *Cluster) ManagerConfig(ctx context.Context) (*rest.Config, error) {
	account := &corev1.ServiceAccount{}
	account.Namespace, account.Name = OperatorNamespace, OperatorAccount
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(tokenSeconds))}}
	if err := c.Client.SubResource("token").Create(ctx, account, request); err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(c.Config)
	config.BearerToken, config.QPS = request.Status.Token, -1
	return config, nil
}

// ManagerKubeconfig writes [Cluster.ManagerConfig] to a kubeconfig, and returns its path.
func (c *Cluster) ManagerKubeconfig(ctx context.Context) (string, error) {
	manager, err := c.ManagerConfig(ctx)
	if err != nil {
		return "", err
	}
	const name = "manager"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: manager.Host, CertificateAuthorityData: manager.CAData}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: manager.BearerToken}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	path := filepath.Join(c.Dir, "manager.kubeconfig")
	return path, clientcmd.WriteToFile(*config, path)
}
