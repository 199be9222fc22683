package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations and labels that users and the operator write.
const (
	// RefreshAnnotation on a credential requests a refresh: each new value triggers one immediate refresh.
	RefreshAnnotation = "sts.rolecredential.dev/refresh-requested-at"
	// AdoptAnnotation on a Secret lets the credential that its value names, as <kind>/<name>, adopt the Secret.
	AdoptAnnotation = "sts.rolecredential.dev/adopt"
	// ManagedByLabel with the value [ManagedByValue] is on every Secret that the operator writes.
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
	// IdentityKindClusterIdentity is the cluster-scoped identity, which the namespaces of its rules share.
	IdentityKindClusterIdentity IdentityKind = "ClusterIdentity"
	// IdentityKindIdentity is a namespace's own identity.
	IdentityKindIdentity IdentityKind = "Identity"
)

// DefaultIdentityName is the name of the identity that a credential without identityRef uses.
const DefaultIdentityName = "default"

// CredentialSpec is the part of the spec that all credential kinds share.
type CredentialSpec struct {
	// identityRef names the identity that the operator calls STS with.
	//
	// +kubebuilder:default={}
	// +optional
	IdentityRef IdentityReference `json:"identityRef,omitempty,omitzero"`

	// refreshBefore is how long before its expiry the operator refreshes a credential: at least 1m, and less than the
	// duration. The default is a third of the lifetime that STS granted. To spread the load, a refresh may happen up
	// to a tenth of that earlier, but never in the first tenth of the lifetime.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$')",message="refreshBefore must be whole hours, minutes and seconds, such as 20m or 1h30m"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') || duration(self) >= duration('1m')",message="refreshBefore must be at least 1m"
	// +optional
	RefreshBefore *metav1.Duration `json:"refreshBefore,omitempty"`

	// secret describes the Secret that the operator writes.
	//
	// +optional
	Secret SecretTemplate `json:"secret,omitempty,omitzero"`

	// rollout restarts workloads that use the Secret, after a refresh and before the previous credential expires.
	//
	// +optional
	Rollout *Rollout `json:"rollout,omitempty"`

	// suspend stops refreshes. The Secret is kept, but its credentials still expire.
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
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="identityRef.name must be a valid identity name: lower-case letters, digits, '-' and '.', starting and ending with a letter or digit"
	// +optional
	Name string `json:"name,omitempty"`
}

