package advice

import (
	"fmt"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/iam"
)

// issuer is the command that names the issuer of the cluster's tokens.
const issuer = "kubectl get --raw /.well-known/openid-configuration"

// tokenRole is the role of the call that failed if that call took a service account's token, and otherwise empty.
func (s Situation) tokenRole() string {
	if failed := s.failedCall(); failed != nil && failed.Call == string(v1alpha1.CallAssumeRoleWithWebIdentity) {
		return failed.RoleARN
	}
	return ""
}

func (s Situation) audience() string {
	if s.Identity == nil || s.Identity.Audience == "" {
		return "sts.amazonaws.com"
	}
	return s.Identity.Audience
}

// account is the subject of the token.
func (s Situation) account() string {
	if s.Credential == nil {
		return "system:serviceaccount:NAMESPACE:NAME"
	}
	return s.Credential.ServiceAccount()
}

// tokenDenied is of AssumeRoleWithWebIdentity on a role.
func (s Situation) tokenDenied() answer {
	role := s.tokenRole()
	return answer{
		means: "STS takes the token of the service account and refuses it the role: the role's trust policy alone decides that.",
		here:  []Step{{Do: fmt.Sprintf("Check that the credential names the service account that the role trusts; it is %s now.", s.account()), Copy: s.edit()}},
		aws: []Step{
			{Do: "See that the role exists, and whom it trusts.", Copy: getRole(role)},
			{Do: "See who issues the cluster's tokens: the issuer, without https://, is to stand for ISSUER below.", Copy: issuer},
			{Do: "Let the role's trust policy admit " + s.account() + ":", Copy: iam.TrustToken(role, "ISSUER", s.audience(), s.account()).String()},
		},
	}
}

func tokenNotIssued(s Situation) answer {
	name := "default"
	if s.Credential != nil {
		name = s.Credential.ServiceAccountName()
	}
	return answer{
		means: "The API server issued no token for the service account that the credential names, or none that may be shown to STS. STS was not asked; the message says which.",
		here: []Step{
			{Do: "See that the service account exists, or create it.", Copy: lines(kubectl("get", "serviceaccount", name, "-n", s.namespace()), kubectl("create", "serviceaccount", name, "-n", s.namespace()))},
			{Do: "Or have the credential name another.", Copy: s.patch(`{"serviceAccountName":"NAME"}`)},
			{Do: "See that the operator may ask for tokens; the ClusterRole serviceaccount-token-role of the manifests lets it.",
				Copy: s.operatorCan("create", "serviceaccounts/token")},
			{Do: "If the audience is the API server's own, set source.serviceAccount.audience of the identity to another. Add that to the client IDs of the IAM OIDC provider, and to the condition on aud in the role's trust policy.",
				Copy: s.editIdentity()},
		},
	}
}
