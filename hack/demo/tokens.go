package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"rolecredential.dev/operator/hack/cluster"
)

const federatedARN = "arn:aws:sts::210987654321:federated-user/shop.uploader"

// getOtherTokens gets what GetSessionToken and GetFederationToken issue, which is of an IAM user and not of a role.
func (d *demo) getOtherTokens(ctx context.Context) error {
	d.say("AssumeRole is one of the three calls that STS issues credentials by. The other two are for an IAM user, and a rule must say them:")
	if err := d.applyUserSamples(ctx); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "wait", "--for=condition=Ready", "sessioncredential/own-rights", "federatedcredential/uploader", "-n", "shop", "--timeout=60s"); err != nil {
		return err
	}
	list, err := d.kubectl(ctx, "get", "sts-credentials", "-n", "shop")
	if err != nil {
		return err
	}
	for _, name := range []string{"rolecredential.sts.rolecredential.dev/s3-reader", "sessioncredential.sts.rolecredential.dev/own-rights", "federatedcredential.sts.rolecredential.dev/uploader"} {
		if !strings.Contains(list, name) {
			return fmt.Errorf("%s is not listed", name)
		}
	}
	d.say("\nA session has the user's own rights. Here it is read from a credentials file, as many a program does:")
	if err := d.readFromFile(ctx); err != nil {
		return err
	}
	d.say("\nA federated user has those that its policy leaves of them:")
	secret, err := d.secret(ctx, "uploader")
	if err != nil {
		return err
	}
	e, err := d.environmentOf(secret)
	if err != nil {
		return err
	}
	return d.expectPrincipal(ctx, e, federatedARN)
}

// applyUserSamples applies the samples of an IAM user's kinds, and gives their identity a key once it asks the emulator.
func (d *demo) applyUserSamples(ctx context.Context) error {
	if _, err := d.kubectl(ctx, "apply", "-f", "config/samples/sts_v1alpha1_clusteridentity_iam-user.yaml",
		"-f", "config/samples/sts_v1alpha1_sessioncredential.yaml", "-f", "config/samples/sts_v1alpha1_federatedcredential.yaml"); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "patch", "clusteridentity", "iam-user", "--type=merge",
		fmt.Sprintf(`--patch={"spec":{"endpoint":%q}}`, d.endpoint.URL)); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "wait", "clusteridentity/iam-user", "--for=jsonpath={.status.observedGeneration}=2", "--timeout=60s"); err != nil {
		return err
	}
	_, err := d.kubectl(ctx, "create", "secret", "generic", "iam-user", "-n", cluster.OperatorNamespace, "--from-env-file="+filepath.Join(d.dir, keyFile))
	return err
}

// readFromFile asks STS who a credentials file is that was made from a Secret.
func (d *demo) readFromFile(ctx context.Context) error {
	secret, err := d.secret(ctx, "own-rights")
	if err != nil {
		return err
	}
	e, err := d.environmentOf(secret)
	if err != nil {
		return err
	}
	e.credentialsFile = filepath.Join(d.dir, "credentials")
	lines := fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", e.accessKeyID, e.secretAccessKey, e.sessionToken)
	if err := os.WriteFile(e.credentialsFile, lines, 0o600); err != nil {
		return err
	}
	return d.expectPrincipal(ctx, e, operatorARN)
}
