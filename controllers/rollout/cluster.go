package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

// Cluster reads and restarts workloads. It has no watch and no cache, so that it costs nothing without rollouts, and
// a manager without permission to read workloads starts.
type Cluster struct {
	// Reader reads from the API server, without a cache.
	Reader client.Reader
	// Writer restarts workloads.
	Writer client.Writer
}

// WorkloadState is the observed state of a workload or a standalone pod.
type WorkloadState struct {
	Ref
	// Named reports whether spec.rollout.targets names it.
	Named bool
	// Workload is nil if it does not exist.
	Workload *Workload
	Pods     []Pod
}

// orphanPod returns the state of a pod that no restartable workload owns, as a workload of its own.
func orphanPod(m podInfo) WorkloadState {
	ref := Ref{kindPod, m.Name}
	return WorkloadState{Ref: ref, Pods: []Pod{m.Pod}, Workload: &Workload{
		Ref: ref, Updated: true, Settled: true, Held: "is not owned by a workload that can be restarted",
	}}
}

// Discover finds all workloads that a rollout affects: the targets, and the owner of every pod that uses the Secret
// at its start. A pod without a restartable owner counts for itself. Discover reads the pods' specs, not the pod
// templates: a mutating webhook may have added the Secret.
func (c Cluster) Discover(ctx context.Context, held Credential, want v1alpha1.Rollout) ([]WorkloadState, error) {
	members, err := c.members(ctx, held)
	if err != nil {
		return nil, err
	}
	var refs []Ref
	for _, target := range want.Targets {
		refs = append(refs, Ref{string(target.Kind), target.Name})
	}
	for _, m := range members {
		if m.reads && m.owner.Kind != kindPod {
			refs = append(refs, m.owner.Ref)
		}
	}
	var found []WorkloadState
	owned, seen := map[string]bool{}, map[Ref]bool{}
	for _, ref := range refs {
		if seen[ref] {
			continue
		}
		seen[ref] = true
		w, err := c.workload(ctx, held.Namespace, ref)
		if err != nil {
			return nil, err
		}
		s := stateOf(ref, w, members, want)
		for _, p := range s.Pods {
			owned[p.Name] = true
		}
		if s.Named || w != nil {
			found = append(found, s)
		}
	}
	for _, m := range members {
		if m.active && m.reads && !owned[m.Name] {
			found = append(found, orphanPod(m))
		}
	}
	return found, nil
}

// Get returns the state of one workload with its pods, or of one standalone pod.
func (c Cluster) Get(ctx context.Context, held Credential, want v1alpha1.Rollout, ref Ref) (WorkloadState, error) {
	if ref.Kind == kindPod {
		pod := &corev1.Pod{}
		err := c.Reader.Get(ctx, client.ObjectKey{Namespace: held.Namespace, Name: ref.Name}, pod)
		if err != nil || !readers.Active(pod) {
			return WorkloadState{Ref: ref}, ignoreAbsent(ref, err)
		}
		return orphanPod(podInfoOf(pod, held.Secret)), nil
	}
	w, err := c.workload(ctx, held.Namespace, ref)
	if w == nil || err != nil {
		return stateOf(ref, nil, nil, want), err
	}
	members, err := c.members(ctx, held, client.MatchingLabelsSelector{Selector: w.selector})
	if err != nil {
		return WorkloadState{Ref: ref}, err
	}
	return stateOf(ref, w, members, want), nil
}

// stateOf combines a workload, nil if it does not exist, with the pods that it owns. All pods of a target count.
func stateOf(ref Ref, w *selected, members []podInfo, want v1alpha1.Rollout) WorkloadState {
	s := WorkloadState{Ref: ref, Named: slices.ContainsFunc(want.Targets, func(t v1alpha1.WorkloadReference) bool {
		return ref == Ref{string(t.Kind), t.Name}
	})}
	if w == nil {
		return s
	}
	workload := w.Workload
	s.Workload = &workload
	for _, m := range members {
		if !m.active || !workload.owns(m) || !m.reads && !s.Named {
			continue
		}
		if s.Named {
			m.Started = m.first
		}
		s.Pods = append(s.Pods, m.Pod)
		workload.Secrets = append(workload.Secrets, m.secrets...)
	}
	slices.Sort(workload.Secrets)
	workload.Secrets = slices.Compact(workload.Secrets)
	if !s.Named && !want.Discover {
		workload.Held = "is not named by spec.rollout.targets, and spec.rollout.discover is not set"
	}
	return s
}

// workload reads a workload. It returns nil if the workload does not exist or is being deleted.
func (c Cluster) workload(ctx context.Context, namespace string, ref Ref) (*selected, error) {
	kind, ok := kindOf(ref.Kind)
	if !ok {
		return nil, nil
	}
	object := kind.object()
	err := c.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, object)
	if err != nil || object.GetDeletionTimestamp() != nil {
		return nil, ignoreAbsent(ref, err)
	}
	w, err := read(object)
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// ignoreAbsent ignores errors for an object or a kind that does not exist.
func ignoreAbsent(ref Ref, err error) error {
	if err == nil || apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	return fmt.Errorf("reading %s: %w", ref, err)
}

// Restart makes a workload's controller replace its pods, and records the credentials in a stamp. The UID prevents a
// restart of a new workload with the same name.
func (c Cluster) Restart(ctx context.Context, namespace string, w Workload, stamp readers.Stamp, at time.Time) error {
	kind, ok := kindOf(w.Kind)
	if !ok {
		return fmt.Errorf("%s cannot be restarted", w.Ref)
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"namespace": namespace, "name": w.Name, "uid": string(w.UID)},
	}}
	object.SetGroupVersionKind(kind.gvk)
	restart := c.restartByTemplate
	if kind.gvk == argoRollout {
		restart = c.restartInPlace
	}
	if err := restart(ctx, object, stamp, at); err != nil {
		return fmt.Errorf("restarting %s: %w", w.Ref, err)
	}
	return nil
}

// restartByTemplate sets an annotation of the pod template. Applying the same stamp again changes nothing.
func (c Cluster) restartByTemplate(ctx context.Context, object *unstructured.Unstructured, stamp readers.Stamp, _ time.Time) error {
	object.Object["spec"] = map[string]any{"template": map[string]any{"metadata": map[string]any{
		"annotations": map[string]any{v1alpha1.CredentialsAnnotation: stamp.String()},
	}}}
	// Without this option, the client would start a watch to read its own writes.
	return c.Writer.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(FieldManager), client.ForceOwnership, client.DisableReadYourWritesConsistency)
}

// restartInPlace makes Argo Rollouts evict the pods that were created before a time (Argo Rollouts documentation,
// 'Restarting Rollout Pods'). A change of the pod template would start a new revision, which may wait in a canary
// step while the stable pods stay. It uses no server-side apply for the same reason: that would remove the annotation
// that earlier versions of the operator applied to the pod template.
func (c Cluster) restartInPlace(ctx context.Context, object *unstructured.Unstructured, stamp readers.Stamp, at time.Time) error {
	object.SetAnnotations(map[string]string{v1alpha1.CredentialsAnnotation: stamp.String()})
	object.Object["spec"] = map[string]any{"restartAt": at.UTC().Format(time.RFC3339)}
	patch, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return c.Writer.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(FieldManager), client.DisableReadYourWritesConsistency)
}
