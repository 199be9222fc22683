// Package config_test compares the manifests of kustomize and of the Helm chart with the code and with each other.
package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/testbed"
)

// objects are manifests by kind, namespace and name.
type objects map[string]*unstructured.Unstructured

func parse(g *WithT, text []byte) objects {
	found := objects{}
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return found
		}
		g.Expect(err).NotTo(HaveOccurred())
		if len(object.Object) == 0 {
			continue
		}
		key := strings.Join([]string{object.GetKind(), object.GetNamespace(), object.GetName()}, "/")
		g.Expect(found).NotTo(HaveKey(key))
		found[key] = object
	}
}

func (o objects) ofKind(kind string) []*unstructured.Unstructured {
	var found []*unstructured.Unstructured
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if o[key].GetKind() == kind {
			found = append(found, o[key])
		}
	}
	return found
}

// output runs a program whose path, or folder, is in an environment variable, and returns its output.
func output(t *testing.T, variable, name string, args ...string) []byte {
	t.Helper()
	program := os.Getenv(variable)
	if variable != "KUBEBUILDER_ASSETS" {
		program = testbed.Program(t, variable)
	} else if program == "" {
		t.Fatal("KUBEBUILDER_ASSETS must name a folder with etcd, kube-apiserver and kubectl: run make test, which sets it")
	}
	if filepath.Base(program) != name {
		program = filepath.Join(program, name)
	}
	cmd := exec.Command(program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, stderr.String())
	}
	return out
}

func kustomize(t *testing.T, dir string) objects {
	t.Helper()
	return parse(NewWithT(t), output(t, "KUBEBUILDER_ASSETS", "kubectl", "kustomize", dir))
}

func chart(t *testing.T, release string, args ...string) objects {
	t.Helper()
	args = append([]string{"template", release, "chart", "--namespace=rolecredential-system"}, args...)
	return parse(NewWithT(t), output(t, "HELM", "helm", args...))
}

// withoutHelmFields removes the labels and annotations that only Helm adds.
func withoutHelmFields(object *unstructured.Unstructured) *unstructured.Unstructured {
	fields := [][]string{{"metadata"}, {"spec", "template", "metadata"}}
	for _, field := range fields {
		for _, label := range []string{"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"} {
			unstructured.RemoveNestedField(object.Object, append(slices.Clone(field), "labels", label)...)
		}
		unstructured.RemoveNestedField(object.Object, append(slices.Clone(field), "annotations", "helm.sh/resource-policy")...)
	}
	return object
}

func TestChartInstallsSameObjectsAsKustomize(t *testing.T) {
	for name, tc := range map[string]struct {
		folder string
		args   []string
		// only are the kinds to compare; nil for all kinds except Namespace, which Helm creates itself.
		only []string
	}{
		"for all namespaces":   {folder: "default"},
		"with all permissions": {folder: "complete", args: []string{"--set", "rbac.serviceAccountTokens=true,rbac.rollout=true"}},
		"for some namespaces":  {folder: "namespaced", args: []string{"--set", "watchNamespaces={team-a,team-b}"}},
		"for Prometheus and Grafana": {
			folder: monitoringOverlay(t), args: []string{"--set", "prometheus.serviceMonitor=true,prometheus.rules=true,prometheus.dashboard=true"},
			only: []string{"ServiceMonitor", "PrometheusRule", "ConfigMap"},
		},
		"the admission policy": {
			folder: "admission", args: []string{"--set", "admissionPolicy.enabled=true"},
			only: []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
		},
		"without the annotation that keeps CRDs": {folder: "default", args: []string{"--set", "crds.keep=false"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			want := kustomize(t, tc.folder)
			delete(want, "Namespace//rolecredential-system")
			got := chart(t, "rolecredential", append(tc.args, "--set", "image.repository=controller,image.tag=latest")...)
			for key, object := range got {
				got[key] = withoutHelmFields(object)
			}
			for _, list := range []objects{want, got} {
				maps.DeleteFunc(list, func(_ string, o *unstructured.Unstructured) bool {
					return tc.only != nil && !slices.Contains(tc.only, o.GetKind())
				})
			}
			g.Expect(len(want)).To(BeNumerically(">=", max(1, len(tc.only))))
			g.Expect(slices.Sorted(maps.Keys(got))).To(Equal(slices.Sorted(maps.Keys(want))))
			for key := range want {
				g.Expect(cmp.Diff(want[key].Object, got[key].Object)).To(BeEmpty(), key)
			}
		})
	}
}

