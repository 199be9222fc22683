package reason

import "fmt"

// The messages about CreateSession of IAM Roles Anywhere. AWS returns one error code for all denials.

func sessionDenied(a Answer, s Subject) string {
	who := s.Identity
	if s.Hop {
		who = "the chain of " + who
	}
	return fmt.Sprintf("IAM Roles Anywhere denied CreateSession on %s for %s%s. Check that the profile lists the role and is enabled, that the role's trust policy allows "+
		"rolesanywhere.amazonaws.com sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity under conditions that the certificate meets, "+
		"and that the trust anchor is enabled and its authority issued the certificate.", s.RoleARN, who, a) + s.mayAcceptName()
}

// needsSourceIdentity says what a denied AssumeRole may mean behind a session of CreateSession, which passes on its source identity (IAM
// User Guide, 'Monitor and control actions taken with assumed roles').
func (s Subject) needsSourceIdentity() string {
	if !s.HasSourceIdentity {
		return ""
	}
	return " The chain starts with a certificate, so its sessions have a source identity: the role's trust policy, and the policies of the role that assumes it, must also allow sts:SetSourceIdentity."
}

// mayAcceptName says what a denial may mean if a session name was sent.
func (s Subject) mayAcceptName() string {
	if !s.SendsName {
		return ""
	}
	return " Also check that the profile has acceptRoleSessionName, as source.x509 of the identity says."
}

func sessionRejected(a Answer, s Subject) string {
	return fmt.Sprintf("IAM Roles Anywhere rejected the request for %s%s. Check the values of duration and sessionName, and the ARNs of source.x509 of %s; "+
		"the event or the operator's log has the text of the answer.", s.RoleARN, a, s.Identity)
}

func sessionSource(a Answer, s Subject) string {
	if a.Code == "ResourceNotFoundException" {
		return fmt.Sprintf("IAM Roles Anywhere does not know the trust anchor or the profile of %s%s. Check trustAnchorARN and profileARN of its source.x509: "+
			"both must exist in the same account and region.", s.Identity, a)
	}
	return fmt.Sprintf("IAM Roles Anywhere rejected the signature of %s%s. Check that the certificate in the Secret of its source.x509 is for this trust anchor, "+
		"and that no proxy changes the request; a changed Secret is tried at once.", s.Identity, a)
}
