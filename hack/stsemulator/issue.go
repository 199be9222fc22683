package stsemulator

import (
	"crypto/sha256"
	"math"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Common parts of the calls that issue a session.
var (
	policyBounds = []bound{
		{name: "Policy", min: 1, max: 2048, pattern: policyPattern},
		{name: "PolicyArns", max: 10, members: []bound{
			{name: "arn", required: true, min: 20, max: 2048, pattern: arnPattern},
		}},
	}
	tagBounds = bound{name: "Tags", max: 50, members: []bound{
		{name: "Key", required: true, min: 1, max: 128, pattern: tagKeyPattern},
		{name: "Value", required: true, max: 256, pattern: tagValuePattern},
	}}
)

// durationBound is the bound of DurationSeconds, from 900 for every call.
func durationBound(most int) bound {
	return bound{name: "DurationSeconds", integer: true, min: 900, max: most}
}

// durationOf returns the requested duration in seconds, or the default.
func durationOf(form url.Values, otherwise int) int {
	if seconds, err := strconv.Atoi(form.Get("DurationSeconds")); err == nil {
		return seconds
	}
	return otherwise
}

// setPolicies stores the requested session policies. It rejects an inline policy that is not a policy document.
func (session *Session) setPolicies(form url.Values) error {
	session.Policy, session.PolicyARNs = form.Get("Policy"), memberValues(form, "PolicyArns", "arn")
	if session.Policy == "" {
		return nil
	}
	return checkPolicy(session.Policy)
}

// pack sets the packed size of policies and tags, and rejects one above the limit.
func (session *Session) pack() error {
	session.PackedPolicySize = packedPolicySize(session.Policy, session.PolicyARNs, session.Tags)
	if session.PackedPolicySize > 100 {
		return packedTooLarge(session.PackedPolicySize, session.Policy != "" || len(session.PolicyARNs) > 0)
	}
	return nil
}

// checkRegion rejects a region in which the account has not activated STS.
func checkRegion(a Account, region string) error {
	if slices.Contains(a.DisabledRegions, region) {
		return newError("RegionDisabledException", "STS is not activated in this region for account:%s. "+
			"Your account administrator can activate STS in this region using the IAM Console.", a.ID)
	}
	return nil
}

// issue creates credentials and stores the session with its principal. The lifetime is cut to whole seconds, AWS's resolution, and is at
// least one second.
func (s *Server) issue(req request, session Session, holder principal, seconds int) credentials {
	now := s.options.Clock.Now().UTC().Truncate(time.Second)
	lifetime := max(1, math.Floor(float64(seconds)*s.options.LifetimeFraction))
	session.Action = req.call.Action
	session.Issued, session.Expiration = now, now.Add(time.Duration(lifetime)*time.Second)
	session.AccessKeyID = newAccessKeyID("ASIA")
	session.ARN, session.UserID = holder.ARN, holder.UserID
	if s.options.Flavour == FlavourMinIO {
		session.AccessKeyID = newAccessKeyID("")
	}
	holder.session = &session
	secret, token := newSecret(), newSessionToken(s.options.SessionTokenSize)
	s.sessions.add(&storedSession{
		Session: session, principal: holder, secret: secret, tokenHash: sha256.Sum256([]byte(token)),
	}, now)
	s.calls.update(req.call, func(c *Call) { c.IssuedAccessKeyID = session.AccessKeyID })
	return credentials{
		AccessKeyID: session.AccessKeyID, SecretAccessKey: secret, SessionToken: token,
		Expiration: session.Expiration.Format(time.RFC3339),
	}
}

type credentials struct {
	AccessKeyID     string `xml:"AccessKeyId" json:"accessKeyId"`
	SecretAccessKey string `xml:"SecretAccessKey" json:"secretAccessKey"`
	SessionToken    string `xml:"SessionToken" json:"sessionToken"`
	Expiration      string `xml:"Expiration" json:"expiration"`
}