// monitoringOverlay returns a folder with the Prometheus and Grafana parts that config/default has commented out.
func monitoringOverlay(t *testing.T) string {
	t.Helper()
	g := NewWithT(t)
	dir := filepath.Join(t.TempDir(), "monitored")
	for _, name := range []string{"prometheus", "grafana"} {
		g.Expect(os.CopyFS(filepath.Join(filepath.Dir(dir), name), os.DirFS(name))).To(Succeed())
	}
	g.Expect(os.Mkdir(dir, 0o755)).To(Succeed())
	text := "namespace: rolecredential-system\nnamePrefix: rolecredential-\nresources: [../prometheus, ../grafana]\n"
	g.Expect(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644)).To(Succeed())
	return dir
}

func TestUninstallKeepsCRDsByDefault(t *testing.T) {
	for keep, want := range map[string]string{"true": "keep", "false": ""} {
		definitions := chart(t, "rolecredential", "--set", "crds.keep="+keep).ofKind("CustomResourceDefinition")
		NewWithT(t).Expect(len(definitions)).To(BeNumerically(">=", 4))
		for _, definition := range definitions {
			NewWithT(t).Expect(definition.GetAnnotations()["helm.sh/resource-policy"]).To(Equal(want), definition.GetName())
		}
	}
}

func TestAlertsLinkToConfiguredRunbooks(t *testing.T) {
	g := NewWithT(t)
	rules := chart(t, "aws", "--set", "prometheus.rules=true,prometheus.runbooks=https://wiki.example.com/,prometheus.labels.release=stack").ofKind("PrometheusRule")
	g.Expect(rules).To(HaveLen(1))
	g.Expect(rules[0].GetLabels()).To(HaveKeyWithValue("release", "stack"))
	text, err := json.Marshal(rules[0])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(text)).To(ContainSubstring(`"runbook_url":"https://wiki.example.com/RoleCredentialExpired.md"`))
	g.Expect(string(text)).NotTo(ContainSubstring("rolecredential.dev/docs"))
}

func TestChartRejectsInvalidValues(t *testing.T) {
	for name, value := range map[string]string{
		"an unknown field":               "replica=3",
		"an empty list of namespaces":    "watchNamespaces={}",
		"a namespace pattern":            "watchNamespaces={team-*}",
		"an argument that is not a flag": "args={manager}",
		"an invalid digest":              "image.digest=v1",
		"a collector that is not a URL":  "tracing.endpoint=collector:4317",
		"a volume without a name":        "volumes[0].configMap.name=ca",
		"a mount without a path":         "volumeMounts[0].name=ca",
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(testbed.Program(t, "HELM"), "template", "rolecredential", "chart", "--set", value)
			printed, err := cmd.CombinedOutput()
			NewWithT(t).Expect(err).To(HaveOccurred())
			NewWithT(t).Expect(string(printed)).To(ContainSubstring("schema"))
		})
	}
}

