// Package secret observes and writes the Secrets that credentials are kept in, and watches single Secrets that are not ours.
package secretstore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
)

// FieldManager is the name that the operator's writes stand under in managedFields.
const FieldManager = "rolecredential"

// uncached keeps a client whose reads wait for its own writes from watching what is written, data and all.
const uncached = client.DisableReadYourWritesConsistency

// ErrForeign is the error of a write to a Secret that is not the credential's.
var ErrForeign = errors.New("the Secret is not this credential's")

// Store keeps Secrets for their owners. No data of a Secret is ever cached.
type Store struct {
	// Client writes, and reads the metadata of the Secrets from a cache that [TrimForCache] is the transform of.
	Client client.Client
	// Reader reads a Secret as it is now.
	Reader client.Reader

	mu sync.Mutex
	// known are the Secrets that hold what was written to them, by their owners.
	known map[ownerKey]secretVersion
}

// ownerKey names an owner among those of all kinds.
type ownerKey struct {
	kind reflect.Type
	types.NamespacedName
}

func keyOf(owner client.Object) ownerKey {
	return ownerKey{reflect.TypeOf(owner), client.ObjectKeyFromObject(owner)}
}

// secretVersion names a Secret at a time.
type secretVersion struct {
	name    string
	uid     types.UID
	version string
}

func secretVersionOf(object metav1.Object) secretVersion {
	return secretVersion{object.GetName(), object.GetUID(), object.GetResourceVersion()}
}

// Observed is what was found where a credential's Secret should be.
type Observed struct {
	reissue.Observed
	// Controller is the kind and name of a foreign Secret's controller, as <kind>/<name>; empty for none.
	Controller string
	// Version is the Secret's resource version, and Immutable whether it says so. They are of no Secret if that is Absent.
	Version   string
	Immutable bool

	// metadata is that of the Secret, nil if there is none. It may be the cache's own, for reading only.
	metadata *metav1.ObjectMeta
	// secret is nil where the metadata in the cache said enough. It then has no labels or annotations but those of the template and
	// the operator's own.
	secret *corev1.Secret
}

// Content is what to write to a Secret.
type Content struct {
	Template v1alpha1.SecretTemplate
	Record   reissue.Record
	Data     map[string][]byte
}

// Observe finds out what the Secret of a name in the owner's namespace holds, which should have these keys. It is read only if
// its metadata, which is watched, does not tell that it is as it was written. A stranger's is not watched: an owner that is new
// is taken to have none, which saves a look for each that is made, and is found wrong by [Store.Write].
func (s *Store) Observe(ctx context.Context, owner client.Object, name string, template v1alpha1.SecretTemplate, keys []string, isNew bool) (Observed, error) {
	seen := Metadata()
	err := s.Client.Get(ctx, client.ObjectKey{Namespace: owner.GetNamespace(), Name: name}, seen)
	if client.IgnoreNotFound(err) != nil {
		return Observed{}, fmt.Errorf("reading the metadata of Secret %s/%s: %w", owner.GetNamespace(), name, err)
	}
	if err == nil && metav1.IsControlledBy(seen, owner) && s.isUnmodified(owner, seen, keys) {
		if record, ok := reissue.ParseRecord(seen.Annotations); ok && record.ChecksumValid() && hasOnlyTemplateMetadata(seen, template) {
			s.recordWrite(owner, seen)
			return Observed{Observed: reissue.Observed{Ownership: reissue.Ours, Record: &record}, Version: seen.ResourceVersion, metadata: &seen.ObjectMeta}, nil
		}
	}
	if err != nil && isNew {
		return Observed{}, nil
	}
	if err != nil && !s.hasWritten(owner) {
		if absent, err := s.absent(ctx, owner, name); absent || err != nil {
			return Observed{}, err
		}
	}
	return s.read(ctx, owner, name, template)
}

// hasWritten tells whether a Secret is known that the owner had, so that none is to be found only if it was deleted.
func (s *Store) hasWritten(owner client.Object) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.known[keyOf(owner)]
	return ok
}

// absent tells whether there is no Secret of a name, as the API server's own cache has it, which costs etcd nothing. Should one have
// come to be a moment ago, it is not created over.
func (s *Store) absent(ctx context.Context, owner client.Object, name string) (bool, error) {
	err := s.Reader.Get(ctx, client.ObjectKey{Namespace: owner.GetNamespace(), Name: name}, Metadata(), &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}})
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("looking for Secret %s/%s: %w", owner.GetNamespace(), name, err)
	}
	return err != nil, nil
}

// isUnmodified reports whether a Secret is as the operator wrote it: at the version of the last write, or, after a restart, written by its field manager only.
func (s *Store) isUnmodified(owner client.Object, seen *metav1.PartialObjectMetadata, keys []string) bool {
	s.mu.Lock()
	known, ok := s.known[keyOf(owner)]
	s.mu.Unlock()
	if ok {
		return known == secretVersionOf(seen)
	}
	return untouched(seen, keys)
}

