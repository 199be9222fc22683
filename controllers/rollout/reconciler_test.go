package rollout_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/rollout"
	"rolecredential.dev/operator/controllers/rollout/readers"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/telemetry"
	"rolecredential.dev/operator/controllers/testkit"
)

// rolloutFixture has a reconciler of rollouts, and does what the Deployment controller, Argo Rollouts and the kubelet do.
type rolloutFixture struct {
	*testkit.Fixture
	credentials *credential.Reconciler[*v1alpha1.RoleCredential]
	reads       []string // of workloads and pods, as "list PodList" or "get Deployment"
	refuse      func(read string) error
	registry    *prometheus.Registry
	rollouts    *rollout.Reconciler[*v1alpha1.RoleCredential]
}

func newRolloutFixture(t *testing.T, objects ...client.Object) *rolloutFixture {
	t.Helper()
	f := &rolloutFixture{Fixture: testkit.New(t, objects...), registry: prometheus.NewPedanticRegistry()}
	f.credentials = &credential.Reconciler[*v1alpha1.RoleCredential]{
		Kind: request.RoleCredential, Client: f.Operator, Identities: f.Resolver, Secrets: &secretstore.Store{Client: f.Operator, APIReader: f.Operator}, Devices: &identity.Devices{},
		Limits: f.Limits, Events: telemetry.Events{Recorder: f.Recorder}, Metrics: f.Metrics, Clock: f.Clock,
	}
	f.restartManager()
	f.rollouts.EndAdoption(f.Clock.Now())
	return f
}

// restartManager replaces the reconciler by one without memory. At most two workloads of a namespace restart at a time.
func (f *rolloutFixture) restartManager() {
	f.T.Helper()
	metrics, err := telemetry.NewMetrics(f.registry, f.Clock)
	f.Expect(err).NotTo(HaveOccurred())
	reads := interceptor.NewClient(f.Operator, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			return f.read("get", object, func() error { return c.Get(ctx, key, object, options...) })
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			return f.read("list", list, func() error { return c.List(ctx, list, options...) })
		},
	})
	f.rollouts = &rollout.Reconciler[*v1alpha1.RoleCredential]{
		Kind: request.RoleCredential, Client: f.Operator, Identities: f.Resolver,
		Coordinator: &rollout.Coordinator{Workloads: rollout.Cluster{APIReader: reads, Writer: f.Operator}, Slots: &rollout.Slots{Max: 4}},
		Events:      telemetry.Events{Recorder: f.Recorder}, Metrics: metrics, Clock: f.Clock,
	}
}

func (f *rolloutFixture) read(verb string, object runtime.Object, read func() error) error {
	what := verb + " " + cmp.Or(object.GetObjectKind().GroupVersionKind().Kind, strings.TrimPrefix(fmt.Sprintf("%T", object), "*v1."))
	f.reads = append(f.reads, what)
	if f.refuse != nil {
		if err := f.refuse(what); err != nil {
			return err
		}
	}
	return read()
}

// discovering returns the Reader with a rollout that discovers workloads.
func discovering() *v1alpha1.RoleCredential {
	return testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Rollout = &v1alpha1.Rollout{Discover: true} })
}

// naming returns the Reader with a rollout of targets.
func naming(targets ...v1alpha1.WorkloadReference) *v1alpha1.RoleCredential {
	return testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Rollout = &v1alpha1.Rollout{Targets: targets} })
}

// readingPod returns a Deployment of one pod, with Secrets as environment variables.
func readingPod(name string, secrets ...string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Generation: 1}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	d.Spec.Template.Labels = map[string]string{"app": name}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c"}}
	for _, s := range secrets {
		from := corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: s}}}
		d.Spec.Template.Spec.Containers[0].EnvFrom = append(d.Spec.Template.Spec.Containers[0].EnvFrom, from)
	}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}
	return d
}

// podOf returns the pod of a Deployment, with the time when it started.
func podOf(d *appsv1.Deployment, started time.Time) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: d.Namespace, Name: d.Name + "-abc-1", Labels: map[string]string{"app": d.Name, "pod-template-hash": "abc"}, Annotations: d.Spec.Template.Annotations,
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: d.Name + "-abc", UID: "rs-uid", Controller: new(true)}},
	}, Spec: d.Spec.Template.Spec}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(started)}}}}
	return p
}

// run creates Deployments whose pods start now.
func (f *rolloutFixture) run(names ...string) {
	f.T.Helper()
	for _, name := range names {
		d := readingPod(name, "s3-reader")
		f.Expect(f.Client.Create(f.T.Context(), d)).To(Succeed())
		f.Expect(f.Client.Create(f.T.Context(), podOf(d, f.Clock.Now()))).To(Succeed())
	}
	f.Requests.Writes = nil
}

func (f *rolloutFixture) deployment(name string) *appsv1.Deployment {
	f.T.Helper()
	d := &appsv1.Deployment{}
	f.Expect(f.Client.Get(f.T.Context(), client.ObjectKey{Namespace: "shop", Name: name}, d)).To(Succeed())
	return d
}

// begin sets the status of a Deployment whose pod is not replaced yet.
func (f *rolloutFixture) begin(name string) {
	f.T.Helper()
	d := f.deployment(name)
	d.Status.UpdatedReplicas, d.Status.AvailableReplicas = 0, 0
	f.Expect(f.Client.Status().Update(f.T.Context(), d)).To(Succeed())
}

// finish replaces the pod of a Deployment.
func (f *rolloutFixture) finish(name string) {
	f.T.Helper()
	d := f.deployment(name)
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}
	f.Expect(f.Client.Status().Update(f.T.Context(), d)).To(Succeed())
	f.Expect(f.Client.Delete(f.T.Context(), podOf(d, f.Clock.Now()))).To(Succeed())
	f.Expect(f.Client.Create(f.T.Context(), podOf(d, f.Clock.Now()))).To(Succeed())
}

