package integration_test

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

func TestRoleCredentialIsIssuedIntoSecret(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	created := h.credential(namespace, "s3-reader", h.identity())
	h.eventually(created, "Ready", "True Issued")

	secret := h.secret(namespace, "s3-reader")
	h.Expect(slices.Sorted(maps.Keys(secret.Data))).To(Equal([]string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}))
	h.Expect(metav1.IsControlledBy(secret, created)).To(BeTrue())
	session, known := h.sts.Session(string(secret.Data["AWS_ACCESS_KEY_ID"]))
	h.Expect(known).To(BeTrue())
	h.Expect(session.ARN).To(Equal("arn:aws:sts::123456789012:assumed-role/S3Reader/" + namespace + ".s3-reader"))

	h.Expect(created.Status.PrincipalARN).To(Equal(session.ARN))
	h.Expect(created.Status.AccessKeyID).To(Equal(session.AccessKeyID))
	h.Expect(created.Status.Expiration.Time).To(BeTemporally("==", session.Expiration.Truncate(time.Second)))
	h.Expect(created.Status.NextRefreshTime.Time).To(And(BeTemporally(">", created.Status.LastRefreshTime.Time), BeTemporally("<", created.Status.Expiration.Time)))
}

func TestOperatorWritesOnlyStatusOfCredential(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	created := h.credential(h.namespace(nil), "as-written", h.identity(), func(c *v1alpha1.RoleCredential) {
		c.Labels = map[string]string{"team": "shop"}
		c.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "note": "mine"} // the manager's cache drops the first
		c.Spec.ExternalID = "partner-42"
	})
	written := created.DeepCopy()
	h.eventually(created, "Ready", "True Issued")
	h.Expect(created.Spec).To(Equal(written.Spec))
	h.Expect(created.Labels).To(Equal(written.Labels))
	h.Expect(created.Annotations).To(Equal(written.Annotations))
	h.Expect(created.Generation).To(Equal(written.Generation))
	userFields := slices.DeleteFunc(created.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Subresource == "status" })
	h.Expect(userFields).To(Equal(written.ManagedFields))
}

func TestCredentialIsRefreshedBeforeExpiry(t *testing.T) {
	h := newHarness(t, stsemulator.Options{LifetimeFraction: 12.0 / 900})
	h.start()
	namespace := h.namespace(nil)
	created := h.credential(namespace, "short", h.identity(), func(c *v1alpha1.RoleCredential) { c.Spec.Duration = &metav1.Duration{Duration: 15 * time.Minute} })
	h.eventually(created, "Ready", "True Issued")
	h.lastIssued(2)
	sessions := h.sts.Sessions()
	h.Expect(sessions[1].Issued).To(BeTemporally("<", sessions[0].Expiration))
	h.Expect(h.state(created, "Ready")()).To(Equal("True Issued"))
}

func TestIdentityWithAmbientSourceIsVerified(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	key := h.sts.AccessKeys(operatorARN)[0]
	t.Setenv("AWS_ACCESS_KEY_ID", key.ID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", key.Secret)
	h.start()
	by := h.identity(func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Source = v1alpha1.ClusterIdentitySource{Ambient: &v1alpha1.AmbientSource{}}
	})
	h.eventually(by, "Ready", "True Verified")
	h.Expect(by.Status.ARN).To(Equal(operatorARN))
	h.Expect(by.Status.AccountID).To(Equal("210987654321"))
	created := h.credential(h.namespace(nil), "ambient", by)
	h.eventually(created, "Ready", "True Issued")
}

func TestCallsUseRegionAndCABundleOfIdentity(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	secure, err := h.sts.StartTLS("")
	h.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = secure.Close() })
	h.start()
	by := h.identity(func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Region = "eu-central-1"
		i.Spec.Endpoint = secure.URL
		i.Spec.CABundle = string(secure.CABundle)
	})
	h.eventually(by, "Ready", "True Verified")
	created := h.credential(h.namespace(nil), "tls", by)
	h.eventually(created, "Ready", "True Issued")
	for _, call := range h.sts.Calls() {
		h.Expect(call.Region).To(Equal("eu-central-1"))
		h.Expect(call.AccessKeyID).To(Equal(h.sts.AccessKeys(operatorARN)[0].ID))
	}

	update(h, by, func(i *v1alpha1.ClusterIdentity) { i.Spec.CABundle = "" })
	h.eventually(by, "Ready", "False STSUnreachable")
}

