package stsemulator_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/stsemulator"
)

func TestEndpointCanBeRestarted(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	creds, _ := e.assume(t, operatorKey, input(readerARN))
	g.Expect(e.endpoint.Close()).To(Succeed())
	_, err := e.client(creds).GetCallerIdentity(t.Context(), nil)
	g.Expect(err).To(MatchError(syscall.ECONNREFUSED))

	again, err := e.Start(e.endpoint.Address)
	g.Expect(err).NotTo(HaveOccurred())
	defer again.Close()
	g.Expect(again.URL).To(Equal(e.endpoint.URL))
	_, err = e.client(creds).GetCallerIdentity(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
}

func TestEndpointOverTLS(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	secure, err := e.StartTLS("")
	g.Expect(err).NotTo(HaveOccurred())
	defer secure.Close()
	pool := x509.NewCertPool()
	g.Expect(pool.AppendCertsFromPEM(secure.CABundle)).To(BeTrue())

	over := func(config *tls.Config) error {
		transport := &http.Transport{TLSClientConfig: config}
		defer transport.CloseIdleConnections()
		client := e.client(operatorKey, func(o *sts.Options) {
			o.BaseEndpoint, o.HTTPClient = aws.String(secure.URL), &http.Client{Transport: transport}
		})
		_, err := client.GetCallerIdentity(t.Context(), nil)
		return err
	}
	g.Expect(over(&tls.Config{RootCAs: pool})).To(Succeed())
	g.Expect(over(&tls.Config{})).To(MatchError(ContainSubstring("certificate signed by unknown authority")))

	e.setFault(t, stsemulator.Fault{Kind: stsemulator.FaultReset})
	g.Expect(over(&tls.Config{RootCAs: pool})).To(MatchError(syscall.ECONNRESET))
}

// admin calls the admin endpoint and decodes its answer into out, if that is not nil.
func (e emulator) admin(t *testing.T, method, path string, in, out any) int {
	t.Helper()
	g := NewWithT(t)
	body, err := json.Marshal(in)
	g.Expect(err).NotTo(HaveOccurred())
	r, err := http.NewRequestWithContext(t.Context(), method, e.endpoint.URL+stsemulator.AdminPath+path, bytes.NewReader(body))
	g.Expect(err).NotTo(HaveOccurred())
	resp, err := http.DefaultClient.Do(r)
	g.Expect(err).NotTo(HaveOccurred())
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	g.Expect(err).NotTo(HaveOccurred())
	if out != nil {
		g.Expect(json.Unmarshal(answer, out)).To(Succeed(), string(answer))
	}
	return resp.StatusCode
}

func TestAdminEndpointReturnsCallsAndSessions(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	creds, _ := e.assume(t, operatorKey, input(readerARN))
	var calls []stsemulator.Call
	g.Expect(e.admin(t, http.MethodGet, "calls", nil, &calls)).To(Equal(200))
	g.Expect(calls).To(Equal(e.Calls()))
	var sessions []stsemulator.Session
	g.Expect(e.admin(t, http.MethodGet, "sessions", nil, &sessions)).To(Equal(200))
	g.Expect(sessions).To(HaveLen(1))
	g.Expect(sessions[0].AccessKeyID).To(Equal(creds.AccessKeyID))

	g.Expect(e.admin(t, http.MethodDelete, "calls", nil, nil)).To(Equal(204))
	g.Expect(e.admin(t, http.MethodGet, "calls", nil, &calls)).To(Equal(200))
	g.Expect(calls).To(BeEmpty())
}

func TestAdminEndpointReturnsTheSessionOfKeys(t *testing.T) {
	e := serve(t, stsemulator.Options{})
	one, _ := e.assume(t, operatorKey, input(readerARN))
	other, _ := e.assume(t, operatorKey, input(readerARN))
	e.clock.Step(2 * time.Hour)
	for name, tc := range map[string]struct {
		key, secret, token string
		want               int
	}{
		"all of one session, which has expired": {one.AccessKeyID, one.SecretAccessKey, one.SessionToken, 200},
		"the secret key of another":             {one.AccessKeyID, other.SecretAccessKey, one.SessionToken, 404},
		"the token of another":                  {one.AccessKeyID, one.SecretAccessKey, other.SessionToken, 404},
		"the access key id of another":          {other.AccessKeyID, one.SecretAccessKey, one.SessionToken, 404},
		"no token":                              {one.AccessKeyID, one.SecretAccessKey, "", 404},
		"a user's own key":                      {operatorKey.AccessKeyID, operatorKey.SecretAccessKey, "", 404},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var session stsemulator.Session
			g.Expect(e.admin(t, http.MethodPost, "session", map[string]any{"accessKeyID": tc.key, "secretAccessKey": tc.secret, "sessionToken": tc.token}, &session)).To(Equal(tc.want))
			if tc.want == 200 {
				g.Expect(session.AccessKeyID).To(Equal(e.Sessions()[0].AccessKeyID))
				g.Expect(session.ARN).To(Equal("arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader"))
			}
		})
	}
}

