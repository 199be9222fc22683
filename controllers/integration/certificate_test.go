package integration_test

import (
	"context"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/stsemulator"
)

const onPremisesRole = "arn:aws:iam::" + tenantAccount + ":role/OnPremises"

// certificateHarness is a harness whose STS trusts an authority, and a Secret with a certificate of it.
type certificateHarness struct {
	*harness
	root   *testkit.Authority
	inner  *testkit.Authority
	secret *corev1.Secret
	now    time.Time
}

func newCertificateHarness(t *testing.T, name string) *certificateHarness {
	t.Helper()
	h := &certificateHarness{harness: newHarness(t, stsemulator.Options{}), now: clock.RealClock{}.Now()}
	h.root = testkit.NewAuthority(h, nil, h.now)
	h.inner = testkit.NewAuthority(h, h.root, h.now)
	h.Expect(h.sts.PutTrustAnchor(stsemulator.TrustAnchor{ARN: trustAnchor, Certificates: string(testkit.CertificatePEM(h.root.Certificate))})).To(Succeed())
	h.Expect(h.sts.PutProfile(stsemulator.Profile{ARN: anyProfile, RoleARNs: []string{onPremisesRole}, DurationSeconds: 43200})).To(Succeed())
	h.Expect(h.sts.PutRole(tenantAccount, stsemulator.Role{Name: "OnPremises", MaxSessionDuration: 43200, MayAssume: []string{"*"}, Trust: []stsemulator.Trust{h.trust()}})).To(Succeed())
	h.secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: name}, Type: corev1.SecretTypeTLS, Data: h.certificate()}
	h.Expect(admin.Create(h.ctx, h.secret)).To(Succeed())
	t.Cleanup(func() { h.Expect(client.IgnoreNotFound(admin.Delete(context.Background(), h.secret))).To(Succeed()) })
	return h
}

// trust is the statement of a trust policy for the certificate.
func (h *certificateHarness) trust() stsemulator.Trust {
	return stsemulator.Trust{Service: "rolesanywhere.amazonaws.com", StringEquals: map[string][]string{
		"aws:PrincipalTag/x509Subject/CN": {"operator"}, "aws:SourceArn": {trustAnchor},
	}}
}

// certificate returns the data of a Secret with a new key, as cert-manager writes it.
func (h *certificateHarness) certificate(change ...func(*x509.Certificate)) map[string][]byte {
	key := testkit.NewKey(h)
	return map[string][]byte{
		"tls.crt": append(h.inner.Issue(key, h.now, change...), testkit.CertificatePEM(h.inner.Certificate)...),
		"tls.key": testkit.KeyPEM(h, key), "ca.crt": testkit.CertificatePEM(h.root.Certificate),
	}
}

// useCertificate makes the certificate the source of an identity, and allows CreateSession.
func (h *certificateHarness) useCertificate(i *v1alpha1.ClusterIdentity) {
	i.Spec.Source = v1alpha1.ClusterIdentitySource{X509: &v1alpha1.X509Source{
		SecretRef:             v1alpha1.SecretReference{Namespace: h.secret.Namespace, Name: h.secret.Name},
		RolesAnywhereSettings: v1alpha1.RolesAnywhereSettings{TrustAnchorARN: trustAnchor, ProfileARN: anyProfile, Endpoint: h.endpoint.URL},
	}}
	(*i.Spec.Allow)[0].Calls = []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallCreateSession}
}

// onPremises sets the role and the duration of a credential.
func onPremises(c *v1alpha1.RoleCredential) {
	c.Spec.RoleARN, c.Spec.Duration = onPremisesRole, &metav1.Duration{Duration: 12 * time.Hour}
}

