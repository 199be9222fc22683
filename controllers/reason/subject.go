package reason

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"rolecredential.dev/operator/api/v1alpha1"
)

// Subject names the parts of an STS call, for messages.
type Subject struct {
	Identity        string        // kind and name
	Caller          string        // ARN, empty if it is not known, and for a hop
	ServiceAccount  string        // the subject of the token that authenticates the call or the first hop's call; empty for none
	Call            v1alpha1.Call // the action of STS
	RoleARN         string        // the requested role, empty for a call without one
	Endpoint        string        // the identity's endpoint, empty for AWS's own
	Region          string        // the region that requests are signed for
	SessionEndpoint string        // the endpoint of IAM Roles Anywhere, empty for AWS's own
	OptionalFields  []string      // the optional fields that the call has parameters for, by their names in the API

	MFA               bool // the call has an MFA code
	SetsSessionTags   bool // the identity sets session tags
	Hop               bool // the role is one of the identity's chain
	HasSourceIdentity bool // the chain starts with CreateSession, whose sessions have a source identity
	SendsName         bool // the profile of IAM Roles Anywhere accepts session names
	ClockInSync       bool // the clock of STS was measured, and agrees with the operator's
}

func (s Subject) caller() string {
	caller := cmp.Or(s.Caller, s.ServiceAccount)
	if caller == "" {
		return s.Identity
	}
	return caller + " (" + s.Identity + ")"
}

// action names the call, and its hop if it has one.
func (s Subject) action() string {
	if !s.Hop {
		return string(s.Call)
	}
	return fmt.Sprintf("%s on %s, a hop in the chain of %s,", s.Call, s.RoleARN, s.Identity)
}

// service names the service of the call.
func (s Subject) service() string {
	if s.Call == v1alpha1.CallCreateSession {
		return "IAM Roles Anywhere"
	}
	return "STS"
}

// endpoint is the URL of the called server, empty for AWS's own.
func (s Subject) endpoint() string {
	if s.Call == v1alpha1.CallCreateSession {
		return s.SessionEndpoint
	}
	return s.Endpoint
}

// endpointField names the field of the identity that sets the endpoint.
func (s Subject) endpointField() string {
	if s.Call == v1alpha1.CallCreateSession {
		return "source.x509.endpoint"
	}
	return "endpoint"
}

// server names the called server.
func (s Subject) server() string {
	if s.endpoint() == "" {
		return "the server reached as " + s.service()
	}
	return "the endpoint " + s.shownEndpoint()
}

// shownEndpoint is the endpoint without a user and a query. The schema rejects these, but an older object may have them.
func (s Subject) shownEndpoint() string {
	parsed, err := url.Parse(s.endpoint())
	if err != nil {
		return "of " + s.Identity
	}
	return (&url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}).String()
}

// Answer is a server's answer to a failed call. It has only parts that are the same for each attempt.
type Answer struct {
	Code     string // the error code of STS, empty if the answer has none that is fit for a message
	Status   int    // the HTTP status, 0 without an answer
	Flaw     Flaw   // zero for an error of STS
	Redirect string // the scheme and host that the answer redirects to, empty if it names none
}

// Flaw says why an answer is not an error of STS.
type Flaw int

// Flaws of an answer.
const (
	FlawNoError       Flaw = iota + 1 // the body is no error document, but a page, a text or nothing
	FlawRedirect                      // the server redirects the request
	FlawNoCredentials                 // the server reports success without usable credentials
	FlawExpired                       // the server reports success with credentials that have expired
	FlawUnsupported                   // the server does not support the call, or a parameter of it
	FlawCertificate                   // the server's certificate is not trusted, so that nothing was sent
	FlawSource                        // the source got the answer: STS was not called as the identity
)

// String returns the code and the status in parentheses after a blank, and nothing without both.
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
