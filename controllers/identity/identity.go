// Package identity resolves an identity to an STS client with its credentials.
package identity

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/singleflight"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
)

// Object is an identity of either kind.
type Object interface {
	client.Object
	Settings() *v1alpha1.IdentitySettings
	Report() *v1alpha1.IdentityStatus
}

// Identity is a resolved identity: its rules, and an STS client with its credentials.
type Identity struct {
	// Key is the identity's kind and name.
	Key request.Key
	// Name is the identity's kind and name, for messages.
	Name string
	// Allow contains the identity's current rules.
	Allow []v1alpha1.AllowRule
	// CallerARN is the ARN that GetCallerIdentity returned for the identity; empty if it is not known.
	CallerARN string
	// ServiceAccount is the subject of the token that STS is called with; empty for another source.
	ServiceAccount string
	// IssuerHash changes when the same request could have a different result: with the source, endpoint, chain or
	// session tags. It does not change with the rules or with a rotated key.
	IssuerHash string
	// Version changes with anything that may turn a failure into success: the spec, or the source's Secret.
	Version string
	// SecretVersion is the resource version of the source's Secret; empty without one.
	SecretVersion string
	// Region of the STS endpoint.
	Region string
	// Endpoint is the URL of the STS endpoint; empty for AWS's own.
	Endpoint string
	// Source describes the source of the credentials, for messages.
	Source string
	// Chain lists the ARNs of the roles between the source and the role of a credential.
	Chain []string
	// SessionTags is nil if sessions get no tags of the credential.
	SessionTags *v1alpha1.SessionTags
	// QPS is the identity's own rate limit of STS calls per second; 0 if it has none.
	QPS int
	// Client calls STS with this identity's credentials.
	Client STS

	credentials aws.CredentialsProvider
	token       TokenSource
	invalidate  func()
}

// TokenSource returns a web identity token.
type TokenSource = func(context.Context) (request.RedactedString, error)

// WebIdentity returns the source of the token for an AssumeRoleWithWebIdentity call. It is nil if the call is signed
// instead: with a chain, only the first hop uses the token.
func (i *Identity) WebIdentity() TokenSource {
	if len(i.Chain) > 0 {
		return nil
	}
	return i.token
}

// Temporary reports whether the identity's own credentials are session credentials. Its error is a
// [reason.SourceError].
func (i *Identity) Temporary(ctx context.Context) (bool, error) {
	if len(i.Chain) > 0 || i.token != nil {
		return true, nil
	}
	keys, err := i.credentials.Retrieve(ctx)
	return keys.SessionToken != "", err
}

// Refused invalidates the credentials that STS rejected, so that the next call uses new ones.
func (i *Identity) Refused() { i.invalidate() }

// ClockInSync reports whether the clock of STS is known and agrees with the operator's.
func (i *Identity) ClockInSync() bool {
	skew, known := i.Client.Skew()
	return known && skew.Abs() <= reissue.ClockTolerance
}

// issuer is hashed into IssuerHash, which is stored in Secrets. An unused field must not change the hash, and the names in
// the tags never change: otherwise an upgrade refreshes every credential of a cluster at once.
type issuer struct {
	Source      string                `json:"Source"`
	Endpoint    string                `json:"Endpoint"`
	Chain       []v1alpha1.Hop        `json:"Chain,omitempty"`
	SessionTags *v1alpha1.SessionTags `json:"SessionTags,omitempty"`
}

// STS is the client of one identity.
type STS interface {
	Issue(ctx context.Context, r request.Request, proof request.CallAuth) (request.Credentials, error)
	Caller(ctx context.Context) (awssts.Caller, error)
	// Skew returns how far the clock of STS is ahead of the operator's, and false before the first answer of STS.
	Skew() (time.Duration, bool)
}

