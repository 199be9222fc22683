package perturb_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/stsemulator"
)

// scenario is a sequence of changes by others. It begins with the credential app and its Secret, unless absent is true.
type scenario struct {
	absent bool
	// collects makes Secrets disappear whose owner does not exist, as the garbage collector does.
	collects bool
	// preparation runs before the requests of the operator are recorded.
	preparation *step
	steps       []step
	// reverses is the kind that the steps change and change back; empty if they do not.
	reverses string
}

// step is a change, and what is expected of the operator then. The last state is also compared with that of the reference.
type step struct {
	do       func(*world)
	expected func(*world) error
}

// scenarios are named by what others do.
var scenarios = map[string]scenario{
	"create": {absent: true, steps: []step{{createApp, issued}}},
	"due refresh": {steps: []step{
		{func(w *world) { w.clock.Step(45 * time.Minute) }, issued},
	}},
	"refresh on demand":             {steps: []step{{requestRefresh("1"), issued}}},
	"refresh on demand, twice":      {reverses: "RoleCredential", steps: []step{{requestRefresh("1"), issued}, {requestRefresh("2"), issued}}},
	"new role":                      {steps: []step{{setRole("team/S3Writer"), issued}}},
	"new role and back":             {reverses: "RoleCredential", steps: []step{{setRole("team/S3Writer"), issued}, {setRole("S3Reader"), issued}}},
	"new formats":                   {steps: []step{{editApp(`{"spec":{"secret":{"formats":["Env","Region"]}}}`), issued}}},
	"suspend and resume":            {reverses: "RoleCredential", steps: []step{{editApp(`{"spec":{"suspend":true}}`), ready(v1alpha1.ReasonSuspended)}, {editApp(`{"spec":{"suspend":false}}`), issued}}},
	"rename":                        {steps: []step{{editApp(`{"spec":{"secret":{"name":"renamed"}}}`), issued}}},
	"adoption":                      {absent: true, steps: []step{{createForeign, ready(v1alpha1.ReasonSecretConflict)}, {consent, issued}}},
	"foreign Secret, then freed":    {absent: true, steps: []step{{createForeign, ready(v1alpha1.ReasonSecretConflict)}, {removeSecret, issued}}},
	"edited Secret":                 {steps: []step{{editSecret, issued}}},
	"deleted Secret":                {steps: []step{{removeSecret, issued}}},
	"Secret restored from a backup": {reverses: "Secret", steps: []step{{restoreSecret, issued}}},
	"delete and recreate": {reverses: "RoleCredential", steps: []step{
		{func(w *world) { w.remove(w.credential("app")) }, nothing}, {createApp, issued},
	}},
	"two credentials for one Secret": {collects: true, steps: []step{
		{createSecond, func(w *world) error { return w.ready("second", v1alpha1.ReasonSecretConflict) }},
		{func(w *world) { w.remove(w.credential("app")); removeSecret(w) }, func(w *world) error { return w.ready("second", v1alpha1.ReasonIssued) }},
	}},
	"rule withdrawn and given back": {reverses: "ClusterIdentity", steps: []step{
		{allow("no"), authorized(v1alpha1.ReasonNotAllowed)}, {allow("yes"), authorized(v1alpha1.ReasonAllowed)},
	}},
	"namespace without its label and with it again": {reverses: "Namespace", steps: []step{
		{label("no"), authorized(v1alpha1.ReasonNotAllowed)}, {label("yes"), authorized(v1alpha1.ReasonAllowed)},
	}},
	"identity made anew": {reverses: "ClusterIdentity", steps: []step{
		{func(w *world) { w.remove(w.identity()) }, authorized(v1alpha1.ReasonIdentityNotFound)},
		{func(w *world) { w.create(w.identity()) }, both(issued, verified)},
	}},
	"source key rotated": {steps: []step{
		{putSecondKey, verified}, {removeFirstKey, issued},
	}},
	"source key replaced and back": {reverses: sourceSecret, steps: []step{
		{putSecondKey, verified}, {func(w *world) { w.putKey(w.key) }, verified},
	}},
	"MFA": {absent: true, steps: []step{{createGuarded, issued}, {requestRefresh("1"), issued}}},
	"rollout": {preparation: &step{deploy, rolledOut(metav1.ConditionTrue)}, steps: []step{
		{func(w *world) { w.clock.Step(45 * time.Minute) }, both(issued, restarting)},
		{replacePod, both(issued, rolledOut(metav1.ConditionTrue))},
	}},
}

