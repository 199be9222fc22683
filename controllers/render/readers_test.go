package render_test

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	minio "github.com/minio/minio-go/v7/pkg/credentials"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
)

// allFormats are the formats of the API.
var allFormats = []v1alpha1.Format{
	v1alpha1.FormatEnv, v1alpha1.FormatRegion, v1alpha1.FormatSharedCredentials, v1alpha1.FormatCredentialProcess,
	v1alpha1.FormatKEDA, v1alpha1.FormatCloudNativePG, v1alpha1.FormatVelero, v1alpha1.FormatCrossplane,
}

// issued has characters that are special to some readers, and that STS uses.
var issued = request.Credentials{
	AccessKeyID: "ASIAREADBACKEXAMPLE1", SecretAccessKey: "wJalr/XUtnFEMI+K7MDENG/bPxRfiCYEXAMPLEKEY=", SessionToken: "IQoJb3JpZ2luX2VjE/A+B=C//D==",
	Expiration: time.Date(2126, 11, 23, 12, 0, 0, 0, time.UTC), PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader",
}

// rendered returns the data of a Secret with formats.
func rendered(t *testing.T, c request.Credentials, template v1alpha1.SecretTemplate) map[string][]byte {
	t.Helper()
	data, err := render.Render(template, c, "eu-west-1")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return data
}

// mounted puts a Secret's data into a folder, as a volume.
func mounted(t *testing.T, data map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for key, value := range data {
		NewWithT(t).Expect(os.WriteFile(filepath.Join(dir, key), value, 0o600)).To(Succeed())
	}
	return dir
}

// setEnvironment sets these variables, and unsets all others that an SDK reads.
func setEnvironment(t *testing.T, variables map[string]string) {
	t.Helper()
	g := NewWithT(t)
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // restores it after the test
			g.Expect(os.Unsetenv(name)).To(Succeed())
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for name, value := range variables {
		t.Setenv(name, value)
	}
}

// sdk loads the configuration of the SDK with these variables, and no others that the SDK reads.
func sdk(t *testing.T, variables map[string]string, options ...func(*config.LoadOptions) error) aws.Config {
	t.Helper()
	g := NewWithT(t)
	setEnvironment(t, variables)
	loaded, err := config.LoadDefaultConfig(t.Context(), options...)
	g.Expect(err).NotTo(HaveOccurred())
	return loaded
}

// reads expects the SDK to sign with these credentials.
func reads(t *testing.T, loaded aws.Config, want request.Credentials) aws.Credentials {
	t.Helper()
	g := NewWithT(t)
	got, err := loaded.Credentials.Retrieve(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]string{got.AccessKeyID, got.SecretAccessKey, got.SessionToken}).To(Equal([]string{want.AccessKeyID, string(want.SecretAccessKey), string(want.SessionToken)}))
	return got
}

func TestSDKReadsItsFormats(t *testing.T) {
	tokenless := issued
	tokenless.SessionToken = ""
	for name, given := range map[string]request.Credentials{"a session": issued, "a credential without a session token": tokenless} {
		t.Run("Env of "+name, func(t *testing.T) {
			reads(t, sdk(t, variables(rendered(t, given, v1alpha1.SecretTemplate{}))), given)
		})
		t.Run("SharedCredentials of "+name, func(t *testing.T) {
			dir := mounted(t, rendered(t, given, v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatSharedCredentials}}))
			reads(t, sdk(t, map[string]string{"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "credentials")}), given)
		})
		t.Run("CredentialProcess of "+name, func(t *testing.T) {
			dir := t.TempDir()
			for key, value := range rendered(t, given, v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatCredentialProcess}, MountPath: dir}) {
				NewWithT(t).Expect(os.WriteFile(filepath.Join(dir, key), value, 0o600)).To(Succeed())
			}
			got := reads(t, sdk(t, map[string]string{"AWS_CONFIG_FILE": filepath.Join(dir, "config")}), given)
			NewWithT(t).Expect(got.CanExpire).To(BeTrue())
			NewWithT(t).Expect(got.Expires).To(BeTemporally("==", given.Expiration))
		})
	}
	t.Run("Region, in the environment", func(t *testing.T) {
		loaded := sdk(t, variables(rendered(t, issued, v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatRegion}})))
		NewWithT(t).Expect(loaded.Region).To(Equal("eu-west-1"))
	})
	t.Run("Region, with CredentialProcess", func(t *testing.T) {
		dir := mounted(t, rendered(t, issued, v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatCredentialProcess, v1alpha1.FormatRegion}}))
		loaded := sdk(t, map[string]string{"AWS_CONFIG_FILE": filepath.Join(dir, "config")})
		NewWithT(t).Expect(loaded.Region).To(Equal("eu-west-1"))
	})
}

