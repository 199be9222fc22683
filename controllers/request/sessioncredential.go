package request

import (
	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=sessioncredentials,verbs=list;watch
// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=sessioncredentials/status,verbs=update

// SessionCredential is the kind of SessionCredentials.
var SessionCredential = Kind[*v1alpha1.SessionCredential]{
	Name:    "SessionCredential",
	New:     func() *v1alpha1.SessionCredential { return &v1alpha1.SessionCredential{} },
	NewList: func() List { return &v1alpha1.SessionCredentialList{} },
	Request: getSessionToken,
	MFA:     func(c *v1alpha1.SessionCredential) *v1alpha1.MFA { return c.Spec.MFA },
}

func getSessionToken(c *v1alpha1.SessionCredential) (Request, *reason.Error) {
	return Request{
		Identity: IdentityName(IdentityRef(c)),
		Call:     v1alpha1.CallGetSessionToken,
		Duration: durationOr(c.Spec.Duration, defaultUserDuration),

		MFASerialNumber: serialNumber(c.Spec.MFA),
	}, nil
}
