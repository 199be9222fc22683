package main

import (
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rolecredential.dev/operator/hack/stsemulator"
)

var discard = log.New(io.Discard, "", 0)

// adjustableClock is a clock with an offset.
type adjustableClock struct{ offset atomic.Int64 }

func (c *adjustableClock) Now() time.Time                  { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *adjustableClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }
func (c *adjustableClock) set(offset time.Duration)        { c.offset.Store(int64(offset)) }

// sts is the emulator with two endpoints: front for the operator, and admin for the observer.
type sts struct {
	*stsemulator.Server
	clock       *adjustableClock
	admin       *stsemulator.Endpoint
	front       *httptest.Server
	breakpoints *breakpoints
	// leader returns the manager that calls STS.
	leader func() *manager
	// called is called for each STS call, with the access key ID that signed it.
	called func(accessKeyID string)

	mu      sync.Mutex
	answers map[string]int
}

func startSTS(accounts stsemulator.Config, fraction float64, breakpoints *breakpoints) (*sts, error) {
	s := &sts{clock: &adjustableClock{}, breakpoints: breakpoints, answers: map[string]int{}}
	var err error
	if s.Server, err = stsemulator.New(accounts, stsemulator.Options{Clock: s.clock, LifetimeFraction: fraction}); err != nil {
		return nil, err
	}
	if s.admin, err = s.Start(""); err != nil {
		return nil, err
	}
	s.front = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.front.Config.ErrorLog = discard
	s.front.Start()
	return s, nil
}

func (s *sts) close() error {
	s.front.CloseClientConnections()
	s.front.Close()
	return s.admin.Close()
}

func (s *sts) serve(w http.ResponseWriter, r *http.Request) {
	s.called(signer(r))
	if s.breakpoints.reach(stsCallStarts, s.leader()) {
		panic(http.ErrAbortHandler)
	}
	if s.breakpoints.armed(stsCallEnds) {
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, r)
		if answer.Code == http.StatusOK && s.breakpoints.reach(stsCallEnds, s.leader()) {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
		return
	}
	recorder := &statusRecorder{ResponseWriter: w}
	s.ServeHTTP(recorder, r)
	s.mu.Lock()
	s.answers[recorder.description()]++
	s.mu.Unlock()
}

// signer returns the access key ID of a request's signature.
func signer(r *http.Request) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	id, _, _ := strings.Cut(credential, "/")
	return id
}

// since returns the answers after an earlier count.
func (s *sts) since(before map[string]int) effects {
	found := effects{}
	for what, n := range s.counts() {
		if n > before[what] {
			found[what] = n - before[what]
		}
	}
	return found
}

func (s *sts) counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.answers)
}

// statusRecorder records the status of a response, 0 for a connection that was cut off.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (c *statusRecorder) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

// Unwrap lets the emulator reach the connection.
func (c *statusRecorder) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *statusRecorder) description() string {
	if c.status == 0 {
		return "calls cut off"
	}
	return fmt.Sprintf("calls answered %d", c.status)
}
