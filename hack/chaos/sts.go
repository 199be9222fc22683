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

// steppable is a clock that can be set.
type steppable struct{ ahead atomic.Int64 }

func (c *steppable) Now() time.Time                  { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *steppable) Since(t time.Time) time.Duration { return c.Now().Sub(t) }
func (c *steppable) set(ahead time.Duration)         { c.ahead.Store(int64(ahead)) }

// sts is the emulator, with two doors: one for the operator, and one for who asks for the truth.
type sts struct {
	*stsemulator.Server
	clock *steppable
	admin *stsemulator.Endpoint
	front *httptest.Server
	traps *traps
	// leader is who calls.
	leader func() *manager
	// called is told of each call, by the access key id that signed it.
	called func(accessKeyID string)

	mu      sync.Mutex
	answers map[string]int
}

func startSTS(world stsemulator.Config, fraction float64, traps *traps) (*sts, error) {
	s := &sts{clock: &steppable{}, traps: traps, answers: map[string]int{}}
	var err error
	if s.Server, err = stsemulator.New(world, stsemulator.Options{Clock: s.clock, LifetimeFraction: fraction}); err != nil {
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
	if s.traps.reach(stsAsked, s.leader()) {
		panic(http.ErrAbortHandler)
	}
	if s.traps.armed(stsAnswered) {
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, r)
		if answer.Code == http.StatusOK && s.traps.reach(stsAnswered, s.leader()) {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
		return
	}
	counted := &counting{ResponseWriter: w}
	s.ServeHTTP(counted, r)
	s.mu.Lock()
	s.answers[counted.what()]++
	s.mu.Unlock()
}

// signer is the access key id that a request says it is signed with.
func signer(r *http.Request) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	id, _, _ := strings.Cut(credential, "/")
	return id
}

// since returns what was answered since an earlier count.
func (s *sts) since(before map[string]int) seen {
	found := seen{}
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

// counting sees what is answered. What is cut off is not answered at all.
type counting struct {
	http.ResponseWriter
	status int
}

func (c *counting) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

// Unwrap lets the emulator reach the connection.
func (c *counting) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *counting) what() string {
	if c.status == 0 {
		return "calls cut off"
	}
	return fmt.Sprintf("calls answered %d", c.status)
}
