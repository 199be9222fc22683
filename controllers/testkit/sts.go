package testkit

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/rolesanywhere"
)

// Tokens issues the tokens of service accounts. Each token names its subject and audience.
type Tokens struct {
	Clock     *clocktesting.FakePassiveClock
	Requested []string // subject and audience
	Err       error
}

// APIAudience is the audience of the API server itself.
const APIAudience = "https://api.example"

// Issue handles a TokenRequest.
func (i *Tokens) Issue(_ context.Context, _ client.Client, _ string, object, body client.Object, _ ...client.SubResourceCreateOption) error {
	request, ok := body.(*authenticationv1.TokenRequest)
	if !ok {
		return errors.New("not a TokenRequest")
	}
	if len(request.Spec.Audiences) == 0 {
		request.Spec.Audiences = []string{APIAudience}
	}
	requested := object.GetNamespace() + ":" + object.GetName() + " for " + strings.Join(request.Spec.Audiences, ",")
	i.Requested = append(i.Requested, requested)
	request.Status.Token = "token of " + requested
	request.Status.ExpirationTimestamp = metav1.NewTime(i.Clock.Now().Add(time.Duration(*request.Spec.ExpirationSeconds) * time.Second))
	return i.Err
}

// STS issues new session credentials with each call, unless Err is set.
type STS struct {
	Clock            *clocktesting.FakePassiveClock
	mu               sync.Mutex // concurrent calls
	Issued           []request.Request
	Codes            []string                // of MFA devices, one for each call
	Tokens           []string                // of service accounts, one for each call
	Sources          []*rolesanywhere.Source // of certificates, one for each call of CreateSession
	Callers          int
	Err              error
	CallerErr        error
	CallerIdentity   *awssts.Caller // the user operator if nil
	Lifetime         time.Duration
	PackedPolicySize int32 // percent; 7 if zero
	Skewed           time.Duration
	Before           func() // runs during an issue
}

// Issue issues session credentials.
func (s *STS) Issue(_ context.Context, _ aws.CredentialsProvider, r request.Request, auth request.CallAuth) (request.Credentials, error) {
	s.mu.Lock()
	s.Issued = append(s.Issued, r)
	s.mu.Unlock()
	s.Codes = append(s.Codes, string(auth.MFACode))
	s.Tokens = append(s.Tokens, string(auth.WebIdentityToken))
	if auth.RolesAnywhere != nil {
		s.Sources = append(s.Sources, auth.RolesAnywhere)
	}
	if s.Before != nil {
		s.Before()
	}
	if s.Err != nil {
		return request.Credentials{}, s.Err
	}
	id := string(rune('A') + rune(len(s.Issued)-1)) //nolint:gosec // a test makes few calls
	size := cmp.Or(s.PackedPolicySize, 7)
	life := s.Lifetime
	if life == 0 {
		life = r.Duration
	}
	return request.Credentials{
		AccessKeyID: "ASIA" + id, SecretAccessKey: request.RedactedString("secret-" + id), SessionToken: request.RedactedString("token-" + id),
		IssuedAt: s.Clock.Now().Add(s.Skewed), Expiration: s.Clock.Now().Add(s.Skewed + life), PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/" + r.SessionName,
		PackedPolicySize: &size,
	}, nil
}

// Skew returns Skewed, and false before the first call.
func (s *STS) Skew() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Skewed, s.Callers+len(s.Issued) > 0
}

// Hop returns the credentials that the hop would be assumed with.
func (s *STS) Hop(keys aws.CredentialsProvider, _ request.Request, _ identity.AuthSource) aws.CredentialsProvider {
	return keys
}

// Caller returns the caller.
func (s *STS) Caller(context.Context, aws.CredentialsProvider) (awssts.Caller, error) {
	s.Callers++
	if s.CallerIdentity != nil {
		return *s.CallerIdentity, s.CallerErr
	}
	return awssts.Caller{AccountID: "210987654321", ARN: "arn:aws:iam::210987654321:user/operator", UserID: "AIDAOPERATOR"}, s.CallerErr
}

// STSError returns an error of STS with a code.
func STSError(code string) error {
	return &smithy.GenericAPIError{Code: code, Message: "the message of STS"}
}
