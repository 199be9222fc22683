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

// Session is what a call created that issues credentials. It holds neither its
// secret key nor its session token.
type Session struct {
	// Action is the call: AssumeRole, AssumeRoleWithWebIdentity, GetSessionToken
	// or GetFederationToken.
	Action      string `json:"action"`
	AccessKeyID string `json:"accessKeyID"`
	// ARN and UserID are what GetCallerIdentity says of the session: the
	// assumed-role ARN and the role's id with the session's name, the user's own,
	// or the federated user's.
	ARN    string `json:"arn"`
	UserID string `json:"userID"`
	// RoleARN is empty for the sessions of users.
	RoleARN string `json:"roleARN,omitempty"`
	// CallerARN is who made the call: with a web identity, its provider's ARN.
	CallerARN string `json:"callerARN"`
	// Subject and Audience are of a web identity's token.
	Subject  string `json:"subject,omitempty"`
	Audience string `json:"audience,omitempty"`
	// MFA is whether a code of an MFA device came with the call.
	MFA    bool      `json:"mfa,omitempty"`
	Issued time.Time `json:"issued"`
	// Expiration is what the caller was told; from then on the session is refused.
	Expiration     time.Time `json:"expiration"`
	SourceIdentity string    `json:"sourceIdentity,omitempty"`
	Policy         string    `json:"policy,omitempty"`
	PolicyARNs     []string  `json:"policyARNs,omitempty"`
	// Tags include those inherited over a chain.
	Tags map[string]string `json:"tags,omitempty"`
	// TransitiveTagKeys are the keys that sessions assumed from this one inherit.
	TransitiveTagKeys []string `json:"transitiveTagKeys,omitempty"`
	// PackedPolicySize is in percent of what STS takes, 0 when nothing was packed.
	PackedPolicySize int `json:"packedPolicySize,omitempty"`
}

// heldSession is a session with what it takes to recognise it. Of the token
// only a hash is kept: it comes along with every request.
type heldSession struct {
	Session
	number    int // in the order of issue, which the time of issue, in whole seconds, does not tell
	principal principal
	secret    string
	tokenHash [sha256.Size]byte
}

func (h *heldSession) hasToken(token string) bool {
	hash := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(hash[:], h.tokenHash[:]) == 1
}

// sessions are those issued. Expired ones are remembered for an hour, so that
// they are refused as expired, and not as unknown.
type sessions struct {
	mu      sync.RWMutex
	byKey   map[string]*heldSession
	sweepAt int
	issued  int
}

const (
	rememberExpired = time.Hour
	minSweep        = 1024
)

func (s *sessions) add(h *heldSession, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil {
		s.byKey = map[string]*heldSession{}
	}
	if len(s.byKey) >= max(s.sweepAt, minSweep) {
		maps.DeleteFunc(s.byKey, func(_ string, h *heldSession) bool {
			return now.Sub(h.Expiration) > rememberExpired
		})
		s.sweepAt = 2 * len(s.byKey) // so that a sweep costs each session but once
	}
	s.issued++
	h.number = s.issued
	s.byKey[h.AccessKeyID] = h
}

func (s *sessions) find(accessKeyID string) (*heldSession, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h, ok := s.byKey[accessKeyID]
	return h, ok
}

// list is in the order of issue.
func (s *sessions) list() []Session {
	s.mu.RLock()
	defer s.mu.RUnlock()
	held := slices.SortedFunc(maps.Values(s.byKey), func(a, b *heldSession) int { return cmp.Compare(a.number, b.number) })
	listed := make([]Session, len(held))
	for i, h := range held {
		listed[i] = h.Session
	}
	return listed
}