func TestEachValueOfTheChartIsDocumented(t *testing.T) {
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join("chart", "values.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	var values map[string]any
	g.Expect(yaml.Unmarshal(text, &values)).To(Succeed())
	page, err := os.ReadFile(filepath.Join("..", "docs", "installation.md"))
	g.Expect(err).NotTo(HaveOccurred())
	for name, value := range values {
		fields, isGroup := value.(map[string]any)
		if name == "resources" || name == "nodeSelector" || !isGroup || len(fields) == 0 { // fields of a Pod
			g.Expect(string(page)).To(ContainSubstring("`" + name + "`"))
			continue
		}
		for field := range fields {
			g.Expect(string(page)).To(ContainSubstring("`" + name + "." + field + "`"))
		}
	}
}

func TestReferencedRolesAndServiceAccountsExist(t *testing.T) {
	for name, installed := range map[string]objects{
		"kustomize":                              kustomize(t, "default"),
		"kustomize, for some namespaces":         kustomize(t, "namespaced"),
		"the chart under another name":           chart(t, "aws"),
		"the chart under a long name":            chart(t, strings.Repeat("a", 53)),
		"the chart, for some namespaces":         chart(t, "aws", "--set", "watchNamespaces={team-a,team-b}"),
		"the chart, with one replica and no CRD": chart(t, "aws", "--set", "replicas=1,crds.install=false,priorityClassName="),
		"kustomize, with all permissions":        kustomize(t, "complete"),
		"the chart, with all permissions":        chart(t, "aws", "--set", "rbac.rollout=true,rbac.serviceAccountTokens=true"),
		"the chart, without a NetworkPolicy":     chart(t, "aws", "--set", "networkPolicy.enabled=false"),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for key, object := range installed {
				if object.GetKind() == "Service" {
					g.Expect(len(object.GetName())).To(BeNumerically("<=", 63), key) // RFC 1035 label
				}
				if kind := object.GetKind(); kind != "RoleBinding" && kind != "ClusterRoleBinding" {
					continue
				}
				var binding rbacv1.RoleBinding // of the same form as a ClusterRoleBinding
				g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &binding)).To(Succeed())
				namespace := binding.Namespace
				if binding.RoleRef.Kind == "ClusterRole" {
					namespace = ""
				}
				g.Expect(installed).To(HaveKey(strings.Join([]string{binding.RoleRef.Kind, namespace, binding.RoleRef.Name}, "/")), key)
				g.Expect(installed).To(HaveKey(strings.Join([]string{"ServiceAccount", binding.Subjects[0].Namespace, binding.Subjects[0].Name}, "/")), key)
			}
			deployment := installed.ofKind("Deployment")[0]
			account, _, err := unstructured.NestedString(deployment.Object, "spec", "template", "spec", "serviceAccountName")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(installed).To(HaveKey("ServiceAccount/rolecredential-system/" + account))
		})
	}
}

// deployed returns the manager's container, and the directions of traffic that NetworkPolicies restrict.
func deployed(g *WithT, installed objects) (container corev1.Container, restricted []networkingv1.PolicyType) {
	var deployment appsv1.Deployment
	g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(installed.ofKind("Deployment")[0].Object, &deployment)).To(Succeed())
	for _, object := range installed.ofKind("NetworkPolicy") {
		var policy networkingv1.NetworkPolicy
		g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &policy)).To(Succeed())
		restricted = append(restricted, policy.Spec.PolicyTypes...)
	}
	return deployment.Spec.Template.Spec.Containers[0], restricted
}

