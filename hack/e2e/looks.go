package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/program"
)

// calling waits until each Pod of a workload has made a successful call.
func (w *environment) calling(ctx context.Context, workload string) error {
	return program.WaitUntil(ctx, settleTimeout, pollInterval, func(ctx context.Context) error {
		pods, err := w.pods(ctx, namespace, "workload", workload)
		if err != nil {
			return err
		}
		if len(pods) == 0 {
			return errors.New("there is no Pod of " + workload)
		}
		for _, pod := range pods {
			if w.calls.KeyInUse(string(pod.UID)) == "" {
				return fmt.Errorf("%s has made no successful call: %s", pod.Name, w.calls.Count(workload).Error)
			}
		}
		return nil
	})
}

// olderThan waits until all containers of a workload have run for a duration.
func (w *environment) olderThan(ctx context.Context, workload string, age time.Duration) error {
	return program.WaitUntil(ctx, settleTimeout, pollInterval, func(ctx context.Context) error {
		pods, err := w.pods(ctx, namespace, "workload", workload)
		for _, pod := range pods {
			if running := pod.Status.ContainerStatuses[0].State.Running; running == nil || time.Since(running.StartedAt.Time) < age {
				err = fmt.Errorf("%s has not run for %s", pod.Name, age)
			}
		}
		return err
	})
}

// allUse waits until all Pods of a workload use a key, and none of its former Pods is left.
func (w *environment) allUse(ctx context.Context, workload, key string) error {
	return program.WaitUntil(ctx, settleTimeout, pollInterval, func(ctx context.Context) error {
		deployment := &appsv1.Deployment{}
		if err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: workload}, deployment); err != nil {
			return err
		}
		pods, err := w.pods(ctx, namespace, "workload", workload)
		if err != nil {
			return err
		}
		if len(pods) != int(*deployment.Spec.Replicas) {
			return fmt.Errorf("%d Pods, want %d", len(pods), *deployment.Spec.Replicas)
		}
		for _, pod := range pods {
			if used := w.calls.KeyInUse(string(pod.UID)); used != key {
				return fmt.Errorf("%s uses %q, not %s", pod.Name, used, key)
			}
		}
		return nil
	})
}

// lossless returns an error if a workload lost a call over the refreshes.
func (w *environment) lossless(ctx context.Context, workload string) (string, error) {
	pods, err := w.pods(ctx, namespace, "workload", workload)
	if err != nil {
		return "", err
	}
	count := w.calls.Count(workload, ids(pods)...)
	if count.Failed+count.Lost > 0 || len(count.Keys) < refreshes+1 {
		return "", fmt.Errorf("%s, %d lost: %s", count, count.Lost, count.Error)
	}
	return count.String(), nil
}

// refresh requests a refresh with the annotation, and returns the new access key ID once the Secret contains it.
func (w *environment) refresh(ctx context.Context, name string, n int) (string, error) {
	before, err := w.keyInSecret(ctx, name)
	if err != nil {
		return "", err
	}
	if _, err := w.kubectl(ctx, "annotate", "rolecredential", name, "-n", namespace, "--overwrite", fmt.Sprintf("%s=%d", v1alpha1.RefreshAnnotation, n)); err != nil {
		return "", err
	}
	return w.keyAfter(ctx, name, before)
}

// keyAfter waits until a Secret contains another key than before, and returns its ID.
func (w *environment) keyAfter(ctx context.Context, name, before string) (key string, err error) {
	err = program.WaitUntil(ctx, settleTimeout, pollInterval, func(ctx context.Context) error {
		if key, err = w.keyInSecret(ctx, name); err == nil && key == before {
			err = errors.New("the Secret still contains " + key)
		}
		return err
	})
	return key, err
}

// keyInSecret returns the access key ID in a Secret, from the variable or from the output for credential_process.
func (w *environment) keyInSecret(ctx context.Context, name string) (string, error) {
	secret := &corev1.Secret{}
	if err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret); err != nil {
		return "", err
	}
	if key := string(secret.Data["AWS_ACCESS_KEY_ID"]); key != "" {
		return key, nil
	}
	var printed struct{ AccessKeyId string } //nolint:revive // the SDKs' name
	err := json.Unmarshal(secret.Data["credential_process.json"], &printed)
	return printed.AccessKeyId, err
}

// pods lists the Pods with a label, including those that terminate.
func (w *environment) pods(ctx context.Context, namespace, label, value string) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := w.client.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{label: value})
	return list.Items, err
}

// ids returns the UIDs of Pods, which their reports contain.
func ids(pods []corev1.Pod) []string {
	var all []string
	for _, pod := range pods {
		all = append(all, string(pod.UID))
	}
	slices.Sort(all)
	return all
}

// runningPods lists the clients that run.
func (w *environment) runningPods(ctx context.Context) []string {
	var list corev1.PodList
	if err := w.client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil // the cluster has stopped
	}
	return ids(list.Items)
}
