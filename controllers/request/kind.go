package request

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// Object is a credential of any kind.
type Object interface {
	metav1.Object
	runtime.Object
	Common() *v1alpha1.CredentialSpec
	Report() *v1alpha1.CredentialStatus
}

// List is a list of credentials of one kind.
type List interface {
	metav1.ListInterface
	runtime.Object
}

// Kind holds the functions that differ between the kinds of credentials.
type Kind[T Object] struct {
	Name    string
	New     func() T
	NewList func() List
	// NameField is the spec's field for the session name, and NameLength the maximum length of the name. NameLength is zero for a call
	// without a name.
	NameField  string
	NameLength int
	// Request returns the STS request for a spec, or a failure of ConditionIssued if STS would reject it.
	Request func(T) (Request, *reason.Error)
	// MFA returns the spec's MFA device, or nil if it has none. The function is nil for a call without MFA.
	MFA func(T) *v1alpha1.MFA
}

// DefaultName returns the session name if the spec sets none.
func (k Kind[T]) DefaultName(object Object) string {
	if k.NameLength == 0 {
		return ""
	}
	return SessionName(object.GetNamespace(), object.GetName(), k.NameLength)
}
