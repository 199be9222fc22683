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
	"rolecredential.dev/operator/controllers/request"
)

func notAttempted(Situation) guidance {
	return guidance{
		means:   "The operator did not call STS for this spec. Another condition, or the message, says why.",
		cluster: []Step{{Do: "Read the condition that the message names. If it names none, wait: the operator retries. An MFA device has a new code every 30 seconds."}},
	}
}

func wrongSourceType(s Situation) guidance {
	a := guidance{
		means: "This call needs an IAM user's access key, but the identity's credentials are temporary. The operator did not call STS.",
		cluster: []Step{
			{Do: "Use an identity without a chain whose source.accessKey is an IAM user's key, without AWS_SESSION_TOKEN.", Copy: s.patch(`{"identityRef":{"name":"NAME"}}`)},
			{Do: "Or use a RoleCredential: AssumeRole accepts temporary credentials."},
		},
		aws: []Step{{Do: "If there is no such user yet, create one with an access key.", Copy: "aws iam create-user --user-name NAME\naws iam create-access-key --user-name NAME"}},
	}
	if s.Credential != nil && s.Credential.Request.Call == v1alpha1.CallAssumeRole {
		a.means = "MFA needs an IAM user's access key, but the identity's credentials are temporary. The operator did not call STS."
		a.cluster[1] = Step{Do: "Or remove spec.mfa, if the role's trust policy does not require MFA.", Copy: s.patch(`{"mfa":null}`)}
	}
	return a
}

func invalidMFA(s Situation) guidance {
	name, key := "NAME", "KEY"
	if s.Credential != nil {
		if device := s.Credential.MFA(); device != nil {
			name, key = device.TOTPSecretRef.Name, device.TOTPSecretRef.Key
		}
	}
	return guidance{
		means: "The operator cannot compute the MFA code. The Secret of the seed, or its key, is missing or contains no valid seed. The operator did not call STS.",
		cluster: []Step{{
			Do:   "Save the device's seed (base32; AWS calls it the secret configuration key) to a file, and create the Secret from it:",
			Copy: kubectl("create", "secret", "generic", name, "-n", s.namespace(), "--from-file="+key+"=FILE"),
		}},
		aws: []Step{{
			Do:   "If the seed is lost, create a new device for the user, since AWS shows a seed only once. Enable it with two consecutive codes.",
			Copy: "aws iam create-virtual-mfa-device --virtual-mfa-device-name NAME --outfile FILE --bootstrap-method Base32StringSeed",
		}},
	}
}

func accessDenied(s Situation) guidance {
	if s.createSessionFailed() {
		return s.certificateDenied()
	}
	if s.tokenRole() != "" {
		return s.tokenDenied()
	}
	if s.Credential == nil {
		return s.hopDenied(guidance{means: "STS accepted the identity's credentials, but denied GetCallerIdentity or a hop of the chain. The message names the call."})
	}
	request := s.Credential.Request
	switch {
	case s.deniedHop() != nil:
		return s.hopDenied(guidance{means: "STS denied a hop of the identity's chain. The message names it."})
	case request.Call == v1alpha1.CallGetSessionToken && request.MFASerialNumber != "":
		return guidance{
			means:   "STS rejected the MFA code.",
			cluster: []Step{{Do: "Check that spec.mfa.serialNumber is a device of the user whose access key the identity uses. Check that the seed is from that device.", Copy: s.edit()}},
			aws:     []Step{{Do: "List the user's devices.", Copy: aws("iam", "list-mfa-devices", "--user-name="+s.user())}},
		}
	case request.Call == v1alpha1.CallGetSessionToken && s.customEndpoint():
		return guidance{
			means:   "The server denied GetSessionToken by its own rules.",
			cluster: []Step{{Do: "Check the server's documentation and log: whether it supports the call for this caller. Check the identity's access key and region.", Copy: s.editIdentity()}},
		}
	case request.Call == v1alpha1.CallGetSessionToken:
		return guidance{
			means:   "STS denied GetSessionToken. No policy controls this call, so the identity's credentials are temporary.",
			cluster: []Step{{Do: "Check that the identity uses an IAM user's access key. Its ID starts with AKIA.", Copy: s.editIdentity()}},
		}
	case request.Call == v1alpha1.CallGetFederationToken:
		return guidance{
			means: "STS accepted the caller's credentials, but denied GetFederationToken.",
			aws: []Step{grant(fmt.Sprintf("Allow the call in the policies of %s, and check that none denies it:", s.caller()),
				iam.Permissions(s.caller(), iam.CallerPolicy(s.caller(), request, s.addsTags())))},
		}
	default:
		return s.roleDenied()
	}
}

