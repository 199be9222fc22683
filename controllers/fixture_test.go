package controllers

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
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	metadatafake "k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/secret"
	"rolecredential.dev/operator/controllers/telemetry"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// fixture is both reconcilers on a fake client, with an STS that answers as a test says.
type fixture struct {
	*WithT
	t        *testing.T
	client   client.Client
	sts      *fakeSTS
	clock    *clocktesting.FakePassiveClock
	events   *events.FakeRecorder
	requests *requests
	tokens   *fakeTokens
	limits   *limit.Limiter

	credentials *Reconciler[*v1alpha1.RoleCredential]
	identities  *IdentityReconciler[*v1alpha1.ClusterIdentity]
}

// fakeTokens is the API server's issuer of tokens, each of which names its subject and audience.
type fakeTokens struct {
	clock *clocktesting.FakePassiveClock
	asked []string // subject and audience
	err   error
}

// apiAudience is what the API server takes tokens for itself.
const apiAudience = "https://api.example"

func (i *fakeTokens) issue(_ context.Context, _ client.Client, _ string, object, body client.Object, _ ...client.SubResourceCreateOption) error {
	request, ok := body.(*authenticationv1.TokenRequest)
	if !ok {
		return errors.New("no request for a token")
	}
	if len(request.Spec.Audiences) == 0 {
		request.Spec.Audiences = []string{apiAudience}
	}
	asked := object.GetNamespace() + ":" + object.GetName() + " for " + strings.Join(request.Spec.Audiences, ",")
	i.asked = append(i.asked, asked)
	request.Status.Token = "token of " + asked
	request.Status.ExpirationTimestamp = metav1.NewTime(i.clock.Now().Add(time.Duration(*request.Spec.ExpirationSeconds) * time.Second))
	return i.err
}

// fakeSTS issues a new credential with each call, unless err is set.
type fakeSTS struct {
	clock     *clocktesting.FakePassiveClock
	mu        sync.Mutex // while a call is under way
	issued    []credential.Request
	codes     []string // of MFA devices, one for each call
	tokens    []string // of service accounts, one for each call
	callers   int
	err       error
	callerErr error
	caller    *awssts.Caller // the user operator if nil
	life      time.Duration
	packed    int32 // percent; 7 if zero
	ahead     time.Duration
	before    func() // runs during an issue
}

func (s *fakeSTS) Issue(_ context.Context, r credential.Request, proof credential.CallAuth) (credential.Credential, error) {
	s.mu.Lock()
	s.issued = append(s.issued, r)
	s.mu.Unlock()
	s.codes = append(s.codes, string(proof.MFACode))
	s.tokens = append(s.tokens, string(proof.WebIdentityToken))
	if s.before != nil {
		s.before()
	}
	if s.err != nil {
		return credential.Credential{}, s.err
	}
	id := string(rune('A' + len(s.issued) - 1))
	size := cmp.Or(s.packed, 7)
	life := s.life
	if life == 0 {
		life = r.Duration
	}
	return credential.Credential{
		AccessKeyID: "ASIA" + id, SecretAccessKey: credential.RedactedString("secret-" + id), SessionToken: credential.RedactedString("token-" + id),
		IssuedAt: s.clock.Now().Add(s.ahead), Expiration: s.clock.Now().Add(s.ahead + life), PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/" + r.SessionName,
		PackedPolicySize: &size,
	}, nil
}

func (s *fakeSTS) Skew() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ahead, s.callers+len(s.issued) > 0
}

func (s *fakeSTS) Caller(context.Context) (awssts.Caller, error) {
	s.callers++
	if s.caller != nil {
		return *s.caller, s.callerErr
	}
	return awssts.Caller{AccountID: "210987654321", ARN: "arn:aws:iam::210987654321:user/operator", UserID: "AIDAOPERATOR"}, s.callerErr
}

// requests are the verbs that were asked of the API server, reads and writes apart.
type requests struct {
	writes []string
	fail   func(verb string, object client.Object) error
}

func (r *requests) write(verb string, object client.Object) error {
	r.writes = append(r.writes, verb+" "+kindName(object))
	if r.fail != nil {
		return r.fail(verb, object)
	}
	return nil
}

