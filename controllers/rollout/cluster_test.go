package rollout_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/rollout"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

// template returns a template of pods with the label app and a Secret as environment variables.
func template(app, secret string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", EnvFrom: []corev1.EnvFromSource{secretRef(secret)}}}},
	}
}

func secretRef(name string) corev1.EnvFromSource {
	return corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}
}

func secretKeyRef(name string) corev1.EnvVar {
	return corev1.EnvVar{Name: "X", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: "x"}}}
}

func metaOf(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name + "-uid"), Generation: 3}
}

func labelled(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func deployment(name string, change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metaOf(name), Spec: appsv1.DeploymentSpec{Replicas: new(int32(3)), Selector: labelled(name), Template: template(name, "s3-reader")},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3},
	}
	for _, f := range change {
		f(d)
	}
	return d
}

func statefulSet(name string, change ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{
		ObjectMeta: metaOf(name), Spec: appsv1.StatefulSetSpec{Replicas: new(int32(3)), Selector: labelled(name), Template: template(name, "s3-reader")},
		Status: appsv1.StatefulSetStatus{ObservedGeneration: 3, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3},
	}
	for _, f := range change {
		f(s)
	}
	return s
}

func daemonSet(name string, change ...func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{
		ObjectMeta: metaOf(name), Spec: appsv1.DaemonSetSpec{Selector: labelled(name), Template: template(name, "s3-reader")},
		Status: appsv1.DaemonSetStatus{ObservedGeneration: 3, DesiredNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberAvailable: 3},
	}
	for _, f := range change {
		f(d)
	}
	return d
}

var argo = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}

// argoRollout returns a Rollout that is idle, with fields set by their paths.
func argoRollout(name string, fields map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{
			"replicas": int64(3),
			"selector": map[string]any{"matchLabels": map[string]any{"app": name}},
			"template": map[string]any{
				"metadata": map[string]any{"labels": map[string]any{"app": name}},
				"spec": map[string]any{"containers": []any{map[string]any{
					"name": "c", "envFrom": []any{map[string]any{"secretRef": map[string]any{"name": "s3-reader"}}},
				}}},
			},
		},
		"status": map[string]any{"observedGeneration": "3", "phase": "Healthy", "stableRS": "abc", "currentPodHash": "abc", "replicas": int64(3), "availableReplicas": int64(3)},
	}}
	u.SetGroupVersionKind(argo)
	m := metaOf(name)
	u.SetNamespace(m.Namespace)
	u.SetName(m.Name)
	u.SetUID(m.UID)
	u.SetGeneration(m.Generation)
	for path, value := range fields {
		section, field, _ := strings.Cut(path, ".")
		if value == nil {
			unstructured.RemoveNestedField(u.Object, section, field)
		} else if err := unstructured.SetNestedField(u.Object, value, section, field); err != nil {
			panic(err)
		}
	}
	return u
}

// pod returns a pod that runs since the issue, with the Secret as environment variables.
func pod(name, app string, owner *metav1.OwnerReference, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metaOf(name), Spec: template(app, "s3-reader").Spec}
	p.Labels = map[string]string{"app": app}
	if owner != nil {
		owner.Controller = new(true)
		p.OwnerReferences = []metav1.OwnerReference{*owner}
		if hash, ok := hashOf(owner); ok {
			p.Labels["pod-template-hash"] = hash
		}
	}
	p.Status.Phase = corev1.PodRunning
	p.Status.ContainerStatuses = []corev1.ContainerStatus{running(0)}
	for _, f := range change {
		f(p)
	}
	return p
}

func running(since time.Duration) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(after(since))}}}
}

func replicaSet(name string) *metav1.OwnerReference {
	return &metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name, UID: types.UID(name + "-uid")}
}

func hashOf(owner *metav1.OwnerReference) (string, bool) {
	if owner.Kind != "ReplicaSet" {
		return "", false
	}
	return owner.Name[len(owner.Name)-3:], true // the tests' names end with it
}

func controller(kind, name string) *metav1.OwnerReference {
	version := "apps/v1"
	if kind == "Job" {
		version = "batch/v1"
	}
	return &metav1.OwnerReference{APIVersion: version, Kind: kind, Name: name, UID: types.UID(name + "-uid")}
}

