package v1alpha1

// Hop is a role on the way from an identity's source to the role that a credential asks for.
//
// +kubebuilder:validation:XValidation:rule="!has(self.transitiveTagKeys) || self.transitiveTagKeys.all(k, has(self.tags) && self.tags.exists(t, t.key == k))",fieldPath=".transitiveTagKeys",message="each of transitiveTagKeys must be the key of one of tags, in the same capitals: add the tag, or leave the key out"
type Hop struct {
	// roleARN is the ARN of the role to assume. Without an endpoint it must have AWS's form.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]*$')",message="roleARN may hold printable ASCII characters other than spaces, as in arn:aws:iam::123456789012:role/S3Reader"
	// +required
	RoleARN string `json:"roleARN,omitempty"`

	// sessionName is the name of the hop's session, which CloudTrail shows. The default is rolecredential.<identity>.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_+=,.@-]*$')",message="sessionName may hold letters, digits and any of _+=,.@-"
	// +optional
	SessionName string `json:"sessionName,omitempty"`

	// externalID is the external id that the hop's trust policy asks for.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=1224
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_+=,.@:/-]*$')",message="externalID may hold letters, digits and any of _+=,.@:/-"
	// +optional
	ExternalID string `json:"externalID,omitempty"`

	// tags are session tags, at most 50. The hop's trust policy must allow sts:TagSession.
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
}

// SessionTags stamps tags on the sessions of roles and federated users, which trust policies and permissions may rest on:
// kubernetes-cluster, kubernetes-namespace, kubernetes-name, kubernetes-uid and kubernetes-kind. No credential may ask for a
// tag of these keys itself, also of an identity that stamps none.
type SessionTags struct {
	// clusterName is the value of the tag kubernetes-cluster.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[\\\\p{L}\\\\p{Z}\\\\p{N}_.:/=+@-]*$')",message="clusterName is a tag's value, which may hold letters, digits, spaces and any of _.:/=+-@"
	// +required
	ClusterName string `json:"clusterName,omitempty"`

	// transitive makes the tags go along when the session of a role assumes a further role.
	//
	// +optional
	Transitive bool `json:"transitive,omitempty"`
}
