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
)

const leaseName = "rolecredential.dev"

// controlPlane is etcd and kube-apiserver, as processes that can be stopped, killed and started again.
type controlPlane struct {
	*cluster.Cluster
	clientset *kubernetes.Clientset
	log       *os.File

	mu sync.Mutex
	// anew is the API server that was started after the first was killed, nil for none.
	anew *exec.Cmd
	// command is how the API server was started.
	command []string
}

// startControlPlane starts them with their logs in a folder. They are to be closed, even if they did not start.
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
	c.Cluster, err = cluster.Start(assets, dir, false, func(e *envtest.Environment) {
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
	if c.anew != nil {
		_ = c.anew.Process.Kill() // it may have ended
		_ = c.anew.Wait()         // it was killed
	}
	return c.Close()
}

// childNamed finds a process that this one started.
func childNamed(name string) (int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range all {
		line, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// The name stands in parentheses, of which it may hold some itself, and is cut to 15 bytes.
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
	return 0, fmt.Errorf("no process of ours is named %s; this needs Linux's /proc", name)
}

// pauseEtcd stops etcd for a while, as a disk that hangs would.
func (c *controlPlane) pauseEtcd(ctx context.Context, d time.Duration) error {
	process, err := childNamed("etcd")
	if err != nil {
		return err
	}
	if err := syscall.Kill(process, syscall.SIGSTOP); err != nil {
		return err
	}
	pause(ctx, d)
	return syscall.Kill(process, syscall.SIGCONT)
}

// restart kills the API server, and starts it again after a while. It returns when that answers.
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
	if c.anew != nil {
		_ = c.anew.Wait() // it was killed
	}
	pause(ctx, down)
	c.anew = exec.Command(c.command[0], c.command[1:]...)
	c.anew.Stdout, c.anew.Stderr = c.log, c.log
	c.anew.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.anew.Start(); err != nil {
		return err
	}
	return c.ready(ctx)
}

// ready waits until the API server is.
func (c *controlPlane) ready(ctx context.Context) error {
	return insist(ctx, func(ctx context.Context) error {
		return c.clientset.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// pause waits for a while, or until the context ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// patience bounds what is done again until it works.
const patience = 2 * time.Minute

// insist does something again and again until it works: what goes wrong is not to hinder the program that lets it go wrong.
func insist(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		once, done := context.WithTimeout(ctx, 10*time.Second)
		err := do(once)
		done()
		if err == nil || ctx.Err() != nil {
			return err
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// lease reads the managers' lease.
func (c *controlPlane) lease(ctx context.Context) (*coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	return lease, c.Client.Get(ctx, client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: leaseName}, lease)
}

// release takes the lease away from who holds it.
func (c *controlPlane) release(ctx context.Context) error {
	return insist(ctx, func(ctx context.Context) error {
		lease, err := c.lease(ctx)
		if err != nil {
			return err
		}
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = new(""), new(int32(1))
		return c.Client.Update(ctx, lease)
	})
}

// deleteNamespace does what the namespace controller of a kube-controller-manager does, of which there is none here: what is in the
// namespace goes first. So it does the garbage collector's work, since Secrets go with their owners.
func (c *controlPlane) deleteNamespace(ctx context.Context, name string) error {
	err := insist(ctx, func(ctx context.Context) error {
		return client.IgnoreNotFound(c.Client.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	})
	if err != nil {
		return err
	}
	for _, kind := range []client.Object{
		&v1alpha1.RoleCredential{}, &v1alpha1.SessionCredential{}, &v1alpha1.FederatedCredential{}, &v1alpha1.Identity{}, &corev1.Secret{},
	} {
		if err := insist(ctx, func(ctx context.Context) error { return c.Client.DeleteAllOf(ctx, kind, client.InNamespace(name)) }); err != nil {
			return err
		}
	}
	return insist(ctx, func(ctx context.Context) error {
		found, err := c.clientset.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			found.Spec.Finalizers = nil
			_, err = c.clientset.CoreV1().Namespaces().Finalize(ctx, found, metav1.UpdateOptions{})
		}
		return client.IgnoreNotFound(err)
	})
}

// get reads a page of a loopback server.
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
