package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/rollout"
	"rolecredential.dev/operator/controllers/rollout/readers"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/telemetry"
	"rolecredential.dev/operator/hack/stsemulator"
)

// stage is a namespace of Deployments that read one credential's Secret, and the reconciler that restarts them, on a real
// API server, as the operator's ServiceAccount. The test sets the clock, and does what the Deployment controller and the
// kubelet do.
type stage struct {
	*harness
	clock     *clocktesting.FakeClock
	operator  client.Client
	namespace string
	owner     *v1alpha1.RoleCredential
	record    reissue.Record
	rollouts  *rollout.Reconciler[*v1alpha1.RoleCredential]
	// takes is how long a restart of a Deployment takes, and restarting since when each Deployment restarts.
	takes      time.Duration
	restarting map[string]time.Time
	// restarts are the times when each Deployment was restarted.
	restarts map[string][]time.Time
	// most is how many restarted at the same time.
	most int
}

const (
	maxConcurrent = 5
	// share is the number of slots that one namespace may hold.
	share = 3
)

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{
		harness: newHarness(t, stsemulator.Options{}), clock: clocktesting.NewFakeClock(clock.RealClock{}.Now().Truncate(time.Second)),
		takes: 40 * time.Second, restarting: map[string]time.Time{}, restarts: map[string][]time.Time{},
	}
	s.stop = func() {}
	var err error
	s.operator, err = client.New(s.asOperator(), client.Options{Scheme: admin.Scheme()})
	s.Expect(err).NotTo(HaveOccurred())
	s.namespace = s.harness.namespace(nil)
	s.owner = roleCredential(s.namespace, "s3-reader", "none")
	s.owner.Spec.Rollout = &v1alpha1.Rollout{Discover: true}
	s.Expect(admin.Create(s.ctx, s.owner)).To(Succeed())
	s.owner.Status.Conditions = []metav1.Condition{{
		Type: "Authorized", Status: "True", Reason: "Allowed", ObservedGeneration: s.owner.Generation, LastTransitionTime: metav1.NewTime(s.clock.Now()),
	}}
	s.Expect(admin.Status().Update(s.ctx, s.owner)).To(Succeed())
	s.startRollouts()
	return s
}

// startRollouts creates a reconciler without memory, as a restart of the manager does.
func (s *stage) startRollouts() {
	s.t.Helper()
	metrics, err := telemetry.NewMetrics(prometheus.NewRegistry(), s.clock)
	s.Expect(err).NotTo(HaveOccurred())
	s.rollouts = &rollout.Reconciler[*v1alpha1.RoleCredential]{
		Kind: request.Kind[*v1alpha1.RoleCredential]{
			Name: "RoleCredential", New: func() *v1alpha1.RoleCredential { return &v1alpha1.RoleCredential{} },
			Request: func(*v1alpha1.RoleCredential) (request.Request, *reason.Error) {
				return request.Request{}, nil
			},
		},
		Client:     cached{s.operator},
		Identities: &identity.Resolver{Reader: cached{s.operator}},
		Coordinator: &rollout.Coordinator{
			Workloads: rollout.Cluster{APIReader: s.operator, Writer: s.operator}, Slots: &rollout.Slots{Max: maxConcurrent},
		},
		Events: telemetry.Events{Recorder: events.NewFakeRecorder(1000)}, Metrics: metrics, Clock: s.clock,
	}
}

// cached reads as an admin what the manager reads from its cache: the operator may list and watch it, but not get it.
type cached struct{ client.Client }

func (cached) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	return admin.Get(ctx, key, object, options...)
}

// issue writes a credential that is valid for an hour into the Secret.
func (s *stage) issue(id string) {
	s.t.Helper()
	now := s.clock.Now()
	var before *reissue.Record
	if !s.record.IssuedAt.IsZero() {
		before = &s.record
	}
	data := map[string][]byte{"AWS_ACCESS_KEY_ID": []byte(id)}
	s.record = reissue.Record{AccessKeyID: id, IssuedAt: now, Expiration: now.Add(time.Hour)}.WithPrevious(before).WithChecksum(data)
	store := &secretstore.Store{Client: s.operator, APIReader: s.operator}
	observed, err := store.Observe(s.ctx, s.owner, "s3-reader", v1alpha1.SecretTemplate{}, false)
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(store.Write(s.ctx, s.owner, "s3-reader", observed, secretstore.Content{Record: s.record, Data: data})).To(Succeed())
}

