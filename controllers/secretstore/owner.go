package secretstore

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
)

// referenceTo returns the owner reference of a credential's Secret.
func (s *Store) referenceTo(owner client.Object) metav1.OwnerReference {
	gvk, err := apiutil.GVKForObject(owner, s.Client.Scheme())
	utilruntime.Must(err) // the scheme has all kinds of credentials
	reference := *metav1.NewControllerRef(owner, gvk)
	reference.BlockOwnerDeletion = nil
	return reference
}

// fullName returns the kind and name of an owner, as in records and in the adopt annotation.
func fullName(owner metav1.OwnerReference) string { return owner.Kind + "/" + owner.Name }

// ownership returns who owns a Secret. The record is nil unless it is valid and matches the data.
func ownership(owner metav1.OwnerReference, secret *corev1.Secret, record *reissue.Record) reissue.Ownership {
	controller := metav1.GetControllerOfNoCopy(secret)
	labelled := secret.Labels[v1alpha1.ManagedByLabel] == v1alpha1.ManagedByValue
	switch {
	case controller != nil && controller.UID == owner.UID:
		return reissue.Ours
	case labelled && record != nil && leftByFormer(owner, controller, record.Credential):
		return reissue.Former
	// The annotation has no effect on a Secret that another object controls.
	case controller == nil && secret.Annotations[v1alpha1.AdoptAnnotation] == fullName(owner):
		return reissue.Adopted
	default:
		return reissue.Foreign
	}
}

// leftByFormer reports whether a Secret with a valid record belonged to an earlier credential of the owner's kind and name. The record
// names it, or the controller does: records of earlier releases name no credential.
func leftByFormer(owner metav1.OwnerReference, controller *metav1.OwnerReference, recorded string) bool {
	if controller == nil {
		return recorded == fullName(owner)
	}
	return groupOf(*controller) == groupOf(owner) && fullName(*controller) == fullName(owner) && (recorded == "" || recorded == fullName(owner))
}

func groupOf(owner metav1.OwnerReference) string {
	return schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).Group
}

// withController returns owner references with this controller in place of any other. It keeps owners that are not controllers.
func withController(references []metav1.OwnerReference, controller metav1.OwnerReference) []metav1.OwnerReference {
	others := slices.DeleteFunc(slices.Clone(references), func(r metav1.OwnerReference) bool {
		return r.UID == controller.UID || r.Controller != nil && *r.Controller
	})
	return append(others, controller)
}

// controlledByCredential reports whether the controller of an object is a credential.
func controlledByCredential(object metav1.Object) bool {
	controller := metav1.GetControllerOfNoCopy(object)
	return controller != nil && groupOf(*controller) == v1alpha1.GroupVersion.Group
}

// CredentialOf returns the name of the credential of a kind that a Secret belongs to: its controller, or the credential that its
// record names if it has no controller.
func CredentialOf(kind string, secret metav1.Object) (name string, ok bool) {
	if controller := metav1.GetControllerOfNoCopy(secret); controller != nil {
		return controller.Name, controlledByCredential(secret) && controller.Kind == kind
	}
	return strings.CutPrefix(secret.GetAnnotations()[reissue.AnnotationCredential], kind+"/")
}