// stamp returns the annotation of a Deployment's pod template.
func (f *rolloutFixture) stamp(name string) string {
	f.T.Helper()
	return f.deployment(name).Spec.Template.Annotations[v1alpha1.CredentialsAnnotation]
}

// roll reconciles the rollout of the Reader once, and returns the condition as "status reason" and when to requeue.
func (f *rolloutFixture) roll() (string, time.Duration) { return f.rollOf("s3-reader") }

func (f *rolloutFixture) rollOf(name string) (string, time.Duration) {
	f.T.Helper()
	key := client.ObjectKey{Namespace: "shop", Name: name}
	result, err := f.rollouts.Reconcile(f.T.Context(), reconcile.Request{NamespacedName: key})
	f.Expect(err).NotTo(HaveOccurred())
	c := &v1alpha1.RoleCredential{}
	f.Expect(f.Client.Get(f.T.Context(), key, c)).To(Succeed())
	return testkit.States(c.Status.Conditions)["RolledOut"], result.RequeueAfter
}

// refresh refreshes the Reader at its next refresh time.
func (f *rolloutFixture) refresh() {
	f.T.Helper()
	issued := len(f.STS.Issued)
	f.Clock.SetTime(f.Credential().Status.NextRefreshTime.Time)
	f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(issued + 1))
	f.Events()
	f.reads, f.Requests.Writes = nil, nil
}

// until reconciles at the times that the reconciler requests, until the condition is as wanted.
func (f *rolloutFixture) until(want func(state string) bool) (state string) {
	f.T.Helper()
	for range 1000 {
		var wait time.Duration
		if state, wait = f.roll(); want(state) {
			return state
		}
		f.Expect(wait).NotTo(BeZero(), state)
		f.Clock.SetTime(f.Clock.Now().Add(wait))
	}
	f.T.Fatalf("the condition stays %s", state)
	return state
}

func is(want string) func(string) bool { return func(state string) bool { return state == want } }

func TestRolloutReportsItsState(t *testing.T) {
	web := v1alpha1.WorkloadReference{Kind: v1alpha1.WorkloadDeployment, Name: "web"}
	change := func(f *rolloutFixture, change func(*appsv1.Deployment)) {
		d := f.deployment("web")
		change(d)
		f.Expect(f.Client.Update(f.T.Context(), d)).To(Succeed())
	}
	forbidden := func(read string) error {
		return apierrors.NewForbidden(appsv1.Resource(read), "", errors.New("no RBAC policy matched"))
	}
	for name, tc := range map[string]struct {
		credential *v1alpha1.RoleCredential
		before     func(f *rolloutFixture) // runs before the first issue
		refreshed  func(f *rolloutFixture)
		want       string
		saying     string
		events     []string
		stale      float64
	}{
		"all workloads are restarted": {
			credential: discovering(), refreshed: func(f *rolloutFixture) { f.until(is("False Restarting")); f.finishAll() },
			want: "True RolledOut", saying: "All running pods use the current credential of Secret s3-reader.",
		},
		"a restart is in progress": {
			credential: naming(web), refreshed: func(f *rolloutFixture) { f.until(func(string) bool { return f.stamp("web") != "" }) },
			want: "False Restarting", saying: "a few at a time, before it expires.", stale: 1,
		},
		"the pods started after the refresh": {
			credential: discovering(), refreshed: func(f *rolloutFixture) { f.Clock.SetTime(f.Clock.Now().Add(time.Minute)); f.finish("web") },
			want: "True RolledOut",
		},
		"a target that does not exist": {
			credential: naming(v1alpha1.WorkloadReference{Kind: v1alpha1.WorkloadStatefulSet, Name: "web"}),
			want:       "False TargetNotFound", saying: "StatefulSet web", events: []string{"Warning TargetNotFound"}, stale: 1, // the Deployment
		},
		"a Deployment that is paused": {
			credential: discovering(), before: func(f *rolloutFixture) { change(f, func(d *appsv1.Deployment) { d.Spec.Paused = true }) },
			refreshed: func(f *rolloutFixture) { f.until(is("False PodsOutdated")); f.begin("web") },
			want:      "False PodsOutdated", saying: "Deployment web is paused", events: []string{"Warning PodsOutdated"}, stale: 1,
		},
		"a pod without a workload": {
			credential: discovering(),
			before: func(f *rolloutFixture) {
				bare := podOf(readingPod("bare", "s3-reader"), testkit.Start)
				bare.OwnerReferences = nil
				f.Expect(f.Client.Create(f.T.Context(), bare)).To(Succeed())
			},
			refreshed: func(f *rolloutFixture) { f.until(is("False PodsOutdated")) },
			want:      "False PodsOutdated", saying: "Pod bare-abc-1 is not owned by a workload that can be restarted", events: []string{"Warning PodsOutdated"}, stale: 2,
		},
		"no slot is free in time": {
			credential: discovering(), refreshed: func(f *rolloutFixture) {
				f.rollouts.Slots.Max = 0
				f.until(is("False PodsOutdated"))
			},
			want: "False PodsOutdated", saying: "Deployment web was not restarted in time", events: []string{"Warning PodsOutdated"}, stale: 1,
		},
		"the API server rejects the restart": {
			credential: discovering(), refreshed: func(f *rolloutFixture) {
				f.Requests.Fail = func(verb string, object client.Object) error {
					if verb == "apply" {
						return apierrors.NewInvalid(appsv1.SchemeGroupVersion.WithKind("Deployment").GroupKind(), object.GetName(), nil)
					}
					return nil
				}
				f.until(is("False PodsOutdated"))
			},
			want: "False PodsOutdated", saying: "Deployment web was rejected by the API server (Invalid)", events: []string{"Warning PodsOutdated"}, stale: 1,
		},
		"another writer removes the annotation": {
			credential: discovering(), refreshed: func(f *rolloutFixture) {
				stamped := 0
				f.until(func(state string) bool {
					if f.stamp("web") != "" {
						stamped++
						change(f, func(d *appsv1.Deployment) { d.Spec.Template.Annotations = nil })
					}
					return state == "False Contended"
				})
				f.Expect(stamped).To(Equal(3))
			},
			want: "False Contended", saying: "undoing the restart of Deployment web", events: []string{"Warning Contended"}, stale: 1,
		},
		"the operator may not read pods": {
			credential: discovering(), refreshed: func(f *rolloutFixture) { f.refuse = forbidden },
			want: "False Forbidden", saying: "may not read the workloads and pods of this namespace. Bind ClusterRole rolecredential-rollout-role: Helm value rbac.rollout=true", events: []string{"Warning Forbidden"},
		},
		"the operator may not read a target": {
			credential: naming(web), refreshed: func(f *rolloutFixture) { f.refuse = forbidden },
			want: "False Forbidden", saying: "may not read the workloads and pods", events: []string{"Warning Forbidden"},
		},
		"the operator may not restart workloads": {
			credential: discovering(), refreshed: func(f *rolloutFixture) {
				f.Requests.Fail = func(verb string, _ client.Object) error {
					if verb == "apply" {
						return forbidden("deployments")
					}
					return nil
				}
				f.until(is("False Forbidden"))
			},
			want: "False Forbidden", saying: "may not restart Deployment web. Bind ClusterRole rolecredential-rollout-role", events: []string{"Warning Forbidden"}, stale: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRolloutFixture(t, testkit.World(tc.credential)...)
			f.run("web")
			if tc.before != nil {
				tc.before(f)
			}
			f.reconcile()
			f.refresh()
			if tc.refreshed != nil {
				tc.refreshed(f)
			}
			state, wait := f.roll()
			f.Expect(state).To(Equal(tc.want))
			f.Expect(testkit.Message(f.Credential().Status.Conditions, "RolledOut")).To(ContainSubstring(tc.saying))
			f.Expect(f.Events()).To(Equal(tc.events))
			f.Expect(wait == 0).To(Equal(state == "True RolledOut"), "requeued after %s", wait)
			f.Expect(testkit.States(f.Credential().Status.Conditions)).To(And(HaveKeyWithValue("Ready", "True Issued"), HaveKeyWithValue("Issued", "True Issued")))
			f.Expect(f.metric("rolecredential_stale_readers")).To(Equal(tc.stale))
			stuck := 0.0
			if rollout.NeedsAttention(metav1.ConditionFalse, strings.TrimPrefix(state, "False ")) && state != "False TargetNotFound" && tc.stale > 0 {
				stuck = 1
			}
			f.Expect(f.metric("rolecredential_stuck_readers")).To(Equal(stuck))

			status := f.Credential().Status
			f.Clock.SetTime(f.Clock.Now().Add(min(wait, time.Second)))
			f.roll()
			f.Expect(f.Credential().Status).To(Equal(status), "the status stays the same")
			f.Expect(f.Events()).To(BeEmpty())
		})
	}
}

