package credential

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/telemetry"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/stsemulator"
)

// recordingSTS is an STS emulator with a client.
type recordingSTS struct {
	*WithT
	t        *testing.T
	emulator *stsemulator.Server
	client   identity.STS
	keys     aws.CredentialsProvider
}

func newRecordingSTS(t *testing.T) *recordingSTS {
	t.Helper()
	s := &recordingSTS{WithT: NewWithT(t), t: t}
	world, err := stsemulator.DefaultConfig()
	s.Expect(err).NotTo(HaveOccurred())
	now := clocktesting.NewFakePassiveClock(testkit.Start)
	s.emulator, err = stsemulator.New(world, stsemulator.Options{Clock: now, SignatureClock: clock.RealClock{}})
	s.Expect(err).NotTo(HaveOccurred())
	endpoint, err := s.emulator.Start("")
	s.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { s.Expect(endpoint.Close()).To(Succeed()) })
	metrics, err := telemetry.NewMetrics(prometheus.NewRegistry(), now)
	s.Expect(err).NotTo(HaveOccurred())
	s.keys = credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "")
	connector := &identity.Connector{Limits: &limit.Limiter{DefaultQPS: 1, Slots: 1}, Metrics: metrics, Clock: now, Tracer: noop.Tracer{}}
	s.client = connector.NewSTS(request.Key{}, aws.Config{
		Region: "eu-west-1", BaseEndpoint: &endpoint.URL, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	})
	return s
}

// specParameters issues the request of a spec, and returns the parameters that STS received.
func (s *recordingSTS) specParameters(c *v1alpha1.RoleCredential) url.Values {
	s.t.Helper()
	req, invalid := request.RoleCredential.Request(c)
	s.Expect(invalid).To(BeNil())
	return s.parameters(req)
}

// parameters issues a request, and returns the parameters that STS received.
func (s *recordingSTS) parameters(req request.Request) url.Values {
	s.t.Helper()
	s.emulator.ClearCalls()
	var code string
	if req.MFASerialNumber != "" {
		code = deviceCode
	}
	_, err := s.client.Issue(s.t.Context(), s.keys, req, request.CallAuth{MFACode: request.RedactedString(code)})
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(s.emulator.Calls()).To(HaveLen(1))
	return s.emulator.Calls()[0].Parameters
}

// difference returns the parameters of b that a lacks or has with other values, and nil for each parameter that only a has.
func difference(a, b url.Values) url.Values {
	changed := url.Values{}
	for key, values := range b {
		if !slices.Equal(a[key], values) {
			changed[key] = values
		}
	}
	for key := range a {
		if !b.Has(key) {
			changed[key] = nil
		}
	}
	return changed
}

// longRunning returns the Reader with a role that allows 12 hours.
func longRunning() *v1alpha1.RoleCredential {
	c := testkit.Reader()
	c.Spec.RoleARN = "arn:aws:iam::123456789012:role/LongRunning"
	return c
}

// specFields returns the field names of a RoleCredential's spec, with the fields that all kinds share.
func specFields() []string { return fieldsOf[v1alpha1.RoleCredentialSpec](true) }

// fieldsOf returns the field names of a spec, with or without the fields that all kinds share.
func fieldsOf[T any](shared bool) (names []string) {
	for _, field := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		if !field.Anonymous && (shared || len(field.Index) == 1) {
			names = append(names, field.Name)
		}
	}
	return names
}

