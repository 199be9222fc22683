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
	"rolecredential.dev/operator/controllers/reason"
)

// reasons maps the error codes of STS to reasons: those of the API reference's 'Common Errors' and of each call, and what
// compatible servers answer in their place. Codes of throttling are the SDK's own list.
var reasons = map[string]string{
	"AccessDenied":                 v1alpha1.ReasonAccessDenied,
	"AccessDeniedException":        v1alpha1.ReasonAccessDenied,
	"NotAuthorized":                v1alpha1.ReasonAccessDenied,
	"OptInRequired":                v1alpha1.ReasonAccessDenied,
	"NoSuchEntity":                 v1alpha1.ReasonAccessDenied,
	"AuthFailure":                  v1alpha1.ReasonInvalidSourceCredentials,
	"AuthorizationHeaderMalformed": v1alpha1.ReasonInvalidSourceCredentials,
	"ExpiredToken":                 v1alpha1.ReasonInvalidSourceCredentials,
	"ExpiredTokenException":        v1alpha1.ReasonInvalidSourceCredentials,
	"IDPCommunicationError":        v1alpha1.ReasonInvalidSourceCredentials,
	"IDPRejectedClaim":             v1alpha1.ReasonInvalidSourceCredentials,
	"IncompleteSignature":          v1alpha1.ReasonInvalidSourceCredentials,
	"InvalidAccessKeyId":           v1alpha1.ReasonInvalidSourceCredentials,
	"InvalidClientTokenId":         v1alpha1.ReasonInvalidSourceCredentials,
	"InvalidIdentityToken":         v1alpha1.ReasonInvalidSourceCredentials,
	"InvalidSignatureException":    v1alpha1.ReasonInvalidSourceCredentials,
	"InvalidToken":                 v1alpha1.ReasonInvalidSourceCredentials,
	"MissingAuthenticationToken":   v1alpha1.ReasonInvalidSourceCredentials,
	"SignatureDoesNotMatch":        v1alpha1.ReasonInvalidSourceCredentials,
	"UnrecognizedClientException":  v1alpha1.ReasonInvalidSourceCredentials,
	"InvalidParameter":             v1alpha1.ReasonInvalidRequest,
	"InvalidParameterCombination":  v1alpha1.ReasonInvalidRequest,
	"InvalidParameterValue":        v1alpha1.ReasonInvalidRequest,
	"MissingParameter":             v1alpha1.ReasonInvalidRequest,
	"ValidationError":              v1alpha1.ReasonInvalidRequest,
	"ValidationException":          v1alpha1.ReasonInvalidRequest,
	"MalformedPolicyDocument":      v1alpha1.ReasonMalformedPolicy,
	"PackedPolicyTooLarge":         v1alpha1.ReasonPolicyTooLarge,
	"RegionDisabledException":      v1alpha1.ReasonRegionDisabled,
	"RequestExpired":               v1alpha1.ReasonClockSkew,
	"RequestInTheFuture":           v1alpha1.ReasonClockSkew,
	"RequestTimeTooSkewed":         v1alpha1.ReasonClockSkew,
	"TooManyRequests":              v1alpha1.ReasonThrottled,
}

// unsupported are the codes of a server that does not know the call, or a parameter of it.
var unsupported = map[string]bool{"InvalidAction": true, "MethodNotAllowed": true, "NotImplemented": true, "UnknownOperationException": true, "UnsupportedOperation": true}

// byStatus is for error documents with a code that is in none of the maps.
var byStatus = map[int]string{
	http.StatusBadRequest:      v1alpha1.ReasonInvalidRequest,
	http.StatusUnauthorized:    v1alpha1.ReasonInvalidSourceCredentials,
	http.StatusForbidden:       v1alpha1.ReasonAccessDenied,
	http.StatusTooManyRequests: v1alpha1.ReasonThrottled,
}

// Classify turns an error of [Client.Issue] or [Client.Caller] into a failure, by its code and status and never by its text.
func Classify(err error, subject reason.Subject) *reason.Error {
	// The hop nearest to the source is the one that failed; those after it could not even ask.
	for hop, ok := errors.AsType[*reason.HopError](err); ok; hop, ok = errors.AsType[*reason.HopError](hop.Err) {
		subject.Call, subject.RoleARN, subject.Hop, subject.OptionalFields = v1alpha1.CallAssumeRole, hop.RoleARN, true, hop.OptionalFields
		if hop.WebIdentity {
			subject.Call = v1alpha1.CallAssumeRoleWithWebIdentity
		}
	}
	if token, ok := errors.AsType[*reason.TokenError](err); ok {
		return reason.NoToken(token)
	}
	why, answer := classify(err)
	return reason.STS(why, answer, subject, quoted{err})
}

