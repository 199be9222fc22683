package request

import (
	"cmp"
	"time"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=rolecredentials,verbs=list;watch
// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=rolecredentials/status,verbs=update

// RoleCredential is the kind of RoleCredentials.
var RoleCredential = Kind[*v1alpha1.RoleCredential]{
	Name:       "RoleCredential",
	New:        func() *v1alpha1.RoleCredential { return &v1alpha1.RoleCredential{} },
	NewList:    func() List { return &v1alpha1.RoleCredentialList{} },
	NameField:  "spec.sessionName",
	NameLength: MaxSessionName,
	Request:    assumeRole,
	MFA:        func(c *v1alpha1.RoleCredential) *v1alpha1.MFA { return c.Spec.MFA },
}

// The schema's defaults, for an object that the API server did not see.
const (
	defaultRoleDuration = time.Hour
	defaultUserDuration = 12 * time.Hour
)

func assumeRole(c *v1alpha1.RoleCredential) (Request, *reason.Error) {
	policy, invalid := compact(c.Spec.Policy)
	return Request{
		Identity:          IdentityName(IdentityRef(c)),
		Call:              v1alpha1.CallAssumeRole,
		RoleARN:           c.Spec.RoleARN,
		SessionName:       cmp.Or(c.Spec.SessionName, SessionName(c.Namespace, c.Name, MaxSessionName)),
		Duration:          durationOr(c.Spec.Duration, defaultRoleDuration),
		ExternalID:        c.Spec.ExternalID,
		SourceIdentity:    c.Spec.SourceIdentity,
		Policy:            policy,
		PolicyARNs:        c.Spec.PolicyARNs,
		Tags:              Tags(c.Spec.Tags),
		TransitiveTagKeys: c.Spec.TransitiveTagKeys,
		MFASerialNumber:   serialNumber(c.Spec.MFA),

		ServiceAccountName: c.Spec.ServiceAccountName,
	}, invalid
}
