// Package identity turns an identity into a client of STS that calls as it.
package identity

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/singleflight"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
)

// Object is an identity of either kind.
type Object interface {
	client.Object
	Settings() *v1alpha1.IdentitySettings
	Report() *v1alpha1.IdentityStatus
}

// Key names an identity among all.
type Key struct {
	Kind string
	types.NamespacedName
}

// Label is the key as metrics give it: an identity's name, with the namespace and a slash before it if it has one.
func (k Key) Label() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.String()
}

// Identity is who STS is called as.
type Identity[C any] struct {
	// Key is the identity's kind and name.
	Key Key
	// Name is the identity's kind and name, as messages give it.
	Name string
	// Allow is the identity's rules as they are now.
	Allow []v1alpha1.AllowRule
	// CallerARN is who STS takes the identity for; empty while it is not known.
	CallerARN string
	// ServiceAccount is whose token STS is called with, as the token's subject names it; empty for another source.
	ServiceAccount string
	// IssuerHash tells apart what one identity was at different times, where that could answer the same request differently.
	// It does not change with the rules or with a rotated key.
	IssuerHash string
	// Version changes with anything that may turn a refusal into success: the spec, or the source's Secret.
	Version string
	// SecretVersion is the resource version of the source's Secret; empty without one.
	SecretVersion string
	// Region whose STS is asked.
	Region string
	// Endpoint is the URL of the STS, empty for AWS's own.
	Endpoint string
	// Source is where its credentials come from, as messages give it.
	Source string
	// Chain lists the ARNs of the roles between the source and the role that a credential asks for.
	Chain []string
	// SessionTags is nil unless sessions are to be stamped.
	SessionTags *v1alpha1.SessionTags
	// QPS is how many calls of STS a second it may make, zero if it does not say.
	QPS int
	// Client asks STS as this identity.
	Client C

	credentials aws.CredentialsProvider
	token       TokenSource
	renew       func()
}

// TokenSource returns a web identity token.
type TokenSource = func(context.Context) (credential.Secret, error)

// WebIdentity returns where the token comes from that goes with a call for a role, nil if the call is signed instead: a chain
// shows a token to its first hop only.
func (i *Identity[C]) WebIdentity() TokenSource {
	if len(i.Chain) > 0 {
		return nil
	}
	return i.token
}

// Temporary tells whether the identity's own credentials are those of a session. Its error is a [failure.SourceError].
func (i *Identity[C]) Temporary(ctx context.Context) (bool, error) {
	if len(i.Chain) > 0 || i.token != nil {
		return true, nil
	}
	keys, err := i.credentials.Retrieve(ctx)
	return keys.SessionToken != "", err
}

// Refused drops what the identity calls STS with, which STS refused, so that the next call gets it anew.
func (i *Identity[C]) Refused() { i.renew() }

// issuer is what another answer to the same request may come from. A field that is not used must leave no trace in the hash,
// lest a new release refreshes every credential of a cluster at once.
type issuer struct {
	Source, Endpoint string
	Chain            []v1alpha1.Hop        `json:",omitempty"`
	SessionTags      *v1alpha1.SessionTags `json:",omitempty"`
}

// Resolver resolves identities, and keeps what it made of each for as long as its spec and its source's Secret stay as they
// are: connections, and credentials that refresh themselves.
type Resolver[C any] struct {
	// Reader reads identities, from a cache.
	Reader client.Reader
	// Secrets reads the Secrets of sources as they are now.
	Secrets client.Reader
	// Watch wakes those who use a source's Secret when it changes.
	Watch Watch
	// Tokens gets the tokens of service accounts.
	Tokens *Tokens
	// Endpoints of AWS to ask where an identity has none of its own.
	Endpoints Endpoints
	// Connections is how many connections an identity keeps open to its STS while they are used; as the SDK has it if zero.
	Connections int
	// Connect makes an identity's client of STS, in place of the one before, zero if there was none of the same spec.
	Connect func(identity Key, config aws.Config, before C) C
	// Assume returns the credentials of a role that an identity's config assumes, or a token if its source is not nil. They
	// refresh themselves.
	Assume func(Key, aws.Config, credential.Request, TokenSource) aws.CredentialsProvider
	// AllowNamespacedEndpoints lets an Identity have an endpoint. Who may create one in any namespace could aim the operator's
	// requests at what only the operator reaches.
	AllowNamespacedEndpoints bool

	making singleflight.Group
	mu     sync.Mutex
	kept   map[Key]*kept[C]
}