func (s *Store) recordWrite(owner client.Object, object metav1.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[ownerKey]secretVersion{}
	}
	s.known[keyOf(owner)] = secretVersionOf(object)
}

// IsOwnWrite tells whether a Secret, which an object of a kind controls, is as it was last written or found, so that it is no news.
func (s *Store) IsOwnWrite(kind client.Object, object metav1.Object) bool {
	controller := metav1.GetControllerOfNoCopy(object)
	if controller == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.known[ownerKey{reflect.TypeOf(kind), types.NamespacedName{Namespace: object.GetNamespace(), Name: controller.Name}}]
	return ok && known == secretVersionOf(object)
}

// Forget drops what is known of the Secret of an owner that is gone.
func (s *Store) Forget(owner client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, keyOf(owner))
}

// read reads a Secret as it is now.
func (s *Store) read(ctx context.Context, owner client.Object, name string, template v1alpha1.SecretTemplate) (Observed, error) {
	secret := &corev1.Secret{}
	err := s.Reader.Get(ctx, client.ObjectKey{Namespace: owner.GetNamespace(), Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return Observed{}, nil
	}
	if err != nil {
		return Observed{}, fmt.Errorf("reading Secret %s/%s: %w", owner.GetNamespace(), name, err)
	}
	observed := Observed{Version: secret.ResourceVersion, Immutable: ptr.Deref(secret.Immutable, false), metadata: &secret.ObjectMeta, secret: secret}
	reference, err := s.referenceTo(owner)
	if err != nil {
		return Observed{}, err
	}
	var valid *reissue.Record
	if record, ok := reissue.ParseRecord(secret.Annotations); ok && record.MatchesData(secret.Data) {
		valid = &record
	}
	observed.Ownership = ownership(reference, secret, valid)
	if controller := metav1.GetControllerOfNoCopy(secret); controller != nil && observed.Ownership == reissue.Foreign {
		observed.Controller = fullName(*controller)
	}
	if (observed.Ownership == reissue.Ours || observed.Ownership == reissue.Former) && hasTemplateMetadata(secret, template) {
		observed.Record = valid
	}
	if observed.Ownership == reissue.Ours && observed.Record != nil && !observed.Immutable {
		s.recordWrite(owner, secret)
	}
	return observed, nil
}

// hasTemplateMetadata reports whether a Secret has the labels and annotations of a template, and the label that the operator's watch
// selects. It may have others.
func hasTemplateMetadata(object metav1.Object, t v1alpha1.SecretTemplate) bool {
	return object.GetLabels()[v1alpha1.ManagedByLabel] == v1alpha1.ManagedByValue && containsAll(object.GetLabels(), t.Labels) && containsAll(object.GetAnnotations(), t.Annotations)
}

// hasOnlyTemplateMetadata reports whether metadata in the cache has the labels and annotations of a template, the operator's own, and no
// others.
func hasOnlyTemplateMetadata(seen *metav1.PartialObjectMetadata, t v1alpha1.SecretTemplate) bool {
	return seen.Annotations[othersAnnotation] == hashOthers(withOurLabel(t.Labels), t.Annotations)
}

func withOurLabel(labels map[string]string) map[string]string {
	return merged(labels, map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})
}

func containsAll(all, some map[string]string) bool {
	for key, value := range some {
		if held, ok := all[key]; !ok || held != value {
			return false
		}
	}
	return true
}

// Prune deletes the owner's Secrets of other names than keep: what a change of spec.secret.name left behind.
func (s *Store) Prune(ctx context.Context, owner client.Object, keep string) error {
	kept := &metav1.PartialObjectMetadataList{}
	kept.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := s.Client.List(ctx, kept, client.InNamespace(owner.GetNamespace()), client.MatchingFields{OwnerIndex: string(owner.GetUID())}); err != nil {
		return err
	}
	if keep != owner.GetName() { // which the index leaves out
		named := Metadata()
		err := s.Client.Get(ctx, client.ObjectKeyFromObject(owner), named)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err == nil && metav1.IsControlledBy(named, owner) {
			kept.Items = append(kept.Items, *named)
		}
	}
	for i := range kept.Items {
		old := &kept.Items[i]
		if old.Name == keep {
			continue
		}
		if err := s.Client.Delete(ctx, old, client.Preconditions{UID: &old.UID}); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("deleting the former Secret %s/%s: %w", old.Namespace, old.Name, err)
		}
	}
	return nil
}

// OwnerIndex is the name of the index of Secrets' metadata by the UID of their controller. Those that have its name, as most do, are
// found by that; to index each of them too would take as much memory as the Secrets' metadata do.
const OwnerIndex = "ownerUID"

// IndexOwner returns the UID of an object's controller, for [OwnerIndex].
func IndexOwner(object client.Object) []string {
	if controller := metav1.GetControllerOf(object); controller != nil && controller.Name != object.GetName() {
		return []string{string(controller.UID)}
	}
	return nil
}

// Metadata returns an empty Secret whose metadata alone is to be read or watched.
func Metadata() *metav1.PartialObjectMetadata {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return secret
}
