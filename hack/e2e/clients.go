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
)

func (w *world) podStarts(ctx context.Context) (string, error) {
	start := time.Now()
	if err := errors.Join(w.apply(ctx, "own-time.yaml"), w.apply(ctx, "starts.yaml")); err != nil {
		return "", err
	}
	if err := w.calling(ctx, "starts"); err != nil {
		return "", err
	}
	return fmt.Sprintf("it lists its bucket %s after apply", round(time.Since(start))), nil
}

func (w *world) podWaits(ctx context.Context) (string, error) {
	if err := w.apply(ctx, "waits.yaml"); err != nil {
		return "", err
	}
	err := await(ctx, settle, func(ctx context.Context) error {
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
	return fmt.Sprintf("CreateContainerConfigError, then it lists its bucket %s after the credential was made", round(time.Since(start))), nil
}

// refreshesByRestart has spec.rollout restart the Pods, which keep the environment that they started with. After a refresh they
// would have minutes for that. They are restarted at once if nothing tells for how long what they hold lives: after their Secret was
// deleted, and the managers were restarted.
func (w *world) refreshesByRestart(ctx context.Context) (string, error) {
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

// refreshesInVolume has the SDK of the same Pods follow the Secret.
func (w *world) refreshesInVolume(ctx context.Context) (string, error) {
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

// refreshInItsOwnTime waits for a refresh that nobody asked for.
func (w *world) refreshInItsOwnTime(ctx context.Context) (string, error) {
	found := &v1alpha1.RoleCredential{}
	err := await(ctx, 3*time.Minute, func(ctx context.Context) error {
		if err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "own-time"}, found); err != nil {
			return err
		}
		if found.Status.LastRefreshTime == nil || found.Status.LastRefreshTime.Sub(found.CreationTimestamp.Time) < time.Minute {
			return fmt.Errorf("it is still the first credential: %v", found.Status)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s after the first, which was due after 90s", found.Status.LastRefreshTime.Sub(found.CreationTimestamp.Time)), nil
}

// secretGoes deletes a credential, and with it, by Kubernetes's garbage collection, its Secret, unless that is to be left. The
// collector comes to know a new kind within half a minute.
func (w *world) secretGoes(ctx context.Context) (string, error) {
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
				return "", fmt.Errorf("it did not stay: %w", err)
			}
		}
	}
	start := time.Now()
	err := await(ctx, settle, func(ctx context.Context) error {
		err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "goes"}, &corev1.Secret{})
		if err == nil {
			err = errors.New("its Secret is still there")
		}
		return client.IgnoreNotFound(err)
	})
	return fmt.Sprintf("collected %s after the credential; with --cascade=orphan it stays", round(time.Since(start))), err
}

// livesOn lets clients go on for as long as E2E_SOAK says, over real expiries: nothing is forced, and nobody's clock is turned.
func (w *world) livesOn(ctx context.Context) (string, error) {
	for _, args := range [][]string{
		// Pods of no workload are restarted by nobody.
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
	var seen []string
	for _, workload := range []string{"restarts", "follows"} {
		if _, err := w.lossless(ctx, workload); err != nil {
			return "", err
		}
		after := w.calls.Count(workload)
		seen = append(seen, fmt.Sprintf("%s: %d S3 calls, 0 failed, %d more keys, %d more Pods", workload,
			after.Calls-before[workload].Calls, len(after.Keys)-len(before[workload].Keys), len(after.Pods)-len(before[workload].Pods)))
	}
	return strings.Join(seen, "; "), nil
}

func (w *world) clientsEnd(ctx context.Context) (string, error) {
	if _, err := w.kubectl(ctx, "delete", "deployment,pod", "--all", "-n", namespace, "--wait", "--timeout=60s"); err != nil {
		return "", err
	}
	err := await(ctx, settle, func(ctx context.Context) error {
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
