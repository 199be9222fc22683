// Package secret observes and writes the Secrets that credentials are kept in, and watches single Secrets that are not ours.
package secret

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
)

// FieldManager is the name that the operator's writes stand under in managedFields.
const FieldManager = "rolecredential"

// uncached keeps a client whose reads wait for its own writes from watching what is written, data and all.
const uncached = client.DisableReadYourWritesConsistency

// ErrForeign is the error of a write to a Secret that is not the credential's.
var ErrForeign = errors.New("the Secret is not this credential's")

// Store keeps Secrets for their owners. No data of a Secret is ever cached.
type Store struct {
	// Client writes, and reads the metadata of the Secrets that are kept, which it may do from a cache that [Untouched] went
	// through.
	Client client.Client
	// Reader reads a Secret as it is now.
	Reader client.Reader

	mu sync.Mutex
	// known are the Secrets that hold what was written to them, by their owners.
	known map[ownerKey]edition
}

// ownerKey names an owner among those of all kinds.
type ownerKey struct {
	kind reflect.Type
	types.NamespacedName
}

func keyOf(owner client.Object) ownerKey {
	return ownerKey{reflect.TypeOf(owner), client.ObjectKeyFromObject(owner)}
}

// edition names a Secret at a time.
type edition struct {
	name    string
	uid     types.UID
	version string
}

func editionOf(object metav1.Object) edition {
	return edition{object.GetName(), object.GetUID(), object.GetResourceVersion()}
}

// Observed is what was found where a credential's Secret should be.
type Observed struct {
	credential.Observed
	// Version is the Secret's resource version, and Immutable whether it says so. They are of no Secret if that is Absent.
	Version   string
	Immutable bool

	// metadata is what stood over the data, nil of no Secret. It may be the cache's own, for reading only.
	metadata *metav1.ObjectMeta
	// secret is nil where the metadata said enough.
	secret *corev1.Secret
}

// Content is what to write to a Secret.
type Content struct {
	Template v1alpha1.SecretTemplate
	Record   credential.Record
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
	if err == nil && metav1.IsControlledBy(seen, owner) && s.trusts(owner, seen, keys) {
		if record, ok := credential.ParseRecord(seen.Annotations); ok && record.Genuine() && wears(seen, template) {
			s.knows(owner, seen)
			return Observed{Observed: credential.Observed{Ownership: credential.Ours, Record: &record}, Version: seen.ResourceVersion, metadata: &seen.ObjectMeta}, nil
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

// trusts tells whether a Secret is as it was written: at the version that is known, or else by nobody's hand but ours.
func (s *Store) trusts(owner client.Object, seen *metav1.PartialObjectMetadata, keys []string) bool {
	s.mu.Lock()
	known, ok := s.known[keyOf(owner)]
	s.mu.Unlock()
	if ok {
		return known == editionOf(seen)
	}
	return untouched(seen, keys)
}

func (s *Store) knows(owner client.Object, object metav1.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[ownerKey]edition{}
	}
	s.known[keyOf(owner)] = editionOf(object)
}

// Knows tells whether a Secret, which an object of a kind controls, is as it was last written or found, so that it is no news.
func (s *Store) Knows(kind client.Object, object metav1.Object) bool {
	controller := metav1.GetControllerOfNoCopy(object)
	if controller == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.known[ownerKey{reflect.TypeOf(kind), types.NamespacedName{Namespace: object.GetNamespace(), Name: controller.Name}}]
	return ok && known == editionOf(object)
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
	observed.Ownership, err = s.ownership(owner, secret)
	if err != nil {
		return Observed{}, err
	}
	if record, ok := credential.ParseRecord(secret.Annotations); ok && observed.Ownership == credential.Ours && record.Intact(secret.Data) && wears(secret, template) {
		observed.Record = &record
		if !observed.Immutable {
			s.knows(owner, secret)
		}
	}
	return observed, nil
}

func (s *Store) ownership(owner client.Object, secret *corev1.Secret) (credential.Ownership, error) {
	if metav1.IsControlledBy(secret, owner) {
		return credential.Ours, nil
	}
	gvk, err := apiutil.GVKForObject(owner, s.Client.Scheme())
	if err != nil {
		return credential.Foreign, err
	}
	// What another controller owns is not its owner's alone to hand over.
	if secret.Annotations[v1alpha1.AdoptAnnotation] == gvk.Kind+"/"+owner.GetName() && metav1.GetControllerOf(secret) == nil {
		return credential.Adopted, nil
	}
	return credential.Foreign, nil
}

// wears tells whether a Secret has the labels and annotations of a template, and may have others, and whether our watch still
// selects it.
func wears(object metav1.Object, t v1alpha1.SecretTemplate) bool {
	return object.GetLabels()[v1alpha1.ManagedByLabel] == v1alpha1.ManagedByValue && holds(object.GetLabels(), t.Labels) && holds(object.GetAnnotations(), t.Annotations)
}

func holds(all, some map[string]string) bool {
	for key, value := range some {
		if held, ok := all[key]; !ok || held != value {
			return false
		}
	}
	return true
}

const writeAttempts = 3

// Write makes the Secret that was observed hold the content. If it changed meanwhile, it is observed again: what was issued
// is not lost to a race, and a Secret that is no longer the owner's is left alone with [ErrForeign].
func (s *Store) Write(ctx context.Context, owner client.Object, name string, observed Observed, content Content) error {
	for attempt := 1; ; attempt++ {
		if observed.Ownership == credential.Foreign {
			return ErrForeign
		}
		err := s.write(ctx, owner, name, observed, content)
		raced := apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
		unseen := apierrors.IsInvalid(err) && observed.secret == nil // metadata does not tell the type, which must stay
		if !raced && !unseen || attempt == writeAttempts {
			return err
		}
		if observed, err = s.read(ctx, owner, name, content.Template); err != nil {
			return err
		}
	}
}

// write creates the Secret where there is none, and otherwise changes it as it was observed, by its UID and version: whatever has
// come to stand there meanwhile is not taken over.
func (s *Store) write(ctx context.Context, owner client.Object, name string, observed Observed, content Content) error {
	gvk, err := apiutil.GVKForObject(owner, s.Client.Scheme())
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.GetNamespace(),
			Name:            name,
			Labels:          merged(content.Template.Labels, map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}),
			Annotations:     merged(content.Template.Annotations, content.Record.Annotations()),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, gvk)},
		},
		Data: content.Data,
	}
	secret.OwnerReferences[0].BlockOwnerDeletion = nil
	switch {
	case observed.Ownership == credential.Absent:
		secret.Type = corev1.SecretTypeOpaque
		err = s.Client.Create(ctx, secret, client.FieldOwner(FieldManager), uncached)
	case observed.Record != nil && observed.Record.TemplateHash == content.Record.TemplateHash:
		err = s.replace(ctx, secret, observed)
	default:
		err = s.reshape(ctx, owner, secret, observed, content.Template)
	}
	if err != nil {
		return err
	}
	s.knows(owner, secret)
	return nil
}

