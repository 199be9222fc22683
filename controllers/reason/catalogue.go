package reason

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"rolecredential.dev/operator/api/v1alpha1"
)

// STS returns the failure of a call of STS for a reason of ConditionIssued.
func STS(reason string, a Answer, s Subject, cause error) *Error {
	message, known := catalogue[reason]
	if !known {
		message = stsError
	}
	retry := Backoff
	if a.Flaw == FlawUnsupported {
		retry = After(MaxWait) // nothing reports that the server was upgraded
	}
	return &Error{Condition: v1alpha1.ConditionIssued, Reason: reason, Message: message(a, s), Call: call(s, cause), Retry: retry, Cause: cause}
}

// call returns the STS call that failed, nil if the source had no credentials to call STS with.
func call(s Subject, cause error) *v1alpha1.FailedCall {
	if _, ofSource := errors.AsType[*SourceError](cause); ofSource {
		return nil
	}
	return &v1alpha1.FailedCall{Call: string(s.Call), RoleARN: s.RoleARN, CallerARN: s.Caller}
}

// WrongSource returns the failure of a call that STS rejects from temporary credentials, for an identity that has such. A changed Secret
// of the source is tried at once.
func WrongSource(s Subject, source string) *Error {
	message := fmt.Sprintf("Only an IAM user can use an MFA device, but the source of %s (%s) has temporary credentials. "+
		"Use an identity whose source.accessKey is that user's key, without AWS_SESSION_TOKEN, or leave spec.mfa out. STS was not called.", s.Identity, source)
	if !s.MFA || s.RoleARN == "" {
		message = fmt.Sprintf("STS accepts the call %s only with an IAM user's own access key, but the source of %s (%s) has temporary credentials. "+
			"Use an identity whose source.accessKey is an IAM user's key, without AWS_SESSION_TOKEN, or a RoleCredential: AssumeRole accepts temporary credentials too. "+
			"STS was not called.", s.Call, s.Identity, source)
	}
	return &Error{Condition: v1alpha1.ConditionIssued, Reason: v1alpha1.ReasonWrongSourceType, Message: message, Retry: After(MaxWait)}
}

// catalogue has a function for each reason. Its message says what is wrong, then what to do.
var catalogue = map[string]func(Answer, Subject) string{
	v1alpha1.ReasonAccessDenied:             accessDenied,
	v1alpha1.ReasonInvalidSourceCredentials: invalidSourceCredentials,
	v1alpha1.ReasonInvalidRequest:           invalidRequest,
	v1alpha1.ReasonPolicyTooLarge: func(a Answer, _ Subject) string {
		return fmt.Sprintf("STS rejected the session's policies and tags: together they are too large%s. Shorten policy, or use fewer policyARNs or tags.", a)
	},
	v1alpha1.ReasonMalformedPolicy: func(a Answer, _ Subject) string {
		return fmt.Sprintf("STS rejected spec.policy: it is not a valid IAM policy%s. Check it with IAM's policy validator; a session policy has no Principal.", a)
	},
	v1alpha1.ReasonRegionDisabled: func(a Answer, s Subject) string {
		return fmt.Sprintf("STS is not active in the identity's region for the account of %s%s. Activate the region's endpoint in IAM's account settings, "+
			"or choose another region for the identity.", s.caller(), a)
	},
	v1alpha1.ReasonClockSkew: clockSkew,
	v1alpha1.ReasonThrottled: func(a Answer, s Subject) string {
		return fmt.Sprintf("%s throttled requests from %s%s. The operator retries at a lower rate.", s.service(), s.caller(), a)
	},
	v1alpha1.ReasonSTSUnreachable: stsUnreachable,
	v1alpha1.ReasonSTSError:       stsError,
}

