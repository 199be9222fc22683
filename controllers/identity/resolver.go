package identity

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// Endpoints returns the selection of endpoints with FIPS 140-3 validated cryptography, and of endpoints that support IPv6 as
// well as IPv4. In a region without the selected endpoint, STS is unreachable.
func Endpoints(fips, dualStack bool) (selected config.LoadOptions) {
	if fips {
		selected.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
	}
	if dualStack {
		selected.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
	}
	return selected
}

// Resolver resolves identities. It caches their connections until the spec or the source's Secret changes.
type Resolver struct {
	// Reader reads identities, from a cache.
	Reader client.Reader
	// APIReader reads the Secrets of sources from the API server.
	APIReader client.Reader
	// Watch enqueues an identity and its credentials when the source's Secret changes.
	Watch Watch
	// Tokens requests the tokens of service accounts.
	Tokens *Tokens
	// APIAudiences returns the API server's own audiences; none if they are not known. It is required. A web identity token for one of them is not sent.
	APIAudiences func() []string
	// Clock is the operator's, by which the validity of a certificate or token is checked after the correction of its skew.
	Clock clock.PassiveClock
	// Endpoints selects AWS's endpoints, as [Endpoints] does. Identities with an endpoint of their own ignore it.
	Endpoints config.LoadOptions
	// IdleConnections is the number of idle connections that each identity keeps; the SDK's default if zero.
	IdleConnections int
	// NewSTS creates an identity's STS client. The config has no credentials.
	NewSTS func(identity request.Key, config aws.Config) STS
	// AllowNamespacedEndpoints allows spec.endpoint in an Identity. A user who may create an Identity could then
	// direct the operator's requests to servers that only the operator can reach.
	AllowNamespacedEndpoints bool

	builds singleflight.Group
	mu     sync.Mutex
	cache  map[request.Key]*connection
}

// Watch watches the Secrets of identities' sources, one for each identity.
type Watch interface {
	// Subscribe enqueues the identity when the Secret no longer has the version, which is empty for no Secret.
	Subscribe(identity request.Key, secret types.NamespacedName, version string)
	// IsCurrent reports whether the Secret is known to have the version still.
	IsCurrent(identity request.Key, secret types.NamespacedName, version string) bool
	Unsubscribe(identity request.Key)
}

// Resolve returns the identity of a reference, for a credential with this service account. The account's namespace is the credential's; its
// name matters only for the source serviceAccount. Resolve returns a failure of ConditionAuthorized if the identity does not exist or is
// not usable. It does not call STS.
func (r *Resolver) Resolve(ctx context.Context, ref v1alpha1.IdentityReference, account types.NamespacedName) (*Identity, *reason.Error, error) {
	found, key := newObject(ref, account.Namespace)
	if found == nil {
		return nil, reason.Denied(v1alpha1.ReasonIdentityNotFound, "spec.identityRef.kind is %s, which this version of the operator does not support. "+
			"Use a ClusterIdentity or an Identity, or upgrade the operator if the CRDs are newer.", ref.Kind), nil
	}
	name := request.IdentityName(ref)
	err := r.Reader.Get(ctx, key, found)
	if apierrors.IsNotFound(err) {
		return nil, reason.Denied(v1alpha1.ReasonIdentityNotFound, "There is no %s. Create it, or change spec.identityRef.", name), nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("failed to read %s: %w", name, err)
	}
	resolved, problem, err := r.ResolveObject(ctx, found, account)
	if problem != nil {
		denied := reason.Denied(v1alpha1.ReasonIdentityNotReady, "%s cannot be used: %s", name, problem.Message)
		denied.Retry = problem.Retry
		return nil, denied, nil
	}
	return resolved, nil, err
}

// ResolveObject resolves an identity for a credential with this service account. It returns a failure of the identity's
// ConditionReady if the configuration is not usable. The identity is nil then, unless only the time of its certificate is
// wrong.
func (r *Resolver) ResolveObject(ctx context.Context, found Object, account types.NamespacedName) (*Identity, *reason.Error, error) {
	settings, key := found.Settings(), KeyOf(found)
	source := sourceOf(found)
	conn, problem, err := r.connectionFor(ctx, found, source)
	if problem != nil || err != nil {
		return nil, problem, err
	}
	identity := &Identity{
		Key:           key,
		Name:          request.IdentityName(v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKind(key.Kind), Name: key.Name}),
		Allow:         found.Rules(),
		CallerARN:     found.Report().ARN,
		IssuerHash:    request.Hash(issuer{source.String(), settings.Endpoint, settings.Chain, settings.SessionTags}),
		Version:       fmt.Sprintf("%s/%d/%s", found.GetUID(), found.GetGeneration(), conn.secretVersion),
		SecretVersion: conn.secretVersion,
		Source:        source.String(),
		connection:    conn,

		IdentitySettings: settings,
	}
	for _, hop := range settings.Chain {
		identity.Roles = append(identity.Roles, hop.RoleARN)
	}
	if len(identity.Roles) > 0 {
		identity.Source = "a chain of roles: " + strings.Join(identity.Roles, ", ")
	}
	if conn.authenticator.perAccount {
		identity.account = account
		identity.ServiceAccount = "system:serviceaccount:" + account.Namespace + ":" + account.Name
	}
	if conn.authenticator.rolesAnywhere != nil {
		problem = checkValidity(conn.authenticator.rolesAnywhere.Certificate, *source.secretRef(), conn.now())
	}
	return identity, problem, nil
}

// buildTimeout bounds how long a build reads from the API server and the operator's own files. It bounds I/O, so it runs on
// real time.
const buildTimeout = time.Minute

