package stsemulator

import (
	"fmt"
	"net/http"
)

// apiError is an error response of STS or IAM Roles Anywhere.
type apiError struct {
	Code    string
	Message string
	Status  int
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

// kind is Sender for an error of the caller and Receiver for one of the server.
func (e *apiError) kind() string {
	if e.Status >= http.StatusInternalServerError {
		return "Receiver"
	}
	return "Sender"
}

// statuses are the HTTP statuses of AWS's error codes, apart from 400.
var statuses = map[string]int{
	"AccessDenied":               http.StatusForbidden,
	"AccessDeniedException":      http.StatusForbidden,
	"ExpiredToken":               http.StatusForbidden,
	"IDPRejectedClaim":           http.StatusForbidden,
	"InvalidClientTokenId":       http.StatusForbidden,
	"MissingAuthenticationToken": http.StatusForbidden,
	"RegionDisabledException":    http.StatusForbidden,
	"SignatureDoesNotMatch":      http.StatusForbidden,
	"ResourceNotFoundException":  http.StatusNotFound,
	"ThrottlingException":        http.StatusTooManyRequests,
	"InternalFailure":            http.StatusInternalServerError,
	"InternalServerException":    http.StatusInternalServerError,
	"ServiceUnavailable":         http.StatusServiceUnavailable,
}

// defaultMessages are the messages of faults that define only a code.
var defaultMessages = map[string]string{
	"ExpiredToken":         messageExpiredToken,
	"InternalFailure":      "We encountered an internal error. Please try again.",
	"InvalidClientTokenId": messageInvalidToken,
	"ServiceUnavailable":   "Service is unavailable",
	"Throttling":           "Rate exceeded",
	"ThrottlingException":  "Rate exceeded",
}

const (
	messageExpiredToken = "The security token included in the request is expired"
	messageInvalidToken = "The security token included in the request is invalid."
)

func newError(code, format string, args ...any) *apiError {
	status, ok := statuses[code]
	if !ok {
		status = http.StatusBadRequest
	}
	return &apiError{Code: code, Message: fmt.Sprintf(format, args...), Status: status}
}

func notAuthorized(caller principal, action, resource string) *apiError {
	return newError("AccessDenied", "User: %s is not authorized to perform: %s on resource: %s", caller.ARN, action, resource)
}

func unknownAction(f Flavour, action, version string) *apiError {
	if f == FlavourMinIO {
		return newError("InvalidParameterValue", "Unsupported action %s", action)
	}
	if action == "" {
		action = "null"
	}
	if version == "" {
		version = "NO_VERSION_SPECIFIED"
	}
	return newError("InvalidAction", "Could not find operation %s for version %s", action, version)
}
