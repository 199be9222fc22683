// Package awssts asks STS, and tells its errors apart. No other package speaks to STS.
package awssts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go/middleware"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
)

// DefaultTimeout bounds one call with the SDK's retries if nothing else is set. STS answers within a second; a server that hangs must not
// hold a worker for long.
const DefaultTimeout = 10 * time.Second

// Client asks one STS with one identity's credentials. It keeps connections and the measured clock skew, so that there is to
// be one for an identity, not one for a call.
type Client struct {
	// Timeout bounds one call with the SDK's retries; DefaultTimeout if zero.
	Timeout time.Duration

	api   *sts.Client
	clock clock.PassiveClock
	skew  *skew
}

func (c *Client) timeout() time.Duration { return cmp.Or(c.Timeout, DefaultTimeout) }

// New returns a client for a region, endpoint and credentials. It takes over the clock skew that a client of the same STS
// measured before it, nil if there was none.
func New(config aws.Config, clock clock.PassiveClock, account Account, before *Client) *Client {
	c := &Client{clock: clock, skew: &skew{clock: clock}}
	if before != nil {
		c.skew = before.skew
	}
	c.api = sts.NewFromConfig(config, c.skew.measure, ignoreImplausibleDate, spare(account), measure(account))
	return c
}

// Errors of an answer that the SDK takes for a good one.
var (
	errNoCredentials = errors.New("the answer holds no credentials that can be used")
	errExpired       = errors.New("the credentials in the answer have expired already")
	// errIssuedExpired is errExpired for an answer that says itself what time it is.
	errIssuedExpired = errors.New("the credentials in the answer have expired already by the answer's own date")
)

// issuers has a function for each call that issues a credential.
var issuers = map[v1alpha1.Call]func(ctx context.Context, api *sts.Client, r request.Request, proof request.CallAuth) (request.Credentials, error){
	v1alpha1.CallAssumeRole:                assumeRole,
	v1alpha1.CallAssumeRoleWithWebIdentity: assumeRoleWithWebIdentity,
	v1alpha1.CallGetSessionToken:           getSessionToken,
	v1alpha1.CallGetFederationToken:        getFederationToken,
}

// Issue asks STS for a credential, with proof of who asks. See [Classify] for its errors.
func (c *Client) Issue(ctx context.Context, r request.Request, proof request.CallAuth) (request.Credentials, error) {
	call := r.Call
	if proof.WebIdentityToken != "" {
		call = v1alpha1.CallAssumeRoleWithWebIdentity
	}
	issue, ok := issuers[call]
	if !ok {
		return request.Credentials{}, fmt.Errorf("no call of STS is named %q", call)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	asked := c.clock.Now()
	issued, err := issue(ctx, c.api, r, proof)
	if err != nil {
		return request.Credentials{}, err
	}
	if !usable(issued) {
		return request.Credentials{}, errNoCredentials
	}
	issued.IssuedAt = c.issuedAt(asked, issued.Expiration.Add(-r.Duration)).UTC().Truncate(time.Second)
	_, known := c.Skew()
	switch expired := !issued.Expiration.After(c.now()); {
	case expired && known:
		return request.Credentials{}, errIssuedExpired
	case expired:
		return request.Credentials{}, errExpired
	}
	// A server that is not AWS may grant more than any request asks for. To refresh such a credential early does no harm.
	if longest := issued.IssuedAt.Add(reissue.MaxLifetime); issued.Expiration.After(longest) {
		issued.Expiration = longest
	}
	return issued, nil
}

// issuedAt returns when STS issued credentials by its own clock: when it was asked, but not before earliest.
func (c *Client) issuedAt(asked, earliest time.Time) time.Time {
	answered := c.clock.Now()
	ahead := c.skew.correct(answered, earliest)
	issuedAt := asked.Add(ahead)
	if issuedAt.Before(earliest) && earliest.Sub(answered.Add(ahead)) <= dateResolution {
		return earliest
	}
	return issuedAt
}

// usable is true for credentials that a request can be signed with, and that expire.
func usable(c request.Credentials) bool {
	return c.AccessKeyID != "" && len(c.AccessKeyID) <= reissue.MaxAccessKeyID && request.Sendable(c.AccessKeyID) && request.Sendable(string(c.SessionToken)) &&
		c.SecretAccessKey != "" && !c.Expiration.IsZero() && c.Expiration.Year() <= maxYear
}

// assumeRole is 'AssumeRole' of the AWS Security Token Service API Reference.
func assumeRole(ctx context.Context, api *sts.Client, r request.Request, proof request.CallAuth) (request.Credentials, error) {
	input := &sts.AssumeRoleInput{
		RoleArn:           &r.RoleARN,
		RoleSessionName:   &r.SessionName,
		DurationSeconds:   seconds(r.Duration),
		ExternalId:        optional(r.ExternalID),
		SourceIdentity:    optional(r.SourceIdentity),
		Policy:            optional(r.Policy),
		PolicyArns:        policies(r.PolicyARNs),
		Tags:              tags(r.Tags),
		TransitiveTagKeys: r.TransitiveTagKeys,
		SerialNumber:      optional(r.MFASerialNumber),
		TokenCode:         optional(string(proof.MFACode)),
	}
	output, err := api.AssumeRole(ctx, input)
	if err != nil {
		return request.Credentials{}, err
	}
	return roleCredential(output.Credentials, output.AssumedRoleUser, output.PackedPolicySize, output.ResultMetadata), nil
}

// assumeRoleWithWebIdentity is 'AssumeRoleWithWebIdentity' of the API Reference.
func assumeRoleWithWebIdentity(ctx context.Context, api *sts.Client, r request.Request, proof request.CallAuth) (request.Credentials, error) {
	output, err := api.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn:          &r.RoleARN,
		RoleSessionName:  &r.SessionName,
		WebIdentityToken: optional(string(proof.WebIdentityToken)),
		DurationSeconds:  seconds(r.Duration),
		Policy:           optional(r.Policy),
		PolicyArns:       policies(r.PolicyARNs),
	})
	if err != nil {
		return request.Credentials{}, err
	}
	return roleCredential(output.Credentials, output.AssumedRoleUser, output.PackedPolicySize, output.ResultMetadata), nil
}

