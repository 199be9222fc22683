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

// getOtherTokens shows GetSessionToken and GetFederationToken, which issue session credentials of an IAM user.
func (d *demo) getOtherTokens(ctx context.Context) error {
	d.say("AssumeRole is one of three STS calls. The other two are GetSessionToken and GetFederationToken, for an IAM user. An allow rule must name them:")
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
	d.say("\nGetSessionToken gives the user's own permissions. Many programs read them from a credentials file:")
	if err := d.readFromFile(ctx); err != nil {
		return err
	}
	d.say("\nGetFederationToken gives a federated user the permissions that both the user and the policy allow:")
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

// applyUserSamples applies the samples for an IAM user. It creates the access key after the identity uses the emulator's endpoint.
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

// readFromFile writes a Secret to a credentials file and calls STS with it.
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
