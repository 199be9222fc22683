package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClusterIdentity says who the operator is when it calls STS, and which namespaces may use that for which roles.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=clusterid
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Account",type=string,JSONPath=`.status.accountID`
// +kubebuilder:printcolumn:name="ARN",type=string,JSONPath=`.status.arn`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Region",type=string,priority=1,JSONPath=`.spec.region`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type ClusterIdentity struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is standard object metadata.
	//
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	//
	// +required
	Spec ClusterIdentitySpec `json:"spec,omitzero"`

	// status reports who the caller is.
	//
	// +optional
	Status ClusterIdentityStatus `json:"status,omitempty,omitzero"`
}

// ClusterIdentitySpec says where STS is, whose credentials to call it with, and who may use them.
type ClusterIdentitySpec struct {
	// region whose STS is asked, such as eu-west-1. With an STS-compatible server, the region it signs for; most take
	// us-east-1.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9-]*$')",message="region must be the code of a region, such as eu-west-1"
	// +required
	Region string `json:"region,omitempty"`

	// endpoint is the URL of the STS to ask in place of the region's own: a VPC endpoint, or an STS-compatible server. With
	// http, credentials cross the network in the clear: for a server on the same host or in the same cluster only.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",message="endpoint must be the URL of a server, such as https://sts.example.internal"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@') && !self.contains('?') && !self.contains('#')",message="endpoint must not hold a user, a query or a fragment"
	// +optional
	Endpoint string `json:"endpoint,omitempty"`

	// caBundle is one or more PEM certificates of the authorities to trust for the endpoint, in place of the system's.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	// +kubebuilder:validation:XValidation:rule="self.contains('-----BEGIN CERTIFICATE-----')",message="caBundle must hold certificates in PEM, beginning with -----BEGIN CERTIFICATE-----"
	// +optional
	CABundle string `json:"caBundle,omitempty"`

	// source is where the credentials to call STS with come from. If it fails, nothing falls through to another.
	//
	// +required
	Source ClusterIdentitySource `json:"source,omitzero"`

	// chain lists roles to assume, in order, before the one that a credential asks for. Every session after the first ends
	// within 1h (IAM User Guide, 'Roles terms and concepts': role chaining).
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(h, self.exists_one(other, other.roleARN == h.roleARN))",message="a chain must not come to the same role twice"
	// +listType=atomic
	// +optional
	Chain []Hop `json:"chain,omitempty"`

	// sessionTags stamps who asked on the sessions of roles and federated users that credentials ask for, for trust policies
	// and permissions to rest on. A chain's own sessions and those of GetSessionToken, which takes no tags, bear none.
	//
	// +optional
	SessionTags *SessionTags `json:"sessionTags,omitempty"`

	// allow lists what may be done with this identity. Nothing is allowed that no rule allows, so that an empty list allows
	// nothing. A request is allowed when one rule allows all of it.
	//
	// +kubebuilder:validation:MinItems=0
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +required
	Allow *[]AllowRule `json:"allow,omitempty"`
}

// ClusterIdentitySource is exactly one source of credentials.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="[has(self.ambient), has(self.accessKey)].exists_one(x, x)",message="source must have exactly one of ambient and accessKey"
type ClusterIdentitySource struct {
	// ambient is the AWS SDK's default chain in the operator's own pod: environment, profile, web identity (IRSA), EKS Pod
	// Identity, instance metadata.
	//
	// +optional
	Ambient *AmbientSource `json:"ambient,omitempty"`

	// accessKey is an IAM user's access key in a Secret.
	//
	// +optional
	AccessKey *AccessKeySource `json:"accessKey,omitempty"`
}

// AmbientSource is the AWS SDK's default chain.
type AmbientSource struct{}

// AccessKeySource is an access key in a Secret.
type AccessKeySource struct {
	// secretRef names a Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and, for temporary credentials that
	// something else keeps fresh, AWS_SESSION_TOKEN.
	//
	// +required
	SecretRef SecretReference `json:"secretRef,omitzero"`
}

