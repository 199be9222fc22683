// Package stsemulator is an AWS Security Token Service for tests and the demo.
//
// It speaks the AWS query protocol of version 2011-06-15 over HTTP, verifies
// Signature Version 4, keeps to the bounds, error codes and wording of the STS
// API Reference, and recognises the sessions that it issued. Besides, it
// records the calls it receives and can be made to fail in every way that a
// client should bear.
//
// It keeps everything in memory and its admin endpoint asks for no password:
// it is made for loopback, and for nothing of worth.
package stsemulator

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/utils/clock"
)

// Flavour is whose server the emulator takes after.
type Flavour string

// The flavours.
const (
	FlavourAWS Flavour = "aws"
	// FlavourMinIO has no GetCallerIdentity and no role chaining, leaves
	// AssumedRoleUser empty, issues access keys without a known prefix, and
	// refuses a signature with an error body in the style of S3.
	FlavourMinIO Flavour = "minio"
)

// Options are how the emulator behaves.
type Options struct {
	// Clock is the time of sessions and calls; the real one when nil.
	Clock clock.PassiveClock
	// SignatureClock is the time that signatures are compared with and that Date
	// headers tell; Clock when nil. A test that moves a fake Clock by hours sets
	// it to the real one, because the SDK signs in real time.
	SignatureClock clock.PassiveClock
	// LifetimeFraction makes sessions last that part of what was asked, more
	// than 0 and at most 1; 1 when zero. The bounds remain those of AWS.
	LifetimeFraction float64
	// SessionTokenSize is in characters, 16 to 2048; 1024 when zero. An answer
	// remains smaller than the 4 KiB that an HTTP client reads at once: of a
	// larger one that comes as fast as over loopback, the SDK may cut the rest
	// off, because it closes its request's body as soon as it has the headers.
	SessionTokenSize int
	// Region is the only one that signatures may be scoped to; any when empty.
	Region string
	// Flavour is FlavourAWS when empty.
	Flavour Flavour
}

func (o *Options) complete() error {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.SignatureClock == nil {
		o.SignatureClock = o.Clock
	}
	if o.LifetimeFraction == 0 {
		o.LifetimeFraction = 1
	}
	if o.SessionTokenSize == 0 {
		o.SessionTokenSize = 1024
	}
	if o.Flavour == "" {
		o.Flavour = FlavourAWS
	}
	switch {
	case o.LifetimeFraction < 0, o.LifetimeFraction > 1, math.IsNaN(o.LifetimeFraction):
		return fmt.Errorf("lifetime fraction must be more than 0 and at most 1")
	case o.SessionTokenSize < 16 || o.SessionTokenSize > 2048:
		return fmt.Errorf("session token size must be 16 to 2048 characters")
	case o.Region != "" && !regions.MatchString(o.Region):
		return fmt.Errorf("region %q does not look like one of AWS's", o.Region)
	case o.Flavour != FlavourAWS && o.Flavour != FlavourMinIO:
		return fmt.Errorf("no flavour %q", o.Flavour)
	}
	return nil
}

// Server is the emulator. It is an http.Handler, for STS and for its admin
// endpoint; its methods may be used at any time, by many at once.
type Server struct {
	options  Options
	after    func(time.Duration) <-chan time.Time
	iam      *iam
	sessions sessions
	calls    ledger
	faults   faults
	admin    http.Handler
}

// New makes an emulator of the accounts, users and roles in cfg.
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

// operation is one action of the API.
type operation struct {
	bounds []bound
	serve  func(*Server, request) (result any, err error)
}

var operations = map[string]operation{
	"AssumeRole":        {assumeRoleBounds, (*Server).assumeRole},
	"GetCallerIdentity": {nil, (*Server).getCallerIdentity},
}

// request is a call whose signature and bounds are in order.
type request struct {
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
	s.serveSTS(w, r)
}

func (s *Server) serveSTS(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "request too large or cut short", http.StatusRequestEntityTooLarge)
		return
	}
	form, formErr := url.ParseQuery(string(body))
	auth, authErr := parseAuthorization(r.Header)
	call := s.calls.add(Call{
		Time: s.options.Clock.Now().UTC(), RequestID: newRequestID(),
		Action: form.Get("Action"), Parameters: withoutSecrets(form),
		AccessKeyID: auth.accessKeyID, Region: auth.region,
	})
	w.Header().Set("Date", s.options.SignatureClock.Now().UTC().Format(http.TimeFormat))
	w.Header().Set("X-Amzn-Requestid", call.RequestID)

	taken := s.faults.take(form.Get("Action"), form.Get("RoleArn"))
	s.calls.update(call, func(c *Call) {
		for _, f := range taken {
			c.Faults = append(c.Faults, f.Kind)
		}
	})
	if s.suffer(w, r, call, taken) {
		return
	}
	if formErr != nil {
		s.answerError(w, call, newError("MalformedInput", "The request body is not a valid form."), false)
		return
	}
	op, ok := operations[form.Get("Action")]
	if !ok || form.Get("Version") != apiVersion || !s.offers(form.Get("Action")) {
		s.answerError(w, call, unknownAction(s.options.Flavour, form.Get("Action"), form.Get("Version")), false)
		return
	}
	caller, err := principal{}, authErr
	if err == nil {
		caller, err = s.authenticate(r, auth, body)
	}
	if err != nil {
		s.answerError(w, call, err, s.options.Flavour == FlavourMinIO)
		return
	}
	s.calls.update(call, func(c *Call) { c.CallerARN = caller.ARN })
	s.serveOperation(w, op, request{form: form, caller: caller, region: auth.region, call: call})
}

// offers reports whether the server's flavour has an action.
func (s *Server) offers(action string) bool {
	return s.options.Flavour != FlavourMinIO || action == "AssumeRole"
}

func (s *Server) serveOperation(w http.ResponseWriter, op operation, req request) {
	err := validate(req.form, op.bounds)
	var result any
	if err == nil {
		result, err = op.serve(s, req)
	}
	if err != nil {
		s.answerError(w, req.call, err, false)
		return
	}
	body, err := response(req.call.Action, result, req.call.RequestID)
	if err != nil {
		s.answerError(w, req.call, newError("InternalFailure", "%s", err), false)
		return
	}
	s.answer(w, req.call, http.StatusOK, "", body)
}

// response wraps a result as the query protocol does.
func response(action string, result any, requestID string) ([]byte, error) {
	var b bytes.Buffer
	enc := xml.NewEncoder(&b)
	outer := xml.StartElement{
		Name: xml.Name{Local: action + "Response"},
		Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}},
	}
	if err := enc.EncodeToken(outer); err != nil {
		return nil, err
	}
	if err := enc.EncodeElement(result, xml.StartElement{Name: xml.Name{Local: action + "Result"}}); err != nil {
		return nil, err
	}
	metadata := struct {
		RequestID string `xml:"RequestId"`
	}{requestID}
	if err := enc.EncodeElement(metadata, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}}); err != nil {
		return nil, err
	}
	if err := enc.EncodeToken(outer.End()); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Flush()
}
