package identity_test

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/authz"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/testkit"
)

const (
	trustAnchor = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/01234567-89ab-cdef-0123-456789abcdef"
	anyProfile  = "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/01234567-89ab-cdef-0123-456789abcdef"
)

// byCertificate is the default identity with a certificate as its source.
func byCertificate(change ...func(*v1alpha1.ClusterIdentity)) *v1alpha1.ClusterIdentity {
	return testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Endpoint = ""
		i.Spec.Source = v1alpha1.ClusterIdentitySource{X509: &v1alpha1.X509Source{
			SecretRef:             v1alpha1.SecretReference{Namespace: "operator", Name: "operator-cert"},
			RolesAnywhereSettings: v1alpha1.RolesAnywhereSettings{TrustAnchorARN: trustAnchor, ProfileARN: anyProfile},
		}}
		rule := &(*i.Spec.Allow)[0]
		rule.Calls = []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallCreateSession}
		for _, apply := range change {
			apply(i)
		}
	})
}

// tlsSecret is the Secret of the identity's certificate, as cert-manager writes it.
func tlsSecret(g Gomega, now time.Time, change ...func(*x509.Certificate)) *corev1.Secret {
	key := testkit.NewKey(g)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "operator", Name: "operator-cert", ResourceVersion: "1"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"tls.crt": testkit.NewAuthority(g, nil, now).Issue(key, now, change...), "tls.key": testkit.KeyPEM(g, key)},
	}
}

func TestCertificateOfAnIdentityIsReported(t *testing.T) {
	for name, tc := range map[string]struct {
		change      func(*corev1.Secret)
		certificate func(*x509.Certificate)
		identity    func(*v1alpha1.ClusterIdentity)
		secret      bool
		want        map[string]string
		wantCalls   int
		wantExpiry  bool
		wantMessage string
	}{
		"a certificate without a chain": {
			secret: true, want: map[string]string{"Ready": "True NotVerifiable", "CertificateValid": "True CertificateUsable"}, wantExpiry: true,
			wantMessage: "The source itself reaches the role of each credential, so this identity has no session of its own to verify.",
		},
		"a certificate with a chain": {
			secret: true, identity: func(i *v1alpha1.ClusterIdentity) { i.Spec.Chain = []v1alpha1.Hop{{RoleARN: roleNamed("Hub")}} },
			want: map[string]string{"Ready": "True Verified", "CertificateValid": "True CertificateUsable"}, wantCalls: 1, wantExpiry: true, wantMessage: "The caller is",
		},
		"no Secret": {
			want:        map[string]string{"Ready": "False SecretNotFound"},
			wantMessage: "There is no Secret operator/operator-cert. Have cert-manager or another tool store a certificate there, with the keys tls.crt and tls.key.",
		},
		"a Secret without a key": {
			secret: true, change: func(s *corev1.Secret) { delete(s.Data, "tls.key") },
			want:        map[string]string{"Ready": "False InvalidSecret", "CertificateValid": "False InvalidSecret"},
			wantMessage: "Secret operator/operator-cert is not usable: tls.key contains no PEM private key",
		},
		"an expired certificate": {
			secret: true, certificate: func(c *x509.Certificate) { c.NotAfter = testkit.Start.Add(-time.Second) },
			want:        map[string]string{"Ready": "False CertificateExpired", "CertificateValid": "False CertificateExpired"},
			wantMessage: "The certificate in Secret operator/operator-cert, or one of its intermediates, has expired. Renew it", wantExpiry: true,
		},
		"a certificate that is not valid yet": {
			secret: true, certificate: func(c *x509.Certificate) { c.NotBefore = testkit.Start.Add(time.Minute) },
			want:        map[string]string{"Ready": "False CertificateNotYetValid", "CertificateValid": "False CertificateNotYetValid"},
			wantMessage: "is not valid yet. The operator uses it when it becomes valid.", wantExpiry: true,
		},
		"a trust anchor of another partition": {
			secret: true, identity: func(i *v1alpha1.ClusterIdentity) {
				i.Spec.Source.X509.TrustAnchorARN = strings.Replace(trustAnchor, "aws", "aws-cn", 1)
			},
			want: map[string]string{"Ready": "False WrongPartition"}, wantMessage: "spec.source.x509.trustAnchorARN: ",
		},
		"a profile of another partition": {
			secret: true, identity: func(i *v1alpha1.ClusterIdentity) {
				i.Spec.Source.X509.ProfileARN = strings.Replace(anyProfile, "aws", "aws-cn", 1)
			},
			want: map[string]string{"Ready": "False WrongPartition"}, wantMessage: "spec.source.x509.profileARN: ",
		},
		"an endpoint that is no URL": {
			secret: true, identity: func(i *v1alpha1.ClusterIdentity) { i.Spec.Source.X509.Endpoint = "vpce.example" },
			want: map[string]string{"Ready": "False InvalidEndpoint"}, wantMessage: "spec.source.x509.endpoint is not the URL of a server.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			objects := []client.Object{byCertificate(), testkit.NamespaceShop()}
			if tc.identity != nil {
				objects[0] = byCertificate(tc.identity)
			}
			if tc.secret {
				secret := tlsSecret(g, testkit.Start, only(tc.certificate)...)
				if tc.change != nil {
					tc.change(secret)
				}
				objects = append(objects, secret)
			}
			f := newVerifier(t, objects...)
			got, _ := f.verify()
			f.Expect(testkit.States(got.Status.Conditions)).To(Equal(withClock(tc.want, tc.wantCalls)))
			f.Expect(f.STS.Callers).To(Equal(tc.wantCalls))
			f.Expect(got.Status.SourceExpiration != nil).To(Equal(tc.wantExpiry))
			f.Expect(testkit.Message(got.Status.Conditions, v1alpha1.ConditionReady)).To(ContainSubstring(tc.wantMessage))
		})
	}
}

