package v1alpha1

// CredentialsAnnotation on the pod template of a workload, and so on its pods, names the credential that its pods start with: a
// JSON object from the names of Secrets to the access key ids of the credentials in them. The operator writes it to restart the
// workload, as the field manager rolecredential-rollout. On an Argo Rollout it is an annotation of the Rollout itself, beside
// spec.restartAt.
const CredentialsAnnotation = "sts.rolecredential.dev/credentials"

// Rollout defines which workloads of the credential's namespace the operator restarts after a refresh, since their pods keep what
// the Secret held when their containers started.
//
// +kubebuilder:validation:XValidation:rule="has(self.targets) || (has(self.discover) && self.discover)",message="rollout must name targets, or set discover: it restarts nothing otherwise"
type Rollout struct {
	// targets are workloads to restart, however their pods read the Secret.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +optional
	Targets []WorkloadReference `json:"targets,omitempty"`

	// discover restarts every workload of these kinds in the namespace whose pods read the Secret at their start: in envFrom, in
	// valueFrom, or as a volume that is mounted by subPath. The pods themselves decide, and not the pod template.
	//
	// +optional
	Discover bool `json:"discover,omitempty"`
}

// WorkloadKind is the kind of a workload that the operator can restart: of apps/v1, by a change of the pod template, or an Argo
// Rollout of argoproj.io/v1alpha1, by spec.restartAt.
//
// +kubebuilder:validation:Enum=Deployment;StatefulSet;DaemonSet;Rollout
type WorkloadKind string

// The kinds of workloads.
const (
	WorkloadDeployment  WorkloadKind = "Deployment"
	WorkloadStatefulSet WorkloadKind = "StatefulSet"
	WorkloadDaemonSet   WorkloadKind = "DaemonSet"
	WorkloadRollout     WorkloadKind = "Rollout"
)

// WorkloadReference names a workload in the credential's namespace.
type WorkloadReference struct {
	// kind of the workload: Deployment, StatefulSet or DaemonSet of apps/v1, or Rollout of argoproj.io/v1alpha1.
	//
	// +required
	Kind WorkloadKind `json:"kind,omitempty"`

	// name of the workload.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="name must be a name that a workload of this namespace can have: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`
}
