package stsemulator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Call is one request for STS or IAM Roles Anywhere and its result. It contains no signature, secret key or session token.
type Call struct {
	Time   time.Time `json:"time"`
	Action string    `json:"action"`
	// Parameters are the form parameters, with Action and Version, or those of CreateSession under their own names. Web identity tokens and
	// SAML assertions are removed, since they are secrets. An MFA code is not, since it is valid only once.
	Parameters url.Values `json:"parameters"`
	// AccessKeyID is the key in the request's signature, empty for an unsigned request. For CreateSession it is the certificate's serial
	// number in decimal.
	AccessKeyID string `json:"accessKeyID,omitempty"`
	// CallerARN is the owner of the key, once the signature is verified. For CreateSession it is the subject's ARN, once the certificate is
	// verified.
	CallerARN string `json:"callerARN,omitempty"`
	// Region is the region of the signature's credential scope.
	Region string `json:"region,omitempty"`
	// RequestID is the ID in the response.
	RequestID string `json:"requestID"`
	// Status is the HTTP status of the response, 0 before it, or if the connection was cut off.
	Status int `json:"status"`
	// Code is the error code, empty for a success.
	Code string `json:"code,omitempty"`
	// IssuedAccessKeyID is the key of the issued session.
	IssuedAccessKeyID string `json:"issuedAccessKeyID,omitempty"`
	// Faults are the faults that were applied.
	Faults []FaultKind `json:"faults,omitempty"`
}

// roleARN returns the role of a call.
func (c Call) roleARN() string {
	return cmp.Or(c.Parameters.Get("RoleArn"), c.Parameters.Get("roleArn"))
}

// FetchCalls returns the calls that a running emulator has recorded.
func FetchCalls(ctx context.Context, client *http.Client, url string) (calls []Call, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+AdminPath+"calls", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the STS emulator answered %s", response.Status)
	}
	err = json.NewDecoder(response.Body).Decode(&calls)
	return calls, err
}

// maxCalls bounds the memory of a long-running emulator. Beyond it, the oldest tenth is deleted.
const maxCalls = 100_000

// ledger records calls in order.
type ledger struct {
	mu    sync.Mutex
	calls []*Call
}

// add records a call. update records its result.
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

// withoutSecrets returns the form without parameters that are credentials.
func withoutSecrets(form url.Values) url.Values {
	retained := maps.Clone(form)
	for _, secret := range []string{"WebIdentityToken", "SAMLAssertion"} {
		delete(retained, secret)
	}
	return retained
}
