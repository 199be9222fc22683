package readers

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Way is how a container gets the content of a Secret.
type Way string

// The ways in which a container gets the content of a Secret.
const (
	EnvFrom Way = "envFrom"
	Env     Way = "env"
	// Volume is a mounted volume, which the kubelet updates.
	Volume Way = "volume"
	// SubPath is a volume mounted by subPath, which the kubelet does not update (Kubernetes documentation, 'Secrets').
	SubPath Way = "volume, subPath"
)

// AtStart reports whether a container keeps the content that the Secret had when the container started.
func (w Way) AtStart() bool { return w != Volume }

// Use is one way in which one container of a pod uses one Secret.
type Use struct {
	Secret, Container string
	By                Way
	// Started is when the container started; nil if it does not run.
	Started *time.Time

	// terminates reports whether the container terminates before the pod does. It is then a reader only while it runs.
	terminates bool
}

// Active reports whether a pod runs, or waits to run. A pod that is being deleted does not count.
func Active(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// Uses returns how the containers of a pod use Secrets, by container. It reads the pod's admitted spec, including
// changes by mutating webhooks.
func Uses(pod *corev1.Pod) []Use {
	started := started(pod)
	volumes := secretsOfVolumes(pod)
	var uses []Use
	add := func(c corev1.Container, terminates bool) {
		of := map[Use]bool{}
		for _, use := range usesOf(c, volumes) {
			if !of[use] {
				of[use] = true
				use.Started, use.terminates = started[c.Name], terminates
				uses = append(uses, use)
			}
		}
	}
	for _, c := range pod.Spec.InitContainers {
		add(c, true)
	}
	for _, c := range pod.Spec.Containers {
		add(c, false)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		add(corev1.Container(c.EphemeralContainerCommon), true)
	}
	return uses
}

// FirstStarted returns when the first of a pod's running containers started; nil if none runs.
func FirstStarted(pod *corev1.Pod) (first *time.Time) {
	for _, at := range started(pod) {
		if first == nil || at.Before(*first) {
			first = at
		}
	}
	return first
}

// started returns when the running containers of a pod started, by name.
func started(pod *corev1.Pod) map[string]*time.Time {
	all := map[string]*time.Time{}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses) {
		if running := status.State.Running; running != nil {
			all[status.Name] = &running.StartedAt.Time
		}
	}
	return all
}

// secretsOfVolumes returns the Secrets in the volumes of a pod, by the volume's name.
func secretsOfVolumes(pod *corev1.Pod) map[string][]string {
	all := map[string][]string{}
	for _, volume := range pod.Spec.Volumes {
		if volume.Secret != nil {
			all[volume.Name] = append(all[volume.Name], volume.Secret.SecretName)
		}
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if source.Secret != nil {
				all[volume.Name] = append(all[volume.Name], source.Secret.Name)
			}
		}
	}
	return all
}

// usesOf returns how a container's spec uses Secrets, where volumes holds the Secrets of each volume.
func usesOf(c corev1.Container, volumes map[string][]string) (uses []Use) {
	for _, from := range c.EnvFrom {
		if from.SecretRef != nil {
			uses = append(uses, Use{Secret: from.SecretRef.Name, Container: c.Name, By: EnvFrom})
		}
	}
	for _, variable := range c.Env {
		if variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil {
			uses = append(uses, Use{Secret: variable.ValueFrom.SecretKeyRef.Name, Container: c.Name, By: Env})
		}
	}
	for _, mount := range c.VolumeMounts {
		by := Volume
		if mount.SubPath != "" || mount.SubPathExpr != "" {
			by = SubPath
		}
		for _, secret := range volumes[mount.Name] {
			uses = append(uses, Use{Secret: secret, Container: c.Name, By: by})
		}
	}
	return uses
}
