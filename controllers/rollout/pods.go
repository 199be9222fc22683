package rollout

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

// podInfo is a pod with its owner.
type podInfo struct {
	Pod
	owner owner
	// active is false for a pod that has terminated, or is being deleted.
	active bool
	// reads reports whether a container reads the Secret when it starts. Pod.Started is when the first of these
	// containers started, first when the first container of any kind did.
	reads bool
	first time.Time
	// secrets are the names of all Secrets that containers read when they start.
	secrets []string
}

// owner is the controller of a pod: a [Ref] of a restartable kind, or the pod itself. The UID is empty if only the
// owner's name is known.
type owner struct {
	Ref
	uid types.UID
}

// podInfoOf extracts the relevant state of a pod. A container cannot start before its pod's creation, so the creation
// time is the lower bound: with a node clock that is behind, new pods would seem stale.
func podInfoOf(p *corev1.Pod, secret string) podInfo {
	m := podInfo{Pod: Pod{Name: p.Name, Stamp: readers.ParseStamp(p.Annotations)}, owner: ownerOf(p), active: readers.Active(p)}
	m.first = notBefore(p, readers.FirstStarted(p))
	for _, use := range readers.Uses(p) {
		if !use.By.AtStart() {
			continue
		}
		m.secrets = append(m.secrets, use.Secret)
		if use.Secret != secret {
			continue
		}
		m.reads = true
		if started := notBefore(p, use.Started); !started.IsZero() && (m.Started.IsZero() || started.Before(m.Started)) {
			m.Started = started
		}
	}
	return m
}

// notBefore returns a time, but not before the pod's creation; zero for nil.
func notBefore(p *corev1.Pod, started *time.Time) time.Time {
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

func ownerOf(p *corev1.Pod) owner {
	self := owner{Ref: Ref{kindPod, p.Name}}
	controller := metav1.GetControllerOf(p)
	if controller == nil || !strings.HasPrefix(controller.APIVersion, appsv1.GroupName+"/") {
		return self
	}
	switch controller.Kind {
	case string(v1alpha1.WorkloadStatefulSet), string(v1alpha1.WorkloadDaemonSet):
		return owner{Ref{controller.Kind, controller.Name}, controller.UID}
	case "ReplicaSet":
		for kind, label := range hashLabels {
			if hash, labelled := p.Labels[label]; labelled {
				if name, named := strings.CutSuffix(controller.Name, "-"+hash); named {
					return owner{Ref: Ref{string(kind), name}}
				}
			}
		}
	}
	return self
}

// owns reports whether the workload controls a pod. Selectors do not suffice, since they may overlap.
func (w Workload) owns(m podInfo) bool {
	return m.owner.Ref == w.Ref && (m.owner.uid == "" || m.owner.uid == w.UID)
}

// page is the number of pods of one request.
const page = 500

// pods lists pods of a namespace page by page.
func (c Cluster) members(ctx context.Context, held Credential, options ...client.ListOption) (found []podInfo, err error) {
	options = append(options, client.InNamespace(held.Namespace), client.Limit(page))
	for next := ""; ; {
		var list corev1.PodList
		if err := c.Reader.List(ctx, &list, append(slices.Clip(options), client.Continue(next))...); err != nil {
			return nil, fmt.Errorf("listing Pods: %w", err)
		}
		for i := range list.Items {
			found = append(found, podInfoOf(&list.Items[i], held.Secret))
		}
		if next = list.Continue; next == "" {
			return found, nil
		}
	}
}
