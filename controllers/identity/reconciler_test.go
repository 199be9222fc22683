package identity_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/telemetry"
	"rolecredential.dev/operator/controllers/testkit"
)

// verifier has the reconcilers of ClusterIdentities and RoleCredentials on a fake client.
type verifier struct {
	*testkit.Fixture
	identities  *identity.Reconciler[*v1alpha1.ClusterIdentity]
	credentials *credential.Reconciler[*v1alpha1.RoleCredential]
}

func newVerifier(t *testing.T, objects ...client.Object) *verifier {
	t.Helper()
	f := testkit.New(t, objects...)
	recorded := telemetry.Events{Recorder: f.Recorder}
	return &verifier{f, &identity.Reconciler[*v1alpha1.ClusterIdentity]{
		New: func() *v1alpha1.ClusterIdentity { return &v1alpha1.ClusterIdentity{} }, Client: f.Operator, Identities: f.Resolver, Limits: f.Limits,
		Events: recorded, Metrics: f.Metrics, Clock: f.Clock,
	}, &credential.Reconciler[*v1alpha1.RoleCredential]{
		Kind: request.RoleCredential, Client: f.Operator, Identities: f.Resolver, Secrets: &secretstore.Store{Client: f.Operator, APIReader: f.Operator}, Devices: &identity.Devices{},
		Limits: f.Limits, Events: recorded, Metrics: f.Metrics, Clock: f.Clock,
	}}
}

// reconcile reconciles the Reader once.
func (f *verifier) reconcile() (*v1alpha1.RoleCredential, reconcile.Result) {
	f.T.Helper()
	result, err := f.credentials.Reconcile(f.T.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(testkit.Reader())})
	f.Expect(err).NotTo(HaveOccurred())
	return f.Credential(), result
}

func (f *verifier) verify() (*v1alpha1.ClusterIdentity, reconcile.Result) {
	f.T.Helper()
	result, err := f.identities.Reconcile(f.T.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(testkit.DefaultIdentity())})
	f.Expect(err).NotTo(HaveOccurred())
	return f.Identity(), result
}

// forbidSecrets keeps Secrets from being read.
func (f *verifier) forbidSecrets() {
	f.T.Helper()
	reads := interceptor.NewClient(f.Operator, interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, name client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
			return apierrors.NewForbidden(corev1.Resource("secrets"), name.Name, errors.New("RBAC"))
		},
	})
	f.identities.Identities.APIReader, f.credentials.Secrets.APIReader = reads, reads
}

func TestIdentityStatusReportsTheVerification(t *testing.T) {
	ambient := testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Source = v1alpha1.ClusterIdentitySource{Ambient: &v1alpha1.AmbientSource{}}
	})
	for name, tc := range map[string]struct {
		objects    []client.Object
		err        error
		forbidden  bool // to read Secrets
		want       string
		wantCalls  int
		wantEvent  string
		wantCaller string
	}{
		"a caller that STS knows": {
			objects: testkit.World(), want: "True Verified", wantCalls: 1, wantEvent: "Normal Verified", wantCaller: "arn:aws:iam::210987654321:user/operator",
		},
		"a server without GetCallerIdentity": {
			objects: testkit.World(), err: fmt.Errorf("%w: InvalidAction", awssts.ErrNoCallerIdentity), want: "True NotVerifiable", wantCalls: 1, wantEvent: "Normal NotVerifiable",
		},
		"no Secret": {
			objects: testkit.Without(testkit.Bootstrap(), testkit.World()), want: "False SecretNotFound", wantEvent: "Warning SecretNotFound",
		},
		"a Secret that RBAC keeps from the operator": {
			objects: testkit.World(), forbidden: true, want: "False SecretForbidden", wantEvent: "Warning SecretForbidden",
		},
		"a Secret without a key": {
			objects: testkit.World(testkit.Changed(testkit.Bootstrap(), func(s *corev1.Secret) { delete(s.Data, "AWS_SECRET_ACCESS_KEY") })), want: "False InvalidSecret", wantEvent: "Warning InvalidSecret",
		},
		"a CA bundle that holds no certificate": {
			objects: testkit.World(testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.CABundle = "-----BEGIN CERTIFICATE-----\nx" })), want: "False InvalidCABundle", wantEvent: "Warning InvalidCABundle",
		},
		"an endpoint that is no URL of a server": {
			objects: testkit.World(testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.Endpoint = "sts.example" })), want: "False InvalidEndpoint", wantEvent: "Warning InvalidEndpoint",
		},
		"a wrong key": {
			objects: testkit.World(), err: testkit.STSError("InvalidClientTokenId"), want: "False InvalidSourceCredentials", wantCalls: 1, wantEvent: "Warning InvalidSourceCredentials",
		},
		"an ambient source that has nothing": {
			objects: testkit.World(ambient), err: &reason.SourceError{Err: errors.New("no role")}, want: "False InvalidSourceCredentials", wantCalls: 1, wantEvent: "Warning InvalidSourceCredentials",
		},
		"a caller that may not": {objects: testkit.World(), err: testkit.STSError("AccessDenied"), want: "False AccessDenied", wantCalls: 1, wantEvent: "Warning AccessDenied"},
		"a disabled region":     {objects: testkit.World(), err: testkit.STSError("RegionDisabledException"), want: "False RegionDisabled", wantCalls: 1, wantEvent: "Warning RegionDisabled"},
		"a wrong clock":         {objects: testkit.World(), err: testkit.STSError("RequestExpired"), want: "False ClockSkew", wantCalls: 1, wantEvent: "Warning ClockSkew"},
		"a busy STS":            {objects: testkit.World(), err: testkit.STSError("Throttling"), want: "False Throttled", wantCalls: 1, wantEvent: "Warning Throttled"},
		"no STS at all":         {objects: testkit.World(), err: errors.New("connection refused"), want: "False STSUnreachable", wantCalls: 1, wantEvent: "Warning STSUnreachable"},
		"an STS that fails":     {objects: testkit.World(), err: testkit.STSError("InternalFailure"), want: "False STSError", wantCalls: 1, wantEvent: "Warning STSError"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newVerifier(t, tc.objects...)
			f.STS.CallerErr = tc.err
			if tc.forbidden {
				f.forbidSecrets()
			}
			got, _ := f.verify()
			f.Expect(testkit.States(got.Status.Conditions)).To(HaveKeyWithValue("Ready", tc.want))
			f.Expect(f.STS.Callers).To(Equal(tc.wantCalls))
			f.Expect(f.Events()).To(Equal([]string{tc.wantEvent}))
			f.Expect(got.Status.ARN).To(Equal(tc.wantCaller))
			f.Expect(got.Status.ObservedGeneration).To(BeEquivalentTo(1))
		})
	}
}

