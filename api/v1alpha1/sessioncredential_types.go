package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SessionCredential keeps a Secret with temporary credentials of the IAM user whose access key its identity has, issued by
// GetSessionToken and refreshed before they expire. They have the user's own rights, but for IAM, and of STS AssumeRole and
// GetCallerIdentity alone.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=sessioncred,categories=sts-credentials
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Identity",type=string,JSONPath=`.spec.identityRef.name`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expiration`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Authorized",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Authorized")].reason`
// +kubebuilder:printcolumn:name="Issued",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Issued")].reason`
// +kubebuilder:printcolumn:name="Secret",type=string,priority=1,JSONPath=`.status.secretName`
// +kubebuilder:printcolumn:name="Next refresh",type=string,priority=1,JSONPath=`.status.nextRefreshTime`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type SessionCredential struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is standard object metadata.
	//
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	//
	// +optional
	Spec SessionCredentialSpec `json:"spec,omitempty,omitzero"`

	// status reports what there is.
	//
	// +optional
	Status SessionCredentialStatus `json:"status,omitempty,omitzero"`
}

// SessionCredentialSpec says for how long to get a session. Bounds are those of the AWS Security Token Service API Reference,
// 'GetSessionToken'.
//
// +kubebuilder:validation:XValidation:rule="!has(self.refreshBefore) || !has(self.duration) || !self.refreshBefore.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || !self.duration.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || duration(self.refreshBefore) < duration(self.duration)",fieldPath=".refreshBefore",message="refreshBefore must be less than duration, or the credential would be due as soon as it is issued"
type SessionCredentialSpec struct {
	CredentialSpec `json:",inline"`

	// duration is the lifetime to ask of STS, from 15m to 36h. What STS then grants is what counts.
	//
	// +kubebuilder:default="12h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$')",message="duration is whole hours, minutes and seconds, such as 12h or 1h30m"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || (duration(self) >= duration('15m') && duration(self) <= duration('36h'))",message="duration must be from 15m to 36h: STS issues no shorter and no longer session of a user"
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`

	// mfa is the user's MFA device. Only a session that was asked for with a code may call IAM, or what a policy demands MFA for.
	//
	// +optional
	MFA *MFA `json:"mfa,omitempty"`
}

// SessionCredentialStatus reports what a SessionCredential's Secret holds, and how the last attempt went.
type SessionCredentialStatus struct {
	CredentialStatus `json:",inline"`
}

// SessionCredentialList is a list of SessionCredentials.
//
// +kubebuilder:object:root=true
type SessionCredentialList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SessionCredential `json:"items"`
}

// Common returns the part of the spec that all credential kinds share.
func (c *SessionCredential) Common() *CredentialSpec { return &c.Spec.CredentialSpec }

// Report returns the part of the status that all credential kinds share.
func (c *SessionCredential) Report() *CredentialStatus { return &c.Status.CredentialStatus }
