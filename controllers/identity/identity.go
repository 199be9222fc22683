// Package identity turns an identity into a client of STS that calls as it.
package identity

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
)

// Key names an identity among all.
type Key struct {
	Kind string
	types.NamespacedName
}

// Identity is who STS is called as.
type Identity[C any] struct {
	// Key is the identity's kind and name.
	Key Key
	// Name is the identity's kind and name, as messages give it.
	Name string
	// Generation of the identity's spec.
	Generation int64
	// Allow is the identity's rules as they are now.
	Allow []v1alpha1.AllowRule
	// CallerARN is who STS takes the identity for; empty while it is not known.
	CallerARN string
	// IssuerHash tells apart what one identity was at different times, where that could answer the same request differently.
	// It does not change with the rules or with a rotated key.
	IssuerHash string
	// Version changes with anything that may turn a refusal into success: the spec, or the source's Secret.
	Version string
	// SecretVersion is the resource version of the source's Secret; empty without one.
	SecretVersion string
	// Endpoint is the URL of the STS, empty for AWS's own.
	Endpoint string
	// Source is where its credentials come from, as messages give it.
	Source string
	// Chain lists the ARNs of the roles between the source and the role that a credential asks for.
	Chain []string
	// SessionTags is nil unless sessions are to be stamped.
	SessionTags *v1alpha1.SessionTags
	// Client asks STS as this identity.
	Client C

	credentials aws.CredentialsProvider
}

// Temporary tells whether the identity's own credentials are those of a session. Its error is a [failure.SourceError].
func (i *Identity[C]) Temporary(ctx context.Context) (bool, error) {
	if len(i.Chain) > 0 {
		return true, nil
	}
	keys, err := i.credentials.Retrieve(ctx)
	return keys.SessionToken != "", err
}

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
	// Connect makes a client of STS.
	Connect func(aws.Config) C
	// Assume returns the credentials of a role that a config's credentials assume, which refresh themselves.
	Assume func(aws.Config, credential.Request) aws.CredentialsProvider

	mu   sync.Mutex
	kept map[Key]kept[C]
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
	client        C
	credentials   aws.CredentialsProvider
}

// Resolve returns the identity that a reference names, or a failure of ConditionAuthorized if there is none or its
// configuration cannot work. STS is not asked.
func (r *Resolver[C]) Resolve(ctx context.Context, ref v1alpha1.IdentityReference) (*Identity[C], *failure.Failure, error) {
	found := &v1alpha1.ClusterIdentity{}
	name := Name(ref)
	err := r.Reader.Get(ctx, client.ObjectKey{Name: ref.Name}, found)
	if apierrors.IsNotFound(err) {
		return nil, failure.Denied(v1alpha1.ReasonIdentityNotFound, "There is no %s. Create it, or have spec.identityRef name another.", name), nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", name, err)
	}
	resolved, problem, err := r.Configure(ctx, found)
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

// Configure makes an identity usable, or returns a failure of the identity's own ConditionReady that says what of its
// configuration cannot work.
func (r *Resolver[C]) Configure(ctx context.Context, found *v1alpha1.ClusterIdentity) (*Identity[C], *failure.Failure, error) {
	source := sourceOf(found)
	identity := &Identity[C]{
		Key:         KeyOf(found),
		Name:        Name(v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindClusterIdentity, Name: found.Name}),
		Generation:  found.Generation,
		CallerARN:   found.Status.ARN,
		Endpoint:    found.Spec.Endpoint,
		Source:      source.String(),
		SessionTags: found.Spec.SessionTags,
		IssuerHash:  credential.Hash(issuer{source.String(), found.Spec.Endpoint, found.Spec.Chain, found.Spec.SessionTags}),
	}
	for _, hop := range found.Spec.Chain {
		identity.Chain = append(identity.Chain, hop.RoleARN)
	}
	if len(identity.Chain) > 0 {
		identity.Source = "a chain of roles: " + strings.Join(identity.Chain, ", ")
	}
	if found.Spec.Allow != nil {
		identity.Allow = *found.Spec.Allow
	}
	made, ok := r.keptFor(found, source)
	if !ok {
		config, secretVersion, problem, err := r.config(ctx, found, source)
		if problem != nil || err != nil {
			return nil, problem, err
		}
		made = kept[C]{uid: found.UID, generation: found.Generation, secretVersion: secretVersion, client: r.Connect(config), credentials: config.Credentials}
		r.keep(identity.Key, made)
	}
	identity.Client, identity.SecretVersion, identity.credentials = made.client, made.secretVersion, made.credentials
	identity.Version = fmt.Sprintf("%s/%d/%s", found.UID, found.Generation, identity.SecretVersion)
	return identity, nil, nil
}

// Forget drops all that was made of an identity that no longer exists.
func (r *Resolver[C]) Forget(key Key) {
	r.Watch.Done(key)
	r.Rebuild(key)
}

// Rebuild drops the client of an identity whose source credentials STS refused, so that the next call reads them anew.
func (r *Resolver[C]) Rebuild(key Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.kept, key)
}

func (r *Resolver[C]) keptFor(found *v1alpha1.ClusterIdentity, source source) (kept[C], bool) {
	r.mu.Lock()
	made, ok := r.kept[KeyOf(found)]
	r.mu.Unlock()
	if !ok || made.uid != found.UID || made.generation != found.Generation {
		return kept[C]{}, false
	}
	return made, source.secret == nil || r.Watch.Current(KeyOf(found), *source.secret, made.secretVersion)
}

func (r *Resolver[C]) keep(key Key, made kept[C]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil {
		r.kept = map[Key]kept[C]{}
	}
	r.kept[key] = made
}

// KeyOf returns an identity's key.
func KeyOf(found *v1alpha1.ClusterIdentity) Key {
	return Key{Kind: string(v1alpha1.IdentityKindClusterIdentity), NamespacedName: client.ObjectKeyFromObject(found)}
}

// Name returns a reference as messages give it: kind and name.
func Name(ref v1alpha1.IdentityReference) string { return string(ref.Kind) + " " + ref.Name }
