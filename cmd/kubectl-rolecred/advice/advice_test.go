package advice_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/advice"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/rules"
	"rolecredential.dev/operator/controllers/authz"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/testkit"
)

const (
	reader   = "arn:aws:iam::123456789012:role/team/S3Reader"
	operator = "arn:aws:iam::210987654321:user/operator"
	hub      = "arn:aws:iam::210987654321:role/Hub"
	entry    = "arn:aws:iam::123456789012:role/Entry"
)

// situation returns the situation of shop/s3-reader with the identity default and a condition with a reason.
func situation(reason string, change ...func(*advice.Situation)) advice.Situation {
	c := cluster.NewCredential(cluster.Kinds[0], &v1alpha1.RoleCredential{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader"},
		Spec:       v1alpha1.RoleCredentialSpec{RoleARN: reader, Duration: &metav1.Duration{Duration: 2 * time.Hour}},
	})
	identity := &cluster.Identity{
		IdentityRef: c.IdentityRef(), Region: "eu-south-1", Endpoint: "https://sts.example.internal:8443", ARN: operator,
		Source: "accessKey in Secret ops/bootstrap", SourceType: cluster.SourceAccessKey, SourceSecret: &types.NamespacedName{Namespace: "ops", Name: "bootstrap"},
	}
	s := advice.Situation{Condition: metav1.Condition{Type: "Issued", Status: metav1.ConditionFalse, Reason: reason}, Credential: &c, Identity: identity, Ref: c.IdentityRef()}
	for _, f := range change {
		f(&s)
	}
	return s
}

func of(object cluster.Object, kind int) func(*advice.Situation) {
	return func(s *advice.Situation) {
		object.SetNamespace("shop")
		object.SetName("other")
		c := cluster.NewCredential(cluster.Kinds[kind], object)
		s.Credential, s.Ref = &c, c.IdentityRef()
	}
}

func role(change func(*v1alpha1.RoleCredentialSpec)) func(*advice.Situation) {
	return func(s *advice.Situation) {
		object, _ := s.Credential.Object.(*v1alpha1.RoleCredential)
		change(&object.Spec)
		c := cluster.NewCredential(cluster.Kinds[0], object)
		s.Credential = &c
	}
}

// ruled evaluates the identity's rules on the credential, as the command explain does.
func ruled(allow ...v1alpha1.AllowRule) func(*advice.Situation) {
	return func(s *advice.Situation) {
		r := s.Credential.Request
		verdict := rules.Evaluate(allow, authz.Request{
			Identity: r.Identity, Namespace: "shop", Call: authz.CallToAuthorize(s.Identity.Call(r.Call)), RoleARN: r.RoleARN, SessionName: r.SessionName,
			DefaultSessionName: s.Credential.DefaultSessionName(), Duration: r.Duration, Chain: s.Identity.Roles(),
		})
		s.Identity.Rules, s.Verdict = allow, &verdict
	}
}

func chained(s *advice.Situation) {
	s.Identity.Chain = []v1alpha1.Hop{{RoleARN: hub, ExternalID: "k8s"}, {RoleARN: entry}}
}

// failing sets the condition's message and the statuses' failed call to those of a failed STS call.
func failing(subject reason.Subject) func(*advice.Situation) {
	return func(s *advice.Situation) {
		failed := reason.STS(s.Condition.Reason, reason.Answer{Code: "TheCode", Status: 403}, subject, nil)
		s.Condition.Message = failed.Message
		if s.Credential != nil {
			s.Credential.Report().FailedCall = failed.Call
		}
		if s.Identity != nil {
			s.Identity.FailedCall = failed.Call
		}
	}
}

// own replaces the identity with an Identity whose source is serviceAccount.
func own(s *advice.Situation) {
	s.Ref.Kind, s.Ref.Name = v1alpha1.IdentityKindIdentity, "own"
	if s.Identity != nil {
		s.Identity.IdentityRef, s.Identity.SourceSecret, s.Identity.Source, s.Identity.Audience, s.Identity.ARN = s.Ref, nil, "serviceAccount", "aud.example.com", ""
		s.Identity.SourceType = cluster.SourceServiceAccount
	}
}

// ofAWS removes the identity's endpoint.
func ofAWS(s *advice.Situation) { s.Identity.Endpoint = "" }

const anchor = "arn:aws:rolesanywhere:eu-south-1:123456789012:trust-anchor/7a6c4b2e-0f5d-4c3b-9a81-2d1e0f9c8b7a"

// certificate replaces the identity's source with x509.
func certificate(s *advice.Situation) {
	s.Identity.RolesAnywhere = &v1alpha1.RolesAnywhereSettings{TrustAnchorARN: anchor, ProfileARN: "arn:aws:rolesanywhere:eu-south-1:123456789012:profile/p"}
	s.Identity.Source, s.Identity.SourceType, s.Identity.ARN = "x509 in Secret ops/bootstrap", cluster.SourceX509, ""
}

// client replaces the identity's source with oidc.
func client(s *advice.Situation) {
	s.Identity.OIDC = &v1alpha1.OIDCSettings{Issuer: "https://id.example.com/realms/prod", ClientID: "operator", Audience: "aud.example.com"}
	s.Identity.Source, s.Identity.SourceType, s.Identity.SourceKey, s.Identity.ARN = "oidc in Secret ops/bootstrap", cluster.SourceOIDC, "secret", ""
}

// webToken replaces the identity's source with webIdentityToken.
func webToken(s *advice.Situation) {
	s.Identity.Source, s.Identity.SourceType, s.Identity.SourceKey, s.Identity.ARN = "webIdentityToken in Secret ops/bootstrap", cluster.SourceWebIdentityToken, "token", ""
}

// byToken is an AssumeRoleWithWebIdentity that failed.
func byToken(s *advice.Situation) {
	failing(reason.Subject{Call: v1alpha1.CallAssumeRoleWithWebIdentity, RoleARN: reader})(s)
}

