package awssts

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
)

const (
	// hopLifetime is as long as a session may be that another session asked for, and as every role allows.
	hopLifetime = time.Hour
	// hopRefreshBefore is how long before its expiry a hop's session is refreshed, at the next call that needs it. The
	// sessions that it issued live on for as long as they were asked for.
	hopRefreshBefore = 5 * time.Minute
)

// Hop returns the credentials of a role that a config's own credentials assume. They are asked for when they are needed and
// refresh themselves. Their error is a [failure.HopError].
func Hop(config aws.Config, r credential.Request) aws.CredentialsProvider {
	provider := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(config), r.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = r.SessionName
		o.ExternalID = optional(r.ExternalID)
		o.Tags = tags(r.Tags)
		o.TransitiveTagKeys = r.TransitiveTagKeys
		o.Duration = hopLifetime
	})
	return hop{r.RoleARN, aws.NewCredentialsCache(provider, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = hopRefreshBefore })}
}

type hop struct {
	roleARN string
	cache   *aws.CredentialsCache
}

func (h hop) Retrieve(ctx context.Context) (aws.Credentials, error) {
	keys, err := h.cache.Retrieve(ctx)
	if err != nil {
		return keys, &failure.HopError{RoleARN: h.roleARN, Err: err}
	}
	return keys, nil
}