// deploy creates a Deployment whose pods read the Secret, and starts its pod.
func (s *stage) deploy(name string) *appsv1.Deployment {
	s.t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	d.Spec.Template.Labels = map[string]string{"app": name, "tier": "web"}
	d.Spec.Template.Annotations = map[string]string{"theirs": "stays"}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "c", EnvFrom: []corev1.EnvFromSource{
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "s3-reader"}}},
	}}}
	s.Expect(admin.Create(s.ctx, d, client.FieldOwner("their-tool"))).To(Succeed())
	s.replace(d)
	return d
}

// replace replaces the pod of a Deployment by one of the current template, which starts now.
func (s *stage) replace(d *appsv1.Deployment) {
	s.t.Helper()
	hash := fmt.Sprint("h", d.Generation)
	s.Expect(admin.DeleteAllOf(s.ctx, &corev1.Pod{}, client.InNamespace(s.namespace), client.MatchingLabels{"app": d.Name}, client.GracePeriodSeconds(0))).To(Succeed())
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.namespace, Name: d.Name + "-" + hash, Labels: map[string]string{"app": d.Name, "pod-template-hash": hash}, Annotations: d.Spec.Template.Annotations,
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: d.Name + "-" + hash, UID: types.UID(hash), Controller: new(true)}},
	}, Spec: d.Spec.Template.Spec}
	s.Expect(admin.Create(s.ctx, p)).To(Succeed())
	s.run(p)
	s.status(d, appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1})
}

// run starts a pod's container now.
func (s *stage) run(p *corev1.Pod) {
	s.t.Helper()
	p.Status.Phase = corev1.PodRunning
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "c", Image: "c", ImageID: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(s.clock.Now())}},
	}}
	s.Expect(admin.Status().Update(s.ctx, p)).To(Succeed())
}

func (s *stage) status(d *appsv1.Deployment, status appsv1.DeploymentStatus) {
	s.t.Helper()
	status.ObservedGeneration, status.ReadyReplicas = d.Generation, status.AvailableReplicas
	d.Status = status
	s.Expect(admin.Status().Update(s.ctx, d)).To(Succeed())
}

// play does what the Deployment controller does up to the current time.
func (s *stage) play() {
	s.t.Helper()
	for _, d := range s.deployments() {
		switch begun, restarts := s.restarting[d.Name]; {
		case d.Generation > d.Status.ObservedGeneration:
			s.restarts[d.Name] = append(s.restarts[d.Name], s.clock.Now())
			s.restarting[d.Name] = s.clock.Now()
			s.status(&d, appsv1.DeploymentStatus{Replicas: 2, UpdatedReplicas: 1, AvailableReplicas: 1})
		case restarts && !s.clock.Now().Before(begun.Add(s.takes)):
			delete(s.restarting, d.Name)
			s.replace(&d)
		}
	}
	s.most = max(s.most, len(s.restarting))
}

func (s *stage) deployments() []appsv1.Deployment {
	s.t.Helper()
	var all appsv1.DeploymentList
	s.Expect(admin.List(s.ctx, &all, client.InNamespace(s.namespace))).To(Succeed())
	return all.Items
}

// reconcile reconciles once, and returns the condition and when to requeue.
func (s *stage) reconcile() (string, time.Duration) {
	s.t.Helper()
	result, err := s.rollouts.Reconcile(s.ctx, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(s.owner)})
	s.Expect(err).NotTo(HaveOccurred())
	return s.state(s.owner, "RolledOut")(), result.RequeueAfter
}