// finishAll replaces the pods of all Deployments that are restarted.
func (f *rolloutFixture) finishAll() {
	f.T.Helper()
	f.until(func(state string) bool {
		var all appsv1.DeploymentList
		f.Expect(f.Client.List(f.T.Context(), &all)).To(Succeed())
		for _, d := range all.Items {
			p := &corev1.Pod{}
			f.Expect(f.Client.Get(f.T.Context(), client.ObjectKey{Namespace: "shop", Name: d.Name + "-abc-1"}, p)).To(Succeed())
			if !maps.Equal(p.Annotations, d.Spec.Template.Annotations) {
				f.finish(d.Name)
			}
		}
		return state == "True RolledOut"
	})
	f.Events()
}

// metric returns the sum of a metric's series.
func (f *rolloutFixture) metric(name string, labels ...string) (sum float64) {
	f.T.Helper()
	families, err := f.registry.Gather()
	f.Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		for _, m := range family.GetMetric() {
			of := slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return slices.Contains(labels, l.GetValue()) })
			if family.GetName() == name && (len(labels) == 0 || of) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestRolloutIsUnknownWithoutAUsableSecret(t *testing.T) {
	for name, tc := range map[string]struct {
		then func(f *rolloutFixture)
		want string
	}{
		"there is no Secret yet": {func(f *rolloutFixture) {
			f.STS.Err = errors.New("no answer")
			f.reconcile()
		}, "Unknown NotIssued"},
		"the Secret is foreign": {func(f *rolloutFixture) {
			f.Expect(f.Client.Create(f.T.Context(), testkit.ForeignSecret())).To(Succeed())
			f.reconcile()
		}, "Unknown NotIssued"},
		"another credential controls the Secret": {func(f *rolloutFixture) {
			f.reconcile()
			secret := f.Secret()
			secret.OwnerReferences[0].UID, secret.OwnerReferences[0].Name = "another", "another"
			f.Expect(f.Client.Update(f.T.Context(), secret)).To(Succeed())
		}, "Unknown NotIssued"},
		"its credential has expired": {func(f *rolloutFixture) { f.reconcile(); f.Clock.SetTime(testkit.Start.Add(time.Hour)) }, "Unknown Expired"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRolloutFixture(t, testkit.World(discovering())...)
			f.run("web")
			tc.then(f)
			f.Events()
			f.Requests.Writes = nil
			state, wait := f.roll()
			f.Expect(state).To(Equal(tc.want))
			f.Expect(wait).To(BeZero()) // a change of the Secret enqueues it
			f.Expect(f.reads).To(BeEmpty())
			f.Expect(f.Requests.Writes).To(Equal([]string{"update status RoleCredential"}))
			f.Expect(f.Events()).To(BeEmpty())
		})
	}
}

