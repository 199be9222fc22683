package failure

import (
	"cmp"
	"fmt"

	"rolecredential.dev/operator/api/v1alpha1"
)

// Subject is what a message about a call of STS names.
type Subject struct {
	// Identity is the kind and name of the identity.
	Identity string
	// Caller is the ARN that STS knows the identity by, or empty where it is not known.
	Caller string
	// ServiceAccount is the subject of the token that goes with the call, or with that for the first hop; empty for none.
	ServiceAccount string
	// Call of STS.
	Call v1alpha1.Call
	// RoleARN is the role asked for, or empty for a call that asks for none.
	RoleARN string
	// Endpoint tells that the identity asks another server than AWS's own.
	Endpoint bool
	// MFA tells that the call bore the code of an MFA device.
	MFA bool
	// Hop tells that the role is one of the identity's chain.
	Hop bool
	// Stamped is true if the identity puts session tags on the session.
	Stamped bool
	// Untrusted tells that the server that was reached could not show whose it is.
	Untrusted bool
}

func (s Subject) caller() string {
	caller := cmp.Or(s.Caller, s.ServiceAccount)
	if caller == "" {
		return s.Identity
	}
	return caller + " (" + s.Identity + ")"
}

// STS returns the failure of a call of STS for a reason of ConditionIssued. The code is that of STS, and appears where the
// reason alone says too little.
func STS(reason, code string, s Subject, cause error) *Failure {
	return &Failure{Condition: v1alpha1.ConditionIssued, Reason: reason, Message: message(reason, code, s), Retry: Backoff, Cause: cause}
}

// WrongSource returns the failure of a call that STS takes from no session, for an identity whose credentials are one. It waits
// for another source, of which a changed Secret is tried at once.
func WrongSource(s Subject, source string) *Failure {
	message := fmt.Sprintf("An MFA device is an IAM user's, and the source of %s (%s) has temporary credentials. "+
		"Use an identity whose source.accessKey is that user's key, without AWS_SESSION_TOKEN, or leave spec.mfa out. STS was not asked.", s.Identity, source)
	if !s.MFA || s.RoleARN == "" {
		message = fmt.Sprintf("STS takes the call %s only with an IAM user's own access key, and the source of %s (%s) has temporary credentials. "+
			"Use an identity whose source.accessKey is an IAM user's key, without AWS_SESSION_TOKEN, or a RoleCredential: AssumeRole takes temporary credentials too. "+
			"STS was not asked.", s.Call, s.Identity, source)
	}
	return &Failure{Condition: v1alpha1.ConditionIssued, Reason: v1alpha1.ReasonWrongSourceType, Message: message, Retry: After(MaxWait)}
}

// device says what an answer may mean when the call bore a code. AWS does not tell a wrong code from other refusals.
func (s Subject) device() string {
	if !s.MFA {
		return ""
	}
	return " Check that spec.mfa.serialNumber is a device of the caller's own user, and that the seed is that device's."
}

// elsewhere says what an answer may mean on a server that is not AWS.
func (s Subject) elsewhere() string {
	if !s.Endpoint {
		return ""
	}
	return " A server that is not AWS may also answer so to a wrong access key of the identity's source."
}

// inheritedTags says why STS may refuse the session tags of the identity. The code of that refusal is the same as of others.
func (s Subject) inheritedTags() string {
	if !s.Stamped {
		return ""
	}
	return " STS also refuses a session tag whose key the caller's own session passes on. EKS Pod Identity passes on kubernetes-namespace, which the identity's sessionTags set too: " +
		"create the pod identity association with --disable-session-tags, or leave sessionTags out of the identity."
}