// until reconciles at the times that the reconciler requests, until end returns true.
func (s *stage) until(end func(state string) bool) {
	s.t.Helper()
	for range 1000 {
		state, wait := s.reconcile()
		s.play()
		if end(state) {
			return
		}
		s.Expect(wait).NotTo(BeZero(), state)
		s.clock.SetTime(s.clock.Now().Add(wait))
	}
	s.t.Fatal("the rollout does not end")
}

func (s *stage) restarted() (n int) {
	for _, times := range s.restarts {
		n += len(times)
	}
	return n
}

func TestThirtyDeploymentsAreRestartedBeforeThePreviousCredentialExpires(t *testing.T) {
	const deployments = 30
	s := newStage(t)
	s.issue("ASIAFIRST")
	for i := range deployments {
		s.deploy(fmt.Sprintf("web-%02d", i))
	}
	state, wait := s.reconcile()
	s.Expect(state).To(Equal("True RolledOut")) // they started with the credential
	s.Expect(wait).To(BeZero())

	s.clock.SetTime(s.clock.Now().Add(40 * time.Minute))
	refreshed, expires := s.clock.Now(), s.record.Expiration
	s.issue("ASIASECOND")
	s.until(func(string) bool { return s.restarted() >= deployments/2 })
	s.Expect(s.restarting).NotTo(BeEmpty(), "some restart now")
	s.startRollouts() // the manager restarts
	s.until(func(state string) bool { return state == "True RolledOut" })

	s.Expect(s.clock.Now()).To(BeTemporally("<", expires))
	s.Expect(s.most).To(BeNumerically("<=", share))
	s.Expect(s.restarts).To(HaveLen(deployments))
	var inEachQuarter [4]int
	for name, times := range s.restarts {
		s.Expect(times).To(HaveLen(1), name)
		inEachQuarter[int(times[0].Sub(refreshed)*4/expires.Sub(refreshed))]++
	}
	s.Expect(inEachQuarter[0]).To(BeZero())
	s.Expect(inEachQuarter[1]).To(BeNumerically(">", deployments/8)) // a hash of the names spreads them
	s.Expect(inEachQuarter[2]).To(BeNumerically(">", deployments/8))
	s.startRollouts()
	state, _ = s.reconcile()
	s.Expect(state).To(Equal("True RolledOut"))
	s.eachWasRestarted(1, "ASIASECOND")

	// After an outage all credentials of the pods have expired. Still no more workloads restart at the same time.
	s.clock.SetTime(s.record.Expiration.Add(time.Hour))
	s.issue("ASIATHIRD")
	s.until(func(state string) bool { return state == "True RolledOut" })
	s.Expect(s.most).To(Equal(share))
	s.eachWasRestarted(2, "ASIATHIRD")
}

func (s *stage) eachWasRestarted(times int, onto string) {
	s.t.Helper()
	for _, d := range s.deployments() {
		s.Expect(d.Generation).To(BeEquivalentTo(1+times), d.Name)
		s.Expect(d.Spec.Template.Annotations).To(Equal(map[string]string{"theirs": "stays", v1alpha1.CredentialsAnnotation: fmt.Sprintf(`{"s3-reader":%q}`, onto)}))
	}
}

