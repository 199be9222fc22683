package integration_test

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

func TestSessionAndFederatedCredentialsAreIssuedIntoSecrets(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := h.identity(func(i *v1alpha1.ClusterIdentity) {
		i.Spec.SessionTags = &v1alpha1.SessionTags{ClusterName: "prod-eu", Transitive: true}
		i.Spec.Allow = &[]v1alpha1.AllowRule{{Namespaces: []string{namespace}, Calls: []v1alpha1.Call{v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken}}}
	})
	own := &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "own"}}
	own.Spec.IdentityRef.Name = by.Name
	h.Expect(admin.Create(h.ctx, own)).To(Succeed())
	h.eventually(own, "Ready", "True Issued")
	narrowed := &v1alpha1.FederatedCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "narrowed"}}
	narrowed.Spec.IdentityRef.Name = by.Name
	narrowed.Spec.Policy = `{"Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
	h.Expect(admin.Create(h.ctx, narrowed)).To(Succeed())
	h.eventually(narrowed, "Ready", "True Issued")

	session, known := h.sts.Session(string(h.secret(namespace, "own").Data["AWS_ACCESS_KEY_ID"]))
	h.Expect(known).To(BeTrue())
	h.Expect(session.ARN).To(Equal(operatorARN)) // the user's own rights
	h.Expect(own.Status.PrincipalARN).To(BeEmpty())
	federated, known := h.sts.Session(string(h.secret(namespace, "narrowed").Data["AWS_ACCESS_KEY_ID"]))
	h.Expect(known).To(BeTrue())
	h.Expect(federated.ARN).To(Equal("arn:aws:sts::210987654321:federated-user/" + namespace + ".narrowed"))
	h.Expect(federated.Policy).To(Equal(narrowed.Spec.Policy))
	h.Expect(federated.Tags).To(HaveKeyWithValue("kubernetes-kind", "FederatedCredential"))
	h.Expect(narrowed.Status.PrincipalARN).To(Equal(federated.ARN))

	role := h.credential(namespace, "role", by)
	h.eventually(role, "Authorized", "False NotAllowed") // the rule allows only the other calls

	text, err := kubectl("get", "sts-credentials", "--namespace", namespace, "--cache-dir", t.TempDir())
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect(text).To(And(
		MatchRegexp(`sessioncredential.sts.rolecredential.dev/own +True +Issued +%s `, by.Name),
		MatchRegexp(`federatedcredential.sts.rolecredential.dev/narrowed +True +Issued +%s `, federated.ARN),
		MatchRegexp(`rolecredential.sts.rolecredential.dev/role +False +NotIssued `),
	))
}
