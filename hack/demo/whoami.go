package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"rolecredential.dev/operator/hack/cluster"
)

// caller is GetCallerIdentity's answer, as the AWS CLI prints it.
type caller struct {
	UserID  string `json:"UserId"`
	Account string `json:"Account"`
	ARN     string `json:"Arn"`
}

// whoami asks STS who its environment's credentials are, configured like any program that uses the SDK: by nothing else.
func whoami(ctx context.Context, out io.Writer) error {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	answer, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(caller{UserID: aws.ToString(answer.UserId), Account: aws.ToString(answer.Account), ARN: aws.ToString(answer.Arn)})
}

// environment is what a container with envFrom a credential's Secret has, and where STS is.
type environment struct {
	accessKeyID, secretAccessKey, sessionToken string
	// credentialsFile is in place of the three variables if it is not empty.
	credentialsFile  string
	region, endpoint string
}

func (e environment) variables(secretAccessKey, sessionToken string) []string {
	where := []string{"AWS_REGION=" + e.region, "AWS_ENDPOINT_URL_STS=" + e.endpoint}
	if e.credentialsFile != "" {
		return append([]string{"AWS_SHARED_CREDENTIALS_FILE=" + e.credentialsFile}, where...)
	}
	return append([]string{
		"AWS_ACCESS_KEY_ID=" + e.accessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + secretAccessKey,
		"AWS_SESSION_TOKEN=" + sessionToken,
	}, where...)
}

const masked = "***"

// whoami runs this program's own whoami in a process whose whole environment is e.
func (d *demo) whoami(ctx context.Context, e environment) (caller, error) {
	self, err := os.Executable()
	if err != nil {
		return caller{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := cluster.Command(ctx, self, "whoami")
	cmd.Env = e.variables(e.secretAccessKey, e.sessionToken)
	d.say("$ env -i %s demo whoami", strings.Join(e.variables(masked, masked), " "))
	printed, err := d.finish(ctx, cmd)
	if err != nil {
		return caller{}, err
	}
	var answer caller
	if err := json.Unmarshal([]byte(printed), &answer); err != nil {
		return caller{}, fmt.Errorf("reading what whoami printed: %w", err)
	}
	return answer, nil
}
