package controllers

import (
	"cmp"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/identity"
)

// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=federatedcredentials,verbs=list;watch
// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=federatedcredentials/status,verbs=update

var federatedCredential = Kind[*v1alpha1.FederatedCredential]{
	Name:       "FederatedCredential",
	New:        func() *v1alpha1.FederatedCredential { return &v1alpha1.FederatedCredential{} },
	NewList:    func() client.ObjectList { return &v1alpha1.FederatedCredentialList{} },
	NameField:  "spec.userName",
	NameLength: credential.MaxUserName,
	Request:    getFederationToken,
}

func getFederationToken(c *v1alpha1.FederatedCredential) (credential.Request, *failure.Failure) {
	policy, invalid := compact(c.Spec.Policy)
	return credential.Request{
		Identity:    identity.Name(identityRef(c)),
		Call:        v1alpha1.CallGetFederationToken,
		SessionName: cmp.Or(c.Spec.UserName, credential.SessionName(c.Namespace, c.Name, credential.MaxUserName)),
		Duration:    durationOr(c.Spec.Duration, defaultUserDuration),
		Policy:      policy,
		PolicyARNs:  c.Spec.PolicyARNs,
		Tags:        credential.Tags(c.Spec.Tags),
	}, invalid
}
