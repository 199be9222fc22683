// Package awssts calls STS and classifies its errors. No other package calls STS.
package awssts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go/middleware"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
)

const (
	// DefaultTimeout bounds one call with the SDK's retries if nothing else is set. STS answers within a second.
	DefaultTimeout = 10 * time.Second
	// hopLifetime is the longest lifetime of a session that another session requests (IAM User Guide, 'Role chaining').
	// Every role allows it.
	hopLifetime = time.Hour
	// hopRefreshBefore is how long before its expiry a hop's session is refreshed, at the next call that needs it.
	hopRefreshBefore = 5 * time.Minute
)

// Client calls one STS endpoint. All callers of an identity share a client: its connections, retry quota and measured
// clock skew.
type Client struct {
	// Timeout bounds one call with the SDK's retries; DefaultTimeout if zero. It bounds network I/O, so it runs on real
	// time and not on the injected clock.
	Timeout time.Duration

	api      *sts.Client
	clock    clock.PassiveClock
	skew     *skew
	recorder Recorder
	// ofAWS is true if the endpoint is AWS's own.
	ofAWS bool
}

// Recorder counts the requests that a client sends.
type Recorder interface {
	// Spend counts a call that takes no token of the rate limit: an SDK retry, or the call of a hop.
	Spend()
	// HopCalled counts the call of a hop and its result, a reason of ConditionIssued.
	HopCalled(call v1alpha1.Call, reason string)
	// Requested is called before each HTTP request, and the function that it returns when the request ends.
	Requested(call string) (ended func())
}

// New returns a client for the region, endpoint and HTTP client of a config. The config's credentials are not used.
func New(config aws.Config, clock clock.PassiveClock, recorder Recorder) *Client {
	c := &Client{clock: clock, skew: &skew{clock: clock}, recorder: recorder, ofAWS: config.BaseEndpoint == nil}
	c.api = sts.NewFromConfig(config, func(o *sts.Options) {
		o.APIOptions = append(o.APIOptions, c.skew.measure)
		o.Credentials = nil
		o.HTTPClient = httpClient{o.HTTPClient, recorder}
		o.HTTPSignerV4 = signer{}
	})
	return c
}

// Errors of a response that the SDK accepts.
var (
	errNoCredentials = errors.New("the response contains no usable credentials")
	errExpired       = errors.New("the credentials in the response have already expired")
	// errIssuedExpired is errExpired for a response with a Date to compare with.
	errIssuedExpired = errors.New("the credentials in the response have already expired by the response's own date")
)

// Issue calls STS for session credentials. The request's call is named as AWS names it. It is signed with keys, or authenticated by a web
// identity token or a certificate. See [Classify] for its errors.
func (c *Client) Issue(ctx context.Context, keys aws.CredentialsProvider, r request.Request, auth request.CallAuth) (request.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Timeout, DefaultTimeout))
	defer cancel()
	called := c.clock.Now()
	var a answer
	var err error
	switch r.Call {
	case v1alpha1.CallAssumeRole:
		var out *sts.AssumeRoleOutput
		if out, err = c.api.AssumeRole(ctx, assumeRole(r, auth), c.signedWith(keys, auth.MFACode)); err == nil {
			a = answer{out.Credentials, ptr.Deref(out.AssumedRoleUser, types.AssumedRoleUser{}).Arn, out.PackedPolicySize, out.ResultMetadata}
		}
	case v1alpha1.CallAssumeRoleWithWebIdentity:
		var out *sts.AssumeRoleWithWebIdentityOutput
		if out, err = c.api.AssumeRoleWithWebIdentity(ctx, assumeRoleWithWebIdentity(r, auth), c.signedWith(nil, "")); err == nil {
			a = answer{out.Credentials, ptr.Deref(out.AssumedRoleUser, types.AssumedRoleUser{}).Arn, out.PackedPolicySize, out.ResultMetadata}
		}
	case v1alpha1.CallCreateSession:
		a, err = c.createSession(ctx, r, auth.RolesAnywhere)
	case v1alpha1.CallGetSessionToken:
		var out *sts.GetSessionTokenOutput
		if out, err = c.api.GetSessionToken(ctx, getSessionToken(r, auth), c.signedWith(keys, auth.MFACode)); err == nil {
			a = answer{out.Credentials, nil, nil, out.ResultMetadata}
		}
	case v1alpha1.CallGetFederationToken:
		var out *sts.GetFederationTokenOutput
		if out, err = c.api.GetFederationToken(ctx, getFederationToken(r), c.signedWith(keys, "")); err == nil {
			a = answer{out.Credentials, ptr.Deref(out.FederatedUser, types.FederatedUser{}).Arn, out.PackedPolicySize, out.ResultMetadata}
		}
	default:
		err = fmt.Errorf("STS has no call %q", r.Call)
	}
	if err != nil {
		return request.Credentials{}, err
	}
	return c.accept(a, called, r.Duration)
}

