package awssts

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/failure"
)

// reasons maps the error codes of STS to reasons: those of the API reference's 'Common Errors' and of each call, and what
// compatible servers answer in their place. Codes of throttling are the SDK's own list.
var reasons = map[string]string{
	"AccessDenied":                v1alpha1.ReasonAccessDenied,
	"AccessDeniedException":       v1alpha1.ReasonAccessDenied,
	"NotAuthorized":               v1alpha1.ReasonAccessDenied,
	"OptInRequired":               v1alpha1.ReasonAccessDenied,
	"NoSuchEntity":                v1alpha1.ReasonAccessDenied,
	"AuthFailure":                 v1alpha1.ReasonInvalidSourceCredentials,
	"ExpiredToken":                v1alpha1.ReasonInvalidSourceCredentials,
	"ExpiredTokenException":       v1alpha1.ReasonInvalidSourceCredentials,
	"IDPCommunicationError":       v1alpha1.ReasonInvalidSourceCredentials,
	"IDPRejectedClaim":            v1alpha1.ReasonInvalidSourceCredentials,
	"IncompleteSignature":         v1alpha1.ReasonInvalidSourceCredentials,
	"InvalidAccessKeyId":          v1alpha1.ReasonInvalidSourceCredentials,
	"InvalidClientTokenId":        v1alpha1.ReasonInvalidSourceCredentials,
	"InvalidIdentityToken":        v1alpha1.ReasonInvalidSourceCredentials,
	"InvalidSignatureException":   v1alpha1.ReasonInvalidSourceCredentials,
	"InvalidToken":                v1alpha1.ReasonInvalidSourceCredentials,
	"MissingAuthenticationToken":  v1alpha1.ReasonInvalidSourceCredentials,
	"SignatureDoesNotMatch":       v1alpha1.ReasonInvalidSourceCredentials,
	"UnrecognizedClientException": v1alpha1.ReasonInvalidSourceCredentials,
	"InvalidParameter":            v1alpha1.ReasonInvalidRequest,
	"InvalidParameterCombination": v1alpha1.ReasonInvalidRequest,
	"InvalidParameterValue":       v1alpha1.ReasonInvalidRequest,
	"MissingParameter":            v1alpha1.ReasonInvalidRequest,
	"ValidationError":             v1alpha1.ReasonInvalidRequest,
	"ValidationException":         v1alpha1.ReasonInvalidRequest,
	"MalformedPolicyDocument":     v1alpha1.ReasonMalformedPolicy,
	"PackedPolicyTooLarge":        v1alpha1.ReasonPolicyTooLarge,
	"RegionDisabledException":     v1alpha1.ReasonRegionDisabled,
	"RequestExpired":              v1alpha1.ReasonClockSkew,
	"RequestInTheFuture":          v1alpha1.ReasonClockSkew,
	"RequestTimeTooSkewed":        v1alpha1.ReasonClockSkew,
	"TooManyRequests":             v1alpha1.ReasonThrottled,
}

// byStatus is for answers whose code says nothing, as those with a body in the style of S3.
var byStatus = map[int]string{
	http.StatusBadRequest:      v1alpha1.ReasonInvalidRequest,
	http.StatusUnauthorized:    v1alpha1.ReasonInvalidSourceCredentials,
	http.StatusForbidden:       v1alpha1.ReasonAccessDenied,
	http.StatusTooManyRequests: v1alpha1.ReasonThrottled,
}

// Classify turns an error of [Client.Issue] or [Client.Caller] into a failure, by its code and never by its text.
func Classify(err error, subject failure.Subject) *failure.Failure {
	// The hop nearest to the source is the one that failed; those after it could not even ask.
	for hop, ok := errors.AsType[*failure.HopError](err); ok; hop, ok = errors.AsType[*failure.HopError](hop.Err) {
		subject.Call, subject.RoleARN, subject.Hop = v1alpha1.CallAssumeRole, hop.RoleARN, true
		if hop.WebIdentity {
			subject.Call = v1alpha1.CallAssumeRoleWithWebIdentity
		}
	}
	if token, ok := errors.AsType[*failure.TokenError](err); ok {
		return failure.NoToken(token)
	}
	reason, code := classify(err)
	_, subject.Untrusted = errors.AsType[*tls.CertificateVerificationError](err)
	return failure.STS(reason, code, subject, quoted{err})
}

