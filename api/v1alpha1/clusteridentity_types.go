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
	Status IdentityStatus `json:"status,omitempty,omitzero"`
}

// ClusterIdentitySpec says where STS is, whose credentials to call it with, and who may use them.
//
// +kubebuilder:validation:XValidation:rule="has(self.endpoint) || self.allow.all(r, !has(r.roleARNs) || r.roleARNs.all(p, p == '*' || p.matches('^arn(:[^:]*){4}:.')))",fieldPath=".allow",message="each of roleARNs must be the whole ARN of a role at AWS, such as arn:aws:iam::123456789012:role/shop-*, or * for every role: set endpoint if the roles are another server's"
// +kubebuilder:validation:XValidation:rule="!has(self.source.serviceAccount) || has(self.chain) || !has(self.sessionTags)",fieldPath=".sessionTags",message="sessionTags cannot be stamped with source.serviceAccount and no chain: AssumeRoleWithWebIdentity takes no tags; a trust policy can name the namespace and the service account instead"
// +kubebuilder:validation:XValidation:rule="!has(self.source.serviceAccount) || !has(self.chain) || (!has(self.chain[0].externalID) && !has(self.chain[0].tags))",fieldPath=".chain",message="the first hop of a chain takes no externalID and no tags with source.serviceAccount: AssumeRoleWithWebIdentity knows neither"
type ClusterIdentitySpec struct {
	IdentitySettings `json:",inline"`

	// source is where the credentials to call STS with come from. If it fails, nothing falls through to another.
	//
	// +required
	Source ClusterIdentitySource `json:"source,omitzero"`

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
// +kubebuilder:validation:XValidation:rule="[has(self.ambient), has(self.accessKey), has(self.serviceAccount)].exists_one(x, x)",message="source must have exactly one of ambient, accessKey and serviceAccount"
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

	// serviceAccount is a token of the Kubernetes service account that the credential names, for which STS issues a session of
	// the role, or of the first hop of the chain. The operator itself then needs no rights in AWS.
	//
	// +optional
	ServiceAccount *ServiceAccountSource `json:"serviceAccount,omitempty"`
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
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="secretRef.namespace must be a name that a namespace can have: lower-case letters, digits and '-', beginning and ending with a letter or digit"
	// +required
	Namespace string `json:"namespace,omitempty"`

	// name of the Secret.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="secretRef.name must be a name that a Secret can have: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
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

// CallAssumeRoleWithWebIdentity is what AssumeRole is when a service account's token takes the place of a signature. Rules
// know it as AssumeRole.
const CallAssumeRoleWithWebIdentity Call = "AssumeRoleWithWebIdentity"

// AllowRule allows some namespaces some requests. Names and ARNs may hold '*', which stands for any run of characters
// within one field of an ARN; a pattern always matches from beginning to end, and nothing else in it is special.
//
// +kubebuilder:validation:XValidation:rule="[has(self.namespaces), has(self.namespaceSelector)].exists_one(x, x)",message="a rule must have exactly one of namespaces and namespaceSelector: write two rules to allow by both"
// +kubebuilder:validation:XValidation:rule="has(self.roleARNs) == (!has(self.calls) || self.calls.exists(c, c == 'AssumeRole'))",message="roleARNs goes with the call AssumeRole: a rule that allows it must say which roles, and a rule that does not must not"
type AllowRule struct {
	// namespaces that the rule is for: names, where '*' stands for any run of characters.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[a-z0-9*-]*$')",message="each of namespaces must be a namespace's name, of lower-case letters, digits and '-', in which * may stand for any run of characters"
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
	// only for that. With an endpoint they may have any form that its server gives to the ARNs of roles.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=640
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[!-~]*$')",message="each of roleARNs may hold printable ASCII characters other than spaces"
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

	// calls of STS that the rule allows: AssumeRole alone if it has none. GetSessionToken and GetFederationToken hand out the rights
	// of the identity's own user and must be named.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	// +listType=set
	// +optional
	Calls []Call `json:"calls,omitempty"`
}

// ClusterIdentityList is a list of ClusterIdentities.
//
// +kubebuilder:object:root=true
type ClusterIdentityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterIdentity `json:"items"`
}

// Settings returns the part of the spec that both kinds of identity share.
func (i *ClusterIdentity) Settings() *IdentitySettings { return &i.Spec.IdentitySettings }

// Report returns the status.
func (i *ClusterIdentity) Report() *IdentityStatus { return &i.Status }
