package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/program"
)

// The network of the enclosure.
const (
	node         = "127.0.0.1" // the node's name and address
	apiServer    = "https://127.0.0.1:6443"
	etcdServer   = "http://127.0.0.1:2379"
	services     = "10.96.0.0/24"
	kubernetes   = "10.96.0.1" // the Service kubernetes, the API server's address for Pods
	pods         = "10.244.0.0/24"
	gateway      = "10.244.0.1" // this machine's address for Pods
	bridge       = "e2e0"
	state        = "/run/e2e" // a tmpfs
	socket       = state + "/containerd.sock"
	pauseImage   = "localhost/pause:e2e"
	startTimeout = 2 * time.Minute
	pollInterval = 100 * time.Millisecond
)

//go:embed config
var configs embed.FS

// cluster is a control plane and a node.
type cluster struct {
	given      programs
	ca         *authority
	kubeconfig string
	client     client.WithWatch
	// abort stops the run with a cause.
	abort context.CancelCauseFunc
}

// startCluster starts the servers, and returns when Pods can be created. They stop with the enclosure.
func startCluster(ctx context.Context, given programs, abort context.CancelCauseFunc) (*cluster, error) {
	c := &cluster{given: given, abort: abort}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"the network", c.createNetwork},
		{"certificates and configurations", c.configure},
		{"etcd, kube-apiserver and containerd", c.startControlPlane},
		{"images", c.importImages},
		{"the API server", c.connect},
		{"the node", c.startNode},
	} {
		if err := step.run(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return c, nil
}

// createNetwork creates the bridge of the Pods, and forwards the Service kubernetes to the API server, like kube-proxy.
func (c *cluster) createNetwork(ctx context.Context) error {
	for _, line := range []string{
		"ip link add " + bridge + " type bridge",
		"ip address add " + gateway + "/24 dev " + bridge,
		"ip link set " + bridge + " up",
		"iptables -w -t nat -A OUTPUT -d " + kubernetes + " -p tcp --dport 443 -j DNAT --to-destination 127.0.0.1:6443",
		"iptables -w -t nat -A PREROUTING -i " + bridge + " -d " + kubernetes + " -p tcp --dport 443 -j DNAT --to-destination 127.0.0.1:6443",
	} {
		args := strings.Fields(line)
		if _, err := c.command(ctx, args[0], args[1:]...); err != nil {
			return err
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/conf/"+bridge+"/route_localnet", []byte("1"), 0o644)
}

func (c *cluster) configure(context.Context) error {
	var err error
	if c.ca, err = newAuthority(filepath.Join(state, "pki")); err != nil {
		return err
	}
	for _, one := range []struct {
		name, user, group string
		addresses         []string
	}{
		{name: "apiserver", user: "kube-apiserver", addresses: []string{node, kubernetes, "localhost", "kubernetes.default.svc"}},
		{name: "kubelet", user: "system:node:" + node, group: "system:nodes", addresses: []string{node}},
		{name: "apiserver-kubelet", user: "apiserver-kubelet", group: "system:masters"},
		{name: "admin", user: "admin", group: "system:masters"},
		{name: "controller-manager", user: "system:kube-controller-manager"},
		{name: "scheduler", user: "system:kube-scheduler"},
		{name: "accounts", user: "service accounts"}, // its key signs tokens of ServiceAccounts
	} {
		if err := c.ca.certify(one.name, one.user, one.group, one.addresses...); err != nil {
			return err
		}
		if _, err := c.ca.kubeconfig(one.name, apiServer); err != nil {
			return err
		}
	}
	c.kubeconfig = c.ca.file("admin.kubeconfig")
	return errors.Join(c.render("containerd.toml"), c.render("kubelet.yaml"), c.render("cni/10-bridge.conflist"))
}

// render writes a configuration to the folder state.
func (c *cluster) render(path string) error {
	parsed, err := template.ParseFS(configs, "config/"+filepath.Base(path))
	if err != nil {
		return err
	}
	path = filepath.Join(state, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	err = parsed.Execute(file, map[string]string{
		"State": state, "PKI": c.ca.dir, "Socket": socket, "CNI": c.given.CNI, "Bridge": bridge, "PodNetwork": pods, "PauseImage": pauseImage,
	})
	return errors.Join(err, file.Close())
}

func (c *cluster) startControlPlane(ctx context.Context) error {
	err := errors.Join(
		c.start("etcd", filepath.Join(c.given.ControlPlane, "etcd"),
			"--data-dir="+state+"/etcd", "--unsafe-no-fsync",
			"--listen-client-urls="+etcdServer, "--advertise-client-urls="+etcdServer),
		c.start("containerd", "containerd", "--config="+state+"/containerd.toml"),
		c.start("kube-apiserver", filepath.Join(c.given.ControlPlane, "kube-apiserver"),
			"--etcd-servers="+etcdServer, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port=6443",
			"--endpoint-reconciler-type=none", "--service-cluster-ip-range="+services,
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
			"--client-ca-file="+c.ca.file("ca.crt"), "--tls-cert-file="+c.ca.file("apiserver.crt"), "--tls-private-key-file="+c.ca.file("apiserver.key"),
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file="+c.ca.file("accounts.key"), "--service-account-signing-key-file="+c.ca.file("accounts.key"),
			"--kubelet-client-certificate="+c.ca.file("apiserver-kubelet.crt"), "--kubelet-client-key="+c.ca.file("apiserver-kubelet.key"),
			"--kubelet-certificate-authority="+c.ca.file("ca.crt"), "--kubelet-preferred-address-types=InternalIP"),
	)
	if err != nil {
		return err
	}
	return program.WaitUntil(ctx, startTimeout, pollInterval, func(ctx context.Context) error {
		_, err := c.ctr(ctx, "version")
		return err
	})
}

func (c *cluster) importImages(ctx context.Context) error {
	images, err := filepath.Glob(filepath.Join(c.given.Images, "*.tar"))
	if err != nil || len(images) == 0 {
		return fmt.Errorf("there is no image in %s: %w", c.given.Images, err)
	}
	for _, image := range images {
		if _, err := c.ctr(ctx, "images", "import", image); err != nil {
			return err
		}
	}
	return nil
}

// connect waits for the API server.
func (c *cluster) connect(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // no rate limit
	scheme, err := controllers.Scheme()
	if err != nil {
		return err
	}
	return program.WaitUntil(ctx, startTimeout, pollInterval, func(ctx context.Context) error {
		if _, err := c.kubectl(ctx, "get", "--raw", "/readyz"); err != nil {
			return err
		}
		c.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
		return err
	})
}

func (c *cluster) startNode(ctx context.Context) error {
	err := errors.Join(
		c.start("kube-controller-manager", filepath.Join(c.given.Node, "kube-controller-manager"),
			"--kubeconfig="+c.ca.file("controller-manager.kubeconfig"), "--bind-address=127.0.0.1", "--leader-elect=false",
			"--use-service-account-credentials=true", "--root-ca-file="+c.ca.file("ca.crt"), "--service-account-private-key-file="+c.ca.file("accounts.key"),
			"--kube-api-qps=300", "--kube-api-burst=600"), // with the defaults, a new namespace's ServiceAccount takes seconds
		c.start("kube-scheduler", filepath.Join(c.given.Node, "kube-scheduler"),
			"--kubeconfig="+c.ca.file("scheduler.kubeconfig"), "--bind-address=127.0.0.1", "--leader-elect=false"),
		c.start("kubelet", filepath.Join(c.given.Node, "kubelet"),
			"--config="+state+"/kubelet.yaml", "--kubeconfig="+c.ca.file("kubelet.kubeconfig"),
			"--root-dir="+state+"/kubelet", "--cert-dir="+state+"/kubelet-pki", "--hostname-override="+node),
	)
	if err != nil {
		return err
	}
	return program.WaitUntil(ctx, startTimeout, pollInterval, func(ctx context.Context) error {
		found := &corev1.Node{}
		if err := c.client.Get(ctx, client.ObjectKey{Name: node}, found); err != nil {
			return err
		}
		ready := slices.ContainsFunc(found.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
		if !ready || len(found.Spec.Taints) > 0 {
			return fmt.Errorf("not ready: %v, taints %v", found.Status.Conditions, found.Spec.Taints)
		}
		return c.client.Get(ctx, client.ObjectKey{Namespace: corev1.NamespaceDefault, Name: "default"}, &corev1.ServiceAccount{})
	})
}

// start starts a server with its output in a log. If the server exits, the run stops.
func (c *cluster) start(name, program string, args ...string) error {
	if err := os.MkdirAll(c.given.Logs, 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(c.given.Logs, name+".log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own handle
	cmd := exec.Command(program, args...)
	cmd.Env = processEnv()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = cmd.Wait() // the process's state has the result
		c.abort(fmt.Errorf("%s exited: %s; see %s", name, cmd.ProcessState, log.Name()))
	}()
	return nil
}

// processEnv returns the environment of all programs. It has no other variable of this process, so that they find no AWS credentials.
func processEnv(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + state, "TMPDIR=" + state}, more...)
}

func (c *cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	return c.command(ctx, filepath.Join(c.given.ControlPlane, "kubectl"), args...)
}

func (c *cluster) helm(ctx context.Context, args ...string) (string, error) {
	return c.command(ctx, c.given.Helm, args...)
}

func (c *cluster) ctr(ctx context.Context, args ...string) (string, error) {
	return c.command(ctx, "ctr", append([]string{"--address=" + socket, "--namespace=k8s.io"}, args...)...)
}

// command runs a program and returns its output, which an error contains too.
func (c *cluster) command(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = processEnv("KUBECONFIG=" + c.kubeconfig)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return string(output), nil
}
