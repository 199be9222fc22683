package v1alpha1

// CredentialsAnnotation on the pod template of a workload, and so on its pods, names the credential that its pods
// start with: a JSON object from the names of Secrets to the access key IDs in them. The operator writes it to
// restart the workload, as the field manager rolecredential-rollout. An Argo Rollout has it on the Rollout itself,
// beside spec.restartAt.
const CredentialsAnnotation = "sts.rolecredential.dev/credentials"

// Rollout defines the workloads of the credential's namespace that the operator restarts after a refresh. Without a
// restart, their containers keep the values that the Secret had when they started.
//
// +kubebuilder:validation:XValidation:rule="has(self.targets) || (has(self.discover) && self.discover)",message="rollout must set targets, or discover: true"
type Rollout struct {
	// targets are workloads to restart, however their pods use the Secret.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +optional
	Targets []WorkloadReference `json:"targets,omitempty"`

	// discover restarts every Deployment, StatefulSet, DaemonSet and Argo Rollout of the namespace whose pods read
	// the Secret when they start: with envFrom, with valueFrom, or from a volume that is mounted with subPath. The
	// operator checks the pods, not the pod template.
	//
	// +optional
	Discover bool `json:"discover,omitempty"`
}

// WorkloadKind is the kind of a workload that the operator can restart: a kind of apps/v1 by a change of the pod
// template, an Argo Rollout by spec.restartAt.
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
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="name must be a valid workload name: lower-case letters, digits, '-' and '.', starting and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`
}