func TestIdentityStatusNamesTheFailedCallWhileReadyIsFalse(t *testing.T) {
	const hub = "arn:aws:iam::210987654321:role/Hub"
	for name, tc := range map[string]struct {
		err  error
		want *v1alpha1.FailedCall
	}{
		"GetCallerIdentity":     {testkit.STSError("AccessDenied"), &v1alpha1.FailedCall{Call: "GetCallerIdentity"}},
		"a hop":                 {&reason.HopError{RoleARN: hub, Err: testkit.STSError("AccessDenied")}, &v1alpha1.FailedCall{Call: "AssumeRole", RoleARN: hub}},
		"no source credentials": {&reason.SourceError{Err: errors.New("no role")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newVerifier(t, testkit.World()...)
			f.STS.CallerErr = tc.err
			first, _ := f.verify()
			f.Expect(first.Status.FailedCall).To(Equal(tc.want))
			f.Advance(time.Minute)
			again, _ := f.verify()
			f.Expect(f.STS.Callers).To(Equal(2))
			f.Expect(again.ResourceVersion).To(Equal(first.ResourceVersion), "the same failure is the same status")
			f.STS.CallerErr = nil
			f.Advance(time.Minute)
			verified, _ := f.verify()
			f.Expect(verified.Status.FailedCall).To(BeNil())
		})
	}
}

func TestIdentityIsVerifiedOncePerInterval(t *testing.T) {
	f := newVerifier(t, testkit.World()...)
	_, result := f.verify()
	f.Expect(result.RequeueAfter).To(And(BeNumerically(">", identity.VerifyInterval*9/10), BeNumerically("<=", identity.VerifyInterval)))
	f.Requests.Writes = nil

	f.verify()
	f.identities.ForgetBackoff() // as after a restart
	_, result = f.verify()
	f.Expect(f.STS.Callers).To(Equal(1))
	f.Expect(f.Requests.Writes).To(BeEmpty())

	f.Clock.SetTime(testkit.Start.Add(result.RequeueAfter))
	f.verify()
	f.Expect(f.STS.Callers).To(Equal(2))
	f.Expect(f.Requests.Writes).To(BeEmpty())

	f.Update(testkit.Changed(f.Source(), func(s *corev1.Secret) { s.Data["AWS_ACCESS_KEY_ID"] = []byte("AKIANEW") }))
	f.Advance(identity.MinVerifyInterval)
	got, _ := f.verify()
	f.Expect(f.STS.Callers).To(Equal(3))
	f.Expect(got.Status.ObservedSecretVersion).To(Equal(f.Source().ResourceVersion))
}

