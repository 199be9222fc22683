package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IdentitySettings is the part of the spec that both kinds of identity share: the STS endpoint and the chain of
// roles.
//
// +kubebuilder:validation:XValidation:rule="has(self.endpoint) || self.region.matches('^[a-z0-9-]*$')",fieldPath=".region",message="region must be the code of an AWS region, such as eu-west-1: for a region of another server, set endpoint"
// +kubebuilder:validation:XValidation:rule="has(self.endpoint) || !has(self.chain) || self.chain.all(h, h.roleARN.matches('^arn:aws[a-z-]*:iam::[0-9]{12}:role/([!-~]+/)?[A-Za-z0-9_+=,.@-]+$'))",fieldPath=".chain",message="each roleARN of chain must be the ARN of an IAM role, such as arn:aws:iam::123456789012:role/Hub: for a role of another server, set endpoint"
type IdentitySettings struct {
	// region whose STS endpoint the operator calls, such as eu-west-1. With an endpoint, it may be any region name
	// that the server accepts in signatures; most use us-east-1.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._-]*$')",message="region may contain letters, digits, '.', '_' and '-'"
	// +required
	Region string `json:"region,omitempty"`

	// endpoint is the URL of the STS endpoint to call instead of the region's default: a VPC endpoint, or an
	// STS-compatible server. With http, credentials are not encrypted: use it only within a cluster or host.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",message="endpoint must be the URL of a server, such as https://sts.example.internal"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@') && !self.contains('?') && !self.contains('#')",message="endpoint must not contain a user, a query or a fragment: remove it, and set the access key in source"
	// +optional
	Endpoint string `json:"endpoint,omitempty"`

	// caBundle contains the PEM certificates of the authorities to trust for the endpoint, instead of the system's.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	// +kubebuilder:validation:XValidation:rule="self.contains('-----BEGIN CERTIFICATE-----')",message="caBundle must contain PEM certificates, starting with -----BEGIN CERTIFICATE-----"
	// +optional
	CABundle string `json:"caBundle,omitempty"`

	// chain lists the roles to assume, in order, before the role of a credential. AWS limits every session after the
	// first to 1h (IAM User Guide, 'Roles terms and concepts': role chaining).
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(h, self.exists_one(other, other.roleARN == h.roleARN))",message="a chain must not contain the same role twice: remove one of the two hops"
	// +listType=atomic
	// +optional
	Chain []Hop `json:"chain,omitempty"`

	// sessionTags adds the origin of a credential as tags to sessions of roles and federated users, but not to
	// sessions of the chain or of GetSessionToken.
	//
	// +optional
	SessionTags *SessionTags `json:"sessionTags,omitempty"`

	// stsQPS is the rate limit of STS calls per second for all credentials of this identity. The default is the
	// operator's flag --sts-qps, which is also the maximum for an Identity. AWS allows 600 calls per second to an
	// account in a region (IAM User Guide, 'IAM and AWS STS quotas').
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	STSQPS int32 `json:"stsQPS,omitempty"`
}

// ServiceAccountSource is a token of the service account that a credential names, in the credential's own namespace.
// It is valid for ten minutes and only for the audience.
type ServiceAccountSource struct {
	// audience of the token. The cluster's OIDC provider in IAM must list it as a client ID.
	//
	// +kubebuilder:default="sts.amazonaws.com"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\\\p{C}]')",message="audience must not contain line breaks or other control characters"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('https://kubernetes.default')",message="audience must not be that of the Kubernetes API server: otherwise the token is valid there too"
	// +optional
	Audience string `json:"audience,omitempty"`
}

// IdentityStatus reports the observed state of an identity.
type IdentityStatus struct {
	// conditions are Ready, with source.x509 CertificateValid, and once STS has answered, ClockInSync.
	//
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// failedCall is the STS call that failed when Ready is False: GetCallerIdentity, or the call for a hop of the chain. It is
	// absent if the operator did not call STS.
	//
	// +optional
	FailedCall *FailedCall `json:"failedCall,omitempty"`

	// observedGeneration is the generation of the spec that the operator last processed.
	//
	// +kubebuilder:validation:Minimum=1
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// observedSecretVersion is the resource version of the source's Secret that the operator last processed. It is
	// empty if the source has no Secret.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +optional
	ObservedSecretVersion string `json:"observedSecretVersion,omitempty"`

	// sourceExpiration is when the token in the source's Secret expires, or the certificate or one of its
	// intermediates. It is absent if the operator has read neither.
	//
	// +optional
	SourceExpiration *metav1.Time `json:"sourceExpiration,omitempty"`

	// accountID is the caller's account, from GetCallerIdentity.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	AccountID string `json:"accountID,omitempty"`

	// arn is the caller's ARN, from GetCallerIdentity, without the role session name, which changes at each start.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	ARN string `json:"arn,omitempty"`

	// userID is the caller's unique ID, from GetCallerIdentity, without the role session name.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	UserID string `json:"userID,omitempty"`
}