// variables returns a Secret's data as envFrom sets it.
func variables(data map[string][]byte) map[string]string {
	variables := map[string]string{}
	for name, value := range data {
		variables[name] = string(value)
	}
	return variables
}

// restic, Thanos, Tempo and Mimir read credentials with minio-go. Its releases before 7.3.0 read no other file than the one that
// AWS_SHARED_CREDENTIALS_FILE names (pkg/credentials/file_aws_credentials.go).
func TestMinIOClientFollowsCredentialProcess(t *testing.T) {
	g := NewWithT(t)
	dir, now := t.TempDir(), issued.Expiration.Add(-time.Hour)
	next := issued
	next.AccessKeyID, next.Expiration = "ASIAREADBACKEXAMPLE2", issued.Expiration.Add(40*time.Minute)
	mount := func(c request.Credentials) {
		for key, value := range rendered(t, c, v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatCredentialProcess}, MountPath: dir}) {
			g.Expect(os.WriteFile(filepath.Join(dir, key), value, 0o600)).To(Succeed())
		}
	}
	setEnvironment(t, map[string]string{"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "config")})
	client := minio.New(&minio.FileAWSCredentials{Expiry: minio.Expiry{CurrentTime: func() time.Time { return now }}})
	for _, step := range []struct {
		mounted, want request.Credentials
		after         time.Duration
	}{
		{mounted: issued, want: issued},
		{mounted: next, want: issued, after: 45 * time.Minute}, // before four fifths of the hour
		{mounted: next, want: next, after: 50 * time.Minute},
	} {
		mount(step.mounted)
		now = issued.Expiration.Add(-time.Hour).Add(step.after)
		got, err := client.GetWithContext(nil)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect([]string{got.AccessKeyID, got.SecretAccessKey, got.SessionToken}).To(
			Equal([]string{step.want.AccessKeyID, string(step.want.SecretAccessKey), string(step.want.SessionToken)}))
	}
}

// Velero gives the SDK the one file both as credentials and as config (velero-plugin-for-aws, config.go, WithCredentialsFile).
func TestVeleroReadsItsFile(t *testing.T) {
	file := filepath.Join(mounted(t, rendered(t, issued, v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatVelero}})), "cloud")
	reads(t, sdk(t, nil, config.WithSharedCredentialsFiles([]string{file}), config.WithSharedConfigFiles([]string{file}), config.WithSharedConfigProfile("default")), issued)
}

// Crossplane's providers read the section 'default' by themselves (provider-upjet-aws, provider_config.go, CredentialsIDSecret):
// 'name = value', without regard to case. The function plain in formats.go rejects values with comments or quotes of go-ini.
func TestCrossplaneReadsItsFile(t *testing.T) {
	file := filepath.Join(mounted(t, rendered(t, issued, v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatCrossplane}})), "creds")
	reads(t, sdk(t, map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file}), issued)
}

// The documentation of the readers has these names.
func TestFormatsHaveTheKeysOfTheirReaders(t *testing.T) {
	for format, want := range map[v1alpha1.Format][]string{
		// AWS SDKs and Tools Reference Guide: 'AWS access keys', 'AWS Region', 'Shared config and credentials files', 'Process
		// credential provider'.
		v1alpha1.FormatEnv:               {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"},
		v1alpha1.FormatRegion:            {"AWS_DEFAULT_REGION", "AWS_REGION"},
		v1alpha1.FormatSharedCredentials: {"credentials"},
		v1alpha1.FormatCredentialProcess: {"config", "credential_process.json"},
		// keda, pkg/scalers/aws/aws_common.go, GetAwsAuthorization; keda.sh, 'AWS SQS Queue'.
		v1alpha1.FormatKEDA: {"awsAccessKeyID", "awsSecretAccessKey", "awsSessionToken"},
		// cloudnative-pg.io, 'Appendix C - Common object stores for backups', 'AWS Access key'; the plugin's 'Object Store Providers'.
		v1alpha1.FormatCloudNativePG: {"ACCESS_KEY_ID", "ACCESS_SECRET_KEY", "ACCESS_SESSION_TOKEN"},
		// velero, the Secret cloud-credentials that velero install makes.
		v1alpha1.FormatVelero: {"cloud"},
		// docs.crossplane.io, 'Get Started With Managed Resources': --from-file=creds=./aws-credentials.ini and key: creds.
		v1alpha1.FormatCrossplane: {"creds"},
	} {
		t.Run(string(format), func(t *testing.T) {
			g := NewWithT(t)
			data := rendered(t, issued, v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{format}})
			g.Expect(slices.Sorted(maps.Keys(data))).To(Equal(want))
			if len(want) == 3 {
				g.Expect([]string{string(data[want[0]]), string(data[want[1]]), string(data[want[2]])}).To(Equal([]string{issued.AccessKeyID, string(issued.SecretAccessKey), string(issued.SessionToken)}))
			}
		})
	}
}

