package credential

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
)

// Otherwise the operator would drop what STS issues, again and again.
func TestSecretThatCannotBeWrittenCostsNoSTSCall(t *testing.T) {
	adopted := func(s *corev1.Secret) {
		s.Annotations = map[string]string{v1alpha1.AdoptAnnotation: "RoleCredential/s3-reader"}
	}
	full := func(s *corev1.Secret) {
		for i := range 700 { // an adoption removes longer values, which may be copies of the data
			s.Annotations[fmt.Sprintf("example.com/%0240d", i)] = strings.Repeat("v", 120)
		}
	}
	for name, tc := range map[string]struct {
		change func(*corev1.Secret)
		want   string
	}{
		"a TLS Secret":                                       {func(s *corev1.Secret) { s.Type = corev1.SecretTypeTLS }, "kubernetes.io/tls"},
		"a registry's Secret":                                {func(s *corev1.Secret) { s.Type = corev1.SecretTypeDockerConfigJson }, "kubernetes.io/dockerconfigjson"},
		"an old registry's Secret":                           {func(s *corev1.Secret) { s.Type = corev1.SecretTypeDockercfg }, "kubernetes.io/dockercfg"},
		"a Secret for basic auth":                            {func(s *corev1.Secret) { s.Type = corev1.SecretTypeBasicAuth }, "kubernetes.io/basic-auth"},
		"a Secret for SSH":                                   {func(s *corev1.Secret) { s.Type = corev1.SecretTypeSSHAuth }, "kubernetes.io/ssh-auth"},
		"a service account's token":                          {func(s *corev1.Secret) { s.Type = corev1.SecretTypeServiceAccountToken }, "kubernetes.io/service-account-token"},
		"a Secret of a type that Kubernetes does not know":   {func(s *corev1.Secret) { s.Type = "example.com/token" }, "example.com/token"},
		"an immutable Secret":                                {func(s *corev1.Secret) { s.Immutable = new(true) }, "immutable"},
		"a Secret without room for the record's annotations": {full, "annotations"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World(testkit.Changed(testkit.ForeignSecret(), func(s *corev1.Secret) { adopted(s); tc.change(s) }))...)
			before := f.Secret()
			got, result := f.reconcile()
			f.Expect(f.STS.Issued).To(BeEmpty())
			f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("False SecretConflict"))
			f.Expect(testkit.Message(got.Status.Conditions, "Ready")).To(And(ContainSubstring(tc.want), ContainSubstring("Delete it")))
			f.Expect(f.Secret()).To(Equal(before))
			f.Expect(result.RequeueAfter).To(And(BeNumerically(">", 0), BeNumerically("<=", 5*time.Minute)), "no watch selects the Secret")
		})
	}
}

// Another client may fill the annotations of a Secret that the operator keeps.
func TestRefreshWithoutRoomForTheRecordCostsNoSTSCall(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.Update(testkit.Changed(f.Secret(), func(s *corev1.Secret) { s.Annotations["example.com/large"] = strings.Repeat("v", 259_000) }))
	f.Clock.SetTime(testkit.Start.Add(50 * time.Minute))
	got, _ := f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(1))
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(And(HavePrefix("Ready=False SecretConflict"), ContainSubstring("annotations")))
}