func TestManagerEnvironmentHasMemoryLimitAndOptionalCollector(t *testing.T) {
	const collector = "http://collector.observability:4317"
	memory := corev1.EnvVar{Name: "GOMEMLIMIT", ValueFrom: &corev1.EnvVarSource{
		ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1")},
	}}
	for name, tc := range map[string]struct {
		installed objects
		want      []corev1.EnvVar
	}{
		"kustomize":                                 {installed: kustomize(t, "default"), want: []corev1.EnvVar{memory}},
		"the chart":                                 {installed: chart(t, "rolecredential"), want: []corev1.EnvVar{memory}},
		"kustomize, with the tracing patch":         {installed: kustomize(t, withTracing(t)), want: []corev1.EnvVar{memory, {Name: "OTEL_EXPORTER_OTLP_ENDPOINT", Value: collector}}},
		"the chart, with an endpoint":               {installed: chart(t, "rolecredential", "--set", "tracing.endpoint="+collector), want: []corev1.EnvVar{memory, {Name: "OTEL_EXPORTER_OTLP_ENDPOINT", Value: collector}}},
		"the chart, with an endpoint and a sampler": {installed: chart(t, "rolecredential", "--set", "tracing.endpoint="+collector+",env[0].name=OTEL_TRACES_SAMPLER,env[0].value=always_on"), want: []corev1.EnvVar{memory, {Name: "OTEL_EXPORTER_OTLP_ENDPOINT", Value: collector}, {Name: "OTEL_TRACES_SAMPLER", Value: "always_on"}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			container, restricted := deployed(g, tc.installed)
			g.Expect(container.Env).To(Equal(tc.want))
			g.Expect(restricted).To(Equal([]networkingv1.PolicyType{networkingv1.PolicyTypeIngress})) // egress is not restricted
			for _, arg := range container.Args {
				g.Expect(arg).NotTo(HavePrefix("--pprof"))
			}
		})
	}
}

func TestChartMountsVolumes(t *testing.T) {
	g := NewWithT(t)
	const values = "volumes[0].name=ca,volumes[0].configMap.name=ca-bundle,volumeMounts[0].name=ca,volumeMounts[0].mountPath=/etc/ca,volumeMounts[0].readOnly=true"
	var deployment appsv1.Deployment
	rendered := chart(t, "rolecredential", "--set", values).ofKind("Deployment")[0]
	g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(rendered.Object, &deployment, true)).To(Succeed())
	pod := deployment.Spec.Template.Spec
	g.Expect(pod.Volumes).To(Equal([]corev1.Volume{{
		Name: "ca", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "ca-bundle"}}},
	}}))
	g.Expect(pod.Containers[0].VolumeMounts).To(Equal([]corev1.VolumeMount{{Name: "ca", MountPath: "/etc/ca", ReadOnly: true}}))
}

// withTracing returns a copy of config/default with the part marked [TRACING] uncommented.
func withTracing(t *testing.T) string {
	t.Helper()
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.CopyFS(dir, os.DirFS("."))).To(Succeed())
	file := filepath.Join(dir, "default", "kustomization.yaml")
	text, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	before, marked, found := strings.Cut(string(text), "# [TRACING]")
	g.Expect(found).To(BeTrue())
	_, marked, _ = strings.Cut(marked, "\n")
	g.Expect(os.WriteFile(file, []byte(before+regexp.MustCompile("(?m)^# ").ReplaceAllString(marked, "")), 0o600)).To(Succeed())
	return filepath.Join(dir, "default")
}

// The permission to create service account tokens and the permission to change workloads are each equivalent to cluster-admin.
func TestPowerfulRolesAreBoundOnlyOnRequest(t *testing.T) {
	roles := []string{"rolecredential-rollout-role", "rolecredential-serviceaccount-token-role"}
	for name, tc := range map[string]struct {
		installed objects
		want      []string
	}{
		"kustomize":                                 {installed: kustomize(t, "default")},
		"kustomize, for some namespaces":            {installed: kustomize(t, "namespaced")},
		"kustomize, with all permissions":           {installed: kustomize(t, "complete"), want: roles},
		"the chart":                                 {installed: chart(t, "rolecredential")},
		"the chart, for some namespaces":            {installed: chart(t, "rolecredential", "--set", "watchNamespaces={team-a}")},
		"the chart, with rollouts":                  {installed: chart(t, "rolecredential", "--set", "rbac.rollout=true"), want: roles[:1]},
		"the chart, with tokens":                    {installed: chart(t, "rolecredential", "--set", "rbac.serviceAccountTokens=true"), want: roles[1:]},
		"the chart, with tokens in some namespaces": {installed: chart(t, "rolecredential", "--set", "rbac.serviceAccountTokens=true,watchNamespaces={team-a}"), want: roles[1:]},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			bound := []string{}
			for _, binding := range append(tc.installed.ofKind("ClusterRoleBinding"), tc.installed.ofKind("RoleBinding")...) {
				role, _, err := unstructured.NestedString(binding.Object, "roleRef", "name")
				g.Expect(err).NotTo(HaveOccurred())
				if slices.Contains(roles, role) {
					bound = append(bound, role)
				}
			}
			g.Expect(bound).To(ConsistOf(tc.want))
			for _, role := range roles { // the condition and the documentation name them
				g.Expect(tc.installed).To(HaveKey("ClusterRole//" + role))
			}
		})
	}
}

