package credential

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	deviceSeed   = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	deviceSerial = "arn:aws:iam::210987654321:mfa/operator"
	deviceCode   = "293123" // at the testkit.Start
)

func device() *v1alpha1.MFA {
	return &v1alpha1.MFA{SerialNumber: deviceSerial, TOTPSecretRef: v1alpha1.SecretKeyReference{Name: "device", Key: "seed"}}
}

func seedSecret(seed string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "device"}, Data: map[string][]byte{"seed": []byte(seed)}}
}

func guarded() *v1alpha1.RoleCredential {
	return testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.MFA = device() })
}

func codeAt(f *fixture, at time.Time) string {
	f.T.Helper()
	code, err := stsemulator.MFACode(deviceSeed, at)
	f.Expect(err).NotTo(HaveOccurred())
	return code
}

func TestACodeGoesWithTheCall(t *testing.T) {
	f := newFixture(t, testkit.World(guarded(), seedSecret(deviceSeed))...)
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.STS.Issued[0].MFASerialNumber).To(Equal(deviceSerial))
	f.Expect(f.STS.Codes[0]).To(Equal(codeAt(f, testkit.Start)))
}

func TestACodeIsThatOfTheClockOfSTS(t *testing.T) {
	f := newFixture(t, testkit.World(guarded(), seedSecret(deviceSeed))...)
	f.STS.Skewed = 10 * time.Minute
	f.verify() // measures the skew
	f.reconcile()
	f.Expect(f.STS.Codes[0]).To(Equal(codeAt(f, testkit.Start.Add(10*time.Minute))))
}

func TestAnMFADeviceThatCannotBeUsed(t *testing.T) {
	for name, tc := range map[string]struct {
		objects    []client.Object
		want       string
		wantSaying string
	}{
		"without its Secret":            {testkit.World(guarded()), "Issued=False InvalidMFA", "There is no Secret device in this namespace."},
		"without its key":               {testkit.World(guarded(), testkit.Changed(seedSecret(""), func(s *corev1.Secret) { s.Data = nil })), "Issued=False InvalidMFA", "has no key seed, or it is empty"},
		"with an empty seed":            {testkit.World(guarded(), seedSecret(" ")), "Issued=False InvalidMFA", "is not base32"},
		"with a seed that is not one":   {testkit.World(guarded(), seedSecret("not-a-seed!")), "Issued=False InvalidMFA", "is not base32"},
		"with another namespace's":      {testkit.World(guarded(), testkit.Changed(seedSecret(deviceSeed), func(s *corev1.Secret) { s.Namespace = "other" })), "Issued=False InvalidMFA", "in this namespace"},
		"with a session for its source": {testkit.World(guarded(), seedSecret(deviceSeed), temporary()), "Issued=False WrongSourceType", "or leave spec.mfa out"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tc.objects...)
			got, result := f.reconcile()
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(And(HavePrefix(tc.want), ContainSubstring(tc.wantSaying)))
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).NotTo(ContainSubstring("not-a-seed"))
			f.Expect(f.STS.Issued).To(BeEmpty())
			if strings.HasPrefix(tc.want, "Issued=False InvalidMFA") {
				f.Expect(result.RequeueAfter).To(Equal(time.Minute), "the Secret is not watched")
			}
			_, again := f.reconcile()
			f.Expect(again).To(Equal(result))
		})
	}
}

const otherSeed = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"

// device returns the Secret with the seed.
func (f *fixture) device() *corev1.Secret {
	f.T.Helper()
	found := &corev1.Secret{}
	f.Expect(f.Client.Get(f.T.Context(), client.ObjectKeyFromObject(seedSecret("")), found)).To(Succeed())
	return found
}

