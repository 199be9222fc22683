package awssts

import (
	"cmp"
	"crypto/tls"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// codesByReason lists the error codes of each reason: those of the API reference's 'Common Errors' and of each call, those of
// CreateSession, and those of compatible servers. The SDK lists the codes of throttling.
var codesByReason = map[string][]string{
	v1alpha1.ReasonAccessDenied: {"AccessDenied", "AccessDeniedException", "NotAuthorized", "OptInRequired", "NoSuchEntity"},
	v1alpha1.ReasonInvalidSourceCredentials: {
		"AuthFailure", "AuthorizationHeaderMalformed", "ExpiredToken", "ExpiredTokenException", "IDPCommunicationError",
		"IDPRejectedClaim", "IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidIdentityToken",
		"InvalidSignatureException", "InvalidToken", "MissingAuthenticationToken", "ResourceNotFoundException",
		"SignatureDoesNotMatch", "UnrecognizedClientException",
	},
	v1alpha1.ReasonInvalidRequest: {
		"InvalidParameter", "InvalidParameterCombination", "InvalidParameterValue", "MissingParameter", "ValidationError",
		"ValidationException",
	},
	v1alpha1.ReasonMalformedPolicy: {"MalformedPolicyDocument"},
	v1alpha1.ReasonPolicyTooLarge:  {"PackedPolicyTooLarge"},
	v1alpha1.ReasonRegionDisabled:  {"RegionDisabledException"},
	v1alpha1.ReasonClockSkew:       {"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"},
	v1alpha1.ReasonThrottled:       {"TooManyRequests"},
}

// unsupported are the codes of a server that does not support the call, or a parameter of it.
var unsupported = map[string]bool{"InvalidAction": true, "MethodNotAllowed": true, "NotImplemented": true, "UnknownOperationException": true, "UnsupportedOperation": true}

// byStatus maps the HTTP status of an error document whose code is in no other map.
var byStatus = map[int]string{
	http.StatusBadRequest:      v1alpha1.ReasonInvalidRequest,
	http.StatusUnauthorized:    v1alpha1.ReasonInvalidSourceCredentials,
	http.StatusForbidden:       v1alpha1.ReasonAccessDenied,
	http.StatusTooManyRequests: v1alpha1.ReasonThrottled,
}

// Classify returns the failure of an error of [Client.Issue] or [Client.Caller]. It uses the code and status, never the text.
func Classify(err error, subject reason.Subject) *reason.Error {
	// The hop nearest to the source failed. The hops after it made no call.
	for hop, ok := errors.AsType[*reason.HopError](err); ok; hop, ok = errors.AsType[*reason.HopError](hop.Err) {
		subject.Call, subject.RoleARN, subject.Hop, subject.OptionalFields = cmp.Or(hop.Call, v1alpha1.CallAssumeRole), hop.RoleARN, true, hop.OptionalFields
		subject.Caller = "" // that of the credential's call, which is the session of the last hop
	}
	if token, ok := errors.AsType[*reason.TokenError](err); ok {
		return reason.NoToken(token)
	}
	why, answer := classify(err)
	return reason.STS(why, answer, subject, redactedError{err})
}

func classify(err error) (why string, answer reason.Answer) {
	if _, ok := errors.AsType[*reason.SourceError](err); ok {
		code, _ := errorCode(err)
		return v1alpha1.ReasonInvalidSourceCredentials, reason.Answer{Code: plainCode.FindString(code), Status: status(err), Flaw: reason.FlawSource}
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
	case answer.Status >= 300 && answer.Status < 400: // S3 returns error documents with redirects
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

// reasonOf returns the reason of an error document.
func reasonOf(code string, answer reason.Answer) (string, reason.Answer) {
	answer.Code = plainCode.FindString(code)
	for why, codes := range codesByReason {
		if slices.Contains(codes, code) {
			return why, answer
		}
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

// unknownCode is the SDK's code for a body without one.
const unknownCode = "UnknownError"

// errorCode returns the code of an error document, and whether the response is one.
func errorCode(err error) (code string, document bool) {
	answer, ok := errors.AsType[smithy.APIError](err)
	if !ok || answer.ErrorCode() == unknownCode {
		return "", false
	}
	return answer.ErrorCode(), true
}

// status returns the HTTP status of the response of an error; 0 if there was none.
func status(err error) int {
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return response.HTTPStatusCode()
	}
	return 0
}

// plainHost is a host, with or without a port, that is safe to report. The SDK sets noLocation in a response without a
// Location.
var plainHost = regexp.MustCompile(`^[a-z0-9.:\[\]-]{1,261}$`)

const noLocation = "https://amazonaws.com/badhttpredirectlocation"

// redirect returns the scheme and host that a response redirects to; empty if that is no possible endpoint. The path may
// differ each time.
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

// plainCode matches the form of AWS's error codes. It keeps free text of a server, such as an MFA code, out of conditions.
var plainCode = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.:_-]{0,63}$`)

const maxLoggedError = 512

// redactedError is an error as it may be logged: its first line, cut. In the response to a wrong signature, the lines after
// it quote the signed request with its session token.
type redactedError struct{ error }

func (e redactedError) Error() string {
	line, _, _ := strings.Cut(e.error.Error(), "\n")
	return reason.Cut(line, maxLoggedError)
}

func (e redactedError) Unwrap() error { return e.error }
