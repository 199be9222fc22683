package awssts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"rolecredential.dev/operator/api/v1alpha1"
)

// Caller is the IAM principal that GetCallerIdentity returns. Fields are empty if the server returned none that is safe
// to report. The name of a role session is left out, since ambient sources choose another at each start.
type Caller struct{ AccountID, ARN, UserID string }

// ErrNoCallerIdentity is the error of a server that does not support GetCallerIdentity.
var ErrNoCallerIdentity = errors.New("the server does not support GetCallerIdentity")

// Caller calls GetCallerIdentity with keys. The error is [ErrNoCallerIdentity] if the server does not support the call.
func (c *Client) Caller(ctx context.Context, keys aws.CredentialsProvider) (Caller, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Timeout, DefaultTimeout))
	defer cancel()
	output, err := c.api.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, c.signedWith(keys, ""))
	if err != nil {
		return Caller{}, callerError(err)
	}
	caller := Caller{AccountID: reportable(output.Account, maxAccountID), ARN: reportable(output.Arn, maxCallerARN), UserID: reportable(output.UserId, maxUserID)}
	if c.ofAWS && !callerARN.MatchString(caller.ARN) {
		caller.ARN = ""
	}
	return caller.withoutSession(), nil
}

// callerError distinguishes a server that does not know the call from one that denies it. AWS denies the call to no valid
// caller, and the call takes no parameter that could be invalid (API reference, 'GetCallerIdentity'). Only an error
// document shows that the server is STS. An error of the source or of a hop is not about this call.
func callerError(err error) error {
	if _, document := errorCode(err); !document || notCalled(err) {
		return err
	}
	if why, answer := classify(err); why != v1alpha1.ReasonInvalidRequest && answer.Status != http.StatusNotFound {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNoCallerIdentity, err)
}

// The caller is reported in conditions of every namespace that uses the identity, so a server must not be able to put
// free text there. The lengths are those of AWS, and the ARN's leaves room for the longest user name and path in use.
const (
	maxCallerARN = 256
	maxAccountID = 64
	maxUserID    = 128
)

var (
	callerARN = regexp.MustCompile(`^arn:[\w-]+:(iam|sts)::\d{12}:[[:graph:]]+$`)
	printable = regexp.MustCompile(`^[[:graph:]]+$`)
	// assumedRole is the ARN of a role session: the role, and the session's name (IAM User Guide, 'IAM identifiers').
	assumedRole = regexp.MustCompile(`^(arn:[^:]+:sts::[^:]*:assumed-role/[^/]+)/([^/]+)$`)
)

// reportable returns printable ASCII without spaces of at most a length in bytes; anything else becomes empty.
func reportable(s *string, length int) string {
	text := aws.ToString(s)
	if len(text) > length || !printable.MatchString(text) {
		return ""
	}
	return text
}

// withoutSession removes the name of a role session. It changes no ARN and no ID of another form.
func (c Caller) withoutSession() Caller {
	session := assumedRole.FindStringSubmatch(c.ARN)
	if session == nil {
		return c
	}
	c.ARN, c.UserID = session[1], strings.TrimSuffix(c.UserID, ":"+session[2])
	return c
}
