package controllers

import (
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/identity"
)

// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=sessioncredentials,verbs=list;watch
// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=sessioncredentials/status,verbs=update

var sessionCredential = Kind[*v1alpha1.SessionCredential]{
	Name:    "SessionCredential",
	New:     func() *v1alpha1.SessionCredential { return &v1alpha1.SessionCredential{} },
	NewList: func() client.ObjectList { return &v1alpha1.SessionCredentialList{} },
	Request: getSessionToken,
	MFA:     func(c *v1alpha1.SessionCredential) *v1alpha1.MFA { return c.Spec.MFA },
}

func getSessionToken(c *v1alpha1.SessionCredential) (credential.Request, *failure.Failure) {
	return credential.Request{
		Identity: identity.Name(identityRef(c)),
		Call:     v1alpha1.CallGetSessionToken,
		Duration: durationOr(c.Spec.Duration, defaultUserDuration),

		MFASerialNumber: serialNumber(c.Spec.MFA),
	}, nil
}
