package rollout

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

// podOf extracts the relevant state of a pod. It keeps one entry of the stamp, because anyone may write a large one.
func podOf(p *corev1.Pod, secret string) Pod {
	m := Pod{Name: p.Name, Stamp: readers.Stamp{secret: readers.ParseStamp(p.Annotations)[secret]}, First: notBeforeCreation(p, readers.FirstStarted(p))}
	m.Owner, m.OwnerUID = ownerOf(p)
	for _, use := range readers.Uses(p) {
		if !use.By.AtStart() {
			continue
		}
		m.Secrets = append(m.Secrets, use.Secret)
		if use.Secret != secret {
			continue
		}
		m.Reads = true
		if started := notBeforeCreation(p, use.Started); !started.IsZero() && (m.Started.IsZero() || started.Before(m.Started)) {
			m.Started = started
		}
	}
	return m
}

// notBeforeCreation returns when a container started, but not before its pod's creation; zero for nil. With a node
// clock that is behind, new pods would seem stale.
func notBeforeCreation(p *corev1.Pod, started *time.Time) time.Time {
	switch {
	case started == nil:
		return time.Time{}
	case started.Before(p.CreationTimestamp.Time):
		return p.CreationTimestamp.Time
	default:
		return *started
	}
}

// hashLabels are the pod labels with the hash of the pod template, by kind of workload. The ReplicaSet's name is the
// workload's name with this hash, so the ReplicaSet need not be read.
var hashLabels = map[v1alpha1.WorkloadKind]string{
	v1alpha1.WorkloadDeployment: appsv1.DefaultDeploymentUniqueLabelKey,
	v1alpha1.WorkloadRollout:    "rollouts-pod-template-hash",
}

// ownerOf returns the restartable workload that controls a pod, or else the pod itself.
func ownerOf(p *corev1.Pod) (Ref, types.UID) {
	controller := metav1.GetControllerOf(p)
	if controller == nil || !strings.HasPrefix(controller.APIVersion, appsv1.GroupName+"/") {
		return Ref{kindPod, p.Name}, p.UID
	}
	switch controller.Kind {
	case string(v1alpha1.WorkloadStatefulSet), string(v1alpha1.WorkloadDaemonSet):
		return Ref{controller.Kind, controller.Name}, controller.UID
	case "ReplicaSet":
		for kind, label := range hashLabels {
			if hash, labelled := p.Labels[label]; labelled {
				if name, named := strings.CutSuffix(controller.Name, "-"+hash); named {
					return Ref{string(kind), name}, ""
				}
			}
		}
	}
	return Ref{kindPod, p.Name}, p.UID
}
