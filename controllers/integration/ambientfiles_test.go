package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

// tokenFile is a token that the kubelet rotates: it replaces the file at once.
type tokenFile struct {
	*WithT
	path string
}

func newTokenFile(t *testing.T) tokenFile {
	t.Helper()
	return tokenFile{NewWithT(t), filepath.Join(t.TempDir(), "token")}
}

func (f tokenFile) rotate(token string) {
	next := f.path + ".next"
	f.Expect(os.WriteFile(next, []byte(token), 0o600)).To(Succeed())
	f.Expect(os.Rename(next, f.path)).To(Succeed())
}

// exchange is a server that exchanges tokens for credentials that have already expired. The SDK then requests them for each call.
type exchange struct {
	*httptest.Server
	mu     sync.Mutex
	tokens []string
}

// newExchange starts a server. token returns the token of a request, and respond its response.
func newExchange(t *testing.T, token func(*http.Request) string, respond http.HandlerFunc) *exchange {
	t.Helper()
	e := &exchange{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.tokens = append(e.tokens, token(r))
		e.mu.Unlock()
		respond(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *exchange) received() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.tokens)
}

const longExpired = "2020-01-01T00:00:00Z"

// podIdentity is the environment of EKS Pod Identity.
func podIdentity(t *testing.T, key stsemulator.AccessKey, file tokenFile) *exchange {
	t.Helper()
	agent := newExchange(t, func(r *http.Request) string { return r.Header.Get("Authorization") }, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"AccessKeyId": key.ID, "SecretAccessKey": key.Secret, "Expiration": longExpired})
	})
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.URL+"/v1/credentials")
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.path)
	return agent
}

// irsa is the environment of IAM roles for service accounts.
func irsa(t *testing.T, key stsemulator.AccessKey, file tokenFile) *exchange {
	t.Helper()
	sts := newExchange(t, func(r *http.Request) string { return r.PostFormValue("WebIdentityToken") }, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>`+
			`<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken></SessionToken><Expiration>%s</Expiration>`+
			`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, key.ID, key.Secret, longExpired)
	})
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::210987654321:role/Operator")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file.path)
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
	return sts
}

// Public reports say of other operators that their refreshes fail when the kubelet has rotated a token.
func TestRotatedTokenFilesOfTheAmbientSourceFailNoRefresh(t *testing.T) {
	for name, environment := range map[string]func(*testing.T, stsemulator.AccessKey, tokenFile) *exchange{"EKS Pod Identity": podIdentity, "IRSA": irsa} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, stsemulator.Options{})
			file := newTokenFile(t)
			file.rotate("token-0")
			t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			exchanged := environment(t, h.sts.AccessKeys(operatorARN)[0], file)
			h.start()
			namespace := h.namespace(nil)
			by := h.identity(func(i *v1alpha1.ClusterIdentity) {
				i.Spec.Source = v1alpha1.ClusterIdentitySource{Ambient: &v1alpha1.AmbientSource{}}
			})
			h.eventually(by, "Ready", "True Verified")
			retained := h.credential(namespace, "kept", by)
			h.eventually(retained, "Ready", "True Issued")
			for n := 1; n <= 5; n++ {
				before := len(exchanged.received())
				token := fmt.Sprint("token-", n)
				file.rotate(token)
				h.eventually(h.credential(namespace, fmt.Sprint("new-", n), by), "Ready", "True Issued")
				requests := exchanged.received()[before:]
				h.Expect(requests).NotTo(BeEmpty())
				h.Expect(requests).To(HaveEach(token))
			}
			h.refresh(retained, "1")
			h.Eventually(func() string { h.state(retained, "Ready")(); return retained.Status.LastHandledRefreshRequest }).WithTimeout(waitLimit).Should(Equal("1"))
			h.Expect(exchanged.received()).To(ContainElement("token-0"))
			h.Expect(exchanged.received()[len(exchanged.received())-1]).To(Equal("token-5"))
			h.stop()
			for _, call := range h.sts.Calls() {
				h.Expect(call.Code).To(BeEmpty())
			}
			h.Expect(h.logs.String()).NotTo(ContainSubstring("no new credential"))
		})
	}
}