func TestCertificateReachesARoleFor12Hours(t *testing.T) {
	h := newCertificateHarness(t, "certificate-12h")
	h.start()
	namespace, by := h.namespace(nil), h.identity(h.useCertificate)
	h.eventually(by, "Ready", "True NotVerifiable")
	h.eventually(by, "CertificateValid", "True CertificateUsable")
	h.Expect(by.Status.SourceExpiration.Time).To(BeTemporally("~", h.now.AddDate(0, 0, 1), time.Second))
	created := h.credential(namespace, "long", by, onPremises)
	h.eventually(created, "Ready", "True Issued")
	session, ok := h.sts.Session(created.Status.AccessKeyID)
	h.Expect(ok).To(BeTrue())
	h.Expect(session).To(And(HaveField("Action", "CreateSession"), HaveField("RoleARN", onPremisesRole), HaveField("ARN", created.Status.PrincipalARN), HaveField("SourceIdentity", "operator")))
	h.Expect(session.Expiration.Sub(session.Issued)).To(Equal(12 * time.Hour))
	call := h.sts.Calls()[0]
	h.Expect(call.Action).To(Equal("CreateSession"))
	for name, want := range map[string]string{"trustAnchorArn": trustAnchor, "profileArn": anyProfile, "roleArn": onPremisesRole, "durationSeconds": "43200", "roleSessionName": ""} {
		h.Expect(call.Parameters.Get(name)).To(Equal(want), name)
	}

	// The profile accepts names, and the identity says so: the session gets its credential's name.
	h.Expect(h.sts.PutProfile(stsemulator.Profile{ARN: anyProfile, RoleARNs: []string{onPremisesRole}, DurationSeconds: 43200, AcceptRoleSessionName: true})).To(Succeed())
	update(h.harness, by, func(i *v1alpha1.ClusterIdentity) { i.Spec.Source.X509.AcceptRoleSessionName = true })
	h.Eventually(func() string { h.state(created, "Ready")(); return created.Status.PrincipalARN }).WithTimeout(waitLimit).Should(HaveSuffix("/" + namespace + ".long"))
}

// cert-manager writes the renewed certificate and its key at once.
func TestRenewedCertificateIsUsedAtOnce(t *testing.T) {
	h := newCertificateHarness(t, "certificate-renewed")
	h.start()
	namespace, by := h.namespace(nil), h.identity(h.useCertificate)
	created := h.credential(namespace, "renewed", by, onPremises)
	h.eventually(created, "Ready", "True Issued")
	first := created.Status.PrincipalARN
	before := by.Status.SourceExpiration

	update(h.harness, h.secret, func(s *corev1.Secret) {
		s.Data = h.certificate(func(c *x509.Certificate) { c.NotAfter = h.now.AddDate(0, 0, 90) })
	})
	h.Eventually(func() *metav1.Time { h.state(by, "Ready")(); return by.Status.SourceExpiration }).WithTimeout(waitLimit).ShouldNot(Or(BeNil(), Equal(before), HaveField("Time", BeTemporally("<", h.now.AddDate(0, 0, 2)))))
	h.refresh(created, "1")
	h.Eventually(func() string { h.state(created, "Ready")(); return created.Status.PrincipalARN }).WithTimeout(waitLimit).ShouldNot(Equal(first), "the session has the serial number of the renewed certificate")
	h.eventually(created, "Ready", "True Issued")
	for _, call := range h.sts.Calls() {
		h.Expect(call.Code).To(BeEmpty(), "no call fails")
	}

	// An expired certificate is not used, and a renewal repairs that.
	calls := len(h.sts.Calls())
	update(h.harness, h.secret, func(s *corev1.Secret) {
		s.Data = h.certificate(func(c *x509.Certificate) { c.NotAfter = h.now.Add(-time.Second) })
	})
	h.eventually(by, "CertificateValid", "False CertificateExpired")
	h.eventually(by, "Ready", "False CertificateExpired")
	h.refresh(created, "2")
	h.eventually(created, "Authorized", "False IdentityNotReady")
	h.eventually(created, "Ready", "True Issued")
	h.Expect(h.sts.Calls()).To(HaveLen(calls))
	update(h.harness, h.secret, func(s *corev1.Secret) { s.Data = h.certificate() })
	h.eventually(by, "CertificateValid", "True CertificateUsable")
	h.eventually(created, "Authorized", "True Allowed")
	h.Eventually(h.sts.Calls).WithTimeout(waitLimit).Should(HaveLen(calls + 1))
}

func TestRevokedRoleIsNotReachedByCertificate(t *testing.T) {
	h := newCertificateHarness(t, "certificate-revoked")
	h.start()
	namespace, by := h.namespace(nil), h.identity(h.useCertificate)
	created := h.credential(namespace, "revoked", by, onPremises)
	h.eventually(created, "Ready", "True Issued")
	h.Expect(h.sts.SetTrust(onPremisesRole)).To(Succeed())
	h.refresh(created, "1")
	h.eventually(created, "Issued", "False AccessDenied")
	h.eventually(created, "Ready", "True Issued")
	h.Expect(created.Status.FailedCall).To(Equal(&v1alpha1.FailedCall{Call: "CreateSession", RoleARN: onPremisesRole}))
	h.Expect(h.sts.SetTrust(onPremisesRole, h.trust())).To(Succeed())
	h.eventually(created, "Issued", "True Issued")
}

