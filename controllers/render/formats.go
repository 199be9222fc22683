package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
)

// The environment variables that AWS SDKs and tools read, also used as keys of Secrets (AWS SDKs and Tools Reference
// Guide, 'AWS access keys').
const (
	AccessKeyID     = "AWS_ACCESS_KEY_ID"
	SecretAccessKey = "AWS_SECRET_ACCESS_KEY"
	SessionToken    = "AWS_SESSION_TOKEN"
)

// processFile is the key that the credential_process command of FormatCredentialProcess prints.
const processFile = "credential_process.json"

// input is everything that a Secret is rendered from.
type input struct {
	request.Credentials
	region, mountPath string
	formats           []v1alpha1.Format
}

// formats writes the keys of each format. No two formats share a key. The schema of SecretTemplate lists the keys
// too.
var formats = map[v1alpha1.Format]func(input) (map[string]string, error){
	v1alpha1.FormatEnv:           triple(AccessKeyID, SecretAccessKey, SessionToken),
	v1alpha1.FormatKEDA:          triple("awsAccessKeyID", "awsSecretAccessKey", "awsSessionToken"),
	v1alpha1.FormatCloudNativePG: triple("ACCESS_KEY_ID", "ACCESS_SECRET_KEY", "ACCESS_SESSION_TOKEN"),
	v1alpha1.FormatRegion: func(in input) (map[string]string, error) {
		return map[string]string{"AWS_REGION": in.region, "AWS_DEFAULT_REGION": in.region}, nil
	},
	v1alpha1.FormatSharedCredentials: profile("credentials"),
	v1alpha1.FormatVelero:            profile("cloud"),
	v1alpha1.FormatCrossplane:        profile("creds"),
	v1alpha1.FormatCredentialProcess: process,
}

var defaultFormats = []v1alpha1.Format{v1alpha1.FormatEnv}

// formatsOf returns the formats of a template, sorted.
func formatsOf(t v1alpha1.SecretTemplate) []v1alpha1.Format {
	if len(t.Formats) == 0 {
		return defaultFormats
	}
	return slices.Compact(slices.Sorted(slices.Values(t.Formats)))
}

// unknownFormats returns the template's formats that this version does not support, sorted.
func unknownFormats(t v1alpha1.SecretTemplate) (names []string) {
	for _, name := range formatsOf(t) {
		if _, known := formats[name]; !known {
			names = append(names, string(name))
		}
	}
	return names
}

// triple writes one key for each of the three values.
func triple(accessKeyID, secretAccessKey, sessionToken string) func(input) (map[string]string, error) {
	return func(in input) (map[string]string, error) {
		return map[string]string{accessKeyID: in.AccessKeyID, secretAccessKey: string(in.SecretAccessKey), sessionToken: string(in.SessionToken)}, nil
	}
}

// profile writes one key with a file that contains the profile default (AWS SDKs and Tools Reference Guide, 'Shared
// config and credentials files').
func profile(key string) func(input) (map[string]string, error) {
	return func(in input) (map[string]string, error) {
		lines := []string{"[default]"}
		for _, line := range []struct{ name, value string }{
			{"aws_access_key_id", in.AccessKeyID}, {"aws_secret_access_key", string(in.SecretAccessKey)}, {"aws_session_token", string(in.SessionToken)},
		} {
			if !plain(line.value) {
				return nil, errors.New(line.name + " has a character that is not valid in a shared credentials file")
			}
			if line.value != "" { // STS-compatible servers may return no session token
				lines = append(lines, line.name+" = "+line.value)
			}
		}
		return map[string]string{key: strings.Join(lines, "\n") + "\n"}, nil
	}
}

// plain reports whether all readers of profile files parse a value in the same way. A line end would start another
// setting, such as a process to run. Some readers interpret quotes, backslashes and comment signs.
func plain(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'`\\#;", r) })
}

// process writes a profile whose credential_process prints a file, and that file. SDKs run it again when the
// credential expires (AWS SDKs and Tools Reference Guide, 'Process credential provider').
func process(in input) (map[string]string, error) {
	printed, err := json.Marshal(struct { //nolint:gosec // the SDK needs the secret access key
		Version         int
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string `json:",omitempty"`
		Expiration      string
	}{1, in.AccessKeyID, string(in.SecretAccessKey), string(in.SessionToken), in.Expiration.UTC().Format(time.RFC3339)})
	if err != nil {
		return nil, errors.New("it is not valid JSON text")
	}
	config := fmt.Sprintf("[default]\ncredential_process = cat %s/%s\n", in.mountPath, processFile)
	if slices.Contains(in.formats, v1alpha1.FormatRegion) {
		config += "region = " + in.region + "\n"
	}
	return map[string]string{"config": config, processFile: string(printed) + "\n"}, nil
}