// only returns the functions that are not nil.
func only(change func(*x509.Certificate)) []func(*x509.Certificate) {
	if change == nil {
		return nil
	}
	return []func(*x509.Certificate){change}
}

// withClock adds the condition ClockInSync, which a call of STS sets.
func withClock(want map[string]string, calls int) map[string]string {
	if calls > 0 {
		want["ClockInSync"] = "True InSync"
	}
	return want
}

// The identity is checked again when its certificate expires, and a certificate that is not valid yet is used once it is.
func TestIdentityFollowsTheValidityOfItsCertificate(t *testing.T) {
	g := NewWithT(t)
	secret := tlsSecret(g, testkit.Start, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = testkit.Start.Add(time.Minute), testkit.Start.Add(time.Hour)
	})
	f := newVerifier(t, byCertificate(), testkit.NamespaceShop(), testkit.Reader(), secret)
	early, result := f.verify()
	f.Expect(testkit.States(early.Status.Conditions)).To(HaveKeyWithValue("CertificateValid", "False CertificateNotYetValid"))
	f.Expect(result.RequeueAfter).To(Equal(time.Minute))
	cred, _ := f.reconcile()
	f.Expect(testkit.FirstProblem(cred.Status.Conditions)).To(HavePrefix("Authorized=False IdentityNotReady: ClusterIdentity default cannot be used: The certificate in Secret operator/operator-cert"))
	f.Expect(f.STS.Issued).To(BeEmpty(), "nothing is called with it")

	f.Clock.SetTime(testkit.Start.Add(time.Minute))
	valid, result := f.verify()
	f.Expect(testkit.States(valid.Status.Conditions)).To(HaveKeyWithValue("CertificateValid", "True CertificateUsable"))
	f.Expect(valid.Status.SourceExpiration.Time).To(BeTemporally("==", testkit.Start.Add(time.Hour)))
	f.Expect(result.RequeueAfter).To(Equal(59*time.Minute + time.Second))
	cred, _ = f.reconcile()
	f.Expect(testkit.States(cred.Status.Conditions)).To(HaveKeyWithValue("Ready", "True Issued"))
	f.Expect(f.STS.Sources).To(HaveLen(1))
	f.Expect(f.STS.Sources[0].TrustAnchorARN).To(Equal(trustAnchor))

	f.Clock.SetTime(testkit.Start.Add(time.Hour))
	last, _ := f.verify()
	f.Expect(testkit.States(last.Status.Conditions)).To(HaveKeyWithValue("CertificateValid", "True CertificateUsable"), "the last second is included")

	f.Clock.SetTime(testkit.Start.Add(time.Hour + time.Second))
	expired, result := f.verify()
	f.Expect(testkit.States(expired.Status.Conditions)).To(Equal(map[string]string{
		"Ready": "False CertificateExpired", "CertificateValid": "False CertificateExpired",
	}))
	f.Expect(result.RequeueAfter).To(Equal(reason.MaxWait), "the clock may be wrong, and be set")
	f.Expect(expired.Status.SourceExpiration).NotTo(BeNil())
}

