package advice

// holders is the step of finding the pods that hold an earlier credential.
func (s Situation) holders() Step {
	return Step{Do: "See which pods hold an earlier credential, and until when.", Copy: kubectl("rolecred", "readers", s.subject(), "-n", s.namespace())}
}

func targetNotFound(s Situation) answer {
	return answer{
		means: "spec.rollout.targets names a workload that does not exist. Others are restarted all the same.",
		here: []Step{
			{Do: "See which workloads there are.", Copy: kubectl("get", "deployments,statefulsets,daemonsets", "-n", s.namespace())},
			{Do: "Create the one that the message names, or take it out of spec.rollout.targets.", Copy: s.edit()},
		},
	}
}

func rolloutForbidden(s Situation) answer {
	return answer{
		means: "The operator may not read or restart the workloads that spec.rollout asks it to. The credential itself is not concerned.",
		here: []Step{
			{Do: "See whether it may; the ClusterRole rollout-role of the manifests lets it, where it is bound.",
				Copy: lines(s.operatorCan("patch", "deployments"), s.operatorCan("list", "pods"))},
			{Do: "Have it bound: config/rbac/rollout_role.yaml with its binding.", Copy: "kubectl apply -k config/default"},
			{Do: "Or take spec.rollout out, and restart the workloads in another way.", Copy: s.patch(`{"rollout":null}`)},
		},
	}
}

func contended(s Situation) answer {
	return answer{
		means: "Something keeps undoing the restart of a workload: it removes the operator's annotation, or changes spec.restartAt of a Rollout. The operator leaves the workload alone until the next refresh.",
		here: []Step{
			{Do: "See who writes the workload that the message names.", Copy: kubectl("get", "deployment", "NAME", "-n", s.namespace(), "--show-managed-fields", "-o", `jsonpath={range .metadata.managedFields[*]}{.manager}{" "}{.operation}{"\n"}{end}`)},
			{Do: "Have it leave the annotation. In an Application of Argo CD:", Copy: "ignoreDifferences:\n- group: apps\n  kind: Deployment\n  managedFieldsManagers: [rolecredential-rollout]\nsyncPolicy:\n  syncOptions: [RespectIgnoreDifferences=true]"},
			{Do: "Until then restart it by hand.", Copy: kubectl("rollout", "restart", "deployment/NAME", "-n", s.namespace())},
		},
	}
}

func podsOutdated(s Situation) answer {
	return answer{
		means: "Pods hold an earlier credential and are not going to be restarted, or were not in time. They fail when it expires.",
		here: []Step{
			s.holders(),
			{Do: "Resume or mend the workloads that the message names: one that is paused, or makes no progress.", Copy: kubectl("rollout", "resume", "deployment/NAME", "-n", s.namespace())},
			{Do: "Delete the pods of a workload with the strategy OnDelete, which then makes others, and start anew those that are of no workload.", Copy: kubectl("delete", "pod", "NAME", "-n", s.namespace())},
		},
	}
}