// Watch tells whether a Secret is still as it was seen, and wakes the identity's users when it is not.
type Watch interface {
	Await(identity Key, secret types.NamespacedName, seen string)
	Current(identity Key, secret types.NamespacedName, seen string) bool
	Done(identity Key)
}

// kept is what was made of an identity.
type kept[C any] struct {
	uid           types.UID
	generation    int64
	secretVersion string
	// refused tells that STS did not take the credentials, so that all is to be made anew.
	refused atomic.Bool
	// config has the credentials of the source.
	config aws.Config
	session[C]

	// ofAccounts has the sessions of a chain that begins with a service account's token, by the account. mu is held while one
	// is looked up or made, so that all who come as an account share its session.
	mu         sync.Mutex
	ofAccounts *cache.Expiring
}

// session is a client of STS, and the credentials that it calls with.
type session[C any] struct {
	client      C
	credentials aws.CredentialsProvider
}

// accountSessionFor is how long the session of a service account is kept. A hop's own lives no longer.
const accountSessionFor = time.Hour

// Resolve returns the identity that a reference names, for a credential with this service account, or a failure of
// ConditionAuthorized if there is none or its configuration cannot work. STS is not asked.
func (r *Resolver[C]) Resolve(ctx context.Context, ref v1alpha1.IdentityReference, account types.NamespacedName) (*Identity[C], *failure.Failure, error) {
	found, key := named(ref, account.Namespace)
	if found == nil {
		return nil, failure.Denied(v1alpha1.ReasonIdentityNotFound, "spec.identityRef.kind is %s, which this version of the operator does not know. "+
			"Name a ClusterIdentity or an Identity, or upgrade the operator if the CRDs are newer.", ref.Kind), nil
	}
	name := Name(ref)
	err := r.Reader.Get(ctx, key, found)
	if apierrors.IsNotFound(err) {
		return nil, failure.Denied(v1alpha1.ReasonIdentityNotFound, "There is no %s. Create it, or have spec.identityRef name another.", name), nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", name, err)
	}
	resolved, problem, err := r.Configure(ctx, found, account)
	if err != nil {
		return nil, nil, err
	}
	if problem != nil {
		denied := failure.Denied(v1alpha1.ReasonIdentityNotReady, "%s cannot be used: %s", name, problem.Message)
		denied.Retry = problem.Retry
		return nil, denied, nil
	}
	return resolved, nil, nil
}

// Configure makes an identity usable for a credential with this service account, or returns a failure of the identity's own
// ConditionReady that says what of its configuration cannot work.
func (r *Resolver[C]) Configure(ctx context.Context, found Object, account types.NamespacedName) (*Identity[C], *failure.Failure, error) {
	settings, source, key := found.Settings(), sourceOf(found), KeyOf(found)
	identity := &Identity[C]{
		Key:         key,
		Name:        Name(v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKind(key.Kind), Name: key.Name}),
		Allow:       rules(found),
		CallerARN:   found.Report().ARN,
		Region:      settings.Region,
		Endpoint:    settings.Endpoint,
		Source:      source.String(),
		SessionTags: settings.SessionTags,
		QPS:         int(settings.STSQPS),
		IssuerHash:  credential.Hash(issuer{source.String(), settings.Endpoint, settings.Chain, settings.SessionTags}),
	}
	for _, hop := range settings.Chain {
		identity.Chain = append(identity.Chain, hop.RoleARN)
	}
	if len(identity.Chain) > 0 {
		identity.Source = "a chain of roles: " + strings.Join(identity.Chain, ", ")
	}
	made, problem, err := r.made(ctx, found, source)
	if problem != nil || err != nil {
		return nil, problem, err
	}
	identity.renew = func() { made.refused.Store(true) }
	of := made.session
	if source.audience != "" {
		identity.ServiceAccount = "system:serviceaccount:" + account.Namespace + ":" + account.Name
		identity.token = func(ctx context.Context) (credential.Secret, error) {
			return r.Tokens.Token(ctx, account, source.audience)
		}
		identity.renew = func() {
			r.Tokens.Forget(account, source.audience)
			made.ofAccounts.Delete(account)
		}
		if len(identity.Chain) > 0 {
			of = r.ofAccount(made, found, account, identity.token)
		}
	}
	identity.Client, identity.credentials, identity.SecretVersion = of.client, of.credentials, made.secretVersion
	identity.Version = fmt.Sprintf("%s/%d/%s", found.GetUID(), found.GetGeneration(), identity.SecretVersion)
	return identity, nil, nil
}

