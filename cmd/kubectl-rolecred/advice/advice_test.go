package advice_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
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
	"rolecredential.dev/operator/controllers/access"
	"rolecredential.dev/operator/controllers/failure"
)

const (
	reader   = "arn:aws:iam::123456789012:role/team/S3Reader"
	operator = "arn:aws:iam::210987654321:user/operator"
	hub      = "arn:aws:iam::210987654321:role/Hub"
	entry    = "arn:aws:iam::123456789012:role/Entry"
)

// situation is that of shop/s3-reader by the identity default, with a condition of a reason, unless it is changed.
func situation(reason string, change ...func(*advice.Situation)) advice.Situation {
	c := cluster.NewCredential(cluster.Kinds[0], &v1alpha1.RoleCredential{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader"},
		Spec:       v1alpha1.RoleCredentialSpec{RoleARN: reader, Duration: &metav1.Duration{Duration: 2 * time.Hour}},
	})
	identity := &cluster.Identity{
		IdentityRef: c.IdentityRef(), Region: "eu-south-1", Endpoint: "https://sts.example.internal:8443", ARN: operator,
		Source: "accessKey in Secret ops/bootstrap", SourceSecret: &types.NamespacedName{Namespace: "ops", Name: "bootstrap"},
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

// ruled has the identity's rules judge the credential, as the verb does.
func ruled(allow ...v1alpha1.AllowRule) func(*advice.Situation) {
	return func(s *advice.Situation) {
		r := s.Credential.Request
		verdict := rules.Judge(allow, access.Request{
			Identity: r.Identity, Namespace: "shop", Call: r.Call, RoleARN: r.RoleARN, SessionName: r.SessionName,
			DefaultSessionName: s.Credential.DefaultSessionName(), Duration: r.Duration, Chain: s.Identity.Roles(),
		})
		s.Identity.Rules, s.Verdict = allow, &verdict
	}
}

func chained(s *advice.Situation) {
	s.Identity.Chain = []v1alpha1.Hop{{RoleARN: hub, ExternalID: "k8s"}, {RoleARN: entry}}
}

// failing gives the condition the message, and the statuses the call, of a call of STS that failed.
func failing(subject failure.Subject) func(*advice.Situation) {
	return func(s *advice.Situation) {
		failed := failure.STS(s.Condition.Reason, failure.Answer{Code: "TheCode", Status: 403}, subject, nil)
		s.Condition.Message = failed.Message
		if s.Credential != nil {
			s.Credential.Report().FailedCall = failed.Call
		}
		if s.Identity != nil {
			s.Identity.FailedCall = failed.Call
		}
	}
}

// own makes the identity the namespace's own, with its service accounts for a source.
func own(s *advice.Situation) {
	s.Ref.Kind, s.Ref.Name = v1alpha1.IdentityKindIdentity, "own"
	if s.Identity != nil {
		s.Identity.IdentityRef, s.Identity.SourceSecret, s.Identity.Source, s.Identity.Audience, s.Identity.ARN = s.Ref, nil, "serviceAccount", "aud.example.com", ""
	}
}

// ofAWS makes the identity call AWS's own STS.
func ofAWS(s *advice.Situation) { s.Identity.Endpoint = "" }

func ofIdentity(s *advice.Situation) { s.Credential = nil }

func unknownIdentity(s *advice.Situation) { s.Identity = nil }

// step is what an explanation must tell somebody to do: texts of its steps in the cluster and in AWS.
type step struct {
	situation advice.Situation
	here, aws []string
	// nothing tells that there is nothing to do.
	nothing bool
}

// steps has for each reason of the API the next step that is right, in each of the cases that differ.
var steps = map[string]map[string]step{
	v1alpha1.ReasonAllowed:       {"": {situation: situation(v1alpha1.ReasonAllowed), nothing: true}},
	v1alpha1.ReasonIssued:        {"": {situation: situation(v1alpha1.ReasonIssued), nothing: true}},
	v1alpha1.ReasonVerified:      {"": {situation: situation(v1alpha1.ReasonVerified, ofIdentity), nothing: true}},
	v1alpha1.ReasonNotVerifiable: {"": {situation: situation(v1alpha1.ReasonNotVerifiable, ofIdentity), nothing: true}},
	v1alpha1.ReasonInSync:        {"": {situation: situation(v1alpha1.ReasonInSync, ofIdentity), nothing: true}},

	v1alpha1.ReasonIdentityNotFound: {
		"a ClusterIdentity": {
			situation: situation(v1alpha1.ReasonIdentityNotFound, unknownIdentity),
			here:      []string{"kubectl get clusteridentities\nkubectl get identities -n shop", `{"spec":{"identityRef":{"name":"NAME"}}}`, "namespaces:\n  - shop"},
		},
		"the namespace's own": {
			situation: situation(v1alpha1.ReasonIdentityNotFound, unknownIdentity, own), here: []string{"create the Identity own in this namespace"},
		},
	},
	v1alpha1.ReasonIdentityNotReady: {
		"the identity's own condition is what to mend": {
			situation: situation(v1alpha1.ReasonIdentityNotReady, func(s *advice.Situation) {
				s.Identity.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonSecretNotFound}}
			}),
			here: []string{"kubectl create secret generic bootstrap -n ops --from-env-file=key.env"},
		},
		"for those who may not read it, its owners do": {situation: situation(v1alpha1.ReasonIdentityNotReady, unknownIdentity), here: []string{"kubectl describe clusteridentity/default"}},
		"it is Ready by now": {
			situation: situation(v1alpha1.ReasonIdentityNotReady, func(s *advice.Situation) {
				s.Identity.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonVerified}}
			}),
			here: []string{"Ready by now"},
		},
	},
	v1alpha1.ReasonNotAllowed: {
		"a rule is to be added": {
			situation: situation(v1alpha1.ReasonNotAllowed, ruled(v1alpha1.AllowRule{Namespaces: []string{"bank"}, RoleARNs: []string{"*"}})),
			here:      []string{"namespaces:\n  - shop\n  roleARNs:\n  - " + reader, "kubectl edit clusteridentity/default"},
		},
		"the session's name is to be left out": {
			situation: situation(v1alpha1.ReasonNotAllowed, role(func(s *v1alpha1.RoleCredentialSpec) { s.SessionName = "mine" }), ruled(v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}})),
			here:      []string{`{"spec":{"sessionName":null}}`, "add mine to sessionNames of spec.allow[0]"},
		},
		"the role is a hop itself": {
			situation: situation(v1alpha1.ReasonNotAllowed, func(s *advice.Situation) { s.Identity.Chain = []v1alpha1.Hop{{RoleARN: reader}} }, ruled(v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}})),
			here:      []string{"chain ends before that role"},
		},
		"a call is to be said": {
			situation: situation(v1alpha1.ReasonNotAllowed, of(&v1alpha1.SessionCredential{}, 1), ruled()),
			here:      []string{"calls:\n  - GetSessionToken\n  namespaces:\n  - shop"},
		},
		"for those who may not read the identity": {situation: situation(v1alpha1.ReasonNotAllowed, unknownIdentity), here: []string{"namespaces:\n  - shop"}},
	},
	v1alpha1.ReasonDurationNotAllowed: {
		"as long as the rule allows": {
			situation: situation(v1alpha1.ReasonDurationNotAllowed, ruled(v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}, MaxDuration: &metav1.Duration{Duration: 90 * time.Minute}})),
			here:      []string{`{"spec":{"duration":"1h30m"}}`, "raise maxDuration"},
		},
		"1h by way of a chain": {
			situation: situation(v1alpha1.ReasonDurationNotAllowed, chained, ruled(v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}})),
			here:      []string{`{"spec":{"duration":"1h"}}`, "no chain"},
		},
	},

	v1alpha1.ReasonNotAttempted: {"": {situation: situation(v1alpha1.ReasonNotAttempted), here: []string{"the condition that the message names"}}},
	v1alpha1.ReasonWrongSourceType: {
		"a session": {
			situation: situation(v1alpha1.ReasonWrongSourceType, of(&v1alpha1.SessionCredential{}, 1)),
			here:      []string{"sessioncredential/other -n shop", "source.accessKey is an IAM user's key", "RoleCredential"}, aws: []string{"aws iam create-access-key"},
		},
		"a role with MFA": {situation: situation(v1alpha1.ReasonWrongSourceType, role(func(s *v1alpha1.RoleCredentialSpec) { s.MFA = &v1alpha1.MFA{SerialNumber: "arn:mfa"} })), here: []string{`{"spec":{"mfa":null}}`}},
	},
	v1alpha1.ReasonInvalidMFA: {"": {
		situation: situation(v1alpha1.ReasonInvalidMFA, role(func(s *v1alpha1.RoleCredentialSpec) {
			s.MFA = &v1alpha1.MFA{SerialNumber: "arn:mfa", TOTPSecretRef: v1alpha1.SecretKeyReference{Name: "device", Key: "seed"}}
		})),
		here: []string{"kubectl create secret generic device -n shop --from-file=seed=FILE"}, aws: []string{"create-virtual-mfa-device"},
	}},
	v1alpha1.ReasonTokenNotIssued: {"": {
		situation: situation(v1alpha1.ReasonTokenNotIssued, role(func(s *v1alpha1.RoleCredentialSpec) { s.ServiceAccountName = "reader" })),
		here:      []string{"kubectl create serviceaccount reader -n shop", `{"spec":{"serviceAccountName":"NAME"}}`, "kubectl auth can-i create serviceaccounts/token -n shop", "audience"},
	}},
	v1alpha1.ReasonAccessDenied: {
		"a service account, by its token": {
			situation: situation(v1alpha1.ReasonAccessDenied, own, failing(failure.Subject{Identity: "Identity own", ServiceAccount: "system:serviceaccount:shop:default", Call: v1alpha1.CallAssumeRoleWithWebIdentity, RoleARN: reader})),
			aws:       []string{"aws iam get-role --role-name S3Reader", "openid-configuration", `"ISSUER:sub": "system:serviceaccount:shop:default"`, `"ISSUER:aud": "aud.example.com"`, "oidc-provider/ISSUER"}, here: []string{"system:serviceaccount:shop:default"},
		},
		"a service account, the first hop": {
			situation: situation(v1alpha1.ReasonAccessDenied, own, chained, failing(failure.Subject{Identity: "Identity own", ServiceAccount: "system:serviceaccount:shop:default", Call: v1alpha1.CallAssumeRoleWithWebIdentity, RoleARN: hub, Hop: true})),
			aws:       []string{"aws iam get-role --role-name Hub", "arn:aws:iam::210987654321:oidc-provider/ISSUER"},
		},
		"the role's trust policy": {
			situation: situation(v1alpha1.ReasonAccessDenied, role(func(s *v1alpha1.RoleCredentialSpec) { s.ExternalID = "shop-7f3a" })),
			aws:       []string{"aws iam get-role --role-name S3Reader", `"AWS": "` + operator + `"`, `"sts:ExternalId": "shop-7f3a"`, `"Resource": "` + reader + `"`}, here: []string{"shop-7f3a"},
		},
		"by way of a chain, the last hop is the caller": {situation: situation(v1alpha1.ReasonAccessDenied, chained), aws: []string{`"AWS": "` + entry + `"`}},
		"a hop that the first one is": {
			situation: situation(v1alpha1.ReasonAccessDenied, chained, failing(failure.Subject{Identity: "ClusterIdentity default", Call: v1alpha1.CallAssumeRole, RoleARN: hub, Hop: true})),
			aws:       []string{"aws iam get-role --role-name Hub", `"sts:ExternalId": "k8s"`, "the identity's source (accessKey in Secret ops/bootstrap)", `"Resource": "` + hub + `"`}, here: []string{"kubectl edit clusteridentity/default"},
		},
		"a hop after another": {
			situation: situation(v1alpha1.ReasonAccessDenied, chained, failing(failure.Subject{Identity: "ClusterIdentity default", Call: v1alpha1.CallAssumeRole, RoleARN: entry, Hop: true})),
			aws:       []string{`"AWS": "` + hub + `"`, `"Resource": "` + entry + `"`},
		},
		"a hop, told on the identity": {
			situation: situation(v1alpha1.ReasonAccessDenied, chained, failing(failure.Subject{Identity: "ClusterIdentity default", Call: v1alpha1.CallAssumeRole, RoleARN: entry, Hop: true}), ofIdentity),
			aws:       []string{`"AWS": "` + hub + `"`},
		},
		"GetCallerIdentity, told on the identity": {situation: situation(v1alpha1.ReasonAccessDenied, ofIdentity), aws: []string{"policy of the organization"}},
		"for those who may not read the identity, the failed call names the caller": {
			situation: situation(v1alpha1.ReasonAccessDenied, unknownIdentity, failing(failure.Subject{Identity: "ClusterIdentity default", Caller: operator, Call: v1alpha1.CallAssumeRole, RoleARN: reader})),
			aws:       []string{`"AWS": "` + operator + `"`},
		},
		"of a role's session, whose path is not known": {
			situation: situation(v1alpha1.ReasonAccessDenied, func(s *advice.Situation) { s.Identity.ARN = "arn:aws:sts::210987654321:assumed-role/Operator" }),
			aws:       []string{`"AWS": "arn:aws:iam::210987654321:role/Operator"`, "has a path"},
		},
		"a federated user": {
			situation: situation(v1alpha1.ReasonAccessDenied, of(&v1alpha1.FederatedCredential{}, 2)),
			aws:       []string{"sts:GetFederationToken", "arn:aws:sts::210987654321:federated-user/shop.other"},
		},
		"a session with MFA": {
			situation: situation(v1alpha1.ReasonAccessDenied, of(&v1alpha1.SessionCredential{Spec: v1alpha1.SessionCredentialSpec{MFA: &v1alpha1.MFA{SerialNumber: "arn:mfa"}}}, 1)),
			here:      []string{"spec.mfa.serialNumber"}, aws: []string{"aws iam list-mfa-devices --user-name operator"},
		},
		"a session without":                      {situation: situation(v1alpha1.ReasonAccessDenied, of(&v1alpha1.SessionCredential{}, 1), ofAWS), here: []string{"AKIA"}},
		"a session of a server other than AWS's": {situation: situation(v1alpha1.ReasonAccessDenied, of(&v1alpha1.SessionCredential{}, 1)), here: []string{"whether it supports the call for this caller"}},
	},
	v1alpha1.ReasonInvalidSourceCredentials: {
		"an access key": {
			situation: situation(v1alpha1.ReasonInvalidSourceCredentials),
			here:      []string{"kubectl create secret generic bootstrap -n ops --from-env-file=key.env --dry-run=client"}, aws: []string{"aws iam list-access-keys --user-name operator"},
		},
		"the token of a service account": {
			situation: situation(v1alpha1.ReasonInvalidSourceCredentials, own, failing(failure.Subject{Identity: "Identity own", ServiceAccount: "system:serviceaccount:shop:default", Call: v1alpha1.CallAssumeRoleWithWebIdentity, RoleARN: reader})),
			aws:       []string{"create-open-id-connect-provider --url https://ISSUER --client-id-list aud.example.com", "jwks_uri"},
		},
		"what the operator's pod finds": {
			situation: situation(v1alpha1.ReasonInvalidSourceCredentials, func(s *advice.Situation) { s.Identity.SourceSecret, s.Identity.Source = nil, "ambient" }),
			here:      []string{"IRSA", "kubectl rollout restart"}, aws: []string{"OIDC"},
		},
	},
	v1alpha1.ReasonInvalidRequest: {
		"a role": {
			situation: situation(v1alpha1.ReasonInvalidRequest, failing(failure.Subject{Call: v1alpha1.CallAssumeRole, RoleARN: reader})),
			here:      []string{"kubectl events --for=rolecredential/s3-reader -n shop", `{"spec":{"duration":"1h"}}`}, aws: []string{"aws iam update-role --role-name S3Reader --max-session-duration 7200"},
		},
		"an ARN in another form than AWS's": {
			situation: situation(v1alpha1.ReasonInvalidRequest,
				role(func(s *v1alpha1.RoleCredentialSpec) { s.RoleARN = "urn:ecs:iam::ns1:role/admins" }),
				func(s *advice.Situation) { s.Identity.Endpoint = "" }),
			here: []string{"name an identity whose endpoint is the server that has these roles and policies"},
		},
		"tags that the caller's session passes on": {
			situation: situation(v1alpha1.ReasonInvalidRequest, func(s *advice.Situation) { s.Identity.SessionTags = &v1alpha1.SessionTags{ClusterName: "prod"} },
				failing(failure.Subject{Call: v1alpha1.CallAssumeRole, RoleARN: reader})),
			here: []string{"--disable-session-tags", "kubectl edit clusteridentity/default"},
		},
		"STS was not called": {situation: situation(v1alpha1.ReasonInvalidRequest), here: []string{"kubectl edit rolecredential/s3-reader -n shop"}},
		"a federated user":   {situation: situation(v1alpha1.ReasonInvalidRequest, of(&v1alpha1.FederatedCredential{}, 2), failing(failure.Subject{Call: v1alpha1.CallGetFederationToken})), here: []string{"userName"}},
		"an identity":        {situation: situation(v1alpha1.ReasonInvalidRequest, ofIdentity), here: []string{"kubectl events --for=clusteridentity/default", "chain's roleARN"}},
	},
	v1alpha1.ReasonInvalidTags: {"": {situation: situation(v1alpha1.ReasonInvalidTags), here: []string{"spec.tags", "kubectl edit rolecredential/s3-reader -n shop"}}},
	v1alpha1.ReasonUnsupportedField: {
		"a known identity": {
			situation: situation(v1alpha1.ReasonUnsupportedField, own, role(func(s *v1alpha1.RoleCredentialSpec) { s.ExternalID = "x" })),
			here:      []string{"Leave spec.externalID out", "kubectl edit rolecredential/s3-reader -n shop"},
		},
		"a field that the spec does not have any more": {situation: situation(v1alpha1.ReasonUnsupportedField, own), here: []string{"Leave the field that the message names out"}},
	},
	v1alpha1.ReasonWrongPartition: {
		"a credential": {situation: situation(v1alpha1.ReasonWrongPartition), here: []string{"partition of the identity's region", "kubectl edit rolecredential/s3-reader -n shop", `{"spec":{"identityRef":{"name":"NAME"}}}`}},
		"an identity":  {situation: situation(v1alpha1.ReasonWrongPartition, ofIdentity), here: []string{"chain's roleARN", "kubectl edit clusteridentity/default"}},
	},
	v1alpha1.ReasonPolicyTooLarge:  {"": {situation: situation(v1alpha1.ReasonPolicyTooLarge), here: []string{"packedPolicySize", "kubectl edit rolecredential/s3-reader -n shop"}, aws: []string{"create-policy"}}},
	v1alpha1.ReasonMalformedPolicy: {"": {situation: situation(v1alpha1.ReasonMalformedPolicy), here: []string{"kubectl edit rolecredential/s3-reader -n shop"}, aws: []string{"aws accessanalyzer validate-policy"}}},
	v1alpha1.ReasonRegionDisabled:  {"": {situation: situation(v1alpha1.ReasonRegionDisabled), here: []string{"kubectl edit clusteridentity/default"}, aws: []string{"enable-region --region-name eu-south-1"}}},
	v1alpha1.ReasonClockSkew: {
		"the clocks differ": {situation: situation(v1alpha1.ReasonClockSkew), here: []string{"Set the clock of the node"}},
		"the clocks agree": {
			situation: situation(v1alpha1.ReasonClockSkew, func(s *advice.Situation) {
				s.Identity.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionClockInSync, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInSync}}
			}),
			here: []string{"Check the clocks of all servers behind the identity's endpoint"},
		},
	},
	v1alpha1.ReasonThrottled:      {"": {situation: situation(v1alpha1.ReasonThrottled), here: []string{"longer durations"}, aws: []string{"CloudTrail"}}},
	v1alpha1.ReasonSTSUnreachable: {"": {situation: situation(v1alpha1.ReasonSTSUnreachable), here: []string{"kubectl events --for=rolecredential/s3-reader -n shop", "NetworkPolicies", "https://sts.example.internal:8443"}, aws: []string{"VPC endpoint"}}},
	v1alpha1.ReasonSTSError: {
		"a server other than AWS": {situation: situation(v1alpha1.ReasonSTSError), here: []string{"kubectl events --for=rolecredential/s3-reader -n shop", "correct the identity's endpoint"}},
		"AWS":                     {situation: situation(v1alpha1.ReasonSTSError, ofAWS), here: []string{"kubectl events --for=rolecredential/s3-reader -n shop"}, aws: []string{"If it lasts"}},
	},
	v1alpha1.ReasonSecretNotWritten: {"": {situation: situation(v1alpha1.ReasonSecretNotWritten), here: []string{"kubectl describe resourcequotas -n shop", "admission", "kubectl auth can-i create secrets -n shop"}}},

	v1alpha1.ReasonSecretConflict: {"": {
		situation: situation(v1alpha1.ReasonSecretConflict, role(func(s *v1alpha1.RoleCredentialSpec) { s.Secret.Name = "taken" })),
		here:      []string{"kubectl get secret taken -n shop --show-managed-fields", `{"secret":{"name":"NAME"}}`, "kubectl annotate secret taken -n shop sts.rolecredential.dev/adopt=RoleCredential/s3-reader", "kubectl delete secret taken -n shop"},
	}},
	v1alpha1.ReasonNotIssued:       {"": {situation: situation(v1alpha1.ReasonNotIssued), here: []string{"Authorized and Issued"}}},
	v1alpha1.ReasonExpired:         {"": {situation: situation(v1alpha1.ReasonExpired), here: []string{"Authorized and Issued"}}},
	v1alpha1.ReasonOutdated:        {"": {situation: situation(v1alpha1.ReasonOutdated), here: []string{"Authorized and Issued"}}},
	v1alpha1.ReasonInvalidTemplate: {"": {situation: situation(v1alpha1.ReasonInvalidTemplate), here: []string{"Correct spec.secret", "kubectl edit rolecredential/s3-reader -n shop"}}},
	v1alpha1.ReasonSuspended:       {"": {situation: situation(v1alpha1.ReasonSuspended), here: []string{`{"spec":{"suspend":false}}`}}},

	v1alpha1.ReasonRolledOut:      {"": {situation: situation(v1alpha1.ReasonRolledOut), nothing: true}},
	v1alpha1.ReasonRestarting:     {"": {situation: situation(v1alpha1.ReasonRestarting), nothing: true}},
	v1alpha1.ReasonTargetNotFound: {"": {situation: situation(v1alpha1.ReasonTargetNotFound), here: []string{"kubectl get deployments,statefulsets,daemonsets -n shop", "spec.rollout.targets"}}},
	v1alpha1.ReasonForbidden:      {"": {situation: situation(v1alpha1.ReasonForbidden), here: []string{"kubectl auth can-i patch deployments -n shop", "rollout_role.yaml", `{"spec":{"rollout":null}}`}}},
	v1alpha1.ReasonContended:      {"": {situation: situation(v1alpha1.ReasonContended), here: []string{"--show-managed-fields", "managedFieldsManagers: [rolecredential-rollout]", "kubectl rollout restart"}}},
	v1alpha1.ReasonPodsOutdated:   {"": {situation: situation(v1alpha1.ReasonPodsOutdated), here: []string{"kubectl rolecred readers rolecredential/s3-reader -n shop", "kubectl rollout resume", "kubectl delete pod"}}},

	v1alpha1.ReasonSecretNotFound:  {"": {situation: situation(v1alpha1.ReasonSecretNotFound, ofIdentity), here: []string{"kubectl create secret generic bootstrap -n ops --from-env-file=key.env"}, aws: []string{"create-access-key"}}},
	v1alpha1.ReasonSecretForbidden: {"": {situation: situation(v1alpha1.ReasonSecretForbidden, ofIdentity), here: []string{"kubectl auth can-i get secret/bootstrap -n ops", "kubectl create rolebinding rolecredential-source -n ops"}}},
	v1alpha1.ReasonInvalidSecret:   {"": {situation: situation(v1alpha1.ReasonInvalidSecret, ofIdentity), here: []string{"kubectl create secret generic bootstrap -n ops --from-env-file=key.env --dry-run=client"}}},
	v1alpha1.ReasonInvalidCABundle: {"": {situation: situation(v1alpha1.ReasonInvalidCABundle, ofIdentity), here: []string{"openssl s_client -connect sts.example.internal:8443", "kubectl edit clusteridentity/default"}}},
	v1alpha1.ReasonInvalidEndpoint: {
		"a ClusterIdentity's": {situation: situation(v1alpha1.ReasonInvalidEndpoint, ofIdentity), here: []string{"https://sts.example.internal", "kubectl edit clusteridentity/default"}},
		"the namespace's own": {situation: situation(v1alpha1.ReasonInvalidEndpoint, own, ofIdentity), here: []string{"kubectl edit identity/own -n shop", "--allow-namespaced-endpoints"}},
	},
}

