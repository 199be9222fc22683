package advice

// findStalePods is the step of finding the stale pods.
func (s Situation) findStalePods() Step {
	return Step{Do: "List the stale pods, and when their credentials expire.", Copy: kubectl("rolecred", "readers", s.subject(), "-n", s.namespace())}
}

func targetNotFound(s Situation) guidance {
	return guidance{
		means: "spec.rollout.targets names a workload that does not exist. The operator restarts the other targets.",
		cluster: []Step{
			{Do: "List the workloads.", Copy: kubectl("get", "deployments,statefulsets,daemonsets", "-n", s.namespace())},
			{Do: "Create the workload that the message names, or remove it from spec.rollout.targets.", Copy: s.edit()},
		},
	}
}

func discoveryTooLarge(s Situation) guidance {
	return guidance{
		means: "The pods of the namespace are larger than what the operator reads to find workloads. It restarts none.",
		cluster: []Step{
			{Do: "List the workloads.", Copy: kubectl("get", "deployments,statefulsets,daemonsets", "-n", s.namespace())},
			{Do: "Name the workloads to restart in spec.rollout.targets, and remove spec.rollout.discover.", Copy: s.edit()},
		},
	}
}

func rolloutForbidden(s Situation) guidance {
	return guidance{
		means: "The operator may not read or restart the workloads of spec.rollout. The credential itself is not affected.",
		cluster: []Step{
			{Do: "Check the operator's permissions. The ClusterRole rolecredential-rollout-role grants them; it is not bound by default.",
				Copy: lines(s.operatorCan("patch", "deployments"), s.operatorCan("list", "pods"))},
			{Do: "Bind that role in this namespace. For all namespaces, use the chart value rbac.rollout or the kustomize component rollout.", Copy: s.bind("rolecredential-rollout-role")},
			{Do: "Or remove spec.rollout, and restart the workloads in another way.", Copy: s.patch(`{"rollout":null}`)},
		},
	}
}

func contended(s Situation) guidance {
	return guidance{
		means: "Another writer keeps undoing the restart of a workload: it removes the operator's annotation, or changes spec.restartAt of a Rollout. The operator does not restart the workload again until the next refresh.",
		cluster: []Step{
			{Do: "Find the field managers of the workload that the message names.", Copy: kubectl("get", "deployment", "NAME", "-n", s.namespace(), "--show-managed-fields", "-o", `jsonpath={range .metadata.managedFields[*]}{.manager}{" "}{.operation}{"\n"}{end}`)},
			{Do: "Configure that writer to keep the annotation. In an Application of Argo CD:", Copy: "ignoreDifferences:\n- group: apps\n  kind: Deployment\n  managedFieldsManagers: [rolecredential-rollout]\nsyncPolicy:\n  syncOptions: [RespectIgnoreDifferences=true]"},
			{Do: "Until then, restart the workload by hand.", Copy: kubectl("rollout", "restart", "deployment/NAME", "-n", s.namespace())},
		},
	}
}

func podsOutdated(s Situation) guidance {
	return guidance{
		means: "Stale pods were not restarted, or not in time. They fail when their credentials expire.",
		cluster: []Step{
			s.findStalePods(),
			{Do: "Fix the workloads that the message names. Resume one that is paused.", Copy: kubectl("rollout", "resume", "deployment/NAME", "-n", s.namespace())},
			{Do: "For a workload with the strategy OnDelete, delete its pods; it creates new ones. Recreate stale pods that have no workload.", Copy: kubectl("delete", "pod", "NAME", "-n", s.namespace())},
		},
	}
}