func nothing(*world) error { return nil }

func both(first, second func(*world) error) func(*world) error {
	return func(w *world) error { return errors.Join(first(w), second(w)) }
}

func ready(reason string) func(*world) error {
	return func(w *world) error { return w.ready("app", reason) }
}

// issued returns an error until app is ready, and not due for a refresh.
func issued(w *world) error {
	c, err := w.app()
	if err == nil && (c.Status.NextRefreshTime == nil || !c.Status.NextRefreshTime.After(w.clock.Now())) {
		err = errors.New("the credential is due")
	}
	return errors.Join(err, w.ready("app", v1alpha1.ReasonIssued))
}

func authorized(reason string) func(*world) error {
	return func(w *world) error {
		c, err := w.app()
		if err != nil {
			return err
		}
		if found := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionAuthorized); found == nil || found.Reason != reason {
			return fmt.Errorf("the conditions are %v", testkit.States(c.Status.Conditions))
		}
		return nil
	}
}

// verified returns an error until the identity has been verified with the present key.
func verified(w *world) error {
	identity, source := w.identity(), w.source()
	err := errors.Join(
		admin.Get(context.Background(), client.ObjectKeyFromObject(identity), identity),
		admin.Get(context.Background(), client.ObjectKeyFromObject(source), source),
	)
	if err == nil && (identity.Status.ObservedSecretVersion != source.ResourceVersion || !meta.IsStatusConditionTrue(identity.Status.Conditions, v1alpha1.ConditionReady)) {
		return fmt.Errorf("the identity is not verified: %v", testkit.States(identity.Status.Conditions))
	}
	return err
}

func (w *world) app() (*v1alpha1.RoleCredential, error) {
	c := w.credential("app")
	return c, admin.Get(context.Background(), client.ObjectKeyFromObject(c), c)
}

func createApp(w *world) { w.create(w.credential("app")) }

func createSecond(w *world) {
	second := w.credential("second")
	second.Spec.Secret.Name = "app"
	w.create(second)
}

func editApp(patch string) func(*world) {
	return func(w *world) { w.patch(w.credential("app"), "%s", patch) }
}

func requestRefresh(value string) func(*world) {
	return editApp(fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.RefreshAnnotation, value))
}

func setRole(name string) func(*world) {
	return editApp(fmt.Sprintf(`{"spec":{"roleARN":"arn:aws:iam::123456789012:role/%s"}}`, name))
}

func (w *world) appSecret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.name, Name: "app"}}
}

func createForeign(w *world) {
	foreign := testkit.ForeignSecret()
	foreign.Namespace, foreign.Name = w.name, "app"
	w.create(foreign)
	createApp(w)
}

func consent(w *world) {
	w.patch(w.appSecret(), `{"metadata":{"annotations":{%q:"RoleCredential/app"}}}`, v1alpha1.AdoptAnnotation)
}

func editSecret(w *world) { w.patch(w.appSecret(), `{"data":{"AWS_SESSION_TOKEN":"ZWRpdGVk"}}`) }

func removeSecret(w *world) { w.remove(w.appSecret()) }

// restoreSecret replaces the Secret by a copy without UID and owner, as a backup has it. Unless the operator sees only the result, it is
// down meanwhile.
func restoreSecret(w *world) {
	if w.plan.action != unseen {
		w.crash()
	}
	secret := w.secret("app")
	w.remove(secret)
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.name, Name: "app", Labels: secret.Labels, Annotations: secret.Annotations}, Data: secret.Data, Type: secret.Type,
	})
}

// collectGarbage deletes the Secrets whose owner does not exist.
func (w *world) collectGarbage() {
	credentials, secrets := &v1alpha1.RoleCredentialList{}, &corev1.SecretList{}
	for _, list := range []client.ObjectList{secrets, credentials} {
		w.Expect(admin.List(context.Background(), list, client.InNamespace(w.name))).To(Succeed())
	}
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		owner := metav1.GetControllerOf(secret)
		if owner == nil || slices.ContainsFunc(credentials.Items, func(c v1alpha1.RoleCredential) bool { return c.UID == owner.UID }) {
			continue
		}
		w.collected++
		w.Expect(admin.Delete(context.Background(), secret, client.Preconditions{UID: &secret.UID})).To(Succeed())
	}
}