func classify(err error) (reason, code string) {
	if _, ok := errors.AsType[*failure.SourceError](err); ok {
		return v1alpha1.ReasonInvalidSourceCredentials, ""
	}
	if errors.Is(err, errExpired) {
		return v1alpha1.ReasonClockSkew, ""
	}
	if errors.Is(err, errNoCredentials) {
		return v1alpha1.ReasonSTSError, ""
	}
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		if answer.ErrorCode() == unknownCode && status(err) == http.StatusForbidden && signedOutOfTime(err) {
			return v1alpha1.ReasonClockSkew, ""
		}
		return reasonOf(answer, status(err)), cleanCode(answer.ErrorCode())
	}
	if _, garbled := errors.AsType[*smithy.DeserializationError](err); garbled || status(err) != 0 {
		return v1alpha1.ReasonSTSError, ""
	}
	return v1alpha1.ReasonSTSUnreachable, ""
}

func reasonOf(answer smithy.APIError, status int) string {
	if reason, ok := reasons[answer.ErrorCode()]; ok {
		return reason
	}
	if _, ok := retry.DefaultThrottleErrorCodes[answer.ErrorCode()]; ok {
		return v1alpha1.ReasonThrottled
	}
	if reason, ok := byStatus[status]; ok {
		return reason
	}
	return v1alpha1.ReasonSTSError
}

// status returns the HTTP status of the answer that an error is about, 0 if there was none.
func status(err error) int {
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return response.HTTPStatusCode()
	}
	return 0
}

// unknownCode is the SDK's word for a body in which it finds no code.
const unknownCode = "UnknownError"

// plainCode is a code as those of AWS are. The code of an MFA device, which a strange server could say back, is none.
var plainCode = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.:_-]{0,63}$`)

// cleanCode keeps a strange server's text, and the SDK's word for none, out of a condition.
func cleanCode(code string) string {
	if code == unknownCode || !plainCode.MatchString(code) {
		return ""
	}
	return code
}

// ErrNoCallerIdentity is the error of a server that has no GetCallerIdentity, as STS-compatible servers may not.
var ErrNoCallerIdentity = errors.New("the server has no GetCallerIdentity")

// callerError tells a server that does not know the call from one that knows it and refuses the caller. AWS refuses no
// valid caller, and takes no parameter that could be invalid (API reference, 'GetCallerIdentity'). What was answered on the way to
// the credentials that it is called with says nothing of it.
func callerError(err error) error {
	_, ofSource := errors.AsType[*failure.SourceError](err)
	_, ofHop := errors.AsType[*failure.HopError](err)
	if ofSource || ofHop {
		return err
	}
	answer, answered := errors.AsType[smithy.APIError](err)
	switch code := status(err); {
	case code == http.StatusMethodNotAllowed, code == http.StatusNotImplemented: // whatever the body is
	case !answered:
		return err
	case answer.ErrorCode() == "InvalidAction", answer.ErrorCode() == "NotImplemented", answer.ErrorCode() == "MethodNotAllowed",
		code == http.StatusNotFound, reasonOf(answer, code) == v1alpha1.ReasonInvalidRequest:
	default:
		return err
	}
	return fmt.Errorf("%w: %w", ErrNoCallerIdentity, err)
}

const quotedLength = 512

// quoted is an error as it may be logged: its first line, cut. What follows in an answer to a wrong signature is the request
// that was signed, with its session token.
type quoted struct{ error }

func (q quoted) Error() string {
	line, _, _ := strings.Cut(q.error.Error(), "\n")
	return failure.Cut(line, quotedLength)
}

func (q quoted) Unwrap() error { return q.error }