func TestRestartOwnsOnlyItsAnnotation(t *testing.T) {
	s := newStage(t)
	s.issue("ASIAFIRST")
	d := s.deploy("web")
	s.clock.SetTime(s.clock.Now().Add(40 * time.Minute))
	s.issue("ASIASECOND")
	s.until(func(state string) bool { return state == "True RolledOut" })

	owned := func() string {
		s.Expect(admin.Get(s.ctx, client.ObjectKeyFromObject(d), d)).To(Succeed())
		for _, entry := range d.ManagedFields {
			if entry.Manager == "rolecredential-rollout" {
				s.Expect(entry.Operation).To(Equal(metav1.ManagedFieldsOperationApply))
				return string(entry.FieldsV1.GetRawBytes())
			}
		}
		return ""
	}
	s.Expect(owned()).To(MatchJSON(`{"f:spec":{"f:template":{"f:metadata":{"f:annotations":{"f:sts.rolecredential.dev/credentials":{}}}}}}`))

	// A tool that applies its manifests again keeps the annotation.
	manifest := &unstructured.Unstructured{}
	text, err := json.Marshal(map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "web", "namespace": s.namespace},
		"spec": map[string]any{"selector": d.Spec.Selector, "template": map[string]any{
			"metadata": map[string]any{"labels": d.Spec.Template.Labels, "annotations": map[string]any{"theirs": "changed"}},
			"spec":     map[string]any{"containers": []any{map[string]any{"name": "c", "image": "d"}}},
		}},
	})
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(json.Unmarshal(text, manifest)).To(Succeed())
	s.Expect(admin.Apply(s.ctx, client.ApplyConfigurationFromUnstructured(manifest), client.FieldOwner("argocd-controller"), client.ForceOwnership)).To(Succeed())
	s.Expect(owned()).To(ContainSubstring("f:sts.rolecredential.dev/credentials"))
	s.Expect(d.Spec.Template.Annotations).To(Equal(map[string]string{"theirs": "changed", v1alpha1.CredentialsAnnotation: `{"s3-reader":"ASIASECOND"}`}))
}

func TestOperatorStopsRestartsThatAToolUndoes(t *testing.T) {
	s := newStage(t)
	s.issue("ASIAFIRST")
	d := s.deploy("web")
	s.clock.SetTime(s.clock.Now().Add(40 * time.Minute))
	s.issue("ASIASECOND")
	restarts := 0
	// The tool removes the annotation before a pod is replaced.
	revert := func() {
		s.Expect(admin.Get(s.ctx, client.ObjectKeyFromObject(d), d)).To(Succeed())
		if d.Spec.Template.Annotations[v1alpha1.CredentialsAnnotation] == "" {
			return
		}
		restarts++
		delete(d.Spec.Template.Annotations, v1alpha1.CredentialsAnnotation)
		s.Expect(admin.Update(s.ctx, d, client.FieldOwner("their-tool"))).To(Succeed())
		s.status(d, appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1})
	}
	state := ""
	for s.clock.Now().Before(s.record.Expiration.Add(-10 * time.Minute)) {
		var wait time.Duration
		state, wait = s.reconcile()
		revert()
		s.clock.SetTime(s.clock.Now().Add(max(wait, time.Second)))
	}
	s.Expect(state).To(Equal("False Contended"))
	s.Expect(restarts).To(Equal(3))
}

// A Deployment may be deleted, or replaced by one of the same name, between the read and the restart.
func TestRestartChangesOnlyTheWorkloadThatWasRead(t *testing.T) {
	s := newStage(t)
	d := s.deploy("web")
	read := rollout.Workload{Ref: rollout.Ref{Kind: "Deployment", Name: "web"}, UID: d.UID}
	s.Expect(admin.Delete(s.ctx, d)).To(Succeed())
	workloads := rollout.Cluster{APIReader: s.operator, Writer: s.operator}
	s.Expect(workloads.Restart(s.ctx, s.namespace, read, readers.Stamp{"s3-reader": "ASIAFIRST"}, s.clock.Now())).NotTo(Succeed())
	s.Expect(s.deployments()).To(BeEmpty())
	recreated := s.deploy("web")
	s.Expect(workloads.Restart(s.ctx, s.namespace, read, readers.Stamp{"s3-reader": "ASIAFIRST"}, s.clock.Now())).NotTo(Succeed())
	s.Expect(admin.Get(s.ctx, client.ObjectKeyFromObject(recreated), recreated)).To(Succeed())
	s.Expect(recreated.Spec.Template.Annotations).NotTo(HaveKey(v1alpha1.CredentialsAnnotation))
}