func cluster(t *testing.T, funcs interceptor.Funcs, objects ...client.Object) (rollout.Cluster, client.Client) {
	t.Helper()
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	scheme.AddKnownTypeWithName(argo, &unstructured.Unstructured{})
	scheme.AddKnownTypeWithName(argo.GroupVersion().WithKind("RolloutList"), &unstructured.UnstructuredList{})
	c := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(funcs).WithObjects(objects...).WithReturnManagedFields().Build()
	return rollout.Cluster{APIReader: c, Writer: c}, c
}

// discovered returns the readers as a pass finds them if all workloads are read, each with the names of its pods.
func discovered(g Gomega, c rollout.Cluster, want v1alpha1.Rollout) map[string][]string {
	pods, err := c.Discover(context.Background(), refreshed(), want)
	g.Expect(err).NotTo(HaveOccurred())
	all := map[string][]string{}
	for _, reader := range refreshed().Readers(want, pods, nil) {
		found := []rollout.Reader{reader}
		if reader.Kind != "Pod" {
			w, err := c.Get(context.Background(), "shop", reader.Ref)
			g.Expect(err).NotTo(HaveOccurred())
			found = refreshed().Split(reader, w)
		}
		for _, r := range found {
			if r.Absent && !r.Named {
				continue
			}
			what := r.String()
			if r.Absent {
				what += " missing"
			}
			if r.Named {
				what += " named"
			}
			if r.Blocked != "" && r.Kind != "Pod" {
				what += " blocked"
			}
			all[what] = []string{}
			for _, p := range r.Pods {
				all[what] = append(all[what], p.Name)
			}
		}
	}
	return all
}

// reading sets a pod's spec.
func reading(spec corev1.PodSpec) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec = spec }
}

