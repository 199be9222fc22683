// Package testkit provides a fake API server, a fake STS and objects for the tests of the reconcilers.
package testkit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
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
	T        *testing.T
	Client   client.Client
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

// Tokens issues the tokens of service accounts. Each token names its subject and audience.
type Tokens struct {
	Clock     *clocktesting.FakePassiveClock
	Requested []string // subject and audience
	Err       error
}

// APIAudience is the audience of the API server itself.
const APIAudience = "https://api.example"

// Issue handles a TokenRequest.
func (i *Tokens) Issue(_ context.Context, _ client.Client, _ string, object, body client.Object, _ ...client.SubResourceCreateOption) error {
	request, ok := body.(*authenticationv1.TokenRequest)
	if !ok {
		return errors.New("not a TokenRequest")
	}
	if len(request.Spec.Audiences) == 0 {
		request.Spec.Audiences = []string{APIAudience}
	}
	requested := object.GetNamespace() + ":" + object.GetName() + " for " + strings.Join(request.Spec.Audiences, ",")
	i.Requested = append(i.Requested, requested)
	request.Status.Token = "token of " + requested
	request.Status.ExpirationTimestamp = metav1.NewTime(i.Clock.Now().Add(time.Duration(*request.Spec.ExpirationSeconds) * time.Second))
	return i.Err
}

// STS issues new session credentials with each call, unless Err is set.
type STS struct {
	Clock            *clocktesting.FakePassiveClock
	mu               sync.Mutex // concurrent calls
	Issued           []request.Request
	Codes            []string // of MFA devices, one for each call
	Tokens           []string // of service accounts, one for each call
	Callers          int
	Err              error
	CallerErr        error
	CallerIdentity   *awssts.Caller // the user operator if nil
	Lifetime         time.Duration
	PackedPolicySize int32 // percent; 7 if zero
	Skewed           time.Duration
	Before           func() // runs during an issue
}

// Issue issues session credentials.
func (s *STS) Issue(_ context.Context, _ aws.CredentialsProvider, r request.Request, auth request.CallAuth) (request.Credentials, error) {
	s.mu.Lock()
	s.Issued = append(s.Issued, r)
	s.mu.Unlock()
	s.Codes = append(s.Codes, string(auth.MFACode))
	s.Tokens = append(s.Tokens, string(auth.WebIdentityToken))
	if s.Before != nil {
		s.Before()
	}
	if s.Err != nil {
		return request.Credentials{}, s.Err
	}
	id := string(rune('A') + rune(len(s.Issued)-1)) //nolint:gosec // a test makes few calls
	size := cmp.Or(s.PackedPolicySize, 7)
	life := s.Lifetime
	if life == 0 {
		life = r.Duration
	}
	return request.Credentials{
		AccessKeyID: "ASIA" + id, SecretAccessKey: request.RedactedString("secret-" + id), SessionToken: request.RedactedString("token-" + id),
		IssuedAt: s.Clock.Now().Add(s.Skewed), Expiration: s.Clock.Now().Add(s.Skewed + life), PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/" + r.SessionName,
		PackedPolicySize: &size,
	}, nil
}

// Skew returns Skewed, and false before the first call.
func (s *STS) Skew() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Skewed, s.Callers+len(s.Issued) > 0
}

// Hop returns the credentials that the hop would be assumed with.
func (s *STS) Hop(keys aws.CredentialsProvider, _ request.Request, _ identity.TokenSource) aws.CredentialsProvider {
	return keys
}

// Caller returns the caller.
func (s *STS) Caller(context.Context, aws.CredentialsProvider) (awssts.Caller, error) {
	s.Callers++
	if s.CallerIdentity != nil {
		return *s.CallerIdentity, s.CallerErr
	}
	return awssts.Caller{AccountID: "210987654321", ARN: "arn:aws:iam::210987654321:user/operator", UserID: "AIDAOPERATOR"}, s.CallerErr
}

