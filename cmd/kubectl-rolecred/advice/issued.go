package advice

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/iam"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/rules"
	"rolecredential.dev/operator/controllers/credential"
)

func notAttempted(Situation) answer {
	return answer{
		means: "STS was not called for this spec; another condition, or the message, says why.",
		here:  []Step{{Do: "See the condition that the message names. If it names none, wait for what it says: an MFA device has a new code every 30 seconds."}},
	}
}

func wrongSourceType(s Situation) answer {
	a := answer{
		means: "STS takes this call from an IAM user's own access key only, and the identity's credentials are temporary. STS was not asked.",
		here: []Step{
			{Do: "Name an identity whose source.accessKey is an IAM user's key, without AWS_SESSION_TOKEN, and which has no chain.", Copy: s.patch(`{"identityRef":{"name":"NAME"}}`)},
			{Do: "Or use a RoleCredential: AssumeRole takes temporary credentials too."},
		},
		aws: []Step{{Do: "If there is no such user yet, make one and give it a key.", Copy: "aws iam create-user --user-name NAME\naws iam create-access-key --user-name NAME"}},
	}
	if s.Credential != nil && s.Credential.Request.Call == v1alpha1.CallAssumeRole {
		a.means = "An MFA device is an IAM user's, and the identity's credentials are temporary. STS was not asked."
		a.here[1] = Step{Do: "Or leave spec.mfa out, if the role's trust policy can do without.", Copy: s.patch(`{"mfa":null}`)}
	}
	return a
}

func invalidMFA(s Situation) answer {
	name, key := "NAME", "KEY"
	if s.Credential != nil {
		if device := s.Credential.MFA(); device != nil {
			name, key = device.TOTPSecretRef.Name, device.TOTPSecretRef.Key
		}
	}
	return answer{
		means: "The code of the MFA device cannot be computed: the Secret of its seed, or the key in it, is missing or holds no seed. STS was not asked.",
		here: []Step{{
			Do:   "Put the device's seed, the base32 text that AWS calls the secret configuration key, into a file, and the file into the Secret:",
			Copy: kubectl("create", "secret", "generic", name, "-n", s.namespace(), "--from-file="+key+"=FILE"),
		}},
		aws: []Step{{
			Do:   "If the seed is lost, which AWS shows only once, make a new device for the user and enable it with two codes in a row.",
			Copy: "aws iam create-virtual-mfa-device --virtual-mfa-device-name NAME --outfile FILE --bootstrap-method Base32StringSeed",
		}},
	}
}

func accessDenied(s Situation) answer {
	if s.Credential == nil && s.tokenRole() != "" {
		return s.tokenDenied()
	}
	if s.Credential == nil {
		return s.hopDenied(answer{means: "STS knows the identity's source, and refuses it the call GetCallerIdentity or a hop of its chain; the message names which."})
	}
	asked := s.Credential.Request
	switch {
	case s.tokenRole() != "":
		return s.tokenDenied()
	case s.deniedHop() != nil:
		return s.hopDenied(answer{means: "STS refuses a hop on the way to the role; the message names it."})
	case asked.Call == v1alpha1.CallGetSessionToken && asked.MFASerialNumber != "":
		return answer{
			means: "STS refuses the code of the MFA device.",
			here:  []Step{{Do: "Check that spec.mfa.serialNumber is a device of the very user whose access key the identity has, and that the seed is that device's.", Copy: s.edit()}},
			aws:   []Step{{Do: "List the user's devices.", Copy: aws("iam", "list-mfa-devices", "--user-name", s.user())}},
		}
	case asked.Call == v1alpha1.CallGetSessionToken && s.elsewhere():
		return answer{
			means: "The server denied GetSessionToken by its own rules.",
			here:  []Step{{Do: "Check in the server's documentation and log whether it supports the call for this caller, and that the access key and the region of the identity are right.", Copy: s.editIdentity()}},
		}
	case asked.Call == v1alpha1.CallGetSessionToken:
		return answer{
			means: "STS refuses GetSessionToken, which no policy can allow or deny: the credentials are temporary.",
			here:  []Step{{Do: "Check that the identity's access key is an IAM user's own: its id begins with AKIA.", Copy: s.editIdentity()}},
		}
	case asked.Call == v1alpha1.CallGetFederationToken:
		return answer{
			means: "STS knows the caller and refuses it the call GetFederationToken.",
			aws: []Step{{Do: fmt.Sprintf("Let the policies of %s allow it, and see that none denies it:", s.caller()),
				Copy: iam.Caller(s.caller(), asked, s.tagged()).String()}},
		}
	default:
		return s.roleDenied()
	}
}