func kindName(object client.Object) string {
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

// noWatch takes every Secret that it is asked about for changed, so that each reconcile reads the source anew.
type noWatch struct{}

func (noWatch) Subscribe(identity.Key, types.NamespacedName, string)      {}
func (noWatch) IsCurrent(identity.Key, types.NamespacedName, string) bool { return false }
func (noWatch) Unsubscribe(identity.Key)                                  {}

func newFixture(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	f := &fixture{WithT: NewWithT(t), t: t, clock: clocktesting.NewFakePassiveClock(start), events: events.NewFakeRecorder(100), requests: &requests{}}
	f.sts = &fakeSTS{clock: f.clock}
	f.tokens = &fakeTokens{clock: f.clock}
	intercepted := f.requests.interceptor()
	intercepted.SubResourceCreate = f.tokens.issue
	scheme, err := Scheme()
	f.Expect(err).NotTo(HaveOccurred())
	f.client = fake.NewClientBuilder().WithScheme(scheme).
		WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.RoleCredential{}, &v1alpha1.SessionCredential{}, &v1alpha1.FederatedCredential{}, &v1alpha1.ClusterIdentity{}, &v1alpha1.Identity{}).
		WithIndex(secret.Metadata(), secret.OwnerIndex, secret.IndexOwner).
		WithInterceptorFuncs(intercepted).
		Build()
	metrics, err := telemetry.NewMetrics(prometheus.NewRegistry(), f.clock)
	f.Expect(err).NotTo(HaveOccurred())
	watcher := secret.NewWatcher(metadatafake.NewSimpleMetadataClient(metadatafake.NewTestScheme()))
	done, stop := context.WithCancel(context.Background())
	stop()
	f.Expect(watcher.Start(done)).To(Succeed()) // watches are for the tests with a real API server
	f.limits = &limit.Limiter{DefaultQPS: DefaultSTSQPS, Slots: 4}
	p := &dependencies{limits: f.limits, metrics: metrics, clock: f.clock}
	resolver := &identity.Resolver[STS]{
		Reader: f.client, Secrets: f.client, Watch: noWatch{}, Connect: func(identity.Key, aws.Config, STS) STS { return f.sts }, Assume: p.assume,
		Tokens: identity.NewTokens(f.client, f.clock),
	}
	f.credentials = &Reconciler[*v1alpha1.RoleCredential]{
		Kind: roleCredential, Client: f.client, Identities: resolver, Secrets: &secret.Store{Client: f.client, Reader: f.client}, Devices: &identity.Devices{}, Limits: f.limits, SecretWatches: watcher,
		Events: telemetry.Events{Recorder: f.events}, Metrics: metrics, Clock: f.clock,
	}
	f.identities = &IdentityReconciler[*v1alpha1.ClusterIdentity]{
		New: func() *v1alpha1.ClusterIdentity { return &v1alpha1.ClusterIdentity{} }, Client: f.client, Identities: resolver, Limits: f.limits, Events: telemetry.Events{Recorder: f.events}, Metrics: metrics, Clock: f.clock,
	}
	return f
}

// account is of the calls that the SDK makes as an identity.
func (f *fixture) account(key identity.Key) account {
	return account{key, f.limits, f.credentials.Metrics, f.clock}
}

func (r *requests) interceptor() interceptor.Funcs {
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
			// Of a type that it knows the fake applies all fields, also those that are not given.
			patch, err := json.Marshal(o)
			if err != nil {
				return err
			}
			live := &unstructured.Unstructured{}
			live.SetGroupVersionKind(applied.GetObjectKind().GroupVersionKind())
			live.SetNamespace(applied.GetNamespace())
			live.SetName(applied.GetName())
			return c.Patch(ctx, live, client.RawPatch(types.MergePatchType, patch))
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

// objects that most tests begin with.

func shop() *metav1.PartialObjectMetadata {
	namespace := namespaceMetadata()
	namespace.Name = "shop"
	namespace.Labels = map[string]string{"team": "shop"}
	return namespace
}

func namespaceShop() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: shop().Labels}}
}

func bootstrap() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "rolecredential-system", Name: "bootstrap"},
		Data:       map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("AKIASOURCE"), "AWS_SECRET_ACCESS_KEY": []byte("source-secret")},
	}
}