func TestManagerMayWriteInWatchedNamespaces(t *testing.T) {
	g := NewWithT(t)
	installed := kustomize(t, "namespaced")
	text, err := json.Marshal(installed.ofKind("Deployment")[0])
	g.Expect(err).NotTo(HaveOccurred())
	flag := regexp.MustCompile(`--watch-namespaces=([^"]+)`).FindSubmatch(text)
	g.Expect(flag).To(HaveLen(2))
	var bound []string
	for _, binding := range installed.ofKind("RoleBinding") {
		if role, _, _ := unstructured.NestedString(binding.Object, "roleRef", "name"); role == "rolecredential-manager-role" {
			bound = append(bound, binding.GetNamespace())
		}
	}
	g.Expect(bound).To(ConsistOf(strings.Split(string(flag[1]), ",")))
	// Cluster-wide, the manager has permissions only for cluster-scoped resources.
	clusterGrants := []string{"/namespaces", "authentication.k8s.io/tokenreviews", "authorization.k8s.io/subjectaccessreviews"}
	for _, definition := range installed.ofKind("CustomResourceDefinition") {
		if scope, _, _ := unstructured.NestedString(definition.Object, "spec", "scope"); scope == "Cluster" {
			plural, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "plural")
			clusterGrants = append(clusterGrants, "sts.rolecredential.dev/"+plural, "sts.rolecredential.dev/"+plural+"/status")
		}
	}
	for _, binding := range installed.ofKind("ClusterRoleBinding") {
		role, _, _ := unstructured.NestedString(binding.Object, "roleRef", "name")
		for grant := range roleGrants(g, installed["ClusterRole//"+role]) {
			_, resource, _ := strings.Cut(grant, " ")
			g.Expect(clusterGrants).To(ContainElement(resource), "%s binds %s in the whole cluster: config/namespaced must bind it in each namespace", binding.GetName(), role)
		}
	}
}

func TestReleaseWithSelectorMayHoldItsOwnLease(t *testing.T) {
	for _, selector := range []string{"", "shard=a", "shard notin (a)"} {
		t.Run(selector, func(t *testing.T) {
			g := NewWithT(t)
			installed := chart(t, "aws", "--set", "selector="+selector)
			args, _, err := unstructured.NestedSlice(installed.ofKind("Deployment")[0].Object, "spec", "template", "spec", "containers")
			g.Expect(err).NotTo(HaveOccurred())
			container, ok := args[0].(map[string]any)
			g.Expect(ok).To(BeTrue())
			if selector == "" {
				g.Expect(container["args"]).NotTo(ContainElement(HavePrefix("--selector")))
			} else {
				g.Expect(container["args"]).To(ContainElement("--selector=" + selector))
			}
			rules, _, err := unstructured.NestedSlice(installed["Role/rolecredential-system/aws-rolecredential-leader-election-role"].Object, "rules")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(rules).To(ContainElement(HaveKeyWithValue("resourceNames", []any{controllers.LeaseName(selector)})))
		})
	}
}