func mounting(subPath string) corev1.PodSpec {
	return corev1.PodSpec{
		Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s3-reader"}}}},
		Containers: []corev1.Container{{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", SubPath: subPath}}}},
	}
}

// plain returns a Deployment whose pod template names no Secret.
func plain(name string) *appsv1.Deployment {
	return deployment(name, func(d *appsv1.Deployment) {
		d.Spec.Template.Spec = corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}
	})
}

func TestDiscoverFindsWorkloadsByTheirPods(t *testing.T) {
	deleted := func(p *corev1.Pod) {
		p.DeletionTimestamp, p.Finalizers = &metav1.Time{Time: issuedAt}, []string{"test/test"}
	}
	objects := []client.Object{
		plain("web"), plain("in-init"), plain("sub-path"), plain("mounts"), plain("recreates"), deployment("without-pods"), deployment("other"),
		statefulSet("db"), daemonSet("agent"), argoRollout("canary", nil), deployment("elsewhere", func(d *appsv1.Deployment) { d.Namespace = "bank" }),
		pod("web-abc-1", "web", replicaSet("web-abc")), pod("web-abc-2", "web", replicaSet("web-abc")),
		pod("db-0", "db", controller("StatefulSet", "db")), pod("agent-x", "agent", controller("DaemonSet", "agent")),
		pod("canary-xyz-1", "canary", replicaSet("canary-xyz"), func(p *corev1.Pod) {
			p.Labels = map[string]string{"app": "canary", "rollouts-pod-template-hash": "xyz"}
		}),
		pod("in-init-abc-1", "in-init", replicaSet("in-init-abc"), reading(corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "i", Env: []corev1.EnvVar{{Name: "PLAIN", Value: "x"}, secretKeyRef("s3-reader")}}},
			Containers:     []corev1.Container{{Name: "c"}},
		})),
		pod("sub-path-abc-1", "sub-path", replicaSet("sub-path-abc"), reading(mounting("credentials"))),
		pod("mounts-abc-1", "mounts", replicaSet("mounts-abc"), reading(mounting(""))),
		pod("recreates-abc-1", "recreates", replicaSet("recreates-abc"), deleted),
		pod("web-api-abc-1", "web", replicaSet("web-api-abc")), // its Deployment does not exist, and the selector of another matches it
		pod("bare", "web", nil), pod("job-1", "job", controller("Job", "job")),
		pod("of-former-db", "db", &metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "another"}),
		pod("of-kruise-db", "db", &metav1.OwnerReference{APIVersion: "apps.kruise.io/v1beta1", Kind: "StatefulSet", Name: "db", UID: "db-uid"}),
		pod("job-2", "job", controller("Job", "job"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
		pod("evicted", "web", replicaSet("web-abc"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
		pod("ending", "web", replicaSet("web-abc"), deleted),
		pod("reads-another", "x", nil, func(p *corev1.Pod) { p.Spec = template("x", "another").Spec }),
	}
	target := func(kind v1alpha1.WorkloadKind, name string) v1alpha1.WorkloadReference {
		return v1alpha1.WorkloadReference{Kind: kind, Name: name}
	}
	all := func(suffix string, change map[string][]string) map[string][]string {
		all := map[string][]string{
			"Pod web-api-abc-1": {"web-api-abc-1"}, "Pod bare": {"bare"}, "Pod job-1": {"job-1"}, "Pod of-former-db": {"of-former-db"}, "Pod of-kruise-db": {"of-kruise-db"},
		}
		for what, pods := range map[string][]string{
			"Deployment web": {"web-abc-1", "web-abc-2"}, "Deployment in-init": {"in-init-abc-1"}, "Deployment sub-path": {"sub-path-abc-1"},
			"StatefulSet db": {"db-0"}, "DaemonSet agent": {"agent-x"}, "Rollout canary": {"canary-xyz-1"},
		} {
			if _, named := change[what+" named"]; !named {
				all[what+suffix] = pods
			}
		}
		maps.Copy(all, change)
		return all
	}
	for name, tc := range map[string]struct {
		rollout v1alpha1.Rollout
		want    map[string][]string
	}{
		"the rollout discovers workloads": {v1alpha1.Rollout{Discover: true}, all("", nil)},
		"the rollout names workloads": {
			v1alpha1.Rollout{Targets: []v1alpha1.WorkloadReference{target("Deployment", "mounts"), target("Deployment", "web"), target("DaemonSet", "web"), target("Rollout", "canary")}},
			all(" blocked", map[string][]string{
				"Deployment mounts named": {"mounts-abc-1"}, "Deployment web named": {"web-abc-1", "web-abc-2"}, "DaemonSet web missing named": {}, "Rollout canary named": {"canary-xyz-1"},
			}),
		},
		"the rollout names workloads and discovers others": {
			v1alpha1.Rollout{Discover: true, Targets: []v1alpha1.WorkloadReference{target("Deployment", "web"), target("Deployment", "without-pods")}},
			all("", map[string][]string{"Deployment web named": {"web-abc-1", "web-abc-2"}, "Deployment without-pods named": {}}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c, _ := cluster(t, interceptor.Funcs{}, objects...)
			g.Expect(discovered(g, c, tc.rollout)).To(Equal(tc.want))
		})
	}
}

func TestClusterWithoutArgoHasNoRollouts(t *testing.T) {
	g := NewWithT(t)
	c, _ := cluster(t, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if object.GetObjectKind().GroupVersionKind() == argo {
				return &apimeta.NoKindMatchError{GroupKind: argo.GroupKind()}
			}
			return c.Get(ctx, key, object, options...)
		},
	}, deployment("web"), pod("web-abc-1", "web", replicaSet("web-abc")))
	want := v1alpha1.Rollout{Discover: true, Targets: []v1alpha1.WorkloadReference{{Kind: "Rollout", Name: "canary"}}}
	g.Expect(discovered(g, c, want)).To(Equal(map[string][]string{"Deployment web": {"web-abc-1"}, "Rollout canary missing named": {}}))
}

func TestClusterReportsForbiddenReads(t *testing.T) {
	g := NewWithT(t)
	c, _ := cluster(t, interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return apierrors.NewForbidden(corev1.Resource("pods"), "", nil)
		},
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return apierrors.NewForbidden(appsv1.Resource("deployments"), "web", nil)
		},
	})
	_, err := c.Discover(t.Context(), refreshed(), discover)
	g.Expect(apierrors.IsForbidden(err)).To(BeTrue())
	_, err = c.Get(t.Context(), "shop", web)
	g.Expect(apierrors.IsForbidden(err)).To(BeTrue())
}

