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

// caller is the result of GetCallerIdentity, with the field names of the AWS CLI.
type caller struct {
	UserID  string `json:"UserId"`
	Account string `json:"Account"`
	ARN     string `json:"Arn"`
}

// whoami calls GetCallerIdentity with the credentials in its environment. It has no configuration of its own, like most programs with an SDK.
func whoami(ctx context.Context, out io.Writer) error {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	identity, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(caller{UserID: aws.ToString(identity.UserId), Account: aws.ToString(identity.Account), ARN: aws.ToString(identity.Arn)})
}

// environment is the environment of a container that uses a credential's Secret in envFrom, and the STS endpoint.
type environment struct {
	accessKeyID, secretAccessKey, sessionToken string
	// credentialsFile replaces the three variables if it is set.
	credentialsFile  string
	region, endpoint string
}

func (e environment) variables(secretAccessKey, sessionToken string) []string {
	common := []string{"AWS_REGION=" + e.region, "AWS_ENDPOINT_URL_STS=" + e.endpoint}
	if e.credentialsFile != "" {
		return append([]string{"AWS_SHARED_CREDENTIALS_FILE=" + e.credentialsFile}, common...)
	}
	return append([]string{
		"AWS_ACCESS_KEY_ID=" + e.accessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + secretAccessKey,
		"AWS_SESSION_TOKEN=" + sessionToken,
	}, common...)
}

const masked = "***"

// whoami runs this program's command whoami in a process with only the environment e.
func (d *demo) whoami(ctx context.Context, e environment) (caller, error) {
	self, err := os.Executable()
	if err != nil {
		return caller{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := cluster.Command(ctx, self, "whoami")
	cmd.Env = e.variables(e.secretAccessKey, e.sessionToken)
	d.say("$ env -i %s demo whoami", strings.Join(e.variables(masked, masked), " "))
	printed, err := d.finish(ctx, cmd)
	if err != nil {
		return caller{}, err
	}
	var identity caller
	if err := json.Unmarshal([]byte(printed), &identity); err != nil {
		return caller{}, fmt.Errorf("parsing the output of whoami: %w", err)
	}
	return identity, nil
}
