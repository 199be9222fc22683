package testkit_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
)

// secretOf returns a Secret at version 1 with a RoleCredential as its controller.
func secretOf(name string, uid types.UID) *corev1.Secret {
	return testkit.Changed(testkit.ForeignSecret(), func(s *corev1.Secret) {
		s.UID, s.ResourceVersion = "secret-uid", "1"
		s.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "RoleCredential", Name: name, UID: uid, Controller: new(true)}}
	})
}

func foreignSecret(annotations map[string]string) *corev1.Secret {
	return testkit.Changed(secretOf("", ""), func(s *corev1.Secret) { s.OwnerReferences, s.Annotations = nil, annotations })
}

// of returns the preconditions of a delete of a Secret at its version.
func of(secret *corev1.Secret) metav1.Preconditions {
	return metav1.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion}
}

func workload(kind string) client.Object {
	object := &metav1.PartialObjectMetadata{}
	object.Kind = kind
	return object
}

func TestOperatorMayWriteOnlyItsOwn(t *testing.T) {
	own, other := secretOf("s3-reader", "uid"), secretOf("another", "another-uid")
	unversioned := testkit.Changed(own.DeepCopy(), func(s *corev1.Secret) { s.ResourceVersion = "" })
	earlier := testkit.Changed(own.DeepCopy(), func(s *corev1.Secret) { s.ResourceVersion = "0" })
	status := testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.ResourceVersion = "1" })
	template := []byte(`{"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {"metadata": {"annotations": {"` + v1alpha1.CredentialsAnnotation + `": "x"}}}}}`)
	for name, tc := range map[string]struct {
		write testkit.Write
		want  string // the error, empty for none
	}{
		"a new Secret":                        {testkit.Write{Verb: "create", Object: own}, ""},
		"a new Secret without an owner":       {testkit.Write{Verb: "create", Object: foreignSecret(nil)}, "no credential controls"},
		"its own Secret":                      {testkit.Write{Verb: "update", Object: own, Stored: own}, ""},
		"its own Secret without a version":    {testkit.Write{Verb: "update", Object: unversioned, Stored: own}, "no resource version"},
		"its own Secret by a patch":           {testkit.Write{Verb: "patch", Object: own, Stored: own}, "creates, updates or deletes"},
		"a Secret of another credential":      {testkit.Write{Verb: "update", Object: own, Stored: other}, "belongs to something else"},
		"a foreign Secret":                    {testkit.Write{Verb: "update", Object: own, Stored: foreignSecret(nil)}, "belongs to something else"},
		"a foreign Secret at another version": {testkit.Write{Verb: "update", Object: earlier, Stored: foreignSecret(nil)}, ""},
		"a foreign Secret with consent": {testkit.Write{
			Verb: "update", Object: own, Stored: foreignSecret(map[string]string{v1alpha1.AdoptAnnotation: "RoleCredential/s3-reader"}),
		}, ""},
		"a foreign Secret with consent to another": {testkit.Write{
			Verb: "update", Object: own, Stored: foreignSecret(map[string]string{v1alpha1.AdoptAnnotation: "RoleCredential/another"}),
		}, "belongs to something else"},
		"a foreign Secret with a record that does not match": {testkit.Write{
			Verb: "update", Object: own, Stored: foreignSecret(map[string]string{"sts.rolecredential.dev/credential": "RoleCredential/s3-reader"}),
		}, "belongs to something else"},
		"a delete":                     {testkit.Write{Verb: "delete", Object: own, Stored: own, Preconditions: of(own)}, ""},
		"a delete of another version":  {testkit.Write{Verb: "delete", Object: own, Stored: foreignSecret(nil), Preconditions: of(earlier)}, ""},
		"a delete without a UID":       {testkit.Write{Verb: "delete", Object: own, Stored: own, Preconditions: metav1.Preconditions{ResourceVersion: &own.ResourceVersion}}, "no UID"},
		"a delete without a version":   {testkit.Write{Verb: "delete", Object: own, Stored: own, Preconditions: metav1.Preconditions{UID: &own.UID}}, "no UID"},
		"a delete of a foreign Secret": {testkit.Write{Verb: "delete", Object: own, Stored: foreignSecret(nil), Preconditions: of(own)}, "no credential controls"},
		"a status":                     {testkit.Write{Verb: "update status", Object: status}, ""},
		"a status without a version":   {testkit.Write{Verb: "update status", Object: testkit.Reader()}, "status only"},
		"a spec":                       {testkit.Write{Verb: "update", Object: status}, "status only"},
		"a restart":                    {testkit.Write{Verb: "apply", Object: workload("Deployment"), Content: template}, ""},
		"a restart and the replicas":   {testkit.Write{Verb: "apply", Object: workload("Deployment"), Content: []byte(`{"spec": {"replicas": 2}}`)}, `sets ["spec.replicas"]`},
		"another kind":                 {testkit.Write{Verb: "create", Object: workload("Job")}, "writes no Job"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.write.Permitted(); tc.want == "" {
				NewWithT(t).Expect(err).NotTo(HaveOccurred())
			} else {
				NewWithT(t).Expect(err).To(MatchError(ContainSubstring(tc.want)))
			}
		})
	}
}
