package render_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/hack/stsemulator"
)

// emulator is an STS with a test clock in the past. To the SDK, which uses the real time, all sessions have expired when they are issued.
// The emulator verifies signatures by the real time, because the SDK signs with it.
type emulator struct {
	*stsemulator.Server
	url   string
	clock *clocktesting.FakePassiveClock
}

func newEmulator(t *testing.T) *emulator {
	t.Helper()
	g := NewWithT(t)
	e := &emulator{clock: clocktesting.NewFakePassiveClock(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))}
	world, err := stsemulator.DefaultConfig()
	g.Expect(err).NotTo(HaveOccurred())
	e.Server, err = stsemulator.New(world, stsemulator.Options{Clock: e.clock, SignatureClock: clock.RealClock{}})
	g.Expect(err).NotTo(HaveOccurred())
	endpoint, err := e.Start("")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = endpoint.Close() })
	e.url = endpoint.URL
	return e
}

// issue returns session credentials of the reader's role for 15 minutes.
func (e *emulator) issue(t *testing.T) request.Credentials {
	t.Helper()
	key := e.AccessKeys("arn:aws:iam::210987654321:user/operator")[0]
	client := sts.New(sts.Options{BaseEndpoint: &e.url, Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, "")})
	answer, err := client.AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: new("arn:aws:iam::123456789012:role/S3Reader"), RoleSessionName: new("shop.s3-reader"), DurationSeconds: new(int32(900)),
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return request.Credentials{
		AccessKeyID: *answer.Credentials.AccessKeyId, SecretAccessKey: request.RedactedString(*answer.Credentials.SecretAccessKey),
		SessionToken: request.RedactedString(*answer.Credentials.SessionToken), Expiration: *answer.Credentials.Expiration,
	}
}

// volume is a mounted Secret. As the kubelet does, it replaces all files at once: each file is a link through ..data to a folder of its
// version, and an update replaces the link ..data.
type volume struct {
	dir     string
	changes int
}

func (v *volume) update(t *testing.T, data map[string][]byte) {
	t.Helper()
	g := NewWithT(t)
	before, _ := os.Readlink(filepath.Join(v.dir, "..data"))
	v.changes++
	content := fmt.Sprintf("..content_%d", v.changes)
	g.Expect(os.Mkdir(filepath.Join(v.dir, content), 0o700)).To(Succeed())
	for key, value := range data {
		g.Expect(os.WriteFile(filepath.Join(v.dir, content, key), value, 0o600)).To(Succeed())
	}
	g.Expect(os.Symlink(content, filepath.Join(v.dir, "..data_tmp"))).To(Succeed())
	g.Expect(os.Rename(filepath.Join(v.dir, "..data_tmp"), filepath.Join(v.dir, "..data"))).To(Succeed())
	for _, key := range slices.Collect(maps.Keys(data)) {
		if _, err := os.Lstat(filepath.Join(v.dir, key)); err != nil {
			g.Expect(os.Symlink(filepath.Join("..data", key), filepath.Join(v.dir, key))).To(Succeed())
		}
	}
	if before != "" {
		g.Expect(os.RemoveAll(filepath.Join(v.dir, before))).To(Succeed())
	}
}

// One client works through three refreshes of its Secret, while each earlier credential expires.
func TestRunningSDKFollowsCredentialProcess(t *testing.T) {
	g := NewWithT(t)
	e, mount := newEmulator(t), &volume{dir: t.TempDir()}
	template := v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{v1alpha1.FormatCredentialProcess, v1alpha1.FormatRegion}, MountPath: mount.dir}
	first := e.issue(t)
	mount.update(t, rendered(t, first, template))
	client := sts.NewFromConfig(sdk(t, map[string]string{"AWS_CONFIG_FILE": filepath.Join(mount.dir, "config"), "AWS_ENDPOINT_URL_STS": e.url}))

	// works expects calls with these credentials to succeed.
	works := func(with request.Credentials) {
		t.Helper()
		e.ClearCalls()
		for range 2 {
			_, err := client.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
			g.Expect(err).NotTo(HaveOccurred())
		}
		for _, call := range e.Calls() {
			g.Expect(call.AccessKeyID).To(Equal(with.AccessKeyID))
		}
		g.Expect(e.Calls()).To(HaveLen(2))
	}
	works(first)
	for range 3 {
		e.clock.SetTime(e.clock.Now().Add(10 * time.Minute))
		next := e.issue(t)
		mount.update(t, rendered(t, next, template))
		works(next)
		e.clock.SetTime(e.clock.Now().Add(10 * time.Minute)) // the earlier credentials have expired
		works(next)
	}

	// Without another refresh, the last credentials expire too.
	e.clock.SetTime(e.clock.Now().Add(10 * time.Minute))
	_, err := client.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	refused, ok := errors.AsType[smithy.APIError](err)
	g.Expect(ok).To(BeTrue(), "%v", err)
	g.Expect(refused.ErrorCode()).To(Equal("ExpiredToken"))
}

// docs/formats.md therefore recommends a restart, or CredentialProcess.
func TestRunningSDKDoesNotFollowOtherFormats(t *testing.T) {
	next := issued
	next.AccessKeyID = "ASIANEXT"
	for format, variables := range map[v1alpha1.Format]func(dir string) map[string]string{
		v1alpha1.FormatSharedCredentials: func(dir string) map[string]string {
			return map[string]string{"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "credentials")}
		},
		v1alpha1.FormatVelero: func(dir string) map[string]string {
			return map[string]string{"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "cloud")}
		},
		// It follows only at the expiration.
		v1alpha1.FormatCredentialProcess: func(dir string) map[string]string {
			return map[string]string{"AWS_CONFIG_FILE": filepath.Join(dir, "config")}
		},
	} {
		t.Run(string(format), func(t *testing.T) {
			mount := &volume{dir: t.TempDir()}
			template := v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{format}, MountPath: mount.dir}
			mount.update(t, rendered(t, issued, template))
			loaded := sdk(t, variables(mount.dir))
			reads(t, loaded, issued)
			mount.update(t, rendered(t, next, template))
			got, err := loaded.Credentials.Retrieve(t.Context())
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			NewWithT(t).Expect(got.AccessKeyID).To(Equal(issued.AccessKeyID))
		})
	}
}
