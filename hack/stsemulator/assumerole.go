package stsemulator

import (
	"crypto/sha256"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

const (
	defaultDuration    = 3600
	maxChainedDuration = 3600
)

var assumeRoleBounds = []bound{
	{name: "RoleArn", required: true, min: 20, max: 2048, pattern: arnPattern},
	{name: "RoleSessionName", required: true, min: 2, max: 64, pattern: namePattern},
	{name: "ExternalId", min: 2, max: 1224, pattern: externalIDPattern},
	// Neither pattern nor documentation let a source identity begin with "aws:": it has no colon.
	{name: "SourceIdentity", min: 2, max: 64, pattern: namePattern},
	{name: "Policy", min: 1, max: 2048, pattern: policyPattern},
	{name: "PolicyArns", max: 10, members: []bound{
		{name: "arn", required: true, min: 20, max: 2048, pattern: arnPattern},
	}},
	{name: "Tags", max: 50, members: []bound{
		{name: "Key", required: true, min: 1, max: 128, pattern: tagKeyPattern},
		{name: "Value", required: true, max: 256, pattern: tagValuePattern},
	}},
	{name: "TransitiveTagKeys", max: 50, members: []bound{
		{min: 1, max: 128, pattern: tagKeyPattern},
	}},
	{name: "DurationSeconds", integer: true, min: 900, max: 43200},
}

// assumeRole issues a session of a role.
func (s *Server) assumeRole(req request) (any, error) {
	if s.options.Flavour == FlavourMinIO && req.caller.session != nil {
		return nil, newError("AccessDenied", "Generating temporary credentials not allowed for this request.")
	}
	form := req.form
	session := Session{
		CallerARN:      req.caller.ARN,
		RoleARN:        form.Get("RoleArn"),
		SourceIdentity: form.Get("SourceIdentity"),
		Policy:         form.Get("Policy"),
		PolicyARNs:     memberValues(form, "PolicyArns", "arn"),
	}
	if parsed, err := arn.Parse(session.RoleARN); err != nil || parsed.Service != "iam" || !strings.HasPrefix(parsed.Resource, "role/") {
		return nil, newError("ValidationError", "Request ARN is invalid")
	}
	if session.Policy != "" {
		if err := checkPolicy(session.Policy); err != nil {
			return nil, err
		}
	}
	if err := session.setTags(form, req.caller.session); err != nil {
		return nil, err
	}
	if err := session.inheritSourceIdentity(req.caller.session); err != nil {
		return nil, err
	}
	role, err := s.authorizedRole(req, session)
	if err != nil {
		return nil, err
	}
	duration, err := checkedDuration(form, role, req.caller)
	if err != nil {
		return nil, err
	}
	session.PackedPolicySize = packedPolicySize(session.Policy, session.PolicyARNs, session.Tags)
	if session.PackedPolicySize > 100 {
		return nil, packedTooLarge(session.PackedPolicySize, session.Policy != "" || len(session.PolicyARNs) > 0)
	}
	return s.issue(req, role, session, duration), nil
}

// setTags checks the tags asked for among themselves and against those that the
// calling session hands on, and keeps both.
func (session *Session) setTags(form url.Values, caller *Session) error {
	keys, values := memberValues(form, "Tags", "Key"), memberValues(form, "Tags", "Value")
	transitive := memberValues(form, "TransitiveTagKeys", "")
	var inherited []string
	if caller != nil {
		inherited = caller.TransitiveTagKeys
	}
	requested := map[string]bool{}
	for _, key := range keys {
		folded := strings.ToLower(key)
		switch {
		case requested[folded]:
			return newError("InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		case strings.HasPrefix(folded, "aws:"):
			return newError("InvalidParameterValue", "aws: prefixed tag key names are not allowed for external use.")
		case slices.ContainsFunc(inherited, func(k string) bool { return strings.EqualFold(k, key) }):
			return newError("InvalidParameterValue", "One of the specified transitive tag keys can't be set because "+
				"it conflicts with a transitive tag key from the calling session.")
		}
		requested[folded] = true
	}
	for _, key := range transitive {
		if !requested[strings.ToLower(key)] {
			return newError("InvalidParameterValue", "The specified transitive tag key must be included in the requested tags.")
		}
	}
	tags := map[string]string{}
	for i, key := range keys {
		tags[key] = values[i]
	}
	for _, key := range inherited {
		tags[key] = caller.Tags[key]
	}
	session.Tags, session.TransitiveTagKeys = tags, handedOn(slices.Collect(maps.Keys(tags)), transitive, inherited)
	return nil
}

// handedOn are the tags' keys, in the tags' own case, that are transitive.
func handedOn(keys, transitive, inherited []string) []string {
	return slices.DeleteFunc(slices.Sorted(slices.Values(keys)), func(key string) bool {
		same := func(k string) bool { return strings.EqualFold(k, key) }
		return !slices.ContainsFunc(transitive, same) && !slices.ContainsFunc(inherited, same)
	})
}

// inheritSourceIdentity keeps a source identity over a chain, in which it cannot change.
func (session *Session) inheritSourceIdentity(caller *Session) error {
	if caller == nil || caller.SourceIdentity == "" {
		return nil
	}
	if session.SourceIdentity != "" && session.SourceIdentity != caller.SourceIdentity {
		return newError("ValidationError", "The source identity is already set for this assume role session")
	}
	session.SourceIdentity = caller.SourceIdentity
	return nil
}

// authorizedRole finds the role, if the caller's own policy and the role's
// trust policy both allow what is asked. A role that does not exist is denied
// in the same words.
func (s *Server) authorizedRole(req request, session Session) (foundRole, error) {
	role, ok := s.iam.role(session.RoleARN)
	actions := []string{actionAssumeRole}
	if len(session.Tags) > 0 {
		actions = append(actions, actionTagSession)
	}
	if session.SourceIdentity != "" {
		actions = append(actions, actionSetSourceIdentity)
	}
	for _, action := range actions {
		if !ok || !req.caller.allows(session.RoleARN) || !role.trusts(req.caller, action, req.form.Get("ExternalId")) {
			return foundRole{}, notAuthorized(req.caller, action, session.RoleARN)
		}
	}
	if slices.Contains(role.account.DisabledRegions, req.region) {
		return foundRole{}, newError("RegionDisabledException", "STS is not activated in this region for account:%s. "+
			"Your account administrator can activate STS in this region using the IAM Console.", role.account.ID)
	}
	return role, nil
}

// checkedDuration is in seconds, the default or what was asked for.
func checkedDuration(form url.Values, role foundRole, caller principal) (int, error) {
	seconds := defaultDuration
	if form.Has("DurationSeconds") {
		seconds, _ = strconv.Atoi(form.Get("DurationSeconds")) // an integer, by its bound
	}
	if caller.session != nil && seconds > maxChainedDuration {
		return 0, newError("ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	if seconds > role.maxSessionDuration() {
		return 0, newError("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return seconds, nil
}

// issue makes up the credentials and remembers the session. The lifetime is
// cut to whole seconds, as AWS writes it, and is at least one.
func (s *Server) issue(req request, role foundRole, session Session, seconds int) assumeRoleResult {
	now := s.options.Clock.Now().UTC().Truncate(time.Second)
	lifetime := max(1, math.Floor(float64(seconds)*s.options.LifetimeFraction))
	name := req.form.Get("RoleSessionName")
	session.Issued, session.Expiration = now, now.Add(time.Duration(lifetime)*time.Second)
	session.AccessKeyID = newAccessKeyID("ASIA")
	session.ARN, session.UserID = role.sessionARN(name), role.id+":"+name
	if s.options.Flavour == FlavourMinIO {
		session.AccessKeyID = newAccessKeyID("")
	}
	secret, token := newSecret(), newSessionToken(s.options.SessionTokenSize)
	s.sessions.add(&heldSession{
		Session: session,
		principal: principal{
			ARN: session.ARN, UserID: session.UserID, Account: role.account.ID,
			mayAssume: role.MayAssume, session: &session,
		},
		secret: secret, tokenHash: sha256.Sum256([]byte(token)),
	}, now)
	s.calls.update(req.call, func(c *Call) { c.IssuedAccessKeyID = session.AccessKeyID })

	result := assumeRoleResult{SourceIdentity: session.SourceIdentity, PackedPolicySize: session.PackedPolicySize}
	result.Credentials = credentials{
		AccessKeyID: session.AccessKeyID, SecretAccessKey: secret, SessionToken: token,
		Expiration: session.Expiration.Format(time.RFC3339),
	}
	if s.options.Flavour != FlavourMinIO {
		result.AssumedRoleUser = assumedRoleUser{AssumedRoleID: session.UserID, ARN: session.ARN}
	}
	return result
}

type assumeRoleResult struct {
	SourceIdentity   string          `xml:"SourceIdentity,omitempty"`
	AssumedRoleUser  assumedRoleUser `xml:"AssumedRoleUser"`
	Credentials      credentials     `xml:"Credentials"`
	PackedPolicySize int             `xml:"PackedPolicySize,omitempty"`
}

type assumedRoleUser struct {
	AssumedRoleID string `xml:"AssumedRoleId"`
	ARN           string `xml:"Arn"`
}

type credentials struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string `xml:"SecretAccessKey"`
	SessionToken    string `xml:"SessionToken"`
	Expiration      string `xml:"Expiration"`
}
