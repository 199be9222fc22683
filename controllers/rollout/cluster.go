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

// Cluster reads and restarts workloads. It watches and caches none, so that it costs nothing where nothing is to be restarted, and
// so that a manager which may not read workloads starts all the same.
type Cluster struct {
	// Reader reads what is there now.
	Reader client.Reader
	// Writer restarts workloads.
	Writer client.Writer
}

// Sighting is what was found where a reader may be.
type Sighting struct {
	Ref
	// Named tells whether it was asked for by name.
	Named bool
	// Workload is nil if there is none.
	Workload *Workload
	Pods     []Pod
}

// orphan is a pod that belongs to no workload which can be restarted. It stands for a workload of its own.
func orphan(m member) Sighting {
	ref := Ref{kindPod, m.Name}
	return Sighting{Ref: ref, Pods: []Pod{m.Pod}, Workload: &Workload{
		Ref: ref, Updated: true, Settled: true, Held: "is of no workload that can be restarted",
	}}
}

// Survey finds all that a rollout concerns: the workloads that it names, and every pod of the namespace that keeps the content
// which the Secret had when a container started. Such a pod counts for its workload if that can be restarted, and else for itself.
// The pods' specs decide, and not the pod templates: a mutating webhook may have added the Secret.
func (c Cluster) Survey(ctx context.Context, held Credential, want v1alpha1.Rollout) ([]Sighting, error) {
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
	var found []Sighting
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
		s := sighting(ref, w, members, want)
		for _, p := range s.Pods {
			owned[p.Name] = true
		}
		if s.Named || w != nil {
			found = append(found, s)
		}
	}
	for _, m := range members {
		if m.active && m.reads && !owned[m.Name] {
			found = append(found, orphan(m))
		}
	}
	return found, nil
}

// Look finds one workload with its pods, or one pod that belongs to no workload.
func (c Cluster) Look(ctx context.Context, held Credential, want v1alpha1.Rollout, ref Ref) (Sighting, error) {
	if ref.Kind == kindPod {
		pod := &corev1.Pod{}
		err := c.Reader.Get(ctx, client.ObjectKey{Namespace: held.Namespace, Name: ref.Name}, pod)
		if err != nil || !readers.Active(pod) {
			return Sighting{Ref: ref}, absent(ref, err)
		}
		return orphan(memberOf(pod, held.Secret)), nil
	}
	w, err := c.workload(ctx, held.Namespace, ref)
	if w == nil || err != nil {
		return sighting(ref, nil, nil, want), err
	}
	members, err := c.members(ctx, held, client.MatchingLabelsSelector{Selector: w.selector})
	if err != nil {
		return Sighting{Ref: ref}, err
	}
	return sighting(ref, w, members, want), nil
}

// sighting puts together a workload, nil for none, and the pods that it owns. Of a workload that the rollout names all pods count.
func sighting(ref Ref, w *selected, members []member, want v1alpha1.Rollout) Sighting {
	s := Sighting{Ref: ref, Named: slices.ContainsFunc(want.Targets, func(t v1alpha1.WorkloadReference) bool {
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

// workload reads a workload. It is nil if there is none, or if it is being deleted.
func (c Cluster) workload(ctx context.Context, namespace string, ref Ref) (*selected, error) {
	kind, ok := kindOf(ref.Kind)
	if !ok {
		return nil, nil
	}
	object := kind.object()
	err := c.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, object)
	if err != nil || object.GetDeletionTimestamp() != nil {
		return nil, absent(ref, err)
	}
	w, err := read(object)
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// absent takes what does not exist, nor its kind, for no error.
func absent(ref Ref, err error) error {
	if err == nil || apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	return fmt.Errorf("reading %s: %w", ref, err)
}

// Restart has a workload's controller replace the workload's pods, and records in a stamp for which credentials. Its UID keeps a
// workload of the same name that was made meanwhile from being restarted.
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

// restartByTemplate changes an annotation of the pod template. Applying the same stamp again changes nothing.
func (c Cluster) restartByTemplate(ctx context.Context, object *unstructured.Unstructured, stamp readers.Stamp, _ time.Time) error {
	object.Object["spec"] = map[string]any{"template": map[string]any{"metadata": map[string]any{
		"annotations": map[string]any{v1alpha1.CredentialsAnnotation: stamp.String()},
	}}}
	// A client whose reads wait for its own writes would watch what is written.
	return c.Writer.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(FieldManager), client.ForceOwnership, client.DisableReadYourWritesConsistency)
}

// restartInPlace has Argo Rollouts evict the pods that were created before a time (Argo Rollouts documentation, 'Restarting Rollout
// Pods'). A change of the pod template would begin a new revision, which may wait in a canary step while the stable pods stay. For
// the same reason this is no server-side apply: that would remove the annotation that former versions of the operator applied to
// the pod template.
func (c Cluster) restartInPlace(ctx context.Context, object *unstructured.Unstructured, stamp readers.Stamp, at time.Time) error {
	object.SetAnnotations(map[string]string{v1alpha1.CredentialsAnnotation: stamp.String()})
	object.Object["spec"] = map[string]any{"restartAt": at.UTC().Format(time.RFC3339)}
	patch, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return c.Writer.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(FieldManager), client.DisableReadYourWritesConsistency)
}
