package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/cluster"
	"rolecredential.dev/operator/hack/program"
)

const leaseName = "rolecredential.dev"

// controlPlane is etcd and kube-apiserver, whose processes can be paused, killed and restarted.
type controlPlane struct {
	*cluster.Cluster
	clientset *kubernetes.Clientset
	log       *os.File

	mu sync.Mutex
	// replacement is the API server that was started after a kill, nil for none.
	replacement *exec.Cmd
	// command is the command line of the API server.
	command []string
}

// startControlPlane starts etcd and kube-apiserver. It returns a controlPlane to close even with an error.
func startControlPlane(assets, dir, logs string) (*controlPlane, error) {
	c := &controlPlane{}
	log, err := os.Create(filepath.Join(logs, "kube-apiserver.log"))
	if err != nil {
		return c, err
	}
	etcdLog, err := os.Create(filepath.Join(logs, "etcd.log"))
	if err != nil {
		return c, err
	}
	c.log = log
	c.Cluster, err = cluster.Start(assets, dir, func(e *envtest.Environment) {
		server := e.ControlPlane.GetAPIServer()
		server.Out, server.Err = log, log
		e.ControlPlane.Etcd.Out, e.ControlPlane.Etcd.Err = etcdLog, etcdLog
	})
	if err != nil {
		return c, err
	}
	if c.clientset, err = kubernetes.NewForConfig(c.Config); err != nil {
		return c, err
	}
	process, err := childNamed("kube-apiserver")
	if err != nil {
		return c, err
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", process))
	c.command = strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
	return c, err
}

func (c *controlPlane) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.replacement != nil {
		_ = c.replacement.Process.Kill() // it fails if the process has exited
		_ = c.replacement.Wait()         // it returns the kill as an error
	}
	return c.Close()
}

// childNamed returns the PID of a child process.
func childNamed(name string) (int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range all {
		line, err := os.ReadFile(path)
		if err != nil {
			continue // the process has exited
		}
		// The name is in parentheses, may contain parentheses, and is cut to 15 bytes.
		before, after, _ := strings.Cut(string(line), " (")
		end := strings.LastIndex(after, ") ")
		if end < 0 || !strings.HasPrefix(name, after[:end]) {
			continue
		}
		fields := strings.Fields(after[end+2:])
		if len(fields) > 1 && fields[0] != "Z" && fields[1] == strconv.Itoa(os.Getpid()) {
			return strconv.Atoi(before)
		}
	}
	return 0, fmt.Errorf("this program has no child process %s; chaos needs Linux's /proc", name)
}

// pauseEtcd stops etcd for a duration, like a disk that hangs.
func (c *controlPlane) pauseEtcd(ctx context.Context, d time.Duration) error {
	process, err := childNamed("etcd")
	if err != nil {
		return err
	}
	if err := syscall.Kill(process, syscall.SIGSTOP); err != nil {
		return err
	}
	sleep(ctx, d)
	return syscall.Kill(process, syscall.SIGCONT)
}

// restart kills the API server, and starts it again after a duration. It returns when the new process is ready.
func (c *controlPlane) restart(ctx context.Context, down time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	process, err := childNamed("kube-apiserver")
	if err != nil {
		return err
	}
	if err := syscall.Kill(process, syscall.SIGKILL); err != nil {
		return err
	}
	if c.replacement != nil {
		_ = c.replacement.Wait() // it returns the kill as an error
	}
	sleep(ctx, down)
	c.replacement = exec.Command(c.command[0], c.command[1:]...)
	c.replacement.Stdout, c.replacement.Stderr = c.log, c.log
	c.replacement.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.replacement.Start(); err != nil {
		return err
	}
	return c.awaitReady(ctx)
}

// awaitReady waits until the API server is ready.
func (c *controlPlane) awaitReady(ctx context.Context) error {
	return retry(ctx, func(ctx context.Context) error {
		return c.clientset.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// sleep waits for a duration, or until the context ends.
func sleep(ctx context.Context, d time.Duration) { _ = program.Sleep(ctx, d) }

// retry calls do until it succeeds, for two minutes at most, so that an injected fault does not stop the run.
func retry(ctx context.Context, do func(context.Context) error) error {
	return program.WaitUntil(ctx, 2*time.Minute, 100*time.Millisecond, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return do(ctx)
	})
}

// lease returns the managers' lease.
func (c *controlPlane) lease(ctx context.Context) (*coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	return lease, c.Client.Get(ctx, client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: leaseName}, lease)
}

// release removes the holder of the lease.
func (c *controlPlane) release(ctx context.Context) error {
	return retry(ctx, func(ctx context.Context) error {
		lease, err := c.lease(ctx)
		if err != nil {
			return err
		}
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = new(""), new(int32(1))
		return c.Client.Update(ctx, lease)
	})
}

// deleteNamespace deletes a namespace and its objects, like the namespace controller and the garbage collector. There is no
// kube-controller-manager here.
func (c *controlPlane) deleteNamespace(ctx context.Context, name string) error {
	err := retry(ctx, func(ctx context.Context) error {
		return client.IgnoreNotFound(c.Client.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	})
	if err != nil {
		return err
	}
	for _, kind := range []client.Object{
		&v1alpha1.RoleCredential{}, &v1alpha1.SessionCredential{}, &v1alpha1.FederatedCredential{}, &v1alpha1.Identity{}, &corev1.Secret{},
	} {
		if err := retry(ctx, func(ctx context.Context) error { return c.Client.DeleteAllOf(ctx, kind, client.InNamespace(name)) }); err != nil {
			return err
		}
	}
	return retry(ctx, func(ctx context.Context) error {
		found, err := c.clientset.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			found.Spec.Finalizers = nil
			_, err = c.clientset.CoreV1().Namespaces().Finalize(ctx, found, metav1.UpdateOptions{})
		}
		return client.IgnoreNotFound(err)
	})
}

// get returns the body of a URL on loopback.
func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}
