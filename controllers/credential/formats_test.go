package credential

import (
	"maps"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
)

// withSecret returns the Reader with a Secret template.
func withSecret(template v1alpha1.SecretTemplate) client.Object {
	return testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret = template })
}

// changeSecret changes the Reader's Secret template, with a new generation.
func (f *fixture) changeSecret(change func(*v1alpha1.SecretTemplate)) {
	f.T.Helper()
	f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Generation++; change(&c.Spec.Secret) }))
}

func TestSecretHoldsFormatsAndDataOfSpec(t *testing.T) {
	f := newFixture(t, testkit.World(withSecret(v1alpha1.SecretTemplate{
		Formats: []v1alpha1.Format{v1alpha1.FormatRegion, v1alpha1.FormatKEDA}, Data: map[string]v1alpha1.DataTemplate{"pair": "{{.AccessKeyID}}:{{.SecretAccessKey}}"},
	}))...)
	f.reconcile()
	f.Expect(f.Secret().Data).To(Equal(map[string][]byte{
		"AWS_REGION": []byte("eu-west-1"), "AWS_DEFAULT_REGION": []byte("eu-west-1"), "pair": []byte("ASIAA:secret-A"),
		"awsAccessKeyID": []byte("ASIAA"), "awsSecretAccessKey": []byte("secret-A"), "awsSessionToken": []byte("token-A"),
	}))
	f.changeSecret(func(s *v1alpha1.SecretTemplate) { s.Formats, s.Data = []v1alpha1.Format{v1alpha1.FormatVelero}, nil })
	f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(2))
	f.Expect(slices.Collect(maps.Keys(f.Secret().Data))).To(Equal([]string{"cloud"}))
}

func TestInvalidTemplateCausesNoCallAndNoRetry(t *testing.T) {
	f := newFixture(t, testkit.World(withSecret(v1alpha1.SecretTemplate{Data: map[string]v1alpha1.DataTemplate{"auth.conf": "a\n{{.Nowhere}}"}}))...)
	got, result := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)).To(Equal(map[string]string{"Authorized": "True Allowed", "Issued": "Unknown NotAttempted", "Ready": "False InvalidTemplate"}))
	f.Expect(testkit.Message(got.Status.Conditions, "Ready")).To(ContainSubstring("spec.secret.data[auth.conf]: line 2:2: there is no field .Nowhere"))
	f.Expect(result.RequeueAfter).To(BeZero())
	f.Expect(f.STS.Issued).To(BeEmpty())

	f.changeSecret(func(s *v1alpha1.SecretTemplate) { s.Data["auth.conf"] = "{{.Region}}" })
	got, _ = f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
}

func TestInvalidTemplateKeepsSecretUnchanged(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	before := f.Secret()
	f.changeSecret(func(s *v1alpha1.SecretTemplate) { s.Data = map[string]v1alpha1.DataTemplate{"a": "{{"} })
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("False InvalidTemplate"))
	f.Clock.SetTime(testkit.Start.Add(50 * time.Minute)) // the credential is due
	f.reconcile()
	f.Expect(f.Secret()).To(Equal(before))
	f.Expect(f.STS.Issued).To(HaveLen(1))
}

func TestCredentialThatCannotBeRenderedIsIssuedOnce(t *testing.T) {
	f := newFixture(t, testkit.World(withSecret(v1alpha1.SecretTemplate{Data: map[string]v1alpha1.DataTemplate{"a": `{{if eq .AccessKeyID "ASIAA"}}{{upper (not .SessionToken)}}{{end}}`}}))...)
	for range 3 {
		got, result := f.reconcile()
		f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Issued=False SecretNotWritten: STS issued credentials, but Secret s3-reader cannot be written as spec.secret describes it: the template spec.secret.data[a] "))
		f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("False NotIssued"))
		f.Expect(result.RequeueAfter).To(BeZero())
		f.Expect(f.STS.Issued).To(HaveLen(1))
		f.Clock.SetTime(f.Clock.Now().Add(time.Hour))
	}
	f.Expect(f.Secret()).To(BeNil())
	f.changeSecret(func(s *v1alpha1.SecretTemplate) { s.Data = nil })
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
}

func TestChangedRegionReissuesOnlySecretsThatHoldIt(t *testing.T) {
	for name, tc := range map[string]struct {
		template v1alpha1.SecretTemplate
		want     int // STS calls
	}{
		"the three variables":          {v1alpha1.SecretTemplate{}, 1},
		"the region":                   {v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatRegion}}, 2},
		"the region, by a template":    {v1alpha1.SecretTemplate{Data: map[string]v1alpha1.DataTemplate{"r": "{{.Region}}"}}, 2},
		"a template of something else": {v1alpha1.SecretTemplate{Data: map[string]v1alpha1.DataTemplate{"r": "{{.AccessKeyID}}"}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World(withSecret(tc.template))...)
			f.reconcile()
			f.Update(testkit.Changed(f.Identity(), func(i *v1alpha1.ClusterIdentity) { i.Generation, i.Spec.Region = 2, "us-east-1" }))
			f.reconcile()
			f.Expect(f.STS.Issued).To(HaveLen(tc.want))
			for _, key := range []string{"AWS_REGION", "r"} {
				if value, ok := f.Secret().Data[key]; ok && tc.want == 2 {
					f.Expect(value).To(BeEquivalentTo("us-east-1"))
				}
			}

			// Without the identity the region is unknown, and the Secret stays current.
			f.Expect(f.Client.Delete(t.Context(), f.Identity())).To(Succeed())
			got, _ := f.reconcile()
			f.Expect(testkit.States(got.Status.Conditions)).To(And(HaveKeyWithValue("Authorized", "False IdentityNotFound"), HaveKeyWithValue("Ready", "True Issued")))
		})
	}
}

func TestFormatsOfANewerCRDAreReportedAndCauseNoPanic(t *testing.T) {
	f := newFixture(t, testkit.World(withSecret(v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{"Flux", v1alpha1.FormatEnv, "Argo"}}))...)
	got, result := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)).To(Equal(map[string]string{"Authorized": "True Allowed", "Issued": "Unknown NotAttempted", "Ready": "False InvalidTemplate"}))
	f.Expect(testkit.Message(got.Status.Conditions, "Ready")).To(Equal("spec.secret.formats contains Argo, Flux, which this version of the operator does not support. " +
		"The CRDs are newer than the operator: upgrade the operator, or remove these formats."))
	f.Expect(result.RequeueAfter).To(BeZero())
	f.Expect(f.STS.Issued).To(BeEmpty())
	f.Expect(f.Secret()).To(BeNil())

	f.changeSecret(func(s *v1alpha1.SecretTemplate) { s.Formats = []v1alpha1.Format{v1alpha1.FormatEnv} })
	got, _ = f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
}

func TestSecretIsKeptWhenAFormatIsOfANewerCRD(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	before := f.Secret()
	f.changeSecret(func(s *v1alpha1.SecretTemplate) { s.Formats = []v1alpha1.Format{"Flux"} })
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("False InvalidTemplate"))
	f.Expect(f.Secret()).To(Equal(before))
	f.Expect(f.STS.Issued).To(HaveLen(1))
}
