package awssts

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

const (
	// hopLifetime is as long as a session may be that another session asked for, and as every role allows.
	hopLifetime = time.Hour
	// hopRefreshBefore is how long before its expiry a hop's session is refreshed, at the next call that needs it. The
	// sessions that it issued live on for as long as they were asked for.
	hopRefreshBefore = 5 * time.Minute
)

// Hop returns the credentials of a role that a config's own credentials assume, or a token if its source is not nil. They are
// asked for when they are needed and refresh themselves. Their error is a [reason.HopError].
func Hop(config aws.Config, r request.Request, token func(context.Context) (request.RedactedString, error), account Account) aws.CredentialsProvider {
	api := sts.NewFromConfig(config, ignoreImplausibleDate, spare(account), measure(account))
	cached := aws.NewCredentialsCache(accounted{hopProvider(api, r, token), account, token != nil}, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = hopRefreshBefore })
	return hop{r, token != nil, cached}
}

// hopProvider calls STS for a hop's role, with a token if its source is not nil. It is stscreds.AssumeRoleProvider for servers that
// may leave fields out of their answer.
func hopProvider(api *sts.Client, r request.Request, token func(context.Context) (request.RedactedString, error)) aws.CredentialsProviderFunc {
	r.Duration = hopLifetime
	return func(ctx context.Context) (aws.Credentials, error) {
		issue, proof := assumeRole, request.CallAuth{}
		if token != nil {
			var err error
			if proof.WebIdentityToken, err = token(ctx); err != nil {
				return aws.Credentials{}, err
			}
			issue = assumeRoleWithWebIdentity
		}
		issued, err := issue(ctx, api, r, proof)
		if err == nil && !usable(issued) {
			err = errNoCredentials
		}
		if err != nil {
			return aws.Credentials{}, err
		}
		return aws.Credentials{
			AccessKeyID: issued.AccessKeyID, SecretAccessKey: string(issued.SecretAccessKey), SessionToken: string(issued.SessionToken),
			CanExpire: true, Expires: issued.Expiration,
		}, nil
	}
}

type hop struct {
	request     request.Request
	webIdentity bool
	cache       *aws.CredentialsCache
}

func (h hop) Retrieve(ctx context.Context) (aws.Credentials, error) {
	keys, err := h.cache.Retrieve(ctx)
	if err != nil {
		return keys, &reason.HopError{RoleARN: h.request.RoleARN, WebIdentity: h.webIdentity, OptionalFields: h.request.OptionalFields(), Err: err}
	}
	return keys, nil
}
