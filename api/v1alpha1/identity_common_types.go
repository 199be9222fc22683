package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IdentitySettings is what the specs of both kinds of identity share: where STS is, and the way from the source to the role
// that a credential asks for.
//
// +kubebuilder:validation:XValidation:rule="has(self.endpoint) || self.region.matches('^[a-z0-9-]*$')",fieldPath=".region",message="region must be the code of an AWS region, such as eu-west-1: set endpoint if the region is another server's"
// +kubebuilder:validation:XValidation:rule="has(self.endpoint) || !has(self.chain) || self.chain.all(h, h.roleARN.matches('^arn:aws[a-z-]*:iam::[0-9]{12}:role/([!-~]+/)?[A-Za-z0-9_+=,.@-]+$'))",fieldPath=".chain",message="each roleARN of chain must be the ARN of an IAM role at AWS, such as arn:aws:iam::123456789012:role/Hub: set endpoint if the role is another server's"
type IdentitySettings struct {
	// region whose STS is asked, such as eu-west-1. With an endpoint, any region name that its server signs for; most take us-east-1.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._-]*$')",message="region may hold letters, digits, '.', '_' and '-'"
	// +required
	Region string `json:"region,omitempty"`

	// endpoint is the URL of the STS to ask in place of the region's own: a VPC endpoint, or an STS-compatible server. With
	// http, credentials cross the network in the clear: for a server on the same host or in the same cluster only.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",message="endpoint must be the URL of a server, such as https://sts.example.internal"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@') && !self.contains('?') && !self.contains('#')",message="endpoint must not hold a user, a query or a fragment: leave that out, and have source name the key to call with"
	// +optional
	Endpoint string `json:"endpoint,omitempty"`

	// caBundle is one or more PEM certificates of the authorities to trust for the endpoint, in place of the system's.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	// +kubebuilder:validation:XValidation:rule="self.contains('-----BEGIN CERTIFICATE-----')",message="caBundle must hold certificates in PEM, beginning with -----BEGIN CERTIFICATE-----"
	// +optional
	CABundle string `json:"caBundle,omitempty"`

	// chain lists roles to assume, in order, before the one that a credential asks for. Every session after the first ends
	// within 1h (IAM User Guide, 'Roles terms and concepts': role chaining).
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(h, self.exists_one(other, other.roleARN == h.roleARN))",message="a chain must not come to the same role twice: leave one of the two hops out"
	// +listType=atomic
	// +optional
	Chain []Hop `json:"chain,omitempty"`

	// sessionTags stamps who asked on the sessions of roles and federated users that credentials ask for, for trust policies
	// and permissions to rest on. A chain's own sessions and those of GetSessionToken, which takes no tags, bear none.
	//
	// +optional
	SessionTags *SessionTags `json:"sessionTags,omitempty"`

	// stsQPS is how many calls of STS a second may be made as this identity, for all credentials that name it. The default is
	// what the operator was started with, --sts-qps, and an Identity gets no more than that. AWS takes 600 a second from all callers of an account in a region (IAM
	// User Guide, 'IAM and AWS STS quotas').
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	STSQPS int32 `json:"stsQPS,omitempty"`
}

// ServiceAccountSource is a token of the service account that a credential names, in the credential's own namespace. It lives
// ten minutes, and is good for the audience only.
type ServiceAccountSource struct {
	// audience of the token. IAM's OIDC provider for the cluster must list it as a client id.
	//
	// +kubebuilder:default="sts.amazonaws.com"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\\\p{C}]')",message="audience must hold no line breaks and no other control characters"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('https://kubernetes.default')",message="audience must not be that of the Kubernetes API server, or the token would be good for more than STS"
	// +optional
	Audience string `json:"audience,omitempty"`
}

// IdentityStatus reports who the caller is.
type IdentityStatus struct {
	// conditions are Ready and, once STS has answered, ClockInSync.
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

	// observedGeneration is the generation of the spec that this status reports on.
	//
	// +kubebuilder:validation:Minimum=1
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// observedSecretVersion is the resource version of the source's Secret that this status reports on; empty without one.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +optional
	ObservedSecretVersion string `json:"observedSecretVersion,omitempty"`

	// accountID is the caller's account, as GetCallerIdentity tells it.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	AccountID string `json:"accountID,omitempty"`

	// arn is the caller's ARN, as GetCallerIdentity tells it, without the name of a role session, which changes from one
	// start to the next.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	ARN string `json:"arn,omitempty"`

	// userID is the caller's unique id, as GetCallerIdentity tells it, without the name of a role session.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	UserID string `json:"userID,omitempty"`
}
