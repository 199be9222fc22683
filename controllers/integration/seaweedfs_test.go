package integration_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/s3server"
	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	bucket = "shop"
	// ownsBucket is the policy of SeaweedFS's user operator and of its role Owner.
	ownsBucket = `{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::shop", "arn:aws:s3:::shop/*"]},
		{"Effect": "Allow", "Action": ["sts:GetFederationToken"], "Resource": ["*"]}]}`
	// readsBucket is the policy of the role S3Reader, and a session policy.
	readsBucket = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::shop/*"]}]}`
	ownerRole   = "arn:aws:iam::" + s3server.Account + ":role/Owner"
)

// seaweedFS is a SeaweedFS, a third-party STS and S3.
type seaweedFS struct {
	url string
	// user is the key of the user operator, who owns the bucket.
	user    stsemulator.AccessKey
	config  *s3server.Server
	output  logs
	process *exec.Cmd
}

// sharedSeaweedFS is the server of most tests, since a start takes seconds. TestMain stops it.
var sharedSeaweedFS *seaweedFS

// useSeaweedFS returns the shared server, with the user operator and all roles.
func useSeaweedFS(t *testing.T) *seaweedFS {
	t.Helper()
	binary := serverProgram(t, "SEAWEEDFS")
	if sharedSeaweedFS == nil {
		dir, err := os.MkdirTemp("", "seaweedfs-") //nolint:usetesting // t.TempDir is removed with the first test
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		sharedSeaweedFS = startSeaweedFS(t, binary, dir, func(s *s3server.Server) { addRoles(t, s) })
	}
	return sharedSeaweedFS
}

// startSeaweedFS starts a server with a user, a bucket, and the roles S3Reader and Owner, which trust the user.
func startSeaweedFS(t *testing.T, binary, dir string, change func(*s3server.Server)) *seaweedFS {
	t.Helper()
	g := NewWithT(t)
	user := randomKey()
	trust := s3server.TrustUser("operator")
	s := &seaweedFS{user: user, config: &s3server.Server{
		Dir: dir, IP: "127.0.0.1", Ports: unusedPorts(t),
		Users: []s3server.User{{Name: "operator", AccessKeyID: user.ID, SecretAccessKey: user.Secret, Policy: ownsBucket}},
		Roles: []s3server.Role{{Name: "S3Reader", Trust: trust, Policy: readsBucket}, {Name: "Owner", Trust: trust, Policy: ownsBucket}},
	}}
	change(s.config)
	s.url = s.config.URL()
	args, err := s.config.Command()
	g.Expect(err).NotTo(HaveOccurred())
	s.process = exec.Command(binary, args...)
	s.process.Dir, s.process.Env = dir, []string{"HOME=" + dir, "TMPDIR=" + dir} // without the test's environment
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	g.Expect(s.process.Start()).To(Succeed())
	ready := false
	t.Cleanup(func() {
		if !ready {
			_ = s.stop()
		}
	})
	g.Eventually(func(ctx context.Context) error {
		_, err := s.s3(user, "").CreateBucket(ctx, &s3.CreateBucketInput{Bucket: new(bucket)})
		return err
	}).WithContext(t.Context()).WithTimeout(2*waitLimit).Should(Succeed(), s.output.String)
	ready = true
	return s
}

// stop kills the server, and removes its files.
func (s *seaweedFS) stop() error {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
	return errors.Join(s.config.RemoveSockets(), os.RemoveAll(s.config.Dir))
}

// unusedPorts returns ports of loopback that no process listens on.
func unusedPorts(t *testing.T) (ports [8]int) {
	t.Helper()
	g := NewWithT(t)
	var listeners []net.Listener
	for i := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		g.Expect(err).NotTo(HaveOccurred())
		ports[i] = listener.Addr().(*net.TCPAddr).Port
		listeners = append(listeners, listener)
	}
	for _, listener := range listeners { // together, so that no port is drawn twice
		g.Expect(listener.Close()).To(Succeed())
	}
	return ports
}

func randomKey() stsemulator.AccessKey {
	return stsemulator.AccessKey{ID: rand.Text()[:20], Secret: rand.Text()}
}

// s3 returns a client of the server's S3.
func (s *seaweedFS) s3(key stsemulator.AccessKey, sessionToken string) *s3.Client {
	return s3.New(s3.Options{
		Region: "eu-west-1", BaseEndpoint: &s.url, UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, sessionToken),
	})
}

// put stores an object.
func (s *seaweedFS) put(t *testing.T, api *s3.Client, name string) error {
	_, err := api.PutObject(t.Context(), &s3.PutObjectInput{Bucket: new(bucket), Key: &name, Body: strings.NewReader("content of " + name)})
	return err
}

// get returns the content of an object.
func (s *seaweedFS) get(t *testing.T, api *s3.Client, name string) (string, error) {
	object, err := api.GetObject(t.Context(), &s3.GetObjectInput{Bucket: new(bucket), Key: &name})
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(object.Body)
	return string(text), errors.Join(err, object.Body.Close())
}

func codeOf(err error) string {
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		return answer.ErrorCode()
	}
	return ""
}

// identity creates an identity that calls the server with a key.
func (s *seaweedFS) identity(h *harness, key stsemulator.AccessKey) *v1alpha1.ClusterIdentity {
	return h.identity(func(i *v1alpha1.ClusterIdentity) {
		h.putKey(i.Name, key)
		i.Spec.Endpoint = s.url
		*i.Spec.Allow = append(*i.Spec.Allow, v1alpha1.AllowRule{
			Namespaces: []string{"*"}, Calls: []v1alpha1.Call{v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken},
		})
	})
}

// s3As returns a client of the server's S3 with the credentials in a Secret.
func (s *seaweedFS) s3As(h *harness, namespace, name string) *s3.Client {
	data := h.secret(namespace, name).Data
	key := stsemulator.AccessKey{ID: string(data["AWS_ACCESS_KEY_ID"]), Secret: string(data["AWS_SECRET_ACCESS_KEY"])}
	return s.s3(key, string(data["AWS_SESSION_TOKEN"]))
}

// expiryInToken returns the time at which the server rejects a session: its session tokens are JWTs.
func (h *harness) expiryInToken(namespace, name string) time.Time {
	h.t.Helper()
	parts := strings.Split(string(h.secret(namespace, name).Data["AWS_SESSION_TOKEN"]), ".")
	h.Expect(parts).To(HaveLen(3))
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	h.Expect(err).NotTo(HaveOccurred())
	var token struct{ Exp int64 }
	h.Expect(json.Unmarshal(claims, &token)).To(Succeed())
	return time.Unix(token.Exp, 0)
}