// Requests records the writes that the API server received, as "verb kind". Fail returns the error for a write, nil to accept it.
type Requests struct {
	Writes []string
	Fail   func(verb string, object client.Object) error
}

func (r *Requests) write(verb string, object client.Object) error {
	r.Writes = append(r.Writes, verb+" "+KindName(object))
	if r.Fail != nil {
		return r.Fail(verb, object)
	}
	return nil
}

// KindName returns the kind of an object.
func KindName(object client.Object) string {
	switch object.(type) {
	case *corev1.Secret:
		return "Secret"
	case *v1alpha1.RoleCredential:
		return "RoleCredential"
	case *v1alpha1.ClusterIdentity:
		return "ClusterIdentity"
	case *v1alpha1.Identity:
		return "Identity"
	default:
		return object.GetObjectKind().GroupVersionKind().Kind
	}
}

// noWatch reports each Secret as changed, so that each reconcile reads the source again.
type noWatch struct{}

func (noWatch) Subscribe(request.Key, types.NamespacedName, string)      {}
func (noWatch) IsCurrent(request.Key, types.NamespacedName, string) bool { return false }
func (noWatch) Unsubscribe(request.Key)                                  {}

// New returns a Fixture whose API server has the given objects.
func New(t *testing.T, objects ...client.Object) *Fixture {
	t.Helper()
	f := &Fixture{WithT: NewWithT(t), T: t, Clock: clocktesting.NewFakePassiveClock(Start), Recorder: events.NewFakeRecorder(100), Requests: &Requests{}}
	f.STS = &STS{Clock: f.Clock}
	f.Tokens = &Tokens{Clock: f.Clock}
	intercepted := f.Requests.interceptor()
	intercepted.SubResourceCreate = f.Tokens.Issue
	scheme := runtime.NewScheme()
	f.Expect(errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))).To(Succeed())
	f.Client = fake.NewClientBuilder().WithScheme(scheme).
		WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.RoleCredential{}, &v1alpha1.SessionCredential{}, &v1alpha1.FederatedCredential{}, &v1alpha1.ClusterIdentity{}, &v1alpha1.Identity{}).
		WithIndex(secretstore.Metadata(), secretstore.OwnerIndex, secretstore.IndexOwner).
		WithInterceptorFuncs(intercepted).
		Build()
	var err error
	f.Metrics, err = telemetry.NewMetrics(prometheus.NewRegistry(), f.Clock)
	f.Expect(err).NotTo(HaveOccurred())
	f.Limits = &limit.Limiter{DefaultQPS: 100, Slots: 4}
	f.Connector = &identity.Connector{Limits: f.Limits, Metrics: f.Metrics, Clock: f.Clock}
	f.Resolver = &identity.Resolver{
		Reader: f.Client, Secrets: f.Client, Watch: noWatch{}, Tokens: identity.NewTokens(f.Client, f.Clock),
		Connect: func(request.Key, aws.Config) identity.STS { return f.STS },
	}
	return f
}

func (r *Requests) interceptor() interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if err := r.write("create", o); err != nil {
				return err
			}
			return c.Create(ctx, o, options...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.UpdateOption) error {
			if err := r.write("update", o); err != nil {
				return err
			}
			return c.Update(ctx, o, options...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			if err := r.write("delete", o); err != nil {
				return err
			}
			return c.Delete(ctx, o, options...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, _ ...client.ApplyOption) error {
			applied, ok := o.(client.Object)
			if !ok {
				return fmt.Errorf("an apply of a %T", o)
			}
			if err := r.write("apply", applied); err != nil {
				return err
			}
			// For known types, the fake client applies all fields, also absent ones.
			patch, err := json.Marshal(o)
			if err != nil {
				return err
			}
			current := &unstructured.Unstructured{}
			current.SetGroupVersionKind(applied.GetObjectKind().GroupVersionKind())
			current.SetNamespace(applied.GetNamespace())
			current.SetName(applied.GetName())
			return c.Patch(ctx, current, client.RawPatch(types.MergePatchType, patch))
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			if err := r.write("patch", o); err != nil {
				return err
			}
			return c.Patch(ctx, o, patch, options...)
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, options ...client.SubResourceUpdateOption) error {
			if err := r.write("update "+sub, o); err != nil {
				return err
			}
			return c.SubResource(sub).Update(ctx, o, options...)
		},
	}
}

