package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RoleCredential keeps a Secret with credentials of an IAM role, issued by AssumeRole and refreshed before they expire.
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

	// spec is what is wanted.
	//
	// +required
	Spec RoleCredentialSpec `json:"spec,omitzero"`

	// status reports what there is.
	//
	// +optional
	Status RoleCredentialStatus `json:"status,omitempty,omitzero"`
}

// RoleCredentialSpec says which role to assume, how, and where to put its credentials. Bounds are those of the AWS Security
// Token Service API Reference, 'AssumeRole'.
//
// +kubebuilder:validation:XValidation:rule="!has(self.refreshBefore) || !has(self.duration) || !self.refreshBefore.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || !self.duration.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || duration(self.refreshBefore) < duration(self.duration)",fieldPath=".refreshBefore",message="refreshBefore must be less than duration, or the credential would be due as soon as it is issued"
// +kubebuilder:validation:XValidation:rule="!has(self.transitiveTagKeys) || self.transitiveTagKeys.all(k, has(self.tags) && self.tags.exists(t, t.key == k))",fieldPath=".transitiveTagKeys",message="each of transitiveTagKeys must be the key of one of tags, in the same capitals: add the tag, or leave the key out"
type RoleCredentialSpec struct {
	CredentialSpec `json:",inline"`

	// roleARN is the ARN of the role to assume, such as arn:aws:iam::123456789012:role/S3Reader. It is sent as given. If the identity
	// has no endpoint, it must have AWS's form; the condition Issued reports one that has not.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]*$')",message="roleARN may hold printable ASCII characters other than spaces, as in arn:aws:iam::123456789012:role/S3Reader"
	// +kubebuilder:validation:XValidation:rule="self.contains(':')",message="roleARN must be the role's whole ARN, such as arn:aws:iam::123456789012:role/S3Reader, and not its name alone"
	// +required
	RoleARN string `json:"roleARN,omitempty"`

	// duration is the lifetime to ask of STS, from 15m to 12h, and at most the role's MaxSessionDuration (1h unless it was
	// raised). What STS then grants is what counts.
	//
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$')",message="duration is whole hours, minutes and seconds, such as 1h or 1h30m"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || (duration(self) >= duration('15m') && duration(self) <= duration('12h'))",message="duration must be from 15m to 12h: STS issues no shorter and no longer session of a role"
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`

	// sessionName is the role session's name, which CloudTrail shows. The default is <namespace>.<name>, cut to 64
	// characters with a hash; another name needs a rule that allows it.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_+=,.@-]*$')",message="sessionName may hold letters, digits and any of _+=,.@-"
	// +optional
	SessionName string `json:"sessionName,omitempty"`

	// externalID is the external id that the role's trust policy asks for. It is not a secret.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=1224
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_+=,.@:/-]*$')",message="externalID may hold letters, digits and any of _+=,.@:/-"
	// +optional
	ExternalID string `json:"externalID,omitempty"`

	// sourceIdentity is recorded with all that the session does, and cannot be changed by later role sessions.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('aws:')",message="sourceIdentity must not begin with aws:, which AWS keeps for itself"
	// +kubebuilder:validation:XValidation:rule="self.startsWith('aws:') || self.matches('^[A-Za-z0-9_+=,.@-]*$')",message="sourceIdentity may hold letters, digits and any of _+=,.@-"
	// +optional
	SourceIdentity string `json:"sourceIdentity,omitempty"`

	// policy is a session policy, inline JSON: the session may do what both it and the role allow. It is sent without white space, and
	// may then have 2048 characters; the condition Issued reports a longer one.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	// +kubebuilder:validation:XValidation:rule="self.matches('^[\\\\t\\\\n\\\\r -ÿ]*$')",message="policy may hold tabs, line ends and the characters U+0020 to U+00FF: write others as \\uXXXX"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ \\\\t\\\\n\\\\r]*[{]')",message="policy must be a JSON object: an IAM policy document that begins with {"
	// +optional
	Policy string `json:"policy,omitempty"`

	// policyARNs are managed policies to narrow the session with, at most 10.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=2048
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[!-~]*$')",message="each of policyARNs may hold printable ASCII characters other than spaces, as in arn:aws:iam::aws:policy/ReadOnlyAccess"
	// +kubebuilder:validation:items:XValidation:rule="self.contains(':')",message="each of policyARNs must be the policy's whole ARN, such as arn:aws:iam::aws:policy/ReadOnlyAccess, and not its name alone"
	// +listType=set
	// +optional
	PolicyARNs []string `json:"policyARNs,omitempty"`

	// tags are session tags, at most 50. The role's trust policy must allow sts:TagSession.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:XValidation:rule="self.all(t, self.exists_one(u, u.key.lowerAscii() == t.key.lowerAscii()))",message="the keys of tags must differ by more than upper and lower case: AWS takes Team and team for one key"
	// +listType=map
	// +listMapKey=key
	// +optional
	Tags []Tag `json:"tags,omitempty"`

	// transitiveTagKeys are the keys of those tags that go along when the session assumes a further role.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +listType=set
	// +optional
	TransitiveTagKeys []string `json:"transitiveTagKeys,omitempty"`

	// serviceAccountName is the service account of this namespace whose token STS is called with, if that is the source of the
	// identity. The default is default, as for a pod.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="serviceAccountName must be a name that a service account of this namespace can have: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// mfa is the MFA device that the role's trust policy, or what the session is to do, asks for.
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
	// +kubebuilder:validation:XValidation:rule="self.matches('^[\\\\p{L}\\\\p{Z}\\\\p{N}_.:/=+@-]*$')",message="a tag's key may hold letters, digits, spaces and any of _.:/=+-@"
	// +kubebuilder:validation:XValidation:rule="!self.lowerAscii().startsWith('aws:')",message="a tag's key must not begin with aws:, which AWS keeps for itself"
	// +required
	Key string `json:"key,omitempty"`

	// value of the tag; may be empty.
	//
	// +kubebuilder:validation:MinLength=0
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[\\\\p{L}\\\\p{Z}\\\\p{N}_.:/=+@-]*$')",message="a tag's value may hold letters, digits, spaces and any of _.:/=+-@"
	// +required
	Value *string `json:"value,omitempty"`
}

// RoleCredentialStatus reports what a RoleCredential's Secret holds, and how the last attempt went.
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