func ofIdentity(s *advice.Situation) { s.Credential = nil }

func unknownIdentity(s *advice.Situation) { s.Identity = nil }

// step lists texts that the steps of an explanation must contain, in the cluster and in AWS.
type step struct {
	situation    advice.Situation
	cluster, aws []string
	// not lists texts that the explanation must not contain.
	not []string
	// nothing means that the explanation has no steps.
	nothing bool
}

// steps lists the right steps for each reason of the API, in all cases that differ.
var steps = map[string]map[string]step{
	v1alpha1.ReasonAllowed:       {"": {situation: situation(v1alpha1.ReasonAllowed), nothing: true}},
	v1alpha1.ReasonIssued:        {"": {situation: situation(v1alpha1.ReasonIssued), nothing: true}},
	v1alpha1.ReasonVerified:      {"": {situation: situation(v1alpha1.ReasonVerified, ofIdentity), nothing: true}},
	v1alpha1.ReasonNotVerifiable: {"": {situation: situation(v1alpha1.ReasonNotVerifiable, ofIdentity), nothing: true}},
	v1alpha1.ReasonInSync:        {"": {situation: situation(v1alpha1.ReasonInSync, ofIdentity), nothing: true}},

	v1alpha1.ReasonIdentityNotFound: {
		"a ClusterIdentity": {
			situation: situation(v1alpha1.ReasonIdentityNotFound, unknownIdentity),
			cluster:   []string{"kubectl get clusteridentities\nkubectl get identities -n shop", `{"spec":{"identityRef":{"name":"NAME"}}}`, "namespaces:\n  - shop"},
		},
		"an Identity": {
			situation: situation(v1alpha1.ReasonIdentityNotFound, unknownIdentity, own), cluster: []string{"create the Identity own in this namespace"},
		},
	},
	v1alpha1.ReasonIdentityNotReady: {
		"the identity's condition names the cause": {
			situation: situation(v1alpha1.ReasonIdentityNotReady, func(s *advice.Situation) {
				s.Identity.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonSecretNotFound}}
			}),
			cluster: []string{"kubectl create secret generic bootstrap -n ops --from-env-file=key.env"},
		},
		"the user may not read the identity": {situation: situation(v1alpha1.ReasonIdentityNotReady, unknownIdentity), cluster: []string{"kubectl describe clusteridentity/default"}},
		"the identity is Ready now": {
			situation: situation(v1alpha1.ReasonIdentityNotReady, func(s *advice.Situation) {
				s.Identity.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonVerified}}
			}),
			cluster: []string{"Ready now"},
		},
	},
	v1alpha1.ReasonNotAllowed: {
		"a rule must be added": {
			situation: situation(v1alpha1.ReasonNotAllowed, ruled(v1alpha1.AllowRule{Namespaces: []string{"bank"}, RoleARNs: []string{"*"}})),
			cluster:   []string{"namespaces:\n  - shop\n  roleARNs:\n  - " + reader, "kubectl edit clusteridentity/default"},
		},
		"the session name must be removed": {
			situation: situation(v1alpha1.ReasonNotAllowed, role(func(s *v1alpha1.RoleCredentialSpec) { s.SessionName = "mine" }), ruled(v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}})),
			cluster:   []string{`{"spec":{"sessionName":null}}`, "add mine to sessionNames of spec.allow[0]"},
		},
		"the role is a hop": {
			situation: situation(v1alpha1.ReasonNotAllowed, func(s *advice.Situation) { s.Identity.Chain = []v1alpha1.Hop{{RoleARN: reader}} }, ruled(v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}})),
			cluster:   []string{"chain does not contain the role"},
		},
		"the rule must name the call": {
			situation: situation(v1alpha1.ReasonNotAllowed, of(&v1alpha1.SessionCredential{}, 1), ruled()),
			cluster:   []string{"calls:\n  - GetSessionToken\n  namespaces:\n  - shop"},
		},
		"the rule must name CreateSession": {
			situation: situation(v1alpha1.ReasonNotAllowed, certificate, ruled(v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}})),
			cluster:   []string{"calls:\n  - CreateSession\n  namespaces:\n  - shop\n  roleARNs:\n  - " + reader},
		},
		"the user may not read the identity": {situation: situation(v1alpha1.ReasonNotAllowed, unknownIdentity), cluster: []string{"namespaces:\n  - shop"}},
	},
	v1alpha1.ReasonDurationNotAllowed: {
		"the maximum of the rule": {
			situation: situation(v1alpha1.ReasonDurationNotAllowed, ruled(v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}, MaxDuration: &metav1.Duration{Duration: 90 * time.Minute}})),
			cluster:   []string{`{"spec":{"duration":"1h30m"}}`, "raise maxDuration"},
		},
		"1h because of role chaining": {
			situation: situation(v1alpha1.ReasonDurationNotAllowed, chained, ruled(v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}})),
			cluster:   []string{`{"spec":{"duration":"1h"}}`, "no chain"},
		},
	},

	v1alpha1.ReasonNotAttempted: {"": {situation: situation(v1alpha1.ReasonNotAttempted), cluster: []string{"the condition that the message names"}}},
	v1alpha1.ReasonWrongSourceType: {
		"a session": {
			situation: situation(v1alpha1.ReasonWrongSourceType, of(&v1alpha1.SessionCredential{}, 1)),
			cluster:   []string{"sessioncredential/other -n shop", "source.accessKey is an IAM user's key", "RoleCredential"}, aws: []string{"aws iam create-access-key"},
		},
		"a role with MFA": {situation: situation(v1alpha1.ReasonWrongSourceType, role(func(s *v1alpha1.RoleCredentialSpec) { s.MFA = &v1alpha1.MFA{SerialNumber: "arn:mfa"} })), cluster: []string{`{"spec":{"mfa":null}}`}},
	},
	v1alpha1.ReasonInvalidMFA: {"": {
		situation: situation(v1alpha1.ReasonInvalidMFA, role(func(s *v1alpha1.RoleCredentialSpec) {
			s.MFA = &v1alpha1.MFA{SerialNumber: "arn:mfa", TOTPSecretRef: v1alpha1.SecretKeyReference{Name: "device", Key: "seed"}}
		})),
		cluster: []string{"kubectl create secret generic device -n shop --from-file=seed=FILE"}, aws: []string{"create-virtual-mfa-device"},
	}},
	v1alpha1.ReasonTokenNotIssued: {"": {
		situation: situation(v1alpha1.ReasonTokenNotIssued, role(func(s *v1alpha1.RoleCredentialSpec) { s.ServiceAccountName = "reader" })),
		cluster:   []string{"kubectl create serviceaccount reader -n shop", `{"spec":{"serviceAccountName":"NAME"}}`, "kubectl auth can-i create serviceaccounts/token -n shop", "audience"},
	}},
	v1alpha1.ReasonTokenExpired: {
		"webIdentityToken": {
			situation: situation(v1alpha1.ReasonTokenExpired, webToken),
			cluster:   []string{"kubectl get secret bootstrap -n ops --show-managed-fields", "--from-file=token=FILE"}, not: []string{"provider", "access"},
		},
		"oidc":                               {situation: situation(v1alpha1.ReasonTokenExpired, client), cluster: []string{"clock of the OIDC provider"}, not: []string{"kubectl"}},
		"the user may not read the identity": {situation: situation(v1alpha1.ReasonTokenExpired, unknownIdentity), cluster: []string{"clock of the OIDC provider", "tool that writes the token"}},
	},
	v1alpha1.ReasonTokenNotYetValid: {
		"webIdentityToken": {situation: situation(v1alpha1.ReasonTokenNotYetValid, webToken), cluster: []string{"kubectl get secret bootstrap -n ops --show-managed-fields"}, not: []string{"provider"}},
		"oidc":             {situation: situation(v1alpha1.ReasonTokenNotYetValid, client), cluster: []string{"clock of the OIDC provider"}, not: []string{"kubectl"}},
	},
	v1alpha1.ReasonClientRejected: {
		"a known identity":                   {situation: situation(v1alpha1.ReasonClientRejected, client), cluster: []string{"clientID", "kubectl create secret generic bootstrap -n ops --from-file=secret=FILE", "client_credentials"}, not: []string{"key.env"}},
		"the user may not read the identity": {situation: situation(v1alpha1.ReasonClientRejected, unknownIdentity), cluster: []string{"clientID", "client_credentials"}, not: []string{"create secret"}},
	},
	v1alpha1.ReasonProviderUnreachable: {"": {situation: situation(v1alpha1.ReasonProviderUnreachable), cluster: []string{"kubectl edit clusteridentity/default", "caBundle", "NetworkPolicies"}}},
	v1alpha1.ReasonProviderError:       {"": {situation: situation(v1alpha1.ReasonProviderError, ofIdentity), cluster: []string{"kubectl edit clusteridentity/default", "provider's log"}}},
	v1alpha1.ReasonAccessDenied: {
		"CreateSession on the role": {
			situation: situation(v1alpha1.ReasonAccessDenied, certificate, failing(reason.Subject{Call: "CreateSession", RoleARN: reader})),
			aws: []string{"each certificate of the anchor", `"Service": "rolesanywhere.amazonaws.com"`, `"sts:SetSourceIdentity"`, `"aws:SourceArn": "` + anchor + `"`,
				"\"roleArns\": [\n    \"" + reader + "\"", `"durationSeconds": 7200`, `"acceptRoleSessionName": false`},
		},
		"CreateSession on a hop, with a known common name": {
			situation: situation(v1alpha1.ReasonAccessDenied, certificate, chained, func(s *advice.Situation) { s.CommonName = "operator" },
				failing(reason.Subject{Call: "CreateSession", RoleARN: hub, Hop: true})),
			aws: []string{`"aws:PrincipalTag/x509Subject/CN": "operator"`, "The trust policy of " + hub, `"` + hub + `"`, `"durationSeconds": 3600`},
		},
		"AssumeRoleWithWebIdentity on the role": {
			situation: situation(v1alpha1.ReasonAccessDenied, own, failing(reason.Subject{Identity: "Identity own", ServiceAccount: "system:serviceaccount:shop:default", Call: v1alpha1.CallAssumeRoleWithWebIdentity, RoleARN: reader})),
			aws:       []string{"aws iam get-role --role-name=S3Reader", "openid-configuration", `"ISSUER:sub": "system:serviceaccount:shop:default"`, `"ISSUER:aud": "aud.example.com"`, "oidc-provider/ISSUER"}, cluster: []string{"system:serviceaccount:shop:default"},
		},
		"AssumeRoleWithWebIdentity on the first hop": {
			situation: situation(v1alpha1.ReasonAccessDenied, own, chained, failing(reason.Subject{Identity: "Identity own", ServiceAccount: "system:serviceaccount:shop:default", Call: v1alpha1.CallAssumeRoleWithWebIdentity, RoleARN: hub, Hop: true})),
			aws:       []string{"aws iam get-role --role-name=Hub", "arn:aws:iam::210987654321:oidc-provider/ISSUER"},
		},
		"AssumeRoleWithWebIdentity with a token of an OIDC client": {
			situation: situation(v1alpha1.ReasonAccessDenied, client, byToken),
			aws:       []string{"aws iam get-role --role-name=S3Reader", `"id.example.com/realms/prod:sub": "SUBJECT"`, `"id.example.com/realms/prod:aud": "aud.example.com"`, "oidc-provider/id.example.com/realms/prod"},
			not:       []string{"service account", "serviceAccountName", "kubectl"},
		},
		"AssumeRoleWithWebIdentity with the token in a Secret": {
			situation: situation(v1alpha1.ReasonAccessDenied, webToken, byToken),
			aws:       []string{"claims iss, aud and sub", `"ISSUER:sub": "SUBJECT"`, `"ISSUER:aud": "AUDIENCE"`}, not: []string{"service account", "serviceAccountName", "kubectl"},
		},
		"the role's trust policy": {
			situation: situation(v1alpha1.ReasonAccessDenied, role(func(s *v1alpha1.RoleCredentialSpec) { s.ExternalID = "shop-7f3a" })),
			aws:       []string{"aws iam get-role --role-name=S3Reader", `"AWS": "` + operator + `"`, `"sts:ExternalId": "shop-7f3a"`, `"Resource": "` + reader + `"`}, cluster: []string{"shop-7f3a"},
		},
		"with a chain, the last hop is the caller": {situation: situation(v1alpha1.ReasonAccessDenied, chained), aws: []string{`"AWS": "` + entry + `"`}, not: []string{"SetSourceIdentity"}},
		"the first hop": {
			situation: situation(v1alpha1.ReasonAccessDenied, chained, failing(reason.Subject{Identity: "ClusterIdentity default", Call: v1alpha1.CallAssumeRole, RoleARN: hub, Hop: true})),
			aws:       []string{"aws iam get-role --role-name=Hub", `"sts:ExternalId": "k8s"`, "the identity's source (accessKey in Secret ops/bootstrap)", `"Resource": "` + hub + `"`}, cluster: []string{"kubectl edit clusteridentity/default"},
		},
		"the second hop": {
			situation: situation(v1alpha1.ReasonAccessDenied, chained, failing(reason.Subject{Identity: "ClusterIdentity default", Call: v1alpha1.CallAssumeRole, RoleARN: entry, Hop: true})),
			aws:       []string{`"AWS": "` + hub + `"`, `"Resource": "` + entry + `"`},
		},
		"a hop, on the identity's condition": {
			situation: situation(v1alpha1.ReasonAccessDenied, chained, failing(reason.Subject{Identity: "ClusterIdentity default", Call: v1alpha1.CallAssumeRole, RoleARN: entry, Hop: true}), ofIdentity),
			aws:       []string{`"AWS": "` + hub + `"`},
		},
		"a role behind a hub that a certificate reaches": {
			situation: situation(v1alpha1.ReasonAccessDenied, certificate, chained, failing(reason.Subject{Call: v1alpha1.CallAssumeRole, RoleARN: reader})),
			aws:       []string{`"AWS": "` + entry + `"`, `"sts:SetSourceIdentity"`},
		},
		"a hop behind a hub that a certificate reaches": {
			situation: situation(v1alpha1.ReasonAccessDenied, certificate, chained, failing(reason.Subject{Call: v1alpha1.CallAssumeRole, RoleARN: entry, Hop: true}), ofIdentity),
			aws:       []string{`"AWS": "` + hub + `"`, `"sts:SetSourceIdentity"`, `"Resource": "` + entry + `"`},
		},
		"GetCallerIdentity, on the identity's condition": {situation: situation(v1alpha1.ReasonAccessDenied, ofIdentity), aws: []string{"policy of the organization"}},
		"the user may not read the identity, but the failed call names the caller": {
			situation: situation(v1alpha1.ReasonAccessDenied, unknownIdentity, failing(reason.Subject{Identity: "ClusterIdentity default", Caller: operator, Call: v1alpha1.CallAssumeRole, RoleARN: reader})),
			aws:       []string{`"AWS": "` + operator + `"`},
		},
		"a role session as the caller, whose path is not known": {
			situation: situation(v1alpha1.ReasonAccessDenied, func(s *advice.Situation) { s.Identity.ARN = "arn:aws:sts::210987654321:assumed-role/Operator" }),
			aws:       []string{`"AWS": "arn:aws:iam::210987654321:role/Operator"`, "has a path"},
		},
		"a federated user": {
			situation: situation(v1alpha1.ReasonAccessDenied, of(&v1alpha1.FederatedCredential{}, 2)),
			aws:       []string{"sts:GetFederationToken", "arn:aws:sts::210987654321:federated-user/shop.other"},
		},
		"a session with MFA": {
			situation: situation(v1alpha1.ReasonAccessDenied, of(&v1alpha1.SessionCredential{Spec: v1alpha1.SessionCredentialSpec{MFA: &v1alpha1.MFA{SerialNumber: "arn:mfa"}}}, 1)),
			cluster:   []string{"spec.mfa.serialNumber"}, aws: []string{"aws iam list-mfa-devices --user-name=operator"},
		},
		"a session without MFA":            {situation: situation(v1alpha1.ReasonAccessDenied, of(&v1alpha1.SessionCredential{}, 1), ofAWS), cluster: []string{"AKIA"}},
		"a session from a custom endpoint": {situation: situation(v1alpha1.ReasonAccessDenied, of(&v1alpha1.SessionCredential{}, 1)), cluster: []string{"whether it supports the call for this caller"}},
	},
	v1alpha1.ReasonInvalidSourceCredentials: {
		"an access key": {
			situation: situation(v1alpha1.ReasonInvalidSourceCredentials),
			cluster:   []string{"kubectl create secret generic bootstrap -n ops --from-env-file=key.env --dry-run=client"}, aws: []string{"aws iam list-access-keys --user-name=operator"},
		},
		"the token of a service account": {
			situation: situation(v1alpha1.ReasonInvalidSourceCredentials, own, failing(reason.Subject{Identity: "Identity own", ServiceAccount: "system:serviceaccount:shop:default", Call: v1alpha1.CallAssumeRoleWithWebIdentity, RoleARN: reader})),
			aws:       []string{"create-open-id-connect-provider --url https://ISSUER --client-id-list=aud.example.com", "jwks_uri"},
		},
		"the token of an OIDC client": {
			situation: situation(v1alpha1.ReasonInvalidSourceCredentials, client, byToken),
			aws:       []string{"create-open-id-connect-provider --url https://id.example.com/realms/prod --client-id-list=aud.example.com", "jwks_uri"}, not: []string{"access-key", "kubectl"},
		},
		"the token in a Secret": {
			situation: situation(v1alpha1.ReasonInvalidSourceCredentials, webToken, byToken),
			aws:       []string{"create-open-id-connect-provider --url https://ISSUER --client-id-list=AUDIENCE"}, not: []string{"access-key", "kubectl"},
		},
		"a certificate": {
			situation: situation(v1alpha1.ReasonInvalidSourceCredentials, certificate, failing(reason.Subject{Call: v1alpha1.CallCreateSession, RoleARN: reader})),
			cluster:   []string{"trustAnchorARN", "kubectl create secret tls bootstrap -n ops --cert=tls.crt --key=tls.key"}, aws: []string{"aws rolesanywhere list-trust-anchors --region=eu-south-1"}, not: []string{"access-key", "key.env"},
		},
		"ambient credentials": {
			situation: situation(v1alpha1.ReasonInvalidSourceCredentials, func(s *advice.Situation) {
				s.Identity.SourceSecret, s.Identity.Source, s.Identity.SourceType = nil, "ambient", cluster.SourceAmbient
			}),
			cluster: []string{"IRSA", "kubectl rollout restart"}, aws: []string{"OIDC"},
		},
	},
	v1alpha1.ReasonInvalidRequest: {
		"a role": {
			situation: situation(v1alpha1.ReasonInvalidRequest, failing(reason.Subject{Call: v1alpha1.CallAssumeRole, RoleARN: reader})),
			cluster:   []string{"kubectl events --for=rolecredential/s3-reader -n shop", `{"spec":{"duration":"1h"}}`}, aws: []string{"aws iam update-role --role-name=S3Reader --max-session-duration 7200"},
		},
		"an ARN that is not in AWS's form": {
			situation: situation(v1alpha1.ReasonInvalidRequest,
				role(func(s *v1alpha1.RoleCredentialSpec) { s.RoleARN = "urn:ecs:iam::ns1:role/admins" }),
				func(s *advice.Situation) { s.Identity.Endpoint = "" }),
			cluster: []string{"name an identity whose endpoint is the server that has these roles and policies"},
		},
		"tags that are transitive in the caller's session": {
			situation: situation(v1alpha1.ReasonInvalidRequest, func(s *advice.Situation) { s.Identity.SessionTags = &v1alpha1.SessionTags{ClusterName: "prod"} },
				failing(reason.Subject{Call: v1alpha1.CallAssumeRole, RoleARN: reader})),
			cluster: []string{"--disable-session-tags", "kubectl edit clusteridentity/default"},
		},
		"STS was not called": {situation: situation(v1alpha1.ReasonInvalidRequest), cluster: []string{"kubectl edit rolecredential/s3-reader -n shop"}},
		"a federated user":   {situation: situation(v1alpha1.ReasonInvalidRequest, of(&v1alpha1.FederatedCredential{}, 2), failing(reason.Subject{Call: v1alpha1.CallGetFederationToken})), cluster: []string{"userName"}},
		"an identity":        {situation: situation(v1alpha1.ReasonInvalidRequest, ofIdentity), cluster: []string{"kubectl events --for=clusteridentity/default", "chain's roleARN"}},
	},
	v1alpha1.ReasonInvalidTags: {"": {situation: situation(v1alpha1.ReasonInvalidTags), cluster: []string{"spec.tags", "kubectl edit rolecredential/s3-reader -n shop"}}},
	v1alpha1.ReasonUnsupportedField: {
		"serviceAccount": {
			situation: situation(v1alpha1.ReasonUnsupportedField, own, role(func(s *v1alpha1.RoleCredentialSpec) { s.ExternalID = "x" })),
			cluster:   []string{"Remove spec.externalID", "kubectl edit rolecredential/s3-reader -n shop", "another source or with a chain"},
		},
		"oidc": {
			situation: situation(v1alpha1.ReasonUnsupportedField, client, role(func(s *v1alpha1.RoleCredentialSpec) { s.ExternalID, s.PolicyARNs = "x", []string{"arn"} })),
			cluster:   []string{"Remove spec.externalID."}, not: []string{"policyARNs"},
		},
		"webIdentityToken": {situation: situation(v1alpha1.ReasonUnsupportedField, webToken, role(func(s *v1alpha1.RoleCredentialSpec) { s.SourceIdentity = "x" })), cluster: []string{"Remove spec.sourceIdentity."}},
		"x509": {
			situation: situation(v1alpha1.ReasonUnsupportedField, certificate, role(func(s *v1alpha1.RoleCredentialSpec) { s.SessionName, s.PolicyARNs = "mine", []string{"arn"} })),
			cluster:   []string{"Remove spec.sessionName, spec.policyARNs.", "set acceptRoleSessionName", "kubectl edit clusteridentity/default"},
		},
		"x509, and the profile accepts session names": {
			situation: situation(v1alpha1.ReasonUnsupportedField, certificate, func(s *advice.Situation) { s.Identity.RolesAnywhere.AcceptRoleSessionName = true },
				role(func(s *v1alpha1.RoleCredentialSpec) { s.SessionName, s.ExternalID = "mine", "x" })),
			cluster: []string{"Remove spec.externalID."}, not: []string{"acceptRoleSessionName"},
		},
		"a field that the spec no longer has": {situation: situation(v1alpha1.ReasonUnsupportedField, own), cluster: []string{"Remove the field that the message names"}},
		"the user may not read the identity":  {situation: situation(v1alpha1.ReasonUnsupportedField, unknownIdentity, role(func(s *v1alpha1.RoleCredentialSpec) { s.ExternalID = "x" })), cluster: []string{"Remove the field that the message names"}},
	},
	v1alpha1.ReasonWrongPartition: {
		"a credential": {situation: situation(v1alpha1.ReasonWrongPartition), cluster: []string{"partition of the identity's region", "kubectl edit rolecredential/s3-reader -n shop", `{"spec":{"identityRef":{"name":"NAME"}}}`}},
		"an identity":  {situation: situation(v1alpha1.ReasonWrongPartition, ofIdentity), cluster: []string{"chain's roleARN", "kubectl edit clusteridentity/default"}},
	},
	v1alpha1.ReasonPolicyTooLarge:  {"": {situation: situation(v1alpha1.ReasonPolicyTooLarge), cluster: []string{"packedPolicySize", "kubectl edit rolecredential/s3-reader -n shop"}, aws: []string{"create-policy"}}},
	v1alpha1.ReasonMalformedPolicy: {"": {situation: situation(v1alpha1.ReasonMalformedPolicy), cluster: []string{"kubectl edit rolecredential/s3-reader -n shop"}, aws: []string{"aws accessanalyzer validate-policy"}}},
	v1alpha1.ReasonRegionDisabled:  {"": {situation: situation(v1alpha1.ReasonRegionDisabled), cluster: []string{"kubectl edit clusteridentity/default"}, aws: []string{"enable-region --region-name=eu-south-1"}}},
	v1alpha1.ReasonClockSkew: {
		"the clocks differ": {situation: situation(v1alpha1.ReasonClockSkew), cluster: []string{"Set the clock of the node"}},
		"the clocks agree": {
			situation: situation(v1alpha1.ReasonClockSkew, func(s *advice.Situation) {
				s.Identity.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionClockInSync, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInSync}}
			}),
			cluster: []string{"Check the clocks of all servers behind the identity's endpoint"},
		},
	},
	v1alpha1.ReasonThrottled:      {"": {situation: situation(v1alpha1.ReasonThrottled), cluster: []string{"longer durations"}, aws: []string{"CloudTrail"}}},
	v1alpha1.ReasonSTSUnreachable: {"": {situation: situation(v1alpha1.ReasonSTSUnreachable), cluster: []string{"kubectl events --for=rolecredential/s3-reader -n shop", "NetworkPolicies", "https://sts.example.internal:8443"}, aws: []string{"VPC endpoint"}}},
	v1alpha1.ReasonSTSError: {
		"a server other than AWS": {situation: situation(v1alpha1.ReasonSTSError), cluster: []string{"kubectl events --for=rolecredential/s3-reader -n shop", "correct the identity's endpoint"}},
		"AWS":                     {situation: situation(v1alpha1.ReasonSTSError, ofAWS), cluster: []string{"kubectl events --for=rolecredential/s3-reader -n shop"}, aws: []string{"If it lasts"}},
	},
	v1alpha1.ReasonSecretNotWritten: {"": {situation: situation(v1alpha1.ReasonSecretNotWritten), cluster: []string{"kubectl describe resourcequotas -n shop", "admission", "kubectl auth can-i create secrets -n shop"}}},

	v1alpha1.ReasonSecretConflict: {"": {
		situation: situation(v1alpha1.ReasonSecretConflict, role(func(s *v1alpha1.RoleCredentialSpec) { s.Secret.Name = "taken" })),
		cluster:   []string{"kubectl get secret taken -n shop --show-managed-fields", `{"secret":{"name":"NAME"}}`, "kubectl annotate secret taken -n shop sts.rolecredential.dev/adopt=RoleCredential/s3-reader", "kubectl delete secret taken -n shop"},
	}},
	v1alpha1.ReasonNotIssued:       {"": {situation: situation(v1alpha1.ReasonNotIssued), cluster: []string{"Authorized and Issued"}}},
	v1alpha1.ReasonExpired:         {"": {situation: situation(v1alpha1.ReasonExpired), cluster: []string{"Authorized and Issued"}}},
	v1alpha1.ReasonOutdated:        {"": {situation: situation(v1alpha1.ReasonOutdated), cluster: []string{"Authorized and Issued"}}},
	v1alpha1.ReasonInvalidTemplate: {"": {situation: situation(v1alpha1.ReasonInvalidTemplate), cluster: []string{"Correct spec.secret", "kubectl edit rolecredential/s3-reader -n shop"}}},
	v1alpha1.ReasonSuspended:       {"": {situation: situation(v1alpha1.ReasonSuspended), cluster: []string{`{"spec":{"suspend":false}}`}}},

	v1alpha1.ReasonRolledOut:         {"": {situation: situation(v1alpha1.ReasonRolledOut), nothing: true}},
	v1alpha1.ReasonRestarting:        {"": {situation: situation(v1alpha1.ReasonRestarting), nothing: true}},
	v1alpha1.ReasonTargetNotFound:    {"": {situation: situation(v1alpha1.ReasonTargetNotFound), cluster: []string{"kubectl get deployments,statefulsets,daemonsets -n shop", "spec.rollout.targets"}}},
	v1alpha1.ReasonDiscoveryTooLarge: {"": {situation: situation(v1alpha1.ReasonDiscoveryTooLarge), cluster: []string{"kubectl get deployments,statefulsets,daemonsets -n shop", "spec.rollout.targets"}}},
	v1alpha1.ReasonForbidden:         {"": {situation: situation(v1alpha1.ReasonForbidden), cluster: []string{"kubectl auth can-i patch deployments -n shop", "kubectl create rolebinding rolecredential-rollout-role -n shop --clusterrole=rolecredential-rollout-role", `{"spec":{"rollout":null}}`}}},
	v1alpha1.ReasonContended:         {"": {situation: situation(v1alpha1.ReasonContended), cluster: []string{"--show-managed-fields", "managedFieldsManagers: [rolecredential-rollout]", "kubectl rollout restart"}}},
	v1alpha1.ReasonPodsOutdated:      {"": {situation: situation(v1alpha1.ReasonPodsOutdated), cluster: []string{"kubectl rolecred readers rolecredential/s3-reader -n shop", "kubectl rollout resume", "kubectl delete pod"}}},

	v1alpha1.ReasonSecretNotFound: {
		"accessKey": {situation: situation(v1alpha1.ReasonSecretNotFound, ofIdentity), cluster: []string{"kubectl create secret generic bootstrap -n ops --from-env-file=key.env"}, aws: []string{"create-access-key"}},
		"x509": {
			situation: situation(v1alpha1.ReasonSecretNotFound, ofIdentity, certificate),
			cluster:   []string{"kubectl describe certificates.cert-manager.io -n ops", "kubectl create secret tls bootstrap -n ops --cert=tls.crt --key=tls.key"}, aws: []string{"rolesanywhere.amazonaws.com"}, not: []string{"key.env", "access-key"},
		},
		"oidc": {situation: situation(v1alpha1.ReasonSecretNotFound, ofIdentity, client), cluster: []string{"kubectl create secret generic bootstrap -n ops --from-file=secret=FILE", "the client's secret"}, not: []string{"key.env", "access-key"}},
		"webIdentityToken": {
			situation: situation(v1alpha1.ReasonSecretNotFound, ofIdentity, webToken),
			cluster:   []string{"tool that writes the token", "kubectl create secret generic bootstrap -n ops --from-file=token=FILE"}, not: []string{"key.env", "access-key"},
		},
	},
	v1alpha1.ReasonSecretForbidden: {"": {situation: situation(v1alpha1.ReasonSecretForbidden, ofIdentity), cluster: []string{"kubectl auth can-i get secret/bootstrap -n ops", "kubectl create rolebinding rolecredential-source -n ops"}}},
	v1alpha1.ReasonInvalidSecret: {
		"accessKey": {situation: situation(v1alpha1.ReasonInvalidSecret, ofIdentity), cluster: []string{"kubectl create secret generic bootstrap -n ops --from-env-file=key.env --dry-run=client"}},
		"x509": {
			situation: situation(v1alpha1.ReasonInvalidSecret, ofIdentity, certificate),
			cluster:   []string{"digital signature", "kubectl describe certificates.cert-manager.io -n ops", "kubectl create secret tls bootstrap -n ops --cert=tls.crt --key=tls.key"}, not: []string{"key.env", "access key"},
		},
		"oidc": {situation: situation(v1alpha1.ReasonInvalidSecret, ofIdentity, client), cluster: []string{"kubectl create secret generic bootstrap -n ops --from-file=secret=FILE"}, not: []string{"key.env", "access key"}},
		"webIdentityToken": {
			situation: situation(v1alpha1.ReasonInvalidSecret, ofIdentity, webToken),
			cluster:   []string{"audience of the API server", "kubectl create secret generic bootstrap -n ops --from-file=token=FILE"}, not: []string{"key.env", "access key"},
		},
	},
	v1alpha1.ReasonInvalidCABundle:        {"": {situation: situation(v1alpha1.ReasonInvalidCABundle, ofIdentity), cluster: []string{"openssl s_client -connect sts.example.internal:8443", "kubectl edit clusteridentity/default"}}},
	v1alpha1.ReasonCertificateUsable:      {"": {situation: situation(v1alpha1.ReasonCertificateUsable, ofIdentity), nothing: true}},
	v1alpha1.ReasonCertificateExpired:     {"": {situation: situation(v1alpha1.ReasonCertificateExpired, ofIdentity), cluster: []string{"renew the certificate", "set the clock"}}},
	v1alpha1.ReasonCertificateNotYetValid: {"": {situation: situation(v1alpha1.ReasonCertificateNotYetValid, ofIdentity), cluster: []string{"renew the certificate", "set the clock"}}},
	v1alpha1.ReasonInvalidEndpoint: {
		"a ClusterIdentity's": {situation: situation(v1alpha1.ReasonInvalidEndpoint, ofIdentity), cluster: []string{"https://sts.example.internal", "kubectl edit clusteridentity/default"}},
		"an Identity":         {situation: situation(v1alpha1.ReasonInvalidEndpoint, own, ofIdentity), cluster: []string{"kubectl edit identity/own -n shop", "--allow-namespaced-endpoints"}},
	},
}

