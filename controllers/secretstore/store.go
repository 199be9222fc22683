// Package secretstore observes and writes the Secrets of credentials.
package secretstore

import (
	"context"
	"fmt"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
)

// Store observes and writes the Secrets of credentials. It keeps no data of a Secret.
type Store struct {
	// Client writes. It reads the metadata of Secrets from a cache with the transform [TrimForCache].
	Client client.Client
	// APIReader reads from the API server.
	APIReader client.Reader
	// Namespaces are the only namespaces in which the manager has permissions; none for all.
	Namespaces []string

	// verified are the resource versions, by UID, at which the data of a Secret matched its record.
	verified    sync.Map
	verifyOwned sync.Once
}

// Bounds of the list of owned Secrets after a start. Anyone who can create Secrets decides how large they are.
const (
	// pageSize bounds the memory for the list: 20 Secrets of at most 1.5 MiB each, the limit of etcd.
	pageSize = 20
	// maxPage is the size of a page, in bytes, after which the list stops: large foreign Secrets in one namespace must not delay the
	// credentials of others. A page of Secrets with the default formats has about 100 KiB.
	maxPage = 1 << 20
)

// Observed is the Secret of a credential as the operator found it.
type Observed struct {
	reissue.Observed
	// Controller is the controller of a foreign Secret, as <kind>/<name>; empty for none.
	Controller string

	// secret is nil if it is absent.
	secret *corev1.Secret
	// partial is true if secret has no data, labels or annotations, because its metadata in the cache was sufficient.
	partial bool
}

// Observe returns what the Secret of a name in the owner's namespace holds. It reads the Secret only if the cached metadata does not
// prove that it is as the operator wrote it. A new owner is assumed to have no Secret, which saves a read: [Store.Write] finds one.
func (s *Store) Observe(ctx context.Context, owner client.Object, name string, template v1alpha1.SecretTemplate, isNew bool) (Observed, error) {
	key := client.ObjectKey{Namespace: owner.GetNamespace(), Name: name}
	cached := Metadata()
	err := s.Client.Get(ctx, key, cached)
	switch {
	case err == nil && metav1.IsControlledBy(cached, owner) && hasOnlyTemplateMetadata(cached, template):
		record, ok := reissue.ParseRecord(cached.Annotations)
		if ok && record.ChecksumValid() && s.isVerified(ctx, cached) {
			secret := &corev1.Secret{ObjectMeta: cached.ObjectMeta, Type: corev1.SecretTypeOpaque}
			secret.Annotations = nil // it has only the record, and the marker of the cache
			ours := reissue.Observed{Ownership: reissue.Ours, Record: &record}
			return Observed{Observed: ours, secret: secret, partial: true}, nil
		}
	case apierrors.IsNotFound(err):
		// The API server answers this read from its own cache, at no cost for etcd. A Secret created since is not overwritten.
		fromCache := &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}}
		if isNew || apierrors.IsNotFound(s.APIReader.Get(ctx, key, Metadata(), fromCache)) {
			return Observed{}, nil
		}
	case err != nil:
		return Observed{}, fmt.Errorf("reading the metadata of Secret %s: %w", key, err)
	}
	return s.read(ctx, owner, name, template)
}