func classify(err error) (why string, answer reason.Answer) {
	if _, ok := errors.AsType[*reason.SourceError](err); ok {
		code, _ := errorCode(err)
		return v1alpha1.ReasonInvalidSourceCredentials, reason.Answer{Code: cleanCode(code), Status: status(err), Flaw: reason.FlawSource}
	}
	switch {
	case errors.Is(err, errExpired):
		return v1alpha1.ReasonClockSkew, reason.Answer{Flaw: reason.FlawExpired}
	case errors.Is(err, errIssuedExpired):
		return v1alpha1.ReasonSTSError, reason.Answer{Flaw: reason.FlawExpired}
	case errors.Is(err, errNoCredentials):
		return v1alpha1.ReasonSTSError, reason.Answer{Flaw: reason.FlawNoCredentials}
	}
	answer.Status = status(err)
	code, document := errorCode(err)
	switch {
	case answer.Status >= 300 && answer.Status < 400: // S3 has error documents for it
		answer.Flaw, answer.Redirect = reason.FlawRedirect, redirect(err)
		return v1alpha1.ReasonSTSError, answer
	case document:
		return reasonOf(code, answer)
	case answer.Status == 0:
		if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
			answer.Flaw = reason.FlawCertificate
		}
		return v1alpha1.ReasonSTSUnreachable, answer
	case answer.Status == http.StatusTooManyRequests:
		return v1alpha1.ReasonThrottled, answer
	case answer.Status == http.StatusNotImplemented:
		answer.Flaw = reason.FlawUnsupported
		return v1alpha1.ReasonInvalidRequest, answer
	default:
		answer.Flaw = reason.FlawNoError
		return v1alpha1.ReasonSTSError, answer
	}
}

// reasonOf is of an error document.
func reasonOf(code string, answer reason.Answer) (string, reason.Answer) {
	answer.Code = cleanCode(code)
	if why, ok := reasons[code]; ok {
		return why, answer
	}
	if _, ok := retry.DefaultThrottleErrorCodes[code]; ok {
		return v1alpha1.ReasonThrottled, answer
	}
	if unsupported[code] || answer.Status == http.StatusNotImplemented || answer.Status == http.StatusMethodNotAllowed {
		answer.Flaw = reason.FlawUnsupported
		return v1alpha1.ReasonInvalidRequest, answer
	}
	if reason, ok := byStatus[answer.Status]; ok {
		return reason, answer
	}
	return v1alpha1.ReasonSTSError, answer
}

// unknownCode is the SDK's word for a body in which it finds no code.
const unknownCode = "UnknownError"

// errorCode returns the code of an error document, and whether the answer is one.
func errorCode(err error) (code string, document bool) {
	answer, ok := errors.AsType[smithy.APIError](err)
	if !ok || answer.ErrorCode() == unknownCode {
		return "", false
	}
	return answer.ErrorCode(), true
}

// status returns the HTTP status of the answer that an error is about, 0 if there was none.
func status(err error) int {
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return response.HTTPStatusCode()
	}
	return 0
}

// plainHost is a host, with a port or without, that fits into a message. The SDK gives an answer without a Location that of
// noLocation.
var plainHost = regexp.MustCompile(`^[a-z0-9.:\[\]-]{1,261}$`)

const noLocation = "https://amazonaws.com/badhttpredirectlocation"

// redirect returns the scheme and host that an answer redirects to, empty if it names none that could be an endpoint. The path
// and what follows it may be another each time.
func redirect(err error) string {
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || response.Response == nil || response.Response.Response == nil {
		return ""
	}
	location, err := response.Response.Location()
	if err != nil || location.String() == noLocation || location.Scheme != "http" && location.Scheme != "https" {
		return ""
	}
	host := strings.ToLower(location.Host)
	if !plainHost.MatchString(host) {
		return ""
	}
	return location.Scheme + "://" + host
}

// plainCode is a code as those of AWS are. The code of an MFA device, which a strange server could say back, is none.
var plainCode = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.:_-]{0,63}$`)

// cleanCode keeps a strange server's text out of a condition.
func cleanCode(code string) string {
	if !plainCode.MatchString(code) {
		return ""
	}
	return code
}

// ErrNoCallerIdentity is the error of a server that has no GetCallerIdentity, as STS-compatible servers may not.
var ErrNoCallerIdentity = errors.New("the server has no GetCallerIdentity")

// callerError distinguishes a server that does not know the call from one that knows it and denies it. AWS denies it to no
// valid caller, and it takes no parameter that could be invalid (API reference, 'GetCallerIdentity'). Only an error document
// shows that the server is one of STS: a page or a text may come from anything. An error of the source or of a hop is not about
// this call.
func callerError(err error) error {
	if _, document := errorCode(err); !document || notAsked(err) {
		return err
	}
	if reason, answer := classify(err); reason != v1alpha1.ReasonInvalidRequest && answer.Status != http.StatusNotFound {
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
	return reason.Cut(line, quotedLength)
}

func (q quoted) Unwrap() error { return q.error }