// made returns what is made of an identity's present spec. All who come while it is made wait for it and share it: with it go
// connections, and sessions of a chain's hops.
func (r *Resolver[C]) made(ctx context.Context, found Object, source source) (*kept[C], *failure.Failure, error) {
	if made, ok := r.keptFor(found, source); ok {
		return made, nil, nil
	}
	type outcome struct {
		made    *kept[C]
		problem *failure.Failure
	}
	key := KeyOf(found)
	shared, err, _ := r.making.Do(fmt.Sprintf("%v/%s/%d", key, found.GetUID(), found.GetGeneration()), func() (any, error) {
		before, ok := r.keptFor(found, source)
		if ok { // by one who came just before
			return outcome{made: before}, nil
		}
		config, secretVersion, problem, err := r.config(ctx, found, source)
		if problem != nil || err != nil {
			return outcome{problem: problem}, err
		}
		if before != nil && !before.refused.Load() && secretVersion == before.secretVersion { // the watch was not up yet
			return outcome{made: before}, nil
		}
		var replaced C
		if before != nil {
			replaced = before.client
		}
		made := &kept[C]{uid: found.GetUID(), generation: found.GetGeneration(), secretVersion: secretVersion, config: config, ofAccounts: cache.NewExpiring()}
		made.session = r.connect(key, config, found.Settings().Chain, nil, replaced)
		r.keep(key, made)
		return outcome{made: made}, nil
	})
	of, _ := shared.(outcome)
	return of.made, of.problem, err
}

// ofAccount returns the session of a chain whose first hop is reached with a service account's token.
func (r *Resolver[C]) ofAccount(made *kept[C], found Object, account types.NamespacedName, token TokenSource) session[C] {
	made.mu.Lock()
	defer made.mu.Unlock()
	if held, ok := made.ofAccounts.Get(account); ok {
		if of, ok := held.(session[C]); ok {
			return of
		}
	}
	of := r.connect(KeyOf(found), made.config, found.Settings().Chain, token, made.client)
	made.ofAccounts.Set(account, of, accountSessionFor)
	return of
}

// connect makes the session at the end of a chain, with a client in place of one before. Its first hop is reached with a token,
// if one is to be had.
func (r *Resolver[C]) connect(identity Key, config aws.Config, chain []v1alpha1.Hop, token TokenSource, before C) session[C] {
	for _, hop := range chain {
		config.Credentials = r.Assume(identity, config, hopRequest(identity.Name, hop), token)
		token = nil
	}
	return session[C]{r.Connect(identity, config, before), config.Credentials}
}

// Forget drops all that was made of an identity that no longer exists.
func (r *Resolver[C]) Forget(key Key) {
	r.Watch.Done(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.kept, key)
}

// keptFor returns what was made of an identity's present spec, and whether it can still be used.
func (r *Resolver[C]) keptFor(found Object, source source) (*kept[C], bool) {
	r.mu.Lock()
	made, ok := r.kept[KeyOf(found)]
	r.mu.Unlock()
	if !ok || made.uid != found.GetUID() || made.generation != found.GetGeneration() {
		return nil, false
	}
	return made, !made.refused.Load() && (source.secret == nil || r.Watch.Current(KeyOf(found), *source.secret, made.secretVersion))
}

func (r *Resolver[C]) keep(key Key, made *kept[C]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil {
		r.kept = map[Key]*kept[C]{}
	}
	r.kept[key] = made
}
