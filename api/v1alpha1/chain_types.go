package v1alpha1

// Hop is a role that the operator assumes before it assumes the role of a credential.
//
// +kubebuilder:validation:XValidation:rule="!has(self.transitiveTagKeys) || self.transitiveTagKeys.all(k, has(self.tags) && self.tags.exists(t, t.key == k))",fieldPath=".transitiveTagKeys",message="each of transitiveTagKeys must be the key of one of tags, in the same case: add the tag, or remove the key"
type Hop struct {
	// roleARN is the ARN of the role to assume. Without an endpoint, it must be the ARN of an IAM role.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]*$')",message="roleARN may contain printable ASCII characters other than spaces, as in arn:aws:iam::123456789012:role/S3Reader"
	// +required
	RoleARN string `json:"roleARN,omitempty"`

	// sessionName is the name of the hop's role session, as CloudTrail shows it. The default is
	// rolecredential.<identity>.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_+=,.@-]*$')",message="sessionName may contain letters, digits and any of _+=,.@-"
	// +optional
	SessionName string `json:"sessionName,omitempty"`

	// externalID is the external ID that the hop's trust policy requires.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=1224
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_+=,.@:/-]*$')",message="externalID may contain letters, digits and any of _+=,.@:/-"
	// +optional
	ExternalID string `json:"externalID,omitempty"`

	// tags are session tags, at most 50. The hop's trust policy must allow sts:TagSession.
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
}

// SessionTags adds tags to the sessions of roles and federated users, for trust policies and permissions:
// kubernetes-cluster, kubernetes-namespace, kubernetes-name, kubernetes-uid and kubernetes-kind. No credential can set
// tags with these keys, even if its identity does not set sessionTags.
type SessionTags struct {
	// clusterName is the value of the tag kubernetes-cluster.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[\\\\p{L}\\\\p{Z}\\\\p{N}_.:/=+@-]*$')",message="clusterName may contain letters, digits, spaces and any of _.:/=+-@"
	// +required
	ClusterName string `json:"clusterName,omitempty"`

	// transitive makes the tags transitive: AWS passes them on when the session assumes another role.
	//
	// +optional
	Transitive bool `json:"transitive,omitempty"`
}
