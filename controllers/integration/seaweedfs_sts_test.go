package integration_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/s3server"
	"rolecredential.dev/operator/hack/stsemulator"
)

func toOwner(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = ownerRole }

// addRoles adds roles that each test of a call uses, and the API server as an issuer of tokens.
func addRoles(t *testing.T, s *s3server.Server) {
	t.Helper()
	g := NewWithT(t)
	ca := filepath.Join(s.Dir, "ca.crt")
	g.Expect(os.WriteFile(ca, adminConfig.CAData, 0o600)).To(Succeed())
	s.Issuer = &s3server.Issuer{Name: "cluster", URL: tokenIssuer(g), Audience: "sts.amazonaws.com", CA: ca}
	trust := func(principal, conditions string) string {
		return `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": ` + principal + `, "Action": ["sts:AssumeRole"], "Condition": ` + conditions + `}]}`
	}
	s.Roles = append(s.Roles,
		s3server.Role{Name: "Foreign", Trust: s3server.TrustUser("other"), Policy: ownsBucket},
		s3server.Role{Name: "RequiresID", Trust: trust(`{"AWS": "*"}`, `{"StringEquals": {"sts:ExternalId": "shop"}}`), Policy: ownsBucket},
		s3server.Role{Name: "Hour", Trust: s3server.TrustUser("operator"), Policy: readsBucket, MaxSession: time.Hour},
		s3server.Role{Name: "Hub", Trust: s3server.TrustUser("operator"), Policy: readsBucket},
		s3server.Role{Name: "TrustsSession", Trust: trust(`{"AWS": "arn:aws:sts::`+s3server.Account+`:assumed-role/Hub/hub"}`, "{}"), Policy: ownsBucket},
		s3server.Role{Name: "TrustsRole", Trust: trust(`{"AWS": "arn:aws:iam::`+s3server.Account+`:role/Hub"}`, "{}"), Policy: ownsBucket},
		s3server.Role{Name: "OfServiceAccount", Policy: readsBucket, Trust: trustSubject("cluster", "StringLike", "system:serviceaccount:*:reader")})
}

// trustSubject returns a trust policy that allows AssumeRoleWithWebIdentity to a subject of an issuer.
func trustSubject(issuer, operator, subject string) string {
	return `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Federated": "` + issuer + `"}, "Action": ["sts:AssumeRoleWithWebIdentity"],
		"Condition": {"` + operator + `": {"oidc:sub": "` + subject + `"}}}]}`
}

// toRole names a role of SeaweedFS.
func toRole(name string) func(*v1alpha1.RoleCredential) {
	return func(c *v1alpha1.RoleCredential) {
		c.Spec.RoleARN = "arn:aws:iam::" + s3server.Account + ":role/" + name
	}
}

func TestSeaweedFSIssuesAndRefreshesSessionsOfRoles(t *testing.T) {
	server := useSeaweedFS(t)
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := server.identity(h, server.user)
	h.eventually(by, "Ready", "True Verified")
	h.Expect(by.Status.ARN).To(Equal("arn:aws:iam::" + s3server.Account + ":user/operator"))

	created := h.credential(namespace, "owner", by, toOwner)
	h.eventually(created, "Ready", "True Issued")
	h.Expect(created.Status.PrincipalARN).To(Equal("arn:aws:sts::" + s3server.Account + ":assumed-role/Owner/" + namespace + ".owner"))
	h.Expect(created.Status.Expiration.Time).To(BeTemporally("==", h.expiryInToken(namespace, "owner")))
	api := server.s3As(h, namespace, "owner")
	h.Expect(server.put(t, api, "note")).To(Succeed())
	h.Expect(server.get(t, api, "note")).To(Equal("content of note"))

	// The session has the permissions of the role, not those of the caller.
	reader := h.credential(namespace, "reader", by)
	h.eventually(reader, "Ready", "True Issued")
	reads := server.s3As(h, namespace, "reader")
	h.Expect(server.get(t, reads, "note")).To(Equal("content of note"))
	h.Expect(codeOf(server.put(t, reads, "other"))).To(Equal("AccessDenied"))

	// A refresh issues new credentials. The previous credentials stay valid until their own expiry.
	h.refresh(created, "1")
	h.Eventually(func() string { h.state(created, "Ready")(); return created.Status.LastHandledRefreshRequest }).WithTimeout(waitLimit).Should(Equal("1"))
	h.Expect(server.put(t, server.s3As(h, namespace, "owner"), "refreshed")).To(Succeed())
	h.Expect(server.get(t, api, "refreshed")).To(Equal("content of refreshed"))
	h.Expect(h.sts.Calls()).To(BeEmpty()) // only SeaweedFS was called
}