func TestMissingClusterRoleIsReportedAndAffectsOnlyRollouts(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "rolecredential-rollout-rolebinding"}}
	h.Expect(admin.Get(h.ctx, client.ObjectKeyFromObject(binding), binding)).To(Succeed())
	h.Expect(admin.Delete(h.ctx, binding)).To(Succeed())
	restore := func() {
		binding.ResourceVersion, binding.UID = "", ""
		_ = admin.Create(context.Background(), binding)
	}
	t.Cleanup(restore)
	operator, err := client.New(h.asOperator(), client.Options{Scheme: admin.Scheme()})
	h.Expect(err).NotTo(HaveOccurred())
	may := func() error { return operator.List(h.ctx, &corev1.PodList{}, client.InNamespace("default")) }
	h.Eventually(may).WithTimeout(waitLimit).ShouldNot(Succeed())
	h.start()
	by := h.identity()
	created := h.credential(h.namespace(nil), "s3-reader", by, func(c *v1alpha1.RoleCredential) { c.Spec.Rollout = &v1alpha1.Rollout{Discover: true} })
	h.eventually(created, "Ready", "True Issued")
	h.eventually(created, "RolledOut", "False Forbidden")
	h.Eventually(h.events(created)).WithTimeout(waitLimit).Should(ConsistOf("Normal Issued", "Warning Forbidden"))
	h.refresh(created, "1")
	h.Eventually(func() string { h.state(created, "Ready")(); return created.Status.LastHandledRefreshRequest }).WithTimeout(waitLimit).Should(Equal("1"))
	h.Expect(h.state(created, "RolledOut")()).To(Equal("False Forbidden"))

	restore()
	h.Eventually(may).WithTimeout(waitLimit).Should(Succeed())
	h.refresh(created, "2") // or after 5 minutes
	h.eventually(created, "RolledOut", "True RolledOut")
	h.Expect(h.state(created, "Ready")()).To(Equal("True Issued"))
}

// The watch of the Secret enqueues the rollout, and both reconcilers write one status.
func TestRefreshRestartsADeployment(t *testing.T) {
	now := clocktesting.NewFakeClock(clock.RealClock{}.Now())
	s := &stage{harness: newHarness(t, stsemulator.Options{Clock: now, SignatureClock: clock.RealClock{}}), clock: now}
	s.options.Clock = now
	s.start()
	s.namespace = s.harness.namespace(nil)
	by := s.identity()
	d := s.deploy("web")
	created := s.credential(s.namespace, "s3-reader", by, func(c *v1alpha1.RoleCredential) {
		c.Spec.Rollout = &v1alpha1.Rollout{Targets: []v1alpha1.WorkloadReference{{Kind: v1alpha1.WorkloadDeployment, Name: "web"}}}
	})
	s.eventually(created, "Ready", "True Issued")
	s.eventually(created, "RolledOut", "True RolledOut")
	now.SetTime(now.Now().Add(time.Minute))
	s.Expect(admin.Get(s.ctx, client.ObjectKeyFromObject(d), d)).To(Succeed())
	s.replace(d)

	now.SetTime(now.Now().Add(40 * time.Minute))
	before, reads := s.requests(), s.reads()
	s.refresh(created, "1")
	s.eventually(created, "RolledOut", "False Restarting")
	s.Expect(s.state(created, "Ready")()).To(Equal("True Issued"))
	now.SetTime(now.Now().Add(15 * time.Minute))
	s.enqueue("1")
	s.Eventually(func() string {
		s.Expect(admin.Get(s.ctx, client.ObjectKeyFromObject(d), d)).To(Succeed())
		return d.Spec.Template.Annotations[v1alpha1.CredentialsAnnotation]
	}).WithTimeout(waitLimit).Should(Equal(fmt.Sprintf(`{"s3-reader":%q}`, s.lastIssued(2))))
	s.replace(d)
	now.SetTime(now.Now().Add(time.Minute))
	s.enqueue("2")
	s.eventually(created, "RolledOut", "True RolledOut")
	s.Expect(s.state(created, "Ready")()).To(Equal("True Issued"))
	s.Expect(created.Status.Conditions).To(HaveLen(4))
	written := s.since(before)
	s.Expect(written["PUT rolecredentials/status"]).To(Equal(3)) // the issue, the start and the end of the restarts
	s.Expect(written["PUT secrets"]).To(Equal(1 + 2))            // a refresh, and the changes that enqueue
	s.Expect(written).NotTo(HaveKey("POST events"))
	for what, n := range s.reads() {
		s.Expect(what == "GET deployments" || what == "LIST pods" || n == reads[what]).To(BeTrue(), "%s: the operator reads nothing else, and watches nothing", what)
	}
}

