package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/program"
)

// leaderIsKilled kills the leader's process, so that it cannot release its lease. The next leader is the other manager, or the process that
// the kubelet restarts.
func (w *environment) leaderIsKilled(ctx context.Context) (string, error) {
	leader, err := w.leader(ctx)
	if err != nil {
		return "", err
	}
	process, err := w.process(ctx, podOf(leader))
	if err != nil {
		return "", err
	}
	return w.succession(ctx, leader, func() error { return syscall.Kill(process, syscall.SIGKILL) })
}

// leaderHangs stops the leader's process, and continues it when the other manager leads. It must exit then.
func (w *environment) leaderHangs(ctx context.Context) (string, error) {
	leader, err := w.leader(ctx)
	if err != nil {
		return "", err
	}
	process, err := w.process(ctx, podOf(leader))
	if err != nil {
		return "", err
	}
	observed, err := w.succession(ctx, leader, func() error { return syscall.Kill(process, syscall.SIGSTOP) })
	if err != nil {
		return "", err
	}
	if err := syscall.Kill(process, syscall.SIGCONT); err != nil {
		return "", err
	}
	err = program.WaitUntil(ctx, settleTimeout, pollInterval, func(context.Context) error {
		if err := syscall.Kill(process, 0); err == nil {
			return errors.New("the former leader still runs")
		}
		return nil
	})
	return observed + "; the former leader exited", err
}

// succession causes a failure of the leader, and waits until another process leads, which must issue only credentials that are due.
func (w *environment) succession(ctx context.Context, leader string, failure func() error) (string, error) {
	before, err := w.allIssued(ctx)
	if err != nil {
		return "", err
	}
	start := time.Now()
	if err := failure(); err != nil {
		return "", err
	}
	err = program.WaitUntil(ctx, settleTimeout, pollInterval, func(ctx context.Context) error {
		now, err := w.leader(ctx)
		if err == nil && now == leader {
			err = fmt.Errorf("%s still leads", leader)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	took := time.Since(start)
	if _, err := w.refresh(ctx, "waits", int(start.Unix())); err != nil { // the new leader works
		return "", err
	}
	after, err := w.allIssued(ctx)
	if err != nil {
		return "", err
	}
	delete(before, "waits")
	waited := time.Duration(0) // of the credential that was due first
	for name, was := range before {
		if after[name].key != was.key && time.Now().Before(was.due) {
			return "", fmt.Errorf("the new leader issued %s, which was not due", name)
		}
		waited = max(waited, start.Add(took).Sub(was.due))
	}
	return fmt.Sprintf("another process leads after %s; a due refresh waited up to %s; no other credential was refreshed", round(took), round(waited)), nil
}

// leader returns the holder of the lease: the name of a Pod, and a unique suffix of its process.
func (w *environment) leader(ctx context.Context) (string, error) {
	lease := &coordinationv1.Lease{}
	if err := w.client.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: "rolecredential.dev"}, lease); err != nil {
		return "", err
	}
	if ptr.Deref(lease.Spec.HolderIdentity, "") == "" {
		return "", errors.New("no manager leads")
	}
	return *lease.Spec.HolderIdentity, nil
}

func podOf(leader string) string {
	pod, _, _ := strings.Cut(leader, "_")
	return pod
}

// process returns the PID of a manager.
func (w *environment) process(ctx context.Context, pod string) (int, error) {
	found := &corev1.Pod{}
	if err := w.client.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: pod}, found); err != nil {
		return 0, err
	}
	container := strings.TrimPrefix(found.Status.ContainerStatuses[0].ContainerID, "containerd://")
	tasks, err := w.ctr(ctx, "tasks", "ls")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(tasks) {
		var task string
		var process int
		if n, _ := fmt.Sscan(line, &task, &process); n == 2 && task == container {
			return process, nil
		}
	}
	return 0, fmt.Errorf("container %s of %s has no process:\n%s", container, pod, tasks)
}

// issued is the key in a credential's Secret, and the time of its next refresh.
type issued struct {
	key string
	due time.Time
}

// allIssued returns the keys of all credentials, by name.
func (w *environment) allIssued(ctx context.Context) (map[string]issued, error) {
	var list v1alpha1.RoleCredentialList
	if err := w.client.List(ctx, &list); err != nil {
		return nil, err
	}
	all := map[string]issued{}
	for _, found := range list.Items {
		all[found.Name] = issued{found.Status.AccessKeyID, ptr.Deref(found.Status.NextRefreshTime, metav1.Time{}).Time}
	}
	return all, nil
}
