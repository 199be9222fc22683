package stsemulator

import (
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

const (
	defaultRoleDuration = 3600
	maxChainedDuration  = 3600
)

var roleBounds = slices.Concat([]bound{
	{name: "RoleArn", required: true, min: 20, max: 2048, pattern: arnPattern},
	{name: "RoleSessionName", required: true, min: 2, max: 64, pattern: namePattern},
	durationBound(43200),
}, policyBounds)

var assumeRoleBounds = slices.Concat(roleBounds, mfaBounds, []bound{
	{name: "ExternalId", min: 2, max: 1224, pattern: externalIDPattern},
	// A source identity cannot begin with "aws:": its pattern allows no colon.
	{name: "SourceIdentity", min: 2, max: 64, pattern: namePattern},
	tagBounds,
	{name: "TransitiveTagKeys", max: 50, members: []bound{
		{min: 1, max: 128, pattern: tagKeyPattern},
	}},
})

// assumeRole issues a session of a role.
func (s *Server) assumeRole(req request) (any, error) {
	if s.options.Flavour == FlavourMinIO && req.caller.session != nil {
		return nil, newError("AccessDenied", "Generating temporary credentials not allowed for this request.")
	}
	form := req.form
	session := Session{CallerARN: req.caller.ARN, RoleARN: form.Get("RoleArn"), SourceIdentity: form.Get("SourceIdentity")}
	if _, err := parseRoleARN(session.RoleARN); err != nil && !s.iam.hasARN(session.RoleARN) {
		return nil, err
	}
	if err := session.setPolicies(form); err != nil {
		return nil, err
	}
	if err := session.setTags(form, req.caller.session); err != nil {
		return nil, err
	}
	if err := session.inheritSourceIdentity(req.caller.session); err != nil {
		return nil, err
	}
	mfa, err := s.iam.verifyMFA(req.caller, form, s.options.Clock.Now())
	if err != nil {
		return nil, err
	}
	session.MFA = mfa
	role, err := s.authorizedRole(req, session)
	if err != nil {
		return nil, err
	}
	duration := durationOf(form, defaultRoleDuration)
	if err := role.checkDuration(duration, req.caller.isRole()); err != nil {
		return nil, err
	}
	if err := session.pack(); err != nil {
		return nil, err
	}
	holder := role.holder(form.Get("RoleSessionName"))
	return assumeRoleResult{
		Credentials:      s.issue(req, session, holder, duration),
		AssumedRoleUser:  s.assumedRoleUser(holder),
		SourceIdentity:   session.SourceIdentity,
		PackedPolicySize: session.PackedPolicySize,
	}, nil
}

func parseRoleARN(roleARN string) (arn.ARN, error) {
	parsed, err := arn.Parse(roleARN)
	if err != nil || parsed.Service != "iam" || !strings.HasPrefix(parsed.Resource, "role/") {
		return arn.ARN{}, newError("ValidationError", "Request ARN is invalid")
	}
	return parsed, nil
}

// authorizedRole returns the role if the caller's policy and the role's trust policy allow the request. A role that does not exist or is in
// another partition is denied with the same message.
func (s *Server) authorizedRole(req request, session Session) (foundRole, error) {
	role, ok := s.iam.role(session.RoleARN)
	ok = ok && role.account.partition() == req.caller.partition()
	actions := []string{actionAssumeRole}
	if len(session.Tags) > 0 {
		actions = append(actions, actionTagSession)
	}
	if session.SourceIdentity != "" {
		actions = append(actions, actionSetSourceIdentity)
	}
	who := applicant{
		principal: req.caller, externalID: req.form.Get("ExternalId"),
		mfa: session.MFA || req.caller.hasMFA(), claims: requestClaims(req.form),
	}
	for _, action := range actions {
		if !ok || !req.caller.allows(session.RoleARN) || !role.allows(who, action) {
			return foundRole{}, notAuthorized(req.caller, action, session.RoleARN)
		}
	}
	return role, checkRegion(role.account, req.region)
}

// requestClaims returns the condition keys of a request with their values.
func requestClaims(form url.Values) map[string]string {
	claims := map[string]string{roleSessionName: form.Get("RoleSessionName")}
	values := memberValues(form, "Tags", "Value")
	for i, key := range memberValues(form, "Tags", "Key") {
		claims[requestTag+key] = values[i]
	}
	return claims
}

// checkDuration rejects a duration longer than the role allows, or role chaining.
func (r foundRole) checkDuration(seconds int, chained bool) error {
	if chained && seconds > maxChainedDuration {
		return newError("ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	if seconds > r.maxSessionDuration() {
		return newError("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return nil
}

type assumeRoleResult struct {
	SourceIdentity   string          `xml:"SourceIdentity,omitempty"`
	AssumedRoleUser  assumedRoleUser `xml:"AssumedRoleUser"`
	Credentials      credentials     `xml:"Credentials"`
	PackedPolicySize int             `xml:"PackedPolicySize,omitempty"`
}

type assumedRoleUser struct {
	AssumedRoleID string `xml:"AssumedRoleId" json:"assumedRoleId"`
	ARN           string `xml:"Arn" json:"arn"`
}

// assumedRoleUser is empty for MinIO.
func (s *Server) assumedRoleUser(holder principal) assumedRoleUser {
	if s.options.Flavour == FlavourMinIO {
		return assumedRoleUser{}
	}
	return assumedRoleUser{AssumedRoleID: holder.UserID, ARN: holder.ARN}
}
