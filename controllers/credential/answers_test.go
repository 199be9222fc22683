package credential

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscredentials "github.com/aws/aws-sdk-go-v2/credentials"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
)

const compatibleServer = "http://minio.example:9000"

// withEndpoint returns the default identity with an STS-compatible server.
func withEndpoint(change ...func(*v1alpha1.ClusterIdentity)) *v1alpha1.ClusterIdentity {
	return testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Endpoint = compatibleServer
		for _, c := range change {
			c(i)
		}
	})
}

// respondWith sets the errors of the fake STS to those of a real client whose server returns one response to each call.
func (f *fixture) respondWith(status int, body string) {
	f.T.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	f.T.Cleanup(server.Close)
	client := awssts.New(aws.Config{
		Region: "eu-west-1", BaseEndpoint: &server.URL, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}, f.Clock, noRecorder{})
	keys := awscredentials.NewStaticCredentialsProvider("AKIA", "secret", "")
	_, f.STS.Err = client.Issue(f.T.Context(), keys, request.Request{Call: v1alpha1.CallAssumeRole, RoleARN: "arn:aws:iam::123456789012:role/S3Reader", SessionName: "shop", Duration: time.Hour}, request.CallAuth{})
	_, f.STS.CallerErr = client.Caller(f.T.Context(), keys)
	f.Expect(f.STS.Err).To(HaveOccurred())
	f.Expect(f.STS.CallerErr).To(HaveOccurred())
}

type noRecorder struct{}

func (noRecorder) Spend()                          {}
func (noRecorder) HopCalled(v1alpha1.Call, string) {}
func (noRecorder) Requested(string) (ended func()) { return func() {} }

func errorDocument(code string) string {
	return "<ErrorResponse><Error><Type>Sender</Type><Code>" + code + "</Code><Message>no</Message></Error></ErrorResponse>"
}

func TestIdentityWithTheWrongPortIsNotReady(t *testing.T) {
	f := newFixture(t, testkit.World(withEndpoint())...)
	f.respondWith(http.StatusNotFound, "404 page not found\n")
	got, _ := f.reconcile()
	f.Advance(time.Minute) // the circuit is open
	identity, _ := f.verify()
	f.Expect(testkit.States(identity.Status.Conditions)).To(HaveKeyWithValue("Ready", "False STSError"))
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Issued=False STSError: AssumeRole failed: the endpoint " + compatibleServer + " returned HTTP 404 without an answer of STS."))
	f.Expect(meta.FindStatusCondition(identity.Status.Conditions, "Ready").Message).To(HavePrefix("GetCallerIdentity failed: the endpoint " + compatibleServer + " returned HTTP 404 without an answer of STS."))
}

func TestServerWithoutGetCallerIdentityIsNotVerifiable(t *testing.T) {
	for name, body := range map[string]string{
		"an unknown action":       errorDocument("InvalidAction"),
		"an error document of S3": "<Error><Code>NotImplemented</Code></Error>",
		"an error of MinIO":       errorDocument("InvalidParameterValue"),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World(withEndpoint())...)
			f.respondWith(http.StatusBadRequest, body)
			identity, _ := f.verify()
			f.Expect(testkit.States(identity.Status.Conditions)).To(HaveKeyWithValue("Ready", "True NotVerifiable"))
		})
	}
}

func TestCallerWithoutARNIsNotVerifiable(t *testing.T) {
	f := newFixture(t, testkit.World(withEndpoint())...)
	f.STS.CallerIdentity = &awssts.Caller{AccountID: "minio"}
	identity, _ := f.verify()
	f.Expect(testkit.States(identity.Status.Conditions)).To(HaveKeyWithValue("Ready", "True NotVerifiable"))
	f.Expect(identity.Status.AccountID).To(Equal("minio"))
}

func TestUnsupportedFieldsAreNamedAndNotRetriedSoon(t *testing.T) {
	withPolicyAndTags := testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) {
		c.Spec.Policy = `{"Version":"2012-10-17","Statement":[]}`
		c.Spec.Tags = []v1alpha1.Tag{{Key: "team"}}
	})
	tagged := func(i *v1alpha1.ClusterIdentity) { i.Spec.SessionTags = &v1alpha1.SessionTags{} }
	for name, tc := range map[string]struct {
		identity *v1alpha1.ClusterIdentity
		spec     *v1alpha1.RoleCredential
		status   int
		body     string
		want     string
	}{
		"fields of the spec, not implemented":     {withEndpoint(), withPolicyAndTags, http.StatusNotImplemented, "", "(HTTP 501). Optional fields in use: spec.policy, spec.tags. Remove"},
		"fields of the spec, invalid action":      {withEndpoint(), withPolicyAndTags, http.StatusBadRequest, errorDocument("InvalidAction"), "(InvalidAction, HTTP 400). Optional fields in use: spec.policy, spec.tags. Remove"},
		"fields of the identity, not implemented": {withEndpoint(tagged), testkit.Reader(), http.StatusNotImplemented, errorDocument("NotImplemented"), "(NotImplemented, HTTP 501). Optional fields in use: sessionTags of the identity. Remove"},
		"no optional fields, invalid action":      {withEndpoint(), testkit.Reader(), http.StatusBadRequest, errorDocument("InvalidAction"), "does not support the call (InvalidAction, HTTP 400)."},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World(tc.identity, tc.spec)...)
			f.respondWith(tc.status, tc.body)
			got, result := f.reconcile()
			f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(And(HavePrefix("Issued=False InvalidRequest: AssumeRole failed: the endpoint "+compatibleServer), ContainSubstring(tc.want)))
			f.Expect(result.RequeueAfter).To(Equal(reason.MaxWait))
			f.Expect(f.STS.Issued).To(HaveLen(1))
			f.reconcile()
			f.Expect(f.STS.Issued).To(HaveLen(1))
			f.STS.Err = nil
			f.Update(testkit.Changed(got, func(c *v1alpha1.RoleCredential) { c.Spec.Policy, c.Spec.Tags, c.Spec.ExternalID = "", nil, "k8s" }))
			got, _ = f.reconcile()
			f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"), "a changed spec is retried at once")
		})
	}
}

func TestNoMessageAdvisesToSetAClockThatIsInSync(t *testing.T) {
	for name, tc := range map[string]struct {
		skew   time.Duration
		inSync bool
	}{
		"the clocks agree":         {0, true},
		"the clocks differ by 1m":  {time.Minute, true},
		"the clocks differ by 20m": {20 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			f.STS.Skewed, f.STS.Err, f.STS.CallerErr = tc.skew, testkit.STSError("RequestTimeTooSkewed"), testkit.STSError("RequestTimeTooSkewed")
			got, _ := f.reconcile()
			f.Advance(time.Minute) // the circuit is open
			identity, _ := f.verify()
			f.Expect(meta.IsStatusConditionTrue(identity.Status.Conditions, "ClockInSync")).To(Equal(tc.inSync))
			advice := ContainSubstring("Set the clock of the operator's node.")
			if tc.inSync {
				advice = Not(advice)
			}
			f.Expect(meta.FindStatusCondition(identity.Status.Conditions, "Ready").Message).To(advice)
			f.Expect(meta.FindStatusCondition(got.Status.Conditions, "Issued").Message).To(advice)
		})
	}
}
