package stsemulator

import (
	"slices"
)

// The emulator has no providers of OAuth 2.0 access tokens, which ProviderId names.
var assumeRoleWithWebIdentityBounds = slices.Concat(roleBounds, []bound{
	{name: "WebIdentityToken", required: true, min: 4, max: 20000, secret: true},
})

// assumeRoleWithWebIdentity issues a session of a role for a token of an issuer that the role's account trusts. The call is unsigned.
func (s *Server) assumeRoleWithWebIdentity(req request) (any, error) {
	session := Session{RoleARN: req.form.Get("RoleArn")}
	roleARN, err := parseRoleARN(session.RoleARN)
	if err != nil {
		return nil, err
	}
	if err := session.setPolicies(req.form); err != nil {
		return nil, err
	}
	who, err := s.identify(req, roleARN.AccountID)
	if err != nil {
		return nil, err
	}
	role, ok := s.iam.role(session.RoleARN)
	if !ok || !role.allows(who.applicant(), actionAssumeRoleWithWebIdentity) {
		return nil, newError("AccessDenied", "Not authorized to perform %s", actionAssumeRoleWithWebIdentity)
	}
	if err := checkRegion(role.account, s.options.Region); err != nil {
		return nil, err
	}
	duration := durationOf(req.form, defaultRoleDuration)
	if err := role.checkDuration(duration, false); err != nil {
		return nil, err
	}
	if err := session.pack(); err != nil {
		return nil, err
	}
	session.CallerARN, session.Subject, session.Audience = who.providerARN, who.subject, who.audience
	holder := role.holder(req.form.Get("RoleSessionName"))
	return webIdentityResult{
		Credentials:      s.issue(req, session, holder, duration),
		AssumedRoleUser:  s.assumedRoleUser(holder),
		PackedPolicySize: session.PackedPolicySize,
		Subject:          who.subject, Audience: who.audience, Provider: who.providerARN,
	}, nil
}

// webIdentity is the identity of a token.
type webIdentity struct {
	provider          OIDCProvider
	providerARN       string
	subject, audience string
}

func (w webIdentity) applicant() applicant {
	return applicant{federated: w.providerARN, claims: map[string]string{
		w.provider.name() + ":sub": w.subject,
		w.provider.name() + ":aud": w.audience,
	}}
}

// identify verifies the request's token for an account.
func (s *Server) identify(req request, accountID string) (webIdentity, error) {
	token, err := parseToken(req.form.Get("WebIdentityToken"))
	if err != nil {
		return webIdentity{}, err
	}
	provider, providerARN, ok := s.iam.provider(accountID, token.claims.Issuer)
	if !ok {
		return webIdentity{}, newError("InvalidIdentityToken", "No OpenIDConnect provider found in your account for %s", token.claims.Issuer)
	}
	keys, err := provider.keys(req.ctx)
	if err != nil {
		return webIdentity{}, err
	}
	if err := token.verify(keys); err != nil {
		return webIdentity{}, err
	}
	if err := token.claims.checkTimes(s.options.TokenClock.Now()); err != nil {
		return webIdentity{}, err
	}
	if token.claims.Subject == "" {
		return webIdentity{}, rejectedClaim()
	}
	at := slices.IndexFunc(token.claims.Audience, func(aud string) bool { return slices.Contains(provider.ClientIDs, aud) })
	if at < 0 {
		return webIdentity{}, newError("InvalidIdentityToken", "Incorrect token audience")
	}
	return webIdentity{
		provider: provider, providerARN: providerARN,
		subject: token.claims.Subject, audience: token.claims.Audience[at],
	}, nil
}

type webIdentityResult struct {
	Credentials      credentials     `xml:"Credentials"`
	Subject          string          `xml:"SubjectFromWebIdentityToken"`
	AssumedRoleUser  assumedRoleUser `xml:"AssumedRoleUser"`
	PackedPolicySize int             `xml:"PackedPolicySize,omitempty"`
	Provider         string          `xml:"Provider"`
	Audience         string          `xml:"Audience"`
}
