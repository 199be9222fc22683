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

// FaultKind is a kind of fault.
type FaultKind string

// The kinds of faults. All but Latency and SkewedDate replace the response before the signature is verified, so that no session is issued.
// Throttle does so only for calls beyond its rate.
const (
	// FaultError responds with Code, Message and Status.
	FaultError FaultKind = "Error"
	// FaultThrottle responds with Code, or Throttling, to calls beyond Rate per second, by the injected clock. The burst is Rate, too.
	FaultThrottle FaultKind = "Throttle"
	// FaultLatency delays the response by Duration, by the injected clock if it is a clock.Clock.
	FaultLatency FaultKind = "Latency"
	// FaultHang sends no response until the caller or the endpoint closes the connection.
	FaultHang FaultKind = "Hang"
	// FaultReset reads the request and then resets the connection.
	FaultReset FaultKind = "Reset"
	// FaultOutage closes the connection of every request for STS. To refuse connections, close the Endpoint.
	FaultOutage FaultKind = "Outage"
	// FaultGarbage responds with Status, or 200, and incomplete XML or JSON.
	FaultGarbage FaultKind = "Garbage"
	// FaultSkewedDate adds Duration to the Date header of the response.
	FaultSkewedDate FaultKind = "SkewedDate"
)

// Fault is a fault, which is active until it is cleared or used up.
type Fault struct {
	// ID is set by SetFault.
	ID   string    `json:"id,omitempty"`
	Kind FaultKind `json:"kind"`
	// Action and RoleARN select calls; empty selects all. '*' matches any characters.
	Action  string `json:"action,omitempty"`
	RoleARN string `json:"roleARN,omitempty"`
	// Times is the number of calls that it applies to; 0 means until it is cleared.
	Times int `json:"times,omitempty"`
	// Rate is the number of calls per second that are not throttled.
	Rate int `json:"rate,omitempty"`
	// Code is the error code. Message and Status default to AWS's for the code.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Status  int    `json:"status,omitempty"`
	// Duration is the latency, or the skew of either sign.
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

// apiError is the response of FaultError.
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

// replacesAnswer returns whether the fault replaces the response.
func (f Fault) replacesAnswer() bool { return f.Kind != FaultLatency && f.Kind != FaultSkewedDate }

// faults are the active faults in the order of their creation.
type faults struct {
	mu       sync.Mutex
	last     int
	on       []Fault
	limiters map[string]*rate.Limiter // of FaultThrottle, by ID
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

// passes returns whether a fault does not apply to a matching call.
func (f *faults) passes(fault Fault, now time.Time) bool {
	return fault.Kind == FaultThrottle && f.limiters[fault.ID].AllowN(now, 1)
}

// consume returns the faults for a call, and counts them: each latency and skew, and then the first fault that replaces the response.
func (f *faults) consume(action, roleARN string, now time.Time) []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var matched []Fault
	retained := f.on[:0:0]
	done := false
	for _, fault := range f.on {
		if done || !fault.isFor(action, roleARN) || f.passes(fault, now) {
			retained = append(retained, fault)
			continue
		}
		matched, done = append(matched, fault), fault.replacesAnswer()
		if fault.Times != 1 {
			fault.Times = max(0, fault.Times-1)
			retained = append(retained, fault)
		}
	}
	f.on = retained
	return matched
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

// apply applies faults to a call, and returns whether one replaced the response.
func (s *Server) apply(w http.ResponseWriter, r *http.Request, call *Call, matched []Fault, response format) bool {
	for _, f := range matched {
		switch f.Kind {
		case FaultLatency:
			if !s.wait(r, f.Duration.Duration) {
				cut(w, false)
				return true
			}
		case FaultSkewedDate:
			w.Header().Set("Date", s.options.SignatureClock.Now().Add(f.Duration.Duration).UTC().Format(http.TimeFormat))
		case FaultError, FaultThrottle:
			s.answerError(w, call, f.apiError(), response)
		case FaultGarbage:
			s.answer(w, call, response, max(f.Status, http.StatusOK), "", garbage(response))
		case FaultHang:
			<-r.Context().Done()
			cut(w, false)
		case FaultOutage, FaultReset:
			cut(w, f.Kind == FaultReset)
		}
		if f.replacesAnswer() {
			return true
		}
	}
	return false
}

func garbage(f format) []byte {
	if f == jsonFormat {
		return []byte(`{"credentialSet":[{"credentials":{"accessKeyId":`)
	}
	return []byte("<AssumeRoleResponse xmlns=\"" + namespace + "\"><AssumeRoleResult><Credentials><AccessKeyId>")
}

// wait waits for d, and returns false if the request ends before.
func (s *Server) wait(r *http.Request, d time.Duration) bool {
	select {
	case <-s.after(d):
		return true
	case <-r.Context().Done():
		return false
	}
}

// cut closes a request's connection without a response, with or without a TCP reset.
func cut(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // a test's ResponseRecorder has no connection
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	tcp := conn
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		tcp = wrapped.NetConn() // the connection below TLS
	}
	if tcp, ok := tcp.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0) // without it the connection is closed, not reset
	}
	_ = tcp.Close() // without TLS's close notification
}
