package v1alpha1

// RolesAnywhereSettings is the part of the source x509 that both kinds of identity share.
//
// +kubebuilder:validation:XValidation:rule="!self.trustAnchorARN.contains(':rolesanywhere:') || !self.profileARN.contains(':rolesanywhere:') || self.trustAnchorARN.split(':rolesanywhere:')[1].split(':')[0] == self.profileARN.split(':rolesanywhere:')[1].split(':')[0]",fieldPath=".profileARN",message="trustAnchorARN and profileARN must be of the same region: CreateSession is a call to one region"
type RolesAnywhereSettings struct {
	// trustAnchorARN is the ARN of the trust anchor in IAM Roles Anywhere whose certificate authority issued the
	// certificate. CreateSession is called in its region.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1011
	// +kubebuilder:validation:XValidation:rule="self.matches('^arn:aws[a-z-]*:rolesanywhere:[a-z0-9-]+:[0-9]{12}:trust-anchor/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$')",message="trustAnchorARN must be the ARN of a trust anchor, such as arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/01234567-89ab-cdef-0123-456789abcdef"
	// +required
	TrustAnchorARN string `json:"trustAnchorARN,omitempty"`

	// profileARN is the ARN of the profile in IAM Roles Anywhere that lists the first hop of the chain or, without a
	// chain, the roles of the credentials.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1011
	// +kubebuilder:validation:XValidation:rule="self.matches('^arn:aws[a-z-]*:rolesanywhere:[a-z0-9-]+:[0-9]{12}:profile/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$')",message="profileARN must be the ARN of a profile, such as arn:aws:rolesanywhere:eu-west-1:123456789012:profile/01234567-89ab-cdef-0123-456789abcdef"
	// +required
	ProfileARN string `json:"profileARN,omitempty"`

	// endpoint is the URL of IAM Roles Anywhere to call instead of the region's default, such as that of a VPC
	// endpoint. The identity's caBundle applies to it too.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",message="endpoint must be the URL of a server, such as https://rolesanywhere.example.internal"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@') && !self.contains('?') && !self.contains('#')",message="endpoint must not contain a user, a query or a fragment: remove it"
	// +optional
	Endpoint string `json:"endpoint,omitempty"`

	// acceptRoleSessionName declares that the profile has acceptRoleSessionName, so that the operator sends the names
	// of role sessions. Without it, AWS names each session after the certificate's serial number, and the operator
	// rejects a sessionName of the first role.
	//
	// +optional
	AcceptRoleSessionName bool `json:"acceptRoleSessionName,omitempty"`
}

// X509Source is a certificate that IAM Roles Anywhere accepts.
type X509Source struct {
	// secretRef names a Secret of type kubernetes.io/tls: tls.crt contains the certificate and then its
	// intermediates, tls.key the RSA or ECDSA private key.
	//
	// +required
	SecretRef SecretReference `json:"secretRef,omitzero"`

	RolesAnywhereSettings `json:",inline"`
}

// LocalX509Source is a certificate of the same namespace that IAM Roles Anywhere accepts.
type LocalX509Source struct {
	// secretRef names a Secret of type kubernetes.io/tls: tls.crt contains the certificate and then its
	// intermediates, tls.key the RSA or ECDSA private key.
	//
	// +required
	SecretRef LocalSecretReference `json:"secretRef,omitzero"`

	RolesAnywhereSettings `json:",inline"`
}

// OIDCSettings is the part of the source oidc that both kinds of identity share.
//
// +kubebuilder:validation:XValidation:rule="[has(self.issuer), has(self.tokenURL)].exists_one(x, x)",message="oidc must have exactly one of issuer and tokenURL"
type OIDCSettings struct {
	// issuer is the URL of the OIDC provider. The operator finds the token endpoint with OpenID Connect Discovery 1.0.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",message="issuer must be the URL of an OIDC provider, such as https://id.example.com/realms/prod"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@') && !self.contains('?') && !self.contains('#')",message="issuer must not contain a user, a query or a fragment: remove it"
	// +optional
	Issuer string `json:"issuer,omitempty"`

	// tokenURL is the URL of the provider's token endpoint, for a provider without discovery.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",message="tokenURL must be the URL of a token endpoint, such as https://id.example.com/oauth2/token"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@') && !self.contains('#')",message="tokenURL must not contain a user or a fragment: remove it"
	// +optional
	TokenURL string `json:"tokenURL,omitempty"`

	// clientID is the ID of the OAuth 2.0 client.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ -~]*$')",message="clientID may contain printable ASCII characters"
	// +required
	ClientID string `json:"clientID,omitempty"`

	// scopes that the operator requests.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[!#-\\\\[\\\\]-~]*$')",message="each of scopes may contain printable ASCII characters other than spaces, quotation marks and backslashes"
	// +listType=set
	// +optional
	Scopes []string `json:"scopes,omitempty"`

	// audience that the operator requests for the token; by default, the provider decides. The OIDC provider in IAM
	// must list the token's audience as a client ID.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\\\p{C}]')",message="audience must not contain line breaks or other control characters"
	// +optional
	Audience string `json:"audience,omitempty"`

	// caBundle contains the PEM certificates of the authorities to trust for the provider, instead of the system's.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	// +kubebuilder:validation:XValidation:rule="self.contains('-----BEGIN CERTIFICATE-----')",message="caBundle must contain PEM certificates, starting with -----BEGIN CERTIFICATE-----"
	// +optional
	CABundle string `json:"caBundle,omitempty"`
}

// OIDCSource is a client of an OIDC provider, which issues tokens for the OAuth 2.0 grant client_credentials. The operator
// sends the access token to STS, or the ID token if only that is a JSON Web Token.
type OIDCSource struct {
	// clientSecretRef names a key of a Secret that contains the client's secret.
	//
	// +required
	ClientSecretRef NamespacedSecretKeyReference `json:"clientSecretRef,omitzero"`

	OIDCSettings `json:",inline"`
}

// LocalOIDCSource is a client of an OIDC provider, with a client secret of the same namespace.
type LocalOIDCSource struct {
	// clientSecretRef names a key of a Secret that contains the client's secret.
	//
	// +required
	ClientSecretRef SecretKeyReference `json:"clientSecretRef,omitzero"`

	OIDCSettings `json:",inline"`
}

// WebIdentityTokenSource is a JSON Web Token that another tool keeps fresh in a Secret.
type WebIdentityTokenSource struct {
	// secretRef names a key of a Secret that contains the token.
	//
	// +required
	SecretRef NamespacedSecretKeyReference `json:"secretRef,omitzero"`
}

// LocalWebIdentityTokenSource is a JSON Web Token that another tool keeps fresh in a Secret of the same namespace.
type LocalWebIdentityTokenSource struct {
	// secretRef names a key of a Secret that contains the token.
	//
	// +required
	SecretRef SecretKeyReference `json:"secretRef,omitzero"`
}

// NamespacedSecretKeyReference names a key of a Secret in a namespace.
type NamespacedSecretKeyReference struct {
	// namespace of the Secret.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="namespace must be a valid namespace name: lower-case letters, digits and '-', starting and ending with a letter or digit"
	// +required
	Namespace string `json:"namespace,omitempty"`

	SecretKeyReference `json:",inline"`
}

// SecretKeyReference names a key of a Secret in the same namespace.
type SecretKeyReference struct {
	// name of the Secret.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="name must be a valid Secret name: lower-case letters, digits, '-' and '.', starting and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`

	// key in the Secret's data.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",message="key must be a valid key of a Secret: letters, digits, '-', '_' and '.'; not '.' and not starting with '..'"
	// +required
	Key string `json:"key,omitempty"`
}