func TestRefreshCostsFewReads(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.run("web")
	f.Clock.SetTime(testkit.Start.Add(time.Minute))
	f.reconcile()
	f.Events()
	f.finishAll()
	f.refresh()
	state, wait := f.roll()
	f.Expect(state).To(Equal("False Restarting"))
	f.Expect(f.reads).To(Equal([]string{"list PodList"}))
	f.reads = nil
	f.Clock.SetTime(f.Clock.Now().Add(wait))
	_, wait = f.roll()
	f.Expect(f.reads).To(Equal([]string{"list PodList", "get Deployment"}))
	f.Expect(f.stamp("web")).To(Equal(`{"s3-reader":"ASIAB"}`))
	f.begin("web")
	f.reads = nil
	f.Clock.SetTime(f.Clock.Now().Add(wait))
	_, wait = f.roll()
	f.Expect(f.reads).To(Equal([]string{"list PodList", "get Deployment"}))
	f.Expect(wait).To(Equal(10 * time.Second))
	f.finish("web")
	f.Clock.SetTime(f.Clock.Now().Add(wait))
	state, wait = f.roll()
	f.Expect(state).To(Equal("True RolledOut"))
	f.Expect(wait).To(BeZero())
	f.Expect(f.Requests.Writes).To(Equal([]string{"update status RoleCredential", "apply Deployment", "update status RoleCredential"}))
	f.Expect(f.Events()).To(BeEmpty()) // a routine refresh is no event
	f.Expect(f.metric("rolecredential_rollouts_total", "Finished")).To(Equal(2.0))
	f.Expect(f.metric("rolecredential_rollouts_in_progress")).To(BeZero())
}

func TestRecordHasTheTimesOfThePreviousCredential(t *testing.T) {
	f := newRolloutFixture(t, testkit.World()...)
	f.reconcile()
	f.Expect(f.Secret().Annotations).NotTo(HaveKey("sts.rolecredential.dev/previous-expiration"))
	f.refresh()
	f.Expect(f.Secret().Annotations).To(And(
		HaveKeyWithValue("sts.rolecredential.dev/previous-issued-at", testkit.Start.Format(time.RFC3339)),
		HaveKeyWithValue("sts.rolecredential.dev/previous-expiration", testkit.Start.Add(time.Hour).Format(time.RFC3339)),
	))
	f.Requests.Writes, f.STS.Issued = nil, nil
	f.reconcile()
	f.Expect(f.STS.Issued).To(BeEmpty(), "the checksum is valid")
}

func TestRestartOfTheManagerRestartsNoWorkloadAgain(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.run("web", "api", "cron")
	f.reconcile()
	f.refresh()
	f.until(func(string) bool { return f.metric("rolecredential_rollouts_in_progress") == 1 })
	restarted := slices.DeleteFunc([]string{"web", "api", "cron"}, func(name string) bool { return f.stamp(name) == "" })
	f.Expect(restarted).To(HaveLen(1))
	f.begin(restarted[0])

	f.restartManager()
	f.Requests.Writes = nil
	f.roll()
	f.Expect(f.Requests.Writes).To(BeEmpty())
	f.Expect(f.rollouts.Slots.Taken(f.Clock.Now())).To(Equal(1), "the restart in progress takes a slot")
	f.finishAll()
	f.restartManager()
	f.Requests.Writes = nil
	state, _ := f.roll()
	f.Expect(state).To(Equal("True RolledOut"))
	f.Expect(f.Requests.Writes).To(BeEmpty())
	for _, name := range []string{"web", "api", "cron"} {
		f.Expect(f.deployment(name).Spec.Template.Annotations).To(HaveLen(1))
	}
	f.Expect(f.rollouts.Slots.Taken(f.Clock.Now())).To(BeZero())
}

func TestOneRestartCoversAllCredentialsOfAWorkload(t *testing.T) {
	names := []string{"s3-reader", "queue", "topic"}
	objects := []client.Object{}
	for _, name := range names {
		objects = append(objects, testkit.Changed(discovering(), func(c *v1alpha1.RoleCredential) { c.Name, c.UID = name, types.UID(name) }))
	}
	f := newRolloutFixture(t, testkit.World(objects...)...)
	d := readingPod("web", names...)
	f.Expect(f.Client.Create(t.Context(), d)).To(Succeed())
	f.Expect(f.Client.Create(t.Context(), podOf(d, testkit.Start))).To(Succeed())
	issue := func() (last time.Time) {
		due := testkit.Start
		for _, name := range names {
			c := &v1alpha1.RoleCredential{}
			f.Expect(f.Client.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: name}, c)).To(Succeed())
			if c.Status.NextRefreshTime != nil {
				due = c.Status.NextRefreshTime.Time
			}
			f.Clock.SetTime(due)
			_, err := f.credentials.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(c)})
			f.Expect(err).NotTo(HaveOccurred())
			last = latest(last, due)
		}
		return last
	}
	issue()
	f.Clock.SetTime(issue()) // at three times within minutes
	f.Expect(f.STS.Issued).To(HaveLen(6))
	f.Requests.Writes = nil
	for range 100 {
		var next time.Duration
		for _, name := range names {
			if _, wait := f.rollOf(name); wait != 0 && (next == 0 || wait < next) {
				next = wait
			}
			if f.stamp("web") != "" && f.pod("web").Annotations == nil {
				f.finish("web")
			}
		}
		f.Clock.SetTime(f.Clock.Now().Add(next))
	}
	f.Expect(readers.ParseStamp(f.deployment("web").Spec.Template.Annotations)).To(HaveLen(3))
	f.Expect(slices.DeleteFunc(f.Requests.Writes, func(w string) bool { return w != "apply Deployment" })).To(HaveLen(1))
	for _, name := range names {
		state, _ := f.rollOf(name)
		f.Expect(state).To(Equal("True RolledOut"))
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (f *rolloutFixture) pod(of string) *corev1.Pod {
	f.T.Helper()
	p := &corev1.Pod{}
	f.Expect(f.Client.Get(f.T.Context(), client.ObjectKey{Namespace: "shop", Name: of + "-abc-1"}, p)).To(Succeed())
	return p
}

func TestRestartsStayWithinTheLimit(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.run("a", "b", "c", "d", "e")
	f.reconcile()
	f.refresh()
	f.Clock.SetTime(f.Clock.Now().Add(20 * time.Minute)) // all are due
	stamped := func() (names []string) {
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			if f.stamp(name) != "" {
				names = append(names, name)
			}
		}
		return names
	}
	for _, want := range []int{2, 4, 5} {
		before := stamped()
		f.roll()
		f.Expect(stamped()).To(HaveLen(want))
		for _, name := range stamped() {
			if !slices.Contains(before, name) {
				f.begin(name)
			}
		}
		f.Clock.SetTime(f.Clock.Now().Add(10 * time.Second))
		_, wait := f.roll()
		f.Expect(stamped()).To(HaveLen(want), "while these restart")
		f.Expect(wait).To(Equal(10 * time.Second))
		for _, name := range stamped() {
			if !slices.Contains(before, name) {
				f.finish(name)
			}
		}
		f.Clock.SetTime(f.Clock.Now().Add(10 * time.Second))
		if f.observe(); want == 5 {
			f.Expect(f.rollouts.Slots.Taken(f.Clock.Now())).To(BeZero())
		}
	}
}

