package stsemulator

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"maps"
	"slices"
	"sync"
	"time"
)

// Session is the result of a call that issues credentials, without its secret key and session token.
type Session struct {
	// Action is AssumeRole, AssumeRoleWithWebIdentity, CreateSession, GetSessionToken or GetFederationToken.
	Action      string `json:"action"`
	AccessKeyID string `json:"accessKeyID"`
	// ARN and UserID are the session's identity in GetCallerIdentity: of the assumed role, of the user itself, or of the federated user.
	ARN    string `json:"arn"`
	UserID string `json:"userID"`
	// RoleARN is empty for sessions of users.
	RoleARN string `json:"roleARN,omitempty"`
	// CallerARN is the caller; for a web identity, its provider; for a certificate, its subject in IAM Roles Anywhere.
	CallerARN string `json:"callerARN"`
	// Subject and Audience are claims of a web identity's token. For a certificate, Subject is its distinguished name.
	Subject  string `json:"subject,omitempty"`
	Audience string `json:"audience,omitempty"`
	// MFA is whether the call had an MFA code.
	MFA    bool      `json:"mfa,omitempty"`
	Issued time.Time `json:"issued"`
	// Expiration is the time in the response. From then on the session is rejected.
	Expiration     time.Time `json:"expiration"`
	SourceIdentity string    `json:"sourceIdentity,omitempty"`
	Policy         string    `json:"policy,omitempty"`
	PolicyARNs     []string  `json:"policyARNs,omitempty"`
	// Tags include those inherited over a chain.
	Tags map[string]string `json:"tags,omitempty"`
	// TransitiveTagKeys are the keys that sessions assumed from this one inherit.
	TransitiveTagKeys []string `json:"transitiveTagKeys,omitempty"`
	// PackedPolicySize is in percent of the limit, 0 without policies and tags.
	PackedPolicySize int `json:"packedPolicySize,omitempty"`
}

// storedSession is a session with the data to recognise it. It contains only a hash of the token, which each request contains.
type storedSession struct {
	Session
	number    int // the order of issue; the time of issue has a resolution of a second
	principal principal
	secret    string
	tokenHash [sha256.Size]byte
}

func (h *storedSession) hasToken(token string) bool {
	hash := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(hash[:], h.tokenHash[:]) == 1
}

// sessions are the issued sessions. Expired ones are kept for an hour, so that they are rejected as expired, not as unknown.
type sessions struct {
	mu      sync.RWMutex
	byKey   map[string]*storedSession
	sweepAt int
	issued  int
}

const (
	rememberExpired = time.Hour
	minSweep        = 1024
)

func (s *sessions) add(h *storedSession, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil {
		s.byKey = map[string]*storedSession{}
	}
	if len(s.byKey) >= max(s.sweepAt, minSweep) {
		maps.DeleteFunc(s.byKey, func(_ string, h *storedSession) bool {
			return now.Sub(h.Expiration) > rememberExpired
		})
		s.sweepAt = 2 * len(s.byKey) // so that sweeps have a constant cost per session
	}
	s.issued++
	h.number = s.issued
	s.byKey[h.AccessKeyID] = h
}

func (s *sessions) find(accessKeyID string) (*storedSession, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h, ok := s.byKey[accessKeyID]
	return h, ok
}

// list returns the sessions in the order of issue.
func (s *sessions) list() []Session {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sorted := slices.SortedFunc(maps.Values(s.byKey), func(a, b *storedSession) int { return cmp.Compare(a.number, b.number) })
	listed := make([]Session, len(sorted))
	for i, h := range sorted {
		listed[i] = h.Session
	}
	return listed
}
