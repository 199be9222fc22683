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
