package stsemulator

import "crypto/subtle"

// Calls are the requests for STS received so far, in order of arrival.
func (s *Server) Calls() []Call { return s.calls.list() }

// ClearCalls forgets the calls received so far.
func (s *Server) ClearCalls() { s.calls.clear() }

// Sessions are those issued, expired or not, in order of issue.
func (s *Server) Sessions() []Session { return s.sessions.list() }

// Session is the one with an access key id.
func (s *Server) Session(accessKeyID string) (Session, bool) {
	if held, ok := s.sessions.find(accessKeyID); ok {
		return held.Session, true
	}
	return Session{}, false
}

// Holder is the session that all three parts of a credential are of, expired or
// not. It is false for parts of several sessions, and for any that was not issued.
func (s *Server) Holder(accessKeyID, secretAccessKey, sessionToken string) (Session, bool) {
	held, ok := s.sessions.find(accessKeyID)
	if !ok || subtle.ConstantTimeCompare([]byte(held.secret), []byte(secretAccessKey)) != 1 || !held.hasToken(sessionToken) {
		return Session{}, false
	}
	return held.Session, true
}

// SetFault switches a fault on and returns its ID. It fails for one that makes no sense.
func (s *Server) SetFault(f Fault) (string, error) { return s.faults.set(f) }

// Faults are those switched on.
func (s *Server) Faults() []Fault { return s.faults.list() }

// ClearFault switches one fault off, if it is on.
func (s *Server) ClearFault(id string) { s.faults.clear(func(f Fault) bool { return f.ID == id }) }

// ClearFaults switches every fault off.
func (s *Server) ClearFaults() { s.faults.clear(func(Fault) bool { return true }) }

// Reset forgets the calls and switches every fault off. Keys, devices, providers,
// roles and sessions remain.
func (s *Server) Reset() {
	s.ClearCalls()
	s.ClearFaults()
}

// AccessKeys are a user's keys, with their secrets. A user that does not exist has none.
func (s *Server) AccessKeys(userARN string) []AccessKey { return s.iam.keysOf(userARN) }

// CreateAccessKey gives a user a further, active key.
func (s *Server) CreateAccessKey(userARN string) (AccessKey, error) {
	return s.iam.createKey(userARN, false)
}

// RotateAccessKeys gives a user a new key and takes all others away.
func (s *Server) RotateAccessKeys(userARN string) (AccessKey, error) {
	return s.iam.createKey(userARN, true)
}

// SetAccessKeyActive activates or deactivates a key.
func (s *Server) SetAccessKeyActive(id string, active bool) error {
	return s.iam.changeKey(id, func(k *userKey) { k.Inactive = !active })
}

// DeleteAccessKey takes a key away.
func (s *Server) DeleteAccessKey(id string) error { return s.iam.changeKey(id, nil) }

// PutRole adds a role to an account, or replaces the one of that name.
func (s *Server) PutRole(accountID string, r Role) error { return s.iam.putRole(accountID, r) }

// SetTrust replaces a role's trust policy; none is nobody. Of a role that only
// a pattern names, it makes one of its own.
func (s *Server) SetTrust(roleARN string, trust ...Trust) error {
	return s.iam.setTrust(roleARN, trust)
}

// PutMFADevice gives a user an MFA device, or the one of that name another seed,
// and returns its serial number. Codes that the old one showed are forgotten.
func (s *Server) PutMFADevice(userARN string, d MFADevice) (serial string, err error) {
	return s.iam.putDevice(userARN, d)
}

// DeleteMFADevice takes a device away.
func (s *Server) DeleteMFADevice(serial string) error { return s.iam.deleteDevice(serial) }

// PutOIDCProvider adds an OpenID Connect provider to an account, or replaces the
// one of that issuer, and returns its ARN. What a kube-apiserver answers at
// /openid/v1/jwks may stand in its JWKS.
func (s *Server) PutOIDCProvider(accountID string, p OIDCProvider) (providerARN string, err error) {
	return s.iam.putProvider(accountID, p)
}
