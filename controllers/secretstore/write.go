package secretstore

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
)

const writeAttempts = 3

// Write makes the Secret that was observed hold the content. If it changed meanwhile, it is observed again: what was issued
// is not lost to a race, and a Secret that is no longer the owner's is left alone with [ErrForeign].
func (s *Store) Write(ctx context.Context, owner client.Object, name string, observed Observed, content Content) error {
	for attempt := 1; ; attempt++ {
		if observed.Ownership == reissue.Foreign {
			return ErrForeign
		}
		err := s.write(ctx, owner, name, observed, content)
		unseen := apierrors.IsInvalid(err) && observed.secret == nil // metadata does not tell the type, which must stay
		if !raced(err) && !unseen || attempt == writeAttempts {
			return err
		}
		if observed, err = s.read(ctx, owner, name, content.Template); err != nil {
			return err
		}
	}
}

// raced reports whether a write failed because the Secret changed after it was observed.
func raced(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// TakeOver makes the owner the controller of a Secret that a former credential of its kind and name left. The write changes nothing
// else, but that the record names the credential. If the Secret changed meanwhile, it is observed again.
func (s *Store) TakeOver(ctx context.Context, owner client.Object, observed Observed, template v1alpha1.SecretTemplate) (Observed, error) {
	for attempt := 1; observed.Ownership == reissue.Former; attempt++ {
		taken, err := s.takeOver(ctx, owner, observed)
		if !raced(err) || attempt == writeAttempts {
			return taken, err
		}
		if observed, err = s.read(ctx, owner, observed.metadata.Name, template); err != nil {
			return Observed{}, err
		}
	}
	return observed, nil
}

func (s *Store) takeOver(ctx context.Context, owner client.Object, observed Observed) (Observed, error) {
	reference, err := s.referenceTo(owner)
	if err != nil {
		return observed, err
	}
	secret := observed.secret.DeepCopy()
	record, _ := reissue.ParseRecord(secret.Annotations) // it is valid, or the Secret would be foreign
	record.Credential = fullName(reference)
	record = record.WithChecksum(secret.Data)
	maps.Copy(secret.Annotations, record.Annotations())
	secret.OwnerReferences = withController(secret.OwnerReferences, reference)
	if err := s.Client.Update(ctx, secret, client.FieldOwner(FieldManager), uncached); err != nil {
		return observed, err
	}
	if observed.Record != nil {
		observed.Record = &record
		if !observed.Immutable {
			s.recordWrite(owner, secret)
		}
	}
	observed.Ownership, observed.Version, observed.metadata, observed.secret = reissue.Ours, secret.ResourceVersion, &secret.ObjectMeta, secret
	return observed, nil
}

// write creates the Secret where there is none, and otherwise changes it as it was observed, by its UID and version: whatever has
// come to stand there meanwhile is not taken over.
func (s *Store) write(ctx context.Context, owner client.Object, name string, observed Observed, content Content) error {
	reference, err := s.referenceTo(owner)
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.GetNamespace(),
			Name:            name,
			Labels:          withOurLabel(content.Template.Labels),
			Annotations:     merged(content.Template.Annotations, content.Record.Annotations()),
			OwnerReferences: []metav1.OwnerReference{reference},
		},
		Data: content.Data,
	}
	switch {
	case observed.Ownership == reissue.Absent:
		secret.Type = corev1.SecretTypeOpaque
		err = s.Client.Create(ctx, secret, client.FieldOwner(FieldManager), uncached)
	case observed.Ownership == reissue.Ours && observed.Record != nil && observed.Record.TemplateHash == content.Record.TemplateHash:
		err = s.replace(ctx, secret, observed)
	default:
		err = s.rewrite(ctx, owner, secret, observed, content.Template)
	}
	if err != nil {
		return err
	}
	s.recordWrite(owner, secret)
	return nil
}

// replace writes a new credential over one of the same template. It keeps the labels and annotations of others.
func (s *Store) replace(ctx context.Context, secret *corev1.Secret, observed Observed) error {
	labels, annotations := secret.Labels, secret.Annotations
	secret.ObjectMeta = *observed.metadata
	secret.Labels, secret.Annotations = labels, annotations
	secret.Type = corev1.SecretTypeOpaque
	if observed.secret != nil {
		secret.Labels = merged(observed.metadata.Labels, labels)
		secret.Annotations = merged(withoutRecord(observed.metadata.Annotations), annotations)
		secret.Type = observed.secret.Type
	}
	return s.Client.Update(ctx, secret, client.FieldOwner(FieldManager), uncached)
}

// rewrite writes a Secret that has another template or owner, or was edited. It removes the labels and annotations that the operator
// wrote and that are no longer wanted, and from an adopted Secret whatever may hold a copy of the old data.
func (s *Store) rewrite(ctx context.Context, owner client.Object, secret *corev1.Secret, observed Observed, template v1alpha1.SecretTemplate) error {
	if observed.secret == nil {
		var err error
		if observed, err = s.read(ctx, owner, secret.Name, template); err != nil {
			return err
		}
		if observed.Ownership != reissue.Ours {
			return apierrors.NewConflict(corev1.Resource("secrets"), secret.Name, errors.New("it changed hands meanwhile"))
		}
	}
	found := observed.metadata
	for _, key := range keysOfOurs(found.ManagedFields, "metadata", "labels") {
		delete(found.Labels, key)
	}
	for _, key := range keysOfOurs(found.ManagedFields, "metadata", "annotations") {
		delete(found.Annotations, key)
	}
	delete(found.Annotations, v1alpha1.AdoptAnnotation)
	if observed.Ownership == reissue.Adopted {
		maps.DeleteFunc(found.Annotations, func(_, value string) bool { return mayHoldCopy(value, observed.secret.Data) })
	}
	if !metav1.IsControlledBy(found, owner) {
		found.OwnerReferences = withController(found.OwnerReferences, secret.OwnerReferences[0])
	}
	return s.replace(ctx, secret, observed)
}

// Bounds of [mayHoldCopy], in bytes.
const (
	// longestNote is shorter than any copy of a Secret with its kind, name and data, also a compressed one.
	longestNote = 128
	// shortestSecret keeps data such as a port from matching unrelated annotations.
	shortestSecret = 8
)

// mayHoldCopy reports whether an annotation may hold a copy of the data: it contains a value, as text or in base64, or it is long
// enough for a copy of the Secret in any encoding. Tools such as kubectl, kapp and Rancher's Fleet keep such copies.
func mayHoldCopy(annotation string, data map[string][]byte) bool {
	if len(annotation) > longestNote {
		return true
	}
	for _, value := range data {
		if len(value) >= shortestSecret && (strings.Contains(annotation, string(value)) || strings.Contains(annotation, base64.StdEncoding.EncodeToString(value))) {
			return true
		}
	}
	return false
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
