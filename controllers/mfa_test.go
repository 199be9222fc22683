package controllers

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	deviceSeed   = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	deviceSerial = "arn:aws:iam::210987654321:mfa/operator"
	deviceCode   = "293123" // at the start
)

func device() *v1alpha1.MFA {
	return &v1alpha1.MFA{SerialNumber: deviceSerial, TOTPSecretRef: v1alpha1.SecretKeyReference{Name: "device", Key: "seed"}}
}

func seedSecret(seed string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "device"}, Data: map[string][]byte{"seed": []byte(seed)}}
}

func guarded() *v1alpha1.RoleCredential {
	return changed(reader(), func(c *v1alpha1.RoleCredential) { c.Spec.MFA = device() })
}

func codeAt(f *fixture, at time.Time) string {
	f.t.Helper()
	code, err := stsemulator.MFACode(deviceSeed, at)
	f.Expect(err).NotTo(HaveOccurred())
	return code
}

func TestACodeGoesWithTheCall(t *testing.T) {
	f := newFixture(t, world(guarded(), seedSecret(deviceSeed))...)
	got, _ := f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.sts.issued[0].MFASerialNumber).To(Equal(deviceSerial))
	f.Expect(f.sts.codes[0]).To(Equal(codeAt(f, start)))
}

func TestACodeIsThatOfTheClockOfSTS(t *testing.T) {
	f := newFixture(t, world(guarded(), seedSecret(deviceSeed))...)
	f.sts.ahead = 10 * time.Minute
	f.verify() // which tells the skew
	f.reconcile()
	f.Expect(f.sts.codes[0]).To(Equal(codeAt(f, start.Add(10*time.Minute))))
}

func TestAnMFADeviceThatCannotBeUsed(t *testing.T) {
	for name, tc := range map[string]struct {
		objects    []client.Object
		want       string
		wantSaying string
	}{
		"without its Secret":            {world(guarded()), "Issued=False InvalidMFA", "There is no Secret device in this namespace."},
		"without its key":               {world(guarded(), changed(seedSecret(""), func(s *corev1.Secret) { s.Data = nil })), "Issued=False InvalidMFA", "has no key seed, or it is empty"},
		"with an empty seed":            {world(guarded(), seedSecret(" ")), "Issued=False InvalidMFA", "is not base32"},
		"with a seed that is not one":   {world(guarded(), seedSecret("not-a-seed!")), "Issued=False InvalidMFA", "is not base32"},
		"with another namespace's":      {world(guarded(), changed(seedSecret(deviceSeed), func(s *corev1.Secret) { s.Namespace = "other" })), "Issued=False InvalidMFA", "in this namespace"},
		"with a session for its source": {world(guarded(), seedSecret(deviceSeed), temporary()), "Issued=False WrongSourceType", "or leave spec.mfa out"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tc.objects...)
			got, result := f.reconcile()
			f.Expect(firstBad(got.Status.Conditions)).To(And(HavePrefix(tc.want), ContainSubstring(tc.wantSaying)))
			f.Expect(firstBad(got.Status.Conditions)).NotTo(ContainSubstring("not-a-seed"))
			f.Expect(f.sts.issued).To(BeEmpty())
			_, again := f.reconcile()
			f.Expect(again).To(Equal(result))
		})
	}
}

func TestAMendedSeedIsTriedAtOnce(t *testing.T) {
	f := newFixture(t, world(guarded(), seedSecret("not-a-seed!"))...)
	f.reconcile()
	mended := &corev1.Secret{}
	f.Expect(f.client.Get(t.Context(), client.ObjectKeyFromObject(seedSecret("")), mended)).To(Succeed())
	mended.Data["seed"] = []byte("jbsw y3dp ehpk 3pxp jbsw y3dp ehpk 3pxp\n") // as people copy it
	f.update(mended)
	got, _ := f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.sts.codes[0]).To(Equal(codeAt(f, start)))
}

func TestTheSecondCredentialOfADeviceWaitsForTheNextCode(t *testing.T) {
	f := newFixture(t, world(guarded(), seedSecret(deviceSeed))...)
	f.clock.SetTime(start.Add(7 * time.Second))
	own := changed(session(), func(c *v1alpha1.SessionCredential) { c.Spec.MFA = device() })
	f.update(changed(f.identity(), func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Allow = allowing(v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken).Spec.Allow
	}))
	f.Expect(firstBad(reconcileKind(f, sessionCredential, own).Status.Conditions)).To(HavePrefix("Ready=True Issued"))

	got, result := f.reconcile()
	f.Expect(firstBad(got.Status.Conditions)).To(And(HavePrefix("Issued=Unknown NotAttempted"), ContainSubstring("retries with the next one within 30 seconds")))
	f.Expect(result.RequeueAfter).To(Equal(23 * time.Second))
	f.Expect(f.sts.issued).To(HaveLen(1))

	f.clock.SetTime(start.Add(30 * time.Second))
	got, _ = f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.sts.issued).To(HaveLen(2))
	f.Expect(f.sts.codes[1]).NotTo(Equal(f.sts.codes[0]))
}

func TestACodeThatSTSRefusedIsNotSentAgain(t *testing.T) {
	f := newFixture(t, world(guarded(), seedSecret(deviceSeed))...)
	f.sts.err = answers("AccessDenied")
	got, result := f.reconcile()
	f.Expect(firstBad(got.Status.Conditions)).To(And(HavePrefix("Issued=False AccessDenied"), ContainSubstring("spec.mfa.serialNumber is a device of the caller's own user")))
	f.clock.SetTime(start.Add(result.RequeueAfter)) // in the same 30 s
	f.sts.err = nil
	f.told()
	f.requests.writes = nil
	_, result = f.reconcile()
	f.Expect(f.sts.issued).To(HaveLen(1))
	f.Expect(f.requests.writes).To(BeEmpty()) // it failed, and waiting does not mend it
	f.Expect(f.told()).To(BeEmpty())
	f.clock.SetTime(f.clock.Now().Add(result.RequeueAfter))
	got, _ = f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
}

func TestAnotherKeyOfTheSeedsSecretIsTriedAtOnce(t *testing.T) {
	both := changed(seedSecret("not-a-seed!"), func(s *corev1.Secret) { s.Data["good"] = []byte(deviceSeed) })
	f := newFixture(t, world(guarded(), both)...)
	f.reconcile()
	f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.MFA.TOTPSecretRef.Key = "good" }))
	got, _ := f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
}

func TestASourceThatDoesNotSuitUsesUpNoCode(t *testing.T) {
	f := newFixture(t, world(guarded(), seedSecret(deviceSeed), temporary())...)
	f.reconcile()
	_, next, err := f.credentials.Devices.Code(deviceSerial, deviceSeed, start, func() bool { return true })
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(next).To(BeZero())
}
