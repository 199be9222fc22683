// Package cluster starts what programs in hack run against: etcd and kube-apiserver with the operator's manifests, and programs
// beside them, each as a process of its own. All of it is on loopback and in one folder.
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

// The operator's namespace and ServiceAccount, as config/default has them.
const (
	OperatorNamespace = "rolecredential-system"
	OperatorAccount   = "rolecredential-manager"
)

// Cluster is an API server, with etcd.
type Cluster struct {
	// Dir holds every file of it, and Assets etcd, kube-apiserver and kubectl.
	Dir, Assets string
	// Config and Kubeconfig, a file, are the admin's, and so is Client, which has no bounds of its own.
	Config     *rest.Config
	Kubeconfig string
	Client     client.WithWatch

	environment *envtest.Environment
}

// Assets returns the folder that holds etcd, kube-apiserver and kubectl.
func Assets() (string, error) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		return "", errors.New("KUBEBUILDER_ASSETS names no folder with etcd, kube-apiserver and kubectl; make sees to that")
	}
	return assets, nil
}

// Start starts a cluster in a folder. If it is durable, etcd has each write on the disk before it answers, as a real one has; if
// not, it is faster, and good for all but measuring. Changes are made to what envtest is told. The cluster is to be closed, even if it did not start.
func Start(assets, dir string, durable bool, changes ...func(*envtest.Environment)) (*Cluster, error) {
	c := &Cluster{Dir: dir, Assets: assets, Kubeconfig: filepath.Join(dir, "kubeconfig")}
	c.environment = &envtest.Environment{
		UseExistingCluster:       new(false),
		BinaryAssetsDirectory:    assets,
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  20 * time.Second,
	}
	c.environment.ControlPlane.Etcd = &envtest.Etcd{}
	if durable {
		c.environment.ControlPlane.Etcd.Configure().Disable("unsafe-no-fsync")
	}
	for _, change := range changes {
		change(c.environment)
	}
	// envtest's own folders are to be within ours.
	if err := os.Setenv("TMPDIR", dir); err != nil {
		return c, err
	}
	var err error
	if c.Config, err = c.environment.Start(); err != nil {
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

// Close ends the API server and etcd.
func (c *Cluster) Close() error { return c.environment.Stop() }

// KubectlCommand returns a command that is kubectl as the admin.
func (c *Cluster) KubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := Command(ctx, filepath.Join(c.Assets, "kubectl"), args...)
	cmd.Env = []string{"KUBECONFIG=" + c.Kubeconfig, "HOME=" + c.Dir, "KUBECACHEDIR=" + filepath.Join(c.Dir, "kubectl-cache")}
	return cmd
}

// Install applies config/complete of the repository, in which the program is to run, and waits until its kinds are served.
func (c *Cluster) Install(ctx context.Context) error {
	for _, args := range [][]string{
		{"apply", "--server-side", "-k", "config/complete"},
		{"wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"},
	} {
		if said, err := c.KubectlCommand(ctx, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, said)
		}
	}
	return nil
}

// tokenSeconds is for as long as anything might run.
const tokenSeconds = 7 * 24 * 60 * 60

// ManagerKubeconfig writes a kubeconfig with a token of the manager's ServiceAccount, as a kubelet would ask for one, and so with
// the rights of config/rbac and no others.
func (c *Cluster) ManagerKubeconfig(ctx context.Context) (string, error) {
	account := &corev1.ServiceAccount{}
	account.Namespace, account.Name = OperatorNamespace, OperatorAccount
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(tokenSeconds))}}
	if err := c.Client.SubResource("token").Create(ctx, account, request); err != nil {
		return "", err
	}
	const name = "manager"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: c.Config.Host, CertificateAuthorityData: c.Config.CAData}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: request.Status.Token}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	path := filepath.Join(c.Dir, "manager.kubeconfig")
	return path, clientcmd.WriteToFile(*config, path)
}
