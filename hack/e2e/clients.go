package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/e2e/tally"
	"rolecredential.dev/operator/hack/program"
)

func (w *environment) podStarts(ctx context.Context) (string, error) {
	start := time.Now()
	if err := errors.Join(w.apply(ctx, "own-time.yaml"), w.apply(ctx, "starts.yaml")); err != nil {
		return "", err
	}
	if err := w.calling(ctx, "starts"); err != nil {
		return "", err
	}
	return fmt.Sprintf("it lists its bucket %s after apply", round(time.Since(start))), nil
}

func (w *environment) podWaits(ctx context.Context) (string, error) {
	if err := w.apply(ctx, "waits.yaml"); err != nil {
		return "", err
	}
	err := program.WaitUntil(ctx, settleTimeout, pollInterval, func(ctx context.Context) error {
		found := &corev1.Pod{}
		if err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "waits"}, found); err != nil {
			return err
		}
		for _, c := range found.Status.ContainerStatuses {
			if c.State.Waiting != nil && c.State.Waiting.Reason == "CreateContainerConfigError" {
				return nil
			}
		}
		return fmt.Errorf("it does not wait for its Secret: %v", found.Status)
	})
	if err != nil {
		return "", err
	}
	start := time.Now()
	if err := w.apply(ctx, "waits-credential.yaml"); err != nil {
		return "", err
	}
	if err := w.calling(ctx, "waits"); err != nil {
		return "", err
	}
	return fmt.Sprintf("CreateContainerConfigError, then it lists its bucket %s after the credential was created", round(time.Since(start))), nil
}

// restartsAfterRefresh makes spec.rollout restart the Pods, which keep the environment of their start. A rollout would take minutes. It
// restarts them at once if the operator does not know when the credentials in use expire: after the Secret was deleted and the managers
// were restarted.
func (w *environment) restartsAfterRefresh(ctx context.Context) (string, error) {
	if err := w.apply(ctx, "restarts.yaml"); err != nil {
		return "", err
	}
	if err := w.calling(ctx, "restarts"); err != nil {
		return "", err
	}
	for range refreshes {
		before, err := w.keyInSecret(ctx, "restarts")
		if err != nil {
			return "", err
		}
		if err := w.olderThan(ctx, "restarts", 3*time.Second); err != nil { // times are in whole seconds
			return "", err
		}
		if _, err := w.kubectl(ctx, "delete", "secret", "restarts", "-n", namespace); err != nil {
			return "", err
		}
		key, err := w.keyAfter(ctx, "restarts", before)
		if err != nil {
			return "", err
		}
		for _, args := range [][]string{
			{"rollout", "restart", "deployment/rolecredential-manager", "-n", operatorNamespace},
			{"rollout", "status", "deployment/rolecredential-manager", "-n", operatorNamespace, "--timeout=90s"},
		} {
			if _, err := w.kubectl(ctx, args...); err != nil {
				return "", err
			}
		}
		if err := w.allUse(ctx, "restarts", key); err != nil {
			return "", err
		}
		if _, err := w.kubectl(ctx, "wait", "--for=condition=RolledOut", "rolecredential/restarts", "-n", namespace, "--timeout=60s"); err != nil {
			return "", err
		}
	}
	return w.lossless(ctx, "restarts")
}

// refreshesInVolume makes the SDK of the same Pods use a mounted Secret's new credentials.
func (w *environment) refreshesInVolume(ctx context.Context) (string, error) {
	if err := w.apply(ctx, "follows.yaml"); err != nil {
		return "", err
	}
	if err := w.calling(ctx, "follows"); err != nil {
		return "", err
	}
	first, err := w.pods(ctx, namespace, "workload", "follows")
	if err != nil {
		return "", err
	}
	for i := range refreshes {
		key, err := w.refresh(ctx, "follows", i)
		if err != nil {
			return "", err
		}
		if err := w.allUse(ctx, "follows", key); err != nil {
			return "", err
		}
	}
	last, err := w.pods(ctx, namespace, "workload", "follows")
	if err != nil {
		return "", err
	}
	if !slices.Equal(ids(first), ids(last)) {
		return "", fmt.Errorf("the Pods were replaced: first %v, then %v", ids(first), ids(last))
	}
	for _, pod := range last {
		if restarts := pod.Status.ContainerStatuses[0].RestartCount; restarts != 0 {
			return "", fmt.Errorf("%s was restarted %d times", pod.Name, restarts)
		}
	}
	return w.lossless(ctx, "follows")
}