// A reason without an entry in steps fails.
func TestEachReasonHasTheRightSteps(t *testing.T) {
	for _, reason := range testkit.AllReasons(t, "../../..") {
		t.Run(reason, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(steps).To(HaveKey(reason), "has no case")
			for name, tc := range steps[reason] {
				got := advice.Explain(tc.situation)
				g.Expect(got.Means).NotTo(Or(BeEmpty(), ContainSubstring("does not know the reason")), name)
				g.Expect(got.Reason).To(Equal(reason))
				if tc.nothing {
					g.Expect(append(got.Cluster, got.AWS...)).To(BeEmpty(), name)
					continue
				}
				inCluster, inAWS := text(got.Cluster), text(got.AWS)
				g.Expect(inCluster+inAWS).NotTo(BeEmpty(), name)
				for _, want := range tc.cluster {
					g.Expect(inCluster).To(ContainSubstring(want), name)
				}
				for _, want := range tc.aws {
					g.Expect(inAWS).To(ContainSubstring(want), name)
				}
				for _, wrong := range tc.not {
					g.Expect(got.Means+inCluster+inAWS).NotTo(ContainSubstring(wrong), name)
				}
			}
		})
	}
}

func text(steps []advice.Step) string {
	var all strings.Builder
	for _, s := range steps {
		all.WriteString(s.Do + "\n" + s.Copy + "\n")
	}
	return all.String()
}