// observe reconciles without a new restart.
func (f *rolloutFixture) observe() {
	f.T.Helper()
	most := f.rollouts.Slots.Max
	f.rollouts.Slots.Max = 0
	f.roll()
	f.rollouts.Slots.Max = most
}

func TestFailedRestartDoesNotBlockOthers(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.run("a", "b")
	f.reconcile()
	f.refresh()
	f.Clock.SetTime(f.Clock.Now().Add(20 * time.Minute))
	f.Requests.Fail = func(verb string, object client.Object) error {
		if verb == "apply" && object.GetName() == "a" {
			return apierrors.NewInternalError(errors.New("failed calling webhook"))
		}
		return nil
	}
	_, wait := f.roll()
	f.Expect(f.stamp("a")).To(BeEmpty())
	f.Expect(f.stamp("b")).NotTo(BeEmpty())
	f.Expect(f.rollouts.Slots.Taken(f.Clock.Now())).To(Equal(1))
	f.Requests.Fail = nil
	f.Clock.SetTime(f.Clock.Now().Add(wait))
	f.roll()
	f.Expect(f.stamp("a")).NotTo(BeEmpty())
}

func TestRemovedRolloutLeavesNoState(t *testing.T) {
	for name, end := range map[string]func(f *rolloutFixture){
		"spec.rollout is removed": func(f *rolloutFixture) {
			f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Rollout = nil }))
			f.roll()
			got := testkit.States(f.Credential().Status.Conditions)
			f.Expect(got).To(And(HaveLen(3), HaveKeyWithValue("Ready", "True Issued")))
			f.Expect(f.Requests.Writes).To(Equal([]string{"update status RoleCredential"}))
		},
		"the credential is deleted": func(f *rolloutFixture) {
			f.Expect(f.Client.Delete(f.T.Context(), f.Credential())).To(Succeed())
			_, err := f.rollouts.Reconcile(f.T.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(testkit.Reader())})
			f.Expect(err).NotTo(HaveOccurred())
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRolloutFixture(t, testkit.World(discovering())...)
			f.run("web")
			f.reconcile()
			f.refresh()
			f.until(func(string) bool { return f.stamp("web") != "" })
			f.begin("web")
			f.Expect(f.rollouts.Slots.Taken(f.Clock.Now())).To(Equal(1))
			end(f)
			f.Expect(f.rollouts.Slots.Taken(f.Clock.Now())).To(BeZero())
			f.Expect(f.metric("rolecredential_rollouts_in_progress")).To(BeZero())
			f.Expect(f.metric("rolecredential_stale_readers")).To(BeZero())
		})
	}
}

func TestContendedWorkloadIsRetriedOnceForTheNextCredential(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.run("web")
	f.reconcile()
	contend := func() (restarts int) {
		f.refresh()
		f.until(func(state string) bool {
			if f.stamp("web") != "" {
				restarts++
				d := f.deployment("web")
				d.Spec.Template.Annotations = nil
				f.Expect(f.Client.Update(t.Context(), d)).To(Succeed())
			}
			return state == "False Contended"
		})
		return restarts
	}
	f.Expect(contend()).To(Equal(3))
	f.Expect(contend()).To(Equal(1))
}

func TestProblemIsOneEventAndNotOneForEachChangeOfTheSpec(t *testing.T) {
	missing := v1alpha1.WorkloadReference{Kind: v1alpha1.WorkloadDeployment, Name: "web"}
	f := newRolloutFixture(t, testkit.World(naming(missing))...)
	f.reconcile()
	f.roll()
	f.Events()
	change := func(change func(*v1alpha1.RoleCredential)) {
		f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { change(c); c.Generation++ }))
		f.reconcile()
		f.Events()
		f.Requests.Writes = nil
		f.roll()
		f.Expect(f.Requests.Writes).To(Equal([]string{"update status RoleCredential"}))
	}
	change(func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true })
	f.Expect(f.Events()).To(BeEmpty())
	change(func(c *v1alpha1.RoleCredential) {
		c.Spec.Rollout.Targets = append(c.Spec.Rollout.Targets, v1alpha1.WorkloadReference{Kind: v1alpha1.WorkloadDeployment, Name: "api"})
	})
	f.Expect(f.Events()).To(Equal([]string{"Warning TargetNotFound"}), "another workload is missing")
}

func TestEndOfAProblemIsAnEvent(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(naming(v1alpha1.WorkloadReference{Kind: "Deployment", Name: "web"}))...)
	f.reconcile()
	f.Events()
	state, wait := f.roll()
	f.Expect(state).To(Equal("False TargetNotFound"))
	f.Expect(wait).To(Equal(5 * time.Minute))
	f.Expect(f.Events()).To(Equal([]string{"Warning TargetNotFound"}))
	f.Clock.SetTime(f.Clock.Now().Add(wait))
	f.run("web")
	state, _ = f.roll()
	f.Expect(state).To(Equal("True RolledOut"))
	f.Expect(f.Events()).To(Equal([]string{"Normal RolledOut"}))
}

