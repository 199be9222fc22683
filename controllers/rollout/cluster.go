package rollout

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

const (
	// pageSize is the number of pods of one request. A pod has up to 1.5 MiB, so that a page has up to 30 MiB.
	pageSize = 20
	// maxBytes is the size of the pods that one pass reads: about 4,000 ordinary ones.
	maxBytes = 32 << 20
)

// errTooLarge is the error for pods of more than maxBytes.
var errTooLarge = errors.New("the pods of the namespace are too large")

// Cluster reads and restarts workloads. It has no watch and no cache, so that it costs nothing without rollouts, and
// a manager without permission to read workloads starts.
type Cluster struct {
	// APIReader reads from the API server.
	APIReader client.Reader
	// Writer restarts workloads.
	Writer client.Writer
}

// Discover returns the active pods of a credential's namespace. Of a namespace that is too large it returns only the
// pods of the targets, or an error if the rollout discovers workloads.
func (c Cluster) Discover(ctx context.Context, of Credential, want v1alpha1.Rollout) ([]Pod, error) {
	left := maxBytes
	pods, err := c.pods(ctx, of, &left)
	if !errors.Is(err, errTooLarge) || want.Discover {
		return pods, err
	}
	left, pods = maxBytes, nil
	for _, target := range want.Targets {
		w, err := c.Get(ctx, of.Namespace, Ref{string(target.Kind), target.Name})
		if err != nil {
			return nil, err
		}
		if w == nil {
			continue
		}
		selected, err := c.pods(ctx, of, &left, client.MatchingLabelsSelector{Selector: w.Selector})
		if err != nil {
			return nil, err
		}
		for _, p := range selected {
			if p.Owner == w.Ref { // selectors may overlap
				pods = append(pods, p)
			}
		}
	}
	return pods, nil
}

// pods returns the active pods of a namespace, up to a number of bytes left.
func (c Cluster) pods(ctx context.Context, of Credential, left *int, options ...client.ListOption) (pods []Pod, err error) {
	options = append(options, client.InNamespace(of.Namespace), client.Limit(pageSize))
	for next := client.Continue(""); ; {
		var page corev1.PodList
		if err := c.APIReader.List(ctx, &page, append(options, next)...); err != nil {
			return nil, fmt.Errorf("failed to list Pods: %w", err)
		}
		for i := range page.Items {
			if *left -= page.Items[i].Size(); *left < 0 {
				return nil, errTooLarge
			}
			if readers.Active(&page.Items[i]) {
				pods = append(pods, podOf(&page.Items[i], of.Secret))
			}
		}
		if next = client.Continue(page.Continue); next == "" {
			return pods, nil
		}
	}
}

// Get returns a workload. It returns nil if the workload does not exist or is being deleted.
func (c Cluster) Get(ctx context.Context, namespace string, ref Ref) (*Workload, error) {
	kind, ok := kinds[v1alpha1.WorkloadKind(ref.Kind)]
	if !ok {
		return nil, nil
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind.gvk)
	err := c.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, object)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) || object.GetDeletionTimestamp() != nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("failed to read %s: %w", ref, err)
	}
	w, err := kind.read(object)
	w.Ref, w.UID = ref, object.GetUID()
	return &w, err
}

// Restart makes a workload's controller replace its pods, and records the credentials in a stamp: in an annotation of the pod template,
// so that applying the same stamp again changes nothing. The UID prevents a restart of a new workload with the same name. at is the time by
// the cluster's clock.
//
// Argo Rollouts evicts the pods that were created before spec.restartAt (Argo Rollouts documentation, 'Restarting Rollout Pods'). A change
// of the pod template would start a new revision, which may wait in a canary step while the stable pods stay.
func (c Cluster) Restart(ctx context.Context, namespace string, w Workload, stamp readers.Stamp, at time.Time) error {
	kind, ok := kinds[v1alpha1.WorkloadKind(w.Kind)]
	if !ok {
		return fmt.Errorf("%s cannot be restarted", w.Ref)
	}
	annotations := map[string]any{v1alpha1.CredentialsAnnotation: stamp.String()}
	metadata := map[string]any{"namespace": namespace, "name": w.Name, "uid": string(w.UID)}
	spec := map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": annotations}}}
	if kind.gvk == argoRollout {
		metadata["annotations"] = annotations
		spec = map[string]any{"restartAt": at.UTC().Format(time.RFC3339)}
	}
	object := &unstructured.Unstructured{Object: map[string]any{"metadata": metadata, "spec": spec}}
	object.SetGroupVersionKind(kind.gvk)
	// Without the last option, the client would start a watch to read its own writes.
	err := c.Writer.Apply(ctx, client.ApplyConfigurationFromUnstructured(object),
		client.FieldOwner(FieldManager), client.ForceOwnership, client.DisableReadYourWritesConsistency)
	if err != nil {
		return fmt.Errorf("failed to restart %s: %w", w.Ref, err)
	}
	return nil
}