func allow(label string) func(*world) {
	return func(w *world) {
		w.patch(w.identity(), `{"spec":{"allow":[{"namespaceSelector":{"matchLabels":{"aws":%q}},"roleARNs":["*"]}]}}`, label)
	}
}

func label(value string) func(*world) {
	return func(w *world) {
		w.patch(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.name}}, `{"metadata":{"labels":{"aws":%q}}}`, value)
	}
}

func putSecondKey(w *world) {
	key, err := w.sts.CreateAccessKey(operatorARN)
	w.Expect(err).NotTo(HaveOccurred())
	w.putKey(key)
}

func removeFirstKey(w *world) {
	w.Expect(w.sts.DeleteAccessKey(w.key.ID)).To(Succeed())
	requestRefresh("1")(w)
}

func createGuarded(w *world) {
	const seed = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
	serial, err := w.sts.PutMFADevice(operatorARN, stsemulator.MFADevice{Name: "first", Seed: seed})
	w.Expect(err).NotTo(HaveOccurred())
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.name, Name: "device"}, StringData: map[string]string{"seed": seed}})
	c := w.credential("app")
	c.Spec.RoleARN = "arn:aws:iam::123456789012:role/Guarded"
	c.Spec.MFA = &v1alpha1.MFA{SerialNumber: serial, TOTPSecretRef: v1alpha1.SecretKeyReference{Name: "device", Key: "seed"}}
	w.create(c)
}

// deploy creates a Deployment whose pod reads the Secret.
func deploy(w *world) {
	w.mu.Lock()
	w.touchesSecret, w.round = true, 3*time.Minute
	w.mu.Unlock()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.name, Name: "web"}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	d.Spec.Template.Labels = d.Spec.Selector.MatchLabels
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "c", EnvFrom: []corev1.EnvFromSource{
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "app"}}},
	}}}
	w.create(d)
	w.clock.Step(time.Minute) // longer than the Secret takes to reach a pod
	replacePod(w)
	editApp(`{"spec":{"rollout":{"discover":true}}}`)(w)
}

// replacePod replaces the pod of the Deployment by one of the present template, which starts now.
func replacePod(w *world) {
	ctx, d := context.Background(), w.deployment()
	w.Expect(admin.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(w.name), client.GracePeriodSeconds(0))).To(Succeed())
	set := fmt.Sprint("web-", d.Generation)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.name, Name: set, Labels: map[string]string{"app": "web", "pod-template-hash": fmt.Sprint(d.Generation)}, Annotations: d.Spec.Template.Annotations,
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: set, UID: "set", Controller: new(true)}},
	}, Spec: d.Spec.Template.Spec}
	w.create(p)
	p.Status.Phase = corev1.PodRunning
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "c", Image: "c", ImageID: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(w.clock.Now())}},
	}}
	w.Expect(admin.Status().Update(ctx, p)).To(Succeed())
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1, ReadyReplicas: 1}
	w.Expect(admin.Status().Update(ctx, d)).To(Succeed())
}

func (w *world) deployment() *appsv1.Deployment {
	d := &appsv1.Deployment{}
	w.Expect(admin.Get(context.Background(), client.ObjectKey{Namespace: w.name, Name: "web"}, d)).To(Succeed())
	return d
}

func restarting(w *world) error {
	if w.deployment().Spec.Template.Annotations[v1alpha1.CredentialsAnnotation] == "" {
		return errors.New("the Deployment is not restarted")
	}
	return rolledOut(metav1.ConditionFalse)(w)
}

func rolledOut(status metav1.ConditionStatus) func(*world) error {
	return func(w *world) error {
		c, err := w.app()
		if err == nil && !meta.IsStatusConditionPresentAndEqual(c.Status.Conditions, v1alpha1.ConditionRolledOut, status) {
			err = fmt.Errorf("the conditions are %v", testkit.States(c.Status.Conditions))
		}
		return err
	}
}
