package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/program"
)

// victim is the tenant of the other namespace: a credential that lasts 100 seconds and is refreshed after 40, and a workload that restarts after
// each refresh.
type victim struct {
	*world
	measurement
}

const victimName = "loader"

var victimKey = client.ObjectKey{Namespace: victimNamespace, Name: victimName}

// startVictim creates the victim's objects and waits until its credential is Ready.
func (w *world) startVictim(ctx context.Context) error {
	credential := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: victimNamespace, Name: victimName}}
	credential.Spec.RoleARN = victimRole
	credential.Spec.Duration = &metav1.Duration{Duration: 15 * time.Minute}
	credential.Spec.RefreshBefore = &metav1.Duration{Duration: time.Minute}
	credential.Spec.Rollout = &v1alpha1.Rollout{Targets: []v1alpha1.WorkloadReference{{Kind: v1alpha1.WorkloadDeployment, Name: victimName}}}
	labels := map[string]string{"app": victimName}
	workload := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: victimNamespace, Name: victimName}, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: readingPod()},
	}}
	for _, object := range []client.Object{workload, credential} {
		if err := w.Client.Create(ctx, object); err != nil {
			return err
		}
	}
	return program.WaitUntil(ctx, time.Minute, 100*time.Millisecond, func(ctx context.Context) error {
		if err := w.Client.Get(ctx, victimKey, credential); err != nil {
			return program.Stop(err)
		}
		if !meta.IsStatusConditionTrue(credential.Status.Conditions, v1alpha1.ConditionReady) {
			return errors.New("the victim's credential is not Ready")
		}
		return nil
	})
}

// readingPod reads the victim's Secret into its environment.
func readingPod() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{
		Name: "main", Image: "example.com/reader",
		EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: victimName}}}},
	}}}
}

// watch measures the victim's credential until the context is done.
func (v *victim) watch(ctx context.Context) error {
	var unreadySince, dueAt time.Time
	key := ""
	for program.Sleep(ctx, 200*time.Millisecond) == nil {
		now := time.Now()
		credential := &v1alpha1.RoleCredential{}
		if err := v.Client.Get(ctx, victimKey, credential); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the attack is over
			}
			return err
		}
		status := credential.Status
		valid := meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) && status.Expiration != nil && now.Before(status.Expiration.Time)
		switch {
		case valid:
			unreadySince = time.Time{}
		case unreadySince.IsZero():
			unreadySince = now
		}
		if !unreadySince.IsZero() {
			v.notReady = max(v.notReady, now.Sub(unreadySince), time.Millisecond)
		}
		if status.AccessKeyID != key {
			if key != "" {
				v.refreshes++
			}
			key = status.AccessKeyID
			if status.NextRefreshTime != nil {
				dueAt = status.NextRefreshTime.Time
			}
		}
		if !dueAt.IsZero() && now.After(dueAt) {
			v.late = max(v.late, now.Sub(dueAt))
		}
	}
	return nil
}

// runWorkload does what the controllers of a cluster and a kubelet do for the victim's Deployment: it replaces the pod whenever the pod
// template changes.
func (v *victim) runWorkload(ctx context.Context) error {
	stamp := "none"
	for i := 0; program.Sleep(ctx, 500*time.Millisecond) == nil; {
		d := &appsv1.Deployment{}
		err := v.Client.Get(ctx, victimKey, d)
		if now := d.Spec.Template.Annotations[v1alpha1.CredentialsAnnotation]; err == nil && now != stamp {
			if stamp != "none" {
				v.restarts++
			}
			stamp = now
			i++
			err = v.replacePod(ctx, d, i)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (v *victim) replacePod(ctx context.Context, d *appsv1.Deployment, generation int) error {
	hash := fmt.Sprint(generation)
	labels := map[string]string{"app": victimName, appsv1.DefaultDeploymentUniqueLabelKey: hash}
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Namespace: victimNamespace, Name: victimName + "-" + hash, Labels: labels,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
	}, Spec: appsv1.ReplicaSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template}}
	if err := v.Client.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(victimNamespace), client.GracePeriodSeconds(0)); err != nil {
		return err
	}
	if err := v.Client.Create(ctx, set); err != nil {
		return err
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: victimNamespace, Name: set.Name + "-0", Labels: labels, Annotations: d.Spec.Template.Annotations,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))},
	}, Spec: readingPod()}
	if err := v.Client.Create(ctx, pod); err != nil {
		return err
	}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: new(metav1.Now()), Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}}
	if err := v.Client.Status().Update(ctx, pod); err != nil {
		return err
	}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
	err := v.Client.Status().Update(ctx, d)
	if apierrors.IsConflict(err) {
		return nil // the next pass writes it
	}
	return err
}