// Two reconcilers write one status. Each may write between the read and the write of the other.
func TestReconcilersKeepTheConditionsOfEachOther(t *testing.T) {
	for name, tc := range map[string]struct {
		first, between func(f *rolloutFixture)
	}{
		"the rollout writes first":    {func(f *rolloutFixture) { f.reconcile() }, func(f *rolloutFixture) { f.roll() }},
		"the credential writes first": {func(f *rolloutFixture) { f.roll() }, func(f *rolloutFixture) { f.reconcile() }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRolloutFixture(t, testkit.World(discovering())...)
			f.run("web")
			f.reconcile()
			f.roll()
			f.Clock.SetTime(f.Credential().Status.NextRefreshTime.Time)
			if name == "the credential writes first" { // the condition of the rollout changes
				f.Clock.SetTime(testkit.Start.Add(31 * time.Second))
				f.run("late")
				f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) {
					c.Spec.Rollout.Targets = []v1alpha1.WorkloadReference{{Kind: "Deployment", Name: "missing"}}
					metav1.SetMetaDataAnnotation(&c.ObjectMeta, v1alpha1.RefreshAnnotation, "now")
				}))
			}
			interrupted := false
			f.Requests.Fail = func(verb string, _ client.Object) error {
				if verb == "update status" && !interrupted {
					interrupted = true
					tc.between(f)
				}
				return nil
			}
			tc.first(f)
			f.Expect(interrupted).To(BeTrue())
			f.Expect(f.STS.Issued).To(HaveLen(2))
			got := f.Credential()
			f.Expect(got.Status.AccessKeyID).To(Equal("ASIAB"))
			state, _ := f.roll()
			f.Expect(testkit.States(got.Status.Conditions)).To(And(HaveLen(4), HaveKeyWithValue("Ready", "True Issued"), HaveKeyWithValue("RolledOut", state)))
		})
	}
}

func TestOnlyCredentialsWithRolloutAreReconciled(t *testing.T) {
	g := NewWithT(t)
	did := testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) {
		meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{Type: "RolledOut", Status: "True", Reason: "RolledOut"})
	})
	authorized := testkit.Changed(discovering(), func(c *v1alpha1.RoleCredential) {
		meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{Type: "Authorized", Status: "True", Reason: "Allowed", ObservedGeneration: 1})
	})
	another := func(c *v1alpha1.RoleCredential) *v1alpha1.RoleCredential {
		return testkit.Changed(c.DeepCopy(), func(c *v1alpha1.RoleCredential) { c.Generation = 2 })
	}
	for name, tc := range map[string]struct {
		old, current *v1alpha1.RoleCredential
		want         bool
	}{
		"without rollout":              {nil, testkit.Reader(), false},
		"with rollout":                 {nil, discovering(), true},
		"with the condition":           {nil, did, true},
		"without rollout, and changed": {testkit.Reader(), another(testkit.Reader()), false},
		"rollout is added":             {testkit.Reader(), another(discovering()), true},
		"rollout is removed":           {discovering(), another(testkit.Reader()), true},
		"no change of the spec":        {discovering(), discovering(), false},
		"the credential is authorized": {discovering(), authorized, true},
		"authorized as before":         {authorized, authorized, false},
	} {
		if tc.old == nil {
			g.Expect(rollout.RolloutChanged.Create(event.CreateEvent{Object: tc.current})).To(Equal(tc.want), name)
			g.Expect(rollout.RolloutChanged.Delete(event.DeleteEvent{Object: tc.current})).To(Equal(tc.want), name)
			continue
		}
		g.Expect(rollout.RolloutChanged.Update(event.UpdateEvent{ObjectOld: tc.old, ObjectNew: tc.current})).To(Equal(tc.want), name)
	}
}

func TestNothingIsRestartedInTheFirstMinuteOfAManager(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.run("web")
	f.reconcile()
	f.refresh()
	f.Clock.SetTime(f.Clock.Now().Add(18 * time.Minute))
	f.restartManager()
	for _, after := range []time.Duration{0, 30 * time.Second, 30*time.Second - 1} {
		f.Clock.SetTime(f.Clock.Now().Add(after))
		f.roll()
		f.Expect(f.stamp("web")).To(BeEmpty())
	}
	f.Clock.SetTime(f.Clock.Now().Add(1))
	f.roll()
	f.Expect(f.stamp("web")).NotTo(BeEmpty())
}

func TestRolloutRequiresAuthorizationOfThisGeneration(t *testing.T) {
	denied := metav1.Condition{Type: "Authorized", Status: "False", Reason: "NotAllowed", ObservedGeneration: 1}
	for name, tc := range map[string]struct {
		change func(c *v1alpha1.RoleCredential)
		want   string
	}{
		"no rule allows the request":     {func(c *v1alpha1.RoleCredential) { meta.SetStatusCondition(&c.Status.Conditions, denied) }, "Unknown NotAllowed"},
		"the generation is not observed": {func(c *v1alpha1.RoleCredential) { c.Generation = 2 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRolloutFixture(t, testkit.World(discovering())...)
			f.run("web")
			f.reconcile()
			f.refresh()
			f.Update(testkit.Changed(f.Credential(), tc.change))
			f.Expect(f.Client.Status().Update(t.Context(), testkit.Changed(f.Credential(), tc.change))).To(Succeed())
			f.Clock.SetTime(f.Clock.Now().Add(19 * time.Minute))
			state, wait := f.roll()
			f.Expect(state).To(Equal(tc.want))
			f.Expect(wait).To(BeZero(), "the change of the condition enqueues it")
			f.Expect(f.reads).To(BeEmpty())
			f.Expect(f.stamp("web")).To(BeEmpty())
		})
	}
}

