package reason

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"rolecredential.dev/operator/api/v1alpha1"
)

// Subject is what a message about a call of STS names.
type Subject struct {
	// Identity is the kind and name of the identity.
	Identity string
	// Caller is the ARN of the identity's caller, empty if it is not known.
	Caller string
	// ServiceAccount is the subject of the token that goes with the call, or with the first hop's call; empty for none.
	ServiceAccount string
	// Call is the action of STS.
	Call v1alpha1.Call
	// RoleARN is the requested role, empty for a call without one.
	RoleARN string
	// Endpoint is the identity's endpoint, empty for AWS's own.
	Endpoint string
	// Region is the region that requests are signed for.
	Region string
	// OptionalFields are the optional fields that the call carries parameters for, as a user reads them.
	OptionalFields []string
	// MFA is true if an MFA code goes with the call.
	MFA bool
	// SetsSessionTags is true if the identity puts session tags on the session.
	SetsSessionTags bool
	// Hop is true if the role is one of the identity's chain.
	Hop bool
	// ClockInSync is true if the clock of STS was measured, and agrees with the operator's.
	ClockInSync bool
}

func (s Subject) caller() string {
	caller := cmp.Or(s.Caller, s.ServiceAccount)
	if caller == "" {
		return s.Identity
	}
	return caller + " (" + s.Identity + ")"
}

// action names the call, and the hop that it is for.
func (s Subject) action() string {
	if !s.Hop {
		return string(s.Call)
	}
	return fmt.Sprintf("%s on %s, a hop in the chain of %s,", s.Call, s.RoleARN, s.Identity)
}

// server names the server that the call went to.
func (s Subject) server() string {
	if s.Endpoint == "" {
		return "the server reached as STS"
	}
	return "the endpoint " + s.shownEndpoint()
}

// shownEndpoint is the endpoint without a user and a query, which the schema refuses and an older object may hold.
func (s Subject) shownEndpoint() string {
	parsed, err := url.Parse(s.Endpoint)
	if err != nil {
		return "of " + s.Identity
	}
	return (&url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}).String()
}

// Answer is what a server answered to a failed call. It holds only what is the same for each try.
type Answer struct {
	// Code is the error code of STS, empty if the answer holds none that can stand in a message.
	Code string
	// Status is the HTTP status, 0 if there was no answer.
	Status int
	// Flaw is set if the answer is no plain error of STS.
	Flaw Flaw
	// Redirect is the scheme and host that the answer redirects to, empty if it names none.
	Redirect string
}

// Flaw is what makes an answer something else than an error of STS.
type Flaw int

// Flaws of an answer.
const (
	// FlawNoError: the body is no error document, but a page, a text or nothing.
	FlawNoError Flaw = iota + 1
	// FlawRedirect: the server redirects the request.
	FlawRedirect
	// FlawNoCredentials: the server reports success without credentials that can be used.
	FlawNoCredentials
	// FlawExpired: the server reports success with credentials that have expired already.
	FlawExpired
	// FlawUnsupported: the server does not support the call, or a parameter of it.
	FlawUnsupported
	// FlawCertificate: the server's certificate is not trusted, so that nothing was sent.
	FlawCertificate
	// FlawSource: the answer is one to the source, on the way to the credentials. STS was not called as the identity.
	FlawSource
)

// String returns the code and the status in parentheses after a blank, as messages end a clause with them; nothing without both.
func (a Answer) String() string {
	var parts []string
	if a.Code != "" {
		parts = append(parts, a.Code)
	}
	if a.Status != 0 {
		parts = append(parts, "HTTP "+strconv.Itoa(a.Status))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
