package stsemulator

import "crypto/subtle"

// Calls returns the requests for STS in order of arrival.
func (s *Server) Calls() []Call { return s.calls.list() }

// ClearCalls deletes the recorded calls.
func (s *Server) ClearCalls() { s.calls.clear() }

// Sessions returns the issued sessions in order, including expired ones.
func (s *Server) Sessions() []Session { return s.sessions.list() }

// Session returns the session with an access key ID.
func (s *Server) Session(accessKeyID string) (Session, bool) {
	if session, ok := s.sessions.find(accessKeyID); ok {
		return session.Session, true
	}
	return Session{}, false
}

// SessionOf returns the session of a set of keys, expired or not. It returns false for parts of several sessions, and for keys that were
// not issued.
func (s *Server) SessionOf(accessKeyID, secretAccessKey, sessionToken string) (Session, bool) {
	session, ok := s.sessions.find(accessKeyID)
	if !ok || subtle.ConstantTimeCompare([]byte(session.secret), []byte(secretAccessKey)) != 1 || !session.hasToken(sessionToken) {
		return Session{}, false
	}
	return session.Session, true
}

// SetFault adds a fault and returns its ID. It returns an error for an invalid fault.
func (s *Server) SetFault(f Fault) (string, error) { return s.faults.set(f) }

// Faults returns the active faults.
func (s *Server) Faults() []Fault { return s.faults.list() }

// ClearFault removes a fault, if it is active.
func (s *Server) ClearFault(id string) { s.faults.clear(func(f Fault) bool { return f.ID == id }) }

// ClearFaults removes all faults.
func (s *Server) ClearFaults() { s.faults.clear(func(Fault) bool { return true }) }

// Reset deletes the recorded calls and all faults. Keys, devices, providers, trust anchors, profiles, roles and sessions remain.
func (s *Server) Reset() {
	s.ClearCalls()
	s.ClearFaults()
}

// AccessKeys returns a user's keys with their secrets, none for an unknown user.
func (s *Server) AccessKeys(userARN string) []AccessKey { return s.iam.keysOf(userARN) }

// CreateAccessKey adds an active key to a user.
func (s *Server) CreateAccessKey(userARN string) (AccessKey, error) {
	return s.iam.createKey(userARN, false)
}

// RotateAccessKeys creates a key of a user and deletes all others.
func (s *Server) RotateAccessKeys(userARN string) (AccessKey, error) {
	return s.iam.createKey(userARN, true)
}

// SetAccessKeyActive activates or deactivates a key.
func (s *Server) SetAccessKeyActive(id string, active bool) error {
	return s.iam.changeKey(id, func(k *userKey) { k.Inactive = !active })
}

// DeleteAccessKey deletes a key.
func (s *Server) DeleteAccessKey(id string) error { return s.iam.changeKey(id, nil) }

// PutRole adds a role to an account, or replaces the role of that name.
func (s *Server) PutRole(accountID string, r Role) error { return s.iam.putRole(accountID, r) }

// SetTrust replaces a role's trust policy. If the role matches only a pattern, it gets an entry of its own.
func (s *Server) SetTrust(roleARN string, trust ...Trust) error {
	return s.iam.setTrust(roleARN, trust)
}

// PutMFADevice adds an MFA device to a user, or replaces the seed of the device of that name. It returns the serial number. A new seed also
// deletes the record of used codes.
func (s *Server) PutMFADevice(userARN string, d MFADevice) (serial string, err error) {
	return s.iam.putDevice(userARN, d)
}

// DeleteMFADevice deletes a device.
func (s *Server) DeleteMFADevice(serial string) error { return s.iam.deleteDevice(serial) }

// PutOIDCProvider adds an OpenID Connect provider to an account, or replaces the one of that issuer, and returns its ARN. Its JWKS may be
// the response of a kube-apiserver at /openid/v1/jwks.
func (s *Server) PutOIDCProvider(accountID string, p OIDCProvider) (providerARN string, err error) {
	return s.iam.putProvider(accountID, p)
}

// PutTrustAnchor adds a trust anchor to the account of its ARN, or replaces the one with its ARN.
func (s *Server) PutTrustAnchor(t TrustAnchor) error { return s.iam.putTrustAnchor(t) }

// PutProfile adds a profile to the account of its ARN, or replaces the one with its ARN.
func (s *Server) PutProfile(p Profile) error { return s.iam.putProfile(p) }