func TestEachFieldOfRoleCredentialIsSent(t *testing.T) {
	type change = func(*v1alpha1.RoleCredentialSpec)
	teamTag := []v1alpha1.Tag{{Key: "team", Value: new("shop")}, {Key: "empty", Value: new("")}}
	table := map[string]struct {
		base change // other fields that the field requires
		set  change
		want url.Values
		hash bool // whether the field changes the request hash, and so causes a reissue
	}{
		"RoleARN": {
			set:  func(s *v1alpha1.RoleCredentialSpec) { s.RoleARN = readerARN },
			want: url.Values{"RoleArn": {readerARN}}, hash: true,
		},
		"Duration": {
			set:  func(s *v1alpha1.RoleCredentialSpec) { s.Duration = &metav1.Duration{Duration: 90 * time.Minute} },
			want: url.Values{"DurationSeconds": {"5400"}}, hash: true,
		},
		"SessionName": {
			set:  func(s *v1alpha1.RoleCredentialSpec) { s.SessionName = "night-job" },
			want: url.Values{"RoleSessionName": {"night-job"}}, hash: true,
		},
		"ServiceAccountName": { // only the token of another source contains it
			set: func(s *v1alpha1.RoleCredentialSpec) { s.ServiceAccountName = "reader" }, hash: true,
		},
		"ExternalID": {
			set:  func(s *v1alpha1.RoleCredentialSpec) { s.ExternalID = "k8s" },
			want: url.Values{"ExternalId": {"k8s"}}, hash: true,
		},
		"SourceIdentity": {
			set:  func(s *v1alpha1.RoleCredentialSpec) { s.SourceIdentity = "shop" },
			want: url.Values{"SourceIdentity": {"shop"}}, hash: true,
		},
		"Policy": {
			set: func(s *v1alpha1.RoleCredentialSpec) {
				s.Policy = "{\n  \"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"s3:Get*\", \"Resource\": \"arn:aws:s3:::a b+c/*\"}]\n}\n"
			},
			want: url.Values{"Policy": {`{"Statement":[{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::a b+c/*"}]}`}}, hash: true,
		},
		"PolicyARNs": {
			set: func(s *v1alpha1.RoleCredentialSpec) {
				s.PolicyARNs = []string{"arn:aws:iam::aws:policy/ReadOnlyAccess", "arn:aws:iam::123456789012:policy/shop"}
			},
			want: url.Values{
				"PolicyArns.member.1.arn": {"arn:aws:iam::aws:policy/ReadOnlyAccess"}, "PolicyArns.member.2.arn": {"arn:aws:iam::123456789012:policy/shop"},
			},
			hash: true,
		},
		"Tags": {
			set: func(s *v1alpha1.RoleCredentialSpec) { s.Tags = teamTag },
			want: url.Values{
				"Tags.member.1.Key": {"team"}, "Tags.member.1.Value": {"shop"}, "Tags.member.2.Key": {"empty"}, "Tags.member.2.Value": {""},
			},
			hash: true,
		},
		"TransitiveTagKeys": {
			base: func(s *v1alpha1.RoleCredentialSpec) { s.Tags = teamTag },
			set:  func(s *v1alpha1.RoleCredentialSpec) { s.TransitiveTagKeys = []string{"team", "empty"} },
			want: url.Values{"TransitiveTagKeys.member.1": {"team"}, "TransitiveTagKeys.member.2": {"empty"}}, hash: true,
		},

		"MFA": {
			set:  func(s *v1alpha1.RoleCredentialSpec) { s.MFA = device() },
			want: url.Values{"SerialNumber": {deviceSerial}, "TokenCode": {deviceCode}}, hash: true,
		},

		// STS does not receive these. Another identity may have other permissions, so it changes the hash.
		"IdentityRef":   {set: func(s *v1alpha1.RoleCredentialSpec) { s.IdentityRef.Name = "other" }, hash: true},
		"RefreshBefore": {set: func(s *v1alpha1.RoleCredentialSpec) { s.RefreshBefore = &metav1.Duration{Duration: time.Minute} }},
		"Secret": {set: func(s *v1alpha1.RoleCredentialSpec) {
			s.Secret = v1alpha1.SecretTemplate{Name: "other", Labels: map[string]string{"a": "b"}}
		}},
		"Rollout": {set: func(s *v1alpha1.RoleCredentialSpec) { s.Rollout = &v1alpha1.Rollout{Discover: true} }},
		"Suspend": {set: func(s *v1alpha1.RoleCredentialSpec) { s.Suspend = true }},
	}
	for _, field := range specFields() {
		t.Run(field, func(t *testing.T) {
			tc, ok := table[field]
			if !ok {
				t.Fatalf("the field %s has no case with its parameter of STS", field)
			}
			s := newRecordingSTS(t)
			without := longRunning()
			if tc.base != nil {
				tc.base(&without.Spec)
			}
			with := without.DeepCopy()
			tc.set(&with.Spec)
			if tc.want == nil {
				tc.want = url.Values{}
			}
			s.Expect(difference(s.specParameters(without), s.specParameters(with))).To(Equal(tc.want))
			s.Expect(requestOf(with).Hash() != requestOf(without).Hash()).To(Equal(tc.hash))
		})
	}
}

const readerARN = "arn:aws:iam::123456789012:role/S3Reader"

func requestOf(c *v1alpha1.RoleCredential) request.Request {
	request, _ := request.RoleCredential.Request(c)
	return request
}

func TestMinimalSpecSendsOnlyRequiredParameters(t *testing.T) {
	s := newRecordingSTS(t)
	s.Expect(s.specParameters(testkit.Reader())).To(Equal(url.Values{
		"Action": {"AssumeRole"}, "Version": {"2011-06-15"},
		"RoleArn": {readerARN}, "RoleSessionName": {"shop.s3-reader"}, "DurationSeconds": {"3600"},
	}))
}