// roleDenied is of AssumeRole on the role that was asked for.
func (s Situation) roleDenied() answer {
	asked := s.Credential.Request
	a := answer{
		means: "STS knows the caller and refuses it the role. Both sides must agree: the role's trust policy, and the caller's own policies.",
		aws: []Step{
			{Do: "See that the role exists, and whom it trusts.", Copy: getRole(asked.RoleARN)},
			{Do: fmt.Sprintf("Let its trust policy admit %s:", iam.Principal(s.caller())), Copy: iam.Trust(s.caller(), asked, s.tagged()).String()},
			{Do: "Let the caller's own policies allow it, and see that none, and no policy of its organization, denies it:", Copy: iam.Caller(s.caller(), asked, s.tagged()).String()},
		},
	}
	externalID := "spec.externalID is not set. If the trust policy asks for an sts:ExternalId, set it to that."
	if asked.ExternalID != "" {
		externalID = fmt.Sprintf("Check that the trust policy asks for the external id %s, or for none.", asked.ExternalID)
	}
	a.here = append(a.here, Step{Do: externalID, Copy: s.edit()})
	if asked.MFASerialNumber != "" {
		a.here = append(a.here, Step{Do: "Check that spec.mfa.serialNumber is a device of the caller's own user, and that the seed is that device's.", Copy: aws("iam", "list-mfa-devices", "--user-name", s.user())})
	}
	if strings.Contains(s.caller(), ":assumed-role/") {
		a.aws[1].Do += " (If the caller's role has a path, put it before the name: the session does not tell.)"
	}
	return a
}

// hopDenied adds what to do about a hop of the identity's chain.
func (s Situation) hopDenied(a answer) answer {
	hop := s.deniedHop()
	if hop == nil {
		a.aws = []Step{{Do: "See that no policy of the organization denies the caller sts:GetCallerIdentity or the use of the region.", Copy: "aws organizations list-policies --filter SERVICE_CONTROL_POLICY"}}
		return a
	}
	before := "arn:aws:iam::ACCOUNT:user/NAME"
	if i := slices.Index(s.Identity.Roles(), hop.RoleARN); i > 0 {
		before = s.Identity.Chain[i-1].RoleARN
	}
	asked := credential.Request{Call: v1alpha1.CallAssumeRole, RoleARN: hop.RoleARN, ExternalID: hop.ExternalID, Tags: credential.Tags(hop.Tags)}
	who := "the hop before it, " + before
	if strings.Contains(before, "ACCOUNT") {
		who = fmt.Sprintf("the identity's source (%s), whose ARN is to stand for arn:aws:iam::ACCOUNT:user/NAME", s.Identity.Source)
	}
	a.aws = []Step{
		{Do: "See that the role exists, and whom it trusts.", Copy: getRole(hop.RoleARN)},
		{Do: "Let its trust policy admit " + who + ":", Copy: iam.Trust(before, asked, false).String()},
		{Do: "Let the policies of the one before allow it:", Copy: iam.Caller(before, asked, false).String()},
	}
	a.here = []Step{{Do: "Check the hop's externalID against the sts:ExternalId that the trust policy asks for.", Copy: s.editIdentity()}}
	return a
}

// deniedHop returns the hop whose call failed, nil if another call failed or the identity is not known.
func (s Situation) deniedHop() *v1alpha1.Hop {
	failed := s.failedCall()
	if s.Identity == nil || failed == nil {
		return nil
	}
	for i, hop := range s.Identity.Chain {
		if hop.RoleARN == failed.RoleARN {
			return &s.Identity.Chain[i]
		}
	}
	return nil
}