func TestDueTimesFollowTheClockOfSTS(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.STS.Skewed = 10 * time.Minute
	f.reconcile()
	f.Clock.SetTime(f.Clock.Now().Add(time.Minute))
	f.run("web")
	f.reconcile()
	due := f.Credential().Status.NextRefreshTime.Add(-10 * time.Minute)
	f.Clock.SetTime(due)
	f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(2))
	f.until(func(string) bool { return f.stamp("web") != "" })
	f.Expect(f.Clock.Now()).To(And(BeTemporally(">", due.Add(5*time.Minute)), BeTemporally("<", due.Add(18*time.Minute))))
}

// injected returns a pod to which a mutating webhook added the reference to the Secret: the pod template lacks it.
func injected(d *appsv1.Deployment, started time.Time) *corev1.Pod {
	p := podOf(d, started)
	p.Spec = readingPod(d.Name, "s3-reader").Spec.Template.Spec
	return p
}

func TestRolloutRestartsOwnerOfPodThatAWebhookGaveTheSecret(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	web := readingPod("web")
	f.Expect(f.Client.Create(t.Context(), web)).To(Succeed())
	f.Expect(f.Client.Create(t.Context(), injected(web, testkit.Start))).To(Succeed())
	f.reconcile()
	f.refresh()
	state, _ := f.roll()
	f.Expect(state).To(Equal("False Restarting"))
	f.Expect(f.metric("rolecredential_stale_readers")).To(Equal(1.0))

	f.until(func(string) bool { return f.stamp("web") != "" })
	f.Expect(f.stamp("web")).To(Equal(`{"s3-reader":"ASIAB"}`))
	restarted := f.deployment("web")
	f.Expect(f.Client.Delete(t.Context(), injected(restarted, testkit.Start))).To(Succeed())
	f.Expect(f.Client.Create(t.Context(), injected(restarted, f.Clock.Now()))).To(Succeed())
	f.Requests.Writes = nil
	f.until(is("True RolledOut"))
	f.Expect(f.metric("rolecredential_stale_readers")).To(BeZero())
	f.restartManager()
	state, wait := f.roll()
	f.Expect(state).To(Equal("True RolledOut"))
	f.Expect(wait).To(BeZero())
	f.Expect(f.Requests.Writes).NotTo(ContainElement("apply Deployment"), "the restarted Deployment is not restarted again")
}

func TestStalePodThatNoTargetCoversIsReported(t *testing.T) {
	web := v1alpha1.WorkloadReference{Kind: v1alpha1.WorkloadDeployment, Name: "web"}
	for name, tc := range map[string]struct {
		credential *v1alpha1.RoleCredential
		pod        *corev1.Pod
		saying     string
	}{
		"a pod that a Job owns": {
			discovering(), testkit.Changed(injected(readingPod("job"), testkit.Start), func(p *corev1.Pod) {
				p.OwnerReferences[0].APIVersion, p.OwnerReferences[0].Kind, p.OwnerReferences[0].Name = "batch/v1", "Job", "job"
			}), "Pod job-abc-1 is not owned by a workload that can be restarted",
		},
		"a pod that a StatefulSet of another API group owns": {
			discovering(), testkit.Changed(injected(readingPod("web"), testkit.Start), func(p *corev1.Pod) {
				p.OwnerReferences[0].APIVersion, p.OwnerReferences[0].Kind, p.OwnerReferences[0].Name = "apps.kruise.io/v1beta1", "StatefulSet", "web"
			}), "Pod web-abc-1 is not owned by a workload that can be restarted",
		},
		"a pod whose Deployment does not exist": {discovering(), injected(readingPod("gone"), testkit.Start), "Pod gone-abc-1 is not owned by a workload that can be restarted"},
		"a pod of a Deployment that targets do not name": {
			naming(web), injected(readingPod("api"), testkit.Start), "Deployment api is not named by spec.rollout.targets, and spec.rollout.discover is not set",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRolloutFixture(t, testkit.World(tc.credential)...)
			f.Expect(f.Client.Create(t.Context(), readingPod("web"))).To(Succeed())
			f.Expect(f.Client.Create(t.Context(), readingPod("api"))).To(Succeed())
			f.Expect(f.Client.Create(t.Context(), tc.pod)).To(Succeed())
			f.reconcile()
			f.refresh()
			f.until(is("False PodsOutdated"))
			f.Expect(testkit.Message(f.Credential().Status.Conditions, "RolledOut")).To(ContainSubstring(tc.saying))
			f.Expect(f.metric("rolecredential_stale_readers")).To(Equal(1.0))
			f.Expect(f.metric("rolecredential_stuck_readers")).To(Equal(1.0))
			f.Expect(f.stamp("web")).To(BeEmpty())
			f.Expect(f.stamp("api")).To(BeEmpty())
		})
	}
}

// canary creates an Argo Rollout that waits in a canary step, with one stable pod that reads the Secret.
func (f *rolloutFixture) canary() {
	f.T.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{"app": "canary"}},
			"strategy": map[string]any{"canary": map[string]any{"steps": []any{map[string]any{"setWeight": int64(20)}, map[string]any{"pause": map[string]any{}}}}},
			"template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "canary"}}},
		},
		"status": map[string]any{"phase": "Paused", "stableRS": "abc", "currentPodHash": "def", "availableReplicas": int64(1)},
	}}
	u.SetGroupVersionKind(argoKind)
	u.SetNamespace("shop")
	u.SetName("canary")
	u.SetUID("canary")
	f.Expect(f.Client.Create(f.T.Context(), u)).To(Succeed())
	f.Expect(f.Client.Create(f.T.Context(), stablePod(f.Clock.Now()))).To(Succeed())
}

var argoKind = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}

func stablePod(created time.Time) *corev1.Pod {
	return testkit.Changed(podOf(readingPod("canary", "s3-reader"), created), func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "canary", "rollouts-pod-template-hash": "abc"}
		p.CreationTimestamp = metav1.NewTime(created)
	})
}

func (f *rolloutFixture) argoRollout() *unstructured.Unstructured {
	f.T.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(argoKind)
	f.Expect(f.Client.Get(f.T.Context(), client.ObjectKey{Namespace: "shop", Name: "canary"}, u)).To(Succeed())
	return u
}

