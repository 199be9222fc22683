package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// proxy is a TLS proxy between one manager and the API server, which injects faults.
type proxy struct {
	server      *httptest.Server
	forward     *httputil.ReverseProxy
	breakpoints *breakpoints
	manager     *manager

	mu      sync.Mutex
	rng     *rand.Rand
	faults  map[*requestFault]bool
	watches map[*http.Request]func()
}

// requestFault is a fault of some of the requests.
type requestFault struct {
	// share is the share of the matching requests that fail, from 0 to 1.
	share float64
	// matches selects requests; nil selects all but watches.
	matches func(*http.Request) bool
	// status replaces the API server's response; in half of the cases, the API server executes the request nevertheless. Zero keeps the
	// response, and cutOff closes the connection.
	status int
	// delay is the longest delay of a request.
	delay time.Duration
	// times counts the requests that it was applied to.
	times int
}

// cutOff is the status of a requestFault that closes the connection.
const cutOff = -1

func newProxy(config *rest.Config, breakpoints *breakpoints, seed uint64) (*proxy, error) {
	backend, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	anonymous := rest.AnonymousClientConfig(config)
	transport, err := rest.TransportFor(anonymous)
	if err != nil {
		return nil, err
	}
	p := &proxy{breakpoints: breakpoints, rng: random(seed, 1), faults: map[*requestFault]bool{}, watches: map[*http.Request]func(){}}
	p.forward = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(backend) },
		Transport:      transport,
		FlushInterval:  -1,
		ErrorLog:       discard, // of what was cut off
		ModifyResponse: p.modifyResponse,
		// The client sees what it would see of an API server that does not run.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.server = httptest.NewUnstartedServer(p)
	p.server.EnableHTTP2 = true
	p.server.Config.ErrorLog = discard
	p.server.StartTLS()
	return p, nil
}

// inject injects a fault until remove is called, which returns how many requests it was applied to.
func (p *proxy) inject(f requestFault) (remove func() int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[&f] = true
	return func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.faults, &f)
		return f.times
	}
}

// dropWatches closes all watches, and returns their number.
func (p *proxy) dropWatches() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, end := range p.watches {
		end()
	}
	return len(p.watches)
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isWatch(r) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		r = r.WithContext(ctx)
		p.watchOpened(r, cancel)
		defer p.watchClosed(r)
	}
	status, late, delay := p.apply(r)
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
		}
	}
	if at := writeStart(r); at != "" && p.breakpoints.reach(at, p.manager) {
		panic(http.ErrAbortHandler)
	}
	switch {
	case status == 0:
		p.forward.ServeHTTP(w, r)
	case status < 0:
		panic(http.ErrAbortHandler)
	case late:
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
		reject(w, r, status)
	default:
		reject(w, r, status)
	}
}

func isWatch(r *http.Request) bool {
	value := r.URL.Query().Get("watch")
	return value == "true" || value == "1"
}

func isLease(r *http.Request) bool { return strings.Contains(r.URL.Path, "/leases") }

func isWrite(r *http.Request) bool { return r.Method != http.MethodGet }

func (p *proxy) watchOpened(watch *http.Request, end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watches[watch] = end
}

func (p *proxy) watchClosed(watch *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watches, watch)
}

// apply applies the faults to a request. late is whether the API server executes the request before it fails.
func (p *proxy) apply(r *http.Request) (status int, late bool, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for f := range p.faults {
		matches := f.matches == nil && !isWatch(r) || f.matches != nil && f.matches(r)
		if !matches || p.rng.Float64() >= f.share {
			continue
		}
		f.times++
		if f.delay > 0 {
			delay += time.Duration(p.rng.Int64N(int64(f.delay)))
		}
		if f.status != 0 {
			status, late = f.status, p.rng.IntN(2) == 0 && !isWatch(r)
		}
	}
	return status, late, delay
}

// reject responds like the API server.
func reject(w http.ResponseWriter, r *http.Request, code int) {
	reason := map[int]metav1.StatusReason{
		http.StatusConflict: metav1.StatusReasonConflict, http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
		http.StatusInternalServerError: metav1.StatusReasonInternalError,
	}[code]
	if code == http.StatusConflict && r.Method == http.MethodPost {
		reason = metav1.StatusReasonAlreadyExists
	}
	w.Header().Set("Content-Type", "application/json")
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{ // it fails only if the client is gone
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), //nolint:gosec // a status has three digits
		Reason: reason, Message: fmt.Sprintf("%d, injected by chaos", code),
	})
}

// writeStart returns the point of a reconcile that a request marks, empty for none.
func writeStart(r *http.Request) point {
	switch {
	case !isWrite(r):
		return ""
	case isSecret(r):
		return secretWriteStarts
	case isCredentialStatus(r):
		return statusWriteStarts
	default:
		return ""
	}
}

func isSecret(r *http.Request) bool {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	return len(parts) >= 5 && parts[0] == "api" && parts[4] == "secrets" && r.Method != http.MethodDelete
}

func isCredentialStatus(r *http.Request) bool {
	path := r.URL.Path
	return strings.HasPrefix(path, "/apis/sts.rolecredential.dev/") && strings.Contains(path, "credentials/") && strings.HasSuffix(path, "/status")
}

// modifyResponse cuts off the response to a write if a breakpoint is hit.
func (p *proxy) modifyResponse(response *http.Response) error {
	at := map[point]point{secretWriteStarts: secretWriteEnds, statusWriteStarts: statusWriteEnds}[writeStart(response.Request)]
	if at != "" && response.StatusCode < 300 && p.breakpoints.reach(at, p.manager) {
		_ = response.Body.Close()
		panic(http.ErrAbortHandler)
	}
	return nil
}