// The certificate's own source field that an Identity may not have without the flag.
func TestEndpointOfACertificateInAnIdentityNeedsTheFlag(t *testing.T) {
	f := newFixture(t, tlsSecretIn(NewWithT(t), "shop"))
	own := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own", UID: "own-uid", Generation: 1}}
	own.Spec.Region = "eu-west-1"
	own.Spec.Source.X509 = &v1alpha1.LocalX509Source{
		SecretRef:             v1alpha1.LocalSecretReference{Name: "operator-cert"},
		RolesAnywhereSettings: v1alpha1.RolesAnywhereSettings{TrustAnchorARN: trustAnchor, ProfileARN: anyProfile, Endpoint: "http://169.254.169.254"},
	}
	_, problem, err := f.resolver.ResolveObject(t.Context(), own, types.NamespacedName{})
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(problem.Reason + ": " + problem.Message).To(HavePrefix("InvalidEndpoint: spec.source.x509.endpoint is not allowed in an Identity"))
	f.resolver.AllowNamespacedEndpoints = true
	found, problem, err := f.resolver.ResolveObject(t.Context(), own, types.NamespacedName{})
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(problem).To(BeNil())
	f.Expect(found.Subject(v1alpha1.CallCreateSession).SessionEndpoint).To(Equal("http://169.254.169.254"))
	f.Expect(found.Source).To(Equal("x509 shop/operator-cert, " + trustAnchor + ", " + anyProfile + ", http://169.254.169.254"))
}

func tlsSecretIn(g Gomega, namespace string) *corev1.Secret {
	secret := tlsSecret(g, testkit.Start)
	secret.Namespace = namespace
	return secret
}

// Only the call that reaches the first role uses the certificate.
func TestCallsOfAnIdentityWithACertificate(t *testing.T) {
	hub := v1alpha1.Hop{RoleARN: roleNamed("Hub")}
	f := newFixture(t, tlsSecretIn(NewWithT(t), "operator"))
	configure := func(change ...func(*v1alpha1.ClusterIdentity)) *identity.Identity {
		found, problem, err := f.resolver.ResolveObject(t.Context(), byCertificate(change...), types.NamespacedName{})
		f.Expect(err).NotTo(HaveOccurred())
		f.Expect(problem).To(BeNil())
		return found
	}
	alone := configure()
	f.Expect(alone.Call(v1alpha1.CallAssumeRole)).To(Equal(v1alpha1.CallCreateSession))
	f.Expect(authz.CallToAuthorize(alone.Call(v1alpha1.CallAssumeRole))).To(Equal(v1alpha1.CallCreateSession))
	f.Expect(alone.Call(v1alpha1.CallGetSessionToken)).To(Equal(v1alpha1.CallGetSessionToken))
	f.Expect(alone.Temporary(t.Context())).To(BeTrue())
	f.Expect(alone.AcceptsSessionName()).To(BeFalse())

	chained := configure(func(i *v1alpha1.ClusterIdentity) {
		i.Generation, i.Spec.Chain = 2, []v1alpha1.Hop{hub, {RoleARN: roleNamed("Spoke")}}
	})
	f.Expect(chained.Call(v1alpha1.CallAssumeRole)).To(Equal(v1alpha1.CallAssumeRole))
	f.Expect(authz.CallToAuthorize(chained.Call(v1alpha1.CallAssumeRole))).To(Equal(v1alpha1.CallAssumeRole))
	chained.Keys()
	var calls []v1alpha1.Call
	for _, hop := range f.hops {
		calls = append(calls, hop.Call)
	}
	f.Expect(calls).To(Equal([]v1alpha1.Call{v1alpha1.CallCreateSession, v1alpha1.CallAssumeRole}))

	named := configure(func(i *v1alpha1.ClusterIdentity) { i.Generation, i.Spec.Source.X509.AcceptRoleSessionName = 3, true })
	f.Expect(named.AcceptsSessionName()).To(BeTrue())
	f.Expect(named.IssuerHash).NotTo(Equal(alone.IssuerHash), "sessions get other names")
}