// SecretTemplate describes the Secret that the operator writes for a credential.
//
// +kubebuilder:validation:XValidation:rule="!has(self.data) || ![['Env', 'AWS_ACCESS_KEY_ID'], ['Env', 'AWS_SECRET_ACCESS_KEY'], ['Env', 'AWS_SESSION_TOKEN'], ['Region', 'AWS_REGION'], ['Region', 'AWS_DEFAULT_REGION'], ['SharedCredentials', 'credentials'], ['CredentialProcess', 'config'], ['CredentialProcess', 'credential_process.json'], ['KEDA', 'awsAccessKeyID'], ['KEDA', 'awsSecretAccessKey'], ['KEDA', 'awsSessionToken'], ['CloudNativePG', 'ACCESS_KEY_ID'], ['CloudNativePG', 'ACCESS_SECRET_KEY'], ['CloudNativePG', 'ACCESS_SESSION_TOKEN'], ['Velero', 'cloud'], ['Crossplane', 'creds']].exists(p, p[0] in (has(self.formats) ? self.formats : ['Env']) && p[1] in self.data)",fieldPath=".data",message="a key of data conflicts with a key of one of the formats: choose another key, or remove the format"
// +kubebuilder:validation:XValidation:rule="!has(self.mountPath) || (has(self.formats) && 'CredentialProcess' in self.formats)",fieldPath=".mountPath",message="mountPath requires the format CredentialProcess: add it to formats, or remove mountPath"
type SecretTemplate struct {
	// name of the Secret; the default is the credential's own. After a change, the operator writes the new Secret and
	// then deletes the old one.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="secret.name must be a valid Secret name: lower-case letters, digits, '-' and '.', starting and ending with a letter or digit"
	// +optional
	Name string `json:"name,omitempty"`

	// labels to put on the Secret. The keys app.kubernetes.io/managed-by and sts.rolecredential.dev/* are reserved.
	//
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, k != 'app.kubernetes.io/managed-by' && !k.startsWith('sts.rolecredential.dev/'))",message="the labels app.kubernetes.io/managed-by and sts.rolecredential.dev/* are reserved for the operator: choose another key"
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// annotations to put on the Secret. The keys sts.rolecredential.dev/* are reserved.
	//
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('sts.rolecredential.dev/'))",message="annotations under sts.rolecredential.dev/ are reserved for the operator: choose another key"
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// formats of the credential, each a set of keys in the Secret: Env, Region, SharedCredentials, CredentialProcess,
	// KEDA, CloudNativePG, Velero and Crossplane. A list replaces the default, Env.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=set
	// +optional
	Formats []Format `json:"formats,omitempty"`

	// mountPath is where pods mount the Secret, for the format CredentialProcess. The default is
	// /var/run/secrets/aws.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^(/[A-Za-z0-9._-]+)+$')",message="mountPath must be an absolute path of letters, digits, '.', '_' and '-', without a trailing '/': some SDKs pass it through a shell, so that no quoting works for all"
	// +optional
	MountPath string `json:"mountPath,omitempty"`

	// data are additional keys of the Secret, each with a Go template of its value, such as
	// "{{.AccessKeyID}}:{{.SecretAccessKey}}". The fields are AccessKeyID, SecretAccessKey, SessionToken, Expiration,
	// Region, AccountID and PrincipalARN. The functions are base64, json, lower, print, upper and urlquery, with if,
	// and, or, not, eq and ne.
	//
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 253 && k.matches('^[-._a-zA-Z0-9]+$') && k != '.' && !k.startsWith('..'))",message="each key of data must be a valid key of a Secret: at most 253 letters, digits, '-', '_' and '.'; not '.' and not starting with '..'"
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

	// roleARN is the role that the call is for: the credential's own, or a hop of the identity's chain. It is absent
	// for a call without a role.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	RoleARN string `json:"roleARN,omitempty"`

	// callerARN is the ARN of the identity. It is absent if the operator does not know it, and for a hop.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	CallerARN string `json:"callerARN,omitempty"`
}

// CredentialStatus is the part of the status that all credential kinds share. The operator decides from the spec, the
// identity and the Secret, not from the status.
type CredentialStatus struct {
	// conditions are Authorized, Issued and Ready, and RolledOut if spec.rollout is set.
	//
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// failedCall is the STS call that failed when Issued is False. It is absent if the operator did not call STS.
	//
	// +optional
	FailedCall *FailedCall `json:"failedCall,omitempty"`

	// observedGeneration is the generation of the spec that the operator last processed.
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

	// accessKeyID of the credential in the Secret, as CloudTrail shows it. It is not a secret.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	AccessKeyID string `json:"accessKeyID,omitempty"`

	// principalARN is the assumed-role ARN or federated-user ARN of the session, as STS returned it. STS-compatible
	// servers may return none.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	PrincipalARN string `json:"principalARN,omitempty"`

	// packedPolicySize is the share, in percent, of the size limit of STS that session policies and tags use. Above
	// 100, STS rejects the request.
	//
	// +kubebuilder:validation:Minimum=0
	// +optional
	PackedPolicySize *int32 `json:"packedPolicySize,omitempty"`

	// expiration of the credential in the Secret, as STS returned it.
	//
	// +optional
	Expiration *metav1.Time `json:"expiration,omitempty"`

	// lastRefreshTime is when STS issued the credential in the Secret.
	//
	// +optional
	LastRefreshTime *metav1.Time `json:"lastRefreshTime,omitempty"`

	// nextRefreshTime is when the operator refreshes the credential. It is absent while spec.suspend is set.
	//
	// +optional
	NextRefreshTime *metav1.Time `json:"nextRefreshTime,omitempty"`

	// lastHandledRefreshRequest is the value of the annotation sts.rolecredential.dev/refresh-requested-at that
	// triggered the last requested refresh, cut to 256 bytes.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +optional
	LastHandledRefreshRequest string `json:"lastHandledRefreshRequest,omitempty"`
}
