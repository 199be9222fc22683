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

// proxy stands between one manager and the API server, and lets things go wrong in between. It speaks TLS both ways.
type proxy struct {
	server  *httptest.Server
	forward *httputil.ReverseProxy
	traps   *traps
	manager *manager

	mu      sync.Mutex
	rng     *rand.Rand
	ills    map[*ill]bool
	watches map[*http.Request]func()
}

// ill is something that goes wrong with a part of the requests.
type ill struct {
	// share of the requests that it is for, from 0 to 1, and of them those that match; nil for all but watches.
	share   float64
	matches func(*http.Request) bool
	// status is answered in place of the API server's answer: in half of the cases after the API server has done what it was asked
	// for. Zero lets the answer be; -1 cuts the connection.
	status int
	// delay is at most how long a request is held up.
	delay time.Duration

	mu    sync.Mutex
	times int
}

func (i *ill) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.times
}

func newProxy(config *rest.Config, traps *traps, seed uint64) (*proxy, error) {
	backend, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	anonymous := rest.AnonymousClientConfig(config)
	transport, err := rest.TransportFor(anonymous)
	if err != nil {
		return nil, err
	}
	p := &proxy{traps: traps, rng: random(seed, 1), ills: map[*ill]bool{}, watches: map[*http.Request]func(){}}
	p.forward = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(backend) },
		Transport:      transport,
		FlushInterval:  -1,
		ErrorLog:       discard, // of what was cut off
		ModifyResponse: p.answered,
		// As one sees it of an API server that is not there.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.server = httptest.NewUnstartedServer(p)
	p.server.EnableHTTP2 = true
	p.server.Config.ErrorLog = discard
	p.server.StartTLS()
	return p, nil
}

// set lets something go wrong until the function that it returns is called.
func (p *proxy) set(i *ill) (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ills[i] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.ills, i)
	}
}

// dropWatches ends all watches that are open, and says how many.
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
		p.opened(r, cancel)
		defer p.closed(r)
	}
	status, late, delay := p.suffer(r)
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
		}
	}
	if at := askedAt(r); at != "" && p.traps.reach(at, p.manager) {
		panic(http.ErrAbortHandler)
	}
	switch {
	case status == 0:
		p.forward.ServeHTTP(w, r)
	case status < 0:
		panic(http.ErrAbortHandler)
	case late:
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
		refuse(w, r, status)
	default:
		refuse(w, r, status)
	}
}

func isWatch(r *http.Request) bool {
	value := r.URL.Query().Get("watch")
	return value == "true" || value == "1"
}

func isLease(r *http.Request) bool { return strings.Contains(r.URL.Path, "/leases") }

func isWrite(r *http.Request) bool { return r.Method != http.MethodGet }

func (p *proxy) opened(watch *http.Request, end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watches[watch] = end
}

func (p *proxy) closed(watch *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watches, watch)
}

// suffer says what goes wrong with a request.
func (p *proxy) suffer(r *http.Request) (status int, late bool, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.ills {
		matches := i.matches == nil && !isWatch(r) || i.matches != nil && i.matches(r)
		if !matches || p.rng.Float64() >= i.share {
			continue
		}
		i.mu.Lock()
		i.times++
		i.mu.Unlock()
		if i.delay > 0 {
			delay += time.Duration(p.rng.Int64N(int64(i.delay)))
		}
		if i.status != 0 {
			status, late = i.status, p.rng.IntN(2) == 0 && !isWatch(r)
		}
	}
	return status, late, delay
}

// refuse answers as the API server would.
func refuse(w http.ResponseWriter, r *http.Request, code int) {
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
	_ = json.NewEncoder(w).Encode(metav1.Status{ // the caller is gone if this fails
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), //nolint:gosec // a status has three digits
		Reason: reason, Message: fmt.Sprintf("%d, by way of chaos", code),
	})
}

// askedAt is the point of a reconcile that a request comes at, empty for none.
func askedAt(r *http.Request) point {
	switch {
	case !isWrite(r):
		return ""
	case isSecret(r):
		return secretAsked
	case isStatus(r):
		return statusAsked
	default:
		return ""
	}
}

func isSecret(r *http.Request) bool {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	return len(parts) >= 5 && parts[0] == "api" && parts[4] == "secrets" && r.Method != http.MethodDelete
}

func isStatus(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/apis/sts.rolecredential.dev/") && strings.HasSuffix(r.URL.Path, "/status") && strings.Contains(r.URL.Path, "credentials/")
}

// answered sees the API server's answers.
func (p *proxy) answered(response *http.Response) error {
	at := map[point]point{secretAsked: secretWritten, statusAsked: statusWritten}[askedAt(response.Request)]
	if at != "" && response.StatusCode < 300 && p.traps.reach(at, p.manager) {
		_ = response.Body.Close() // nobody is to read it
		panic(http.ErrAbortHandler)
	}
	return nil
}
