package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FederatedCredential keeps a Secret with session credentials of a federated user. The operator issues them with
// GetFederationToken and refreshes them before they expire. They have the permissions of the IAM user whose access
// key the identity uses, limited by a session policy. They cannot call IAM, and of STS only GetCallerIdentity.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=fedcred,categories=sts-credentials
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Principal",type=string,JSONPath=`.status.principalARN`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expiration`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Authorized",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Authorized")].reason`
// +kubebuilder:printcolumn:name="Issued",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Issued")].reason`
// +kubebuilder:printcolumn:name="Secret",type=string,priority=1,JSONPath=`.status.secretName`
// +kubebuilder:printcolumn:name="Next refresh",type=string,priority=1,JSONPath=`.status.nextRefreshTime`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type FederatedCredential struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is standard object metadata.
	//
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec defines the desired state.
	//
	// +required
	Spec FederatedCredentialSpec `json:"spec,omitzero"` //nolint:kubeapilinter // a rule of the spec demands a policy, which the linter does not see

	// status reports the observed state.
	//
	// +optional
	Status FederatedCredentialStatus `json:"status,omitempty,omitzero"`
}

// FederatedCredentialSpec defines the federated user, its session policy and its Secret. The limits are those of the
// AWS Security Token Service API Reference, 'GetFederationToken'.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.refreshBefore) || !has(self.duration) || !self.refreshBefore.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || !self.duration.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || duration(self.refreshBefore) < duration(self.duration)",fieldPath=".refreshBefore",message="refreshBefore must be less than duration: otherwise each credential is due as soon as it is issued"
// +kubebuilder:validation:XValidation:rule="has(self.policy) || has(self.policyARNs)",message="policy or policyARNs must be set: without a session policy, a federated user has no permissions"
type FederatedCredentialSpec struct {
	CredentialSpec `json:",inline"`

	// duration is the lifetime to request, from 15m to 36h. STS may grant less.
	//
	// +kubebuilder:default="12h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$')",message="duration must be whole hours, minutes and seconds, such as 12h or 1h30m"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || (duration(self) >= duration('15m') && duration(self) <= duration('36h'))",message="duration must be from 15m to 36h, the lifetimes that STS supports for a user's session"
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`

	// userName is the federated user's name, as CloudTrail shows it. The default is <namespace>.<name>, cut to 32
	// characters with a hash. Another name requires a rule that allows it in sessionNames.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_+=,.@-]*$')",message="userName may contain letters, digits and any of _+=,.@-"
	// +optional
	UserName string `json:"userName,omitempty"`

	// policy is an inline session policy in JSON. The session may do only what both this policy and the user's own
	// policies allow. Without white space, which the operator removes, it may have 2048 characters.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	// +kubebuilder:validation:XValidation:rule="self.matches('^[\\\\t\\\\n\\\\r -ÿ]*$')",message="policy may contain tabs, line ends and the characters U+0020 to U+00FF: write others as \\uXXXX"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ \\\\t\\\\n\\\\r]*[{]')",message="policy must be an IAM policy document, a JSON object that starts with {"
	// +optional
	Policy string `json:"policy,omitempty"`

	// policyARNs are managed policies that limit the session, at most 10.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=2048
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[!-~]*$')",message="each of policyARNs may contain printable ASCII characters other than spaces, as in arn:aws:iam::aws:policy/ReadOnlyAccess"
	// +kubebuilder:validation:items:XValidation:rule="self.contains(':')",message="each of policyARNs must be the policy's full ARN, such as arn:aws:iam::aws:policy/ReadOnlyAccess, not only its name"
	// +listType=set
	// +optional
	PolicyARNs []string `json:"policyARNs,omitempty"`

	// tags are session tags, at most 50. The user's policies must allow sts:TagSession.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:XValidation:rule="self.all(t, self.exists_one(u, u.key.lowerAscii() == t.key.lowerAscii()))",message="the keys of tags must differ in more than case: AWS treats Team and team as the same key"
	// +listType=map
	// +listMapKey=key
	// +optional
	Tags []Tag `json:"tags,omitempty"`
}

// FederatedCredentialStatus reports the observed state of a FederatedCredential.
type FederatedCredentialStatus struct {
	CredentialStatus `json:",inline"`
}

// FederatedCredentialList is a list of FederatedCredentials.
//
// +kubebuilder:object:root=true
type FederatedCredentialList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []FederatedCredential `json:"items"`
}

// Common returns the part of the spec that all credential kinds share.
func (c *FederatedCredential) Common() *CredentialSpec { return &c.Spec.CredentialSpec }

// Report returns the part of the status that all credential kinds share.
func (c *FederatedCredential) Report() *CredentialStatus { return &c.Status.CredentialStatus }