// accept returns the credentials of an answer, with the time of issue by the clock of STS.
func (c *Client) accept(a answer, called time.Time, duration time.Duration) (request.Credentials, error) {
	issued, ok := a.credentials()
	if !ok {
		return request.Credentials{}, errNoCredentials
	}
	issued.IssuedAt = c.skew.issuedAt(called, issued.Expiration.Add(-duration)).UTC().Truncate(time.Second)
	offset, known := c.Skew()
	switch expired := !issued.Expiration.After(c.clock.Now().Add(offset)); {
	case expired && known:
		return request.Credentials{}, errIssuedExpired
	case expired:
		return request.Credentials{}, errExpired
	}
	// Another server may grant more than any request asks for. An early refresh does no harm.
	if longest := issued.IssuedAt.Add(reissue.MaxLifetime); issued.Expiration.After(longest) {
		issued.Expiration = longest
	}
	return issued, nil
}

// Hop returns the self-refreshing credentials of a role. The first call that needs them assumes the role, with the call of
// the request. It is signed with keys, unless auth is not nil. Their error is a [reason.HopError].
//
// The providers of package stscreds do not do: they panic if a server leaves fields out of its response.
func (c *Client) Hop(keys aws.CredentialsProvider, r request.Request, auth func(context.Context) (request.CallAuth, error)) aws.CredentialsProvider {
	r.Duration = hopLifetime
	assume := func(ctx context.Context) (aws.Credentials, error) {
		var with request.CallAuth
		if auth != nil {
			var err error
			if with, err = auth(ctx); err != nil {
				return aws.Credentials{}, err
			}
		}
		issued, err := c.Issue(ctx, keys, r, with)
		c.recordHop(r.Call, err)
		return aws.Credentials{
			AccessKeyID: issued.AccessKeyID, SecretAccessKey: string(issued.SecretAccessKey), SessionToken: string(issued.SessionToken),
			CanExpire: true, Expires: issued.Expiration,
		}, err
	}
	cache := aws.NewCredentialsCache(aws.CredentialsProviderFunc(assume), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = hopRefreshBefore })
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		session, err := cache.Retrieve(ctx)
		if err != nil {
			err = &reason.HopError{RoleARN: r.RoleARN, Call: r.Call, OptionalFields: r.OptionalFields(), Err: err}
		}
		return session, err
	})
}

func (c *Client) recordHop(call v1alpha1.Call, err error) {
	if notCalled(err) {
		return
	}
	result := v1alpha1.ReasonIssued
	if err != nil {
		result, _ = classify(err)
	}
	c.recorder.Spend()
	c.recorder.HopCalled(call, result)
}

// signedWith signs one call with keys, nil for a call with a token. It also wraps the retryer: that of the client's options is
// itself wrapped by the SDK, which would retry a call whenever a hop or a source failed with IDPCommunicationError.
func (c *Client) signedWith(keys aws.CredentialsProvider, mfaCode request.RedactedString) func(*sts.Options) {
	return func(o *sts.Options) {
		o.Credentials, o.Retryer = keys, retryer{o.Retryer, c.recorder, mfaCode != ""}
	}
}

// answer is what the responses of all calls have in common. Other servers than AWS may leave any field out.
type answer struct {
	session          *types.Credentials
	principalARN     *string
	packedPolicySize *int32
	metadata         middleware.Metadata
}

// maxYear is the last year that RFC 3339 can express.
const maxYear = 9999

// credentials returns the session credentials, and whether a request can be signed with them.
func (a answer) credentials() (c request.Credentials, usable bool) {
	if a.session == nil {
		return c, false
	}
	c = request.Credentials{
		RequestID:       idOfResponse(a.metadata),
		AccessKeyID:     aws.ToString(a.session.AccessKeyId),
		SecretAccessKey: request.RedactedString(aws.ToString(a.session.SecretAccessKey)),
		SessionToken:    request.RedactedString(aws.ToString(a.session.SessionToken)),
		Expiration:      aws.ToTime(a.session.Expiration).UTC().Truncate(time.Second),
	}
	if arn := aws.ToString(a.principalARN); len(arn) <= reissue.MaxPrincipalARN {
		c.PrincipalARN = arn
	}
	if size := aws.ToInt32(a.packedPolicySize); size >= 0 && size <= 100 { // percent
		c.PackedPolicySize = a.packedPolicySize
	}
	return c, c.AccessKeyID != "" && len(c.AccessKeyID) <= reissue.MaxAccessKeyID && request.Sendable(c.AccessKeyID) && request.Sendable(string(c.SessionToken)) &&
		c.SecretAccessKey != "" && !c.Expiration.IsZero() && c.Expiration.Year() <= maxYear
}