// Users may lack the permission to read some objects. No combination may panic.
func TestEachReasonIsExplainedWithMissingInput(t *testing.T) {
	for _, reason := range testkit.AllReasons(t, "../../..") {
		for name, change := range map[string]func(*advice.Situation){
			"all":                 func(*advice.Situation) {},
			"no identity":         unknownIdentity,
			"no credential":       ofIdentity,
			"the condition alone": func(s *advice.Situation) { s.Credential, s.Identity = nil, nil },
			"a chain":             chained,
			"a session":           of(&v1alpha1.SessionCredential{}, 1),
			"a federated user":    of(&v1alpha1.FederatedCredential{}, 2),
			"no rules":            ruled(),
			"the namespace's own": own,
			"x509":                certificate,
			"oidc":                client,
			"webIdentityToken":    webToken,
		} {
			if got := advice.Explain(situation(reason, change)); got.Means == "" {
				t.Errorf("%s with %s known means nothing", reason, name)
			}
		}
	}
}

func TestUnknownReasonKeepsMessageOfNewerOperator(t *testing.T) {
	g := NewWithT(t)
	s := situation("ReasonOfTomorrow")
	s.Condition.Message = "Do this."
	got := advice.Explain(s)
	g.Expect(got.Message).To(Equal("Do this."))
	g.Expect(got.Means).To(ContainSubstring("does not know the reason"))
	g.Expect(got.Cluster).To(BeEmpty())
}

