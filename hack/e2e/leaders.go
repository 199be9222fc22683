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
)

// leaderIsKilled ends the leader's process at once, so that it cannot give its lease back. Whoever comes first leads: the other
// manager, or the process that the kubelet starts in the place of the one that was killed.
func (w *world) leaderIsKilled(ctx context.Context) (string, error) {
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

// leaderHangs stops the leader's process, and lets it go on when the other leads. It is to end itself then.
func (w *world) leaderHangs(ctx context.Context) (string, error) {
	leader, err := w.leader(ctx)
	if err != nil {
		return "", err
	}
	process, err := w.process(ctx, podOf(leader))
	if err != nil {
		return "", err
	}
	seen, err := w.succession(ctx, leader, func() error { return syscall.Kill(process, syscall.SIGSTOP) })
	if err != nil {
		return "", err
	}
	if err := syscall.Kill(process, syscall.SIGCONT); err != nil {
		return "", err
	}
	err = await(ctx, settle, func(context.Context) error {
		if err := syscall.Kill(process, 0); err == nil {
			return errors.New("the former leader goes on")
		}
		return nil
	})
	return seen + "; the former leader ended itself", err
}

// succession has something happen to the leader, and waits until another process leads, which must issue nothing that is not due.
func (w *world) succession(ctx context.Context, leader string, happen func() error) (string, error) {
	before, err := w.holds(ctx)
	if err != nil {
		return "", err
	}
	start := time.Now()
	if err := happen(); err != nil {
		return "", err
	}
	err = await(ctx, settle, func(ctx context.Context) error {
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
	if _, err := w.refresh(ctx, "waits", int(start.Unix())); err != nil { // it works
		return "", err
	}
	after, err := w.holds(ctx)
	if err != nil {
		return "", err
	}
	delete(before, "waits")
	waited := time.Duration(0) // by what was due first
	for name, was := range before {
		if after[name].key != was.key && time.Now().Before(was.due) {
			return "", fmt.Errorf("the new leader issued %s anew, which was not due", name)
		}
		waited = max(waited, start.Add(took).Sub(was.due))
	}
	return fmt.Sprintf("another process leads after %s, for which what was due waited %s; nothing was issued that was not due", round(took), round(waited)), nil
}

// leader returns what the manager that leads calls itself: by its Pod, and by what tells the Pod's processes apart.
func (w *world) leader(ctx context.Context) (string, error) {
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

// process returns the id of a manager's process.
func (w *world) process(ctx context.Context, pod string) (int, error) {
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

// held is what a credential's Secret holds, and when that is due.
type held struct {
	key string
	due time.Time
}

// holds are what all credentials hold, by name.
func (w *world) holds(ctx context.Context) (map[string]held, error) {
	var list v1alpha1.RoleCredentialList
	if err := w.client.List(ctx, &list); err != nil {
		return nil, err
	}
	all := map[string]held{}
	for _, found := range list.Items {
		all[found.Name] = held{found.Status.AccessKeyID, ptr.Deref(found.Status.NextRefreshTime, metav1.Time{}).Time}
	}
	return all, nil
}