func TestAdminEndpointAddsAndRemovesFaults(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	var set stsemulator.Fault
	g.Expect(e.admin(t, http.MethodPost, "faults", map[string]any{"kind": "Outage"}, &set)).To(Equal(201))
	_, err := e.client(operatorKey).GetCallerIdentity(t.Context(), nil)
	g.Expect(err).To(MatchError(io.EOF))
	g.Expect(e.admin(t, http.MethodDelete, "faults/"+set.ID, nil, nil)).To(Equal(204), "the admin endpoint outlives an outage")

	fault := map[string]any{"kind": "SkewedDate", "duration": "-90m", "action": "AssumeRole", "times": 3}
	g.Expect(e.admin(t, http.MethodPost, "faults", fault, &set)).To(Equal(201))
	var faults []stsemulator.Fault
	g.Expect(e.admin(t, http.MethodGet, "faults", nil, &faults)).To(Equal(200))
	g.Expect(faults).To(Equal([]stsemulator.Fault{set}))
	g.Expect(faults).To(Equal(e.Faults()))
	g.Expect(e.admin(t, http.MethodDelete, "faults", nil, nil)).To(Equal(204))
	g.Expect(e.Faults()).To(BeEmpty())

	var refused struct{ Error string }
	g.Expect(e.admin(t, http.MethodPost, "faults", map[string]any{"kind": "Flood"}, &refused)).To(Equal(400))
	g.Expect(refused.Error).To(Equal(`fault: no kind "Flood"`))
	g.Expect(e.admin(t, http.MethodPost, "faults", map[string]any{"kind": "Hang", "tims": 1}, &refused)).To(Equal(400))
	g.Expect(refused.Error).To(ContainSubstring("tims"))
}

func TestAdminEndpointManagesKeys(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	works := func(key stsemulator.AccessKey) error {
		_, err := e.client(aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}).GetCallerIdentity(t.Context(), nil)
		return err
	}
	old := stsemulator.AccessKey{ID: operatorKey.AccessKeyID, Secret: operatorKey.SecretAccessKey}
	var key stsemulator.AccessKey
	g.Expect(e.admin(t, http.MethodPost, "keys", map[string]any{"userARN": operatorARN}, &key)).To(Equal(201))
	g.Expect(key.ID).To(MatchRegexp(`^AKIA[A-Z2-7]{16}$`))
	g.Expect(works(key)).To(Succeed())
	g.Expect(works(old)).To(Succeed())

	g.Expect(e.admin(t, http.MethodPut, "keys/"+old.ID, map[string]any{"inactive": true}, nil)).To(Equal(204))
	g.Expect(failureOf(t, works(old)).Code).To(Equal("InvalidClientTokenId"))
	g.Expect(e.admin(t, http.MethodPut, "keys/"+old.ID, map[string]any{"inactive": false}, nil)).To(Equal(204))
	g.Expect(works(old)).To(Succeed())

	var rotated stsemulator.AccessKey
	g.Expect(e.admin(t, http.MethodPost, "keys", map[string]any{"userARN": operatorARN, "replace": true}, &rotated)).To(Equal(201))
	g.Expect(failureOf(t, works(old)).Code).To(Equal("InvalidClientTokenId"))
	g.Expect(failureOf(t, works(key)).Code).To(Equal("InvalidClientTokenId"))
	g.Expect(works(rotated)).To(Succeed())

	var listed []stsemulator.AccessKey
	g.Expect(e.admin(t, http.MethodGet, "keys?user="+url.QueryEscape(operatorARN), nil, &listed)).To(Equal(200))
	g.Expect(listed).To(Equal([]stsemulator.AccessKey{{ID: rotated.ID}}), "without its secret")
	g.Expect(e.admin(t, http.MethodDelete, "keys/"+rotated.ID, nil, nil)).To(Equal(204))
	g.Expect(failureOf(t, works(rotated)).Code).To(Equal("InvalidClientTokenId"))
	g.Expect(e.admin(t, http.MethodDelete, "keys/"+rotated.ID, nil, nil)).To(Equal(400))
	g.Expect(e.admin(t, http.MethodPost, "keys", map[string]any{"userARN": "nobody"}, nil)).To(Equal(400))
}

func TestSessionRemainsValidWithoutTheKeyOfItsCall(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	creds, _ := e.assume(t, operatorKey, input(readerARN))
	_, err := e.RotateAccessKeys(operatorARN)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = e.client(creds).GetCallerIdentity(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
}

func TestAdminEndpointChangesRoles(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	assume := func(role string) error {
		_, err := e.client(operatorKey).AssumeRole(t.Context(), input("arn:aws:iam::123456789012:role/"+role))
		return err
	}
	trust := func(role string, trust ...stsemulator.Trust) int {
		return e.admin(t, http.MethodPut, "trust", map[string]any{"roleARN": "arn:aws:iam::123456789012:role/" + role, "trust": trust}, nil)
	}
	g.Expect(failureOf(t, assume("Nobody")).Code).To(Equal("AccessDenied"))
	g.Expect(trust("Nobody", stsemulator.Trust{Principal: operatorARN})).To(Equal(204))
	g.Expect(assume("Nobody")).To(Succeed())
	g.Expect(trust("Nobody")).To(Equal(204))
	g.Expect(failureOf(t, assume("Nobody")).Code).To(Equal("AccessDenied"))

	g.Expect(trust("bench-7")).To(Equal(204), "one of the many of a pattern")
	g.Expect(failureOf(t, assume("bench-7")).Code).To(Equal("AccessDenied"))
	g.Expect(assume("bench-8")).To(Succeed())

	g.Expect(trust("Missing")).To(Equal(400))
	g.Expect(trust("Nobody", stsemulator.Trust{Principal: "me"})).To(Equal(400))

	role := stsemulator.Role{Name: "New", Trust: []stsemulator.Trust{{Principal: "*"}}}
	g.Expect(e.admin(t, http.MethodPut, "roles", map[string]any{"account": "123456789012", "role": role}, nil)).To(Equal(204))
	g.Expect(assume("New")).To(Succeed())
	g.Expect(e.admin(t, http.MethodPut, "roles", map[string]any{"account": "1", "role": role}, nil)).To(Equal(400))
	role.MaxSessionDuration = 1
	g.Expect(e.PutRole("123456789012", role)).To(MatchError(`role "New": maxSessionDuration must be 3600 to 43200 seconds`))
}
