package stsemulator

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FaultKind is what goes wrong.
type FaultKind string

// What can go wrong. All but Latency and SkewedDate come in place of the
// answer, before the signature is looked at: no session is issued. Throttle
// does so for calls that come too fast, and lets the others pass.
const (
	// FaultError answers Code, Message and Status.
	FaultError FaultKind = "Error"
	// FaultThrottle answers Code, or Throttling, to the calls beyond Rate a second,
	// by the injected clock. As many may come at once.
	FaultThrottle FaultKind = "Throttle"
	// FaultLatency answers after Duration, by the injected clock if it is a clock.Clock.
	FaultLatency FaultKind = "Latency"
	// FaultHang does not answer until the caller or the endpoint gives up.
	FaultHang FaultKind = "Hang"
	// FaultReset reads the request and then resets the connection.
	FaultReset FaultKind = "Reset"
	// FaultOutage closes the connection of every request for STS, whatever it is
	// for. (Close the Endpoint for connections that are refused.)
	FaultOutage FaultKind = "Outage"
	// FaultGarbage answers Status, or 200, with XML that ends in the middle.
	FaultGarbage FaultKind = "Garbage"
	// FaultSkewedDate answers as usual, with a Date header off by Duration.
	FaultSkewedDate FaultKind = "SkewedDate"
)

// Fault is something that goes wrong, until it is cleared or used up.
type Fault struct {
	// ID is given by SetFault.
	ID   string    `json:"id,omitempty"`
	Kind FaultKind `json:"kind"`
	// Action and RoleARN, in which '*' stands for any characters, narrow the
	// calls that it applies to; empty is all.
	Action  string `json:"action,omitempty"`
	RoleARN string `json:"roleARN,omitempty"`
	// Times is for how many calls it lasts; 0 is until it is cleared.
	Times int `json:"times,omitempty"`
	// Rate is how many calls a second are not throttled.
	Rate int `json:"rate,omitempty"`
	// Code is the error's. Message and Status default to AWS's for the code.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Status  int    `json:"status,omitempty"`
	// Duration is the latency or, of either sign, the skew.
	Duration metav1.Duration `json:"duration,omitzero"`
}

func (f Fault) validate() error {
	switch {
	case !slices.Contains([]FaultKind{FaultError, FaultThrottle, FaultLatency, FaultHang, FaultReset, FaultOutage, FaultGarbage, FaultSkewedDate}, f.Kind):
		return fmt.Errorf("fault: no kind %q", f.Kind)
	case f.Kind == FaultError && f.Code == "":
		return fmt.Errorf("fault: kind %s needs a code", f.Kind)
	case f.Kind == FaultThrottle && f.Rate <= 0:
		return fmt.Errorf("fault: kind %s needs a positive rate", f.Kind)
	case f.Kind == FaultLatency && f.Duration.Duration <= 0:
		return fmt.Errorf("fault: kind %s needs a positive duration", f.Kind)
	case f.Times < 0:
		return fmt.Errorf("fault: times must not be negative")
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("fault: status must be 200 to 599")
	}
	return nil
}

// apiError is what a fault of kind Error answers.
func (f Fault) apiError() *apiError {
	e := newError(f.Code, "%s", f.Message)
	if f.Message == "" {
		e.Message = defaultMessages[f.Code]
	}
	if f.Status != 0 {
		e.Status = f.Status
	}
	return e
}

func (f Fault) isFor(action, roleARN string) bool {
	return f.Kind == FaultOutage || (f.Action == "" || f.Action == action) && (f.RoleARN == "" || glob(f.RoleARN, roleARN))
}

// inPlaceOfAnswer reports whether nothing comes after the fault.
func (f Fault) inPlaceOfAnswer() bool { return f.Kind != FaultLatency && f.Kind != FaultSkewedDate }

// faults are those switched on, in the order in which they were.
type faults struct {
	mu       sync.Mutex
	last     int
	on       []Fault
	limiters map[string]*rate.Limiter // of those that throttle, by ID
}

func (f *faults) set(fault Fault) (string, error) {
	if err := fault.validate(); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	fault.ID = strconv.Itoa(f.last)
	if fault.Kind == FaultThrottle {
		fault.Code = cmp.Or(fault.Code, "Throttling")
		if f.limiters == nil {
			f.limiters = map[string]*rate.Limiter{}
		}
		f.limiters[fault.ID] = rate.NewLimiter(rate.Limit(fault.Rate), fault.Rate)
	}
	f.on = append(f.on, fault)
	return fault.ID, nil
}

// passes reports whether a fault lets a call pass that is for it.
func (f *faults) passes(fault Fault, now time.Time) bool {
	return fault.Kind == FaultThrottle && f.limiters[fault.ID].AllowN(now, 1)
}

// take uses the faults that are for a call: any latency and skew, and then the
// first that comes in place of the answer.
func (f *faults) take(action, roleARN string, now time.Time) []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var taken []Fault
	kept := f.on[:0:0]
	done := false
	for _, fault := range f.on {
		if done || !fault.isFor(action, roleARN) || f.passes(fault, now) {
			kept = append(kept, fault)
			continue
		}
		taken, done = append(taken, fault), fault.inPlaceOfAnswer()
		if fault.Times != 1 {
			fault.Times = max(0, fault.Times-1)
			kept = append(kept, fault)
		}
	}
	f.on = kept
	return taken
}

func (f *faults) list() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Fault{}, f.on...)
}

func (f *faults) clear(gone func(Fault) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = slices.DeleteFunc(f.on, gone)
}

// suffer lets faults happen to a call, and reports whether one came in place of
// the answer.
func (s *Server) suffer(w http.ResponseWriter, r *http.Request, call *Call, taken []Fault) bool {
	for _, f := range taken {
		switch f.Kind {
		case FaultLatency:
			if !s.wait(r, f.Duration.Duration) {
				cut(w, false)
				return true
			}
		case FaultSkewedDate:
			w.Header().Set("Date", s.options.SignatureClock.Now().Add(f.Duration.Duration).UTC().Format(http.TimeFormat))
		case FaultError, FaultThrottle:
			s.answerError(w, call, f.apiError(), false)
		case FaultGarbage:
			s.answer(w, call, max(f.Status, http.StatusOK), "", []byte("<AssumeRoleResponse xmlns=\""+namespace+"\"><AssumeRoleResult><Credentials><AccessKeyId>"))
		case FaultHang:
			<-r.Context().Done()
			cut(w, false)
		case FaultOutage, FaultReset:
			cut(w, f.Kind == FaultReset)
		}
		if f.inPlaceOfAnswer() {
			return true
		}
	}
	return false
}

// wait reports whether the request is still there after d.
func (s *Server) wait(r *http.Request, d time.Duration) bool {
	select {
	case <-s.after(d):
		return true
	case <-r.Context().Done():
		return false
	}
}

// cut ends a request's connection without an answer, with a TCP reset or without.
func cut(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // a recorder of a test has no connection
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	tcp := conn
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		tcp = wrapped.NetConn() // beneath TLS
	}
	if tcp, ok := tcp.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0) // what is left of a connection that will not reset is closed all the same
	}
	_ = tcp.Close() // without TLS's own goodbye
}