// Objects of most tests.

// Shop returns the metadata of the namespace shop.
func Shop() *metav1.PartialObjectMetadata {
	namespace := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	namespace.Name = "shop"
	namespace.Labels = map[string]string{"team": "shop"}
	return namespace
}

// NamespaceShop returns the namespace shop.
func NamespaceShop() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: Shop().Labels}}
}

// Bootstrap returns the Secret with the access key of the default identity.
func Bootstrap() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "rolecredential-system", Name: "bootstrap"},
		Data:       map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("AKIASOURCE"), "AWS_SECRET_ACCESS_KEY": []byte("source-secret")},
	}
}

// DefaultIdentity returns a ClusterIdentity that allows the namespace shop all roles of an account.
func DefaultIdentity() *v1alpha1.ClusterIdentity {
	return &v1alpha1.ClusterIdentity{
		ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "identity-uid", Generation: 1},
		Spec: v1alpha1.ClusterIdentitySpec{
			IdentitySettings: v1alpha1.IdentitySettings{Region: "eu-west-1"},

			Source: v1alpha1.ClusterIdentitySource{AccessKey: &v1alpha1.AccessKeySource{SecretRef: v1alpha1.SecretReference{Namespace: "rolecredential-system", Name: "bootstrap"}}},
			Allow: &[]v1alpha1.AllowRule{{
				Namespaces: []string{"shop"}, RoleARNs: []string{"arn:aws:iam::123456789012:role/*"}, MaxDuration: &metav1.Duration{Duration: 2 * time.Hour},
			}},
		},
	}
}

// Reader returns the RoleCredential shop/s3-reader.
func Reader() *v1alpha1.RoleCredential {
	c := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader", UID: "credential-uid", Generation: 1}}
	c.Spec.RoleARN = "arn:aws:iam::123456789012:role/S3Reader"
	return c
}

// World returns all objects that the Reader requires. The given objects replace those of the same kind and name.
func World(replaced ...client.Object) []client.Object {
	objects := []client.Object{NamespaceShop(), Bootstrap(), DefaultIdentity(), Reader()}
	for _, object := range replaced {
		same := func(o client.Object) bool {
			return KindName(o) == KindName(object) && client.ObjectKeyFromObject(o) == client.ObjectKeyFromObject(object)
		}
		objects = append(slices.DeleteFunc(objects, same), object)
	}
	return objects
}

// Without returns the objects except one.
func Without(object client.Object, objects []client.Object) []client.Object {
	return slices.DeleteFunc(objects, func(o client.Object) bool {
		return KindName(o) == KindName(object) && client.ObjectKeyFromObject(o) == client.ObjectKeyFromObject(object)
	})
}

// Changed calls f with an object and returns the object.
func Changed[T any](object T, f func(T)) T {
	f(object)
	return object
}

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

// Update updates an object, and clears the recorded writes.
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
	for _, key := range reissue.RecordKeys() {
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

// STSError returns an error of STS with a code.
func STSError(code string) error {
	return &smithy.GenericAPIError{Code: code, Message: "the message of STS"}
}

// ForeignSecret returns a Secret with the name of the Reader's Secret that does not belong to the Reader.
func ForeignSecret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader", Labels: map[string]string{"of": "another"}},
		Data:       map[string][]byte{"password": []byte("theirs")},
	}
}

// Advance moves the clock.
func (f *Fixture) Advance(by time.Duration) { f.Clock.SetTime(f.Clock.Now().Add(by)) }
