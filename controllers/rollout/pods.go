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

// member is a pod with what tells which workload owns it.
type member struct {
	Pod
	owner owner
	// active is false for a pod that has ended, or is being deleted.
	active bool
	// reads reports whether a container keeps the content that the Secret had when the container started. Pod.Started is when the
	// first of these containers started, and first when the first container of any kind did.
	reads bool
	first time.Time
	// secrets are the names of all Secrets that containers keep in this way.
	secrets []string
}

// owner is what controls a pod. It is a [Ref] of a kind that can be restarted, or the pod itself. The UID is empty where the owner
// is known by its name only.
type owner struct {
	Ref
	uid types.UID
}

// memberOf reads a pod. No container starts before its pod is created: where a node's clock is behind the API server's, the creation
// counts. Otherwise the pods that Argo Rollouts made after a restart might seem to be stale still.
func memberOf(p *corev1.Pod, secret string) member {
	m := member{Pod: Pod{Name: p.Name, Stamp: readers.ParseStamp(p.Annotations)}, owner: ownerOf(p), active: readers.Active(p)}
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

// notBefore returns a time, or that of the pod's creation if it is later; zero for nil.
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

// hashLabels are the labels of pods with the hash of their pod template, by the kind of workload. These workloads name their
// ReplicaSets after themselves and that hash, so that no ReplicaSet has to be read.
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

// owns reports whether a pod belongs to the workload, by the pod's controller: selectors of different workloads may overlap.
func (w Workload) owns(m member) bool {
	return m.owner.Ref == w.Ref && (m.owner.uid == "" || m.owner.uid == w.UID)
}

// page is how many pods one request reads.
const page = 500

// members reads pods of a namespace page by page.
func (c Cluster) members(ctx context.Context, held Credential, options ...client.ListOption) (members []member, err error) {
	options = append(options, client.InNamespace(held.Namespace), client.Limit(page))
	for next := ""; ; {
		var list corev1.PodList
		if err := c.Reader.List(ctx, &list, append(slices.Clip(options), client.Continue(next))...); err != nil {
			return nil, fmt.Errorf("listing Pods: %w", err)
		}
		for i := range list.Items {
			members = append(members, memberOf(&list.Items[i], held.Secret))
		}
		if next = list.Continue; next == "" {
			return members, nil
		}
	}
}