// enqueue enqueues the rollout by a change of the Secret: the clock of the test is not that of the queue.
func (s *stage) enqueue(value string) {
	s.t.Helper()
	secret := s.secret(s.namespace, "s3-reader")
	secret.Labels["enqueue"] = value
	s.Expect(admin.Update(s.ctx, secret)).To(Succeed())
}

func TestCredentialWithoutRolloutReadsNoWorkloads(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace, by := h.namespace(nil), h.identity()
	before := h.reads()
	created := h.credential(namespace, "without", by)
	h.eventually(created, "Ready", "True Issued")
	h.refresh(created, "1")
	h.lastIssued(2)
	h.eventually(created, "Ready", "True Issued")
	h.Expect(created.Status.Conditions).To(HaveLen(3))
	h.Expect(h.reads()).To(Equal(before))

	with := h.credential(namespace, "with", by, func(c *v1alpha1.RoleCredential) { c.Spec.Rollout = &v1alpha1.Rollout{Discover: true} })
	h.eventually(with, "RolledOut", "True RolledOut")
	after := h.reads()
	h.Expect(after["LIST pods"] - before["LIST pods"]).To(BeNumerically("~", 1, 1)) // one for each pass
	h.Expect(slices.Collect(func(yield func(string) bool) {
		for what := range after {
			if what == "WATCH deployments" || what == "WATCH pods" {
				yield(what)
			}
		}
	})).To(BeEmpty())

	update(h, with, func(c *v1alpha1.RoleCredential) { c.Spec.Rollout = nil })
	h.eventually(with, "RolledOut", "none")
	h.Expect(h.state(with, "Ready")()).To(Equal("True Issued"))
}

// argo installs the CRD of Argo Rollouts for the time of a test.
func (h *harness) argo() {
	h.t.Helper()
	// The fields of the project's CRD (manifests/crds/rollout-crd.yaml) that the operator reads and writes.
	at := apiextensionsv1.JSONSchemaProps{Type: "string", Format: "date-time"}
	part := func(property string) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true), Properties: map[string]apiextensionsv1.JSONSchemaProps{property: at}}
	}
	schema := &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": part("restartAt"), "status": part("restartedAt")}}
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "rollouts.argoproj.io"}, Spec: apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "argoproj.io", Scope: apiextensionsv1.NamespaceScoped,
		Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: "Rollout", ListKind: "RolloutList", Plural: "rollouts", Singular: "rollout"},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
			Name: "v1alpha1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: schema},
			Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
		}},
	}}
	text, err := json.Marshal(crd)
	h.Expect(err).NotTo(HaveOccurred())
	created := &unstructured.Unstructured{}
	h.Expect(json.Unmarshal(text, &created.Object)).To(Succeed())
	created.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	h.Expect(admin.Create(h.ctx, created)).To(Succeed())
	h.t.Cleanup(func() {
		h.Expect(admin.Delete(context.Background(), created)).To(Succeed())
		_, err := kubectl("wait", "--for=delete", "--timeout=30s", "crd", created.GetName()) // another test may create it again
		h.Expect(err).NotTo(HaveOccurred())
	})
	_, err = kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", created.GetName())
	h.Expect(err).NotTo(HaveOccurred())
}

// argoRollout returns a Rollout with canary steps, whose pods read a Secret.
func argoRollout(namespace, name, secret string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": map[string]any{"namespace": namespace, "name": name},
		"spec": map[string]any{
			"replicas": int64(1),
			"strategy": map[string]any{"canary": map[string]any{"steps": []any{map[string]any{"setWeight": int64(20)}, map[string]any{"pause": map[string]any{}}}}},
			"selector": map[string]any{"matchLabels": map[string]any{"app": name}},
			"template": map[string]any{
				"metadata": map[string]any{"labels": map[string]any{"app": name}},
				"spec": map[string]any{"containers": []any{map[string]any{
					"name": "c", "image": "c", "env": []any{map[string]any{"name": "X", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": secret, "key": "AWS_ACCESS_KEY_ID"}}}},
				}}},
			},
		},
	}}
}

