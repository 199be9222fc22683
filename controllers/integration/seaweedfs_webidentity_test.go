package integration_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/s3server"
	"rolecredential.dev/operator/hack/stsemulator"
)

// The server and the OIDC provider are third-party programs.
func TestSeaweedFSAcceptsTokensOfTheOIDCProvider(t *testing.T) {
	g := NewWithT(t)
	p := startOIDCProvider(t)
	server := startSeaweedFS(t, serverProgram(t, "SEAWEEDFS"), t.TempDir(), func(s *s3server.Server) {
		s.Issuer = &s3server.Issuer{Name: "provider", URL: p.issuer, Audience: "sts.amazonaws.com", CA: p.caFile}
		s.Roles = append(s.Roles,
			s3server.Role{Name: "OfClient", Policy: readsBucket, Trust: trustSubject("provider", "StringEquals", "operator")},
			s3server.Role{Name: "OfAnother", Policy: ownsBucket, Trust: trustSubject("provider", "StringEquals", "another")})
	})
	t.Cleanup(func() { g.Expect(server.stop()).To(Succeed()) })
	g.Expect(server.put(t, server.s3(server.user, ""), "note")).To(Succeed())

	for source, identity := range map[string]func(*harness) *v1alpha1.ClusterIdentity{
		"oidc": func(h *harness) *v1alpha1.ClusterIdentity { return p.identity(h, p.secret) },
		"webIdentityToken": func(h *harness) *v1alpha1.ClusterIdentity {
			return h.identity(useTokenIn, func(i *v1alpha1.ClusterIdentity) { h.putSecret(operatorNamespace, i.Name, "value", p.token(t)) })
		},
	} {
		t.Run(source, func(t *testing.T) {
			h := newHarness(t, stsemulator.Options{})
			h.start()
			namespace, by := h.namespace(nil), identity(h)
			update(h, by, func(i *v1alpha1.ClusterIdentity) { i.Spec.Endpoint = server.url })
			h.eventually(by, "Ready", "True NotVerifiable")
			created := h.credential(namespace, "of-client", by, toRole("OfClient"))
			h.eventually(created, "Ready", "True Issued")
			api := server.s3As(h, namespace, "of-client")
			h.Expect(server.get(t, api, "note")).To(Equal("content of note"))
			h.Expect(codeOf(server.put(t, api, "other"))).To(Equal("AccessDenied"))
			h.eventually(h.credential(namespace, "of-another", by, toRole("OfAnother")), "Issued", "False AccessDenied")
			h.Expect(h.sts.Calls()).To(BeEmpty()) // only SeaweedFS was called
		})
	}
}
