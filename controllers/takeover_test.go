package controllers

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
)

const recordedCredential = "sts.rolecredential.dev/credential"

// recreate deletes the reader and creates it again under the same name, with a Secret as it was left. Either has another UID.
func (f *fixture) recreate(left func(*corev1.Secret), spec ...func(*v1alpha1.RoleCredential)) {
	f.t.Helper()
	s := f.secret()
	f.Expect(f.client.Delete(f.t.Context(), f.credential())).To(Succeed())
	f.Expect(f.client.Delete(f.t.Context(), s)).To(Succeed())
	s.ResourceVersion, s.UID = "", "secret-uid"
	left(s)
	f.Expect(f.client.Create(f.t.Context(), s)).To(Succeed())
	again := changed(reader(), func(c *v1alpha1.RoleCredential) { c.UID = "another-uid" })
	for _, change := range spec {
		change(again)
	}
	f.Expect(f.client.Create(f.t.Context(), again)).To(Succeed())
	f.told()
	f.requests.writes = nil
}

// leftSecrets are ways in which a former credential of the name leaves its Secret.
var leftSecrets = map[string]func(*corev1.Secret){
	"restored from a backup, or orphaned": func(s *corev1.Secret) { s.OwnerReferences = nil },
	"not garbage-collected yet":           func(*corev1.Secret) {},
	"not garbage-collected yet, with a record of an earlier release": func(s *corev1.Secret) {
		delete(s.Annotations, recordedCredential)
		s.Annotations["sts.rolecredential.dev/seal"] = checksum(s.Annotations)
	},
}

func TestSecretOfAFormerCredentialIsTakenOverWithoutSTSCall(t *testing.T) {
	for name, left := range leftSecrets {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, world()...)
			f.reconcile()
			f.recreate(left)
			data := f.secret().Data
			got, _ := f.reconcile()
			f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
			f.Expect(got.Status.Expiration.Time).To(BeTemporally("==", start.Add(time.Hour)))
			f.Expect(f.sts.issued).To(HaveLen(1))
			f.Expect(f.requests.writes).To(Equal([]string{"update Secret", "update status RoleCredential"}))
			f.Expect(f.told()).To(Equal([]string{"Normal Issued"}))
			f.Expect(f.secret().UID).To(BeEquivalentTo("secret-uid"))
			f.Expect(f.secret().Data).To(Equal(data))
			f.Expect(f.secret().OwnerReferences).To(ConsistOf(HaveField("UID", types.UID("another-uid"))))
			f.Expect(f.secret().Annotations).To(HaveKeyWithValue(recordedCredential, "RoleCredential/s3-reader"))
		})
	}
}

func TestSecretOfAFormerCredentialIsReissuedInPlaceIfItIsNotCurrent(t *testing.T) {
	for name, left := range leftSecrets {
		for why, tc := range map[string]struct {
			later time.Duration
			spec  func(*v1alpha1.RoleCredential)
		}{
			"expired":             {later: 2 * time.Hour, spec: func(*v1alpha1.RoleCredential) {}},
			"expired a month ago": {later: 30 * 24 * time.Hour, spec: func(*v1alpha1.RoleCredential) {}},
			"of another spec":     {spec: func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::123456789012:role/Other" }},
		} {
			t.Run(name+", "+why, func(t *testing.T) {
				f := newFixture(t, world()...)
				f.reconcile()
				f.recreate(left, tc.spec)
				f.clock.SetTime(start.Add(tc.later))
				got, _ := f.reconcile()
				f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
				f.Expect(f.sts.issued).To(HaveLen(2))
				f.Expect(f.told()).To(Equal([]string{"Normal Issued"}))
				f.Expect(f.secret().UID).To(BeEquivalentTo("secret-uid"))
				f.Expect(f.secret().OwnerReferences).To(ConsistOf(HaveField("UID", types.UID("another-uid"))))
			})
		}
	}
}

func TestSuspendedCredentialTakesOverItsSecret(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	f.recreate(leftSecrets["restored from a backup, or orphaned"], func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true })
	got, _ := f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Suspended"))
	f.Expect(f.secret().OwnerReferences).To(HaveLen(1))
}