// Resolver resolves identities. It caches their connections and self-refreshing credentials until the spec or the
// source's Secret changes.
type Resolver struct {
	// Reader reads identities, from a cache.
	Reader client.Reader
	// Secrets reads the Secrets of sources, without a cache.
	Secrets client.Reader
	// Watch enqueues an identity and its credentials when the source's Secret changes.
	Watch Watch
	// Tokens gets the tokens of service accounts.
	Tokens *Tokens
	// Endpoints selects AWS's endpoints for identities without an endpoint.
	Endpoints Endpoints
	// Connections is the number of idle connections that each identity keeps; the SDK's default if zero.
	Connections int
	// Connect creates an identity's STS client. It replaces the client before, which is zero if there was none.
	Connect func(identity request.Key, config aws.Config, before STS) STS
	// Assume returns self-refreshing credentials of a role, assumed with the config or, if the source is not nil,
	// with a token.
	Assume func(request.Key, aws.Config, request.Request, TokenSource) aws.CredentialsProvider
	// AllowNamespacedEndpoints allows spec.endpoint in an Identity. A user who may create an Identity could then
	// direct the operator's requests to servers that only the operator can reach.
	AllowNamespacedEndpoints bool

	builds singleflight.Group
	mu     sync.Mutex
	cache  map[request.Key]*cacheEntry
}

// Watch subscribes an identity to changes of a Secret, and reports whether the Secret still has a version.
type Watch interface {
	Subscribe(identity request.Key, secret types.NamespacedName, seen string)
	IsCurrent(identity request.Key, secret types.NamespacedName, seen string) bool
	Unsubscribe(identity request.Key)
}

// Resolve returns the identity of a reference, for a credential with this service account. It returns a failure of
// ConditionAuthorized if the identity does not exist or is not usable. It does not call STS.
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
	resolved, problem, err := r.Configure(ctx, found, account)
	if err != nil {
		return nil, nil, err
	}
	if problem != nil {
		denied := reason.Denied(v1alpha1.ReasonIdentityNotReady, "%s cannot be used: %s", name, problem.Message)
		denied.Retry = problem.Retry
		return nil, denied, nil
	}
	return resolved, nil, nil
}

// Configure resolves an identity for a credential with this service account. It returns a failure of the identity's
// ConditionReady if the configuration is not usable.
func (r *Resolver) Configure(ctx context.Context, found Object, account types.NamespacedName) (*Identity, *reason.Error, error) {
	settings, source, key := found.Settings(), sourceOf(found), KeyOf(found)
	identity := &Identity{
		Key:         key,
		Name:        request.IdentityName(v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKind(key.Kind), Name: key.Name}),
		Allow:       rules(found),
		CallerARN:   found.Report().ARN,
		Region:      settings.Region,
		Endpoint:    settings.Endpoint,
		Source:      source.String(),
		SessionTags: settings.SessionTags,
		QPS:         int(settings.STSQPS),
		IssuerHash:  request.Hash(issuer{source.String(), settings.Endpoint, settings.Chain, settings.SessionTags}),
	}
	for _, hop := range settings.Chain {
		identity.Chain = append(identity.Chain, hop.RoleARN)
	}
	if len(identity.Chain) > 0 {
		identity.Source = "a chain of roles: " + strings.Join(identity.Chain, ", ")
	}
	made, problem, err := r.getOrBuild(ctx, found, source)
	if problem != nil || err != nil {
		return nil, problem, err
	}
	identity.invalidate = func() { made.refused.Store(true) }
	of := made.session
	if source.audience != "" {
		identity.ServiceAccount = "system:serviceaccount:" + account.Namespace + ":" + account.Name
		identity.token = func(ctx context.Context) (request.RedactedString, error) {
			return r.Tokens.Token(ctx, account, source.audience)
		}
		identity.invalidate = func() {
			r.Tokens.Forget(account, source.audience)
			made.accountSessions.Delete(account)
		}
		if len(identity.Chain) > 0 {
			of = r.sessionOf(made, found, account, identity.token)
		}
	}
	identity.Client, identity.credentials, identity.SecretVersion = of.client, of.credentials, made.secretVersion
	identity.Version = fmt.Sprintf("%s/%d/%s", found.GetUID(), found.GetGeneration(), identity.SecretVersion)
	return identity, nil, nil
}