// caller is the ARN that STS knows the identity by, or what to put in its place.
func (s Situation) caller() string {
	switch {
	case s.Identity == nil:
		return s.failedCaller()
	case len(s.Identity.Chain) > 0: // the session of the last hop, whose ARN has no path
		return s.Identity.Chain[len(s.Identity.Chain)-1].RoleARN
	default:
		return cmp.Or(s.Identity.ARN, s.failedCaller())
	}
}

// failedCaller is the caller of the call that failed, for those who may not read identities.
func (s Situation) failedCaller() string {
	const unknown = "ARN-OF-THE-CALLER"
	if failed := s.failedCall(); failed != nil {
		return cmp.Or(failed.CallerARN, unknown)
	}
	return unknown
}

func (s Situation) user() string { return iam.Name(s.caller(), "user/", "USER") }

func roleName(arn string) string { return iam.Name(arn, "role/", "ROLE") }

func getRole(arn string) string { return aws("iam", "get-role", "--role-name", roleName(arn)) }

// tagged tells whether the identity stamps tags on the session.
func (s Situation) tagged() bool { return s.Identity != nil && s.Identity.SessionTags != nil }

func invalidSourceCredentials(s Situation) answer {
	if role := s.tokenRole(); role != "" {
		return answer{
			means: "STS does not take the token of the service account: IAM does not know who issued it, or not whom it is for.",
			aws: []Step{
				{Do: "See that IAM has an OIDC provider for the cluster's issuer in the account of " + role + ", and that its client ids hold the audience " + s.audience() + ".",
					Copy: lines(issuer, "aws iam list-open-id-connect-providers", aws("iam", "create-open-id-connect-provider", "--url", "https://ISSUER", "--client-id-list", s.audience()))},
				{Do: "See that AWS can read the issuer's keys, at its jwks_uri."},
			},
		}
	}
	a := answer{means: fmt.Sprintf("STS does not accept the own credentials of %s, or they cannot be had: they are missing, wrong, expired or switched off.", s.Ref)}
	if s.Identity == nil || s.Identity.SourceSecret != nil {
		a.aws = []Step{{Do: "See whether the user's access key exists and is Active; if not, make another.", Copy: lines(aws("iam", "list-access-keys", "--user-name", s.user()), aws("iam", "create-access-key", "--user-name", s.user()))}}
		a.here = []Step{{Do: "Put the key that is good into the source's Secret. It is watched: what failed is tried again at once.", Copy: s.fillSource("apply")}}
		return a
	}
	a.here = []Step{
		{Do: "See that the operator's pod has AWS credentials: the annotation of its service account (IRSA), the association (EKS Pod Identity), or the instance profile.",
			Copy: "kubectl get serviceaccounts -A -l app.kubernetes.io/name=rolecredential -o yaml\n" + operatorRuns},
		{Do: "A pod gets them when it starts: start it anew after a change.", Copy: "kubectl rollout restart deployment -n NAMESPACE rolecredential-manager"},
	}
	a.aws = []Step{{Do: "For IRSA, see that the role's trust policy names the cluster's OIDC provider and the operator's service account.", Copy: "aws iam list-open-id-connect-providers"}}
	return a
}

func invalidRequest(s Situation) answer {
	a := answer{means: "STS refuses a value of the request.", here: []Step{s.events()}}
	if s.Credential == nil {
		a.here = append(a.here, Step{Do: "Check the chain's roleARN, sessionName, externalID and tags, and that region, source and hops are of one partition.", Copy: s.editIdentity()})
		return a
	}
	asked := s.Credential.Request
	switch {
	case s.failedCall() == nil:
		return s.notCalled()
	case asked.Call == v1alpha1.CallAssumeRole:
		a.here = append(a.here,
			Step{Do: fmt.Sprintf("Ask for no longer than the role's MaxSessionDuration, and for 1h at most if the identity is itself a role's session; it is %s now.", rules.Duration(asked.Duration)), Copy: s.patch(`{"duration":"1h"}`)},
			Step{Do: "Check the values of sessionName, externalID, policyARNs and tags.", Copy: s.edit()})
		if s.tagged() {
			a.here = append(a.here, Step{
				Do:   "If the operator runs with EKS Pod Identity, create its association with --disable-session-tags, or leave sessionTags out of the identity: STS refuses a tag that the caller's session passes on.",
				Copy: s.editIdentity(),
			})
		}
		a.aws = []Step{{
			Do: "Or raise the role's MaxSessionDuration, which is 1h unless somebody raised it.",
			Copy: lines(aws("iam", "get-role", "--role-name", roleName(asked.RoleARN), "--query", "Role.MaxSessionDuration"),
				aws("iam", "update-role", "--role-name", roleName(asked.RoleARN), "--max-session-duration", strconv.Itoa(int(asked.Duration.Seconds())))),
		}}
	default:
		a.here = append(a.here, Step{Do: "Check the values of duration, userName, policyARNs and tags.", Copy: s.edit()})
	}
	return a
}

