package advice

import (
	"fmt"

	"rolecredential.dev/operator/api/v1alpha1"
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

func (s Situation) audience() string {
	if s.Identity == nil || s.Identity.Audience == "" {
		return "sts.amazonaws.com"
	}
	return s.Identity.Audience
}

// tokenSubject returns the subject of the service account token.
func (s Situation) tokenSubject() string {
	if s.Credential == nil {
		return "system:serviceaccount:NAMESPACE:NAME"
	}
	return s.Credential.ServiceAccount()
}

// tokenDenied is the guidance for a denied AssumeRoleWithWebIdentity.
func (s Situation) tokenDenied() guidance {
	role := s.tokenRole()
	return guidance{
		means:   "STS accepted the service account token, but denied the role. For this call only the role's trust policy decides.",
		cluster: []Step{{Do: fmt.Sprintf("Check that spec.serviceAccountName is the service account that the role trusts. It is %s now.", s.tokenSubject()), Copy: s.edit()}},
		aws: []Step{
			{Do: "Check that the role exists, and read its trust policy.", Copy: getRole(role)},
			{Do: "Read the issuer of the cluster's tokens. Replace ISSUER below with it, without https://.", Copy: issuer},
			grant("In the role's trust policy, allow "+s.tokenSubject()+":",
				iam.Trust(role, iam.WebIdentityTrustPolicy(role, "ISSUER", s.audience(), s.tokenSubject()))),
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
	namespace, name := s.sourceSecret()
	return guidance{
		means: "The token of the identity's source has expired, or is not valid yet, by the clock of STS. The operator did not call STS.",
		cluster: []Step{
			{Do: "With source.webIdentityToken, check the tool that writes the Secret. A changed Secret is tried at once.", Copy: kubectl("get", "secret", name, "-n", namespace, "--show-managed-fields")},
			{Do: "With source.oidc, check the provider's clock, and the lifetime of the tokens that it issues to the client."},
		},
	}
}

func clientRejected(s Situation) guidance {
	namespace, name := s.sourceSecret()
	return guidance{
		means: "The OIDC provider rejected the client or its secret. The operator did not call STS.",
		cluster: []Step{
			{Do: "Check source.oidc.clientID of the identity.", Copy: s.editIdentity()},
			{Do: "Write the client's secret to the Secret that source.oidc.clientSecretRef names, under its key. A changed Secret is tried at once.",
				Copy: kubectl("create", "secret", "generic", name, "-n", namespace, "--from-file=KEY=FILE", "--dry-run=client", "-o", "yaml") + " | kubectl apply --server-side --force-conflicts -f -"},
			{Do: "In the provider, check that the client is enabled, and that it may use the grant client_credentials."},
		},
	}
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