func TestRequestsThatCreateSessionDoesNotTake(t *testing.T) {
	for name, tc := range map[string]struct {
		change     func(*v1alpha1.RoleCredential)
		accepts    bool
		wantFields string
	}{
		"a session name":              {change: func(c *v1alpha1.RoleCredential) { c.Spec.SessionName = "reader" }, wantFields: "spec.sessionName"},
		"a session name that is sent": {change: func(c *v1alpha1.RoleCredential) { c.Spec.SessionName = "reader" }, accepts: true},
		"an external id":              {change: func(c *v1alpha1.RoleCredential) { c.Spec.ExternalID = "k8s" }, wantFields: "spec.externalID"},
		"a source identity":           {change: func(c *v1alpha1.RoleCredential) { c.Spec.SourceIdentity = "alice" }, wantFields: "spec.sourceIdentity"},
		"a policy and managed policies": {change: func(c *v1alpha1.RoleCredential) {
			c.Spec.Policy, c.Spec.PolicyARNs = "{}", []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"}
		}, wantFields: "spec.policy, spec.policyARNs"},
		"tags": {change: func(c *v1alpha1.RoleCredential) {
			c.Spec.Tags, c.Spec.TransitiveTagKeys = []v1alpha1.Tag{{Key: "a"}}, []string{"a"}
		}, wantFields: "spec.tags, spec.transitiveTagKeys"},
		"an MFA device": {change: func(c *v1alpha1.RoleCredential) {
			c.Spec.MFA = &v1alpha1.MFA{SerialNumber: "arn:aws:iam::123456789012:mfa/alice", TOTPSecretRef: v1alpha1.SecretKeyReference{Name: "seed", Key: "seed"}}
		}, wantFields: "spec.mfa"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			found := byCertificate(func(i *v1alpha1.ClusterIdentity) {
				i.Spec.Source.X509.AcceptRoleSessionName = tc.accepts
				(*i.Spec.Allow)[0].SessionNames = []string{"*"}
			})
			f := newVerifier(t, found, testkit.NamespaceShop(), testkit.Changed(testkit.Reader(), tc.change), tlsSecret(g, testkit.Start), &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "seed"}, Data: map[string][]byte{"seed": []byte("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")},
			})
			got, _ := f.reconcile()
			if tc.wantFields == "" {
				f.Expect(testkit.States(got.Status.Conditions)).To(HaveKeyWithValue("Issued", "True Issued"))
				return
			}
			f.Expect(f.STS.Issued).To(BeEmpty())
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Issued=False UnsupportedField: ClusterIdentity default reaches the role with a certificate, and CreateSession of IAM Roles Anywhere takes no " + tc.wantFields + ". "))
		})
	}
}

func TestRuleForAssumeRoleDoesNotAllowCreateSession(t *testing.T) {
	g := NewWithT(t)
	found := byCertificate(func(i *v1alpha1.ClusterIdentity) { (*i.Spec.Allow)[0].Calls = nil })
	f := newVerifier(t, found, testkit.NamespaceShop(), testkit.Reader(), tlsSecret(g, testkit.Start))
	got, _ := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix(`Authorized=False NotAllowed: No rule of ClusterIdentity default allows namespace "shop" the call CreateSession for the role`))
}
