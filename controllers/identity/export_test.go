package identity

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"

	"rolecredential.dev/operator/controllers/backoff"
	"rolecredential.dev/operator/controllers/request"
)

// The intervals of verifications, for tests.
const (
	VerifyInterval    = verifyInterval
	MinVerifyInterval = minVerifyInterval
)

// ForgetBackoff forgets all calls, as a restart does.
func (r *Reconciler[T]) ForgetBackoff() { r.backoff = backoff.Calls{} }

// OnChange adds a handler, as Source does.
func (w *Watcher) OnChange(kind string, handle func(types.NamespacedName)) { w.onChange(kind, handle) }

// STS returns the client of an identity, as a call would use it.
func (i *Identity) STS() STS { return i.connection.client() }

// Keys returns the credentials that sign a call.
func (i *Identity) Keys() aws.CredentialsProvider { return i.connection.keys(i) }

// Token returns the token of a call.
func (i *Identity) Token(ctx context.Context) (request.RedactedString, error) {
	auth, err := i.connection.callAuth(ctx, i.account)
	return auth.WebIdentityToken, err
}

// Sessions returns the number of namespaces with cached sessions of the chain, and of those of the identity's namespace.
func (i *Identity) Sessions() (namespaces, ofNamespace int) {
	found, _ := i.connection.sessions.Get(i.account.Namespace)
	if sessions, ok := found.(*lru.Cache); ok {
		ofNamespace = sessions.Len()
	}
	return i.connection.sessions.Len(), ofNamespace
}

// IsCached reports whether anything is cached for an identity.
func (r *Resolver) IsCached(key request.Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cache[key] != nil
}
