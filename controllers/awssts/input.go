package awssts

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"rolecredential.dev/operator/controllers/request"
)

func assumeRole(r request.Request, auth request.CallAuth) *sts.AssumeRoleInput {
	return &sts.AssumeRoleInput{
		RoleArn:           &r.RoleARN,
		RoleSessionName:   &r.SessionName,
		DurationSeconds:   seconds(r.Duration),
		ExternalId:        optional(r.ExternalID),
		SourceIdentity:    optional(r.SourceIdentity),
		Policy:            optional(r.Policy),
		PolicyArns:        policies(r.PolicyARNs),
		Tags:              tags(r.Tags),
		TransitiveTagKeys: r.TransitiveTagKeys,
		SerialNumber:      optional(r.MFASerialNumber),
		TokenCode:         optional(string(auth.MFACode)),
	}
}

func assumeRoleWithWebIdentity(r request.Request, auth request.CallAuth) *sts.AssumeRoleWithWebIdentityInput {
	return &sts.AssumeRoleWithWebIdentityInput{
		RoleArn:          &r.RoleARN,
		RoleSessionName:  &r.SessionName,
		WebIdentityToken: optional(string(auth.WebIdentityToken)),
		DurationSeconds:  seconds(r.Duration),
		Policy:           optional(r.Policy),
		PolicyArns:       policies(r.PolicyARNs),
	}
}

func getSessionToken(r request.Request, auth request.CallAuth) *sts.GetSessionTokenInput {
	return &sts.GetSessionTokenInput{
		DurationSeconds: seconds(r.Duration),
		SerialNumber:    optional(r.MFASerialNumber),
		TokenCode:       optional(string(auth.MFACode)),
	}
}

func getFederationToken(r request.Request) *sts.GetFederationTokenInput {
	return &sts.GetFederationTokenInput{
		Name:            &r.SessionName,
		DurationSeconds: seconds(r.Duration),
		Policy:          optional(r.Policy),
		PolicyArns:      policies(r.PolicyARNs),
		Tags:            tags(r.Tags),
	}
}

func seconds(d time.Duration) *int32 {
	return aws.Int32(int32(d / time.Second)) //nolint:gosec // the API's bounds are within 36h
}

func policies(arns []string) (described []types.PolicyDescriptorType) {
	for _, arn := range arns {
		described = append(described, types.PolicyDescriptorType{Arn: &arn})
	}
	return described
}

func tags(requested []request.Tag) (tags []types.Tag) {
	for _, tag := range requested {
		tags = append(tags, types.Tag{Key: &tag.Key, Value: &tag.Value})
	}
	return tags
}

// optional leaves an empty parameter out of the request.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
