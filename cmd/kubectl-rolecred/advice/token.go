package advice

import (
	"cmp"
	"fmt"
	"strings"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/iam"
)

// issuer is the command that prints the issuer of the cluster's service account tokens.
const issuer = "kubectl get --raw /.well-known/openid-configuration"

// tokenRole returns the role of the failed call if that call is AssumeRoleWithWebIdentity, and otherwise nothing.
func (s Situation) tokenRole() string {
	if failed := s.failedCall(); failed != nil && failed.Call == string(v1alpha1.CallAssumeRoleWithWebIdentity) {
		return failed.RoleARN
	}
	return ""
}

// token describes the token that authenticates the call.
func (s Situation) token() string {
	switch s.source() {
	case cluster.SourceOIDC:
		return "the token of the OIDC client"
	case cluster.SourceWebIdentityToken:
		return "the token in the Secret of its source"
	default:
		return "the service account token"
	}
}

// ofServiceAccount reports whether the token is, as far as is known, that of the credential's service account.
func (s Situation) ofServiceAccount() bool {
	return s.source() != cluster.SourceOIDC && s.source() != cluster.SourceWebIdentityToken
}

// audience returns the audience of the token, or a placeholder.
func (s Situation) audience() string {
	switch {
	case s.Identity != nil && s.Identity.OIDC != nil:
		return cmp.Or(s.Identity.OIDC.Audience, "AUDIENCE")
	case !s.ofServiceAccount():
		return "AUDIENCE"
	case s.Identity == nil || s.Identity.Audience == "":
		return "sts.amazonaws.com"
	default:
		return s.Identity.Audience
	}
}

// issuer returns the issuer of the token without https://, or a placeholder.
func (s Situation) issuer() string {
	if s.Identity != nil && s.Identity.OIDC != nil {
		_, host, _ := strings.Cut(s.Identity.OIDC.Issuer, "://")
		return cmp.Or(host, "ISSUER")
	}
	return "ISSUER"
}

// tokenSubject returns the subject of the token, or a placeholder.
func (s Situation) tokenSubject() string {
	switch {
	case !s.ofServiceAccount():
		return "SUBJECT"
	case s.Credential == nil:
		return "system:serviceaccount:NAMESPACE:NAME"
	default:
		return s.Credential.ServiceAccount()
	}
}

// readClaims is the step that shows the claims that a trust policy compares.
func (s Situation) readClaims() Step {
	if s.ofServiceAccount() {
		return Step{Do: "Read the issuer of the cluster's tokens. Replace ISSUER below with it, without https://.", Copy: issuer}
	}
	return Step{Do: "Read the claims iss, aud and sub of " + s.token() + ". Replace ISSUER (without https://), AUDIENCE and SUBJECT below with them."}
}

// tokenDenied is the guidance for a denied AssumeRoleWithWebIdentity.
func (s Situation) tokenDenied() guidance {
	role := s.tokenRole()
	a := guidance{
		means: "STS accepted " + s.token() + ", but denied the role. For this call only the role's trust policy decides.",
		aws: []Step{
			{Do: "Check that the role exists, and read its trust policy.", Copy: getRole(role)},
			s.readClaims(),
			grant("In the role's trust policy, allow "+s.tokenSubject()+":",
				iam.Trust(role, iam.WebIdentityTrustPolicy(role, s.issuer(), s.audience(), s.tokenSubject()))),
		},
	}
	if s.ofServiceAccount() {
		a.cluster = []Step{{Do: fmt.Sprintf("Check that spec.serviceAccountName is the service account that the role trusts. It is %s now.", s.tokenSubject()), Copy: s.edit()}}
	}
	return a
}