func TestLoopOfEditsCausesOneVerificationPerInterval(t *testing.T) {
	for name, edit := range map[string]func(f *verifier, n int64){
		"an edited spec": func(f *verifier, n int64) {
			f.Update(testkit.Changed(f.Identity(), func(i *v1alpha1.ClusterIdentity) { i.Generation, i.Spec.STSQPS = n, int32(n) }))
		},
		"an edited Secret": func(f *verifier, n int64) {
			f.Update(testkit.Changed(f.Source(), func(s *corev1.Secret) { s.Data["AWS_ACCESS_KEY_ID"] = fmt.Append(nil, "AKIA", n) }))
		},
		"an identity that is deleted and created": func(f *verifier, n int64) {
			f.Expect(f.Client.Delete(f.T.Context(), f.Identity())).To(Succeed())
			_, err := f.identities.Reconcile(f.T.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(testkit.DefaultIdentity())})
			f.Expect(err).NotTo(HaveOccurred())
			again := testkit.DefaultIdentity()
			again.UID = types.UID(fmt.Sprint(n))
			f.Expect(f.Client.Create(f.T.Context(), again)).To(Succeed())
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newVerifier(t, testkit.World()...)
			f.verify()
			for n := range int64(50) {
				f.Advance(identity.MinVerifyInterval / 25)
				edit(f, n+2)
				_, result := f.verify()
				f.Expect(result.RequeueAfter).To(BeNumerically(">", 0))
			}
			f.Expect(f.STS.Callers).To(Equal(3), "in two intervals")
			f.Advance(identity.MinVerifyInterval)
			got, _ := f.verify()
			f.Expect(got.Status.ObservedGeneration).To(Equal(got.Generation))
			f.Expect(got.Status.ObservedSecretVersion).To(Equal(f.Source().ResourceVersion))
		})
	}
}

func TestVerificationWaitsForTheLimiter(t *testing.T) {
	f := newVerifier(t, testkit.World()...)
	key := request.Key{Kind: "ClusterIdentity", NamespacedName: client.ObjectKeyFromObject(testkit.DefaultIdentity())}
	var hanging []*limit.Permit
	for n := range 3 { // three quarters of the slots
		call, _ := f.Limits.Acquire(f.Clock.Now(), limit.Request{Identity: key, Credential: request.Key{Kind: "RoleCredential", NamespacedName: types.NamespacedName{Name: fmt.Sprint(n)}}})
		f.Expect(call).NotTo(BeNil())
		hanging = append(hanging, call)
	}
	_, result := f.verify()
	f.Expect(f.STS.Callers).To(BeZero())
	f.Expect(result.RequeueAfter).To(Equal(time.Minute))
	f.Limits.Release(f.Clock.Now(), hanging[0], limit.Answered)
	ready, _ := f.Limits.Ready(f.Clock.Now())
	f.Expect(ready).To(Equal([]request.Key{key}), "the identity is enqueued")
	f.verify()
	f.Expect(f.STS.Callers).To(Equal(1))
	f.Expect(f.Limits.Levels(f.Clock.Now())[0].InFlight).To(Equal(2), "its slot is free again")
}

func TestFailingIdentityBacksOffWithoutAStatusChange(t *testing.T) {
	f := newVerifier(t, testkit.World()...)
	f.STS.CallerErr = testkit.STSError("Throttling")
	var last time.Duration
	for i := range 5 {
		_, result := f.verify()
		f.Expect(result.RequeueAfter).To(BeNumerically(">", last))
		last = result.RequeueAfter
		f.Expect(f.STS.Callers).To(Equal(i + 1))
		f.verify()
		f.Expect(f.STS.Callers).To(Equal(i + 1))
		f.Clock.SetTime(f.Clock.Now().Add(last))
	}
	f.Expect(f.Requests.Writes).To(Equal([]string{"update status ClusterIdentity"}))
	f.Expect(f.Events()).To(HaveLen(1))
}

func TestUnverifiedIdentityStillIssues(t *testing.T) {
	f := newVerifier(t, testkit.World()...)
	f.STS.CallerErr = testkit.STSError("AccessDenied")
	f.verify()
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
}

