package advice

import (
	"cmp"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/iam"
	"rolecredential.dev/operator/controllers/request"
)

// usesCertificate reports whether the identity's source is x509.
func (s Situation) usesCertificate() bool {
	return s.Identity != nil && s.Identity.RolesAnywhere != nil
}

// certificateRole returns the role that the certificate reaches: the first hop, or the credential's role.
func (s Situation) certificateRole() string {
	if len(s.Identity.Chain) > 0 {
		return s.Identity.Chain[0].RoleARN
	}
	if s.Credential != nil && s.Credential.Request.RoleARN != "" {
		return s.Credential.Request.RoleARN
	}
	anchor, err := arn.Parse(s.Identity.RolesAnywhere.TrustAnchorARN)
	if err != nil {
		return "arn:aws:iam::ACCOUNT:role/NAME"
	}
	return arn.ARN{Partition: anchor.Partition, Service: "iam", AccountID: anchor.AccountID, Resource: "role/NAME"}.String()
}

// certificateSteps are the steps in AWS that admit the identity's certificate to a role.
func (s Situation) certificateSteps() []Step {
	role, settings := s.certificateRole(), s.Identity.RolesAnywhere
	trust := "The trust policy of " + role + " must allow the certificate with the common name " + s.CommonName + ":"
	if s.CommonName == "" {
		trust = "The trust policy of " + role + " must allow the trust anchor. This one allows each certificate of the anchor. " +
			"To require the certificate's common name, use --certificate FILE:"
	}
	seconds := 3600
	if s.Credential != nil && len(s.Identity.Chain) == 0 {
		seconds = int(s.Credential.Request.Duration.Seconds())
	}
	return []Step{
		grant(trust, iam.Trust(role, iam.CertificateTrustPolicy(settings.TrustAnchorARN, s.CommonName))),
		grant(fmt.Sprintf("The profile %s must list the role. Its durationSeconds bounds the duration of sessions, and so does the role's MaxSessionDuration:", settings.ProfileARN),
			iam.Admission(iam.Profile{
				Name: "rolecredential", RoleARNs: []string{role}, DurationSeconds: seconds, AcceptRoleSessionName: settings.AcceptRoleSessionName, Enabled: true,
			})),
	}
}

// certificateDenied is the guidance for a denied CreateSession.
func (s Situation) certificateDenied() guidance {
	a := guidance{means: "IAM Roles Anywhere denied CreateSession: the certificate, the trust anchor, the profile or the role's trust policy does not allow it. The message says what AWS reported."}
	if s.usesCertificate() {
		a.aws = s.certificateSteps()
	}
	return a
}

// certificateRejected is the guidance for a certificate whose signature IAM Roles Anywhere rejected, or for an unknown anchor or profile.
func (s Situation) certificateRejected() guidance {
	a := guidance{
		means:   "IAM Roles Anywhere rejected the signature of the certificate, or does not know the trust anchor or the profile. The message says which.",
		cluster: []Step{{Do: "Check trustAnchorARN and profileARN in source.x509 of the identity: both must exist in the same account and region.", Copy: s.editIdentity()}},
	}
	if s.usesCertificate() {
		region := "--region=" + regionOf(s.Identity.RolesAnywhere.TrustAnchorARN)
		a.cluster = append(a.cluster, s.storeSource("Or write a certificate of the trust anchor's authority to the Secret"))
		a.aws = []Step{{Do: "List the trust anchors and profiles.", Copy: lines(aws("rolesanywhere", "list-trust-anchors", region), aws("rolesanywhere", "list-profiles", region))}}
	}
	return a
}

// regionOf returns the region of an ARN, or a placeholder.
func regionOf(text string) string {
	parsed, _ := arn.Parse(text)
	return cmp.Or(parsed.Region, "REGION")
}

// passesSourceIdentity reports whether the sessions of the chain have the source identity of a certificate.
func (s Situation) passesSourceIdentity() bool {
	return s.usesCertificate() && len(s.Identity.Chain) > 0
}

// withSourceIdentity returns a request of AssumeRole with the source identity that it inherits from the chain.
func (s Situation) withSourceIdentity(r request.Request) request.Request {
	if s.passesSourceIdentity() {
		r.SourceIdentity = cmp.Or(r.SourceIdentity, s.CommonName, "COMMON-NAME")
	}
	return r
}

// sourceIdentityNeeded explains the action sts:SetSourceIdentity in policies.
func (s Situation) sourceIdentityNeeded() string {
	if !s.passesSourceIdentity() {
		return ""
	}
	return " The chain starts with a certificate, so its sessions have a source identity, and both must also allow sts:SetSourceIdentity."
}

// createSessionFailed reports whether the failed call is CreateSession.
func (s Situation) createSessionFailed() bool {
	failed := s.failedCall()
	return failed != nil && v1alpha1.Call(failed.Call) == v1alpha1.CallCreateSession
}

// grant returns a step that shows a policy or profile.
func grant(do string, g *iam.Grant) Step { return Step{Do: do, Copy: g.String(), Grant: g} }