// message is the catalogue: one sentence on what is wrong, one on what to do.
func message(reason, code string, s Subject) string {
	switch reason {
	case v1alpha1.ReasonAccessDenied:
		if s.Call == v1alpha1.CallGetSessionToken && s.MFA {
			return fmt.Sprintf("STS refuses %s the call %s with this MFA device's code.%s", s.caller(), s.Call, s.device())
		}
		if s.Call == v1alpha1.CallGetSessionToken { // which no policy can allow or deny
			return fmt.Sprintf("STS refuses %s the call %s, which AWS does only to temporary credentials. Check that the access key is an IAM user's own.", s.caller(), s.Call)
		}
		if s.RoleARN == "" {
			return fmt.Sprintf("STS refuses %s the call %s. Check that the caller's own policies allow sts:%s, and that none denies it.", s.caller(), s.Call, s.Call)
		}
		if s.Call == v1alpha1.CallAssumeRoleWithWebIdentity {
			return fmt.Sprintf("STS refuses %s the call %s on %s. Check that the role exists, and that its trust policy allows sts:%s to the OIDC provider of this cluster, "+
				"under conditions on its aud and sub that the identity's audience and this service account meet.", s.caller(), s.Call, s.RoleARN, s.Call)
		}
		if s.Hop {
			return fmt.Sprintf("STS refuses the call AssumeRole on %s, a hop in the chain of %s. Check that the role exists, that its trust policy allows the hop before it, "+
				"or for the first the source, and asks for no other external id than the hop's, and that the policies of the one before allow sts:AssumeRole on it.", s.RoleARN, s.Identity)
		}
		return fmt.Sprintf("STS refuses %s the call %s on %s. Check that the role exists, that its trust policy allows this caller "+
			"(sts:AssumeRole, and sts:TagSession or sts:SetSourceIdentity where tags or a sourceIdentity are asked for), that an sts:ExternalId "+
			"condition there equals spec.externalID, and that the caller's own policies allow sts:AssumeRole on the role.", s.caller(), s.Call, s.RoleARN) + s.device() + s.elsewhere()
	case v1alpha1.ReasonInvalidSourceCredentials:
		if s.Call == v1alpha1.CallAssumeRoleWithWebIdentity {
			return fmt.Sprintf("STS does not take the token of %s. Check that IAM has an OIDC provider for this cluster's issuer in the account of %s, that its client ids hold the "+
				"identity's audience, and that AWS can read the issuer's keys.", s.caller(), s.RoleARN)
		}
		return fmt.Sprintf("STS cannot be called as %s: its source credentials are missing, wrong, expired or switched off. "+
			"Mend the identity's source; a changed Secret is tried at once.", s.Identity)
	case v1alpha1.ReasonInvalidRequest:
		if s.Hop {
			return fmt.Sprintf("STS refuses the request%s for %s, a hop in the chain of %s. Check its roleARN, sessionName, externalID and tags; the event holds what STS said.",
				coded(code), s.RoleARN, s.Identity)
		}
		if s.RoleARN == "" {
			return fmt.Sprintf("STS refuses the request%s. Check the values of duration, userName, policyARNs and tags; the event holds what STS said.", coded(code))
		}
		return fmt.Sprintf("STS refuses the request%s for %s. Check that duration is no longer than the role's MaxSessionDuration "+
			"(and at most 1h if the identity is itself a role session), and the values of sessionName, externalID, policyARNs and tags; "+
			"the event holds what STS said.", coded(code), s.RoleARN) + s.inheritedTags()
	case v1alpha1.ReasonPolicyTooLarge:
		return "STS refuses the session's policies and tags together as too large. Make policy shorter, or use fewer policyARNs or tags."
	case v1alpha1.ReasonMalformedPolicy:
		return "STS refuses spec.policy: it is not a policy that IAM understands. Check it with IAM's policy validator; a session policy has no Principal."
	case v1alpha1.ReasonRegionDisabled:
		return fmt.Sprintf("STS is not active for the account of %s in the identity's region. Activate the region's endpoint in IAM's account settings, "+
			"or choose another region for the identity.", s.caller())
	case v1alpha1.ReasonClockSkew:
		return "The operator's clock and that of STS differ by more than STS bears (5 to 15 minutes). Set the clock of the operator's node."
	case v1alpha1.ReasonThrottled:
		return fmt.Sprintf("STS is asked too often for the account of %s and refuses for now. It is asked again, more slowly.", s.caller())
	case v1alpha1.ReasonSTSUnreachable:
		if s.Untrusted {
			return fmt.Sprintf("The server reached as the STS of %s shows a certificate that is not trusted. Check that the identity's caBundle holds the authority that issued it, "+
				"that it is for the endpoint's name and has not expired, and that no proxy is in between; the event holds the error.", s.Identity)
		}
		return fmt.Sprintf("STS did not answer %s. Check the identity's region and endpoint, DNS, NetworkPolicies and proxies between the operator and STS; "+
			"the event holds the error.", s.Identity)
	default:
		return fmt.Sprintf("STS answered the call %s with an error%s. It is asked again; the event holds what STS said.", s.Call, coded(code))
	}
}

func coded(code string) string {
	if code == "" {
		return ""
	}
	return " (" + code + ")"
}
