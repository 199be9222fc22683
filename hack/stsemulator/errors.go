package stsemulator

import (
	"fmt"
	"net/http"
)

// apiError is an error as STS answers it.
type apiError struct {
	Code    string
	Message string
	Status  int
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

// kind is Sender for the caller's fault and Receiver for the server's.
func (e *apiError) kind() string {
	if e.Status >= http.StatusInternalServerError {
		return "Receiver"
	}
	return "Sender"
}

// statuses are those of AWS's error codes that are not 400.
var statuses = map[string]int{
	"AccessDenied":               http.StatusForbidden,
	"ExpiredToken":               http.StatusForbidden,
	"IDPRejectedClaim":           http.StatusForbidden,
	"InvalidClientTokenId":       http.StatusForbidden,
	"MissingAuthenticationToken": http.StatusForbidden,
	"RegionDisabledException":    http.StatusForbidden,
	"SignatureDoesNotMatch":      http.StatusForbidden,
	"InternalFailure":            http.StatusInternalServerError,
	"ServiceUnavailable":         http.StatusServiceUnavailable,
}

// defaultMessages are for faults that name only a code.
var defaultMessages = map[string]string{
	"ExpiredToken":         messageExpiredToken,
	"InternalFailure":      "We encountered an internal error. Please try again.",
	"InvalidClientTokenId": messageInvalidToken,
	"ServiceUnavailable":   "Service is unavailable",
	"Throttling":           "Rate exceeded",
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
