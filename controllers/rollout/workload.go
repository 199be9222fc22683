package rollout

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
)

// kind is a kind of workload.
type kind struct {
	name v1alpha1.WorkloadKind
	gvk  schema.GroupVersionKind
	// object and list return empty ones to read into.
	object func() client.Object
	list   func() client.ObjectList
}

var argoRollout = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}

// kinds are those that a change of the pod template restarts.
var kinds = []kind{
	{
		v1alpha1.WorkloadDeployment, appsv1.SchemeGroupVersion.WithKind("Deployment"),
		func() client.Object { return &appsv1.Deployment{} }, func() client.ObjectList { return &appsv1.DeploymentList{} },
	},
	{
		v1alpha1.WorkloadStatefulSet, appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
		func() client.Object { return &appsv1.StatefulSet{} }, func() client.ObjectList { return &appsv1.StatefulSetList{} },
	},
	{
		v1alpha1.WorkloadDaemonSet, appsv1.SchemeGroupVersion.WithKind("DaemonSet"),
		func() client.Object { return &appsv1.DaemonSet{} }, func() client.ObjectList { return &appsv1.DaemonSetList{} },
	},
	{
		v1alpha1.WorkloadRollout, argoRollout,
		func() client.Object { u := &unstructured.Unstructured{}; u.SetGroupVersionKind(argoRollout); return u },
		func() client.ObjectList {
			u := &unstructured.UnstructuredList{}
			u.SetGroupVersionKind(argoRollout.GroupVersion().WithKind("RolloutList"))
			return u
		},
	},
}

func kindOf(name string) (kind, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return string(k.name) == name })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

// selected is a workload with what selects its pods.
type selected struct {
	Workload
	selector labels.Selector
}

// read takes from an object what counts of it.
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
		return selected{}, fmt.Errorf("%T is no workload", object)
	}
}

func describe(object client.Object, kind v1alpha1.WorkloadKind, template corev1.PodTemplateSpec, selector *metav1.LabelSelector) (selected, error) {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return selected{selector: s, Workload: Workload{
		Ref: Ref{Kind: string(kind), Name: object.GetName()}, UID: object.GetUID(),
		Stamp: ParseStamp(template.Annotations), Secrets: secretsOf(template.Spec),
	}}, err
}

// progress is a text that changes when any of the numbers does.
func progress(object client.Object, numbers ...int32) string {
	return fmt.Sprint(object.GetGeneration(), numbers)
}

// deployment is done when `kubectl rollout status` says so; so are the others.
func deployment(d *appsv1.Deployment) (selected, error) {
	w, err := describe(d, v1alpha1.WorkloadDeployment, d.Spec.Template, d.Spec.Selector)
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
	w, err := describe(d, v1alpha1.WorkloadStatefulSet, d.Spec.Template, d.Spec.Selector)
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
	w, err := describe(d, v1alpha1.WorkloadDaemonSet, d.Spec.Template, d.Spec.Selector)
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
		Paused      bool                   `json:"paused"`
		Selector    *metav1.LabelSelector  `json:"selector"`
		Template    corev1.PodTemplateSpec `json:"template"`
		WorkloadRef *struct{}              `json:"workloadRef"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration string `json:"observedGeneration"` // a number, as text
		Phase              string `json:"phase"`
		StableRS           string `json:"stableRS"`
		CurrentPodHash     string `json:"currentPodHash"`
		Replicas           int32  `json:"replicas"`
		UpdatedReplicas    int32  `json:"updatedReplicas"`
		AvailableReplicas  int32  `json:"availableReplicas"`
	} `json:"status"`
}

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
	w, err := describe(u, v1alpha1.WorkloadRollout, r.Spec.Template, r.Spec.Selector)
	switch {
	case r.Spec.WorkloadRef != nil:
		w.Held = "has its pod template from another workload (workloadRef)"
	case r.Spec.Paused:
		w.Held = "is paused"
	}
	s := r.Status
	observed := s.ObservedGeneration == strconv.FormatInt(u.GetGeneration(), 10)
	w.Updated = observed && s.StableRS == s.CurrentPodHash
	w.Settled = observed && s.Phase == "Healthy"
	w.Stuck = observed && s.Phase == "Degraded"
	w.Progress = progress(u, s.Replicas, s.UpdatedReplicas, s.AvailableReplicas)
	return w, err
}

// secretsOf are the names of the Secrets that a pod's environment variables come from, those of its init containers too.
func secretsOf(spec corev1.PodSpec) (names []string) {
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil {
				names = append(names, from.SecretRef.Name)
			}
		}
		for _, variable := range c.Env {
			if variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil {
				names = append(names, variable.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// member is a pod with what tells whose it is.
type member struct {
	Pod
	// owner is the UID of what controls the pod, or for a pod of a ReplicaSet the [Ref] of the workload that the ReplicaSet is of.
	owner   string
	secrets []string
}

func memberOf(p *corev1.Pod) member {
	return member{
		Pod:   Pod{Name: p.Name, Stamp: ParseStamp(p.Annotations), Started: started(p)},
		owner: ownerOf(p), secrets: secretsOf(p.Spec),
	}
}

// hashLabels are the labels of pods with the hash of their template, by the kind of workload whose ReplicaSets are named after it
// and that hash.
var hashLabels = map[v1alpha1.WorkloadKind]string{
	v1alpha1.WorkloadDeployment: appsv1.DefaultDeploymentUniqueLabelKey,
	v1alpha1.WorkloadRollout:    "rollouts-pod-template-hash",
}

func ownerOf(p *corev1.Pod) string {
	controller := metav1.GetControllerOf(p)
	if controller == nil {
		return ""
	}
	for kind, label := range hashLabels {
		if hash, labelled := p.Labels[label]; labelled && controller.Kind == "ReplicaSet" {
			if name, named := strings.CutSuffix(controller.Name, "-"+hash); named {
				return Ref{string(kind), name}.String()
			}
		}
	}
	return string(controller.UID)
}

// owns tells whether a pod is the workload's, by its controller: selectors of different workloads may overlap.
func (w Workload) owns(m member) bool { return m.owner == w.String() || m.owner == string(w.UID) }

// alive tells whether a pod runs, or will.
func alive(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// started is when the first of a pod's running containers did, sidecars among them; zero if none runs.
func started(p *corev1.Pod) (first time.Time) {
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if running := c.State.Running; running != nil && (first.IsZero() || running.StartedAt.Time.Before(first)) {
			first = running.StartedAt.Time
		}
	}
	return first
}