func TestIdentityFollowsTheClockOfSTS(t *testing.T) {
	for name, tc := range map[string]struct {
		offset time.Duration
		want   string
	}{
		"clocks that agree":                      {0, "True InSync"},
		"clocks that differ a little":            {-time.Minute, "True InSync"},
		"an operator whose clock is behind":      {10 * time.Minute, "False ClockSkew"},
		"an operator whose clock is ahead":       {-10 * time.Minute, "False ClockSkew"},
		"an operator whose clock is a day ahead": {-24 * time.Hour, "False ClockSkew"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newVerifier(t, testkit.World()...)
			f.STS.Skewed = tc.offset
			got, _ := f.verify()
			f.Expect(testkit.States(got.Status.Conditions)).To(Equal(map[string]string{"Ready": "True Verified", "ClockInSync": tc.want}))

			credential, result := f.reconcile()
			f.Expect(credential.Status.LastRefreshTime.Time).To(BeTemporally("==", testkit.Start.Add(tc.offset)))
			f.Expect(result.RequeueAfter).To(Equal(credential.Status.NextRefreshTime.Sub(testkit.Start.Add(tc.offset))))
			f.Expect(testkit.States(credential.Status.Conditions)["Ready"]).To(Equal("True Issued"))
			f.Clock.SetTime(testkit.Start.Add(result.RequeueAfter - time.Second))
			f.reconcile()
			f.Expect(f.STS.Issued).To(HaveLen(1))
			f.Clock.SetTime(testkit.Start.Add(result.RequeueAfter))
			f.reconcile()
			f.Expect(f.STS.Issued).To(HaveLen(2))
		})
	}
}

func TestUnknownClockHasNoCondition(t *testing.T) {
	f := newVerifier(t, testkit.Without(testkit.Bootstrap(), testkit.World())...)
	got, _ := f.verify()
	f.Expect(testkit.States(got.Status.Conditions)).To(Equal(map[string]string{"Ready": "False SecretNotFound"}))
}

func TestUnreadableAmbientConfigurationIsRetried(t *testing.T) {
	t.Setenv("AWS_PROFILE", "absent")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "credentials"))
	f := newVerifier(t, testkit.World(testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Source = v1alpha1.ClusterIdentitySource{Ambient: &v1alpha1.AmbientSource{}}
	}))...)
	got, result := f.verify()
	f.Expect(testkit.States(got.Status.Conditions)).To(HaveKeyWithValue("Ready", "False InvalidSourceCredentials"))
	f.Expect(result.RequeueAfter).To(Equal(reason.MaxWait))
	credential, result := f.reconcile()
	f.Expect(testkit.FirstProblem(credential.Status.Conditions)).To(HavePrefix("Authorized=False IdentityNotReady"))
	f.Expect(result.RequeueAfter).To(Equal(reason.MaxWait))
}

func TestRestartMeasuresTheSkewAgain(t *testing.T) {
	f := newVerifier(t, testkit.World()...)
	f.STS.Skewed = 10 * time.Minute
	f.verify()
	f.identities.ForgetBackoff()
	f.verify()
	f.Expect(f.STS.Callers).To(Equal(2))
}

func TestOutcomeOfEachReason(t *testing.T) {
	outcomes := map[string]limit.Outcome{
		v1alpha1.ReasonThrottled: limit.Throttled,
		// STS was not called: another service account may have a token.
		v1alpha1.ReasonTokenNotIssued: limit.NotCalled,
		// These affect every call of the identity.
		v1alpha1.ReasonSTSUnreachable: limit.Unavailable, v1alpha1.ReasonSTSError: limit.Unavailable, v1alpha1.ReasonInvalidSourceCredentials: limit.Unavailable,
		v1alpha1.ReasonRegionDisabled: limit.Unavailable, v1alpha1.ReasonClockSkew: limit.Unavailable,
		v1alpha1.ReasonTokenExpired: limit.Unavailable, v1alpha1.ReasonTokenNotYetValid: limit.Unavailable,
		v1alpha1.ReasonClientRejected: limit.Unavailable, v1alpha1.ReasonProviderUnreachable: limit.Unavailable, v1alpha1.ReasonProviderError: limit.Unavailable,
	}
	// STS answered, or the reason is no failure of a call.
	for _, reason := range []string{
		v1alpha1.ReasonAccessDenied, v1alpha1.ReasonInvalidRequest, v1alpha1.ReasonPolicyTooLarge, v1alpha1.ReasonMalformedPolicy,
		v1alpha1.ReasonWrongSourceType, v1alpha1.ReasonInvalidMFA, v1alpha1.ReasonInvalidTags, v1alpha1.ReasonUnsupportedField, v1alpha1.ReasonWrongPartition,
		v1alpha1.ReasonSecretNotWritten, v1alpha1.ReasonIssued, v1alpha1.ReasonNotAttempted,
	} {
		outcomes[reason] = limit.Answered
	}
	for _, code := range testkit.Reasons(t, "../..")["ConditionIssued"] {
		g := NewWithT(t)
		g.Expect(outcomes).To(HaveKey(code))
		g.Expect(identity.OutcomeOf(&reason.Error{Reason: code})).To(Equal(outcomes[code]), code)
	}
}
