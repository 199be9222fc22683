package stsemulator

import (
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Call is one request for STS as it was received and answered. It holds
// nothing secret: no signature, secret key or session token.
type Call struct {
	Time   time.Time `json:"time"`
	Action string    `json:"action"`
	// Parameters are the form as received, Action and Version included. Web
	// identity tokens and SAML assertions, which are secrets, are left out; an MFA
	// code, which is of no use twice, is not.
	Parameters url.Values `json:"parameters"`
	// AccessKeyID is the one that the request says it is signed with, empty for
	// what nobody signs.
	AccessKeyID string `json:"accessKeyID,omitempty"`
	// CallerARN is whose key that is, once the signature is verified.
	CallerARN string `json:"callerARN,omitempty"`
	// Region is of the signature's credential scope.
	Region string `json:"region,omitempty"`
	// RequestID is what the answer carried.
	RequestID string `json:"requestID"`
	// Status is the answer's HTTP status: 0 while there is none, or when the
	// connection was cut.
	Status int `json:"status"`
	// Code is the answer's error code, empty for a success.
	Code string `json:"code,omitempty"`
	// IssuedAccessKeyID is of the session that the call created.
	IssuedAccessKeyID string `json:"issuedAccessKeyID,omitempty"`
	// Faults are those that were applied to the call.
	Faults []FaultKind `json:"faults,omitempty"`
}

// maxCalls bounds the memory of an emulator left running; beyond it the oldest tenth goes.
const maxCalls = 100_000

// ledger is the calls received, in order.
type ledger struct {
	mu    sync.Mutex
	calls []*Call
}

// add keeps a call; what becomes of it is told by update.
func (l *ledger) add(c Call) *Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.calls) == maxCalls {
		l.calls = slices.Delete(l.calls, 0, maxCalls/10)
	}
	l.calls = append(l.calls, &c)
	return &c
}

func (l *ledger) update(c *Call, change func(*Call)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(c)
}

func (l *ledger) list() []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := make([]Call, 0, len(l.calls))
	for _, c := range l.calls {
		listed := *c
		listed.Parameters, listed.Faults = maps.Clone(c.Parameters), slices.Clone(c.Faults)
		calls = append(calls, listed)
	}
	return calls
}

func (l *ledger) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = nil
}

// withoutSecrets is the form without the parameters that are credentials themselves.
func withoutSecrets(form url.Values) url.Values {
	kept := maps.Clone(form)
	for _, secret := range []string{"WebIdentityToken", "SAMLAssertion"} {
		delete(kept, secret)
	}
	return kept
}
