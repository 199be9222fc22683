package rollout

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

// kind is a kind of workload that the operator can restart.
type kind struct {
	gvk schema.GroupVersionKind
	// read extracts the relevant state from an object.
	read func(*unstructured.Unstructured) (Workload, error)
}

var argoRollout = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}

var kinds = map[v1alpha1.WorkloadKind]kind{
	v1alpha1.WorkloadDeployment:  {appsv1.SchemeGroupVersion.WithKind("Deployment"), decoded(deployment)},
	v1alpha1.WorkloadStatefulSet: {appsv1.SchemeGroupVersion.WithKind("StatefulSet"), decoded(statefulSet)},
	v1alpha1.WorkloadDaemonSet:   {appsv1.SchemeGroupVersion.WithKind("DaemonSet"), decoded(daemonSet)},
	v1alpha1.WorkloadRollout:     {argoRollout, decoded(rollout)},
}

// decoded returns a function that decodes an object before it reads it.
func decoded[T any](read func(*T) (Workload, error)) func(*unstructured.Unstructured) (Workload, error) {
	return func(u *unstructured.Unstructured) (Workload, error) {
		object := new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, object); err != nil {
			return Workload{}, fmt.Errorf("failed to decode %s %s: %w", u.GetKind(), u.GetName(), err)
		}
		return read(object)
	}
}

// describe returns the common state of all kinds. The annotations are those of the pod template, or of the Argo Rollout
// itself.
func describe(annotations map[string]string, selector *metav1.LabelSelector) (Workload, error) {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return Workload{Selector: s, Stamp: readers.ParseStamp(annotations)}, err
}

// deployment is complete when `kubectl rollout status` reports success; the other kinds follow it too.
func deployment(d *appsv1.Deployment) (Workload, error) {
	w, err := describe(d.Spec.Template.Annotations, d.Spec.Selector)
	if d.Spec.Paused {
		w.Blocked = "is paused"
	}
	s, observed := d.Status, d.Generation <= d.Status.ObservedGeneration
	w.Updated = observed && s.UpdatedReplicas >= ptr.Deref(d.Spec.Replicas, 1) && s.Replicas <= s.UpdatedReplicas
	w.Settled = w.Updated && s.AvailableReplicas >= s.UpdatedReplicas
	w.Stuck = observed && slices.ContainsFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded"
	})
	return w, err
}

const onDelete = "replaces a pod only when that is deleted (updateStrategy OnDelete)"

func statefulSet(d *appsv1.StatefulSet) (Workload, error) {
	w, err := describe(d.Spec.Template.Annotations, d.Spec.Selector)
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		w.Blocked = onDelete
	}
	s, replicas, partition := d.Status, ptr.Deref(d.Spec.Replicas, 1), int32(0)
	if rolling := d.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		partition = ptr.Deref(rolling.Partition, 0)
	}
	w.Updated = d.Generation <= s.ObservedGeneration && s.UpdatedReplicas >= replicas-partition
	w.Settled = w.Updated && s.AvailableReplicas >= replicas
	return w, err
}

func daemonSet(d *appsv1.DaemonSet) (Workload, error) {
	w, err := describe(d.Spec.Template.Annotations, d.Spec.Selector)
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		w.Blocked = onDelete
	}
	s := d.Status
	w.Updated = d.Generation <= s.ObservedGeneration && s.UpdatedNumberScheduled >= s.DesiredNumberScheduled
	w.Settled = w.Updated && s.NumberAvailable >= s.DesiredNumberScheduled
	return w, err
}

// argo is the relevant part of an Argo Rollout (Argo Rollouts documentation, 'Specification').
type argo struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Replicas  *int32                `json:"replicas"`
		Selector  *metav1.LabelSelector `json:"selector"`
		RestartAt *metav1.Time          `json:"restartAt"`
	} `json:"spec"`
	Status struct {
		RestartedAt       *metav1.Time `json:"restartedAt"`
		AvailableReplicas int32        `json:"availableReplicas"`
	} `json:"status"`
}

// rollout reads an Argo Rollout. Argo Rollouts restarts pods in place also while the Rollout is paused, waits in a
// canary step, was aborted, or takes its pod template from another workload. So only the state of the restart counts:
// it is complete when status.restartedAt equals spec.restartAt. The operator restarts the Rollout also during a restart
// that another client requested.
func rollout(r *argo) (Workload, error) {
	if r.Spec.Selector == nil { // it may be left out with workloadRef
		r.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: hashLabels[v1alpha1.WorkloadRollout], Operator: metav1.LabelSelectorOpExists},
		}}
	}
	w, err := describe(r.Metadata.Annotations, r.Spec.Selector)
	w.Updated = true
	w.Restarted = r.Spec.RestartAt.Equal(r.Status.RestartedAt)
	w.Settled = w.Restarted && r.Status.AvailableReplicas >= ptr.Deref(r.Spec.Replicas, 1)
	return w, err
}