func TestFormatsCanBeCombined(t *testing.T) {
	g := NewWithT(t)
	want := map[string][]byte{}
	for _, format := range allFormats {
		if format == v1alpha1.FormatCredentialProcess { // with Region it has another content
			continue
		}
		for key, value := range rendered(t, issued, v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{format}}) {
			g.Expect(want).NotTo(HaveKey(key), "two formats write it")
			want[key] = value
		}
	}
	maps.Copy(want, rendered(t, issued, v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatCredentialProcess, v1alpha1.FormatRegion}}))
	g.Expect(rendered(t, issued, v1alpha1.SecretTemplate{Formats: allFormats})).To(Equal(want))
}

// SDKs in other languages have other parsers, so each byte counts.
func TestFilesOfCredentialProcess(t *testing.T) {
	for name, tc := range map[string]struct {
		template    v1alpha1.SecretTemplate
		wantCommand string
	}{
		"the default mount path": {v1alpha1.SecretTemplate{}, "cat /var/run/secrets/aws/credential_process.json"},
		"another mount path":     {v1alpha1.SecretTemplate{MountPath: "/root/.aws"}, "cat /root/.aws/credential_process.json"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.template.Formats = []v1alpha1.Format{v1alpha1.FormatCredentialProcess}
			NewWithT(t).Expect(variables(rendered(t, issued, tc.template))).To(Equal(map[string]string{
				"config": "[default]\ncredential_process = " + tc.wantCommand + "\n",
				"credential_process.json": `{"Version":1,"AccessKeyId":"ASIAREADBACKEXAMPLE1","SecretAccessKey":"wJalr/XUtnFEMI+K7MDENG/bPxRfiCYEXAMPLEKEY=",` +
					`"SessionToken":"IQoJb3JpZ2luX2VjE/A+B=C//D==","Expiration":"2126-11-23T12:00:00Z"}` + "\n",
			}))
		})
	}
}

// A server other than AWS could add a setting to the file, such as a process that the reader runs.
func TestProfileFilesRejectSpecialCharacters(t *testing.T) {
	for name, value := range map[string]string{
		"a line end":               "token\ncredential_process = touch /tmp/owned",
		"a carriage return":        "token\rcredential_process = touch /tmp/owned",
		"a space":                  "to ken",
		"a sign of comments":       "to#ken",
		"another sign of comments": "to;ken",
		"a quote":                  `"token"`,
		"a single quote":           "'token'",
		"a backquote":              "`token`",
		"a backslash":              `token\`,
		"a letter not ASCII":       "tokén",
		"a null":                   "to\x00ken",
	} {
		for _, format := range []v1alpha1.Format{v1alpha1.FormatSharedCredentials, v1alpha1.FormatVelero, v1alpha1.FormatCrossplane} {
			t.Run(name+" in "+string(format), func(t *testing.T) {
				strange := issued
				strange.SessionToken = request.RedactedString(value)
				_, err := render.Render(v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{format}}, strange, "eu-west-1")
				NewWithT(t).Expect(err).To(MatchError("the format " + string(format) + " cannot represent it: aws_session_token has a character that is not valid in a shared credentials file"))
			})
		}
	}
}

func TestOtherFormatsAcceptAnyValue(t *testing.T) {
	g := NewWithT(t)
	strange := issued
	strange.SessionToken = "to\"k\\en\n#é"
	data := rendered(t, strange, v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{"Env", "KEDA", "CloudNativePG", "CredentialProcess"}})
	for _, key := range []string{"AWS_SESSION_TOKEN", "awsSessionToken", "ACCESS_SESSION_TOKEN"} {
		g.Expect(data[key]).To(BeEquivalentTo(strange.SessionToken))
	}
	g.Expect(string(data["credential_process.json"])).To(ContainSubstring(`"SessionToken":"to\"k\\en\n#é"`))
}

func TestHoldsRegionIsTrueForSecretsThatDifferByRegion(t *testing.T) {
	for name, template := range map[string]v1alpha1.SecretTemplate{
		"the default": {},
		"Region":      {Formats: []v1alpha1.Format{v1alpha1.FormatRegion}},
		"others":      {Formats: []v1alpha1.Format{v1alpha1.FormatVelero, v1alpha1.FormatCredentialProcess}},
		"a template":  {Data: map[string]v1alpha1.DataTemplate{"a": "{{ .Region }}"}},
		"another":     {Data: map[string]v1alpha1.DataTemplate{"a": "{{ .AccessKeyID }}"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			here, err := render.Render(template, issued, "eu-west-1")
			g.Expect(err).NotTo(HaveOccurred())
			there, err := render.Render(template, issued, "us-east-1")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(render.HoldsRegion(template)).To(Equal(!reflect.DeepEqual(here, there)))
		})
	}
}
