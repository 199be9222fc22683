package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rolecredential.dev/operator/hack/program"
	"rolecredential.dev/operator/hack/s3server"
)

const (
	bucket = "shop"
	// ownsBucket is the policy of SeaweedFS's user, and readsBucket of its role.
	ownsBucket  = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::shop", "arn:aws:s3:::shop/*"]}]}`
	readsBucket = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::shop", "arn:aws:s3:::shop/*"]}]}`
)

// seaweedFS returns an STS and S3 with a user who owns a bucket, and a role that trusts the user.
func seaweedFS(user aws.Credentials) *s3server.Server {
	return &s3server.Server{
		Dir: filepath.Join(state, "seaweedfs"), IP: gateway, Ports: [8]int{9000, 9002, 9003, 9004, 9005, 9006, 9007, 9008},
		Users: []s3server.User{{Name: "operator", AccessKeyID: user.AccessKeyID, SecretAccessKey: user.SecretAccessKey, Policy: ownsBucket}},
		Roles: []s3server.Role{{Name: "S3Reader", Trust: s3server.TrustUser("operator"), Policy: readsBucket}},
	}
}

// startSeaweedFS starts the STS and S3, and returns the user's key.
func (c *cluster) startSeaweedFS(ctx context.Context) (aws.Credentials, error) {
	user := aws.Credentials{AccessKeyID: rand.Text()[:20], SecretAccessKey: rand.Text()}
	server := seaweedFS(user)
	args, err := server.Command()
	if err != nil {
		return user, err
	}
	if err := c.start("seaweedfs", c.given.SeaweedFS, args...); err != nil {
		return user, err
	}
	api := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(server.URL()), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(user.AccessKeyID, user.SecretAccessKey, ""),
	})
	err = program.WaitUntil(ctx, startTimeout, pollInterval, func(ctx context.Context) error {
		_, err := api.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)})
		return err
	})
	if err != nil {
		return user, fmt.Errorf("creating the bucket: %w", err)
	}
	return user, nil
}
