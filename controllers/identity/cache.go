package identity

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/cache"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// cacheEntry holds the client and the credentials built for an identity.
type cacheEntry struct {
	uid           types.UID
	generation    int64
	secretVersion string
	// refused is set when STS rejected the credentials; the entry is then rebuilt.
	refused atomic.Bool
	// config contains the source's credentials.
	config aws.Config
	session

	// accountSessions caches the sessions of a chain that starts with a service account's token, by service account.
	// mu is locked while a session is looked up or created, so that all callers of an account share it.
	mu              sync.Mutex
	accountSessions *cache.Expiring
}

// session is an STS client and the credentials that it uses.
type session struct {
	client      STS
	credentials aws.CredentialsProvider
}

// accountSessionTTL is how long a service account's session is cached. The session of a hop expires earlier.
const accountSessionTTL = time.Hour

// getOrBuild returns the cache entry of an identity's current spec. Concurrent callers wait for one build and share
// it, with its connections and hop sessions.
func (r *Resolver) getOrBuild(ctx context.Context, found Object, source source) (*cacheEntry, *reason.Error, error) {
	if made, ok := r.cached(found, source); ok {
		return made, nil, nil
	}
	type outcome struct {
		made    *cacheEntry
		problem *reason.Error
	}
	key := KeyOf(found)
	shared := r.builds.DoChan(fmt.Sprintf("%v/%s/%d", key, found.GetUID(), found.GetGeneration()), func() (any, error) {
		// The callers that share the result have contexts of their own: the first to give up does not fail the others.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), buildTimeout)
		defer cancel()
		entry, problem, err := r.build(ctx, found, source)
		return outcome{entry, problem}, err
	})
	select {
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case result := <-shared:
		of, _ := result.Val.(outcome)
		return of.made, of.problem, result.Err
	}
}

// buildTimeout bounds how long a build reads from the API server and the operator's own files.
const buildTimeout = time.Minute

// build returns a new cache entry, or the present one if nothing has changed.
func (r *Resolver) build(ctx context.Context, found Object, source source) (*cacheEntry, *reason.Error, error) {
	key := KeyOf(found)
	before, ok := r.cached(found, source)
	if ok { // built by a concurrent caller
		return before, nil, nil
	}
	config, secretVersion, problem, err := r.config(ctx, found, source)
	if problem != nil || err != nil {
		return nil, problem, err
	}
	if before != nil && !before.refused.Load() && secretVersion == before.secretVersion { // the watch had not started yet
		return before, nil, nil
	}
	var replaced STS
	if before != nil {
		replaced = before.client
	}
	made := &cacheEntry{uid: found.GetUID(), generation: found.GetGeneration(), secretVersion: secretVersion, config: config, accountSessions: cache.NewExpiring()}
	made.session = r.connect(key, config, found.Settings().Chain, nil, replaced)
	r.store(key, made)
	return made, nil, nil
}

// sessionOf returns the session of a chain whose first hop uses a service account's token.
func (r *Resolver) sessionOf(made *cacheEntry, found Object, account types.NamespacedName, token TokenSource) session {
	made.mu.Lock()
	defer made.mu.Unlock()
	if cached, ok := made.accountSessions.Get(account); ok {
		if of, ok := cached.(session); ok {
			return of
		}
	}
	of := r.connect(KeyOf(found), made.config, found.Settings().Chain, token, made.client)
	made.accountSessions.Set(account, of, accountSessionTTL)
	return of
}

// connect creates the session at the end of a chain, with a client that replaces the one before. The first hop uses
// the token, if it is not nil.
func (r *Resolver) connect(identity request.Key, config aws.Config, chain []v1alpha1.Hop, token TokenSource, before STS) session {
	for _, hop := range chain {
		config.Credentials = r.Assume(identity, config, hopRequest(identity.Name, hop), token)
		token = nil
	}
	return session{r.Connect(identity, config, before), config.Credentials}
}

// Forget removes a deleted identity from the cache.
func (r *Resolver) Forget(key request.Key) {
	r.Watch.Unsubscribe(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.cache, key)
}

// cached returns the cache entry of an identity's current spec, and whether it is still usable.
func (r *Resolver) cached(found Object, source source) (*cacheEntry, bool) {
	r.mu.Lock()
	made, ok := r.cache[KeyOf(found)]
	r.mu.Unlock()
	if !ok || made.uid != found.GetUID() || made.generation != found.GetGeneration() {
		return nil, false
	}
	return made, !made.refused.Load() && (source.secret == nil || r.Watch.IsCurrent(KeyOf(found), *source.secret, made.secretVersion))
}

func (r *Resolver) store(key request.Key, made *cacheEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cache == nil {
		r.cache = map[request.Key]*cacheEntry{}
	}
	r.cache[key] = made
}
