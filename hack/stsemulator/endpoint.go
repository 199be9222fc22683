package stsemulator

import (
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// Endpoint is a listener on which a Server is served. It may be closed and
// another be started on its address, with the server's state as it was.
type Endpoint struct {
	// URL is what an SDK takes for an endpoint.
	URL string
	// Address is host and port.
	Address string
	// CABundle is, in PEM, the authority of a TLS endpoint's certificate; nil without TLS.
	CABundle []byte

	server *http.Server
	served chan error
}

// loopback is any free port that only this machine reaches.
const loopback = "127.0.0.1:0"

// Start serves on an address, on a free port of loopback when it is empty.
func (s *Server) Start(address string) (*Endpoint, error) {
	return s.start(address, "http", func(l net.Listener) (net.Listener, []byte, error) { return l, nil, nil })
}

// StartTLS serves as Start does, over TLS, with a certificate of an authority of
// its own for 127.0.0.1, ::1, localhost and the address.
func (s *Server) StartTLS(address string) (*Endpoint, error) {
	return s.start(address, "https", func(l net.Listener) (net.Listener, []byte, error) {
		certificate, ca, err := newCertificate(l.Addr())
		if err != nil {
			return nil, nil, err
		}
		return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}), ca, nil
	})
}

func (s *Server) start(address, scheme string, wrap func(net.Listener) (net.Listener, []byte, error)) (*Endpoint, error) {
	l, err := net.Listen("tcp", cmp.Or(address, loopback))
	if err != nil {
		return nil, err
	}
	wrapped, ca, err := wrap(l)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	e := &Endpoint{
		URL: scheme + "://" + l.Addr().String(), Address: l.Addr().String(), CABundle: ca,
		server: &http.Server{
			Handler:           s,
			ReadHeaderTimeout: time.Minute,
			ErrorLog:          log.New(io.Discard, "", 0), // of callers that mistrust the certificate, or are cut
		},
		served: make(chan error, 1),
	}
	go func() { e.served <- e.server.Serve(wrapped) }()
	return e, nil
}

// Close stops listening and ends every request, hanging ones too: their
// connections are closed, and with them their contexts.
func (e *Endpoint) Close() error {
	err := e.server.Close()
	if served := <-e.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	e.served <- http.ErrServerClosed // for who closes again
	return err
}