func TestReadExtractsTheStateOfEachKind(t *testing.T) {
	type state struct {
		updated, settled, restarted, stuck bool
		blocked                            string
	}
	complete := state{updated: true, settled: true}
	for name, tc := range map[string]struct {
		object client.Object
		want   state
	}{
		"a Deployment that is complete":  {deployment("w"), complete},
		"a Deployment not yet observed":  {deployment("w", func(d *appsv1.Deployment) { d.Generation = 4 }), state{}},
		"a Deployment with old pods":     {deployment("w", func(d *appsv1.Deployment) { d.Status.Replicas = 4 }), state{}},
		"a Deployment without all pods":  {deployment("w", func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 2 }), state{}},
		"a Deployment not yet available": {deployment("w", func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 2 }), state{updated: true}},
		"a Deployment without a number of replicas": {
			deployment("w", func(d *appsv1.Deployment) {
				d.Spec.Replicas = nil
				d.Status = appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}
			}), complete,
		},
		"a Deployment with no replicas": {
			deployment("w", func(d *appsv1.Deployment) {
				d.Spec.Replicas = new(int32(0))
				d.Status = appsv1.DeploymentStatus{ObservedGeneration: 3}
			}), complete,
		},
		"a paused Deployment": {deployment("w", func(d *appsv1.Deployment) { d.Spec.Paused = true }), state{updated: true, settled: true, blocked: "is paused"}},
		"a Deployment that is stuck": {
			deployment("w", func(d *appsv1.Deployment) {
				d.Status.UpdatedReplicas = 2
				d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: "False", Reason: "ProgressDeadlineExceeded"}}
			}), state{stuck: true},
		},
		"a Deployment that was stuck before a change": {
			deployment("w", func(d *appsv1.Deployment) {
				d.Generation = 4
				d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: "False", Reason: "ProgressDeadlineExceeded"}}
			}), state{},
		},

		"a StatefulSet that is complete":  {statefulSet("w"), complete},
		"a StatefulSet not yet observed":  {statefulSet("w", func(s *appsv1.StatefulSet) { s.Generation = 4 }), state{}},
		"a StatefulSet with old pods":     {statefulSet("w", func(s *appsv1.StatefulSet) { s.Status.UpdatedReplicas = 2 }), state{}},
		"a StatefulSet not yet available": {statefulSet("w", func(s *appsv1.StatefulSet) { s.Status.AvailableReplicas = 2 }), state{updated: true}},
		"a StatefulSet with a partition": {
			statefulSet("w", func(s *appsv1.StatefulSet) {
				s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(2))}
				s.Status.UpdatedReplicas = 1
			}), complete,
		},
		"a StatefulSet with OnDelete": {
			statefulSet("w", func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType }),
			state{updated: true, settled: true, blocked: "replaces a pod only when that is deleted (updateStrategy OnDelete)"},
		},

		"a DaemonSet that is complete":  {daemonSet("w"), complete},
		"a DaemonSet not yet observed":  {daemonSet("w", func(d *appsv1.DaemonSet) { d.Generation = 4 }), state{}},
		"a DaemonSet with old pods":     {daemonSet("w", func(d *appsv1.DaemonSet) { d.Status.UpdatedNumberScheduled = 2 }), state{}},
		"a DaemonSet not yet available": {daemonSet("w", func(d *appsv1.DaemonSet) { d.Status.NumberAvailable = 2 }), state{updated: true}},
		"a DaemonSet with OnDelete": {
			daemonSet("w", func(d *appsv1.DaemonSet) { d.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType }),
			state{updated: true, settled: true, blocked: "replaces a pod only when that is deleted (updateStrategy OnDelete)"},
		},

		"a Rollout that was never restarted": {argoRollout("w", nil), state{updated: true, settled: true, restarted: true}},
		"a Rollout that is being restarted": {
			argoRollout("w", map[string]any{"spec.restartAt": "2026-11-23T15:10:00Z", "status.restartedAt": "2026-11-22T15:10:00Z"}), state{updated: true},
		},
		"a Rollout that has been restarted": {
			argoRollout("w", map[string]any{"spec.restartAt": "2026-11-23T15:10:00Z", "status.restartedAt": "2026-11-23T15:10:00Z"}), state{updated: true, settled: true, restarted: true},
		},
		"a Rollout whose last pod is not available yet": {
			argoRollout("w", map[string]any{"status.availableReplicas": int64(2)}), state{updated: true, restarted: true},
		},
		"a Rollout that waits in a canary step": {
			argoRollout("w", map[string]any{"status.phase": "Paused", "status.currentPodHash": "def"}), state{updated: true, settled: true, restarted: true},
		},
		"a Rollout that was aborted": {
			argoRollout("w", map[string]any{"status.phase": "Degraded", "status.currentPodHash": "def"}), state{updated: true, settled: true, restarted: true},
		},
		"a paused Rollout": {argoRollout("w", map[string]any{"spec.paused": true}), state{updated: true, settled: true, restarted: true}},
		"a Rollout with workloadRef": {
			argoRollout("w", map[string]any{"spec.workloadRef": map[string]any{"kind": "Deployment", "name": "w"}, "spec.template": nil, "spec.selector": nil}),
			state{updated: true, settled: true, restarted: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			kind := tc.object.GetObjectKind().GroupVersionKind().Kind
			c, reads := cluster(t, interceptor.Funcs{}, tc.object)
			if kind == "" {
				gvk, err := reads.GroupVersionKindFor(tc.object)
				g.Expect(err).NotTo(HaveOccurred())
				kind = gvk.Kind
			}
			w, err := c.Get(t.Context(), "shop", rollout.Ref{Kind: kind, Name: "w"})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(state{w.Updated, w.Settled, w.Restarted, w.Stuck, w.Blocked}).To(Equal(tc.want))
			g.Expect(w.UID).To(BeEquivalentTo("w-uid"))
		})
	}
}

