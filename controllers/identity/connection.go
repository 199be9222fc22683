package identity

import (
	"cmp"
	"context"
	"crypto/x509"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// AuthSource returns what authenticates a call instead of a signature with keys.
type AuthSource = func(context.Context) (request.CallAuth, error)

// STS is the client of one identity. The credentials of a call are a parameter, so that all callers of the identity share
// the client.
type STS interface {
	Issue(ctx context.Context, keys aws.CredentialsProvider, r request.Request, auth request.CallAuth) (request.Credentials, error)
	Caller(ctx context.Context, keys aws.CredentialsProvider) (awssts.Caller, error)
	Hop(keys aws.CredentialsProvider, hop request.Request, auth AuthSource) aws.CredentialsProvider
	Skew() (time.Duration, bool)
}

// connection is what an identity calls STS with, for one spec and one version of the source's Secret.
type connection struct {
	uid           types.UID
	generation    int64
	secretVersion string
	authenticator authenticator
	*endpoint
	// rejected is set when STS rejected the credentials; the connection is then rebuilt.
	rejected atomic.Bool

	// mu is locked while a session is looked up or created, so that all callers of a service account share it.
	mu sync.Mutex
	// sessions has an LRU cache of sessions by service account for each namespace.
	sessions *lru.Cache
}

// The bounds on cached sessions of a chain, for one identity. A namespace has seldom more than a few service accounts that
// use AWS; one that uses more evicts only its own. A session takes about 2 KiB for each hop. An evicted session costs the
// calls of its hops at the next issue.
const (
	maxNamespaces        = 64
	maxNamespaceSessions = 16
)

// keys returns the credentials that sign a call: the source's, or the session at the end of the chain.
func (c *connection) keys(i *Identity) aws.CredentialsProvider {
	if len(i.Chain) == 0 {
		return c.authenticator.keys
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ofNamespace, ok := c.sessions.Get(i.account.Namespace)
	if !ok {
		ofNamespace = lru.New(maxNamespaceSessions)
		c.sessions.Add(i.account.Namespace, ofNamespace)
	}
	sessions, _ := ofNamespace.(*lru.Cache)
	if cached, ok := sessions.Get(i.account.Name); ok {
		session, _ := cached.(aws.CredentialsProvider)
		return session
	}
	var auth AuthSource
	if c.authenticator.firstCall() != v1alpha1.CallAssumeRole {
		account := i.account // the session outlives the identity
		auth = func(ctx context.Context) (request.CallAuth, error) { return c.callAuth(ctx, account) }
	}
	session, call := c.authenticator.keys, c.authenticator.firstCall()
	for _, hop := range i.Chain {
		r := hopRequest(i.Key, hop)
		r.Call = call
		session, auth, call = c.client().Hop(session, r, auth), nil, v1alpha1.CallAssumeRole
	}
	sessions.Add(i.account.Name, session)
	return session
}

// callAuth returns what authenticates the first call for a credential with this service account, now.
func (c *connection) callAuth(ctx context.Context, account types.NamespacedName) (auth request.CallAuth, err error) {
	auth.RolesAnywhere = c.authenticator.rolesAnywhere
	if c.authenticator.token != nil {
		auth.WebIdentityToken, err = c.authenticator.token(ctx, account, c.now())
	}
	return auth, err
}

// hopRequest returns the STS request of a hop. The default session name has the identity's namespace and name.
func hopRequest(identity request.Key, hop v1alpha1.Hop) request.Request {
	name := identity.Name
	if identity.Namespace != "" {
		name = identity.Namespace + "." + name
	}
	return request.Request{
		Call:              v1alpha1.CallAssumeRole,
		RoleARN:           hop.RoleARN,
		SessionName:       cmp.Or(hop.SessionName, request.SessionName("rolecredential", name, request.MaxSessionName)),
		ExternalID:        hop.ExternalID,
		Tags:              request.Tags(hop.Tags),
		TransitiveTagKeys: hop.TransitiveTagKeys,
	}
}

// invalidate drops the credentials of a service account, or of the source if all service accounts share them.
func (c *connection) invalidate(account types.NamespacedName) {
	if c.authenticator.forgetToken != nil {
		c.authenticator.forgetToken(account)
	}
	if !c.authenticator.perAccount {
		c.rejected.Store(true)
		return
	}
	found, _ := c.sessions.Get(account.Namespace)
	if sessions, ok := found.(*lru.Cache); ok {
		sessions.Remove(account.Name)
	}
}

// endpoint is the STS endpoint of an identity, with its connections and its client. It lasts until the settings change.
type endpoint struct {
	endpointSettings
	http  *http.Client
	clock clock.PassiveClock
	build func() STS
	once  sync.Once
	sts   atomic.Pointer[STS]
}

type endpointSettings struct{ region, url, caBundle string }

// client returns the STS client. The first call builds it.
func (e *endpoint) client() STS {
	e.once.Do(func() {
		client := e.build()
		e.sts.Store(&client)
	})
	return *e.sts.Load()
}

func (e *endpoint) skew() (time.Duration, bool) {
	if client := e.sts.Load(); client != nil {
		return (*client).Skew()
	}
	return 0, false
}

// now returns the time of the clock of STS, or the operator's before the first response of STS.
func (e *endpoint) now() time.Time {
	skew, _ := e.skew()
	return e.clock.Now().Add(skew)
}

// attemptTimeout bounds one attempt of a call, so that the SDK can retry with another connection.
const attemptTimeout = 10 * time.Second

// newEndpoint returns the endpoint of an identity. The SDK would copy a client of its own for each STS client, so it gets a
// plain one. Redirects are not followed: a signature is valid for one host.
func (r *Resolver) newEndpoint(identity request.Key, of endpointSettings) (*endpoint, *reason.Error) {
	client, problem := httpClient("spec.caBundle", of.caBundle, r.IdleConnections)
	if problem != nil {
		return nil, problem
	}
	created := &endpoint{endpointSettings: of, clock: r.Clock, http: &http.Client{
		Timeout: attemptTimeout, Transport: client.GetTransport(), CheckRedirect: refuseRedirects,
	}}
	config := aws.Config{Region: of.region, HTTPClient: created.http}
	if of.url != "" {
		config.BaseEndpoint = &of.url
	} else { // the SDK rejects FIPS and dual stack with an endpoint
		config.ConfigSources = []any{r.Endpoints}
	}
	created.build = func() STS { return r.NewSTS(identity, config) }
	return created, nil
}

// refuseRedirects makes a client return the redirect.
func refuseRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// httpClient returns a client that trusts the authorities of the bundle in a field, or the system's without a bundle. It keeps up to
// the given number of idle connections, or the SDK's default if zero: a new connection for each call would cost more
// than the call. The slots of the limiter bound the open connections. (A transport with MaxConnsPerHost keeps closed
// connections, whose buffers contain responses of STS.)
func httpClient(field, caBundle string, connections int) (*awshttp.BuildableClient, *reason.Error) {
	client := awshttp.NewBuildableClient().WithTimeout(attemptTimeout)
	if connections > 0 {
		client = client.WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns, t.MaxIdleConnsPerHost = connections, connections
		})
	}
	if caBundle == "" {
		return client, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(caBundle)) {
		return nil, unready(v1alpha1.ReasonInvalidCABundle, nil, "%s contains no valid certificate. Set one or more PEM certificates.", field)
	}
	return client.WithTransportOptions(func(t *http.Transport) {
		t.TLSClientConfig.RootCAs = pool
	}), nil
}