func TestSeaweedFSDeniesRolesThatDoNotTrustTheCaller(t *testing.T) {
	server := useSeaweedFS(t)
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := server.identity(h, server.user)
	denied := h.credential(namespace, "foreign", by, toRole("Foreign"))
	h.eventually(denied, "Issued", "False AccessDenied")
	h.Expect(h.secret(namespace, "foreign")).To(BeNil())
	h.eventually(h.credential(namespace, "unknown", by, toRole("Unknown")), "Issued", "False AccessDenied")
	h.eventually(h.credential(namespace, "no-role", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "urn:seaweedfs:role/Owner" }), "Issued", "False InvalidRequest")
	// SeaweedFS does not pass the external ID to the trust policy.
	h.eventually(h.credential(namespace, "with-id", by, toRole("RequiresID"), func(c *v1alpha1.RoleCredential) { c.Spec.ExternalID = "shop" }), "Issued", "False AccessDenied")

	update(h, denied, toOwner)
	h.eventually(denied, "Ready", "True Issued")
}

func TestSeaweedFSAppliesSessionPolicies(t *testing.T) {
	server := useSeaweedFS(t)
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := server.identity(h, server.user)
	h.Expect(server.put(t, server.s3(server.user, ""), "note")).To(Succeed())
	narrow := h.credential(namespace, "narrow", by, toOwner, func(c *v1alpha1.RoleCredential) { c.Spec.Policy = readsBucket })
	h.eventually(narrow, "Ready", "True Issued")
	api := server.s3As(h, namespace, "narrow")
	h.Expect(server.get(t, api, "note")).To(Equal("content of note"))
	h.Expect(codeOf(server.put(t, api, "other"))).To(Equal("AccessDenied"))

	malformed := h.credential(namespace, "malformed", by, toOwner, func(c *v1alpha1.RoleCredential) {
		c.Spec.Policy = `{"Version": "2012-10-17", "Statement": [{"Effect": "Perhaps", "Action": "s3:GetObject", "Resource": "*"}]}`
	})
	h.eventually(malformed, "Issued", "False MalformedPolicy")
}

func TestSeaweedFSIgnoresFieldsOfAssumeRole(t *testing.T) {
	server := useSeaweedFS(t)
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	ignored := h.credential(namespace, "ignored", server.identity(h, server.user), func(c *v1alpha1.RoleCredential) {
		c.Spec.RoleARN = "arn:aws:iam::123456789012:role/Owner" // of another account
		c.Spec.ExternalID, c.Spec.SourceIdentity = "ignored", "ignored"
		c.Spec.Tags = []v1alpha1.Tag{{Key: "team", Value: new("shop")}}
		c.Spec.PolicyARNs = []string{"arn:aws:iam::aws:policy/AWSDenyAll"}
	})
	h.eventually(ignored, "Ready", "True Issued")
	h.Expect(server.put(t, server.s3As(h, namespace, "ignored"), "ignored")).To(Succeed())
}

