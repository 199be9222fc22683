package credential

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
	"rolecredential.dev/operator/controllers/testkit"
)

const recordedCredential = "sts.rolecredential.dev/credential"

// recreate deletes the Reader and its Secret, and creates both again under the same names with other UIDs. The function left changes the
// Secret.
func (f *fixture) recreate(left func(*corev1.Secret), spec ...func(*v1alpha1.RoleCredential)) {
	f.T.Helper()
	s := f.Secret()
	f.Expect(f.Client.Delete(f.T.Context(), f.Credential())).To(Succeed())
	f.Expect(f.Client.Delete(f.T.Context(), s)).To(Succeed())
	s.ResourceVersion, s.UID = "", "secret-uid"
	left(s)
	f.Expect(f.Client.Create(f.T.Context(), s)).To(Succeed())
	again := testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.UID = "another-uid" })
	for _, change := range spec {
		change(again)
	}
	f.Expect(f.Client.Create(f.T.Context(), again)).To(Succeed())
	f.Events()
	f.Requests.Writes = nil
}

// leftSecrets are states of the Secret that a former credential of the same name leaves.
var leftSecrets = map[string]func(*corev1.Secret){
	"restored from a backup, or orphaned": func(s *corev1.Secret) { s.OwnerReferences = nil },
	"not garbage-collected yet":           func(*corev1.Secret) {},
	"not garbage-collected yet, with a record of an earlier release": func(s *corev1.Secret) {
		delete(s.Annotations, recordedCredential)
		s.Annotations["sts.rolecredential.dev/seal"] = testkit.Checksum(s.Annotations)
	},
}

func TestSecretOfAFormerCredentialIsTakenOverWithoutSTSCall(t *testing.T) {
	for name, left := range leftSecrets {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			f.reconcile()
			f.recreate(left)
			data := f.Secret().Data
			got, _ := f.reconcile()
			f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
			f.Expect(got.Status.Expiration.Time).To(BeTemporally("==", testkit.Start.Add(time.Hour)))
			f.Expect(f.STS.Issued).To(HaveLen(1))
			f.Expect(f.Requests.Writes).To(Equal([]string{"update Secret", "update status RoleCredential"}))
			f.Expect(f.Events()).To(Equal([]string{"Normal Issued"}))
			f.Expect(f.Secret().UID).To(BeEquivalentTo("secret-uid"))
			f.Expect(f.Secret().Data).To(Equal(data))
			f.Expect(f.Secret().OwnerReferences).To(ConsistOf(HaveField("UID", types.UID("another-uid"))))
			f.Expect(f.Secret().Annotations).To(HaveKeyWithValue(recordedCredential, "RoleCredential/s3-reader"))
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
				f := newFixture(t, testkit.World()...)
				f.reconcile()
				f.recreate(left, tc.spec)
				f.Clock.SetTime(testkit.Start.Add(tc.later))
				got, _ := f.reconcile()
				f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
				f.Expect(f.STS.Issued).To(HaveLen(2))
				f.Expect(f.Events()).To(Equal([]string{"Normal Issued"}))
				f.Expect(f.Secret().UID).To(BeEquivalentTo("secret-uid"))
				f.Expect(f.Secret().OwnerReferences).To(ConsistOf(HaveField("UID", types.UID("another-uid"))))
			})
		}
	}
}

func TestSuspendedCredentialTakesOverItsSecret(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.recreate(leftSecrets["restored from a backup, or orphaned"], func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true })
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Suspended"))
	f.Expect(f.Secret().OwnerReferences).To(HaveLen(1))
}

func TestOwnerReferenceIsRestoredInOneWrite(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.Events()
	before := f.Secret()
	f.Update(testkit.Changed(f.Secret(), func(s *corev1.Secret) { s.OwnerReferences = nil }))
	got, _ := f.reconcile()
	f.Expect(f.Requests.Writes).To(Equal([]string{"update Secret"}), "the status does not change")
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.STS.Issued).To(HaveLen(1))
	f.Expect(f.Events()).To(BeEmpty())
	f.Expect(f.Secret().OwnerReferences).To(Equal(before.OwnerReferences))
	f.Expect(f.Secret().Data).To(Equal(before.Data))
}

