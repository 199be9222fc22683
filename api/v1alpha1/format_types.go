package v1alpha1

// Format is a set of keys of a Secret, named after what reads them. What each holds is in docs/formats.md.
//
// +kubebuilder:validation:Enum=Env;Region;SharedCredentials;CredentialProcess;KEDA;CloudNativePG;Velero;Crossplane
type Format string

// Formats, and the keys that each writes.
const (
	// FormatEnv is AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN: the environment variables that AWS SDKs and
	// tools read, once, at their start (AWS SDKs and Tools Reference Guide, 'AWS access keys').
	FormatEnv Format = "Env"
	// FormatRegion is AWS_REGION and AWS_DEFAULT_REGION, with the region of the identity (AWS SDKs and Tools Reference Guide,
	// 'AWS Region').
	FormatRegion Format = "Region"
	// FormatSharedCredentials is credentials: the file that AWS_SHARED_CREDENTIALS_FILE names, which SDKs read once, at their
	// start (AWS SDKs and Tools Reference Guide, 'Shared config and credentials files').
	FormatSharedCredentials Format = "SharedCredentials"
	// FormatCredentialProcess is config, the file that AWS_CONFIG_FILE names, and credential_process.json, which SDKs read by way
	// of it, and again at its expiration (AWS SDKs and Tools Reference Guide, 'Process credential provider').
	FormatCredentialProcess Format = "CredentialProcess"
	// FormatKEDA is awsAccessKeyID, awsSecretAccessKey and awsSessionToken: the parameters of a TriggerAuthentication (KEDA
	// documentation, 'AWS SQS Queue', 'Authentication Parameters').
	FormatKEDA Format = "KEDA"
	// FormatCloudNativePG is ACCESS_KEY_ID, ACCESS_SECRET_KEY and ACCESS_SESSION_TOKEN (CloudNativePG documentation, 'Object Store
	// Providers', 'AWS S3').
	FormatCloudNativePG Format = "CloudNativePG"
	// FormatVelero is cloud: a file like that of FormatSharedCredentials (Velero documentation, 'Install CLI flags', the Secret
	// cloud-credentials).
	FormatVelero Format = "Velero"
	// FormatCrossplane is creds: a file like that of FormatSharedCredentials (Crossplane documentation, 'Get Started With Managed
	// Resources', 'Save the provider's credentials').
	FormatCrossplane Format = "Crossplane"
)

// DefaultMountPath is where FormatCredentialProcess expects the Secret to be mounted when the spec names no other path.
const DefaultMountPath = "/var/run/secrets/aws"

// DataTemplate is a Go template of a key's value. What it may say is in docs/formats.md; what the schema cannot tell of it is in
// [ReasonInvalidTemplate].
//
// +kubebuilder:validation:MaxLength=4096
// +kubebuilder:validation:XValidation:rule="self.matches('[^ \\t\\r\\n]')",message="a value of data must not be empty: give it a template. A Helm chart evaluates {{ }} itself: escape the template there, as in {{ `{{.AccessKeyID}}` }}"
type DataTemplate string
