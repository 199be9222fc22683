package rollout

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

// kind is a kind of workload.
type kind struct {
	name v1alpha1.WorkloadKind
	gvk  schema.GroupVersionKind
	// object returns an empty object to read into.
	object func() client.Object
}

var argoRollout = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}

// kinds are the kinds of workloads that the operator can restart.
var kinds = []kind{
	{v1alpha1.WorkloadDeployment, appsv1.SchemeGroupVersion.WithKind("Deployment"), func() client.Object { return &appsv1.Deployment{} }},
	{v1alpha1.WorkloadStatefulSet, appsv1.SchemeGroupVersion.WithKind("StatefulSet"), func() client.Object { return &appsv1.StatefulSet{} }},
	{v1alpha1.WorkloadDaemonSet, appsv1.SchemeGroupVersion.WithKind("DaemonSet"), func() client.Object { return &appsv1.DaemonSet{} }},
	{v1alpha1.WorkloadRollout, argoRollout, func() client.Object {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(argoRollout)
		return u
	}},
}

func kindOf(name string) (kind, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return string(k.name) == name })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

// selected is a workload with the selector of its pods.
type selected struct {
	Workload
	selector labels.Selector
}

// read extracts the relevant state of an object.
func read(object client.Object) (selected, error) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return deployment(o)
	case *appsv1.StatefulSet:
		return statefulSet(o)
	case *appsv1.DaemonSet:
		return daemonSet(o)
	case *unstructured.Unstructured:
		return rollout(o)
	default:
		return selected{}, fmt.Errorf("%T is not a workload", object)
	}
}

// describe returns the common state of all kinds. The stamp is an annotation of the pod template, or of the Argo
// Rollout itself.
func describe(object client.Object, kind v1alpha1.WorkloadKind, annotations map[string]string, selector *metav1.LabelSelector) (selected, error) {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return selected{selector: s, Workload: Workload{
		Ref: Ref{Kind: string(kind), Name: object.GetName()}, UID: object.GetUID(), Stamp: readers.ParseStamp(annotations),
	}}, err
}

// progress returns a text that changes with any of the numbers.
func progress(object client.Object, numbers ...int32) string {
	return fmt.Sprint(object.GetGeneration(), numbers)
}

// deployment is complete when `kubectl rollout status` reports success; the other kinds follow it too.
func deployment(d *appsv1.Deployment) (selected, error) {
	w, err := describe(d, v1alpha1.WorkloadDeployment, d.Spec.Template.Annotations, d.Spec.Selector)
	if d.Spec.Paused {
		w.Held = "is paused"
	}
	s := d.Status
	observed := d.Generation <= s.ObservedGeneration
	w.Updated = observed && s.UpdatedReplicas >= ptr.Deref(d.Spec.Replicas, 1) && s.Replicas <= s.UpdatedReplicas
	w.Settled = w.Updated && s.AvailableReplicas >= s.UpdatedReplicas
	w.Stuck = observed && slices.ContainsFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded"
	})
	w.Progress = progress(d, s.Replicas, s.UpdatedReplicas, s.AvailableReplicas)
	return w, err
}

const onDelete = "replaces a pod only when that is deleted (updateStrategy OnDelete)"

func statefulSet(d *appsv1.StatefulSet) (selected, error) {
	w, err := describe(d, v1alpha1.WorkloadStatefulSet, d.Spec.Template.Annotations, d.Spec.Selector)
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		w.Held = onDelete
	}
	s, replicas, partition := d.Status, ptr.Deref(d.Spec.Replicas, 1), int32(0)
	if rolling := d.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		partition = ptr.Deref(rolling.Partition, 0)
	}
	w.Updated = d.Generation <= s.ObservedGeneration && s.UpdatedReplicas >= replicas-partition
	w.Settled = w.Updated && s.AvailableReplicas >= replicas
	w.Progress = progress(d, s.Replicas, s.UpdatedReplicas, s.AvailableReplicas)
	return w, err
}

func daemonSet(d *appsv1.DaemonSet) (selected, error) {
	w, err := describe(d, v1alpha1.WorkloadDaemonSet, d.Spec.Template.Annotations, d.Spec.Selector)
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		w.Held = onDelete
	}
	s := d.Status
	w.Updated = d.Generation <= s.ObservedGeneration && s.UpdatedNumberScheduled >= s.DesiredNumberScheduled
	w.Settled = w.Updated && s.NumberAvailable >= s.DesiredNumberScheduled
	w.Progress = progress(d, s.DesiredNumberScheduled, s.UpdatedNumberScheduled, s.NumberAvailable)
	return w, err
}

// argo is what counts of an Argo Rollout (Argo Rollouts documentation, 'Specification').
type argo struct {
	Spec struct {
		Replicas  *int32                `json:"replicas"`
		Selector  *metav1.LabelSelector `json:"selector"`
		RestartAt *metav1.Time          `json:"restartAt"`
	} `json:"spec"`
	Status struct {
		RestartedAt       *metav1.Time `json:"restartedAt"`
		Replicas          int32        `json:"replicas"`
		UpdatedReplicas   int32        `json:"updatedReplicas"`
		AvailableReplicas int32        `json:"availableReplicas"`
	} `json:"status"`
}

// rollout reads an Argo Rollout. Argo Rollouts restarts pods in place also while the Rollout is paused, waits in a canary step, was
// aborted, or takes its pod template from another workload. So only the state of the restart counts: it is over once
// status.restartedAt is spec.restartAt. A restart that somebody else requested does not keep the operator from its own.
func rollout(u *unstructured.Unstructured) (selected, error) {
	var r argo
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &r); err != nil {
		return selected{}, fmt.Errorf("reading Rollout %s/%s: %w", u.GetNamespace(), u.GetName(), err)
	}
	if r.Spec.Selector == nil { // it may be left out with workloadRef
		r.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: hashLabels[v1alpha1.WorkloadRollout], Operator: metav1.LabelSelectorOpExists},
		}}
	}
	w, err := describe(u, v1alpha1.WorkloadRollout, u.GetAnnotations(), r.Spec.Selector)
	s := r.Status
	w.Updated = true
	w.Restarted = r.Spec.RestartAt.Equal(s.RestartedAt)
	w.Settled = w.Restarted && s.AvailableReplicas >= ptr.Deref(r.Spec.Replicas, 1)
	w.Progress = progress(u, s.Replicas, s.UpdatedReplicas, s.AvailableReplicas)
	return w, err
}
