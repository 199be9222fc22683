package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rolecredential.dev/operator/hack/program"
)

const (
	minioAddress = gateway + ":9000"
	minioRegion  = "us-east-1"
	bucket       = "shop"
	// ownsBucket is the policy of MinIO's user, and so of the sessions of the user's key.
	ownsBucket = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::shop", "arn:aws:s3:::shop/*"]}]}`
)

// startMinIO starts an STS and an S3 with a user who owns a bucket, and returns the user's key.
func (c *cluster) startMinIO(ctx context.Context) (aws.Credentials, error) {
	root := aws.Credentials{AccessKeyID: rand.Text()[:20], SecretAccessKey: rand.Text()}
	user := aws.Credentials{AccessKeyID: rand.Text()[:20], SecretAccessKey: rand.Text()}
	// These disable the console and the check for a newer version on the internet.
	settings := []string{"MINIO_ROOT_USER=" + root.AccessKeyID, "MINIO_ROOT_PASSWORD=" + root.SecretAccessKey, "MINIO_BROWSER=off", "MINIO_UPDATE=off"}
	err := c.startWith(settings, "minio", c.given.MinIO, "server", "--address", minioAddress, "--certs-dir", state+"/minio/certs", state+"/minio/data")
	if err != nil {
		return user, err
	}
	if err := program.Await(ctx, startTimeout, pollInterval, func(ctx context.Context) error { return addUser(ctx, root, user) }); err != nil {
		return user, fmt.Errorf("adding MinIO's user: %w", err)
	}
	api := s3.New(s3.Options{
		Region: minioRegion, BaseEndpoint: aws.String("http://" + minioAddress), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(user.AccessKeyID, user.SecretAccessKey, ""),
	})
	_, err = api.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)})
	return user, err
}

// addUser adds the user like `mc admin cluster iam import`. MinIO's call to add a single user requires MinIO's own encryption; the import
// does not.
func addUser(ctx context.Context, root, user aws.Credentials) error {
	var archive bytes.Buffer
	files := zip.NewWriter(&archive)
	for name, content := range map[string]any{
		"policies.json":      map[string]json.RawMessage{"owns-bucket": json.RawMessage(ownsBucket)},
		"users.json":         map[string]any{user.AccessKeyID: map[string]string{"secretKey": user.SecretAccessKey, "status": "enabled"}},
		"user_mappings.json": map[string]any{user.AccessKeyID: map[string]any{"version": 1, "policy": "owns-bucket"}},
	} {
		file, err := files.Create("iam-assets/" + name)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(file).Encode(content); err != nil {
			return err
		}
	}
	if err := files.Close(); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+minioAddress+"/minio/admin/v3/import-iam-v2", &archive)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(archive.Bytes())
	hash := hex.EncodeToString(sum[:])
	request.Header.Set("X-Amz-Content-Sha256", hash)
	if err := v4.NewSigner().SignHTTP(ctx, root, request, hash, "s3", minioRegion, time.Now()); err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var result struct {
		Added struct{ UserPolicies []any }
	}
	if err := json.Unmarshal(body, &result); err != nil || len(result.Added.UserPolicies) != 1 {
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	return nil
}
