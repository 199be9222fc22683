// Package aws calls AWS with a credential: STS and the console's federation endpoint. Its errors contain no secrets.
package aws

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// timeout is the limit for one call, including the SDK's retries.
const timeout = 30 * time.Second

// ErrRejected means that AWS answered the call with an error.
var ErrRejected = errors.New("rejected")

// Endpoint is the STS endpoint to call.
type Endpoint struct {
	Region string
	// URL is empty for AWS's endpoint in Region.
	URL string
	// CABundle holds CA certificates in PEM. The system's CAs are used if it is empty.
	CABundle string
}

func (e Endpoint) String() string {
	if e.URL != "" {
		return e.URL
	}
	return "STS in " + e.Region
}

// Caller is the result of GetCallerIdentity, with the field names of the AWS CLI.
type Caller struct {
	UserID  string `json:"UserId"`
	Account string `json:"Account"`
	ARN     string `json:"Arn"`
}

// WhoAmI calls GetCallerIdentity with a credential (AWS Security Token Service API Reference). The error is [ErrRejected] if STS
// returned an error.
func WhoAmI(ctx context.Context, keys request.Credentials, at Endpoint) (Caller, error) {
	client, err := httpClient(at.CABundle)
	if err != nil {
		return Caller{}, err
	}
	config := aws.Config{
		Region: at.Region, HTTPClient: client,
		Credentials: credentials.NewStaticCredentialsProvider(keys.AccessKeyID, string(keys.SecretAccessKey), string(keys.SessionToken)),
	}
	if at.URL != "" {
		config.BaseEndpoint = &at.URL
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	identity, err := sts.NewFromConfig(config).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if apiErr, ok := errors.AsType[smithy.APIError](err); ok {
		// The message may quote the signed request, which contains the session token.
		return Caller{}, fmt.Errorf("%s returned %s: %w", at, apiErr.ErrorCode(), ErrRejected)
	}
	if err != nil {
		return Caller{}, fmt.Errorf("no response from %s: %s", at, firstLine(err))
	}
	return Caller{UserID: aws.ToString(identity.UserId), Account: aws.ToString(identity.Account), ARN: aws.ToString(identity.Arn)}, nil
}

const quotedLength = 256

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return reason.Cut(line, quotedLength)
}

func httpClient(caBundle string) (*awshttp.BuildableClient, error) {
	client := awshttp.NewBuildableClient()
	if caBundle == "" {
		return client, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(caBundle)) {
		return nil, errors.New("caBundle contains no valid certificate")
	}
	return client.WithTransportOptions(func(t *http.Transport) {
		t.TLSClientConfig.RootCAs = pool
	}), nil
}

// maxResponse is the limit for the response of a federation endpoint, in bytes. A sign-in token is far smaller.
const maxResponse = 1 << 20

// SigninURL requests a sign-in token from a federation endpoint and returns the URL that signs in to the console. The URL is valid for 15
// minutes and works for everyone who has it (IAM User Guide, 'Enable custom identity broker access to the AWS console'). The console
// session expires with the credential.
func SigninURL(ctx context.Context, keys request.Credentials, federation, destination, issuer string) (string, error) {
	session, err := json.Marshal(map[string]string{
		"sessionId": keys.AccessKeyID, "sessionKey": string(keys.SecretAccessKey), "sessionToken": string(keys.SessionToken),
	})
	if err != nil {
		return "", err
	}
	token, err := signinToken(ctx, federation, string(session))
	if err != nil {
		return "", err
	}
	login := url.Values{"Action": {"login"}, "Issuer": {issuer}, "Destination": {destination}, "SigninToken": {token}}
	return federation + "?" + login.Encode(), nil
}

// signinToken sends the session in the body, because servers and proxies log URLs.
func signinToken(ctx context.Context, federation, session string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	form := url.Values{"Action": {"getSigninToken"}, "SessionType": {"json"}, "Session": {session}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, federation, strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("the federation endpoint %s is not a URL", federation)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("no response from %s: %s", federation, firstLine(err))
	}
	defer func() { _ = response.Body.Close() }()
	var body struct{ SigninToken string }
	err = json.NewDecoder(io.LimitReader(response.Body, maxResponse)).Decode(&body)
	switch {
	case response.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s returned %s: %w", federation, response.Status, ErrRejected)
	case err != nil || body.SigninToken == "":
		return "", fmt.Errorf("%s returned no sign-in token", federation)
	default:
		return body.SigninToken, nil
	}
}
