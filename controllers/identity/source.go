package identity

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/rolesanywhere"
)

// source obtains what authenticates an identity's STS calls. Each kind of source is one type in a file of its own, and a
// case of sourceOf.
type source interface {
	// String describes the source in messages. It is part of IssuerHash: another text reissues every credential.
	String() string
	// secretRef names the Secret that the source reads; nil for none.
	secretRef() *types.NamespacedName
	// open returns what authenticates the calls, or a failure of ConditionReady. It does not call STS. The Secret is nil
	// if secretRef is nil, or if it does not exist.
	open(ctx context.Context, r *Resolver, settings *v1alpha1.IdentitySettings, secret *corev1.Secret) (authenticator, *reason.Error)
}

// authenticator authenticates the first STS call of a chain, or the only one: keys sign it, unless token or rolesAnywhere is
// set.
type authenticator struct {
	keys aws.CredentialsProvider
	// token returns a web identity token for a credential with this service account. The token is valid at a time of the
	// clock of STS. Its error is a [reason.TokenError], or that of the context.
	token func(ctx context.Context, account types.NamespacedName, now time.Time) (request.RedactedString, error)
	// forgetToken makes token return another one; nil if it caches none.
	forgetToken func(account types.NamespacedName)
	// rolesAnywhere signs the first call, which is then CreateSession of IAM Roles Anywhere; nil for another call.
	rolesAnywhere *rolesanywhere.Source
	// perAccount is true if each service account has its own token, and so its own sessions.
	perAccount bool
	// expires is when what the source's Secret holds expires; zero if it does not, or if that is not known.
	expires time.Time
}

func sourceOf(found Object) source {
	switch of := found.Source(); {
	case of.AccessKey != nil:
		return accessKey{types.NamespacedName(of.AccessKey.SecretRef)}
	case of.Ambient != nil:
		return ambient{}
	case of.ServiceAccount != nil:
		return serviceAccount{cmp.Or(of.ServiceAccount.Audience, defaultAudience)}
	case of.X509 != nil:
		return certificate{types.NamespacedName(of.X509.SecretRef), of.X509.RolesAnywhereSettings}
	case of.OIDC != nil:
		return oidcClient{of.OIDC.OIDCSettings, secretKeyOf(of.OIDC.ClientSecretRef)}
	case of.WebIdentityToken != nil:
		return webIdentityToken{secretKeyOf(of.WebIdentityToken.SecretRef)}
	default:
		return unsupported{KeyOf(found).Kind}
	}
}

func secretKeyOf(ref v1alpha1.NamespacedSecretKeyReference) secretKey {
	return secretKey{types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, ref.Key}
}

// firstCall returns the call, as AWS names it, that reaches the first role.
func (a authenticator) firstCall() v1alpha1.Call {
	switch {
	case a.token != nil:
		return v1alpha1.CallAssumeRoleWithWebIdentity
	case a.rolesAnywhere != nil:
		return v1alpha1.CallCreateSession
	default:
		return v1alpha1.CallAssumeRole
	}
}

// unsupported is the source of an object whose source only a newer CRD has: decoding loses it.
type unsupported struct{ kind string }

func (unsupported) String() string                   { return "none" }
func (unsupported) secretRef() *types.NamespacedName { return nil }

func (s unsupported) open(context.Context, *Resolver, *v1alpha1.IdentitySettings, *corev1.Secret) (authenticator, *reason.Error) {
	return authenticator{}, unready(v1alpha1.ReasonInvalidSourceCredentials, nil, "spec.source of %s has no source that this version of the operator supports. "+
		"Set exactly one source, or upgrade the operator if the CRDs are newer.", s.kind)
}

// sourceErrorProvider wraps the source's errors, so that they are not classified as errors of STS.
type sourceErrorProvider struct{ source aws.CredentialsProvider }

func (p sourceErrorProvider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	keys, err := p.source.Retrieve(ctx)
	if err == nil && (!request.Sendable(keys.AccessKeyID) || !request.Sendable(keys.SessionToken)) {
		err = errNotSendable
	}
	if err != nil {
		return aws.Credentials{}, &reason.SourceError{Err: err}
	}
	return keys, nil
}

var errNotSendable = errors.New("the access key ID or the session token contains a control character, which is not valid in a request")