// getSessionToken is 'GetSessionToken' of the API Reference.
func getSessionToken(ctx context.Context, api *sts.Client, r request.Request, proof request.CallAuth) (request.Credentials, error) {
	output, err := api.GetSessionToken(ctx, &sts.GetSessionTokenInput{
		DurationSeconds: seconds(r.Duration),
		SerialNumber:    optional(r.MFASerialNumber),
		TokenCode:       optional(string(proof.MFACode)),
	})
	if err != nil {
		return request.Credentials{}, err
	}
	return issuedCredential(output.Credentials, output.ResultMetadata), nil
}

// getFederationToken is 'GetFederationToken' of the API Reference.
func getFederationToken(ctx context.Context, api *sts.Client, r request.Request, _ request.CallAuth) (request.Credentials, error) {
	output, err := api.GetFederationToken(ctx, &sts.GetFederationTokenInput{
		Name:            &r.SessionName,
		DurationSeconds: seconds(r.Duration),
		Policy:          optional(r.Policy),
		PolicyArns:      policies(r.PolicyARNs),
		Tags:            tags(r.Tags),
	})
	if err != nil {
		return request.Credentials{}, err
	}
	issued := issuedCredential(output.Credentials, output.ResultMetadata)
	issued.PackedPolicySize = percent(output.PackedPolicySize)
	if output.FederatedUser != nil {
		issued.PrincipalARN = bounded(output.FederatedUser.Arn, maxARN)
	}
	return issued, nil
}

func seconds(d time.Duration) *int32 {
	return aws.Int32(int32(d / time.Second)) //nolint:gosec // the API's bounds are within 36h
}

func policies(arns []string) (described []types.PolicyDescriptorType) {
	for _, arn := range arns {
		described = append(described, types.PolicyDescriptorType{Arn: &arn})
	}
	return described
}

func tags(asked []request.Tag) (tags []types.Tag) {
	for _, tag := range asked {
		tags = append(tags, types.Tag{Key: &tag.Key, Value: &tag.Value})
	}
	return tags
}

// percent leaves out what cannot be a size.
func percent(size *int32) *int32 {
	if aws.ToInt32(size) < 0 || aws.ToInt32(size) > 100 {
		return nil
	}
	return size
}

func roleCredential(c *types.Credentials, user *types.AssumedRoleUser, packedPolicySize *int32, answer middleware.Metadata) request.Credentials {
	issued := issuedCredential(c, answer)
	issued.PackedPolicySize = percent(packedPolicySize)
	if user != nil { // servers that are not AWS may leave it out
		issued.PrincipalARN = bounded(user.Arn, maxARN)
	}
	return issued
}

func issuedCredential(c *types.Credentials, answer middleware.Metadata) request.Credentials {
	if c == nil {
		return request.Credentials{RequestID: requestID(answer)}
	}
	return request.Credentials{
		RequestID:       requestID(answer),
		AccessKeyID:     aws.ToString(c.AccessKeyId),
		SecretAccessKey: request.RedactedString(aws.ToString(c.SecretAccessKey)),
		SessionToken:    request.RedactedString(aws.ToString(c.SessionToken)),
		Expiration:      aws.ToTime(c.Expiration).UTC().Truncate(time.Second),
	}
}

// As long as what STS answers may be to be told in a status. AWS keeps to it.
const (
	maxARN       = reissue.MaxPrincipalARN
	maxAccountID = 64
	maxUserID    = 128
	maxYear      = 9999 // the last one that is a year in RFC 3339
)

// bounded leaves out what a strange server answers at a length that no status has room for.
func bounded(s *string, length int) string {
	if len(aws.ToString(s)) > length {
		return ""
	}
	return aws.ToString(s)
}

// optional leaves an empty parameter out of the request.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Caller is who STS takes a client for. The name of a role session is left out, since ambient sources choose another at
// each start.
type Caller struct{ AccountID, ARN, UserID string }

// Caller asks STS who the caller is. The error is [ErrNoCallerIdentity] for a server that cannot tell.
func (c *Client) Caller(ctx context.Context) (Caller, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	output, err := c.api.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Caller{}, callerError(err)
	}
	caller := Caller{AccountID: bounded(output.Account, maxAccountID), ARN: bounded(output.Arn, maxARN), UserID: bounded(output.UserId, maxUserID)}
	return caller.withoutSession(), nil
}

// assumedRole is the ARN of a role session: of the role, and the session's name (IAM User Guide, 'IAM identifiers').
var assumedRole = regexp.MustCompile(`^(arn:[^:]+:sts::[^:]*:assumed-role/[^/]+)/([^/]+)$`)

// withoutSession returns the caller of a role session without the session's name. It changes no ARN and no ID of another shape.
func (c Caller) withoutSession() Caller {
	session := assumedRole.FindStringSubmatch(c.ARN)
	if session == nil {
		return c
	}
	c.ARN, c.UserID = session[1], strings.TrimSuffix(c.UserID, ":"+session[2])
	return c
}
