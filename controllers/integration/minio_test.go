package integration_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	bucket = "shop"
	// ownsBucket is the policy of MinIO's user, and so of sessions that the user's key requests.
	ownsBucket = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::shop", "arn:aws:s3:::shop/*"]}]}`
	// readsBucket is a session policy.
	readsBucket = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::shop/*"]}]}`
)

// minio is a MinIO server, a third-party STS and S3.
type minio struct {
	*WithT
	url  string
	root stsemulator.AccessKey
	// user is the key of an ordinary user. An operator should not have the root user's key.
	user stsemulator.AccessKey
}

// startMinIO starts a server with a user who owns a bucket. It stops at the end of the test.
func startMinIO(t *testing.T, environment ...string) *minio {
	t.Helper()
	binary := serverProgram(t, "MINIO")
	g := NewWithT(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	address := listener.Addr().String()
	g.Expect(listener.Close()).To(Succeed())
	m := &minio{WithT: g, url: "http://" + address, root: randomKey(), user: randomKey()}

	dir := t.TempDir()
	var output bytes.Buffer
	server := exec.Command(binary, "server", "--address", address, "--certs-dir", filepath.Join(dir, "certs"), filepath.Join(dir, "data"))
	server.Dir = dir
	// Without the test's environment, the console, and the check for updates on the internet.
	server.Env = []string{"HOME=" + dir, "MINIO_ROOT_USER=" + m.root.ID, "MINIO_ROOT_PASSWORD=" + m.root.Secret, "MINIO_BROWSER=off", "MINIO_UPDATE=off"}
	server.Env = append(server.Env, environment...)
	// MinIO trusts the API server, to read the keys of service account tokens.
	g.Expect(os.MkdirAll(filepath.Join(dir, "certs", "CAs"), 0o700)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "certs", "CAs", "apiserver.crt"), adminConfig.CAData, 0o600)).To(Succeed())
	server.Stdout, server.Stderr = &output, &output
	g.Expect(server.Start()).To(Succeed())
	exited := make(chan error, 1)
	go func() { exited <- server.Wait() }()
	t.Cleanup(func() {
		_ = server.Process.Kill()
		err := <-exited
		if t.Failed() {
			t.Logf("MinIO exited with %v, output:\n%s", err, output.String())
		}
	})

	g.Eventually(m.addUser).WithContext(t.Context()).WithTimeout(settle).Should(Succeed())
	_, err = m.s3(m.user, "").CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: new(bucket)})
	g.Expect(err).NotTo(HaveOccurred())
	return m
}

func randomKey() stsemulator.AccessKey {
	return stsemulator.AccessKey{ID: rand.Text()[:20], Secret: rand.Text()}
}

// addUser adds the user.
func (m *minio) addUser(ctx context.Context) error {
	added, err := m.add(ctx, map[string]any{
		"policies.json":      map[string]json.RawMessage{"owns-bucket": json.RawMessage(ownsBucket)},
		"users.json":         map[string]any{m.user.ID: map[string]string{"secretKey": m.user.Secret, "status": "enabled"}},
		"user_mappings.json": map[string]any{m.user.ID: map[string]any{"version": 1, "policy": "owns-bucket"}},
	})
	if err == nil && len(added.UserPolicies) != 1 {
		return fmt.Errorf("added %v", added)
	}
	return err
}

// addPolicy adds a policy. A policy with the name of a token's subject applies to the subject's sessions.
func (m *minio) addPolicy(ctx context.Context, name, policy string) error {
	added, err := m.add(ctx, map[string]any{"policies.json": map[string]json.RawMessage{name: json.RawMessage(policy)}})
	if err == nil && len(added.Policies) != 1 {
		return fmt.Errorf("added %v", added)
	}
	return err
}

type added struct{ Policies, UserPolicies []any }

// add imports IAM assets, as `mc admin cluster iam import` does. Unlike MinIO's call to add a user, it requires no encryption.
func (m *minio) add(ctx context.Context, assets map[string]any) (added, error) {
	var archive bytes.Buffer
	files := zip.NewWriter(&archive)
	for name, content := range assets {
		file, err := files.Create("iam-assets/" + name)
		if err != nil {
			return added{}, err
		}
		if err := json.NewEncoder(file).Encode(content); err != nil {
			return added{}, err
		}
	}
	if err := files.Close(); err != nil {
		return added{}, err
	}

	request, err := http.NewRequestWithContext(ctx, http.MethodPut, m.url+"/minio/admin/v3/import-iam-v2", &archive)
	if err != nil {
		return added{}, err
	}
	sum := sha256.Sum256(archive.Bytes())
	hash := hex.EncodeToString(sum[:])
	request.Header.Set("X-Amz-Content-Sha256", hash)
	root := aws.Credentials{AccessKeyID: m.root.ID, SecretAccessKey: m.root.Secret}
	if err := v4.NewSigner().SignHTTP(ctx, root, request, hash, "s3", "us-east-1", clock.RealClock{}.Now()); err != nil {
		return added{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return added{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return added{}, err
	}
	var result struct{ Added added }
	if err := json.Unmarshal(body, &result); err != nil {
		return added{}, fmt.Errorf("%s: %s", response.Status, body)
	}
	return result.Added, nil
}

// s3 returns a client of the server's S3.
func (m *minio) s3(key stsemulator.AccessKey, sessionToken string) *s3.Client {
	return s3.New(s3.Options{
		Region: "eu-west-1", BaseEndpoint: &m.url, UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, sessionToken),
	})
}

// put stores an object.
func (m *minio) put(t *testing.T, api *s3.Client, name string) error {
	_, err := api.PutObject(t.Context(), &s3.PutObjectInput{Bucket: new(bucket), Key: &name, Body: strings.NewReader("content of " + name)})
	return err
}

// get returns the content of an object.
func (m *minio) get(t *testing.T, api *s3.Client, name string) (string, error) {
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
func (m *minio) identity(h *harness, key stsemulator.AccessKey) *v1alpha1.ClusterIdentity {
	return h.identity(func(i *v1alpha1.ClusterIdentity) {
		h.putKey(i.Name, key)
		i.Spec.Endpoint = m.url
	})
}

// s3As returns a client of the server's S3 with the credentials in a Secret.
func (m *minio) s3As(h *harness, namespace, name string) *s3.Client {
	data := h.secret(namespace, name).Data
	key := stsemulator.AccessKey{ID: string(data["AWS_ACCESS_KEY_ID"]), Secret: string(data["AWS_SECRET_ACCESS_KEY"])}
	return m.s3(key, string(data["AWS_SESSION_TOKEN"]))
}

func TestMinIOAcceptsCredentialsThatItIssued(t *testing.T) {
	server := startMinIO(t)
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := server.identity(h, server.user)
	h.eventually(by, "Ready", "True NotVerifiable")
	h.Expect(by.Status.ARN).To(BeEmpty())

	made := h.credential(namespace, "full", by)
	h.eventually(made, "Ready", "True Issued")
	h.Expect(made.Status.PrincipalARN).To(BeEmpty()) // MinIO does not return it
	api := server.s3As(h, namespace, "full")
	h.Expect(server.put(t, api, "note")).To(Succeed())
	h.Expect(server.get(t, api, "note")).To(Equal("content of note"))
	h.Expect(made.Status.AccessKeyID).To(Equal(string(h.secret(namespace, "full").Data["AWS_ACCESS_KEY_ID"])))

	// A session policy limits the caller's permissions.
	narrow := h.credential(namespace, "narrow", by, func(c *v1alpha1.RoleCredential) { c.Spec.Policy = readsBucket })
	h.eventually(narrow, "Ready", "True Issued")
	narrowed := server.s3As(h, namespace, "narrow")
	h.Expect(server.get(t, narrowed, "note")).To(Equal("content of note"))
	h.Expect(codeOf(server.put(t, narrowed, "other"))).To(Equal("AccessDenied"))

	// A refresh issues new credentials. The previous credentials stay valid until their own expiry.
	h.refresh(made, "1")
	h.Eventually(func() string { h.state(made, "Ready")(); return made.Status.LastHandledRefreshRequest }).WithTimeout(settle).Should(Equal("1"))
	h.Expect(server.put(t, server.s3As(h, namespace, "full"), "refreshed")).To(Succeed())
	h.Expect(server.get(t, api, "refreshed")).To(Equal("content of refreshed"))
	h.Expect(h.sts.Calls()).To(BeEmpty()) // only MinIO was called
}

func TestStatusReportsExpirationOfMinIO(t *testing.T) {
	server := startMinIO(t)
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	made := h.credential(namespace, "short", server.identity(h, server.user), func(c *v1alpha1.RoleCredential) {
		c.Spec.Duration = &metav1.Duration{Duration: 15 * time.Minute}
	})
	h.eventually(made, "Ready", "True Issued")
	// MinIO's session token is a JWT, and MinIO enforces its expiry.
	parts := strings.Split(string(h.secret(namespace, "short").Data["AWS_SESSION_TOKEN"]), ".")
	h.Expect(parts).To(HaveLen(3))
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	h.Expect(err).NotTo(HaveOccurred())
	var token struct{ Exp int64 }
	h.Expect(json.Unmarshal(claims, &token)).To(Succeed())
	h.Expect(made.Status.Expiration.Unix()).To(Equal(token.Exp))
	h.Expect(made.Status.NextRefreshTime.Unix()).To(BeNumerically("<", token.Exp))
}

func TestMinIODeniesWrongKeyUntilItIsReplaced(t *testing.T) {
	server := startMinIO(t)
	for name, wrong := range map[string]stsemulator.AccessKey{
		"a wrong secret key":    {ID: server.user.ID, Secret: randomKey().Secret},
		"an unknown access key": randomKey(),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, stsemulator.Options{})
			h.start()
			namespace := h.namespace(nil)
			by := server.identity(h, wrong)
			made := h.credential(namespace, "recovers", by)
			h.eventually(made, "Issued", "False AccessDenied")
			h.Expect(h.secret(namespace, "recovers")).To(BeNil())
			h.putKey(by.Name, server.user)
			h.eventually(made, "Ready", "True Issued")
			h.Expect(server.put(t, server.s3As(h, namespace, "recovers"), "recovered")).To(Succeed())
		})
	}
}

func TestMinIOIgnoresRolesAndRejectsUserCalls(t *testing.T) {
	server := startMinIO(t)
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := server.identity(h, server.user)
	update(h, by, func(i *v1alpha1.ClusterIdentity) {
		*i.Spec.Allow = append(*i.Spec.Allow, v1alpha1.AllowRule{Namespaces: []string{"*"}, Calls: []v1alpha1.Call{v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken}})
	})

	// MinIO ignores the role, and the fields that a trust policy checks.
	ignored := h.credential(namespace, "ignored", by, func(c *v1alpha1.RoleCredential) {
		c.Spec.RoleARN, c.Spec.ExternalID, c.Spec.SourceIdentity = "arn:aws-cn:iam::123456789012:role/Ignored", "ignored", "ignored"
		c.Spec.Tags = []v1alpha1.Tag{{Key: "team", Value: new("shop")}}
		c.Spec.PolicyARNs = []string{"arn:aws:iam::aws:policy/AWSDenyAll"}
	})
	h.eventually(ignored, "Ready", "True Issued")
	h.Expect(server.put(t, server.s3As(h, namespace, "ignored"), "ignored")).To(Succeed())

	own := &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "own"}}
	own.Spec.IdentityRef.Name = by.Name
	narrowed := &v1alpha1.FederatedCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "narrowed"}}
	narrowed.Spec.IdentityRef.Name, narrowed.Spec.Policy = by.Name, readsBucket
	for _, made := range []client.Object{own, narrowed} { // MinIO does not support these calls
		h.Expect(admin.Create(h.ctx, made)).To(Succeed())
		h.eventually(made, "Issued", "False InvalidRequest")
	}

	update(h, by, func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Chain = []v1alpha1.Hop{{RoleARN: "arn:aws:iam::123456789012:role/Hub"}}
	})
	chained := h.credential(namespace, "chained", by) // MinIO issues no session to a session
	h.eventually(chained, "Issued", "False AccessDenied")
}