// reasons are those that the API declares.
func reasons(t *testing.T) (values []string) {
	t.Helper()
	g := NewWithT(t)
	file, err := parser.ParseFile(token.NewFileSet(), "../../../api/v1alpha1/conditions.go", nil, 0)
	g.Expect(err).NotTo(HaveOccurred())
	ast.Inspect(file, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Reason") {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			g.Expect(err).NotTo(HaveOccurred())
			values = append(values, value)
		}
		return true
	})
	g.Expect(len(values)).To(BeNumerically(">", 30))
	return values
}

// A reason that has no row here has no next step that anybody looked at.
func TestEachReasonOfTheAPIHasTheRightNextStep(t *testing.T) {
	for _, reason := range reasons(t) {
		t.Run(reason, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(steps).To(HaveKey(reason), "has no test")
			for name, tc := range steps[reason] {
				got := advice.Explain(tc.situation)
				g.Expect(got.Means).NotTo(Or(BeEmpty(), ContainSubstring("does not know the reason")), name)
				g.Expect(got.Reason).To(Equal(reason))
				if tc.nothing {
					g.Expect(append(got.Here, got.AWS...)).To(BeEmpty(), name)
					continue
				}
				here, inAWS := text(got.Here), text(got.AWS)
				g.Expect(here+inAWS).NotTo(BeEmpty(), name)
				for _, want := range tc.here {
					g.Expect(here).To(ContainSubstring(want), name)
				}
				for _, want := range tc.aws {
					g.Expect(inAWS).To(ContainSubstring(want), name)
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

// Whoever reads an identity, a verdict or neither gets an answer, and none of them a panic.
func TestEachReasonIsExplainedWhateverIsKnown(t *testing.T) {
	for _, reason := range reasons(t) {
		for name, change := range map[string]func(*advice.Situation){
			"all":                     func(*advice.Situation) {},
			"no identity":             unknownIdentity,
			"no credential":           ofIdentity,
			"the condition alone":     func(s *advice.Situation) { s.Credential, s.Identity = nil, nil },
			"a chain":                 chained,
			"a session":               of(&v1alpha1.SessionCredential{}, 1),
			"a federated user":        of(&v1alpha1.FederatedCredential{}, 2),
			"rules, and none of them": ruled(),
			"the namespace's own":     own,
		} {
			if got := advice.Explain(situation(reason, change)); got.Means == "" {
				t.Errorf("%s with %s known means nothing", reason, name)
			}
		}
	}
}

func TestAReasonOfALaterOperatorIsLeftToItsMessage(t *testing.T) {
	g := NewWithT(t)
	s := situation("ReasonOfTomorrow")
	s.Condition.Message = "Do this."
	got := advice.Explain(s)
	g.Expect(got.Message).To(Equal("Do this."))
	g.Expect(got.Means).To(ContainSubstring("does not know the reason"))
	g.Expect(got.Here).To(BeEmpty())
}

func TestTheConditionToMendIsTheFirstOnTheWayThatIsNotTrue(t *testing.T) {
	is := func(conditionType string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: conditionType, Status: status, Reason: reason}
	}
	allowed, attempted := is("Authorized", "True", "Allowed"), is("Issued", "True", "Issued")
	for name, tc := range map[string]struct {
		conditions []metav1.Condition
		want       string
		well       bool
		arrived    bool
	}{
		"all is well": {conditions: []metav1.Condition{is("Ready", "True", "Issued"), allowed, attempted}, want: "Issued", well: true, arrived: true},
		"not allowed": {conditions: []metav1.Condition{is("Ready", "False", "NotIssued"), is("Issued", "Unknown", "NotAttempted"), is("Authorized", "False", "NotAllowed")}, want: "NotAllowed"},
		"not issued":  {conditions: []metav1.Condition{allowed, is("Issued", "False", "AccessDenied"), is("Ready", "False", "Expired")}, want: "AccessDenied"},
		"a refresh that failed, of one that is Ready":      {conditions: []metav1.Condition{allowed, is("Issued", "False", "Throttled"), is("Ready", "True", "Issued")}, want: "Throttled"},
		"a Secret in the way, for which STS was not asked": {conditions: []metav1.Condition{allowed, is("Issued", "Unknown", "NotAttempted"), is("Ready", "False", "SecretConflict")}, want: "SecretConflict"},
		"suspended before the first issue":                 {conditions: []metav1.Condition{allowed, is("Issued", "Unknown", "NotAttempted"), is("Ready", "False", "Suspended")}, want: "Suspended"},
		"nothing but what points elsewhere":                {conditions: []metav1.Condition{allowed, is("Issued", "Unknown", "NotAttempted"), is("Ready", "False", "NotIssued")}, want: "NotAttempted"},
		"a condition that is not on the way comes last":    {conditions: []metav1.Condition{is("RolledOut", "False", "Contended"), allowed, is("Issued", "False", "AccessDenied")}, want: "AccessDenied"},
		"and is told if it is all that is amiss":           {conditions: []metav1.Condition{is("RolledOut", "False", "Contended"), allowed, attempted, is("Ready", "True", "Issued")}, want: "Contended", arrived: true},
		"what takes its course is not":                     {conditions: []metav1.Condition{is("RolledOut", "False", "Restarting"), allowed, attempted, is("Ready", "True", "Issued")}, want: "Issued", well: true, arrived: true},
		"nothing yet":                                      {well: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, wrong := advice.Pick(tc.conditions)
			g.Expect(got.Reason).To(Equal(tc.want))
			g.Expect(wrong).To(Equal(!tc.well))
			g.Expect(advice.Arrived(tc.conditions)).To(Equal(tc.arrived))
		})
	}
}

// What is said to pass is judged again.
func TestACredentialThatIsSaidToPassPasses(t *testing.T) {
	bounded := v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}, MaxDuration: &metav1.Duration{Duration: time.Hour}}
	for name, tc := range map[string]struct {
		change []func(*advice.Situation)
		steps  int
	}{
		"with a shorter duration":        {change: []func(*advice.Situation){ruled(bounded)}},
		"with the default session name":  {change: []func(*advice.Situation){role(func(s *v1alpha1.RoleCredentialSpec) { s.SessionName = "mine" }), ruled(bounded)}},
		"within an hour, by a chain":     {change: []func(*advice.Situation){chained, ruled(v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}})}},
		"after a rule was added":         {change: []func(*advice.Situation){ruled()}, steps: 1},
		"not of a role that is a hop":    {change: []func(*advice.Situation){func(s *advice.Situation) { s.Identity.Chain = []v1alpha1.Hop{{RoleARN: reader}} }, ruled(v1alpha1.AllowRule{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}})}, steps: 1},
		"after a rule for a longer time": {change: []func(*advice.Situation){chained, ruled()}, steps: 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := situation(v1alpha1.ReasonNotAllowed, tc.change...)
			g.Expect(s.Verdict.Denied).NotTo(BeNil())
			passes, todo := advice.ToPass(s)
			g.Expect(todo).To(HaveLen(tc.steps))
			if tc.steps > 0 {
				return
			}
			s.Credential = &passes
			ruled(s.Identity.Rules...)(&s)
			g.Expect(s.Verdict.Denied).To(BeNil())
		})
	}
}
