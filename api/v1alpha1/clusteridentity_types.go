package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClusterIdentity defines how the operator authenticates to STS, and which namespaces may use the identity, for which
// roles.
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

	// spec defines the desired state.
	//
	// +required
	Spec ClusterIdentitySpec `json:"spec,omitzero"`

	// status reports the observed state.
	//
	// +optional
	Status IdentityStatus `json:"status,omitempty,omitzero"`
}

// ClusterIdentitySpec defines the STS endpoint, the source of the credentials that sign the calls, and the namespaces
// that may use them.
//
// +kubebuilder:validation:XValidation:rule="has(self.endpoint) || self.allow.all(r, !has(r.roleARNs) || r.roleARNs.all(p, p == '*' || p.matches('^arn(:[^:]*){4}:.')))",fieldPath=".allow",message="each of roleARNs must be a full IAM role ARN, such as arn:aws:iam::123456789012:role/shop-*, or * for every role: for roles of another server, set endpoint"
// +kubebuilder:validation:XValidation:rule="!has(self.source.serviceAccount) || !has(self.sessionTags)",fieldPath=".sessionTags",message="sessionTags does not work with source.serviceAccount, since a namespace can call STS with its own token and any tags: let trust policies check the token's sub instead"
// +kubebuilder:validation:XValidation:rule="!(has(self.source.x509) || has(self.source.oidc) || has(self.source.webIdentityToken)) || has(self.chain) || !has(self.sessionTags)",fieldPath=".sessionTags",message="sessionTags does not work with source.x509, oidc or webIdentityToken without a chain, since AssumeRoleWithWebIdentity and CreateSession take no tags: add a chain, or let the role's trust policy check the token or certificate instead"
// +kubebuilder:validation:XValidation:rule="has(self.source.ambient) || has(self.source.accessKey) || !has(self.chain) || (!has(self.chain[0].externalID) && !has(self.chain[0].tags))",fieldPath=".chain",message="the first hop of the chain must not have externalID or tags with source.serviceAccount, x509, oidc or webIdentityToken: AssumeRoleWithWebIdentity and CreateSession take neither"
// +kubebuilder:validation:XValidation:rule="!has(self.source.x509) || (has(self.source.x509.acceptRoleSessionName) && self.source.x509.acceptRoleSessionName) || !has(self.chain) || !has(self.chain[0].sessionName)",fieldPath=".chain",message="the first hop of the chain must not have sessionName with source.x509, unless the profile accepts session names: then set source.x509.acceptRoleSessionName"
type ClusterIdentitySpec struct {
	IdentitySettings `json:",inline"`

	// source provides the credentials that the operator calls STS with. If it fails, the operator tries no other
	// source. serviceAccount, x509, oidc and webIdentityToken are for the first hop of the chain or, without a chain,
	// for the credential's role.
	//
	// +required
	Source ClusterIdentitySource `json:"source,omitzero"`

	// allow lists the rules that authorize credentials. A request is allowed if one rule allows all of it. An empty
	// list allows nothing.
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
// +kubebuilder:validation:XValidation:rule="[has(self.ambient), has(self.accessKey), has(self.serviceAccount), has(self.x509), has(self.oidc), has(self.webIdentityToken)].exists_one(x, x)",message="source must have exactly one of ambient, accessKey, serviceAccount, x509, oidc and webIdentityToken"
type ClusterIdentitySource struct {
	// ambient is the AWS SDK's default credential chain in the operator's own pod: environment, profile, web identity
	// (IRSA), EKS Pod Identity, instance metadata.
	//
	// +optional
	Ambient *AmbientSource `json:"ambient,omitempty"`

	// accessKey is an IAM user's access key in a Secret.
	//
	// +optional
	AccessKey *AccessKeySource `json:"accessKey,omitempty"`

	// serviceAccount is a token of the Kubernetes service account that the credential names, for
	// AssumeRoleWithWebIdentity. The operator needs no permissions in AWS.
	//
	// +optional
	ServiceAccount *ServiceAccountSource `json:"serviceAccount,omitempty"`

	// x509 is a certificate in a Secret, for CreateSession of IAM Roles Anywhere.
	//
	// +optional
	X509 *X509Source `json:"x509,omitempty"`

	// oidc is a client of an OIDC provider. Its tokens are for AssumeRoleWithWebIdentity.
	//
	// +optional
	OIDC *OIDCSource `json:"oidc,omitempty"`

	// webIdentityToken is a token in a Secret, for AssumeRoleWithWebIdentity.
	//
	// +optional
	WebIdentityToken *WebIdentityTokenSource `json:"webIdentityToken,omitempty"`
}

// AmbientSource is the AWS SDK's default credential chain.
type AmbientSource struct{}

// AccessKeySource is an access key in a Secret.
type AccessKeySource struct {
	// secretRef names a Secret with the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary credentials,
	// AWS_SESSION_TOKEN.
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
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="secretRef.namespace must be a valid namespace name: lower-case letters, digits and '-', starting and ending with a letter or digit"
	// +required
	Namespace string `json:"namespace,omitempty"`

	// name of the Secret.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="secretRef.name must be a valid Secret name: lower-case letters, digits, '-' and '.', starting and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`
}

// Call is an STS call that a rule may allow.
//
// +kubebuilder:validation:Enum=AssumeRole;GetSessionToken;GetFederationToken;CreateSession
type Call string

// The STS calls that issue credentials.
const (
	// CallAssumeRole is the call for RoleCredentials.
	CallAssumeRole Call = "AssumeRole"
	// CallGetSessionToken is the call for SessionCredentials.
	CallGetSessionToken Call = "GetSessionToken"
	// CallGetFederationToken is the call for FederatedCredentials.
	CallGetFederationToken Call = "GetFederationToken"
	// CallCreateSession is the call of IAM Roles Anywhere for RoleCredentials whose role is reached by source.x509.
	CallCreateSession Call = "CreateSession"
)

// CallAssumeRoleWithWebIdentity replaces AssumeRole when the identity's source is serviceAccount, oidc or
// webIdentityToken. Rules that allow AssumeRole allow it too.
const CallAssumeRoleWithWebIdentity Call = "AssumeRoleWithWebIdentity"

// AllowRule allows requests of some namespaces. In names and ARNs, '*' matches any run of characters within one field
// of an ARN. A pattern must match the whole value. No other character is special.
//
// +kubebuilder:validation:XValidation:rule="[has(self.namespaces), has(self.namespaceSelector)].exists_one(x, x)",message="a rule must have exactly one of namespaces and namespaceSelector: for both, write two rules"
// +kubebuilder:validation:XValidation:rule="has(self.roleARNs) == (!has(self.calls) || self.calls.exists(c, c in ['AssumeRole', 'CreateSession']))",message="a rule must have roleARNs if it allows the call AssumeRole or CreateSession, and must not have them otherwise"
type AllowRule struct {
	// namespaces that the rule applies to, by name. '*' matches any run of characters.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[a-z0-9*-]*$')",message="each of namespaces must be a namespace's name of lower-case letters, digits and '-'; * matches any run of characters"
	// +listType=set
	// +optional
	Namespaces []string `json:"namespaces,omitempty"`

	// namespaceSelector selects the namespaces that the rule applies to by their labels. It must not be empty: to
	// allow all namespaces, set namespaces: ["*"].
	//
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="namespaceSelector must not be empty: to allow every namespace, set namespaces: [\"*\"]"
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// roleARNs that the rule allows, such as arn:aws:iam::123456789012:role/shop-*. The calls AssumeRole and
	// CreateSession require them; other calls exclude them. With an endpoint, they may have any form that its server
	// uses for role ARNs.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=640
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[!-~]*$')",message="each of roleARNs may contain printable ASCII characters other than spaces"
	// +listType=set
	// +optional
	RoleARNs []string `json:"roleARNs,omitempty"`

	// maxDuration is the longest duration that the rule allows, at least 15m. By default, only the limits of STS apply.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$')",message="maxDuration must be whole hours, minutes and seconds, such as 1h or 1h30m"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || duration(self) >= duration('15m')",message="maxDuration must be at least 15m, the shortest lifetime that STS issues"
	// +optional
	MaxDuration *metav1.Duration `json:"maxDuration,omitempty"`

	// sessionNames that the rule allows for role sessions and federated users. '*' matches any run of characters. The
	// default name, which is unique to each credential, is always allowed.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[A-Za-z0-9_+=,.@*-]*$')",message="each of sessionNames may contain letters, digits, any of _+=,.@-, and * for any run of characters"
	// +listType=set
	// +optional
	SessionNames []string `json:"sessionNames,omitempty"`

	// calls are the STS calls that the rule allows; the default is AssumeRole alone. GetSessionToken and
	// GetFederationToken grant the permissions of the identity's IAM user. CreateSession is required if source.x509
	// reaches the credential's role; with a chain, the call for that role is AssumeRole.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
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

// Source returns the source.
func (i *ClusterIdentity) Source() ClusterIdentitySource { return i.Spec.Source }

// Rules returns the allow rules.
func (i *ClusterIdentity) Rules() []AllowRule {
	if i.Spec.Allow == nil {
		return nil
	}
	return *i.Spec.Allow
}