// replace puts a new credential in place of one of the same form. What others put beside the data stays.
func (s *Store) replace(ctx context.Context, secret *corev1.Secret, observed Observed) error {
	labels, annotations := merged(observed.metadata.Labels, secret.Labels), merged(observed.metadata.Annotations, secret.Annotations)
	delete(annotations, keysAnnotation)
	secret.ObjectMeta = *observed.metadata
	secret.Labels, secret.Annotations = labels, annotations
	secret.Type = corev1.SecretTypeOpaque
	if observed.secret != nil {
		secret.Type = observed.secret.Type
	}
	return s.Client.Update(ctx, secret, client.FieldOwner(FieldManager), uncached)
}

// reshape is the rare write of another form, over what was edited or handed over too. It takes out the labels and annotations of
// ours that are no longer wanted.
func (s *Store) reshape(ctx context.Context, owner client.Object, secret *corev1.Secret, observed Observed, template v1alpha1.SecretTemplate) error {
	if observed.secret == nil {
		var err error
		if observed, err = s.read(ctx, owner, secret.Name, template); err != nil {
			return err
		}
		if observed.Ownership != credential.Ours {
			return apierrors.NewConflict(corev1.Resource("secrets"), secret.Name, errors.New("it changed hands meanwhile"))
		}
	}
	found := observed.metadata
	for _, key := range keysOfOurs(found.ManagedFields, "metadata", "labels") {
		delete(found.Labels, key)
	}
	for _, key := range append(keysOfOurs(found.ManagedFields, "metadata", "annotations"), credential.RecordKeys()...) {
		delete(found.Annotations, key)
	}
	delete(found.Annotations, v1alpha1.AdoptAnnotation)
	if !metav1.IsControlledBy(found, owner) {
		found.OwnerReferences = append(found.OwnerReferences, secret.OwnerReferences...)
	}
	return s.replace(ctx, secret, observed)
}

// merged returns a map of both, ours over theirs.
func merged(theirs, ours map[string]string) map[string]string {
	all := maps.Clone(ours)
	for key, value := range theirs {
		if _, taken := ours[key]; !taken {
			all[key] = value
		}
	}
	return all
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
