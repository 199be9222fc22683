package rolesanywhere

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/restjson"
	"github.com/aws/smithy-go"
)

// Source is what IAM Roles Anywhere is called with.
type Source struct {
	Certificate                *Certificate
	TrustAnchorARN, ProfileARN string
	// Region is that of the trust anchor and the profile.
	Region string
	// Endpoint is the URL of the server; empty for AWS's own in the region.
	Endpoint string
	// SendsSessionName is true if the profile accepts names of role sessions.
	SendsSessionName bool
}

// Session is what a call of CreateSession requests.
type Session struct {
	RoleARN string
	// Name of the role session. It is sent only if the source says so.
	Name     string
	Duration time.Duration
}

// Encode makes a request the call of CreateSession to an endpoint, and returns its payload (IAM Roles Anywhere User Guide, 'IAM Roles
// Anywhere CreateSession API'). The ARNs are in the query, as AWS's own clients send them. The request is not signed.
func (s *Source) Encode(r *http.Request, endpoint string, session Session) (payload []byte, err error) {
	at, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("the endpoint of IAM Roles Anywhere: %w", err)
	}
	at.Path = cmp.Or(at.Path, "/") // otherwise the path of the request would be relative
	r.Method, r.URL, r.Host = http.MethodPost, at.JoinPath("sessions"), at.Host
	r.URL.RawQuery = url.Values{
		"profileArn": {s.ProfileARN}, "roleArn": {session.RoleARN}, "trustAnchorArn": {s.TrustAnchorARN},
	}.Encode()
	r.Header.Set("Content-Type", "application/json")
	body := struct {
		DurationSeconds int64  `json:"durationSeconds"`
		RoleSessionName string `json:"roleSessionName,omitempty"`
	}{DurationSeconds: int64(session.Duration / time.Second)}
	if s.SendsSessionName {
		body.RoleSessionName = session.Name
	}
	return json.Marshal(body)
}

// Response is the response of CreateSession, as far as it is used. A server may leave any field out.
type Response struct {
	CredentialSet []struct {
		AssumedRoleUser struct {
			ARN string `json:"arn"`
		} `json:"assumedRoleUser"`
		Credentials struct {
			AccessKeyID     string    `json:"accessKeyId"`
			SecretAccessKey string    `json:"secretAccessKey"`
			SessionToken    string    `json:"sessionToken"`
			Expiration      time.Time `json:"expiration"`
		} `json:"credentials"`
		PackedPolicySize *int32 `json:"packedPolicySize"`
	} `json:"credentialSet"`
}

// Decode returns the response of a successful call. Its error contains nothing of the body.
func Decode(body []byte) (Response, error) {
	var response Response
	if err := json.Unmarshal(body, &response); err != nil {
		return Response{}, &smithy.DeserializationError{Err: fmt.Errorf("the body is not the JSON document of a session")}
	}
	return response, nil
}

// DecodeError returns the error of a failed call. Its code is UnknownError if the response is no error document.
func DecodeError(header http.Header, body []byte) error {
	var document struct {
		Code    string `json:"code"`
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &document) // a proxy's page is no document
	code := cmp.Or(header.Get("X-Amzn-ErrorType"), document.Code, document.Type, "UnknownError")
	return &smithy.GenericAPIError{Code: restjson.SanitizeErrorCode(code), Message: document.Message}
}