// tokenRejected is the guidance for a token that STS rejected.
func (s Situation) tokenRejected() guidance {
	return guidance{
		means: "STS rejected " + s.token() + ". IAM has no OIDC provider for its issuer, or the provider does not list its audience.",
		aws: []Step{
			s.readClaims(),
			{Do: "Check that IAM has an OIDC provider for that issuer in the account of " + s.tokenRole() + ", and that its client IDs contain the audience " + s.audience() + ".",
				Copy: lines("aws iam list-open-id-connect-providers", aws("iam", "create-open-id-connect-provider", "--url", "https://"+s.issuer(), "--client-id-list="+list(s.audience())))},
			{Do: "Check that AWS can read the issuer's keys at its jwks_uri."},
		},
	}
}

func tokenNotIssued(s Situation) guidance {
	name := "default"
	if s.Credential != nil {
		name = s.Credential.ServiceAccountName()
	}
	return guidance{
		means: "The API server issued no token for the credential's service account, or a token that the operator may not send to STS. The message says which. The operator did not call STS.",
		cluster: []Step{
			{Do: "Check that the service account exists, or create it.", Copy: lines(kubectl("get", "serviceaccount", name, "-n", s.namespace()), kubectl("create", "serviceaccount", name, "-n", s.namespace()))},
			{Do: "Or set another service account.", Copy: s.patch(`{"serviceAccountName":"NAME"}`)},
			{Do: "Check that the operator may create tokens. The ClusterRole rolecredential-serviceaccount-token-role grants it; it is not bound by default.",
				Copy: s.operatorCan("create", "serviceaccounts/token")},
			{Do: "Bind that role in this namespace. For all namespaces, use the chart value rbac.serviceAccountTokens or the kustomize component serviceaccount-tokens.",
				Copy: s.bind("rolecredential-serviceaccount-token-role")},
			{Do: "If the audience is the API server's own, set source.serviceAccount.audience of the identity to another one. Add it to the client IDs of the IAM OIDC provider, and to the condition on aud in the role's trust policy.",
				Copy: s.editIdentity()},
		},
	}
}

func tokenNotCurrent(s Situation) guidance {
	a := guidance{means: "The token of the identity's source has expired, or is not valid yet, by the clock of STS. The operator did not call STS."}
	if s.source() == cluster.SourceWebIdentityToken {
		a.cluster = append(s.checkWriter(), s.storeSource("Or write a valid token to the Secret"))
		return a
	}
	a.cluster = []Step{{Do: "Check the clock of the OIDC provider, and the lifetime of the tokens that it issues to the client of source.oidc."}}
	if s.Identity == nil {
		a.cluster = append(a.cluster, Step{Do: "If the source is webIdentityToken, have the owner of the identity check the tool that writes the token to the Secret."})
	}
	return a
}

func clientRejected(s Situation) guidance {
	a := guidance{
		means: "The OIDC provider rejected the client or its secret. The operator did not call STS.",
		cluster: []Step{
			{Do: "In the provider, check that the client is enabled, and that it may use the grant client_credentials."},
			{Do: "Check source.oidc.clientID of the identity.", Copy: s.editIdentity()},
		},
	}
	if s.Identity != nil {
		a.cluster = append(a.cluster, s.storeSource("Write the client's secret to the Secret of the source"))
	}
	return a
}

func providerUnreachable(s Situation) guidance {
	return guidance{
		means: "The OIDC provider did not answer, or presented a certificate that is not trusted. The operator did not call STS.",
		cluster: []Step{
			{Do: "Check issuer or tokenURL of source.oidc, and its caBundle if a private authority issued the provider's certificate.", Copy: s.editIdentity()},
			{Do: "Check DNS, NetworkPolicies and proxies between the operator and the provider.", Copy: operatorRuns},
		},
	}
}

func providerError(s Situation) guidance {
	return guidance{
		means: "The OIDC provider returned an error or a redirect, or no token that the operator can send to STS. The message says which. The operator did not call STS.",
		cluster: []Step{
			{Do: "Correct the field of source.oidc that the message names.", Copy: s.editIdentity()},
			{Do: "Read the provider's log, which has the cause of an error. The operator reports only its standard code and HTTP status."},
		},
	}
}