func TestAMendedSeedIsTriedAtOnce(t *testing.T) {
	f := newFixture(t, testkit.World(guarded(), seedSecret("not-a-seed!"))...)
	f.reconcile()
	corrected := f.device()
	corrected.Data["seed"] = []byte("jbsw y3dp ehpk 3pxp jbsw y3dp ehpk 3pxp\n") // as people copy it
	f.Update(corrected)
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.STS.Codes[0]).To(Equal(codeAt(f, testkit.Start)))
}

func TestTheSecondCredentialOfADeviceWaitsForTheNextCode(t *testing.T) {
	f := newFixture(t, testkit.World(guarded(), seedSecret(deviceSeed))...)
	f.Clock.SetTime(testkit.Start.Add(7 * time.Second))
	own := testkit.Changed(session(), func(c *v1alpha1.SessionCredential) { c.Spec.MFA = device() })
	f.Update(testkit.Changed(f.Identity(), func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Allow = allowing(v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken).Spec.Allow
	}))
	f.Expect(testkit.FirstProblem(reconcileKind(f, request.SessionCredential, own).Status.Conditions)).To(HavePrefix("Ready=True Issued"))

	got, result := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(And(HavePrefix("Issued=Unknown NotAttempted"), ContainSubstring("retries with the next one within 30 seconds")))
	f.Expect(result.RequeueAfter).To(Equal(23 * time.Second))
	f.Expect(f.STS.Issued).To(HaveLen(1))

	f.Clock.SetTime(testkit.Start.Add(30 * time.Second))
	got, _ = f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.STS.Issued).To(HaveLen(2))
	f.Expect(f.STS.Codes[1]).NotTo(Equal(f.STS.Codes[0]))
}

func TestACodeThatSTSRefusedIsNotSentAgain(t *testing.T) {
	f := newFixture(t, testkit.World(guarded(), seedSecret(deviceSeed))...)
	f.STS.Err = testkit.STSError("AccessDenied")
	got, result := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(And(HavePrefix("Issued=False AccessDenied"), ContainSubstring("spec.mfa.serialNumber is a device of the caller's own user")))
	f.Clock.SetTime(testkit.Start.Add(result.RequeueAfter)) // in the same 30 s
	f.STS.Err = nil
	f.Events()
	f.Requests.Writes = nil
	_, result = f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(1))
	f.Expect(f.Requests.Writes).To(BeEmpty()) // it failed, and waiting does not help
	f.Expect(f.Events()).To(BeEmpty())
	f.Clock.SetTime(f.Clock.Now().Add(result.RequeueAfter))
	got, _ = f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
}

func TestSeedIsReadEachMinuteWhileSTSDeniesItsCodes(t *testing.T) {
	f := newFixture(t, testkit.World(guarded(), seedSecret(otherSeed))...)
	f.STS.Err = testkit.STSError("AccessDenied")
	for range 10 {
		_, result := f.reconcile()
		f.Expect(result.RequeueAfter).To(BeNumerically("<=", time.Minute))
		f.Advance(result.RequeueAfter)
	}
	f.STS.Err = nil
	f.Update(testkit.Changed(f.device(), func(s *corev1.Secret) { s.Data["seed"] = []byte(deviceSeed) }))
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"), "although the backoff has not ended")
}

func TestAnotherKeyOfTheSeedsSecretIsTriedAtOnce(t *testing.T) {
	both := testkit.Changed(seedSecret("not-a-seed!"), func(s *corev1.Secret) { s.Data["good"] = []byte(deviceSeed) })
	f := newFixture(t, testkit.World(guarded(), both)...)
	f.reconcile()
	f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.MFA.TOTPSecretRef.Key = "good" }))
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
}

func TestASourceThatDoesNotSuitUsesUpNoCode(t *testing.T) {
	f := newFixture(t, testkit.World(guarded(), seedSecret(deviceSeed), temporary())...)
	f.reconcile()
	_, next, err := f.credentials.Devices.Code(deviceSerial, deviceSeed, testkit.Start, func() bool { return true })
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(next).To(BeZero())
}