func TestRequestFollowsSpec(t *testing.T) {
	base := request.Request{
		Identity: "ClusterIdentity default", Call: v1alpha1.CallAssumeRole, RoleARN: readerARN, SessionName: "shop.s3-reader", Duration: time.Hour,
	}
	for name, tc := range map[string]struct {
		change func(*v1alpha1.RoleCredential)
		want   func(*request.Request)
	}{
		"defaults of the schema, without the API server": {
			func(*v1alpha1.RoleCredential) {}, func(*request.Request) {},
		},
		"an identity of another name": {
			func(c *v1alpha1.RoleCredential) { c.Spec.IdentityRef.Name = "other" }, func(r *request.Request) { r.Identity = "ClusterIdentity other" },
		},
		"an identity of another kind": {
			func(c *v1alpha1.RoleCredential) { c.Spec.IdentityRef.Kind = "Identity" }, func(r *request.Request) { r.Identity = "Identity default" },
		},
		"the default session name": {
			func(c *v1alpha1.RoleCredential) { c.Namespace, c.Name = "bank", "vault" }, func(r *request.Request) { r.SessionName = "bank.vault" },
		},
		"a tag without a value": {
			func(c *v1alpha1.RoleCredential) { c.Spec.Tags = []v1alpha1.Tag{{Key: "team"}} },
			func(r *request.Request) { r.Tags = []request.Tag{{Key: "team"}} },
		},
		"white space in strings of a policy": {
			func(c *v1alpha1.RoleCredential) { c.Spec.Policy = ` { "Sid" : "a  b" } ` }, func(r *request.Request) { r.Policy = `{"Sid":"a  b"}` },
		},
		"special characters in a policy": {
			func(c *v1alpha1.RoleCredential) { c.Spec.Policy = `{"a":"<&>+%\u00e9é"}` }, func(r *request.Request) { r.Policy = `{"a":"<&>+%\u00e9é"}` },
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c, want := testkit.Reader(), base
			tc.change(c)
			tc.want(&want)
			got, invalid := request.RoleCredential.Request(c)
			g.Expect(invalid).To(BeNil())
			g.Expect(got).To(Equal(want))
		})
	}
}

func TestPolicyWithInvalidJSONIsNotSent(t *testing.T) {
	for name, tc := range map[string]struct{ policy, want string }{
		"it is truncated":                           {`{"Statement":`, "spec.policy is not JSON: line 1: unexpected end of JSON input. STS was not called."},
		"it is not JSON":                            {`{not json}`, "spec.policy is not JSON: line 1: invalid character 'n' looking for beginning of object key string. STS was not called."},
		"it is two documents":                       {`{} {}`, "spec.policy is not JSON: line 1: invalid character '{' after top-level value. STS was not called."},
		"it has a trailing comma on its third line": {"{\n  \"Statement\": [],\n}", "spec.policy is not JSON: line 3: invalid character '}' looking for beginning of object key string. STS was not called."},
		"it has a line break in a string":           {"{\"Id\":\n\"a\nb\"}", "spec.policy is not JSON: line 2: invalid character '\\n' in string literal. STS was not called."},
		"it is YAML":                                {"Statement:\n- Effect: Allow", "spec.policy is not JSON: line 1: invalid character 'S' looking for beginning of value. STS was not called."},
	} {
		t.Run(name, func(t *testing.T) {
			c := testkit.Reader()
			c.Spec.Policy = tc.policy
			req, invalid := request.RoleCredential.Request(c)
			g := NewWithT(t)
			g.Expect(invalid).To(Equal(&reason.Error{
				Condition: v1alpha1.ConditionIssued, Reason: v1alpha1.ReasonMalformedPolicy, Message: tc.want, Retry: reason.Never,
			}))
			g.Expect(req.Hash()).NotTo(Equal(requestOf(testkit.Reader()).Hash()), "the credential in the Secret is not of this spec")
		})
	}
}

// longPolicy returns a session policy with a number of characters without white space, and with more white space.
func longPolicy(compacted int) string {
	const frame = `{"Id":"é"}`
	return "{\n    \"Id\": \"" + strings.Repeat("é", compacted-len([]rune(frame))+1) + "\"\n" + strings.Repeat(" ", 800) + "}\n"
}

func TestPolicyLimitIgnoresWhiteSpace(t *testing.T) {
	const tooLong = "spec.policy has 2049 characters without white space, and STS accepts 2048. " +
		"Shorten it, or move it to a managed policy and name that in spec.policyARNs. STS was not called."
	requests := map[string]func(policy string) (request.Request, *reason.Error){
		"RoleCredential": func(policy string) (request.Request, *reason.Error) {
			c := testkit.Reader()
			c.Spec.Policy = policy
			return request.RoleCredential.Request(c)
		},
		"FederatedCredential": func(policy string) (request.Request, *reason.Error) {
			c := federated()
			c.Spec.Policy = policy
			return request.FederatedCredential.Request(c)
		},
	}
	for kind, request := range requests {
		t.Run(kind, func(t *testing.T) {
			g := NewWithT(t)
			compacted, invalid := request(longPolicy(2048))
			g.Expect(invalid).To(BeNil())
			g.Expect([]rune(compacted.Policy)).To(HaveLen(2048))

			_, invalid = request(longPolicy(2049))
			g.Expect(invalid).To(Equal(&reason.Error{
				Condition: v1alpha1.ConditionIssued, Reason: v1alpha1.ReasonPolicyTooLarge, Message: tooLong, Retry: reason.Never,
			}))
		})
	}
}

func TestTooLongPolicyCausesNoCallAndKeepsSecret(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	before := f.Secret()
	f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Generation, c.Spec.Policy = 2, longPolicy(2049) }))
	got, result := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)).To(Equal(map[string]string{"Authorized": "True Allowed", "Issued": "False PolicyTooLarge", "Ready": "False Outdated"}))
	f.Expect(result.RequeueAfter).To(Equal(time.Hour), "at its expiry")
	f.Expect(f.Secret()).To(Equal(before))
	f.Expect(f.STS.Issued).To(HaveLen(1))
}