func TestSeaweedFSShortensSessions(t *testing.T) {
	server := useSeaweedFS(t)
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := server.identity(h, server.user)
	for name, tc := range map[string]struct {
		role            string
		requested, want time.Duration
	}{
		"short":     {"S3Reader", 15 * time.Minute, 15 * time.Minute},
		"long":      {"S3Reader", 12 * time.Hour, 12 * time.Hour},
		"shortened": {"Hour", 12 * time.Hour, time.Hour}, // AWS would reject it
	} {
		created := h.credential(namespace, name, by, toRole(tc.role), func(c *v1alpha1.RoleCredential) {
			c.Spec.Duration = &metav1.Duration{Duration: tc.requested}
		})
		h.eventually(created, "Ready", "True Issued")
		h.Expect(created.Status.Expiration.Sub(created.Status.LastRefreshTime.Time)).To(BeNumerically("~", tc.want, waitLimit), name)
		h.Expect(created.Status.Expiration.Time).To(BeTemporally("==", h.expiryInToken(namespace, name)), name)
	}
}

func TestSeaweedFSIssuesFederatedCredentialsOnly(t *testing.T) {
	server := useSeaweedFS(t)
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := server.identity(h, server.user)
	h.Expect(server.put(t, server.s3(server.user, ""), "note")).To(Succeed())

	narrowed := &v1alpha1.FederatedCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "narrowed"}}
	narrowed.Spec.IdentityRef.Name, narrowed.Spec.Policy = by.Name, readsBucket
	narrowed.Spec.Duration = &metav1.Duration{Duration: 36 * time.Hour}
	h.Expect(admin.Create(h.ctx, narrowed)).To(Succeed())
	h.eventually(narrowed, "Ready", "True Issued")
	h.Expect(narrowed.Status.PrincipalARN).To(Equal("arn:aws:sts::" + s3server.Account + ":federated-user/" + namespace + ".narrowed"))
	h.Expect(narrowed.Status.Expiration.Sub(narrowed.Status.LastRefreshTime.Time)).To(BeNumerically("~", 36*time.Hour, waitLimit))
	api := server.s3As(h, namespace, "narrowed")
	h.Expect(server.get(t, api, "note")).To(Equal("content of note"))
	h.Expect(codeOf(server.put(t, api, "other"))).To(Equal("AccessDenied"))

	unlimited := &v1alpha1.FederatedCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "unlimited"}}
	unlimited.Spec.IdentityRef.Name, unlimited.Spec.PolicyARNs = by.Name, []string{"arn:aws:iam::aws:policy/AWSDenyAll"}
	h.Expect(admin.Create(h.ctx, unlimited)).To(Succeed())
	h.eventually(unlimited, "Ready", "True Issued")
	// SeaweedFS ignores policyARNs. Without a policy, it grants all permissions of the user, and AWS none.
	h.Expect(server.put(t, server.s3As(h, namespace, "unlimited"), "other")).To(Succeed())

	own := &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "own"}}
	own.Spec.IdentityRef.Name = by.Name
	h.Expect(admin.Create(h.ctx, own)).To(Succeed())
	h.eventually(own, "Issued", "False AccessDenied") // there is no GetSessionToken
}

func TestSeaweedFSIssuesSessionsToSessions(t *testing.T) {
	server := useSeaweedFS(t)
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := server.identity(h, server.user)
	update(h, by, func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Chain = []v1alpha1.Hop{{RoleARN: "arn:aws:iam::" + s3server.Account + ":role/Hub", SessionName: "hub"}}
	})
	chained := h.credential(namespace, "chained", by, toRole("TrustsSession"))
	h.eventually(chained, "Ready", "True Issued")
	h.Expect(server.put(t, server.s3As(h, namespace, "chained"), "chained")).To(Succeed())
	// Other than in AWS, a role as the principal does not stand for its sessions.
	h.eventually(h.credential(namespace, "of-role", by, toRole("TrustsRole")), "Issued", "False AccessDenied")
}

