package controllers

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
)

// Object is a credential of any kind.
type Object interface {
	client.Object
	Common() *v1alpha1.CredentialSpec
	Report() *v1alpha1.CredentialStatus
}

// Kind holds the functions that differ between the kinds of credentials.
type Kind[T Object] struct {
	Name    string
	New     func() T
	NewList func() client.ObjectList
	// NameField is the spec's field for the session name, and NameLength the maximum length of the name. NameLength is zero for a call
	// without a name.
	NameField  string
	NameLength int
	// Request returns the STS request for a spec, or a failure of ConditionIssued if STS would reject it.
	Request func(T) (credential.Request, *failure.Failure)
	// MFA returns the spec's MFA device, or nil if it has none. The function is nil for a call without MFA.
	MFA func(T) *v1alpha1.MFA
}

// defaultName is the session name if the spec sets none.
func (k Kind[T]) defaultName(object client.Object) string {
	if k.NameLength == 0 {
		return ""
	}
	return credential.SessionName(object.GetNamespace(), object.GetName(), k.NameLength)
}

// STS is the client of one identity.
type STS interface {
	Issue(ctx context.Context, r credential.Request, proof credential.CallAuth) (credential.Credential, error)
	Caller(ctx context.Context) (awssts.Caller, error)
	// Skew returns how far the clock of STS is ahead of the operator's, and false before the first answer of STS.
	Skew() (time.Duration, bool)
}