// roleDenied is the guidance for a denied AssumeRole on spec.roleARN.
func (s Situation) roleDenied() guidance {
	request := s.withSourceIdentity(s.Credential.Request)
	a := guidance{
		means: "STS accepted the caller's credentials, but denied the role. Both the role's trust policy and the caller's own policies must allow it." + s.sourceIdentityNeeded(),
		aws: []Step{
			{Do: "Check that the role exists, and read its trust policy.", Copy: getRole(request.RoleARN)},
			grant(fmt.Sprintf("In its trust policy, allow %s:", iam.Principal(s.caller())),
				iam.Trust(request.RoleARN, iam.TrustPolicy(s.caller(), request, s.addsTags()))),
			grant("Allow the call in the caller's own policies. Check that no policy of the caller or of its organization denies it:",
				iam.Permissions(s.caller(), iam.CallerPolicy(s.caller(), request, s.addsTags()))),
		},
	}
	externalID := "spec.externalID is not set. If the trust policy requires an sts:ExternalId, set spec.externalID to it."
	if request.ExternalID != "" {
		externalID = fmt.Sprintf("Check that the trust policy requires the external ID %s, or none.", request.ExternalID)
	}
	a.cluster = append(a.cluster, Step{Do: externalID, Copy: s.edit()})
	if request.MFASerialNumber != "" {
		a.cluster = append(a.cluster, Step{Do: "Check that spec.mfa.serialNumber is a device of the caller, and that the seed is from that device.", Copy: aws("iam", "list-mfa-devices", "--user-name="+s.user())})
	}
	if strings.Contains(s.caller(), ":assumed-role/") {
		a.aws[1].Do += " (If the caller's role has a path, insert it before the name. The session's ARN does not contain it.)"
	}
	return a
}

