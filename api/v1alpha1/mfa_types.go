package v1alpha1

// MFA is the virtual MFA device of the IAM user whose access key the identity uses. The operator computes the current
// code from the device's seed (RFC 6238).
type MFA struct {
	// serialNumber of the device. For a virtual device it is the ARN, such as arn:aws:iam::123456789012:mfa/alice.
	//
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_+=/:,.@-]*$')",message="serialNumber may contain letters, digits and any of _+=/:,.@-: for a virtual device it is an ARN such as arn:aws:iam::123456789012:mfa/alice"
	// +required
	SerialNumber string `json:"serialNumber,omitempty"`

	// totpSecretRef names a key of a Secret in the credential's namespace that contains the device's seed: the base32
	// text that AWS calls the secret configuration key.
	//
	// +required
	TOTPSecretRef SecretKeyReference `json:"totpSecretRef,omitzero"`
}

// SecretKeyReference names a key of a Secret in the same namespace.
type SecretKeyReference struct {
	// name of the Secret.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="totpSecretRef.name must be a valid Secret name: lower-case letters, digits, '-' and '.', starting and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`

	// key in the Secret's data.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",message="totpSecretRef.key must be a valid key of a Secret: letters, digits, '-', '_' and '.'; not '.' and not starting with '..'"
	// +required
	Key string `json:"key,omitempty"`
}