// connectionFor returns the connection of an identity's current spec. Concurrent callers share one build. A caller that gives up
// does not fail the others: the build has a context of its own.
func (r *Resolver) connectionFor(ctx context.Context, found Object, source source) (*connection, *reason.Error, error) {
	if current, ok := r.cached(found, source); ok {
		return current, nil, nil
	}
	type built struct {
		conn    *connection
		problem *reason.Error
	}
	shared := r.builds.DoChan(fmt.Sprintf("%v/%s/%d", KeyOf(found), found.GetUID(), found.GetGeneration()), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), buildTimeout)
		defer cancel()
		conn, problem, err := r.build(ctx, found, source)
		return built{conn, problem}, err
	})
	select {
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case result := <-shared:
		of, _ := result.Val.(built)
		return of.conn, of.problem, result.Err
	}
}

// build returns a new connection, or the cached one if nothing has changed.
func (r *Resolver) build(ctx context.Context, found Object, source source) (*connection, *reason.Error, error) {
	key, settings := KeyOf(found), found.Settings()
	before, ok := r.cached(found, source)
	if ok { // a concurrent caller has built it
		return before, nil, nil
	}
	if problem := r.validate(found); problem != nil {
		return nil, problem, nil
	}
	endpoint, problem := r.endpointFor(key, endpointSettings{settings.Region, settings.Endpoint, settings.CABundle})
	if problem != nil {
		return nil, problem, nil
	}
	defer r.forgetDeleted(ctx, found)
	secret, problem, err := r.readSecret(ctx, key, source)
	if problem != nil || err != nil {
		return nil, problem, err
	}
	conn := &connection{uid: found.GetUID(), generation: found.GetGeneration(), endpoint: endpoint, sessions: lru.New(maxNamespaces)}
	if secret != nil {
		conn.secretVersion = secret.ResourceVersion
	}
	if before.describes(found) && !before.rejected.Load() && conn.secretVersion == before.secretVersion { // the watch was not synced yet
		return before, nil, nil
	}
	if conn.authenticator, problem = source.open(ctx, r, settings, secret); problem != nil {
		return nil, problem, nil
	}
	conn.authenticator.keys = sourceErrorProvider{conn.authenticator.keys}
	r.store(key, conn)
	return conn, nil, nil
}

// endpointFor returns the endpoint of the cached connection if its settings are the same. It has open connections and the
// measured clock skew.
func (r *Resolver) endpointFor(key request.Key, settings endpointSettings) (*endpoint, *reason.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, ok := r.cache[key]; ok && before.endpointSettings == settings {
		return before.endpoint, nil
	}
	return r.newEndpoint(key, settings)
}

// readSecret reads the Secret of a source, if it has one, and enqueues the identity when the Secret changes. It returns nil
// if there is no Secret.
func (r *Resolver) readSecret(ctx context.Context, key request.Key, source source) (*corev1.Secret, *reason.Error, error) {
	ref := source.secretRef()
	if ref == nil {
		r.Watch.Unsubscribe(key)
		return nil, nil, nil
	}
	secret := &corev1.Secret{}
	err := r.APIReader.Get(ctx, *ref, secret)
	switch {
	case apierrors.IsNotFound(err):
		r.Watch.Subscribe(key, *ref, "")
		return nil, nil, nil
	case apierrors.IsForbidden(err):
		problem := unready(v1alpha1.ReasonSecretForbidden, err, "The operator's RBAC does not allow it to read Secret %s. Grant it get, list and watch of Secrets in namespace %s.", ref, ref.Namespace)
		problem.Retry = reason.After(reason.MaxWait) // RBAC is not watched
		return nil, problem, nil
	case err != nil:
		return nil, nil, fmt.Errorf("failed to read Secret %s: %w", ref, err)
	}
	r.Watch.Subscribe(key, *ref, secret.ResourceVersion)
	return secret, nil, nil
}

// cached returns the cached connection of an identity, and whether it is current.
func (r *Resolver) cached(found Object, source source) (*connection, bool) {
	r.mu.Lock()
	cached := r.cache[KeyOf(found)]
	r.mu.Unlock()
	if !cached.describes(found) || cached.rejected.Load() {
		return cached, false
	}
	ref := source.secretRef()
	return cached, ref == nil || r.Watch.IsCurrent(KeyOf(found), *ref, cached.secretVersion)
}

// describes reports whether the connection is of the identity's current spec.
func (c *connection) describes(found Object) bool {
	return c != nil && c.uid == found.GetUID() && c.generation == found.GetGeneration()
}

func (r *Resolver) store(key request.Key, conn *connection) {
	r.mu.Lock()
	before := r.cache[key]
	if r.cache == nil {
		r.cache = map[request.Key]*connection{}
	}
	r.cache[key] = conn
	r.mu.Unlock()
	if before != nil && before.endpoint != conn.endpoint {
		before.http.CloseIdleConnections()
	}
}

// Forget removes a deleted identity from the cache, and closes its idle connections.
func (r *Resolver) Forget(key request.Key) {
	r.Watch.Unsubscribe(key)
	r.mu.Lock()
	before := r.cache[key]
	delete(r.cache, key)
	r.mu.Unlock()
	if before != nil {
		before.http.CloseIdleConnections()
	}
}

// forgetDeleted forgets an identity that was deleted during a build. [Resolver.Forget] is called when the identity is no
// longer in the cache of Reader: what a build leaves before that, Forget removes, and what it leaves later is removed here.
func (r *Resolver) forgetDeleted(ctx context.Context, found Object) {
	current, ok := found.DeepCopyObject().(Object)
	if ok && apierrors.IsNotFound(r.Reader.Get(ctx, client.ObjectKeyFromObject(found), current)) {
		r.Forget(KeyOf(found))
	}
}
