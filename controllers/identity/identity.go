// Package identity resolves an identity to the credentials and the client that call STS for it, and verifies identities.
package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
)

// Identity is a resolved identity, for credentials with one service account. It builds no STS client before it calls STS.
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
	// Source describes the source of the credentials, for messages.
	Source string
	// Roles lists the ARNs of the roles of the chain, which are between the source and the role of a credential.
	Roles []string
	// IdentitySettings are those of the spec.
	*v1alpha1.IdentitySettings

	account    types.NamespacedName
	connection *connection
}

// Issue calls STS for session credentials. It first requests the token, if one authenticates the call, and the sessions of
// the chain. See [awssts.Classify] for its errors.
func (i *Identity) Issue(ctx context.Context, r request.Request, code request.RedactedString) (request.Credentials, error) {
	var auth request.CallAuth
	if i.reachedBySource(r.Call) {
		var err error
		if auth, err = i.connection.callAuth(ctx, i.account); err != nil {
			return request.Credentials{}, err
		}
		r.Call = i.connection.auth.firstCall()
	}
	auth.MFACode = code
	return i.connection.client().Issue(ctx, i.connection.keys(i), r, auth)
}

// errNoCaller is the result for an identity that has a token, but no credentials to call GetCallerIdentity with.
var errNoCaller = errors.New("only a token")

// Caller calls GetCallerIdentity. See [awssts.Client.Caller] for its errors. If a token authenticates the credentials' own calls, Caller
// only obtains that token, and returns errNoCaller or the [reason.TokenError].
func (i *Identity) Caller(ctx context.Context) (awssts.Caller, error) {
	if i.Call(v1alpha1.CallAssumeRole) == v1alpha1.CallAssumeRoleWithWebIdentity {
		if _, err := i.connection.callAuth(ctx, i.account); err != nil {
			return awssts.Caller{}, err
		}
		return awssts.Caller{}, errNoCaller
	}
	return i.connection.client().Caller(ctx, i.connection.keys(i))
}

// Call returns a call of the spec as AWS names it: the source may replace AssumeRole with a call of its own. With a chain,
// that is the call of the first hop.
func (i *Identity) Call(call v1alpha1.Call) v1alpha1.Call {
	if i.reachedBySource(call) {
		return i.connection.auth.firstCall()
	}
	return call
}

// reachedBySource reports whether the source, and not a hop, reaches the role of a credential.
func (i *Identity) reachedBySource(call v1alpha1.Call) bool {
	return call == v1alpha1.CallAssumeRole && len(i.Chain) == 0
}

// Subject returns what a message about a call says of the identity.
func (i *Identity) Subject(call v1alpha1.Call) reason.Subject {
	subject := reason.Subject{
		Identity: i.Name, Call: call, Endpoint: i.Endpoint, Region: i.Region, SendsName: i.AcceptsSessionName(), ClockInSync: i.ClockInSync(),
	}
	if source := i.connection.auth.rolesAnywhere; source != nil {
		subject.SessionEndpoint = source.Endpoint
		subject.HasSourceIdentity = len(i.Chain) > 0
	}
	return subject
}

// notVerifiable says why the identity has no caller that GetCallerIdentity returns; empty if it has one.
func (i *Identity) notVerifiable() string {
	switch {
	case i.ServiceAccount != "":
		return "Each credential calls STS with a token of its own service account, so this identity has no caller to verify."
	case i.Call(v1alpha1.CallAssumeRole) == v1alpha1.CallCreateSession:
		return "The source itself reaches the role of each credential, so this identity has no session of its own to verify."
	default:
		return ""
	}
}

// AcceptsSessionName reports whether the first call takes the name of the role session.
func (i *Identity) AcceptsSessionName() bool {
	source := i.connection.auth.rolesAnywhere
	return source == nil || source.SendsSessionName
}

// Temporary reports whether the identity's own credentials are session credentials. Its error is a
// [reason.SourceError].
func (i *Identity) Temporary(ctx context.Context) (bool, error) {
	if len(i.Chain) > 0 || i.connection.auth.firstCall() != v1alpha1.CallAssumeRole {
		return true, nil
	}
	keys, err := i.connection.auth.keys.Retrieve(ctx)
	return keys.SessionToken != "", err
}

// expires returns when what the source's Secret holds expires, by the operator's clock; zero if that is not known.
func (i *Identity) expires() time.Time {
	expires := i.connection.auth.expires
	if expires.IsZero() {
		return expires
	}
	ahead, _ := i.Skew()
	return expires.Add(-ahead)
}

// InvalidateCredentials drops the credentials that STS rejected, so that the next call uses new ones.
func (i *Identity) InvalidateCredentials() { i.connection.invalidate(i.account) }

// Skew returns how far the clock of STS is ahead of the operator's. It is false before the first response of STS.
func (i *Identity) Skew() (time.Duration, bool) { return i.connection.skew() }

// ClockInSync reports whether the clock of STS is known and agrees with the operator's.
func (i *Identity) ClockInSync() bool {
	skew, known := i.Skew()
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
	if problem != nil {
		denied := reason.Denied(v1alpha1.ReasonIdentityNotReady, "%s cannot be used: %s", name, problem.Message)
		denied.Retry = problem.Retry
		return nil, denied, nil
	}
	return resolved, nil, err
}

// Configure resolves an identity for a credential with this service account. It returns a failure of the identity's
// ConditionReady if the configuration is not usable. The identity is nil then, unless only the time of its certificate is
// wrong.
func (r *Resolver) Configure(ctx context.Context, found Object, account types.NamespacedName) (*Identity, *reason.Error, error) {
	settings, key := found.Settings(), KeyOf(found)
	source := sourceOf(found)
	made, problem, err := r.connect(ctx, found, source)
	if problem != nil || err != nil {
		return nil, problem, err
	}
	identity := &Identity{
		Key:           key,
		Name:          request.IdentityName(v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKind(key.Kind), Name: key.Name}),
		Allow:         found.Rules(),
		CallerARN:     found.Report().ARN,
		IssuerHash:    request.Hash(issuer{source.String(), settings.Endpoint, settings.Chain, settings.SessionTags}),
		Version:       fmt.Sprintf("%s/%d/%s", found.GetUID(), found.GetGeneration(), made.secretVersion),
		SecretVersion: made.secretVersion,
		Source:        source.String(),
		connection:    made,

		IdentitySettings: settings,
	}
	for _, hop := range settings.Chain {
		identity.Roles = append(identity.Roles, hop.RoleARN)
	}
	if len(identity.Roles) > 0 {
		identity.Source = "a chain of roles: " + strings.Join(identity.Roles, ", ")
	}
	if made.auth.perAccount {
		identity.account = account
		identity.ServiceAccount = "system:serviceaccount:" + account.Namespace + ":" + account.Name
	}
	if made.auth.rolesAnywhere != nil {
		problem = checkValidity(made.auth.rolesAnywhere.Certificate, *source.secretRef(), made.now())
	}
	return identity, problem, nil
}