func TestSeaweedFSRejectsWrongKeyUntilItIsReplaced(t *testing.T) {
	server := useSeaweedFS(t)
	for name, wrong := range map[string]stsemulator.AccessKey{
		"a wrong secret key":    {ID: server.user.ID, Secret: randomKey().Secret},
		"an unknown access key": randomKey(),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, stsemulator.Options{})
			h.start()
			namespace := h.namespace(nil)
			by := server.identity(h, wrong)
			created := h.credential(namespace, "recovers", by, toOwner)
			h.eventually(created, "Issued", "False InvalidSourceCredentials")
			h.Expect(h.secret(namespace, "recovers")).To(BeNil())
			h.putKey(by.Name, server.user)
			h.eventually(created, "Ready", "True Issued")
			h.Expect(server.put(t, server.s3As(h, namespace, "recovers"), "recovered")).To(Succeed())
		})
	}
}

func TestSeaweedFSRejectsExpiredSessions(t *testing.T) {
	g := NewWithT(t)
	server := startSeaweedFS(t, serverProgram(t, "SEAWEEDFS"), t.TempDir(), func(s *s3server.Server) { s.MaxSession = time.Second })
	t.Cleanup(func() { g.Expect(server.stop()).To(Succeed()) })
	api := sts.New(sts.Options{
		Region: "eu-west-1", BaseEndpoint: &server.url, Credentials: credentials.NewStaticCredentialsProvider(server.user.ID, server.user.Secret, ""),
	})
	issued, err := api.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String(ownerRole), RoleSessionName: aws.String("expires")})
	g.Expect(err).NotTo(HaveOccurred())
	session := server.s3(stsemulator.AccessKey{ID: *issued.Credentials.AccessKeyId, Secret: *issued.Credentials.SecretAccessKey}, *issued.Credentials.SessionToken)
	g.Eventually(func() string { return codeOf(server.put(t, session, "late")) }).WithTimeout(waitLimit).Should(Equal("InvalidAccessKeyId"))
}

func TestSeaweedFSAcceptsServiceAccountTokens(t *testing.T) {
	server := useSeaweedFS(t)
	h := newHarness(t, stsemulator.Options{})
	h.allowAnonymousDiscovery()
	h.start()
	namespace := h.namespace(nil)
	h.serviceAccount(namespace, "reader")
	h.serviceAccount(namespace, "other")
	h.Expect(server.put(t, server.s3(server.user, ""), "note")).To(Succeed())
	identity := h.identity(useTokens, func(i *v1alpha1.ClusterIdentity) { i.Spec.Endpoint = server.url })
	role := "arn:aws:iam::" + s3server.Account + ":role/OfServiceAccount"
	created := h.credential(namespace, "by-token", identity, withServiceAccount("reader", role))
	h.eventually(created, "Ready", "True Issued")
	h.Expect(created.Status.PrincipalARN).To(BeEmpty()) // SeaweedFS does not return it for this call
	api := server.s3As(h, namespace, "by-token")
	h.Expect(server.get(t, api, "note")).To(Equal("content of note"))
	h.Expect(codeOf(server.put(t, api, "other"))).To(Equal("AccessDenied"))
	h.eventually(h.credential(namespace, "of-another", identity, withServiceAccount("other", role)), "Issued", "False AccessDenied")
	h.Expect(h.sts.Calls()).To(BeEmpty())
}

// allowAnonymousDiscovery lets everyone read the keys of service account tokens, as a server outside of the cluster does.
func (h *harness) allowAnonymousDiscovery() {
	h.t.Helper()
	anonymous := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "issuer-discovery-for-all"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:service-account-issuer-discovery"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "system:unauthenticated"}},
	}
	h.Expect(admin.Create(h.ctx, anonymous)).To(Succeed())
	h.t.Cleanup(func() { h.Expect(admin.Delete(context.Background(), anonymous)).To(Succeed()) })
}