// A denial stops only refreshes.
func TestOwnerReferenceOfDeniedCredentialIsRestored(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.Update(testkit.Changed(f.Identity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.Allow = &[]v1alpha1.AllowRule{} }))
	f.Update(testkit.Changed(f.Secret(), func(s *corev1.Secret) { s.OwnerReferences = nil }))
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)).To(And(HaveKeyWithValue("Authorized", "False NotAllowed"), HaveKeyWithValue("Ready", "True Issued")))
	f.Expect(f.Secret().OwnerReferences).To(HaveLen(1))
}

// An upgrade causes no reissue.
func TestRecordOfAnEarlierReleaseStaysValidUntilTheNextWrite(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.Update(testkit.Changed(f.Secret(), leftSecrets["not garbage-collected yet, with a record of an earlier release"]))
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.STS.Issued).To(HaveLen(1))
	f.Expect(f.Requests.Writes).To(BeEmpty())
	f.Expect(f.Secret().Annotations).NotTo(HaveKey(recordedCredential))
	f.Clock.SetTime(testkit.Start.Add(50 * time.Minute))
	f.reconcile()
	f.Expect(f.Secret().Annotations).To(HaveKeyWithValue(recordedCredential, "RoleCredential/s3-reader"))
}

func TestRejectedTakeOverIsReported(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.recreate(leftSecrets["restored from a backup, or orphaned"])
	f.Requests.Fail = func(verb string, object client.Object) error {
		if verb == "update" && testkit.KindName(object) == "Secret" {
			return apierrors.NewForbidden(corev1.Resource("secrets"), "s3-reader", errors.New("a policy"))
		}
		return nil
	}
	got, result := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)).To(And(HaveKeyWithValue("Issued", "False SecretNotWritten"), HaveKeyWithValue("Ready", "True Issued")))
	f.Expect(testkit.Message(got.Status.Conditions, "Issued")).To(ContainSubstring("did not accept new ownerReferences (Forbidden)"))
	f.Expect(result.RequeueAfter).To(BeNumerically("<=", 5*time.Minute))
	f.Expect(f.STS.Issued).To(HaveLen(1))

	f.Requests.Fail = nil
	got, _ = f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Issued"]).To(Equal("True Issued"))
	f.Expect(f.STS.Issued).To(HaveLen(1))
}

func TestSecretWithAnotherControllerIsNotOfferedForAdoption(t *testing.T) {
	f := newFixture(t, testkit.World(testkit.Changed(testkit.ForeignSecret(), func(s *corev1.Secret) {
		s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "external-secrets.io/v1", Kind: "ExternalSecret", Name: "aws", UID: "uid", Controller: new(true)}}
	}))...)
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("False SecretConflict"))
	f.Expect(testkit.Message(got.Status.Conditions, "Ready")).To(And(ContainSubstring("belongs to ExternalSecret/aws"), Not(ContainSubstring(v1alpha1.AdoptAnnotation))))
}

// Repeated replacement of a credential does not count as tampering with its Secret.
func TestReplacedCredentialsAreIssuedWithoutBackoff(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	for n := range 5 {
		got, _ := f.reconcile()
		f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
		f.Expect(f.STS.Issued).To(HaveLen(n + 1))
		f.Expect(f.Events()).To(Equal([]string{"Normal Issued"}))
		f.Expect(f.Client.Delete(t.Context(), f.Secret())).To(Succeed())
		f.Expect(f.Client.Delete(t.Context(), f.Credential())).To(Succeed())
		f.Expect(f.Client.Create(t.Context(), testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.UID = types.UID(rune('a' + n)) }))).To(Succeed())
	}
}