// read returns what a Secret holds now.
func (s *Store) read(ctx context.Context, owner client.Object, name string, template v1alpha1.SecretTemplate) (Observed, error) {
	key, secret := client.ObjectKey{Namespace: owner.GetNamespace(), Name: name}, &corev1.Secret{}
	if err := s.APIReader.Get(ctx, key, secret); apierrors.IsNotFound(err) {
		return Observed{}, nil
	} else if err != nil {
		return Observed{}, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	return s.observed(s.referenceTo(owner), secret, template), nil
}

// observed returns what a whole Secret holds.
func (s *Store) observed(owner metav1.OwnerReference, secret *corev1.Secret, template v1alpha1.SecretTemplate) Observed {
	record := recordOf(secret)
	observed := Observed{secret: secret}
	observed.Ownership = ownership(owner, secret, record)
	switch controller := metav1.GetControllerOfNoCopy(secret); {
	case observed.Ownership == reissue.Foreign && controller != nil:
		observed.Controller = fullName(*controller)
	case (observed.Ownership == reissue.Ours || observed.Ownership == reissue.Former) && hasTemplateMetadata(secret, template):
		observed.Record = record
	}
	if observed.Ownership == reissue.Ours && observed.Record != nil {
		s.setVerified(secret)
	}
	return observed
}

// isVerified reports whether the data of a Secret matched its record at this version. The first call for an unknown Secret after a start lists
// all owned Secrets, while other calls wait. Observe reads each Secret that the list omits.
func (s *Store) isVerified(ctx context.Context, cached metav1.Object) bool {
	if _, known := s.verified.Load(cached.GetUID()); !known {
		s.verifyOwned.Do(func() {
			namespaces := s.Namespaces
			if len(namespaces) == 0 {
				namespaces = []string{metav1.NamespaceAll}
			}
			for _, namespace := range namespaces {
				if err := s.verifyAll(ctx, namespace); err != nil {
					log.FromContext(ctx).Error(err, "failed to list the Secrets of credentials, so each is read", "namespace", namespace)
				}
			}
		})
	}
	return s.IsCurrent(cached)
}

// verifyAll verifies the data of the owned Secrets of a namespace. It keeps no more than a page in memory.
func (s *Store) verifyAll(ctx context.Context, namespace string) error {
	for next := ""; ; {
		page := &corev1.SecretList{}
		ours := client.MatchingLabels(withManagedByLabel(nil))
		if err := s.APIReader.List(ctx, page, ours, client.InNamespace(namespace), client.Limit(pageSize), client.Continue(next)); err != nil {
			return err
		}
		for i := range page.Items {
			secret := &page.Items[i]
			// A version that is known already is of a write since the list began.
			if _, known := s.verified.Load(secret.UID); !known && controlledByCredential(secret) && recordOf(secret) != nil {
				s.setVerified(secret)
			}
		}
		if next = page.Continue; next == "" || page.Size() > maxPage {
			return nil
		}
	}
}

// setVerified records that the data of a Secret matches its record. It omits a Secret whose type or immutability must be observed,
// because metadata does not show them.
func (s *Store) setVerified(secret *corev1.Secret) {
	if secret.Type == corev1.SecretTypeOpaque && !ptr.Deref(secret.Immutable, false) {
		s.verified.Store(secret.UID, secret.ResourceVersion)
	}
}

// IsCurrent reports whether a Secret is at the version that the operator last wrote or verified.
func (s *Store) IsCurrent(secret metav1.Object) bool {
	known, ok := s.verified.Load(secret.GetUID())
	return ok && known == secret.GetResourceVersion()
}

// Forget removes the state of a Secret that was deleted.
func (s *Store) Forget(secret metav1.Object) { s.verified.Delete(secret.GetUID()) }

// recordOf returns the record of a Secret, nil unless it is valid and matches the data.
func recordOf(secret *corev1.Secret) *reissue.Record {
	if record, ok := reissue.ParseRecord(secret.Annotations); ok && record.MatchesData(secret.Data) {
		return &record
	}
	return nil
}

// hasTemplateMetadata reports whether a Secret has the labels and annotations of a template, and the label that the cache selects.
// It may have others.
func hasTemplateMetadata(secret *corev1.Secret, t v1alpha1.SecretTemplate) bool {
	return containsAll(secret.Labels, withManagedByLabel(t.Labels)) && containsAll(secret.Annotations, withoutRecord(t.Annotations))
}

func withManagedByLabel(labels map[string]string) map[string]string {
	return merged(labels, map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})
}

func containsAll(all, some map[string]string) bool {
	return maps.Equal(merged(all, some), all)
}

// Prune deletes the owner's Secrets of other names than keep. A change of spec.secret.name leaves them behind.
func (s *Store) Prune(ctx context.Context, owner client.Object, keep string) error {
	owned := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "SecretList"}}
	if err := s.Client.List(ctx, owned, client.InNamespace(owner.GetNamespace()), client.MatchingFields{OwnerIndex: string(owner.GetUID())}); err != nil {
		return err
	}
	if keep != owner.GetName() { // the index omits this name
		named := Metadata()
		if err := s.Client.Get(ctx, client.ObjectKeyFromObject(owner), named); client.IgnoreNotFound(err) != nil {
			return err
		} else if err == nil && metav1.IsControlledBy(named, owner) {
			owned.Items = append(owned.Items, *named)
		}
	}
	for i := range owned.Items {
		old := &owned.Items[i]
		if old.Name == keep {
			continue
		}
		if err := s.deleteOwned(ctx, owner, old); err != nil {
			return fmt.Errorf("deleting the former Secret %s/%s: %w", old.Namespace, old.Name, err)
		}
	}
	return nil
}

// deleteOwned deletes a Secret that the owner controls. If the Secret changed since it was observed, deleteOwned observes it again, because
// it may have become foreign.
func (s *Store) deleteOwned(ctx context.Context, owner client.Object, secret *metav1.PartialObjectMetadata) error {
	for attempt := 1; ; attempt++ {
		err := s.Client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion})
		if !apierrors.IsConflict(err) || attempt == writeAttempts {
			return client.IgnoreNotFound(err)
		}
		current := Metadata()
		if err := s.APIReader.Get(ctx, client.ObjectKeyFromObject(secret), current); err != nil {
			return client.IgnoreNotFound(err)
		}
		if !metav1.IsControlledBy(current, owner) {
			return nil
		}
		secret = current
	}
}

// OwnerIndex is the name of the index of Secrets by the UID of their controller. It omits Secrets with the controller's name, which most
// have, because an index of all would need as much memory as their metadata.
const OwnerIndex = "ownerUID"

// IndexOwner returns the UID of an object's controller for [OwnerIndex].
func IndexOwner(object client.Object) []string {
	if controller := metav1.GetControllerOfNoCopy(object); controller != nil && controller.Name != object.GetName() {
		return []string{string(controller.UID)}
	}
	return nil
}

// Metadata returns an empty Secret for reads and watches of metadata.
func Metadata() *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}}
}
