package rollout

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
)

// Cluster reads and restarts workloads. It watches and caches none, so that it costs nothing where nothing is to be restarted, and
// so that a manager which may not read workloads starts all the same.
type Cluster struct {
	// Reader reads what is there now.
	Reader client.Reader
	// Writer applies stamps.
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

// stray is a pod that no workload which could be restarted owns, taken for a workload of its own.
func stray(m member) Sighting {
	ref := Ref{kindPod, m.Name}
	return Sighting{Ref: ref, Pods: []Pod{m.Pod}, Workload: &Workload{
		Ref: ref, Updated: true, Settled: true, Held: "is of no workload that can be restarted",
	}}
}

// Survey finds all that a rollout concerns: the workloads that it names, and if it is to discover them those with the Secret as
// environment variables, pods of no workload among them.
func (c Cluster) Survey(ctx context.Context, namespace string, want v1alpha1.Rollout, secret string) ([]Sighting, error) {
	var found []Sighting
	named := map[Ref]bool{}
	for _, target := range want.Targets {
		s, err := c.Look(ctx, namespace, Ref{string(target.Kind), target.Name})
		if err != nil {
			return nil, err
		}
		s.Named = true
		named[s.Ref] = true
		found = append(found, s)
	}
	if !want.Discover {
		return found, nil
	}
	members, err := c.members(ctx, client.InNamespace(namespace))
	if err != nil {
		return nil, err
	}
	owners := map[string][]Pod{}
	for _, m := range members {
		owners[m.owner] = append(owners[m.owner], m.Pod)
	}
	known := map[string]bool{}
	for _, kind := range kinds {
		err := c.each(ctx, kind.list, func(object client.Object) {
			w, err := read(object)
			if err != nil { // nobody can tell what it has
				return
			}
			known[w.String()], known[string(w.UID)] = true, true
			if slices.Contains(w.Secrets, secret) && !named[w.Ref] && object.GetDeletionTimestamp() == nil {
				found = append(found, Sighting{Ref: w.Ref, Workload: &w.Workload, Pods: slices.Concat(owners[w.String()], owners[string(w.UID)])})
			}
		}, client.InNamespace(namespace))
		if err != nil {
			return nil, fmt.Errorf("listing %ss: %w", kind.name, err)
		}
	}
	for _, m := range members {
		if !known[m.owner] && slices.Contains(m.secrets, secret) {
			found = append(found, stray(m))
		}
	}
	return found, nil
}

// Look finds one workload, or pod of none, with its pods.
func (c Cluster) Look(ctx context.Context, namespace string, ref Ref) (Sighting, error) {
	key, sighting := client.ObjectKey{Namespace: namespace, Name: ref.Name}, Sighting{Ref: ref}
	if ref.Kind == kindPod {
		pod := &corev1.Pod{}
		if err := c.Reader.Get(ctx, key, pod); err != nil || !alive(pod) {
			return sighting, absent(ref, err)
		}
		return stray(memberOf(pod)), nil
	}
	kind, ok := kindOf(ref.Kind)
	if !ok {
		return sighting, nil
	}
	object := kind.object()
	if err := c.Reader.Get(ctx, key, object); err != nil || object.GetDeletionTimestamp() != nil {
		return sighting, absent(ref, err)
	}
	w, err := read(object)
	if err != nil {
		return sighting, err
	}
	members, err := c.members(ctx, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: w.selector})
	if err != nil {
		return sighting, err
	}
	sighting.Workload = &w.Workload
	for _, m := range members {
		if w.owns(m) {
			sighting.Pods = append(sighting.Pods, m.Pod)
		}
	}
	return sighting, nil
}

// absent takes what does not exist, nor its kind, for no error.
func absent(ref Ref, err error) error {
	if err == nil || apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	return fmt.Errorf("reading %s: %w", ref, err)
}

// Restart writes a stamp to a workload's pod template, upon which its controller replaces its pods. Writing the same again does
// nothing. An apply without the UID could make what had been deleted meanwhile.
func (c Cluster) Restart(ctx context.Context, namespace string, w Workload, stamp Stamp) error {
	kind, ok := kindOf(w.Kind)
	if !ok {
		return fmt.Errorf("%s cannot be restarted", w.Ref)
	}
	patch := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"namespace": namespace, "name": w.Name, "uid": string(w.UID)},
		"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
			"annotations": map[string]any{v1alpha1.CredentialsAnnotation: stamp.String()},
		}}},
	}}
	patch.SetGroupVersionKind(kind.gvk)
	// A client whose reads wait for its own writes would watch what is written.
	err := c.Writer.Apply(ctx, client.ApplyConfigurationFromUnstructured(patch), client.FieldOwner(FieldManager), client.ForceOwnership, client.DisableReadYourWritesConsistency)
	if err != nil {
		return fmt.Errorf("restarting %s: %w", w.Ref, err)
	}
	return nil
}

// members are the pods alive.
func (c Cluster) members(ctx context.Context, options ...client.ListOption) (members []member, err error) {
	err = c.each(ctx, func() client.ObjectList { return &corev1.PodList{} }, func(object client.Object) {
		if pod, ok := object.(*corev1.Pod); ok && alive(pod) {
			members = append(members, memberOf(pod))
		}
	}, options...)
	if err != nil {
		return nil, fmt.Errorf("listing Pods: %w", err)
	}
	return members, nil
}

// page is how many objects are read in one request.
const page = 500

// each reads a list page by page. A kind that the cluster does not have has no objects.
func (c Cluster) each(ctx context.Context, list func() client.ObjectList, visit func(client.Object), options ...client.ListOption) error {
	for next := ""; ; {
		read := list()
		if err := c.Reader.List(ctx, read, append(slices.Clip(options), client.Limit(page), client.Continue(next))...); err != nil {
			if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
				return nil
			}
			return err
		}
		err := meta.EachListItem(read, func(item runtime.Object) error {
			if object, ok := item.(client.Object); ok {
				visit(object)
			}
			return nil
		})
		if next = read.GetContinue(); err != nil || next == "" {
			return err
		}
	}
}
