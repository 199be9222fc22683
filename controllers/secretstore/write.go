package secretstore

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
)

// FieldManager is the operator's name in managedFields.
const FieldManager = "rolecredential"

// uncached keeps the client from starting a watch of whole Secrets, with which it waits until it can read its own writes.
const uncached = client.DisableReadYourWritesConsistency

const writeAttempts = 3

// ErrForeign is the error of a write to a Secret that the credential does not own.
var ErrForeign = errors.New("the Secret does not belong to this credential")

// Content is what the operator writes to a Secret.
type Content struct {
	Template v1alpha1.SecretTemplate
	Record   reissue.Record
	Data     map[string][]byte
}

// Write writes the content to the Secret that was observed. If the Secret changed since, Write observes it again, so that issued
// credentials are not lost to a race. It returns [ErrForeign] without a write if the Secret has become foreign.
func (s *Store) Write(ctx context.Context, owner client.Object, name string, observed Observed, content Content) (err error) {
	reference := s.referenceTo(owner)
	if observed.partial && observed.Record.TemplateHash != content.Record.TemplateHash { // stale labels must be removed
		if observed, err = s.read(ctx, owner, name, content.Template); err != nil {
			return err
		}
	}
	for attempt := 1; ; attempt++ {
		if observed.Ownership == reissue.Foreign {
			return ErrForeign
		}
		secret := compose(reference, observed, content)
		if secret.Namespace, secret.Name = owner.GetNamespace(), name; observed.secret == nil {
			err = s.Client.Create(ctx, secret, client.FieldOwner(FieldManager), uncached)
		} else {
			err = s.Client.Update(ctx, secret, client.FieldOwner(FieldManager), uncached)
		}
		if err == nil {
			s.setVerified(secret)
		}
		if !raced(err) || attempt == writeAttempts {
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

// TakeOver makes the owner the controller of a Secret that a former credential of its kind and name left, and names it in the record. It
// changes nothing else. It fails if the Secret changed since it was observed.
func (s *Store) TakeOver(ctx context.Context, owner client.Object, observed Observed, template v1alpha1.SecretTemplate) (Observed, error) {
	reference := s.referenceTo(owner)
	secret := observed.secret.DeepCopy()
	record := recordOf(secret) // not nil, or the Secret would be foreign
	record.Credential = fullName(reference)
	maps.Copy(secret.Annotations, record.WithChecksum(secret.Data).Annotations())
	secret.OwnerReferences = withController(secret.OwnerReferences, reference)
	if err := s.Client.Update(ctx, secret, client.FieldOwner(FieldManager), uncached); err != nil {
		return observed, err
	}
	return s.observed(reference, secret, template), nil
}

// compose returns the Secret to write in place of the observed one. It keeps the labels and annotations of others.
func compose(owner metav1.OwnerReference, observed Observed, content Content) *corev1.Secret {
	secret := &corev1.Secret{Type: corev1.SecretTypeOpaque}
	if observed.secret != nil {
		secret = observed.secret.DeepCopy()
	}
	if observed.Record == nil || observed.Record.TemplateHash != content.Record.TemplateHash {
		removeStale(secret, observed.Ownership == reissue.Adopted)
	}
	secret.Labels = merged(secret.Labels, withManagedByLabel(content.Template.Labels))
	secret.Annotations = merged(withoutRecord(secret.Annotations), merged(content.Template.Annotations, content.Record.Annotations()))
	if observed.Ownership != reissue.Ours {
		secret.OwnerReferences = withController(secret.OwnerReferences, owner)
	}
	secret.Data = content.Data
	return secret
}

// removeStale removes the labels and annotations that the operator wrote, because the template may no longer have them, and from an
// adopted Secret each annotation that may hold a copy of the old data.
func removeStale(secret *corev1.Secret, adopted bool) {
	for _, entry := range secret.ManagedFields {
		var written struct {
			Metadata struct {
				Labels      map[string]json.RawMessage `json:"f:labels"`
				Annotations map[string]json.RawMessage `json:"f:annotations"`
			} `json:"f:metadata"`
		}
		if entry.Manager != FieldManager || entry.FieldsV1 == nil || json.NewDecoder(entry.FieldsV1.GetRawReader()).Decode(&written) != nil {
			continue
		}
		for key := range written.Metadata.Labels {
			delete(secret.Labels, strings.TrimPrefix(key, "f:"))
		}
		for key := range written.Metadata.Annotations {
			delete(secret.Annotations, strings.TrimPrefix(key, "f:"))
		}
	}
	delete(secret.Annotations, v1alpha1.AdoptAnnotation)
	if adopted {
		maps.DeleteFunc(secret.Annotations, func(_, value string) bool { return mayHoldCopy(value, secret.Data) })
	}
}

// mayHoldCopy reports whether an annotation may hold a copy of the data, as kubectl, kapp and Rancher's Fleet keep it: it contains a value,
// as text or in base64, or it is long enough for a copy of the Secret in any encoding. Short values, such as a port, match by chance.
func mayHoldCopy(annotation string, data map[string][]byte) bool {
	const longestNote, shortestSecret = 128, 8 // bytes
	for _, value := range data {
		encoded := base64.StdEncoding.EncodeToString(value)
		if len(value) >= shortestSecret && (strings.Contains(annotation, string(value)) || strings.Contains(annotation, encoded)) {
			return true
		}
	}
	return len(annotation) > longestNote
}

// merged returns a map of both, with the values of ours for keys in both.
func merged(theirs, ours map[string]string) map[string]string {
	all := maps.Collect(maps.All(theirs))
	maps.Copy(all, ours)
	return all
}

// Unwritable says why the operator cannot write the Secret, as the end of a sentence; it is empty if it can.
func (o Observed) Unwritable(template v1alpha1.SecretTemplate) string {
	if o.secret == nil || o.partial { // Observe reads a Secret that may be unwritable
		return ""
	}
	if ptr.Deref(o.secret.Immutable, false) {
		return "is immutable"
	}
	if o.secret.Type != corev1.SecretTypeOpaque { // the API server may require other keys than spec.secret has, and rejects a new type
		return fmt.Sprintf("has the type %s, but the operator writes only Opaque Secrets", o.secret.Type)
	}
	size := maxRecord
	for key, value := range withoutRecord(compose(metav1.OwnerReference{}, o, Content{Template: template}).Annotations) {
		size += len(key) + len(value)
	}
	if size > validation.TotalAnnotationSizeLimitB {
		return "has so many annotations that the operator's do not fit into the 256 KiB that Kubernetes allows"
	}
	return ""
}