// hopDenied adds the steps for a denied hop of the identity's chain.
func (s Situation) hopDenied(a guidance) guidance {
	hop := s.deniedHop()
	if hop == nil {
		a.aws = []Step{{Do: "Check that no policy of the organization denies the caller sts:GetCallerIdentity or the region.", Copy: "aws organizations list-policies --filter SERVICE_CONTROL_POLICY"}}
		return a
	}
	before := "arn:aws:iam::ACCOUNT:user/NAME"
	if i := slices.Index(s.Identity.Roles(), hop.RoleARN); i > 0 {
		before = s.Identity.Chain[i-1].RoleARN
	}
	a.means += s.sourceIdentityNeeded()
	request := s.withSourceIdentity(request.Request{Call: v1alpha1.CallAssumeRole, RoleARN: hop.RoleARN, ExternalID: hop.ExternalID, Tags: request.Tags(hop.Tags)})
	previous := "the previous hop, " + before
	if strings.Contains(before, "ACCOUNT") {
		previous = fmt.Sprintf("the identity's source (%s). Replace arn:aws:iam::ACCOUNT:user/NAME with its ARN", s.Identity.Source)
	}
	a.aws = []Step{
		{Do: "Check that the role exists, and read its trust policy.", Copy: getRole(hop.RoleARN)},
		grant("In its trust policy, allow "+previous+":", iam.Trust(hop.RoleARN, iam.TrustPolicy(before, request, false))),
		grant("Allow the call in the policies of that caller:", iam.Permissions(before, iam.CallerPolicy(before, request, false))),
	}
	a.cluster = []Step{{Do: "Check that the hop's externalID equals the sts:ExternalId that the trust policy requires.", Copy: s.editIdentity()}}
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

// caller returns the ARN of the identity's caller, or a placeholder.
func (s Situation) caller() string {
	switch {
	case s.Identity == nil:
		return s.failedCaller()
	case len(s.Identity.Chain) > 0: // a session's ARN lacks the path of its role
		return s.Identity.Chain[len(s.Identity.Chain)-1].RoleARN
	default:
		return cmp.Or(s.Identity.ARN, s.failedCaller())
	}
}

// failedCaller returns the caller of the failed call. Users who may not read identities see it in the credential's status.
func (s Situation) failedCaller() string {
	const unknown = "ARN-OF-THE-CALLER"
	if failed := s.failedCall(); failed != nil {
		return cmp.Or(failed.CallerARN, unknown)
	}
	return unknown
}

func (s Situation) user() string { return iam.Name(s.caller(), "user/", "USER") }

func roleName(arn string) string { return iam.Name(arn, "role/", "ROLE") }

func getRole(arn string) string { return aws("iam", "get-role", "--role-name="+roleName(arn)) }

// addsTags reports whether the identity adds session tags.
func (s Situation) addsTags() bool { return s.Identity != nil && s.Identity.SessionTags != nil }

func invalidSourceCredentials(s Situation) guidance {
	switch {
	case s.createSessionFailed():
		return s.certificateRejected()
	case s.tokenRole() != "":
		return s.tokenRejected()
	}
	a := guidance{means: fmt.Sprintf("The source credentials of %s are missing, or STS rejected them: they are wrong, expired or inactive.", s.Ref)}
	if s.Identity == nil || s.Identity.SourceSecret != nil {
		a.aws = []Step{{Do: "Check that the user's access key exists and is Active. If not, create another.", Copy: lines(aws("iam", "list-access-keys", "--user-name="+s.user()), aws("iam", "create-access-key", "--user-name="+s.user()))}}
		a.cluster = []Step{s.storeSource("Write a valid key to the source's Secret")}
		return a
	}
	a.cluster = []Step{
		{Do: "Check that the operator's pod has AWS credentials: the annotation of its service account (IRSA), the association (EKS Pod Identity), or the instance profile.",
			Copy: "kubectl get serviceaccounts -A -l app.kubernetes.io/name=rolecredential -o yaml\n" + operatorRuns},
		{Do: "A pod gets them when it starts. Restart it after a change.", Copy: "kubectl rollout restart deployment -n NAMESPACE rolecredential-manager"},
	}
	a.aws = []Step{{Do: "For IRSA, check that the role's trust policy names the cluster's OIDC provider and the operator's service account.", Copy: "aws iam list-open-id-connect-providers"}}
	return a
}

func invalidRequest(s Situation) guidance {
	a := guidance{means: "STS rejected a value of the request.", cluster: []Step{s.events()}}
	if s.Credential == nil {
		a.cluster = append(a.cluster, Step{Do: "Check the chain's roleARN, sessionName, externalID and tags. Check that region, source and hops are in one partition.", Copy: s.editIdentity()})
		return a
	}
	request := s.Credential.Request
	switch {
	case s.failedCall() == nil:
		return s.notSent()
	case request.Call == v1alpha1.CallAssumeRole:
		a.cluster = append(a.cluster,
			Step{Do: fmt.Sprintf("Reduce spec.duration, which is %s now, to the role's MaxSessionDuration. The maximum is 1h if the identity's caller is itself a role session.", rules.Duration(request.Duration)), Copy: s.patch(`{"duration":"1h"}`)},
			Step{Do: "Check the values of sessionName, externalID, policyARNs and tags.", Copy: s.edit()})
		if s.addsTags() {
			a.cluster = append(a.cluster, Step{
				Do:   "If the operator uses EKS Pod Identity, create its association with --disable-session-tags, or remove sessionTags from the identity. STS rejects a tag that the caller's session already has as transitive.",
				Copy: s.editIdentity(),
			})
		}
		a.aws = []Step{{
			Do: "Or raise the role's MaxSessionDuration. AWS's default is 1h.",
			Copy: lines(aws("iam", "get-role", "--role-name="+roleName(request.RoleARN), "--query", "Role.MaxSessionDuration"),
				aws("iam", "update-role", "--role-name="+roleName(request.RoleARN), "--max-session-duration", strconv.Itoa(int(request.Duration.Seconds())))),
		}}
	default:
		a.cluster = append(a.cluster, Step{Do: "Check the values of duration, userName, policyARNs and tags.", Copy: s.edit()})
	}
	return a
}

// notSent is the guidance for a request that STS can only reject.
func (s Situation) notSent() guidance {
	a := guidance{means: "The request is not valid, so the operator did not call STS. The message says why.", cluster: []Step{{Do: "Correct the spec.", Copy: s.edit()}}}
	if s.Identity != nil && s.Identity.Endpoint == "" {
		a.cluster = append(a.cluster, Step{Do: "Use ARNs in AWS's form, or name an identity whose endpoint is the server that has these roles and policies.", Copy: s.edit()})
	}
	return a
}

func invalidTags(s Situation) guidance {
	return guidance{
		means:   "spec.tags has a key that only an identity may set, or too many tags. The operator did not call STS.",
		cluster: []Step{{Do: "Remove the keys kubernetes-cluster, -namespace, -name, -uid and -kind from spec.tags. The limit is 50 tags, including those of the identity.", Copy: s.edit()}},
	}
}

func wrongPartition(s Situation) guidance {
	if s.Credential == nil {
		return guidance{
			means:   "A hop of the identity's chain is in another AWS partition than its region. The operator did not call STS.",
			cluster: []Step{{Do: "Set the region, the source and the chain's roleARN to one partition.", Copy: s.editIdentity()}},
		}
	}
	return guidance{
		means:   "A role, policy or MFA device of the spec is in another AWS partition than the identity's region. The operator did not call STS.",
		cluster: []Step{{Do: "Name roles, policies and MFA devices in the partition of the identity's region.", Copy: s.edit()}, s.otherIdentity(" in that partition")},
	}
}

func policyTooLarge(s Situation) guidance {
	return guidance{
		means: "The session policies and tags exceed the size limits of STS. spec.policy may have 2048 characters without white space. STS also limits the packed size of policies and tags together.",
		cluster: []Step{{
			Do:   "Shorten spec.policy, or use fewer policyARNs or tags. Tags that the identity adds count too. status.packedPolicySize is the used percentage at the last issue.",
			Copy: s.edit(),
		}},
		aws: []Step{{Do: "Or create a managed policy from it, and name its ARN in policyARNs.", Copy: "aws iam create-policy --policy-name NAME --policy-document file://policy.json"}},
	}
}

func malformedPolicy(s Situation) guidance {
	return guidance{
		means:   "spec.policy is not JSON, or not a valid IAM policy. A session policy has no Principal.",
		cluster: []Step{{Do: "Correct spec.policy.", Copy: s.edit()}},
		aws: []Step{{Do: "Find the error with IAM Access Analyzer's policy validation.",
			Copy: lines(kubectl("get", s.subject(), "-n", s.namespace(), "-o", "jsonpath={.spec.policy}")+" > policy.json",
				"aws accessanalyzer validate-policy --policy-type IDENTITY_POLICY --policy-document file://policy.json")}},
	}
}
