package stsemulator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Trust is an Allow statement of a trust policy.
type Trust struct {
	// Principal is a user's, role's or role session's ARN, an account by its id
	// or its root ARN, or "*".
	Principal string `json:"principal,omitempty"`
	// Federated is, instead of Principal, an OpenID Connect provider's ARN. It
	// admits callers of AssumeRoleWithWebIdentity.
	Federated string `json:"federated,omitempty"`
	// ExternalID, when set, must be what the caller sends.
	ExternalID string `json:"externalID,omitempty"`
	// RequireMFA asks, as the condition aws:MultiFactorAuthPresent does, for a
	// code with the call or for a session that GetSessionToken issued for one.
	RequireMFA bool `json:"requireMFA,omitempty"`
	// StringEquals and StringLike, in which '*' stands for any characters, are
	// conditions. Their keys are, of a federated caller, "<issuer>:sub" and
	// "<issuer>:aud", the issuer without its https://, and of any other
	// "aws:RequestTag/<key>" and "sts:RoleSessionName". Of a key's values one
	// must fit, and all keys must be there.
	StringEquals map[string][]string `json:"stringEquals,omitempty"`
	StringLike   map[string][]string `json:"stringLike,omitempty"`
	// Actions are the STS actions allowed; all of AssumeRole,
	// AssumeRoleWithWebIdentity, TagSession and SetSourceIdentity when empty.
	Actions []string `json:"actions,omitempty"`
}

// The STS actions that a trust policy speaks of.
const (
	actionAssumeRole                = "sts:AssumeRole"
	actionAssumeRoleWithWebIdentity = "sts:AssumeRoleWithWebIdentity"
	actionTagSession                = "sts:TagSession"
	actionSetSourceIdentity         = "sts:SetSourceIdentity"
)

// The keys of conditions on what a request says; a tag's key follows.
const (
	requestTag      = "aws:RequestTag/"
	roleSessionName = "sts:RoleSessionName"
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
	for _, condition := range []map[string][]string{t.StringEquals, t.StringLike} {
		for key := range condition {
			if key != roleSessionName && !strings.HasPrefix(key, requestTag) {
				return fmt.Errorf("trust: a condition on %q is not of a principal that is not federated", key)
			}
		}
	}
	if t.Principal == "*" || accountIDs.MatchString(t.Principal) {
		return nil
	}
	if kindOf(t.Principal, "iam:root", "iam:user", "iam:role", "sts:assumed-role") {
		return nil
	}
	return fmt.Errorf("trust: principal %q is neither an account, nor the ARN of a user, role or session, nor \"*\"", t.Principal)
}

func (t Trust) validateFederated() error {
	if t.Principal != "" || t.ExternalID != "" || t.RequireMFA {
		return fmt.Errorf("trust: a federated principal has no principal, externalID or requireMFA beside it")
	}
	if !kindOf(t.Federated, "iam:oidc-provider") {
		return fmt.Errorf("trust: federated %q is not the ARN of an OpenID Connect provider", t.Federated)
	}
	return nil
}

// kindOf reports whether an ARN is of an account's resource of one of some
// kinds, which are written service:type.
func kindOf(s string, kinds ...string) bool {
	p, err := arn.Parse(s)
	kind, _, _ := strings.Cut(p.Resource, "/")
	return err == nil && accountIDs.MatchString(p.AccountID) && slices.Contains(kinds, p.Service+":"+kind)
}

// applicant is who asks for a role, with what a trust policy looks at.
type applicant struct {
	principal
	externalID string
	mfa        bool
	// federated is the provider's ARN; there is no principal then.
	federated string
	// claims are, by condition key, the token's of a federated caller, and of any
	// other what the request says.
	claims map[string]string
}

// trusts reports whether a role's trust policy admits an applicant for an action.
func (r foundRole) trusts(a applicant, action string) bool {
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
	case t.Principal == "*" || t.Principal == a.Account || t.Principal == a.ARN:
		return true
	}
	if p, err := arn.Parse(t.Principal); err == nil && p.Service == "iam" && p.Resource == "root" {
		return p.AccountID == a.Account
	}
	return a.isRole() && t.Principal == a.session.RoleARN
}

// holds reports whether every key of a condition is there and fits one of its values.
func holds(condition map[string][]string, claims map[string]string, fits func(want, got string) bool) bool {
	for key, values := range condition {
		got, ok := claims[key]
		if !ok || !slices.ContainsFunc(values, func(want string) bool { return fits(want, got) }) {
			return false
		}
	}
	return true
}
