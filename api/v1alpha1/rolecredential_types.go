package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RoleCredential keeps a Secret with session credentials of an IAM role. The operator issues them with AssumeRole and
// refreshes them before they expire.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=rolecred,categories=sts-credentials
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Role",type=string,JSONPath=`.spec.roleARN`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expiration`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Authorized",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Authorized")].reason`
// +kubebuilder:printcolumn:name="Issued",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Issued")].reason`
// +kubebuilder:printcolumn:name="Secret",type=string,priority=1,JSONPath=`.status.secretName`
// +kubebuilder:printcolumn:name="Next refresh",type=string,priority=1,JSONPath=`.status.nextRefreshTime`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type RoleCredential struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is standard object metadata.
	//
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec defines the desired state.
	//
	// +required
	Spec RoleCredentialSpec `json:"spec,omitzero"`

	// status reports the observed state.
	//
	// +optional
	Status RoleCredentialStatus `json:"status,omitempty,omitzero"`
}

// RoleCredentialSpec defines the role to assume and the Secret for its credentials. The limits are those of the AWS
// Security Token Service API Reference, 'AssumeRole'.
//
// +kubebuilder:validation:XValidation:rule="!has(self.refreshBefore) || !has(self.duration) || !self.refreshBefore.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || !self.duration.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || duration(self.refreshBefore) < duration(self.duration)",fieldPath=".refreshBefore",message="refreshBefore must be less than duration: otherwise each credential is due as soon as it is issued"
// +kubebuilder:validation:XValidation:rule="!has(self.transitiveTagKeys) || self.transitiveTagKeys.all(k, has(self.tags) && self.tags.exists(t, t.key == k))",fieldPath=".transitiveTagKeys",message="each of transitiveTagKeys must be the key of one of tags, in the same case: add the tag, or remove the key"
type RoleCredentialSpec struct {
	CredentialSpec `json:",inline"`

	// roleARN is the ARN of the role to assume, such as arn:aws:iam::123456789012:role/S3Reader. If the identity has
	// no endpoint, it must be the ARN of an IAM role.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]*$')",message="roleARN may contain printable ASCII characters other than spaces, as in arn:aws:iam::123456789012:role/S3Reader"
	// +kubebuilder:validation:XValidation:rule="self.contains(':')",message="roleARN must be the role's full ARN, such as arn:aws:iam::123456789012:role/S3Reader, not only its name"
	// +required
	RoleARN string `json:"roleARN,omitempty"`

	// duration is the lifetime to request, from 15m to 12h, and at most the role's MaxSessionDuration (1h by
	// default). STS may grant less.
	//
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$')",message="duration must be whole hours, minutes and seconds, such as 1h or 1h30m"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || (duration(self) >= duration('15m') && duration(self) <= duration('12h'))",message="duration must be from 15m to 12h, the lifetimes that AssumeRole supports"
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`

	// sessionName is the role session name, as CloudTrail shows it. The default is <namespace>.<name>, cut to 64
	// characters with a hash. Another name requires a rule that allows it.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_+=,.@-]*$')",message="sessionName may contain letters, digits and any of _+=,.@-"
	// +optional
	SessionName string `json:"sessionName,omitempty"`

	// externalID is the external ID that the role's trust policy requires. It is not a secret.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=1224
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_+=,.@:/-]*$')",message="externalID may contain letters, digits and any of _+=,.@:/-"
	// +optional
	ExternalID string `json:"externalID,omitempty"`

	// sourceIdentity is recorded in CloudTrail with all actions of the session. Later role sessions cannot change it.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('aws:')",message="sourceIdentity must not start with aws:, which AWS reserves"
	// +kubebuilder:validation:XValidation:rule="self.startsWith('aws:') || self.matches('^[A-Za-z0-9_+=,.@-]*$')",message="sourceIdentity may contain letters, digits and any of _+=,.@-"
	// +optional
	SourceIdentity string `json:"sourceIdentity,omitempty"`

	// policy is an inline session policy in JSON. The session may do only what both this policy and the role allow.
	// Without white space, which the operator removes, it may have 2048 characters.
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

	// tags are session tags, at most 50. The role's trust policy must allow sts:TagSession.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:XValidation:rule="self.all(t, self.exists_one(u, u.key.lowerAscii() == t.key.lowerAscii()))",message="the keys of tags must differ in more than case: AWS treats Team and team as the same key"
	// +listType=map
	// +listMapKey=key
	// +optional
	Tags []Tag `json:"tags,omitempty"`

	// transitiveTagKeys are the keys of the tags that AWS passes on when the session assumes another role.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +listType=set
	// +optional
	TransitiveTagKeys []string `json:"transitiveTagKeys,omitempty"`

	// serviceAccountName is the service account of this namespace whose token the operator calls STS with, if the
	// identity's source is serviceAccount. The default is default.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="serviceAccountName must be a valid service account name: lower-case letters, digits, '-' and '.', starting and ending with a letter or digit"
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// mfa is the MFA device, if the role's trust policy or the permissions of the session require MFA.
	//
	// +optional
	MFA *MFA `json:"mfa,omitempty"`
}

// Tag is a session tag.
type Tag struct {
	// key of the tag.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[\\\\p{L}\\\\p{Z}\\\\p{N}_.:/=+@-]*$')",message="a tag's key may contain letters, digits, spaces and any of _.:/=+-@"
	// +kubebuilder:validation:XValidation:rule="!self.lowerAscii().startsWith('aws:')",message="a tag's key must not start with aws:, which AWS reserves"
	// +required
	Key string `json:"key,omitempty"`

	// value of the tag; may be empty.
	//
	// +kubebuilder:validation:MinLength=0
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[\\\\p{L}\\\\p{Z}\\\\p{N}_.:/=+@-]*$')",message="a tag's value may contain letters, digits, spaces and any of _.:/=+-@"
	// +required
	Value *string `json:"value,omitempty"`
}

// RoleCredentialStatus reports the observed state of a RoleCredential.
type RoleCredentialStatus struct {
	CredentialStatus `json:",inline"`
}

// RoleCredentialList is a list of RoleCredentials.
//
// +kubebuilder:object:root=true
type RoleCredentialList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RoleCredential `json:"items"`
}

// Common returns the part of the spec that all credential kinds share.
func (c *RoleCredential) Common() *CredentialSpec { return &c.Spec.CredentialSpec }

// Report returns the part of the status that all credential kinds share.
func (c *RoleCredential) Report() *CredentialStatus { return &c.Status.CredentialStatus }
