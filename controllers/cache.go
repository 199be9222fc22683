package controllers

import (
	"net"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// newCache returns a cache whose watches have a connection to the API server of their own.
//
// By default client-go sends all requests of a process over one HTTP/2 connection, and the API server writes to its streams in turn.
// A watch sends one event in its turn. While dozens of writes are in flight, their answers take most turns, the watch falls behind, and
// the API server terminates it after some 20 events (apiserver_terminated_watchers_total).
func newCache(config *rest.Config, options cache.Options) (cache.Cache, error) {
	own := rest.CopyConfig(config)
	if own.Dial == nil {
		// This is client-go's default. Clients share a connection only if their configuration has no dialer.
		own.Dial = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	var err error
	if options.HTTPClient, err = rest.HTTPClientFor(own); err != nil {
		return nil, err
	}
	return cache.New(own, options)
}
