package awssts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/rolesanywhere"
)

// rolesAnywhereID is the service ID of IAM Roles Anywhere in AWS's API model.
const rolesAnywhereID = "RolesAnywhere"

// createSession calls CreateSession. The SDK does not have the call, so this assembles the SDK's parts for it: retries, measured clock
// skew, spans and errors are those of STS's calls.
func (c *Client) createSession(ctx context.Context, r request.Request, source *rolesanywhere.Source) (answer, error) {
	options := c.api.Options()
	endpoint, err := rolesAnywhereEndpoint(ctx, options, source)
	if err != nil {
		return answer{}, err
	}
	prepared, payload, err := encode(endpoint, r, source)
	if err != nil {
		return answer{}, err
	}
	const call = string(v1alpha1.CallCreateSession)
	ctx = middleware.WithOperationName(middleware.WithServiceID(middleware.ClearStackValues(ctx), rolesAnywhereID), call)
	stack := middleware.NewStack(call, func() any { return prepared })
	s := &sessionCall{client: c, source: source, payload: payload, retryer: retryer{options.Retryer, c.recorder, false}}
	for _, add := range append([]func(*middleware.Stack) error{s.add}, options.APIOptions...) {
		if err := add(stack); err != nil {
			return answer{}, fmt.Errorf("preparing the call: %w", err)
		}
	}
	result, metadata, err := middleware.DecorateHandler(smithyhttp.NewClientHandlerWithOptions(options.HTTPClient), stack).Handle(ctx, nil)
	if err != nil {
		return answer{}, &smithy.OperationError{ServiceID: rolesAnywhereID, OperationName: call, Err: err}
	}
	response, _ := result.(rolesanywhere.Response)
	a := answer{metadata: metadata}
	if len(response.CredentialSet) > 0 {
		issued := response.CredentialSet[0]
		a.principalARN, a.packedPolicySize = &issued.AssumedRoleUser.ARN, issued.PackedPolicySize
		a.session = &types.Credentials{
			AccessKeyId: &issued.Credentials.AccessKeyID, SecretAccessKey: &issued.Credentials.SecretAccessKey,
			SessionToken: &issued.Credentials.SessionToken, Expiration: &issued.Credentials.Expiration,
		}
	}
	return a, nil
}

// rolesAnywhereEndpoint returns the endpoint of a source, or AWS's own. Its name has the DNS suffix of STS's endpoint, which the SDK
// resolves by partition, FIPS and dual stack (AWS General Reference, 'IAM Roles Anywhere endpoints and quotas').
func rolesAnywhereEndpoint(ctx context.Context, options sts.Options, source *rolesanywhere.Source) (string, error) {
	if source.Endpoint != "" {
		return source.Endpoint, nil
	}
	fips := options.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled
	resolved, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, sts.EndpointParameters{
		Region: &source.Region, UseFIPS: &fips, UseDualStack: aws.Bool(options.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
	})
	if err != nil {
		return "", fmt.Errorf("resolving the endpoint of IAM Roles Anywhere: %w", err)
	}
	_, suffix, ok := strings.Cut(resolved.URI.Host, "."+source.Region+".")
	if !ok {
		return "", fmt.Errorf("the region %q has no regional endpoint", source.Region)
	}
	name := "rolesanywhere"
	if fips {
		name += "-fips"
	}
	return "https://" + name + "." + source.Region + "." + suffix, nil
}

// encode returns the request of the call and its payload.
func encode(endpoint string, r request.Request, source *rolesanywhere.Source) (prepared *smithyhttp.Request, payload []byte, err error) {
	prepared, _ = smithyhttp.NewStackRequest().(*smithyhttp.Request)
	payload, err = source.Encode(prepared.Request, endpoint, rolesanywhere.Session{RoleARN: r.RoleARN, Name: r.SessionName, Duration: r.Duration})
	if err == nil {
		prepared, err = prepared.SetStream(bytes.NewReader(payload))
	}
	return prepared, payload, err
}

// sessionCall is one call of CreateSession with its retries.
type sessionCall struct {
	client  *Client
	source  *rolesanywhere.Source
	payload []byte
	retryer aws.Retryer
}

// add adds the steps of the call to a stack. The retries begin with the measured clock skew.
func (s *sessionCall) add(stack *middleware.Stack) error {
	offset := &atomic.Int64{}
	offset.Store(int64(s.client.skew.forSignature()))
	return errors.Join(
		awsmiddleware.AddSDKAgentKey(awsmiddleware.APIMetadata, strings.ToLower(rolesAnywhereID))(stack),
		stack.Finalize.Add(retry.NewAttemptMiddleware(s.retryer, smithyhttp.RequestCloner, func(m *retry.Attempt) { m.ClientSkew = offset }), middleware.Before),
		stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("Signing", s.sign), middleware.After),
		stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("OperationDeserializer", deserialize), middleware.After),
		awsmiddleware.AddRequestIDRetrieverMiddleware(stack),
		awshttp.AddResponseErrorMiddleware(stack),
		awsmiddleware.AddRecordResponseTiming(stack),
		awsmiddleware.AddRawResponseToMetadata(stack),
	)
}

// sign signs each attempt for the time of the server's clock.
func (s *sessionCall) sign(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	out middleware.FinalizeOutput, metadata middleware.Metadata, err error,
) {
	r, ok := in.Request.(*smithyhttp.Request)
	if !ok {
		return out, metadata, fmt.Errorf("unknown transport %T", in.Request)
	}
	at := s.client.clock.Now().Add(s.client.skew.forSignature())
	if err := s.source.Certificate.Sign(r.Request, s.payload, s.source.Region, at); err != nil {
		return out, metadata, &reason.SourceError{Err: err}
	}
	return next.HandleFinalize(ctx, in)
}

func deserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	out middleware.DeserializeOutput, metadata middleware.Metadata, err error,
) {
	out, metadata, err = next.HandleDeserialize(ctx, in)
	if err != nil {
		return out, metadata, err
	}
	response, ok := out.RawResponse.(*smithyhttp.Response)
	if !ok {
		return out, metadata, fmt.Errorf("unknown transport %T", out.RawResponse)
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return out, metadata, &smithy.DeserializationError{Err: err}
	}
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusMultipleChoices {
		return out, metadata, rolesanywhere.DecodeError(response.Header, body)
	}
	out.Result, err = rolesanywhere.Decode(body)
	return out, metadata, err
}