func TestOwnerReferenceIsRestoredInOneWrite(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	f.told()
	before := f.secret()
	f.update(changed(f.secret(), func(s *corev1.Secret) { s.OwnerReferences = nil }))
	got, _ := f.reconcile()
	f.Expect(f.requests.writes).To(Equal([]string{"update Secret"}), "and the status stays as it is")
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.sts.issued).To(HaveLen(1))
	f.Expect(f.told()).To(BeEmpty())
	f.Expect(f.secret().OwnerReferences).To(Equal(before.OwnerReferences))
	f.Expect(f.secret().Data).To(Equal(before.Data))
}

// A rule that no longer allows the credential stops refreshes, and nothing else.
func TestOwnerReferenceIsRestoredOfACredentialThatIsDenied(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	f.update(changed(f.identity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.Allow = &[]v1alpha1.AllowRule{} }))
	f.update(changed(f.secret(), func(s *corev1.Secret) { s.OwnerReferences = nil }))
	got, _ := f.reconcile()
	f.Expect(states(got.Status.Conditions)).To(And(HaveKeyWithValue("Authorized", "False NotAllowed"), HaveKeyWithValue("Ready", "True Issued")))
	f.Expect(f.secret().OwnerReferences).To(HaveLen(1))
}

// An upgrade issues nothing anew.
func TestRecordOfAnEarlierReleaseStaysValidUntilTheNextWrite(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	f.update(changed(f.secret(), leftSecrets["not garbage-collected yet, with a record of an earlier release"]))
	got, _ := f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.sts.issued).To(HaveLen(1))
	f.Expect(f.requests.writes).To(BeEmpty())
	f.Expect(f.secret().Annotations).NotTo(HaveKey(recordedCredential))
	f.clock.SetTime(start.Add(50 * time.Minute))
	f.reconcile()
	f.Expect(f.secret().Annotations).To(HaveKeyWithValue(recordedCredential, "RoleCredential/s3-reader"))
}

func TestTakeOverThatTheAPIServerRefusesIsACondition(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	f.recreate(leftSecrets["restored from a backup, or orphaned"])
	f.requests.fail = func(verb string, object client.Object) error {
		if verb == "update" && kindName(object) == "Secret" {
			return apierrors.NewForbidden(corev1.Resource("secrets"), "s3-reader", errors.New("a policy"))
		}
		return nil
	}
	got, result := f.reconcile()
	f.Expect(states(got.Status.Conditions)).To(And(HaveKeyWithValue("Issued", "False SecretNotWritten"), HaveKeyWithValue("Ready", "True Issued")))
	f.Expect(message(got.Status.Conditions, "Issued")).To(ContainSubstring("did not let the operator set its ownerReferences (Forbidden)"))
	f.Expect(result.RequeueAfter).To(BeNumerically("<=", 5*time.Minute))
	f.Expect(f.sts.issued).To(HaveLen(1))

	f.requests.fail = nil
	got, _ = f.reconcile()
	f.Expect(states(got.Status.Conditions)["Issued"]).To(Equal("True Issued"))
	f.Expect(f.sts.issued).To(HaveLen(1))
}

func TestSecretWithAnotherControllerIsNotOfferedForAdoption(t *testing.T) {
	f := newFixture(t, world(changed(strangers(), func(s *corev1.Secret) {
		s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "external-secrets.io/v1", Kind: "ExternalSecret", Name: "aws", UID: "uid", Controller: new(true)}}
	}))...)
	got, _ := f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("False SecretConflict"))
	f.Expect(message(got.Status.Conditions, "Ready")).To(And(ContainSubstring("belongs to ExternalSecret/aws"), Not(ContainSubstring(v1alpha1.AdoptAnnotation))))
}

// Something that replaces a credential again and again does not change its Secret.
func TestReplacedCredentialsAreIssuedAtOnceThoughTheirSecretsAreCollected(t *testing.T) {
	f := newFixture(t, world()...)
	for n := range 5 {
		got, _ := f.reconcile()
		f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
		f.Expect(f.sts.issued).To(HaveLen(n + 1))
		f.Expect(f.told()).To(Equal([]string{"Normal Issued"}))
		f.Expect(f.client.Delete(t.Context(), f.secret())).To(Succeed())
		f.Expect(f.client.Delete(t.Context(), f.credential())).To(Succeed())
		f.Expect(f.client.Create(t.Context(), changed(reader(), func(c *v1alpha1.RoleCredential) { c.UID = types.UID(rune('a' + n)) }))).To(Succeed())
	}
}