// notCalled is the answer for a request that STS can only reject.
func (s Situation) notCalled() answer {
	a := answer{means: "STS can only reject the request, so the operator did not call it. The message says why.", here: []Step{{Do: "Correct the spec.", Copy: s.edit()}}}
	if s.Identity != nil && s.Identity.Endpoint == "" {
		a.here = append(a.here, Step{Do: "Give ARNs in AWS's form, or name an identity whose endpoint is the server that has these roles and policies.", Copy: s.edit()})
	}
	return a
}

func invalidTags(s Situation) answer {
	return answer{
		means: "spec.tags has a key that only an identity may set, or too many tags. The operator did not call STS.",
		here:  []Step{{Do: "Remove the keys kubernetes-cluster, -namespace, -name, -uid and -kind from spec.tags. With those that the identity sets, there may be 50 tags.", Copy: s.edit()}},
	}
}

func unsupportedField(s Situation) answer {
	fields := "the field that the message names"
	if s.Credential != nil && len(s.Credential.Request.NotWithWebIdentity()) > 0 {
		fields = strings.Join(s.Credential.Request.NotWithWebIdentity(), ", ")
	}
	return answer{
		means: "The identity calls AssumeRoleWithWebIdentity with a service account's token, and that call does not take a field of the spec. The operator did not call STS.",
		here:  []Step{{Do: "Leave " + fields + " out.", Copy: s.edit()}, s.otherIdentity(" with another source or with a chain")},
	}
}

func wrongPartition(s Situation) answer {
	if s.Credential == nil {
		return answer{
			means: "A hop of the identity's chain is of another AWS partition than its region. The operator did not call STS.",
			here:  []Step{{Do: "Set the region, the source and the chain's roleARN to one partition.", Copy: s.editIdentity()}},
		}
	}
	return answer{
		means: "A role, policy or MFA device of the spec is of another AWS partition than the identity's region. The operator did not call STS.",
		here:  []Step{{Do: "Name roles, policies and MFA devices of the partition of the identity's region.", Copy: s.edit()}, s.otherIdentity(" of that partition")},
	}
}

func policyTooLarge(s Situation) answer {
	return answer{
		means: "STS takes a policy of 2048 characters without white space, packs policies and tags together, and they are too large for it.",
		here: []Step{{
			Do:   "Make spec.policy shorter, or use fewer policyARNs or tags; tags that the identity stamps count too. status.packedPolicySize tells how many percent the last credential took.",
			Copy: s.edit(),
		}},
		aws: []Step{{Do: "Or put what the policy says into a managed policy, and name its ARN in policyARNs.", Copy: "aws iam create-policy --policy-name NAME --policy-document file://policy.json"}},
	}
}

func malformedPolicy(s Situation) answer {
	return answer{
		means: "spec.policy is not JSON, or not a policy that IAM understands. A session policy has no Principal.",
		here:  []Step{{Do: "Correct it.", Copy: s.edit()}},
		aws: []Step{{Do: "Have IAM's policy validator say what is wrong.",
			Copy: lines(kubectl("get", s.subject(), "-n", s.namespace(), "-o", "jsonpath={.spec.policy}")+" > policy.json",
				"aws accessanalyzer validate-policy --policy-type IDENTITY_POLICY --policy-document file://policy.json")}},
	}
}
