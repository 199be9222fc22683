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
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/output"
)

// ErrUnusable is the error of a credential that is there, and cannot be used as things stand.
var ErrUnusable = errors.New("not usable")

func unusable(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrUnusable)
}

// Held is what a credential's Secret holds.
type Held struct {
	credential.Credential
	// Region is the one that the Secret names for programs, empty if it names none.
	Region string
}

// Held reads a credential's Secret. The error is [ErrUnusable] if there is nothing in it that could be used at a time.
func (c *Cluster) Held(ctx context.Context, by Credential, now time.Time) (Held, error) {
	if !by.Ready() {
		reason := "the operator has not looked at it yet"
		if ready := by.Condition(v1alpha1.ConditionReady); ready != nil {
			reason = ready.Reason
		}
		return Held{}, unusable("%s is not Ready (%s)", by, reason)
	}
	secret := &corev1.Secret{}
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: by.GetNamespace(), Name: by.SecretName()}, secret); err != nil {
		return Held{}, err
	}
	if !metav1.IsControlledBy(secret, by.Object) {
		return Held{}, unusable("secret/%s does not belong to %s", secret.Name, by)
	}
	record, ok := credential.ParseRecord(secret.Annotations)
	if !ok {
		return Held{}, unusable("the annotations of secret/%s do not say what is in it", secret.Name)
	}
	keys, ok := keysOf(secret.Data)
	if !ok {
		return Held{}, unusable("secret/%s holds the credential in no form that this plugin reads", secret.Name)
	}
	if !now.Before(record.Expiration) {
		return Held{}, unusable("the credential in secret/%s expired at %s", secret.Name, record.Expiration.Format(time.RFC3339))
	}
	keys.IssuedAt, keys.Expiration, keys.PrincipalARN = record.IssuedAt, record.Expiration, record.PrincipalARN
	return Held{Credential: keys, Region: string(secret.Data["AWS_REGION"])}, nil
}

// Record reads what a credential's Secret says of itself, and none of its data. It is false if that cannot be read, or is not the
// operator's word.
func (c *Cluster) Record(ctx context.Context, by Credential) (credential.Record, bool) {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: by.GetNamespace(), Name: by.SecretName()}, secret); err != nil || !metav1.IsControlledBy(secret, by.Object) {
		return credential.Record{}, false
	}
	record, ok := credential.ParseRecord(secret.Annotations)
	return record, ok && record.Genuine()
}

// forms are those in which the operator writes a credential, as docs/formats.md tells them.
var forms = []func(data map[string][]byte) credential.Credential{
	triple(output.AccessKeyID, output.SecretAccessKey, output.SessionToken),
	triple("awsAccessKeyID", "awsSecretAccessKey", "awsSessionToken"),
	triple("ACCESS_KEY_ID", "ACCESS_SECRET_KEY", "ACCESS_SESSION_TOKEN"),
	process, profile("credentials"), profile("cloud"), profile("creds"),
}

// keysOf reads the keys in the first of the forms that they are there in.
func keysOf(data map[string][]byte) (credential.Credential, bool) {
	for _, read := range forms {
		if keys := read(data); keys.AccessKeyID != "" && keys.SecretAccessKey != "" {
			return keys, true
		}
	}
	return credential.Credential{}, false
}

// triple reads a key for each of the three values.
func triple(id, secret, token string) func(map[string][]byte) credential.Credential {
	return func(data map[string][]byte) credential.Credential {
		return credential.Credential{AccessKeyID: string(data[id]), SecretAccessKey: credential.Secret(data[secret]), SessionToken: credential.Secret(data[token])}
	}
}

// process reads what a credential_process prints (AWS SDKs and Tools Reference Guide, 'Process credential provider').
func process(data map[string][]byte) credential.Credential {
	var printed map[string]any
	if json.Unmarshal(data["credential_process.json"], &printed) != nil {
		return credential.Credential{}
	}
	text := func(key string) string { s, _ := printed[key].(string); return s }
	return credential.Credential{
		AccessKeyID: text("AccessKeyId"), SecretAccessKey: credential.Secret(text("SecretAccessKey")), SessionToken: credential.Secret(text("SessionToken")),
	}
}

// profile reads the one profile of a file of them (AWS SDKs and Tools Reference Guide, 'Shared config and credentials files').
func profile(key string) func(map[string][]byte) credential.Credential {
	return func(data map[string][]byte) credential.Credential {
		settings := map[string]string{}
		for line := range strings.Lines(string(data[key])) {
			if name, value, ok := strings.Cut(line, "="); ok {
				settings[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
		return credential.Credential{
			AccessKeyID: settings["aws_access_key_id"], SecretAccessKey: credential.Secret(settings["aws_secret_access_key"]),
			SessionToken: credential.Secret(settings["aws_session_token"]),
		}
	}
}
