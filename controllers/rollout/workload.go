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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

// kind is a kind of workload that the operator can restart.
type kind struct {
	gvk schema.GroupVersionKind
	// object returns an empty object to read into, and read extracts the relevant state from it.
	object func() client.Object
	read   func(client.Object) (Workload, error)
}

var argoRollout = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}

var kinds = map[v1alpha1.WorkloadKind]kind{
	v1alpha1.WorkloadDeployment:  kindOf("Deployment", deployment),
	v1alpha1.WorkloadStatefulSet: kindOf("StatefulSet", statefulSet),
	v1alpha1.WorkloadDaemonSet:   kindOf("DaemonSet", daemonSet),
	v1alpha1.WorkloadRollout: {
		gvk: argoRollout,
		object: func() client.Object {
			u := &unstructured.Unstructured{}
			u.SetGroupVersionKind(argoRollout)
			return u
		},
		read: rollout,
	},
}

// kindOf returns a kind of the API group apps.
func kindOf[T any, P interface {
	*T
	client.Object
}](name string, read func(P) (Workload, error)) kind {
	return kind{
		gvk:    appsv1.SchemeGroupVersion.WithKind(name),
		object: func() client.Object { return P(new(T)) },
		read:   func(object client.Object) (Workload, error) { return read(object.(P)) },
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
	Spec struct {
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
func rollout(object client.Object) (Workload, error) {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return Workload{}, fmt.Errorf("%T is not an Argo Rollout", object)
	}
	var r argo
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &r); err != nil {
		return Workload{}, fmt.Errorf("failed to decode Rollout %s: %w", u.GetName(), err)
	}
	if r.Spec.Selector == nil { // it may be left out with workloadRef
		r.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: hashLabels[v1alpha1.WorkloadRollout], Operator: metav1.LabelSelectorOpExists},
		}}
	}
	w, err := describe(u.GetAnnotations(), r.Spec.Selector)
	w.Updated = true
	w.Restarted = r.Spec.RestartAt.Equal(r.Status.RestartedAt)
	w.Settled = w.Restarted && r.Status.AvailableReplicas >= ptr.Deref(r.Spec.Replicas, 1)
	return w, err
}
