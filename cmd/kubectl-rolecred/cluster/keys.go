package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
)

// ErrUnusable means that the credential exists, but has no valid session credentials.
var ErrUnusable = errors.New("not usable")

func unusable(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrUnusable)
}

// SessionCredentials are the session credentials in a credential's Secret.
type SessionCredentials struct {
	request.Credentials
	// Region is the Secret's AWS_REGION, empty if it has none.
	Region string
}

// SessionCredentials reads a credential's Secret. The error is [ErrUnusable] if it has no session credentials that are valid at now.
func (c *Cluster) SessionCredentials(ctx context.Context, of Credential, now time.Time) (SessionCredentials, error) {
	if !of.Ready() {
		reason := "not reconciled yet"
		if ready := of.Condition(v1alpha1.ConditionReady); ready != nil {
			reason = ready.Reason
		}
		return SessionCredentials{}, unusable("%s is not Ready (%s)", of, reason)
	}
	secret := &corev1.Secret{}
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: of.GetNamespace(), Name: of.SecretName()}, secret); err != nil {
		return SessionCredentials{}, err
	}
	if !metav1.IsControlledBy(secret, of.Object) {
		return SessionCredentials{}, unusable("secret/%s does not belong to %s", secret.Name, of)
	}
	record, ok := reissue.ParseRecord(secret.Annotations)
	if !ok {
		return SessionCredentials{}, unusable("the record in the annotations of secret/%s is missing or not valid", secret.Name)
	}
	keys, ok := keysOf(secret.Data)
	if !ok {
		return SessionCredentials{}, unusable("the data of secret/%s has no format that this plugin reads", secret.Name)
	}
	if !now.Before(record.Expiration) {
		return SessionCredentials{}, unusable("the credential in secret/%s expired at %s", secret.Name, record.Expiration.Format(time.RFC3339))
	}
	keys.IssuedAt, keys.Expiration, keys.PrincipalARN = record.IssuedAt, record.Expiration, record.PrincipalARN
	return SessionCredentials{Credentials: keys, Region: string(secret.Data["AWS_REGION"])}, nil
}

// Record reads the record of a credential's Secret, and none of its data. It returns false if the record cannot be read or its
// checksum is wrong.
func (c *Cluster) Record(ctx context.Context, of Credential) (reissue.Record, bool) {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: of.GetNamespace(), Name: of.SecretName()}, secret); err != nil || !metav1.IsControlledBy(secret, of.Object) {
		return reissue.Record{}, false
	}
	record, ok := reissue.ParseRecord(secret.Annotations)
	return record, ok && record.ChecksumValid()
}

// decoders read each format in which the operator writes session credentials (docs/formats.md).
var decoders = []func(data map[string][]byte) request.Credentials{
	threeKeys(render.AccessKeyID, render.SecretAccessKey, render.SessionToken),
	threeKeys("awsAccessKeyID", "awsSecretAccessKey", "awsSessionToken"),
	threeKeys("ACCESS_KEY_ID", "ACCESS_SECRET_KEY", "ACCESS_SESSION_TOKEN"),
	credentialProcess, sharedCredentialsFile("credentials"), sharedCredentialsFile("cloud"), sharedCredentialsFile("creds"),
}

// keysOf returns the keys in the first format that the data contains.
func keysOf(data map[string][]byte) (request.Credentials, bool) {
	for _, decode := range decoders {
		if keys := decode(data); keys.AccessKeyID != "" && keys.SecretAccessKey != "" {
			return keys, true
		}
	}
	return request.Credentials{}, false
}

// threeKeys reads formats with one key for each of the three values.
func threeKeys(id, secret, token string) func(map[string][]byte) request.Credentials {
	return func(data map[string][]byte) request.Credentials {
		return request.Credentials{AccessKeyID: string(data[id]), SecretAccessKey: request.RedactedString(data[secret]), SessionToken: request.RedactedString(data[token])}
	}
}

// credentialProcess reads the output of a credential_process (AWS SDKs and Tools Reference Guide, 'Process credential provider').
func credentialProcess(data map[string][]byte) request.Credentials {
	var printed map[string]any
	if json.Unmarshal(data["credential_process.json"], &printed) != nil {
		return request.Credentials{}
	}
	text := func(key string) string { s, _ := printed[key].(string); return s }
	return request.Credentials{
		AccessKeyID: text("AccessKeyId"), SecretAccessKey: request.RedactedString(text("SecretAccessKey")), SessionToken: request.RedactedString(text("SessionToken")),
	}
}

// sharedCredentialsFile reads a credentials file with one profile (AWS SDKs and Tools Reference Guide, 'Shared config and credentials files').
func sharedCredentialsFile(key string) func(map[string][]byte) request.Credentials {
	return func(data map[string][]byte) request.Credentials {
		settings := map[string]string{}
		for line := range strings.Lines(string(data[key])) {
			if name, value, ok := strings.Cut(line, "="); ok {
				settings[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
		return request.Credentials{
			AccessKeyID: settings["aws_access_key_id"], SecretAccessKey: request.RedactedString(settings["aws_secret_access_key"]),
			SessionToken: request.RedactedString(settings["aws_session_token"]),
		}
	}
}