func TestConditionToFixIsFirstThatIsNotTrue(t *testing.T) {
	is := func(conditionType string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: conditionType, Status: status, Reason: reason}
	}
	allowed, attempted := is("Authorized", "True", "Allowed"), is("Issued", "True", "Issued")
	for name, tc := range map[string]struct {
		conditions []metav1.Condition
		want       string
		noProblem  bool
		healthy    bool
	}{
		"all True":                               {conditions: []metav1.Condition{is("Ready", "True", "Issued"), allowed, attempted}, want: "Issued", noProblem: true, healthy: true},
		"not allowed":                            {conditions: []metav1.Condition{is("Ready", "False", "NotIssued"), is("Issued", "Unknown", "NotAttempted"), is("Authorized", "False", "NotAllowed")}, want: "NotAllowed"},
		"not issued":                             {conditions: []metav1.Condition{allowed, is("Issued", "False", "AccessDenied"), is("Ready", "False", "Expired")}, want: "AccessDenied"},
		"a failed refresh of a Ready credential": {conditions: []metav1.Condition{allowed, is("Issued", "False", "Throttled"), is("Ready", "True", "Issued")}, want: "Throttled"},
		"a foreign Secret, so STS was not called":         {conditions: []metav1.Condition{allowed, is("Issued", "Unknown", "NotAttempted"), is("Ready", "False", "SecretConflict")}, want: "SecretConflict"},
		"suspended before the first issue":                {conditions: []metav1.Condition{allowed, is("Issued", "Unknown", "NotAttempted"), is("Ready", "False", "Suspended")}, want: "Suspended"},
		"only reasons that refer to another condition":    {conditions: []metav1.Condition{allowed, is("Issued", "Unknown", "NotAttempted"), is("Ready", "False", "NotIssued")}, want: "NotAttempted"},
		"a condition of another kind comes last":          {conditions: []metav1.Condition{is("RolledOut", "False", "Contended"), allowed, is("Issued", "False", "AccessDenied")}, want: "AccessDenied"},
		"a condition of another kind is the only problem": {conditions: []metav1.Condition{is("RolledOut", "False", "Contended"), allowed, attempted, is("Ready", "True", "Issued")}, want: "Contended", healthy: true},
		"a rollout in progress is no problem":             {conditions: []metav1.Condition{is("RolledOut", "False", "Restarting"), allowed, attempted, is("Ready", "True", "Issued")}, want: "Issued", noProblem: true, healthy: true},
		"no conditions":                                   {noProblem: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, problem := advice.ConditionToFix(tc.conditions)
			g.Expect(got.Reason).To(Equal(tc.want))
			g.Expect(problem).To(Equal(!tc.noProblem))
			g.Expect(advice.Healthy(tc.conditions)).To(Equal(tc.healthy))
		})
	}
}

