package request

import (
	"cmp"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=federatedcredentials,verbs=list;watch
// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=federatedcredentials/status,verbs=update

// FederatedCredential is the kind of FederatedCredentials.
var FederatedCredential = Kind[*v1alpha1.FederatedCredential]{
	Name:       "FederatedCredential",
	New:        func() *v1alpha1.FederatedCredential { return &v1alpha1.FederatedCredential{} },
	NewList:    func() List { return &v1alpha1.FederatedCredentialList{} },
	NameField:  "spec.userName",
	NameLength: MaxUserName,
	Request:    getFederationToken,
}

func getFederationToken(c *v1alpha1.FederatedCredential) (Request, *reason.Error) {
	policy, invalid := compact(c.Spec.Policy)
	return Request{
		Identity:    IdentityName(IdentityRef(c)),
		Call:        v1alpha1.CallGetFederationToken,
		SessionName: cmp.Or(c.Spec.UserName, SessionName(c.Namespace, c.Name, MaxUserName)),
		Duration:    durationOr(c.Spec.Duration, defaultUserDuration),
		Policy:      policy,
		PolicyARNs:  c.Spec.PolicyARNs,
		Tags:        Tags(c.Spec.Tags),
	}, invalid
}
