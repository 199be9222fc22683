package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Identity defines how the operator authenticates to STS for the credentials of one namespace. Every credential of the
// namespace can use all permissions that the identity has in AWS.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=stsid
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Account",type=string,JSONPath=`.status.accountID`
// +kubebuilder:printcolumn:name="ARN",type=string,JSONPath=`.status.arn`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Region",type=string,priority=1,JSONPath=`.spec.region`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type Identity struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is standard object metadata.
	//
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec defines the desired state.
	//
	// +required
	Spec IdentitySpec `json:"spec,omitzero"`

	// status reports the observed state.
	//
	// +optional
	Status IdentityStatus `json:"status,omitempty,omitzero"`
}

// IdentitySpec defines the STS endpoint and the source of the namespace's own credentials that sign the calls. An
// endpoint, also of a source, is rejected unless the operator runs with --allow-namespaced-endpoints.
//
// +kubebuilder:validation:XValidation:rule="has(self.source.accessKey) || has(self.chain) || !has(self.sessionTags)",fieldPath=".sessionTags",message="sessionTags does not work with source.serviceAccount, x509, oidc or webIdentityToken without a chain, since AssumeRoleWithWebIdentity and CreateSession take no tags: add a chain, or let the role's trust policy check the token or certificate instead"
// +kubebuilder:validation:XValidation:rule="has(self.source.accessKey) || !has(self.chain) || (!has(self.chain[0].externalID) && !has(self.chain[0].tags))",fieldPath=".chain",message="the first hop of the chain must not have externalID or tags with source.serviceAccount, x509, oidc or webIdentityToken: AssumeRoleWithWebIdentity and CreateSession take neither"
// +kubebuilder:validation:XValidation:rule="!has(self.source.x509) || (has(self.source.x509.acceptRoleSessionName) && self.source.x509.acceptRoleSessionName) || !has(self.chain) || !has(self.chain[0].sessionName)",fieldPath=".chain",message="the first hop of the chain must not have sessionName with source.x509, unless the profile accepts session names: then set source.x509.acceptRoleSessionName"
type IdentitySpec struct {
	IdentitySettings `json:",inline"`

	// source provides the credentials that the operator calls STS with. If it fails, the operator tries no other
	// source.
	//
	// +required
	Source IdentitySource `json:"source,omitzero"`
}

// IdentitySource is exactly one source of credentials.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="[has(self.accessKey), has(self.serviceAccount), has(self.x509), has(self.oidc), has(self.webIdentityToken)].exists_one(x, x)",message="source must have exactly one of accessKey, serviceAccount, x509, oidc and webIdentityToken"
type IdentitySource struct {
	// accessKey is an IAM user's access key in a Secret of the same namespace.
	//
	// +optional
	AccessKey *LocalAccessKeySource `json:"accessKey,omitempty"`

	// serviceAccount is a token of the Kubernetes service account that the credential names, for
	// AssumeRoleWithWebIdentity.
	//
	// +optional
	ServiceAccount *ServiceAccountSource `json:"serviceAccount,omitempty"`

	// x509 is a certificate in a Secret of the same namespace, for CreateSession of IAM Roles Anywhere.
	//
	// +optional
	X509 *LocalX509Source `json:"x509,omitempty"`

	// oidc is a client of an OIDC provider. Its tokens are for AssumeRoleWithWebIdentity.
	//
	// +optional
	OIDC *LocalOIDCSource `json:"oidc,omitempty"`

	// webIdentityToken is a token in a Secret of the same namespace, for AssumeRoleWithWebIdentity.
	//
	// +optional
	WebIdentityToken *LocalWebIdentityTokenSource `json:"webIdentityToken,omitempty"`
}

// LocalAccessKeySource is an access key in a Secret of the same namespace.
type LocalAccessKeySource struct {
	// secretRef names a Secret with the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary credentials,
	// AWS_SESSION_TOKEN.
	//
	// +required
	SecretRef LocalSecretReference `json:"secretRef,omitzero"`
}

// LocalSecretReference names a Secret in the same namespace.
type LocalSecretReference struct {
	// name of the Secret.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="secretRef.name must be a valid Secret name: lower-case letters, digits, '-' and '.', starting and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`
}

// IdentityList is a list of Identities.
//
// +kubebuilder:object:root=true
type IdentityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Identity `json:"items"`
}

// Settings returns the part of the spec that both kinds of identity share.
func (i *Identity) Settings() *IdentitySettings { return &i.Spec.IdentitySettings }

// Report returns the status.
func (i *Identity) Report() *IdentityStatus { return &i.Status }

// Source returns the source in the form of a ClusterIdentity's. Its Secret is in the identity's namespace.
func (i *Identity) Source() ClusterIdentitySource {
	of := i.Spec.Source
	source := ClusterIdentitySource{ServiceAccount: of.ServiceAccount}
	if of.AccessKey != nil {
		source.AccessKey = &AccessKeySource{SecretReference{i.Namespace, of.AccessKey.SecretRef.Name}}
	}
	if of.X509 != nil {
		source.X509 = &X509Source{SecretReference{i.Namespace, of.X509.SecretRef.Name}, of.X509.RolesAnywhereSettings}
	}
	if of.OIDC != nil {
		source.OIDC = &OIDCSource{NamespacedSecretKeyReference{i.Namespace, of.OIDC.ClientSecretRef}, of.OIDC.OIDCSettings}
	}
	if of.WebIdentityToken != nil {
		source.WebIdentityToken = &WebIdentityTokenSource{NamespacedSecretKeyReference{i.Namespace, of.WebIdentityToken.SecretRef}}
	}
	return source
}

// Rules returns the rule of every Identity: it allows its own namespace all requests.
func (i *Identity) Rules() []AllowRule {
	return []AllowRule{{
		Namespaces: []string{i.Namespace}, RoleARNs: []string{"*"}, SessionNames: []string{"*"},
		Calls: []Call{CallAssumeRole, CallGetSessionToken, CallGetFederationToken, CallCreateSession},
	}}
}
