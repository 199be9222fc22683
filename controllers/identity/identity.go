// Package identity resolves an identity to the credentials and the client that call STS for it, and verifies identities.
package identity

import (
	"context"
	"errors"
	"time"

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

// Issue calls STS for session credentials. It first requests the token, if the source has tokens and the identity no chain,
// or the sessions of the chain. See [awssts.Classify] for its errors.
func (i *Identity) Issue(ctx context.Context, r request.Request, code request.RedactedString) (request.Credentials, error) {
	var auth request.CallAuth
	if i.reachedBySource(r.Call) {
		var err error
		if auth, err = i.connection.callAuth(ctx, i.account); err != nil {
			return request.Credentials{}, err
		}
		r.Call = i.connection.authenticator.firstCall()
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
// the source only replaces that of the first hop.
func (i *Identity) Call(call v1alpha1.Call) v1alpha1.Call {
	if i.reachedBySource(call) {
		return i.connection.authenticator.firstCall()
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
	if source := i.connection.authenticator.rolesAnywhere; source != nil {
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
	source := i.connection.authenticator.rolesAnywhere
	return source == nil || source.SendsSessionName
}

// Temporary reports whether the identity's own credentials are session credentials. Its error is a
// [reason.SourceError].
func (i *Identity) Temporary(ctx context.Context) (bool, error) {
	if len(i.Chain) > 0 || i.connection.authenticator.firstCall() != v1alpha1.CallAssumeRole {
		return true, nil
	}
	keys, err := i.connection.authenticator.keys.Retrieve(ctx)
	return keys.SessionToken != "", err
}

// expires returns when what the source's Secret holds expires, by the operator's clock; zero if that is not known.
func (i *Identity) expires() time.Time {
	expires := i.connection.authenticator.expires
	if expires.IsZero() {
		return expires
	}
	skew, _ := i.Skew()
	return expires.Add(-skew)
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