// SecretReference names a Secret in a namespace.
type SecretReference struct {
	// namespace of the Secret.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Namespace string `json:"namespace,omitempty"`

	// name of the Secret.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`
}

// Call is a call of STS that a rule may allow.
//
// +kubebuilder:validation:Enum=AssumeRole;GetSessionToken;GetFederationToken
type Call string

// The calls that credentials are issued by.
const (
	// CallAssumeRole is AssumeRole, which RoleCredentials are issued by.
	CallAssumeRole Call = "AssumeRole"
	// CallGetSessionToken is GetSessionToken, which SessionCredentials are issued by.
	CallGetSessionToken Call = "GetSessionToken"
	// CallGetFederationToken is GetFederationToken, which FederatedCredentials are issued by.
	CallGetFederationToken Call = "GetFederationToken"
)

// AllowRule allows some namespaces some requests. Names and ARNs may hold '*', which stands for any run of characters
// within one field of an ARN; a pattern always matches from beginning to end, and nothing else in it is special.
//
// +kubebuilder:validation:XValidation:rule="[has(self.namespaces), has(self.namespaceSelector)].exists_one(x, x)",message="a rule must have exactly one of namespaces and namespaceSelector"
// +kubebuilder:validation:XValidation:rule="has(self.roleARNs) == self.calls.exists(c, c == 'AssumeRole')",message="roleARNs goes with the call AssumeRole: a rule that allows it must say which roles, and a rule that does not must not"
type AllowRule struct {
	// namespaces that the rule is for: names, where '*' stands for any run of characters.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[a-z0-9*-]*$')",message="each of namespaces must be a namespace's name, in which * may stand for any run of characters"
	// +listType=set
	// +optional
	Namespaces []string `json:"namespaces,omitempty"`

	// namespaceSelector selects the namespaces that the rule is for by their labels. An empty selector is refused: say
	// namespaces: ["*"] for all.
	//
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="namespaceSelector must select by something: write namespaces: [\"*\"] to allow every namespace"
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// roleARNs that may be assumed, such as arn:aws:iam::123456789012:role/shop-*. They are needed for the call AssumeRole, and
	// only for that.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=640
	// +kubebuilder:validation:items:XValidation:rule="self == '*' || self.matches('^arn:[^:]+:[^:]+:[^:]*:[^:]*:.+$')",message="each of roleARNs must be the whole ARN of a role, such as arn:aws:iam::123456789012:role/shop-*, or * for every role"
	// +listType=set
	// +optional
	RoleARNs []string `json:"roleARNs,omitempty"`

	// maxDuration is the longest duration that may be asked for. The default is no bound but that of STS.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$')",message="maxDuration is whole hours, minutes and seconds, such as 1h or 1h30m"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || duration(self) >= duration('15m')",message="maxDuration must be at least 15m: STS issues no shorter session"
	// +optional
	MaxDuration *metav1.Duration `json:"maxDuration,omitempty"`

	// sessionNames that may be asked for, as names of role sessions and of federated users, where '*' stands for any run of characters. Without it only the default name is
	// allowed, which tells credentials apart and which no tenant can forge.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[A-Za-z0-9_+=,.@*-]*$')",message="each of sessionNames may hold letters, digits, any of _+=,.@- and * for any run of them"
	// +listType=set
	// +optional
	SessionNames []string `json:"sessionNames,omitempty"`

	// calls of STS that the rule allows. GetSessionToken and GetFederationToken hand out the rights of the identity's own user
	// and must be said.
	//
	// +kubebuilder:default={AssumeRole}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	// +listType=set
	// +optional
	Calls []Call `json:"calls,omitempty"`
}

// ClusterIdentityStatus reports who the caller is.
type ClusterIdentityStatus struct {
	// conditions are Ready and, once STS has answered, ClockInSync.
	//
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

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

// ClusterIdentityList is a list of ClusterIdentities.
//
// +kubebuilder:object:root=true
type ClusterIdentityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterIdentity `json:"items"`
}
