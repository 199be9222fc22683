package stsemulator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Trust is an Allow statement of a trust policy.
type Trust struct {
	// Principal is the ARN of a user, role or role session, an account ID or its root ARN, or "*".
	Principal string `json:"principal,omitempty"`
	// Federated is the ARN of an OpenID Connect provider, as an alternative to Principal. It allows callers of AssumeRoleWithWebIdentity.
	Federated string `json:"federated,omitempty"`
	// Service is rolesanywhere.amazonaws.com, as an alternative to Principal. It allows callers of CreateSession.
	Service string `json:"service,omitempty"`
	// ExternalID, if set, is the required external ID.
	ExternalID string `json:"externalID,omitempty"`
	// RequireMFA is the condition aws:MultiFactorAuthPresent: the call has an MFA code, or the caller's session of GetSessionToken was
	// issued with one.
	RequireMFA bool `json:"requireMFA,omitempty"`
	// StringEquals and StringLike are conditions; in StringLike, '*' matches any characters. The keys for a federated caller are
	// "<issuer>:sub" and "<issuer>:aud", with the issuer without its https://. For the service they are "aws:SourceArn", the trust anchor,
	// "aws:SourceAccount", "aws:PrincipalTag/<key>" of the certificate, "sts:SourceIdentity" and "sts:RoleSessionName". For other callers
	// they are "aws:RequestTag/<key>" and "sts:RoleSessionName". All keys must be present with one of their values.
	StringEquals map[string][]string `json:"stringEquals,omitempty"`
	StringLike   map[string][]string `json:"stringLike,omitempty"`
	// Actions are the allowed STS actions. If empty: AssumeRole, AssumeRoleWithWebIdentity, TagSession and SetSourceIdentity.
	Actions []string `json:"actions,omitempty"`
}

// The STS actions of a trust policy.
const (
	actionAssumeRole                = "sts:AssumeRole"
	actionAssumeRoleWithWebIdentity = "sts:AssumeRoleWithWebIdentity"
	actionTagSession                = "sts:TagSession"
	actionSetSourceIdentity         = "sts:SetSourceIdentity"
)

// The condition keys of a request. A tag's key is appended to requestTag.
const (
	requestTag      = "aws:RequestTag/"
	roleSessionName = "sts:RoleSessionName"
	principalTag    = "aws:PrincipalTag/"
	sourceARN       = "aws:SourceArn"
	sourceAccount   = "aws:SourceAccount"
	sourceIdentity  = "sts:SourceIdentity"
)

var trustActions = []string{actionAssumeRole, actionAssumeRoleWithWebIdentity, actionTagSession, actionSetSourceIdentity}

func (t Trust) validate() error {
	for _, a := range t.Actions {
		if !slices.Contains(trustActions, a) {
			return fmt.Errorf("trust: action %q is none of a trust policy", a)
		}
	}
	if t.Federated != "" {
		return t.validateFederated()
	}
	if t.Service != "" {
		return t.validateService()
	}
	if key, found := t.otherCondition([]string{roleSessionName}, requestTag); found {
		return fmt.Errorf("trust: a condition on %q is not of a principal that is not federated", key)
	}
	if t.Principal == "*" || accountIDs.MatchString(t.Principal) {
		return nil
	}
	if isResource(t.Principal, "iam:root", "iam:user", "iam:role", "sts:assumed-role") {
		return nil
	}
	return fmt.Errorf("trust: principal %q is neither an account, nor the ARN of a user, role or session, nor \"*\"", t.Principal)
}

// otherCondition returns a condition's key that is neither one of keys nor has the prefix.
func (t Trust) otherCondition(keys []string, prefix string) (key string, found bool) {
	for _, condition := range []map[string][]string{t.StringEquals, t.StringLike} {
		for key := range condition {
			if !slices.Contains(keys, key) && !strings.HasPrefix(key, prefix) {
				return key, true
			}
		}
	}
	return "", false
}

func (t Trust) validateService() error {
	if t.Principal != "" || t.ExternalID != "" || t.RequireMFA {
		return fmt.Errorf("trust: a service has no principal, externalID or requireMFA beside it")
	}
	if t.Service != rolesAnywhereService {
		return fmt.Errorf("trust: service %q is not %s", t.Service, rolesAnywhereService)
	}
	if key, found := t.otherCondition([]string{sourceARN, sourceAccount, sourceIdentity, roleSessionName}, principalTag); found {
		return fmt.Errorf("trust: a condition on %q is not of a service", key)
	}
	return nil
}

func (t Trust) validateFederated() error {
	if t.Principal != "" || t.Service != "" || t.ExternalID != "" || t.RequireMFA {
		return fmt.Errorf("trust: a federated principal has no principal, service, externalID or requireMFA beside it")
	}
	if !isResource(t.Federated, "iam:oidc-provider") {
		return fmt.Errorf("trust: federated %q is not the ARN of an OpenID Connect provider", t.Federated)
	}
	return nil
}

// isResource returns whether an ARN is of an account's resource of one of some kinds, which have the form service:type.
func isResource(s string, kinds ...string) bool {
	p, err := arn.Parse(s)
	kind, _, _ := strings.Cut(p.Resource, "/")
	return err == nil && accountIDs.MatchString(p.AccountID) && slices.Contains(kinds, p.Service+":"+kind)
}

// applicant is the caller of a role, with the data that a trust policy evaluates.
type applicant struct {
	principal
	externalID string
	mfa        bool
	// federated is the provider's ARN, and service the name of a service. There is no principal then.
	federated, service string
	// claims are the token's claims, the certificate's attributes, or the values of the request, by condition key.
	claims map[string]string
}

// allows reports whether a role's trust policy allows an action to an applicant.
func (r foundRole) allows(a applicant, action string) bool {
	return slices.ContainsFunc(r.Trust, func(t Trust) bool {
		return t.names(a) &&
			(t.ExternalID == "" || t.ExternalID == a.externalID) &&
			(!t.RequireMFA || a.mfa) &&
			holds(t.StringEquals, a.claims, func(want, got string) bool { return want == got }) &&
			holds(t.StringLike, a.claims, glob) &&
			(len(t.Actions) == 0 || slices.Contains(t.Actions, action))
	})
}

func (t Trust) names(a applicant) bool {
	switch {
	case a.federated != "" || t.Federated != "":
		return a.federated == t.Federated
	case a.service != "" || t.Service != "":
		return a.service == t.Service
	case t.Principal == "*" || t.Principal == a.Account || t.Principal == a.ARN:
		return true
	}
	if p, err := arn.Parse(t.Principal); err == nil && p.Service == "iam" && p.Resource == "root" {
		return p.AccountID == a.Account
	}
	return a.isRole() && t.Principal == a.session.RoleARN
}

// holds returns whether every key of a condition is present with one of its values.
func holds(condition map[string][]string, claims map[string]string, fits func(want, got string) bool) bool {
	for key, values := range condition {
		got, ok := claims[key]
		if !ok || !slices.ContainsFunc(values, func(want string) bool { return fits(want, got) }) {
			return false
		}
	}
	return true
}