// discover restarts all workloads of the namespace.
var discover = v1alpha1.Rollout{Discover: true}

func TestPodStartsWithItsFirstContainerThatReadsTheSecret(t *testing.T) {
	status := func(name string, state corev1.ContainerState) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: state}
	}
	runs := func(name string, since time.Duration) corev1.ContainerStatus {
		return status(name, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(after(since))}})
	}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError"}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.NewTime(after(-time.Hour))}}
	named := v1alpha1.Rollout{Targets: []v1alpha1.WorkloadReference{{Kind: "StatefulSet", Name: "db"}}}
	for name, tc := range map[string]struct {
		init, containers []corev1.ContainerStatus
		rollout          v1alpha1.Rollout
		want             time.Time
	}{
		"no container has started":                             {nil, nil, discover, time.Time{}},
		"the container waits for its Secret":                   {nil, []corev1.ContainerStatus{status("a", waiting)}, discover, time.Time{}},
		"the first of two containers counts":                   {nil, []corev1.ContainerStatus{runs("a", time.Hour), runs("b", time.Minute)}, discover, after(time.Minute)},
		"a container that ended does not count":                {[]corev1.ContainerStatus{status("i", ended)}, []corev1.ContainerStatus{status("a", ended), runs("b", time.Minute)}, discover, after(time.Minute)},
		"a sidecar counts":                                     {[]corev1.ContainerStatus{runs("i", 0)}, []corev1.ContainerStatus{runs("a", time.Minute)}, discover, issuedAt},
		"a container without the Secret does not count":        {nil, []corev1.ContainerStatus{runs("a", time.Minute), runs("without", 0)}, discover, after(time.Minute)},
		"each container of a target counts":                    {nil, []corev1.ContainerStatus{runs("a", time.Minute), runs("without", 0)}, named, issuedAt},
		"a container does not start before its pod is created": {nil, []corev1.ContainerStatus{runs("a", -3*time.Hour)}, discover, after(-2 * time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			reads := func(name string) corev1.Container {
				return corev1.Container{Name: name, EnvFrom: []corev1.EnvFromSource{secretRef("s3-reader")}}
			}
			c, _ := cluster(t, interceptor.Funcs{}, statefulSet("db"), pod("db-0", "db", controller("StatefulSet", "db"), func(p *corev1.Pod) {
				p.CreationTimestamp = metav1.NewTime(after(-2 * time.Hour))
				p.Spec = corev1.PodSpec{InitContainers: []corev1.Container{reads("i")}, Containers: []corev1.Container{reads("a"), reads("b"), {Name: "without"}}}
				p.Status.InitContainerStatuses, p.Status.ContainerStatuses = tc.init, tc.containers
				p.Annotations = map[string]string{v1alpha1.CredentialsAnnotation: `{"s3-reader":"ASIAOLD"}`}
			}))
			pods, err := c.Discover(t.Context(), refreshed(), tc.rollout)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(pods).To(HaveLen(1))
			got := pods[0].Started
			if tc.rollout.Targets != nil {
				got = pods[0].First
			}
			g.Expect(got.Equal(tc.want)).To(BeTrue(), got.String())
			g.Expect(pods[0].Stamp).To(Equal(readers.Stamp{"s3-reader": "ASIAOLD"}))
			g.Expect(pods[0].Secrets).To(ContainElement("s3-reader"))
		})
	}
}