func TestSourceWithSessionTokenIsUsed(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	hub := h.credential(namespace, "hub", h.identity(), func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::210987654321:role/Hub" })
	h.eventually(hub, "Ready", "True Issued")
	chained := &v1alpha1.ClusterIdentity{ObjectMeta: metav1.ObjectMeta{Name: "chained"}, Spec: v1alpha1.ClusterIdentitySpec{
		IdentitySettings: v1alpha1.IdentitySettings{Region: "eu-west-1", Endpoint: h.endpoint.URL},

		Source: v1alpha1.ClusterIdentitySource{AccessKey: &v1alpha1.AccessKeySource{SecretRef: v1alpha1.SecretReference{Namespace: namespace, Name: "hub"}}},
		Allow:  &[]v1alpha1.AllowRule{{Namespaces: []string{namespace}, RoleARNs: []string{"*"}}},
	}}
	h.Expect(admin.Create(h.ctx, chained)).To(Succeed())
	t.Cleanup(func() { h.Expect(admin.Delete(context.Background(), chained)).To(Succeed()) })
	h.eventually(chained, "Ready", "True Verified")
	h.Expect(chained.Status.ARN).To(Equal("arn:aws:sts::210987654321:assumed-role/Hub")) // without the session name
	spoke := h.credential(namespace, "spoke", chained, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::123456789012:role/Spoke" })
	h.eventually(spoke, "Ready", "True Issued")
}

func TestSecretFollowsTemplateOfSpec(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	created := h.credential(namespace, "described", h.identity(), func(c *v1alpha1.RoleCredential) {
		c.Spec.RefreshBefore = &metav1.Duration{Duration: 50 * time.Minute}
		c.Spec.Secret = v1alpha1.SecretTemplate{Name: "aws", Labels: map[string]string{"keep": "1", "drop": "1"}, Annotations: map[string]string{"note": "n", "gone": "g"}}
	})
	h.eventually(created, "Ready", "True Issued")
	h.Expect(created.Status.SecretName).To(Equal("aws"))
	h.Expect(created.Status.NextRefreshTime.Sub(created.Status.LastRefreshTime.Time)).To(BeNumerically("~", 9*time.Minute+30*time.Second, 31*time.Second))
	secret := h.secret(namespace, "aws")
	h.Expect(secret.Labels).To(And(HaveKeyWithValue("keep", "1"), HaveKeyWithValue("drop", "1"), HaveKeyWithValue(v1alpha1.ManagedByLabel, v1alpha1.ManagedByValue)))
	h.Expect(secret.Annotations).To(And(HaveKeyWithValue("note", "n"), HaveKeyWithValue("gone", "g")))

	// The operator keeps keys of other writers, and removes keys that the spec no longer has.
	secret.Labels["theirs"], secret.Annotations["theirs"] = "t", "t"
	h.Expect(admin.Update(h.ctx, secret)).To(Succeed())
	update(h, created, func(c *v1alpha1.RoleCredential) {
		c.Spec.Secret.Labels, c.Spec.Secret.Annotations = map[string]string{"keep": "2"}, map[string]string{"note": "m"}
	})
	h.Eventually(func() map[string]string { return h.secret(namespace, "aws").Labels }).WithTimeout(waitLimit).Should(Equal(map[string]string{
		"keep": "2", "theirs": "t", v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue,
	}))
	h.Expect(h.secret(namespace, "aws").Annotations).To(And(HaveKeyWithValue("note", "m"), HaveKeyWithValue("theirs", "t"), Not(HaveKey("gone"))))

	// With another name, the operator writes the new Secret and then deletes the old one.
	update(h, created, func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Name = "" })
	h.Eventually(func() *corev1.Secret { return h.secret(namespace, "aws") }).WithTimeout(waitLimit).Should(BeNil())
	h.Expect(h.secret(namespace, "described")).NotTo(BeNil())
}

func TestSuspendedCredentialIsKeptAndNotRefreshed(t *testing.T) {
	h := newHarness(t, stsemulator.Options{LifetimeFraction: 4.0 / 3600})
	h.start()
	namespace := h.namespace(nil)
	created := h.credential(namespace, "paused", h.identity())
	h.eventually(created, "Ready", "True Issued")
	update(h, created, func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true })
	h.eventually(created, "Ready", "True Suspended")
	before, issues := h.secret(namespace, "paused"), h.issues()
	h.eventually(created, "Ready", "False Suspended") // after its expiry
	h.Expect(h.secret(namespace, "paused")).To(Equal(before))
	h.Expect(h.issues()).To(Equal(issues))
}

func TestMinimalManifestIsIssued(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	h.identity(func(i *v1alpha1.ClusterIdentity) { i.Name = v1alpha1.DefaultIdentityName })
	namespace := h.namespace(nil)
	small := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "s3-reader"}}
	small.Spec.RoleARN = readerRole
	h.Expect(admin.Create(h.ctx, small)).To(Succeed())
	h.eventually(small, "Ready", "True Issued")
	h.Expect(small.Spec.Duration.Duration).To(Equal(time.Hour))
	h.Expect(small.Spec.IdentityRef).To(Equal(v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindClusterIdentity, Name: "default"}))

	text, err := kubectl("get", "sts-credentials", "--namespace", namespace, "--cache-dir", t.TempDir())
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect(text).To(MatchRegexp(`NAME +READY +STATUS +ROLE +EXPIRES +AGE\nrolecredential.sts.rolecredential.dev/s3-reader +True +Issued +%s +\S+Z +\S+\n`, readerRole))
	for _, name := range []string{"rolecred", "sessioncred", "fedcred", "clusterid"} {
		_, err = kubectl("get", name, "--namespace", namespace, "--cache-dir", t.TempDir())
		h.Expect(err).NotTo(HaveOccurred())
	}
	h.Expect(admin.Delete(h.ctx, small)).To(Succeed())
	h.Eventually(func() error { return admin.Get(h.ctx, client.ObjectKeyFromObject(small), small) }).WithTimeout(waitLimit).ShouldNot(Succeed()) // no finalizer
}

func TestOperatorFollowsClockOfSTS(t *testing.T) {
	stsClock := clocktesting.NewFakePassiveClock(clock.RealClock{}.Now().Add(10 * time.Minute))
	h := newHarness(t, stsemulator.Options{Clock: stsClock})
	h.start()
	by := h.identity()
	h.eventually(by, "ClockInSync", "False ClockSkew")
	h.eventually(by, "Ready", "True Verified")
	created := h.credential(h.namespace(nil), "followed", by)
	h.eventually(created, "Ready", "True Issued")
	h.Expect(created.Status.LastRefreshTime.Time).To(BeTemporally("~", stsClock.Now(), time.Minute))
	h.Expect(created.Status.Expiration.Sub(created.Status.LastRefreshTime.Time)).To(BeNumerically("~", time.Hour, time.Minute))
}
