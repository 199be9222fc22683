package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SessionCredential keeps a Secret with session credentials of the IAM user whose access key the identity uses. The
// operator issues them with GetSessionToken and refreshes them before they expire. They have the user's own
// permissions, but cannot call IAM without MFA, and of STS only AssumeRole and GetCallerIdentity.
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

	// spec defines the desired state.
	//
	// +optional
	Spec SessionCredentialSpec `json:"spec,omitempty,omitzero"`

	// status reports the observed state.
	//
	// +optional
	Status SessionCredentialStatus `json:"status,omitempty,omitzero"`
}

// SessionCredentialSpec defines the session and its Secret. The limits are those of the AWS Security Token Service
// API Reference, 'GetSessionToken'.
//
// +kubebuilder:validation:XValidation:rule="!has(self.refreshBefore) || !has(self.duration) || !self.refreshBefore.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || !self.duration.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || duration(self.refreshBefore) < duration(self.duration)",fieldPath=".refreshBefore",message="refreshBefore must be less than duration: otherwise each credential is due as soon as it is issued"
type SessionCredentialSpec struct {
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

	// mfa is the user's MFA device. Only a session with MFA may call IAM, or use permissions that require MFA.
	//
	// +optional
	MFA *MFA `json:"mfa,omitempty"`
}

// SessionCredentialStatus reports the observed state of a SessionCredential.
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
