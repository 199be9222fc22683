// Package testkit provides a fake API server, a fake STS and objects for the tests of the reconcilers.
package testkit

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/telemetry"
)

// Start is the time at which a Fixture's clock starts.
var Start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Fixture is an identity resolver with a fake client and a fake STS whose responses the test sets.
type Fixture struct {
	*WithT
	T *testing.T
	// Client is the test's own client. The reconcilers use Operator, whose writes Requests records.
	Client   client.Client
	Operator client.WithWatch
	STS      *STS
	Clock    *clocktesting.FakePassiveClock
	Recorder *events.FakeRecorder
	Requests *Requests
	Tokens   *Tokens
	Limits   *limit.Limiter
	Metrics  *telemetry.Metrics
	// Connector connects to STS over HTTP, for tests that replace the fake STS.
	Connector *identity.Connector
	Resolver  *identity.Resolver
}

// Scheme returns a scheme with the kinds of Kubernetes and of the operator.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// New returns a Fixture whose API server has the given objects.
func New(t *testing.T, objects ...client.Object) *Fixture {
	t.Helper()
	f := &Fixture{WithT: NewWithT(t), T: t, Clock: clocktesting.NewFakePassiveClock(Start), Recorder: events.NewFakeRecorder(100), Requests: &Requests{t: t}}
	f.STS = &STS{Clock: f.Clock}
	f.Tokens = &Tokens{Clock: f.Clock}
	intercepted := f.Requests.interceptor()
	intercepted.SubResourceCreate = f.Tokens.Issue
	scheme, err := Scheme()
	f.Expect(err).NotTo(HaveOccurred())
	stored := fake.NewClientBuilder().WithScheme(scheme).
		WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.RoleCredential{}, &v1alpha1.SessionCredential{}, &v1alpha1.FederatedCredential{}, &v1alpha1.ClusterIdentity{}, &v1alpha1.Identity{}).
		WithIndex(secretstore.Metadata(), secretstore.OwnerIndex, secretstore.IndexOwner).
		Build()
	f.Client, f.Operator = stored, interceptor.NewClient(stored, intercepted)
	f.Metrics, err = telemetry.NewMetrics(prometheus.NewRegistry(), f.Clock)
	f.Expect(err).NotTo(HaveOccurred())
	f.Limits = &limit.Limiter{DefaultQPS: 100, Slots: 4}
	f.Connector = &identity.Connector{Limits: f.Limits, Metrics: f.Metrics, Clock: f.Clock, Tracer: noop.Tracer{}}
	f.Resolver = &identity.Resolver{
		Reader: f.Operator, APIReader: f.Operator, Watch: NoWatch{}, Clock: f.Clock, Tokens: identity.NewTokens(f.Operator, f.Clock),
		NewSTS:       func(request.Key, aws.Config) identity.STS { return f.STS },
		APIAudiences: func() []string { return nil },
	}
	return f
}

// Objects of most tests.

// Credential returns the stored Reader.
func (f *Fixture) Credential() *v1alpha1.RoleCredential {
	f.T.Helper()
	c := &v1alpha1.RoleCredential{}
	f.Expect(f.Client.Get(f.T.Context(), client.ObjectKeyFromObject(Reader()), c)).To(Succeed())
	return c
}

// Identity returns the stored default identity.
func (f *Fixture) Identity() *v1alpha1.ClusterIdentity {
	f.T.Helper()
	i := &v1alpha1.ClusterIdentity{}
	f.Expect(f.Client.Get(f.T.Context(), client.ObjectKeyFromObject(DefaultIdentity()), i)).To(Succeed())
	return i
}

// Source returns the default identity's Secret.
func (f *Fixture) Source() *corev1.Secret {
	f.T.Helper()
	s := &corev1.Secret{}
	f.Expect(f.Client.Get(f.T.Context(), client.ObjectKeyFromObject(Bootstrap()), s)).To(Succeed())
	return s
}

// Update updates an object, and clears the recorded writes of the operator.
func (f *Fixture) Update(object client.Object) {
	f.T.Helper()
	f.Expect(f.Client.Update(f.T.Context(), object)).To(Succeed())
	f.Requests.Writes = nil
}

// Secret returns the Secret of the Reader, or nil if it does not exist.
func (f *Fixture) Secret() *corev1.Secret {
	f.T.Helper()
	s := &corev1.Secret{}
	err := f.Client.Get(f.T.Context(), client.ObjectKeyFromObject(Reader()), s)
	f.Expect(client.IgnoreNotFound(err)).To(Succeed())
	if err != nil {
		return nil
	}
	return s
}

// Forge edits the record in the Secret of the Reader and sets a valid checksum. The keys have no prefix.
func (f *Fixture) Forge(edit map[string]string) {
	f.T.Helper()
	s := f.Secret()
	for key, value := range edit {
		s.Annotations["sts.rolecredential.dev/"+key] = value
	}
	s.Annotations["sts.rolecredential.dev/seal"] = Checksum(s.Annotations)
	f.Update(s)
}

// Checksum returns the checksum of a record, also of an invalid one.
func Checksum(annotations map[string]string) string {
	record := map[string]string{}
	for _, key := range reissue.RecordKeys {
		if value, ok := annotations[key]; ok {
			record[key] = value
		}
	}
	record["sts.rolecredential.dev/seal"] = ""
	return request.Hash(record)
}

// Events returns the events since the last call, as "type reason".
func (f *Fixture) Events() []string {
	var all []string
	for {
		select {
		case e := <-f.Recorder.Events:
			all = append(all, strings.Join(strings.SplitN(e, " ", 3)[:2], " "))
		default:
			return all
		}
	}
}

// States returns conditions by type, as "status reason".
func States(conditions []metav1.Condition) map[string]string {
	states := map[string]string{}
	for _, c := range conditions {
		states[c.Type] = string(c.Status) + " " + c.Reason
	}
	return states
}

// Message returns the message of a condition, or empty if it does not exist.
func Message(conditions []metav1.Condition, conditionType string) string {
	if c := meta.FindStatusCondition(conditions, conditionType); c != nil {
		return c.Message
	}
	return ""
}

// FirstProblem returns the first of Authorized, Issued and Ready that is not True, as "type=status reason: message", else Ready.
func FirstProblem(conditions []metav1.Condition) string {
	var text string
	for _, conditionType := range []string{v1alpha1.ConditionAuthorized, v1alpha1.ConditionIssued, v1alpha1.ConditionReady} {
		c := meta.FindStatusCondition(conditions, conditionType)
		text = c.Type + "=" + string(c.Status) + " " + c.Reason + ": " + c.Message
		if c.Status != metav1.ConditionTrue {
			break
		}
	}
	return text
}

// Advance moves the clock.
func (f *Fixture) Advance(by time.Duration) { f.Clock.SetTime(f.Clock.Now().Add(by)) }