func accessDenied(a Answer, s Subject) string {
	if s.Call == v1alpha1.CallCreateSession {
		return sessionDenied(a, s)
	}
	if s.Hop && s.Call == v1alpha1.CallAssumeRole {
		return fmt.Sprintf("STS denied AssumeRole on %s, a hop in the chain of %s%s. Check that the role exists, that its trust policy allows the previous hop "+
			"(for the first hop, the source), that an sts:ExternalId condition there equals the hop's externalID, and that the previous hop's own policies allow sts:AssumeRole on the role.",
			s.RoleARN, s.Identity, a) + s.needsSourceIdentity() + s.deniedElsewhere()
	}
	denied := fmt.Sprintf("STS denied access: %s may not call %s", s.caller(), s.Call)
	if s.RoleARN != "" {
		denied += " on " + s.RoleARN
	}
	denied += a.String() + "."
	switch {
	case s.Call == v1alpha1.CallGetSessionToken && s.MFA:
		return denied + s.checkDevice() + s.deniedElsewhere()
	case s.Call == v1alpha1.CallGetSessionToken && s.Endpoint != "":
		return denied + " The server decides by its own rules: check in its documentation and log whether it supports the call for this caller." + s.deniedElsewhere()
	case s.Call == v1alpha1.CallGetSessionToken: // no policy of AWS can allow or deny it
		return denied + " AWS denies this call only to temporary credentials. Check that the access key is an IAM user's own."
	case s.RoleARN == "":
		return denied + fmt.Sprintf(" Check that the caller's own policies allow sts:%s, and that no policy denies it.", s.Call) + s.deniedElsewhere()
	case s.Call == v1alpha1.CallAssumeRoleWithWebIdentity:
		return denied + fmt.Sprintf(" Check that the role exists, and that its trust policy allows sts:%s to the OIDC provider of the token's issuer, "+
			"under conditions on its aud and sub that the token meets.", s.Call)
	default:
		return denied + " Check that the role exists, that its trust policy allows this caller " +
			"(sts:AssumeRole, and sts:TagSession or sts:SetSourceIdentity if the spec has tags or a sourceIdentity), that an sts:ExternalId " +
			"condition there equals spec.externalID, and that the caller's own policies allow sts:AssumeRole on the role." + s.needsSourceIdentity() + s.checkDevice() + s.deniedElsewhere()
	}
}

// checkDevice says what a denial may mean if the call had an MFA code. AWS has no error code for a wrong code.
func (s Subject) checkDevice() string {
	if !s.MFA {
		return ""
	}
	return " Check that spec.mfa.serialNumber is a device of the caller's own user, and that the seed is that device's."
}

// deniedElsewhere says what a denial may mean on a server other than AWS.
func (s Subject) deniedElsewhere() string {
	if s.Endpoint == "" {
		return ""
	}
	return fmt.Sprintf(" A server other than AWS may also mean that the access key of the identity's source is wrong, or that it expects another region in the signature than spec.region of the identity, %s.", s.Region)
}

// inheritedTags says why STS may reject the identity's session tags. The error code is that of other rejections too.
func (s Subject) inheritedTags() string {
	if !s.SetsSessionTags {
		return ""
	}
	return " STS also rejects a session tag whose key the caller's own session passes on. EKS Pod Identity passes on kubernetes-namespace, which the identity's sessionTags set too: " +
		"create the pod identity association with --disable-session-tags, or leave sessionTags out of the identity."
}

func invalidSourceCredentials(a Answer, s Subject) string {
	switch {
	case a.Flaw == FlawSource:
		return fmt.Sprintf("%s has no credentials to call STS with: its source failed%s. Fix the identity's source; the event or the operator's log has the error.", s.Identity, a)
	case s.Call == v1alpha1.CallCreateSession:
		return sessionSource(a, s)
	case s.Call == v1alpha1.CallAssumeRoleWithWebIdentity:
		return fmt.Sprintf("STS rejected the token of %s%s. Check that IAM has an OIDC provider for the token's issuer in the account of %s, that its client IDs include the "+
			"token's audience, and that AWS can read the issuer's keys.", s.caller(), a, s.RoleARN)
	}
	message := fmt.Sprintf("STS rejected the source credentials of %s%s: they are missing, wrong, expired or inactive. "+
		"Fix the identity's source; a changed Secret is tried at once.", s.Identity, a)
	if s.Endpoint != "" {
		message += fmt.Sprintf(" The server may also expect another region in the signature than spec.region of the identity, %s: set that to the server's region.", s.Region)
	}
	return message
}

func invalidRequest(a Answer, s Subject) string {
	switch {
	case a.Flaw == FlawUnsupported:
		return unsupported(a, s)
	case s.Call == v1alpha1.CallCreateSession:
		return sessionRejected(a, s)
	case s.Hop:
		return fmt.Sprintf("STS rejected the request for %s, a hop in the chain of %s%s. Check the hop's roleARN, sessionName, externalID and tags; the event or the operator's log has the text of STS.",
			s.RoleARN, s.Identity, a) + s.maybeUnsupported()
	case s.RoleARN == "":
		return fmt.Sprintf("STS rejected the request%s. Check the values of duration, userName, policyARNs and tags; the event or the operator's log has the text of STS.", a) + s.maybeUnsupported()
	default:
		return fmt.Sprintf("STS rejected the request for %s%s. Check that duration is no longer than the role's MaxSessionDuration "+
			"(and at most 1h if the identity is itself a role session), and the values of sessionName, externalID, policyARNs and tags; "+
			"the event holds the text of STS.", s.RoleARN, a) + s.inheritedTags() + s.maybeUnsupported()
	}
}

