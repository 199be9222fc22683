// Package stsemulator emulates an AWS Security Token Service, and CreateSession of IAM Roles Anywhere, for tests and the demo.
//
// It implements the AWS query protocol of version 2011-06-15 over HTTP, verifies Signature Version 4, has the bounds, error codes and
// messages of the STS API Reference, and recognises the sessions that it issued. It records calls, and injects the faults that a client
// must tolerate. CreateSession is REST with JSON, on the same listener.
//
// All state is in memory. The admin endpoint has no authentication: use the emulator on loopback only, without valuable data.
package stsemulator

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/utils/clock"
)

// Server is the emulator. It is an http.Handler for STS and its admin endpoint. Its methods are safe for concurrent use.
type Server struct {
	options  Options
	after    func(time.Duration) <-chan time.Time
	iam      *iam
	sessions sessions
	calls    ledger
	faults   faults
	admin    http.Handler
}

// New returns an emulator of the accounts in cfg.
func New(cfg Config, opts Options) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := opts.complete(); err != nil {
		return nil, err
	}
	s := &Server{options: opts, after: clock.RealClock{}.After, iam: newIAM(cfg)}
	if c, ok := opts.Clock.(clock.Clock); ok {
		s.after = c.After
	}
	s.admin = s.adminHandler()
	return s, nil
}

const (
	apiVersion = "2011-06-15"
	namespace  = "https://sts.amazonaws.com/doc/2011-06-15/"
	maxBody    = 1 << 20
)

// callers are the callers that may make a call, apart from policies.
type callers int

const (
	anyone   callers = iota
	users            // not sessions
	unsigned         // the call is not signed
)

// operation is one action of the API.
type operation struct {
	callers callers
	bounds  []bound
	serve   func(*Server, request) (result any, err error)
}

var operations = map[string]operation{
	"AssumeRole":                {anyone, assumeRoleBounds, (*Server).assumeRole},
	"AssumeRoleWithWebIdentity": {unsigned, assumeRoleWithWebIdentityBounds, (*Server).assumeRoleWithWebIdentity},
	"GetCallerIdentity":         {anyone, nil, (*Server).getCallerIdentity},
	"GetFederationToken":        {users, getFederationTokenBounds, (*Server).getFederationToken},
	"GetSessionToken":           {users, getSessionTokenBounds, (*Server).getSessionToken},
}

// request is a call with a verified signature and valid parameters.
type request struct {
	ctx    context.Context
	form   url.Values
	caller principal
	region string
	call   *Call
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, AdminPath) {
		s.admin.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	switch {
	case err != nil:
		http.Error(w, "request too large or cut short", http.StatusRequestEntityTooLarge)
	case r.URL.Path == sessionsPath && r.Method == http.MethodPost && s.options.Flavour == FlavourAWS:
		s.serveCreateSession(w, r, body)
	default:
		s.serveSTS(w, r, body)
	}
}

// begin records a call and applies faults. It returns whether a fault replaced the response.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, f format, c Call) (call *Call, done bool) {
	c.Time, c.RequestID = s.options.Clock.Now().UTC(), newRequestID()
	matched := s.faults.consume(c.Action, c.roleARN(), s.options.Clock.Now())
	for _, fault := range matched {
		c.Faults = append(c.Faults, fault.Kind)
	}
	call = s.calls.add(c)
	w.Header().Set("Date", s.options.SignatureClock.Now().UTC().Format(http.TimeFormat))
	w.Header().Set("X-Amzn-Requestid", call.RequestID)
	return call, s.apply(w, r, call, matched, f)
}

func (s *Server) serveSTS(w http.ResponseWriter, r *http.Request, body []byte) {
	form, formErr := url.ParseQuery(string(body))
	auth, authErr := parseAuthorization(r.Header)
	call, done := s.begin(w, r, queryFormat, Call{
		Action: form.Get("Action"), Parameters: withoutSecrets(form), AccessKeyID: auth.accessKeyID, Region: auth.region,
	})
	if done {
		return
	}
	if formErr != nil {
		s.answerError(w, call, newError("MalformedInput", "The request body is not a valid form."), queryFormat)
		return
	}
	op, ok := operations[form.Get("Action")]
	if !ok || form.Get("Version") != apiVersion || !s.offers(form.Get("Action")) {
		s.answerError(w, call, unknownAction(s.options.Flavour, form.Get("Action"), form.Get("Version")), queryFormat)
		return
	}
	caller, err := principal{}, authErr
	switch {
	case op.callers == unsigned:
		err = nil
	case err == nil:
		caller, err = s.authenticate(r, auth, body)
	}
	if err != nil {
		f := queryFormat
		if s.options.Flavour == FlavourMinIO {
			f = s3Format
		}
		s.answerError(w, call, err, f)
		return
	}
	s.calls.update(call, func(c *Call) { c.CallerARN = caller.ARN })
	s.serveOperation(w, op, request{ctx: r.Context(), form: form, caller: caller, region: auth.region, call: call})
}

// offers returns whether the server's flavour has an action.
func (s *Server) offers(action string) bool {
	return s.options.Flavour != FlavourMinIO || action == "AssumeRole"
}

func (s *Server) serveOperation(w http.ResponseWriter, op operation, req request) {
	err := validate(req.form, op.bounds)
	if err == nil && op.callers == users && req.caller.session != nil {
		err = newError("AccessDenied", "Cannot call %s with session credentials", req.call.Action)
	}
	var result any
	if err == nil {
		result, err = op.serve(s, req)
	}
	if err != nil {
		s.answerError(w, req.call, err, queryFormat)
		return
	}
	body, err := response(req.call.Action, result, req.call.RequestID)
	if err != nil {
		s.answerError(w, req.call, newError("InternalFailure", "%s", err), queryFormat)
		return
	}
	s.answer(w, req.call, queryFormat, http.StatusOK, "", body)
}