func TestRestartWritesOneAnnotationOfThePodTemplate(t *testing.T) {
	for _, object := range []client.Object{deployment("w"), statefulSet("w"), daemonSet("w")} {
		t.Run(fmt.Sprintf("%T", object), func(t *testing.T) {
			g := NewWithT(t)
			c, reads := cluster(t, interceptor.Funcs{}, object)
			gvk, err := reads.GroupVersionKindFor(object)
			g.Expect(err).NotTo(HaveOccurred())
			w := rollout.Workload{Ref: rollout.Ref{Kind: gvk.Kind, Name: "w"}, UID: "w-uid"}
			g.Expect(c.Restart(t.Context(), "shop", w, readers.Stamp{"s3-reader": "ASIANEW"}, issuedAt)).To(Succeed())
			found, err := c.Get(t.Context(), "shop", w.Ref)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(found.Stamp).To(Equal(readers.Stamp{"s3-reader": "ASIANEW"}))
		})
	}
}

func TestRestartOfArgoRolloutDoesNotChangeThePodTemplate(t *testing.T) {
	g := NewWithT(t)
	canary := argoRollout("canary", map[string]any{"spec.strategy": map[string]any{"canary": map[string]any{"steps": []any{
		map[string]any{"setWeight": int64(20)}, map[string]any{"pause": map[string]any{}},
	}}}})
	canary.SetAnnotations(map[string]string{"theirs": "stays"})
	c, reads := cluster(t, interceptor.Funcs{}, canary.DeepCopy())
	at := after(10*time.Minute + time.Second/2).In(time.FixedZone("CET", 3600))
	w := rollout.Workload{Ref: rollout.Ref{Kind: "Rollout", Name: "canary"}, UID: "canary-uid"}
	g.Expect(c.Restart(t.Context(), "shop", w, readers.Stamp{"s3-reader": "ASIANEW"}, at)).To(Succeed())

	restarted := canary.DeepCopy()
	g.Expect(reads.Get(t.Context(), client.ObjectKeyFromObject(canary), restarted)).To(Succeed())
	g.Expect(unstructured.SetNestedField(canary.Object, "2026-11-23T15:10:00Z", "spec", "restartAt")).To(Succeed())
	g.Expect(restarted.Object["spec"]).To(Equal(canary.Object["spec"]), "nothing but spec.restartAt changes, in UTC and whole seconds")
	g.Expect(restarted.GetAnnotations()).To(Equal(map[string]string{"theirs": "stays", v1alpha1.CredentialsAnnotation: `{"s3-reader":"ASIANEW"}`}))
	found, err := c.Get(t.Context(), "shop", w.Ref)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found.Stamp).To(Equal(readers.Stamp{"s3-reader": "ASIANEW"}))
	g.Expect(found.Settled).To(BeFalse())
}

func TestOnlyKnownKindsAreRestarted(t *testing.T) {
	g := NewWithT(t)
	c, _ := cluster(t, interceptor.Funcs{}, pod("bare", "x", nil))
	g.Expect(c.Restart(t.Context(), "shop", rollout.Workload{Ref: rollout.Ref{Kind: "Pod", Name: "bare"}}, nil, issuedAt)).To(MatchError(ContainSubstring("cannot be restarted")))
	w, err := c.Get(t.Context(), "shop", rollout.Ref{Kind: "ConfigMap", Name: "x"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w).To(BeNil())
}