func TestChainStartsWithCertificate(t *testing.T) {
	h := newCertificateHarness(t, "certificate-hub")
	h.start()
	h.Expect(h.sts.PutRole(tenantAccount, stsemulator.Role{Name: "Spoke", Trust: []stsemulator.Trust{{
		Principal: onPremisesRole, StringLike: map[string][]string{"aws:RequestTag/kubernetes-namespace": {"*"}},
	}}})).To(Succeed())
	namespace := h.namespace(nil)
	by := h.identity(h.useCertificate, func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Chain = []v1alpha1.Hop{{RoleARN: onPremisesRole}}
		i.Spec.SessionTags = &v1alpha1.SessionTags{ClusterName: "prod"}
		(*i.Spec.Allow)[0].Calls = nil // the call for the credential's role is AssumeRole
	})
	h.eventually(by, "Ready", "True Verified")
	h.Expect(by.Status.ARN).To(Equal("arn:aws:sts::" + tenantAccount + ":assumed-role/OnPremises"))
	for _, name := range []string{"one", "two"} {
		h.eventually(h.credential(namespace, name, by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::" + tenantAccount + ":role/Spoke" }), "Ready", "True Issued")
	}
	var actions []string
	for _, session := range h.sts.Sessions() {
		actions = append(actions, session.Action)
	}
	h.Expect(actions).To(Equal([]string{"CreateSession", "AssumeRole", "AssumeRole"}), "both share the hub's session")

	// The session of the hub passes on its source identity, which the role must allow.
	h.Expect(h.sts.PutRole(tenantAccount, stsemulator.Role{Name: "Strict", Trust: []stsemulator.Trust{{
		Principal: onPremisesRole, Actions: []string{"sts:AssumeRole", "sts:TagSession"},
	}}})).To(Succeed())
	strict := h.credential(namespace, "strict", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::" + tenantAccount + ":role/Strict" })
	h.eventually(strict, "Issued", "False AccessDenied")
	h.Expect(meta.FindStatusCondition(strict.Status.Conditions, "Issued").Message).To(ContainSubstring("must also allow sts:SetSourceIdentity"))

	long := h.credential(namespace, "long", by, func(c *v1alpha1.RoleCredential) {
		onPremises(c)
		c.Spec.RoleARN = "arn:aws:iam::" + tenantAccount + ":role/Spoke"
	})
	h.eventually(long, "Authorized", "False DurationNotAllowed")
}

func TestPrivateKeyIsNowhereButInItsSecret(t *testing.T) {
	h := newCertificateHarness(t, "certificate-secrecy")
	h.start()
	namespace, by := h.namespace(nil), h.identity(h.useCertificate)
	created := h.credential(namespace, "quiet", by, onPremises)
	h.eventually(created, "Ready", "True Issued")
	secrets := append(secretsOf(h.harness, namespace, "quiet"), keyLines(h.secret)...)

	// The key of another certificate, and a denied call, are reported.
	broken := h.certificate()
	broken["tls.crt"] = h.certificate()["tls.crt"]
	update(h.harness, h.secret, func(s *corev1.Secret) { s.Data = broken })
	h.eventually(by, "CertificateValid", "False InvalidSecret")
	secrets = append(secrets, keyLines(h.secret)...)
	update(h.harness, h.secret, func(s *corev1.Secret) { s.Data = h.certificate() })
	h.eventually(by, "CertificateValid", "True CertificateUsable")
	secrets = append(secrets, keyLines(h.secret)...)
	h.Expect(h.sts.SetTrust(onPremisesRole)).To(Succeed())
	h.refresh(created, "1")
	h.eventually(created, "Issued", "False AccessDenied")
	h.Eventually(h.events(created)).WithTimeout(waitLimit).Should(ContainElement("Warning AccessDenied"))
	h.stop()
	outputs := h.outputs(namespace, created, by)
	for _, call := range h.sts.Calls() {
		outputs["a request"] += call.Parameters.Encode()
	}
	for output, text := range outputs {
		h.Expect(text).NotTo(BeEmpty(), output)
		for _, secret := range secrets {
			h.Expect(len(secret)).To(BeNumerically(">", 10))
			if strings.Contains(text, secret) {
				t.Errorf("%s holds a secret", output)
			}
		}
	}
}

// keyLines returns the long lines of a Secret's private key.
func keyLines(s *corev1.Secret) (lines []string) {
	for line := range strings.Lines(string(s.Data["tls.key"])) {
		if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-") {
			lines = append(lines, line)
		}
	}
	return lines
}
