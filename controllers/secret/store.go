// Package secret observes and writes the Secrets that credentials are kept in, and watches single Secrets that are not ours.
package secret

import (
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/util/csaupgrade"
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
	// Client writes, and lists the metadata of the Secrets that are kept, which it may do from a cache.
	Client client.Client
	// Reader reads a Secret as it is now.
	Reader client.Reader
}

// Observed is what was found where a credential's Secret should be.
type Observed struct {
	credential.Observed
	// Secret is nil if there is none.
	Secret *corev1.Secret
}

// Content is what to write to a Secret.
type Content struct {
	Template v1alpha1.SecretTemplate
	Record   credential.Record
	Data     map[string][]byte
}

// Observe reads the Secret of a name in the owner's namespace.
func (s *Store) Observe(ctx context.Context, owner client.Object, name string) (Observed, error) {
	secret := &corev1.Secret{}
	err := s.Reader.Get(ctx, client.ObjectKey{Namespace: owner.GetNamespace(), Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return Observed{}, nil
	}
	if err != nil {
		return Observed{}, fmt.Errorf("reading Secret %s/%s: %w", owner.GetNamespace(), name, err)
	}
	observed := Observed{Secret: secret}
	observed.Ownership, err = s.ownership(owner, secret)
	if err != nil {
		return Observed{}, err
	}
	if record, ok := credential.ParseRecord(secret.Annotations); ok && observed.Ownership == credential.Ours && intact(secret, record) {
		observed.Record = &record
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

// intact tells whether a Secret holds what was written to it, and whether our watch still selects it.
func intact(secret *corev1.Secret, record credential.Record) bool {
	return secret.Labels[v1alpha1.ManagedByLabel] == v1alpha1.ManagedByValue && record.Intact(secret.Data)
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
		if !raced || attempt == writeAttempts {
			return err
		}
		if observed, err = s.Observe(ctx, owner, name); err != nil {
			return err
		}
	}
}

// write creates the Secret where there is none, and otherwise applies it with its UID: an apply without would take over
// whatever had come to stand there.
func (s *Store) write(ctx context.Context, owner client.Object, name string, observed Observed, content Content) error {
	gvk, err := apiutil.GVKForObject(owner, s.Client.Scheme())
	if err != nil {
		return err
	}
	controller := true
	reference := metav1.OwnerReference{APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: &controller}
	labels := merged(content.Template.Labels, map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})
	annotations := merged(content.Template.Annotations, content.Record.Annotations())

	if observed.Secret == nil {
		return s.Client.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: owner.GetNamespace(), Name: name, Labels: labels, Annotations: annotations,
				OwnerReferences: []metav1.OwnerReference{reference},
			},
			Type: corev1.SecretTypeOpaque,
			Data: content.Data,
		}, client.FieldOwner(FieldManager), uncached)
	}
	if err := s.reclaim(ctx, observed, content); err != nil {
		return err
	}
	return s.Client.Apply(ctx, applycorev1.Secret(name, owner.GetNamespace()).
		WithUID(observed.Secret.UID).
		WithLabels(labels).
		WithAnnotations(annotations).
		WithOwnerReferences(applymetav1.OwnerReference().
			WithAPIVersion(reference.APIVersion).WithKind(reference.Kind).WithName(reference.Name).WithUID(reference.UID).WithController(true)).
		WithData(content.Data),
		client.FieldOwner(FieldManager), client.ForceOwnership, uncached)
}

// reclaim is the rare write before an apply which takes out what the apply itself would leave: keys that others put beside
// ours, and labels and annotations no longer wanted, which the API server still counts as those of our Create.
func (s *Store) reclaim(ctx context.Context, observed Observed, content Content) error {
	if observed.Record != nil && observed.Record.TemplateHash == content.Record.TemplateHash {
		return nil
	}
	secret := observed.Secret
	maps.DeleteFunc(secret.Data, func(key string, _ []byte) bool { _, ours := content.Data[key]; return !ours })
	delete(secret.Annotations, v1alpha1.AdoptAnnotation)
	if err := csaupgrade.UpgradeManagedFields(secret, sets.New(FieldManager), FieldManager); err != nil {
		return err
	}
	return s.Client.Update(ctx, secret, client.FieldOwner(FieldManager), uncached)
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

// OwnerIndex is the name of the index of Secrets' metadata by the UID of their controller.
const OwnerIndex = "ownerUID"

// IndexOwner returns the UID of an object's controller, for [OwnerIndex].
func IndexOwner(object client.Object) []string {
	if controller := metav1.GetControllerOf(object); controller != nil {
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