// stablePod creates and starts a pod of the Rollout canary.
func (s *stage) stablePod(name string) *corev1.Pod {
	s.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.namespace, Name: name, Labels: map[string]string{"app": "canary", "rollouts-pod-template-hash": "abc"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "canary-abc", UID: "abc", Controller: new(true)}},
	}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "c", EnvFrom: []corev1.EnvFromSource{
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "s3-reader"}}},
	}}}}}
	s.Expect(admin.Create(s.ctx, pod)).To(Succeed())
	s.run(pod)
	return pod
}

func TestArgoRolloutIsRestartedByRestartAt(t *testing.T) {
	s := newStage(t)
	s.argo()
	canary := argoRollout(s.namespace, "canary", "s3-reader")
	s.Expect(admin.Create(s.ctx, canary)).To(Succeed())
	canary.Object["status"] = map[string]any{"phase": "Paused", "stableRS": "abc", "currentPodHash": "def", "availableReplicas": int64(1)}
	s.Expect(admin.Status().Update(s.ctx, canary)).To(Succeed())
	s.issue("ASIAFIRST")
	stable := s.stablePod("canary-abc-1")

	s.clock.SetTime(s.clock.Now().Add(40 * time.Minute))
	s.issue("ASIASECOND")
	current := canary.DeepCopy()
	restartAt := func() string {
		s.Expect(admin.Get(s.ctx, client.ObjectKeyFromObject(canary), current)).To(Succeed())
		at, _, _ := unstructured.NestedString(current.Object, "spec", "restartAt")
		return at
	}
	s.until(func(string) bool { return restartAt() != "" })
	at := s.clock.Now().UTC().Format(time.RFC3339)
	s.Expect(unstructured.SetNestedField(canary.Object, at, "spec", "restartAt")).To(Succeed())
	s.Expect(current.Object["spec"]).To(Equal(canary.Object["spec"]), "no new revision")
	s.Expect(current.GetAnnotations()).To(Equal(map[string]string{v1alpha1.CredentialsAnnotation: `{"s3-reader":"ASIASECOND"}`}))
	s.Expect(s.state(s.owner, "RolledOut")()).To(Equal("False Restarting"))

	// Argo Rollouts evicts the pod, and its ReplicaSet creates another.
	s.Expect(admin.Delete(s.ctx, stable, client.GracePeriodSeconds(0))).To(Succeed())
	s.clock.SetTime(s.clock.Now().Add(10 * time.Second))
	s.stablePod("canary-abc-2")
	s.Expect(unstructured.SetNestedField(current.Object, at, "status", "restartedAt")).To(Succeed())
	s.Expect(admin.Status().Update(s.ctx, current)).To(Succeed())
	s.until(func(state string) bool { return state == "True RolledOut" })
	s.startRollouts() // the manager restarts
	state, wait := s.reconcile()
	s.Expect(state).To(Equal("True RolledOut"))
	s.Expect(wait).To(BeZero())
	s.Expect(restartAt()).To(Equal(at), "the Rollout is restarted once")
}

func TestRestartChangesOnlyTheArgoRolloutThatWasRead(t *testing.T) {
	s := newStage(t)
	s.argo()
	workloads := rollout.Cluster{APIReader: s.operator, Writer: s.operator}
	canary := argoRollout(s.namespace, "canary", "s3-reader")
	restart := func(of types.UID) error {
		read := rollout.Workload{Ref: rollout.Ref{Kind: "Rollout", Name: "canary"}, UID: of}
		return workloads.Restart(s.ctx, s.namespace, read, readers.Stamp{"s3-reader": "ASIAFIRST"}, s.clock.Now())
	}
	s.Expect(restart("gone")).NotTo(Succeed())
	s.Expect(admin.Create(s.ctx, canary)).To(Succeed())
	s.Expect(restart("another")).NotTo(Succeed())
	s.Expect(restart(canary.GetUID())).To(Succeed())
}