// The test evaluates the suggestion again.
func TestSuggestedCredentialIsAllowed(t *testing.T) {
	bounded := v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}, MaxDuration: &metav1.Duration{Duration: time.Hour}}
	for name, tc := range map[string]struct {
		change []func(*advice.Situation)
		steps  int
	}{
		"with a shorter duration":              {change: []func(*advice.Situation){ruled(bounded)}},
		"with the default session name":        {change: []func(*advice.Situation){role(func(s *v1alpha1.RoleCredentialSpec) { s.SessionName = "mine" }), ruled(bounded)}},
		"within 1h, with role chaining":        {change: []func(*advice.Situation){chained, ruled(v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}})}},
		"after a new rule":                     {change: []func(*advice.Situation){ruled()}, steps: 1},
		"not for a role that is a hop":         {change: []func(*advice.Situation){func(s *advice.Situation) { s.Identity.Chain = []v1alpha1.Hop{{RoleARN: reader}} }, ruled(v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}})}, steps: 1},
		"after a new rule, with role chaining": {change: []func(*advice.Situation){chained, ruled()}, steps: 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := situation(v1alpha1.ReasonNotAllowed, tc.change...)
			g.Expect(s.Verdict.Denied).NotTo(BeNil())
			suggested, todo := advice.SuggestAllowed(s)
			g.Expect(todo).To(HaveLen(tc.steps))
			if tc.steps > 0 {
				return
			}
			s.Credential = &suggested
			ruled(s.Identity.Rules...)(&s)
			g.Expect(s.Verdict.Denied).To(BeNil())
		})
	}
}