// scheduledRefresh waits for a refresh without a request.
func (w *environment) scheduledRefresh(ctx context.Context) (string, error) {
	found := &v1alpha1.RoleCredential{}
	err := program.WaitUntil(ctx, 3*time.Minute, pollInterval, func(ctx context.Context) error {
		if err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "own-time"}, found); err != nil {
			return err
		}
		if found.Status.LastRefreshTime == nil || found.Status.LastRefreshTime.Sub(found.CreationTimestamp.Time) < time.Minute {
			return fmt.Errorf("it still has the first session: %v", found.Status)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s after the creation, due after 90s", found.Status.LastRefreshTime.Sub(found.CreationTimestamp.Time)), nil
}

// secretIsCollected deletes a credential. Kubernetes's garbage collector then deletes its Secret, unless the deletion orphans it. The
// collector discovers a new kind within half a minute.
func (w *environment) secretIsCollected(ctx context.Context) (string, error) {
	for _, cascade := range []string{"orphan", "background"} {
		if err := w.apply(ctx, "goes.yaml"); err != nil {
			return "", err
		}
		for _, args := range [][]string{
			{"wait", "--for=condition=Ready", "rolecredential/goes", "-n", namespace, "--timeout=30s"},
			{"delete", "rolecredential", "goes", "-n", namespace, "--cascade=" + cascade},
		} {
			if _, err := w.kubectl(ctx, args...); err != nil {
				return "", err
			}
		}
		if cascade == "orphan" {
			if _, err := w.kubectl(ctx, "delete", "secret", "goes", "-n", namespace); err != nil {
				return "", fmt.Errorf("the orphaned Secret was deleted: %w", err)
			}
		}
	}
	start := time.Now()
	err := program.WaitUntil(ctx, settleTimeout, pollInterval, func(ctx context.Context) error {
		err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "goes"}, &corev1.Secret{})
		if err == nil {
			err = errors.New("the Secret still exists")
		}
		return client.IgnoreNotFound(err)
	})
	return fmt.Sprintf("collected %s after the credential; with --cascade=orphan it is kept", round(time.Since(start))), err
}

// runSoak keeps clients running for E2E_SOAK, over real expiries, without a forced refresh.
func (w *environment) runSoak(ctx context.Context) (string, error) {
	for _, args := range [][]string{
		// No controller would restart Pods without a workload.
		{"delete", "pod", "starts", "waits", "-n", namespace, "--ignore-not-found"},
		{"set", "env", "deployment/follows", "EXPIRY_WINDOW=10s", "-n", namespace},
		{"rollout", "status", "deployment/follows", "-n", namespace, "--timeout=90s"},
	} {
		if _, err := w.kubectl(ctx, args...); err != nil {
			return "", err
		}
	}
	before := map[string]tally.Count{}
	for _, workload := range []string{"restarts", "follows"} {
		before[workload] = w.calls.Count(workload)
	}
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-time.After(w.given.Soak):
	}
	var observed []string
	for _, workload := range []string{"restarts", "follows"} {
		if _, err := w.lossless(ctx, workload); err != nil {
			return "", err
		}
		after := w.calls.Count(workload)
		observed = append(observed, fmt.Sprintf("%s: %d S3 calls, 0 failed, %d more keys, %d more Pods", workload,
			after.Calls-before[workload].Calls, len(after.Keys)-len(before[workload].Keys), len(after.Pods)-len(before[workload].Pods)))
	}
	return strings.Join(observed, "; "), nil
}

func (w *environment) clientsExit(ctx context.Context) (string, error) {
	if _, err := w.kubectl(ctx, "delete", "deployment,pod", "--all", "-n", namespace, "--wait", "--timeout=60s"); err != nil {
		return "", err
	}
	err := program.WaitUntil(ctx, settleTimeout, pollInterval, func(ctx context.Context) error {
		var left corev1.PodList
		err := w.client.List(ctx, &left, client.InNamespace(namespace))
		if err == nil && len(left.Items) > 0 {
			err = fmt.Errorf("%d Pods are left", len(left.Items))
		}
		return err
	})
	if err != nil {
		return "", err
	}
	count := w.calls.Count("")
	if count.Calls == 0 || count.Failed+count.Lost > 0 {
		return "", fmt.Errorf("%s, %d lost: %s", count, count.Lost, count.Error)
	}
	return count.String(), nil
}
