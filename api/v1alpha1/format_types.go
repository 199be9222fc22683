package v1alpha1

// Format is a set of keys of a Secret, named after the program that reads them. docs/formats.md lists the keys of
// each format.
//
// +kubebuilder:validation:Enum=Env;Region;SharedCredentials;CredentialProcess;KEDA;CloudNativePG;Velero;Crossplane
type Format string

// The formats, and the keys that each writes.
const (
	// FormatEnv is AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN: the environment variables that AWS
	// SDKs and tools read once, when they start (AWS SDKs and Tools Reference Guide, 'AWS access keys').
	FormatEnv Format = "Env"
	// FormatRegion is AWS_REGION and AWS_DEFAULT_REGION, with the region of the identity (AWS SDKs and Tools Reference Guide,
	// 'AWS Region').
	FormatRegion Format = "Region"
	// FormatSharedCredentials is credentials: the file that AWS_SHARED_CREDENTIALS_FILE names. SDKs read it once, when
	// they start (AWS SDKs and Tools Reference Guide, 'Shared config and credentials files').
	FormatSharedCredentials Format = "SharedCredentials"
	// FormatCredentialProcess is config, the file that AWS_CONFIG_FILE names, and credential_process.json. SDKs run
	// cat on the latter through config, and read it again when it expires (AWS SDKs and Tools Reference Guide,
	// 'Process credential provider').
	FormatCredentialProcess Format = "CredentialProcess"
	// FormatKEDA is awsAccessKeyID, awsSecretAccessKey and awsSessionToken: the parameters of a TriggerAuthentication.
	FormatKEDA Format = "KEDA"
	// FormatCloudNativePG is ACCESS_KEY_ID, ACCESS_SECRET_KEY and ACCESS_SESSION_TOKEN.
	FormatCloudNativePG Format = "CloudNativePG"
	// FormatVelero is cloud: a file like that of SharedCredentials.
	FormatVelero Format = "Velero"
	// FormatCrossplane is creds: a file like that of SharedCredentials.
	FormatCrossplane Format = "Crossplane"
)

// DefaultMountPath is where FormatCredentialProcess expects the Secret to be mounted if the spec has no mountPath.
const DefaultMountPath = "/var/run/secrets/aws"

// DataTemplate is a Go template of a key's value. docs/formats.md describes the supported fields and functions. If
// it fails, the condition Ready has the reason InvalidTemplate.
//
// +kubebuilder:validation:MaxLength=4096
// +kubebuilder:validation:XValidation:rule="self.matches('[^ \\t\\r\\n]')",message="a value of data must not be empty: set a template. In a Helm chart, escape {{ }}, as in {{ `{{.AccessKeyID}}` }}"
type DataTemplate string
