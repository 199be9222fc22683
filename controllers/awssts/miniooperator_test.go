package awssts_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
)

// The STS of MinIO Operator serves one path for each tenant, /sts/<namespace>, and no other. It names no role's session
// (minio/operator, pkg/controller/sts.go and sts_handlers.go).
func TestIssueFromMinIOOperator(t *testing.T) {
	g := NewWithT(t)
	expiration := start.Add(time.Hour)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sts/minio-tenant", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("WebIdentityToken") != string(tokenAuth.WebIdentityToken) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Date", start.Format(http.TimeFormat))
		_, _ = fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>`+
			`<AssumedRoleUser><Arn></Arn><AssumeRoleId></AssumeRoleId></AssumedRoleUser><Credentials><AccessKeyId>Q3AM3UQ867SPQQA43P2F</AccessKeyId>`+
			`<SecretAccessKey>zuf+tfteSlswRu7BJ86wekitnifILbZam1KYY3TG</SecretAccessKey><Expiration>%s</Expiration><SessionToken>eyJhbGciOiJIUzUxMiJ9.e30.c2ln</SessionToken>`+
			`</Credentials><PackedPolicySize>0</PackedPolicySize></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, expiration.Format(time.RFC3339))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	sts := client(server.URL+"/sts/minio-tenant", clocktesting.NewFakePassiveClock(start), aws.Credentials{})
	issued, err := sts.Issue(t.Context(), reads(func(r *request.Request) { r.Call = v1alpha1.CallAssumeRoleWithWebIdentity }), tokenAuth)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(issued.AccessKeyID).To(Equal("Q3AM3UQ867SPQQA43P2F"))
	g.Expect(issued.Expiration).To(BeTemporally("==", expiration))
	g.Expect(issued.PrincipalARN).To(BeEmpty())
}
