package stsemulator

import "slices"

// userDuration is the default of GetSessionToken and GetFederationToken.
const userDuration = 43200

var getSessionTokenBounds = slices.Concat(mfaBounds, []bound{durationBound(129600)})

// getSessionToken issues a session of the user itself. It needs no permission.
func (s *Server) getSessionToken(req request) (any, error) {
	mfa, err := s.iam.verifyMFA(req.caller, req.form, s.options.Clock.Now())
	if err != nil {
		return nil, err
	}
	if err := checkRegion(s.iam.account(req.caller.Account), req.region); err != nil {
		return nil, err
	}
	session := Session{CallerARN: req.caller.ARN, MFA: mfa}
	return sessionTokenResult{s.issue(req, session, req.caller, durationOf(req.form, userDuration))}, nil
}

type sessionTokenResult struct {
	Credentials credentials `xml:"Credentials"`
}
