package awssts_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
)

// byMinIO is an answer of a real MinIO (github.com/minio/minio at 7aac2a2c5b7c) to the SDK, recorded byte for byte. Its role
// session ended an hour after it was recorded, and its server with it.
func byMinIO(t *testing.T, status int, name string) answer {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", "minio", name+".xml"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return answer{status, string(body)}
}

func TestIssueFromMinIOHasNoPrincipal(t *testing.T) {
	g := NewWithT(t)
	issued, err := byMinIO(t, http.StatusOK, "assume-role").serve(t).Issue(t.Context(), reads(), request.CallAuth{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(issued.SessionToken).NotTo(BeEmpty())
	issued.SessionToken = ""
	g.Expect(issued).To(Equal(request.Credentials{
		AccessKeyID:     "V3LIMM86LXF4Y02AXR3I",
		SecretAccessKey: "gw6rmwGu26JLddGMocKYZK+LXQREcwzp4B0f9hlB",
		IssuedAt:        start,
		Expiration:      start.Add(reissue.MaxLifetime), // the clock of this test is months behind the recording
	}))
}

func TestMinIOHasNoCallerIdentity(t *testing.T) {
	_, err := byMinIO(t, http.StatusBadRequest, "get-caller-identity").serve(t).Caller(t.Context())
	NewWithT(t).Expect(err).To(MatchError(awssts.ErrNoCallerIdentity))
}

func TestMinIOErrorsAreClassified(t *testing.T) {
	for name, tc := range map[string]struct {
		status   int
		recorded string
		want     string
	}{
		// MinIO has one code for all of these, and distinguishes them in its text only.
		"a wrong secret key":                     {http.StatusForbidden, "wrong-secret", v1alpha1.ReasonAccessDenied},
		"an access key that is not known":        {http.StatusForbidden, "unknown-key", v1alpha1.ReasonAccessDenied},
		"a caller that is itself a role":         {http.StatusForbidden, "temporary-caller", v1alpha1.ReasonAccessDenied},
		"a policy that is none":                  {http.StatusBadRequest, "malformed-policy", v1alpha1.ReasonInvalidRequest},
		"a call that MinIO does not know at all": {http.StatusBadRequest, "get-session-token", v1alpha1.ReasonInvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			refused := awssts.Classify(issue(t, byMinIO(t, tc.status, tc.recorded)), subject)
			g.Expect(refused.Reason).To(Equal(tc.want))
			g.Expect(refused.Message).NotTo(ContainSubstring("UnknownError"))
		})
	}
}

func TestMinIOReportsASignatureOfAnotherTimeByCode(t *testing.T) {
	g := NewWithT(t)
	f := awssts.Classify(issue(t, byMinIO(t, http.StatusForbidden, "clock-skew")), subject)
	g.Expect(f.Reason).To(Equal(v1alpha1.ReasonClockSkew))
	g.Expect(f.Message).To(ContainSubstring("(RequestTimeTooSkewed, HTTP 403)"))
}

func TestHopWithClockSkewIsClassified(t *testing.T) {
	url := byMinIO(t, http.StatusForbidden, "clock-skew").dated(t, inTime(time.Hour))
	_, err := hop(configFor(url, operatorKey), reads(), nil, &ledger{}).Retrieve(t.Context())
	NewWithT(t).Expect(awssts.Classify(err, subject).Reason).To(Equal(v1alpha1.ReasonClockSkew))
}
