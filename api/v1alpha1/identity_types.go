package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Identity says who the operator is when it calls STS for the credentials of one namespace, with what that namespace holds
// itself. Everything that those may do, every credential of the namespace may ask for.
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

	// spec is what is wanted.
	//
	// +required
	Spec IdentitySpec `json:"spec,omitzero"`

	// status reports who the caller is.
	//
	// +optional
	Status IdentityStatus `json:"status,omitempty,omitzero"`
}

// IdentitySpec says where STS is, and which of the namespace's own credentials to call it with. An endpoint is refused unless
// the operator runs with --allow-namespaced-endpoints, since it would aim the operator's requests.
//
// +kubebuilder:validation:XValidation:rule="!has(self.source.serviceAccount) || has(self.chain) || !has(self.sessionTags)",fieldPath=".sessionTags",message="sessionTags cannot be stamped with source.serviceAccount and no chain: AssumeRoleWithWebIdentity takes no tags; a trust policy can name the namespace and the service account instead"
// +kubebuilder:validation:XValidation:rule="!has(self.source.serviceAccount) || !has(self.chain) || (!has(self.chain[0].externalID) && !has(self.chain[0].tags))",fieldPath=".chain",message="the first hop of a chain takes no externalID and no tags with source.serviceAccount: AssumeRoleWithWebIdentity knows neither"
type IdentitySpec struct {
	IdentitySettings `json:",inline"`

	// source is where the credentials to call STS with come from. If it fails, nothing falls through to another.
	//
	// +required
	Source IdentitySource `json:"source,omitzero"`
}

// IdentitySource is exactly one source of credentials.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="[has(self.accessKey), has(self.serviceAccount)].exists_one(x, x)",message="source must have exactly one of accessKey and serviceAccount"
type IdentitySource struct {
	// accessKey is an IAM user's access key in a Secret of the same namespace.
	//
	// +optional
	AccessKey *LocalAccessKeySource `json:"accessKey,omitempty"`

	// serviceAccount is a token of the Kubernetes service account that the credential names, for which STS issues a session of
	// the role, or of the first hop of the chain.
	//
	// +optional
	ServiceAccount *ServiceAccountSource `json:"serviceAccount,omitempty"`
}

// LocalAccessKeySource is an access key in a Secret of the same namespace.
type LocalAccessKeySource struct {
	// secretRef names a Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and, for temporary credentials that
	// something else keeps fresh, AWS_SESSION_TOKEN.
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
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="secretRef.name must be a name that a Secret of this namespace can have: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
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
