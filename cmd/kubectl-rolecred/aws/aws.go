// Package aws asks AWS what the plugin wants to know of a credential. No error that it returns holds a secret.
package aws

import (
	"context"
	"crypto/tls"
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

	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
)

// timeout bounds one call, with the SDK's retries.
const timeout = 30 * time.Second

// ErrRefused is the error of a call that AWS answered with a refusal.
var ErrRefused = errors.New("refused")

// Endpoint is where an STS is.
type Endpoint struct {
	Region string
	// URL is empty for the region's own.
	URL string
	// CABundle is PEM; empty for the system's authorities.
	CABundle string
}

func (e Endpoint) String() string {
	if e.URL != "" {
		return e.URL
	}
	return "STS in " + e.Region
}

// Caller is GetCallerIdentity's answer, in the AWS CLI's words.
type Caller struct {
	UserID  string `json:"UserId"`
	Account string `json:"Account"`
	ARN     string `json:"Arn"`
}

// WhoAmI asks an STS who a credential is ('GetCallerIdentity' of the AWS Security Token Service API Reference).
func WhoAmI(ctx context.Context, keys credential.Credential, at Endpoint) (Caller, error) {
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
	answer, err := sts.NewFromConfig(config).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if refusal, ok := errors.AsType[smithy.APIError](err); ok {
		// Its text may quote the request that was signed, with the session token.
		return Caller{}, fmt.Errorf("%s answers %s: %w", at, refusal.ErrorCode(), ErrRefused)
	}
	if err != nil {
		return Caller{}, fmt.Errorf("%s did not answer: %s", at, firstLine(err))
	}
	return Caller{UserID: aws.ToString(answer.UserId), Account: aws.ToString(answer.Account), ARN: aws.ToString(answer.Arn)}, nil
}

const quotedLength = 256

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return failure.Cut(line, quotedLength)
}

func httpClient(caBundle string) (*awshttp.BuildableClient, error) {
	client := awshttp.NewBuildableClient()
	if caBundle == "" {
		return client, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(caBundle)) {
		return nil, errors.New("caBundle holds no certificate that can be read")
	}
	return client.WithTransportOptions(func(t *http.Transport) {
		if t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		t.TLSClientConfig.RootCAs = pool
	}), nil
}

// maxAnswer is more than a federation endpoint answers, in bytes.
const maxAnswer = 1 << 20

// SigninURL asks a federation endpoint for a token, and returns the URL by which whoever has it signs in to the console within 15
// minutes (IAM User Guide, 'Enable custom identity broker access to the AWS console'). The session there lasts as long as the
// credential.
func SigninURL(ctx context.Context, keys credential.Credential, federation, destination, issuer string) (string, error) {
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

// signinToken sends the session in the body, since servers and proxies write URLs to their logs.
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
		return "", fmt.Errorf("%s did not answer: %s", federation, firstLine(err))
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct{ SigninToken string }
	err = json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&answer)
	switch {
	case response.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s answers %s: %w", federation, response.Status, ErrRefused)
	case err != nil || answer.SigninToken == "":
		return "", fmt.Errorf("%s gave no sign-in token", federation)
	default:
		return answer.SigninToken, nil
	}
}
