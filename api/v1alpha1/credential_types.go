package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What users and the operator write on objects.
const (
	// RefreshAnnotation on a credential asks for a refresh now; any new value asks once.
	RefreshAnnotation = "sts.rolecredential.dev/refresh-requested-at"
	// AdoptAnnotation on a Secret hands it over to the credential that its value names, as <kind>/<name>.
	AdoptAnnotation = "sts.rolecredential.dev/adopt"
	// ManagedByLabel with the value [ManagedByValue] is on every Secret that the operator keeps.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedByValue is the value of [ManagedByLabel].
	ManagedByValue = "rolecredential"
)

// IdentityKind is the kind of an identity.
//
// +kubebuilder:validation:Enum=ClusterIdentity;Identity
type IdentityKind string

// The kinds of identities.
const (
	// IdentityKindClusterIdentity is the cluster-scoped identity, shared by the namespaces that its rules allow.
	IdentityKindClusterIdentity IdentityKind = "ClusterIdentity"
	// IdentityKindIdentity is a namespace's own identity.
	IdentityKindIdentity IdentityKind = "Identity"
)

// DefaultIdentityName is the name of the identity that a credential uses when it names none.
const DefaultIdentityName = "default"

// CredentialSpec is what the specs of all credential kinds share.
type CredentialSpec struct {
	// identityRef names the identity to call STS as.
	//
	// +kubebuilder:default={}
	// +optional
	IdentityRef IdentityReference `json:"identityRef,omitempty,omitzero"`

	// refreshBefore is how long before its expiry a credential is refreshed: at least 1m, and less than the duration. The
	// default is a third of the real lifetime. A refresh comes up to a tenth earlier than that, spread evenly over the
	// credentials, and never before a tenth of the lifetime has passed.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$')",message="refreshBefore is whole hours, minutes and seconds, such as 20m or 1h30m"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || duration(self) >= duration('1m')",message="refreshBefore must be at least 1m"
	// +optional
	RefreshBefore *metav1.Duration `json:"refreshBefore,omitempty"`

	// secret describes the Secret to keep.
	//
	// +optional
	Secret SecretTemplate `json:"secret,omitempty,omitzero"`

	// rollout restarts the workloads that hold the Secret as environment variables, after a refresh and before the former
	// credential expires.
	//
	// +optional
	Rollout *Rollout `json:"rollout,omitempty"`

	// suspend stops refreshing and keeps the Secret, which expires in its time.
	//
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// IdentityReference names an identity.
type IdentityReference struct {
	// kind of the identity.
	//
	// +kubebuilder:default=ClusterIdentity
	// +optional
	Kind IdentityKind `json:"kind,omitempty"`

	// name of the identity.
	//
	// +kubebuilder:default=default
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="identityRef.name must be a name that an identity can have: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
	// +optional
	Name string `json:"name,omitempty"`
}

// SecretTemplate describes the Secret that a credential keeps.
//
// +kubebuilder:validation:XValidation:rule="!has(self.data) || ![['Env', 'AWS_ACCESS_KEY_ID'], ['Env', 'AWS_SECRET_ACCESS_KEY'], ['Env', 'AWS_SESSION_TOKEN'], ['Region', 'AWS_REGION'], ['Region', 'AWS_DEFAULT_REGION'], ['SharedCredentials', 'credentials'], ['CredentialProcess', 'config'], ['CredentialProcess', 'credential_process.json'], ['KEDA', 'awsAccessKeyID'], ['KEDA', 'awsSecretAccessKey'], ['KEDA', 'awsSessionToken'], ['CloudNativePG', 'ACCESS_KEY_ID'], ['CloudNativePG', 'ACCESS_SECRET_KEY'], ['CloudNativePG', 'ACCESS_SESSION_TOKEN'], ['Velero', 'cloud'], ['Crossplane', 'creds']].exists(p, p[0] in (has(self.formats) ? self.formats : ['Env']) && p[1] in self.data)",fieldPath=".data",message="a key of data is one that a format of this Secret writes already: choose another key, or leave the format out"
// +kubebuilder:validation:XValidation:rule="!has(self.mountPath) || (has(self.formats) && 'CredentialProcess' in self.formats)",fieldPath=".mountPath",message="mountPath goes with the format CredentialProcess: add that to formats, or leave mountPath out"
type SecretTemplate struct {
	// name of the Secret. The default is the credential's own name. When it changes, the old Secret is removed once the new
	// one stands.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="secret.name must be a name that a Secret can have: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
	// +optional
	Name string `json:"name,omitempty"`

	// labels to put on the Secret.
	//
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, k != 'app.kubernetes.io/managed-by' && !k.startsWith('sts.rolecredential.dev/'))",message="the labels app.kubernetes.io/managed-by and sts.rolecredential.dev/* are the operator's own: choose another key"
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// annotations to put on the Secret.
	//
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('sts.rolecredential.dev/'))",message="annotations under sts.rolecredential.dev/ are the operator's own: choose another key"
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// formats of the credential, each a set of keys in the Secret: Env, Region, SharedCredentials, CredentialProcess, KEDA,
	// CloudNativePG, Velero and Crossplane. The default is Env alone, and a list that is given replaces it.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=set
	// +optional
	Formats []Format `json:"formats,omitempty"`

	// mountPath is where the pods that use the format CredentialProcess mount the Secret. The default is /var/run/secrets/aws.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^(/[A-Za-z0-9._-]+)+$')",message="mountPath must be an absolute path without a '/' at its end, of letters, digits, '.', '_' and '-': some SDKs run it through a shell and some do not, and no quoting suits both"
	// +optional
	MountPath string `json:"mountPath,omitempty"`

	// data are further keys of the Secret, each with a Go template of its value, such as "{{.AccessKeyID}}:{{.SecretAccessKey}}".
	// There are the fields AccessKeyID, SecretAccessKey, SessionToken, Expiration, Region, AccountID and PrincipalARN, and the
	// functions base64, json, lower, print, upper and urlquery, with if, and, or, not, eq and ne.
	//
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 253 && k.matches('^[-._a-zA-Z0-9]+$') && k != '.' && !k.startsWith('..'))",message="each key of data must be a key that a Secret can have: at most 253 letters, digits, '-', '_' and '.', and neither '.' nor beginning with '..'"
	// +optional
	Data map[string]DataTemplate `json:"data,omitempty"`
}

// FailedCall is an STS call that failed.
type FailedCall struct {
	// call is the name of the call, such as AssumeRole or AssumeRoleWithWebIdentity.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	Call string `json:"call,omitempty"`

	// roleARN is the role that the call is for: the credential's own, or a hop of the identity's chain. It is absent for a call
	// without a role.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	RoleARN string `json:"roleARN,omitempty"`

	// callerARN is the identity's ARN in AWS. It is absent if that is not known, and for a hop.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	CallerARN string `json:"callerARN,omitempty"`
}

// CredentialStatus is what the statuses of all credential kinds share. It is a report: the operator decides from the spec, the
// identity and the Secret. It reads the status to see what it reported before, and takes a credential without conditions for new.
type CredentialStatus struct {
	// conditions are Authorized, Issued and Ready, and RolledOut if spec.rollout asks for restarts.
	//
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// failedCall is the STS call that failed when Issued is False. It is absent if the operator did not call STS.
	//
	// +optional
	FailedCall *FailedCall `json:"failedCall,omitempty"`

	// observedGeneration is the generation of the spec that this status reports on.
	//
	// +kubebuilder:validation:Minimum=1
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// secretName is the name of the Secret that holds the credential.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	SecretName string `json:"secretName,omitempty"`

	// accessKeyID of the credential in the Secret: not secret, and what CloudTrail shows.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	AccessKeyID string `json:"accessKeyID,omitempty"`

	// principalARN is the assumed-role ARN that STS gave the session. Servers that are not AWS may give none.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	PrincipalARN string `json:"principalARN,omitempty"`

	// packedPolicySize is how much, in percent, session policies and tags take of the space that STS has for them. At 100
	// STS refuses the request.
	//
	// +kubebuilder:validation:Minimum=0
	// +optional
	PackedPolicySize *int32 `json:"packedPolicySize,omitempty"`

	// expiration of the credential in the Secret, as STS gave it.
	//
	// +optional
	Expiration *metav1.Time `json:"expiration,omitempty"`

	// lastRefreshTime is when the credential in the Secret was issued.
	//
	// +optional
	LastRefreshTime *metav1.Time `json:"lastRefreshTime,omitempty"`

	// nextRefreshTime is when the credential in the Secret is due. There is none while refreshing is suspended.
	//
	// +optional
	NextRefreshTime *metav1.Time `json:"nextRefreshTime,omitempty"`

	// lastHandledRefreshRequest is the value of the annotation sts.rolecredential.dev/refresh-requested-at that was last
	// answered with a new credential, of a longer value its first 256 bytes.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +optional
	LastHandledRefreshRequest string `json:"lastHandledRefreshRequest,omitempty"`
}