func (f *rolloutFixture) restartAt() string {
	at, _, err := unstructured.NestedString(f.argoRollout().Object, "spec", "restartAt")
	f.Expect(err).NotTo(HaveOccurred())
	return at
}

// finishInPlace replaces the pod, or cancels the restart, and sets status.restartedAt, as Argo Rollouts does.
func (f *rolloutFixture) finishInPlace(replace bool) {
	f.T.Helper()
	u := f.argoRollout()
	f.Expect(unstructured.SetNestedField(u.Object, f.restartAt(), "status", "restartedAt")).To(Succeed())
	f.Expect(f.Client.Update(f.T.Context(), u)).To(Succeed())
	if replace {
		f.Expect(f.Client.Delete(f.T.Context(), stablePod(testkit.Start))).To(Succeed())
		f.Expect(f.Client.Create(f.T.Context(), stablePod(f.Clock.Now()))).To(Succeed())
	}
}

func (f *rolloutFixture) argoRestarts() (n int) {
	for _, write := range f.Requests.Writes {
		if write == "apply Rollout" {
			n++
		}
	}
	return n
}

func TestArgoRolloutIsRestartedInPlaceOncePerCredential(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.canary()
	f.reconcile()
	f.refresh()
	before := f.argoRollout()
	f.until(func(string) bool { return f.restartAt() != "" })
	f.Expect(f.restartAt()).To(Equal(f.Clock.Now().UTC().Format(time.RFC3339)))
	f.Expect(f.argoRollout().GetAnnotations()).To(Equal(map[string]string{v1alpha1.CredentialsAnnotation: `{"s3-reader":"ASIAB"}`}))
	f.Expect(f.argoRollout().Object["spec"].(map[string]any)["template"]).To(Equal(before.Object["spec"].(map[string]any)["template"]), "no new revision")

	f.restartManager()
	state, wait := f.roll()
	f.Expect(state).To(Equal("False Restarting"))
	f.Expect(f.rollouts.Slots.Taken(f.Clock.Now())).To(Equal(1), "the restart takes a slot")
	f.Clock.SetTime(f.Clock.Now().Add(wait))
	f.finishInPlace(true)
	f.until(is("True RolledOut"))
	f.Expect(f.rollouts.Slots.Taken(f.Clock.Now())).To(BeZero())
	f.Expect(f.argoRestarts()).To(Equal(1))

	f.refresh()
	f.until(func(string) bool { return f.argoRestarts() == 1 })
	f.Expect(f.restartAt()).To(Equal(f.Clock.Now().UTC().Format(time.RFC3339)), "the next credential has its own restart")
}

func TestCancelledRestartOfArgoRolloutIsRepeatedAFewTimes(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.canary()
	f.reconcile()
	f.refresh()
	restarts := 0
	f.until(func(state string) bool {
		if n := f.argoRestarts(); n > restarts {
			restarts = n
			f.finishInPlace(false) // as after a change of the pod template
		}
		return state == "False Contended"
	})
	f.Expect(restarts).To(Equal(3))
	f.Expect(testkit.Message(f.Credential().Status.Conditions, "RolledOut")).To(ContainSubstring("undoing the restart of Rollout canary"))
}

func TestBlockedRestartOfArgoRolloutIsReported(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.canary()
	f.reconcile()
	f.refresh()
	f.until(func(string) bool { // a PodDisruptionBudget blocks the eviction
		return strings.Contains(testkit.Message(f.Credential().Status.Conditions, "RolledOut"), "Rollout canary was restarted, but not all of its pods were replaced")
	})
	state, _ := f.roll()
	f.Expect(state).To(Equal("False PodsOutdated"))
	f.Expect(f.argoRestarts()).To(Equal(1))
}

func TestRestartAtFollowsTheClockOfTheCluster(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.STS.Skewed = 10 * time.Minute
	f.reconcile()
	f.Clock.SetTime(f.Clock.Now().Add(time.Minute))
	f.canary()
	f.reconcile()
	f.Clock.SetTime(f.Credential().Status.NextRefreshTime.Add(-10 * time.Minute))
	f.reconcile()
	f.until(func(string) bool { return f.restartAt() != "" })
	f.Expect(f.restartAt()).To(Equal(f.Clock.Now().UTC().Format(time.RFC3339)))
}

func TestRestartNamesNoCredentialThatWasJustIssued(t *testing.T) {
	for name, tc := range map[string]struct {
		since time.Duration
		want  string
	}{
		"issued 29 seconds ago": {29 * time.Second, `{"s3-reader":"ASIANEW"}`},
		"issued 30 seconds ago": {30 * time.Second, `{"queue":"ASIAQUEUE","s3-reader":"ASIANEW"}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRolloutFixture(t, testkit.World()...)
			record := reissue.Record{AccessKeyID: "ASIAQUEUE", IssuedAt: testkit.Start, Expiration: testkit.Start.Add(time.Hour)}.WithChecksum(nil)
			f.Expect(f.Client.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "queue", Annotations: record.Annotations()}})).To(Succeed())
			current := rollout.Credential{Namespace: "shop", Secret: "s3-reader", Record: reissue.Record{AccessKeyID: "ASIANEW"}}
			stamp, err := f.rollouts.Stamp(t.Context(), current, rollout.Reader{Workload: &rollout.Workload{}, Pods: []rollout.Pod{{Secrets: []string{"queue", "s3-reader"}}}}, testkit.Start.Add(tc.since))
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(stamp.String()).To(Equal(tc.want))
		})
	}
}

// reconcile issues the credential of the Reader if it is due.
func (f *rolloutFixture) reconcile() (*v1alpha1.RoleCredential, reconcile.Result) {
	f.T.Helper()
	result, err := f.credentials.Reconcile(f.T.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(testkit.Reader())})
	f.Expect(err).NotTo(HaveOccurred())
	return f.Credential(), result
}
