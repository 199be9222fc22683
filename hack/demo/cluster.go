package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/stsemulator"
)

// demo is all that runs, and what it takes to look at it.
type demo struct {
	out         io.Writer
	managerPath string
	// assets is the folder of etcd, kube-apiserver and kubectl.
	assets string
	// dir is the temporary folder that holds every file of the demo.
	dir        string
	kubeconfig string
	managerLog string
	// lifetimeFraction is what of a session's lifetime is left of it here.
	lifetimeFraction float64

	config   *rest.Config
	cluster  client.Client
	sts      *stsemulator.Server
	endpoint *stsemulator.Endpoint
	// abort ends the demo early, with the cause.
	abort context.CancelCauseFunc
	// ends are what is to be called in the end, the last first.
	ends []func() error
}

func newDemo(managerPath string) (*demo, error) {
	if _, err := os.Stat(filepath.Join("config", "default")); err != nil {
		return nil, errors.New("run the demo from the repository's root, best as `make demo`")
	}
	if _, err := exec.LookPath(managerPath); err != nil {
		return nil, fmt.Errorf("there is no manager to run: %w; `make build` makes it", err)
	}
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		return nil, errors.New("KUBEBUILDER_ASSETS names no folder with etcd, kube-apiserver and kubectl; `make demo` sees to that")
	}
	dir, err := os.MkdirTemp("", "rolecredential-demo-")
	if err != nil {
		return nil, err
	}
	d := &demo{
		out: os.Stdout, managerPath: managerPath, assets: assets, dir: dir,
		kubeconfig: filepath.Join(dir, "kubeconfig"),
		managerLog: filepath.Join(dir, "manager.log"),

		lifetimeFraction: lifetimeFraction,
	}
	d.finally(func() error { return os.RemoveAll(dir) })
	// envtest's own folders are to be within ours.
	return d, os.Setenv("TMPDIR", dir)
}

func (d *demo) finally(end func() error) { d.ends = append(d.ends, end) }

// close ends all that was started, in reverse.
func (d *demo) close() error {
	var errs []error
	for len(d.ends) > 0 {
		last := len(d.ends) - 1
		errs = append(errs, d.ends[last]())
		d.ends = d.ends[:last]
	}
	return errors.Join(errs...)
}

// startCluster starts etcd and kube-apiserver, and writes a kubeconfig for their admin.
func (d *demo) startCluster() error {
	environment := &envtest.Environment{
		UseExistingCluster:       new(false),
		BinaryAssetsDirectory:    d.assets,
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  20 * time.Second,
	}
	d.finally(environment.Stop)
	config, err := environment.Start()
	if err != nil {
		return err
	}
	d.config = config
	scheme, err := controllers.Scheme()
	if err != nil {
		return err
	}
	if d.cluster, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	return os.WriteFile(d.kubeconfig, environment.KubeConfig, 0o600)
}

// lifetimeFraction makes an hour of 30 seconds.
const lifetimeFraction = 30.0 / 3600

// startSTS starts the emulator, in this process.
func (d *demo) startSTS() error {
	world, err := stsemulator.DefaultConfig()
	if err != nil {
		return err
	}
	if d.sts, err = stsemulator.New(world, stsemulator.Options{LifetimeFraction: d.lifetimeFraction}); err != nil {
		return err
	}
	if d.endpoint, err = d.sts.Start(""); err != nil {
		return err
	}
	d.finally(d.endpoint.Close)
	return nil
}

const (
	operatorNamespace = "rolecredential-system"
	operatorAccount   = "rolecredential-manager"
	// tokenSeconds is for as long as anyone might play.
	tokenSeconds = 7 * 24 * 60 * 60
)

// managerKubeconfig writes a kubeconfig with a token of the manager's ServiceAccount, as a kubelet would ask for one.
func (d *demo) managerKubeconfig(ctx context.Context) (string, error) {
	account := &corev1.ServiceAccount{}
	account.Namespace, account.Name = operatorNamespace, operatorAccount
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(tokenSeconds))}}
	if err := d.cluster.SubResource("token").Create(ctx, account, request); err != nil {
		return "", err
	}
	const name = "demo"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: d.config.Host, CertificateAuthorityData: d.config.CAData}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: request.Status.Token}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	path := filepath.Join(d.dir, "manager.kubeconfig")
	return path, clientcmd.WriteToFile(*config, path)
}

// startManager starts the manager. Should it end before the demo, it takes the demo along.
func (d *demo) startManager(kubeconfig string) error {
	log, err := os.Create(d.managerLog)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own handle
	cmd := exec.Command(d.managerPath,
		"--kubeconfig="+kubeconfig,
		"--leader-elect", "--leader-election-namespace="+operatorNamespace,
		"--health-probe-bind-address=0",
	)
	// No variable of ours, and above all none of AWS's, is the manager's.
	cmd.Env = []string{"HOME=" + d.dir, "TMPDIR=" + d.dir}
	cmd.Stdout, cmd.Stderr = log, log
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // what there is to say is in the process's state
		d.abort(fmt.Errorf("the manager ended: %s", cmd.ProcessState))
		close(ended)
	}()
	d.finally(func() error { return endGroup(cmd, ended) })
	return nil
}

// endGroup ends a process, and if it does not heed that, kills it and all that it started.
func endGroup(cmd *exec.Cmd, ended <-chan struct{}) error {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-ended:
		return nil
	case <-time.After(15 * time.Second):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		return fmt.Errorf("%s did not end when told to, and was killed", cmd.Path)
	}
}