func defaultIdentity() *v1alpha1.ClusterIdentity {
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

func reader() *v1alpha1.RoleCredential {
	c := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader", UID: "credential-uid", Generation: 1}}
	c.Spec.RoleARN = "arn:aws:iam::123456789012:role/S3Reader"
	return c
}

// world is all that the reader needs, with the objects of a test in place of its own.
func world(changed ...client.Object) []client.Object {
	objects := []client.Object{namespaceShop(), bootstrap(), defaultIdentity(), reader()}
	for _, object := range changed {
		same := func(o client.Object) bool {
			return kindName(o) == kindName(object) && client.ObjectKeyFromObject(o) == client.ObjectKeyFromObject(object)
		}
		objects = append(slices.DeleteFunc(objects, same), object)
	}
	return objects
}

func without(object client.Object, objects []client.Object) []client.Object {
	return slices.DeleteFunc(objects, func(o client.Object) bool {
		return kindName(o) == kindName(object) && client.ObjectKeyFromObject(o) == client.ObjectKeyFromObject(object)
	})
}

// changed returns an object changed by f.
func changed[T any](object T, f func(T)) T {
	f(object)
	return object
}

// reconcile lets the reader go the way once, and returns it as it then is.
func (f *fixture) reconcile() (*v1alpha1.RoleCredential, reconcile.Result) {
	f.t.Helper()
	key := client.ObjectKeyFromObject(reader())
	result, err := f.credentials.Reconcile(f.t.Context(), reconcile.Request{NamespacedName: key})
	f.Expect(err).NotTo(HaveOccurred())
	return f.credential(), result
}

func (f *fixture) credential() *v1alpha1.RoleCredential {
	f.t.Helper()
	c := &v1alpha1.RoleCredential{}
	f.Expect(f.client.Get(f.t.Context(), client.ObjectKeyFromObject(reader()), c)).To(Succeed())
	return c
}

func (f *fixture) identity() *v1alpha1.ClusterIdentity {
	f.t.Helper()
	i := &v1alpha1.ClusterIdentity{}
	f.Expect(f.client.Get(f.t.Context(), client.ObjectKeyFromObject(defaultIdentity()), i)).To(Succeed())
	return i
}

func (f *fixture) source() *corev1.Secret {
	f.t.Helper()
	s := &corev1.Secret{}
	f.Expect(f.client.Get(f.t.Context(), client.ObjectKeyFromObject(bootstrap()), s)).To(Succeed())
	return s
}

func (f *fixture) update(object client.Object) {
	f.t.Helper()
	f.Expect(f.client.Update(f.t.Context(), object)).To(Succeed())
	f.requests.writes = nil
}

// secret reads the reader's Secret, nil if there is none.
func (f *fixture) secret() *corev1.Secret {
	f.t.Helper()
	s := &corev1.Secret{}
	err := f.client.Get(f.t.Context(), client.ObjectKeyFromObject(reader()), s)
	f.Expect(client.IgnoreNotFound(err)).To(Succeed())
	if err != nil {
		return nil
	}
	return s
}

// forge edits the record in the reader's Secret, as somebody does who knows how to compute the checksum. The keys have no prefix.
func (f *fixture) forge(edit map[string]string) {
	f.t.Helper()
	s := f.secret()
	for key, value := range edit {
		s.Annotations["sts.rolecredential.dev/"+key] = value
	}
	s.Annotations["sts.rolecredential.dev/seal"] = checksum(s.Annotations)
	f.update(s)
}

// checksum returns the checksum of a record, whatever the record says.
func checksum(annotations map[string]string) string {
	record := map[string]string{}
	for _, key := range credential.RecordKeys() {
		if value, ok := annotations[key]; ok {
			record[key] = value
		}
	}
	record["sts.rolecredential.dev/seal"] = ""
	return credential.Hash(record)
}

// told are the events since the last call, without their notes.
func (f *fixture) told() []string {
	var told []string
	for {
		select {
		case e := <-f.events.Events:
			told = append(told, strings.Join(strings.SplitN(e, " ", 3)[:2], " "))
		default:
			return told
		}
	}
}

// states are conditions as "type=status reason".
func states(conditions []metav1.Condition) map[string]string {
	states := map[string]string{}
	for _, c := range conditions {
		states[c.Type] = string(c.Status) + " " + c.Reason
	}
	return states
}

func message(conditions []metav1.Condition, conditionType string) string {
	if c := meta.FindStatusCondition(conditions, conditionType); c != nil {
		return c.Message
	}
	return ""
}