func unsupported(a Answer, s Subject) string {
	if len(s.OptionalFields) == 0 {
		return fmt.Sprintf("%s failed: %s does not support the call%s. Use an identity whose server supports it; if this is not an %s server, correct the identity's %s.", s.action(), s.server(), a, s.service(), s.endpointField())
	}
	return fmt.Sprintf("%s failed: %s does not support the call, or an optional field of it%s. Optional fields in use: %s. "+
		"Remove the fields that the server does not support, or use an identity whose server supports them.", s.action(), s.server(), a, strings.Join(s.OptionalFields, ", "))
}

// maybeUnsupported says what a rejected request may mean on a server other than AWS, which may have no other error code.
func (s Subject) maybeUnsupported() string {
	switch {
	case s.Endpoint == "":
		return ""
	case len(s.OptionalFields) == 0:
		return fmt.Sprintf(" A server other than AWS may also not support the call %s.", s.Call)
	default:
		return fmt.Sprintf(" A server other than AWS may also not support the call %s, or an optional field in use: %s.", s.Call, strings.Join(s.OptionalFields, ", "))
	}
}

func clockSkew(a Answer, s Subject) string {
	switch {
	case a.Flaw == FlawExpired:
		return fmt.Sprintf("%s returned credentials that have expired by the operator's clock. The answer has no usable Date to compare with: check the clocks of the operator's node and of %s.", s.action(), s.server())
	case s.ClockInSync:
		return fmt.Sprintf("%s rejected the time of the request's signature%s, but the Date of its answer agrees with the operator's clock. "+
			"Check the clocks of all servers behind %s, and that no proxy delays requests or changes the Date.", s.service(), a, s.server())
	default:
		return fmt.Sprintf("%[1]s rejected the request: the operator's clock is off by more than %[1]s tolerates, which is 5 to 15 minutes%[2]s. Set the clock of the operator's node.", s.service(), a)
	}
}

func stsUnreachable(a Answer, s Subject) string {
	server := s.service()
	if s.endpoint() != "" {
		server = "The endpoint " + s.shownEndpoint()
	}
	if a.Flaw == FlawCertificate {
		return fmt.Sprintf("%s presented %s a certificate that is not trusted. Check that the identity's caBundle has the authority that issued it, "+
			"that it is for the endpoint's name and has not expired, and that no proxy is in between; the event or the operator's log has the error.", server, s.Identity)
	}
	return fmt.Sprintf("%s did not answer %s. Check the identity's region and %s, DNS, NetworkPolicies and proxies between the operator and %s; "+
		"the event holds the error.", server, s.Identity, s.endpointField(), s.service())
}

func stsError(a Answer, s Subject) string {
	switch a.Flaw {
	case FlawRedirect:
		return redirected(a, s)
	case FlawNoError:
		return fmt.Sprintf("%s failed: %s returned HTTP %d without an answer of %s. Check that the scheme, host, port and path of the identity's %s are those of an %s server, "+
			"and that no proxy answers in its place; the event or the operator's log has the error.", s.action(), s.server(), a.Status, s.service(), s.endpointField(), s.service())
	case FlawNoCredentials:
		return fmt.Sprintf("%s failed: %s reported success, but returned no credentials that can be used. Check that the server is compatible with %s.", s.action(), s.server(), s.service())
	case FlawExpired:
		return fmt.Sprintf("%s failed: %s returned credentials that have expired by the Date of the same answer. Check the server's clock, and that no proxy changes the Date.", s.action(), s.server())
	default:
		return fmt.Sprintf("%[1]s failed: %[2]s returned an error%[3]s. The operator retries; the event or the operator's log has the text of %[2]s.", s.action(), s.service(), a)
	}
}

// redirected names the target of a redirect. The operator follows none: a signature is valid for one host only.
func redirected(a Answer, s Subject) string {
	redirect := fmt.Sprintf("%s failed: %s redirects", s.action(), s.server())
	configured, err := url.Parse(s.endpoint())
	switch {
	case a.Redirect == "":
		return fmt.Sprintf("%s%s, which the operator does not follow. Set the identity's %s to the address of the %s server itself.", redirect, a, s.endpointField(), s.service())
	case err == nil && strings.EqualFold(a.Redirect, configured.Scheme+"://"+configured.Host):
		return fmt.Sprintf("%s to another path of its own%s, which the operator does not follow. Set the identity's %s to the %s server's full path.", redirect, a, s.endpointField(), s.service())
	default:
		return fmt.Sprintf("%s to %s%s, which the operator does not follow. If that is the %s server, set the identity's %s to it.", redirect, a.Redirect, a, s.service(), s.endpointField())
	}
}
