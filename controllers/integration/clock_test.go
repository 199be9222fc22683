package integration_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

// startSkewedProxy starts a proxy in front of the server that simulates a fast server clock. It signs each request again with an earlier
// time, and sets a later Date in each response. It returns its URL, and the bodies of all responses so far.
func (s *seaweedFS) startSkewedProxy(t *testing.T, by time.Duration) (url string, responses func() string) {
	t.Helper()
	var mu sync.Mutex
	var bodies bytes.Buffer
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		response, err := s.forward(r, -by)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = response.Body.Close() }()
		maps.Copy(w.Header(), response.Header)
		if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
			w.Header().Set("Date", date.Add(by).Format(http.TimeFormat))
		}
		w.WriteHeader(response.StatusCode)
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.Copy(io.MultiWriter(w, &bodies), response.Body)
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL, func() string {
		mu.Lock()
		defer mu.Unlock()
		return bodies.String()
	}
}

// forward sends a request of the user to the server, signed with a shifted time.
func (s *seaweedFS) forward(r *http.Request, shift time.Duration) (*http.Response, error) {
	signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	forwarded, err := http.NewRequestWithContext(r.Context(), r.Method, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	forwarded.Header.Set("Content-Type", r.Header.Get("Content-Type"))
	sum := sha256.Sum256(body)
	user := aws.Credentials{AccessKeyID: s.user.ID, SecretAccessKey: s.user.Secret}
	if err := v4.NewSigner().SignHTTP(r.Context(), user, forwarded, hex.EncodeToString(sum[:]), "sts", "eu-west-1", signed.Add(shift)); err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(forwarded)
}

func TestCallFollowsClockOfSeaweedFS(t *testing.T) {
	server := useSeaweedFS(t)
	h := newHarness(t, stsemulator.Options{})
	h.start()
	url, responses := server.startSkewedProxy(t, 20*time.Minute) // SeaweedFS tolerates 15
	by := h.identity(func(i *v1alpha1.ClusterIdentity) {
		h.putKey(i.Name, server.user)
		i.Spec.Endpoint = url
	})
	h.eventually(by, "Ready", "True Verified")
	h.eventually(by, "ClockInSync", "False ClockSkew")
	h.Expect(responses()).To(ContainSubstring("<Code>RequestTimeTooSkewed</Code>"))

	created := h.credential(h.namespace(nil), "skewed", by, toOwner)
	h.eventually(created, "Ready", "True Issued")
	h.Expect(server.put(t, server.s3As(h, created.Namespace, "skewed"), "skewed")).To(Succeed())
}
