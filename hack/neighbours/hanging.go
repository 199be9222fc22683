package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
)

// hangingIdentities creates Identities whose endpoint accepts connections and never answers.
func hangingIdentities(ctx context.Context, w *world) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.cleanups.Add(listener.Close)
	go w.hang(listener)
	if err := ownKey(ctx, w); err != nil {
		return err
	}
	for i := range 4 {
		identity := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: attackerNamespace, Name: fmt.Sprint("hang-", i)}}
		identity.Spec.Region, identity.Spec.Endpoint = "eu-west-1", "http://"+listener.Addr().String()
		identity.Spec.Source.AccessKey = &v1alpha1.LocalAccessKeySource{SecretRef: v1alpha1.LocalSecretReference{Name: "key"}}
		if err := w.attacker.Create(ctx, identity); err != nil {
			return err
		}
	}
	i := 0
	return ownCredentials(40, func(c *v1alpha1.RoleCredential) {
		c.Spec.IdentityRef = v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindIdentity, Name: fmt.Sprint("hang-", i%4)}
		i++
	})(ctx, w)
}

// hang accepts connections until the listener is closed, and counts those that are open at the same time. It answers none.
func (w *world) hang(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		w.hanging.add(1)
		go func() {
			_, _ = io.Copy(io.Discard, connection) // until the manager gives up
			_ = connection.Close()
			w.hanging.add(-1)
		}()
	}
}

// gauge is a number and the largest value that it had.
type gauge struct {
	mu           sync.Mutex
	now, largest int
}

func (g *gauge) peak() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.largest
}

func (g *gauge) add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now += n
	g.largest = max(g.largest, g.now)
}
