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

// Endpoint is a listener that serves a Server. After Close, another Endpoint can use its address, with the server's state unchanged.
type Endpoint struct {
	// URL is the endpoint for an SDK.
	URL string
	// Address is host:port.
	Address string
	// CABundle is the CA of a TLS endpoint's certificate in PEM, nil without TLS.
	CABundle []byte

	server *http.Server
	served chan error
}

// loopback is a free port on loopback.
const loopback = "127.0.0.1:0"

// Start serves on an address, or on a free port on loopback if it is empty.
func (s *Server) Start(address string) (*Endpoint, error) {
	return s.start(address, "http", func(l net.Listener) (net.Listener, []byte, error) { return l, nil, nil })
}

// StartTLS is Start with TLS. The certificate is valid for 127.0.0.1, ::1, localhost and the address.
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
			ErrorLog:          log.New(io.Discard, "", 0), // TLS errors and closed connections are expected
		},
		served: make(chan error, 1),
	}
	go func() { e.served <- e.server.Serve(wrapped) }()
	return e, nil
}

// Close stops listening and closes all connections, including those of hanging requests, whose contexts end.
func (e *Endpoint) Close() error {
	err := e.server.Close()
	if served := <-e.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	e.served <- http.ErrServerClosed // for another Close
	return err
}
