package controllers

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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/awssts"
	"rolecredential.dev/operator/controllers/failure"
)

func (f *fixture) verify() (*v1alpha1.ClusterIdentity, reconcile.Result) {
	f.t.Helper()
	result, err := f.identities.Reconcile(f.t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(defaultIdentity())})
	f.Expect(err).NotTo(HaveOccurred())
	return f.identity(), result
}

// forbidSecrets keeps Secrets from being read.
func (f *fixture) forbidSecrets() {
	f.t.Helper()
	inner, ok := f.client.(client.WithWatch)
	f.Expect(ok).To(BeTrue())
	reads := interceptor.NewClient(inner, interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, name client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
			return apierrors.NewForbidden(corev1.Resource("secrets"), name.Name, errors.New("RBAC"))
		},
	})
	f.identities.Identities.Secrets, f.credentials.Secrets.Reader = reads, reads
}

func TestAnIdentityReports(t *testing.T) {
	ambient := changed(defaultIdentity(), func(i *v1alpha1.ClusterIdentity) {
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
			objects: world(), want: "True Verified", wantCalls: 1, wantEvent: "Normal Verified", wantCaller: "arn:aws:iam::210987654321:user/operator",
		},
		"a server that cannot tell": {
			objects: world(), err: fmt.Errorf("%w: InvalidAction", awssts.ErrNoCallerIdentity), want: "True NotVerifiable", wantCalls: 1, wantEvent: "Normal NotVerifiable",
		},
		"no Secret": {
			objects: without(bootstrap(), world()), want: "False SecretNotFound", wantEvent: "Warning SecretNotFound",
		},
		"a Secret that RBAC keeps from the operator": {
			objects: world(), forbidden: true, want: "False SecretForbidden", wantEvent: "Warning SecretForbidden",
		},
		"a Secret without a key": {
			objects: world(changed(bootstrap(), func(s *corev1.Secret) { delete(s.Data, "AWS_SECRET_ACCESS_KEY") })), want: "False InvalidSecret", wantEvent: "Warning InvalidSecret",
		},
		"a CA bundle that holds no certificate": {
			objects: world(changed(defaultIdentity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.CABundle = "-----BEGIN CERTIFICATE-----\nx" })), want: "False InvalidCABundle", wantEvent: "Warning InvalidCABundle",
		},
		"an endpoint that is no URL of a server": {
			objects: world(changed(defaultIdentity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.Endpoint = "sts.example" })), want: "False InvalidEndpoint", wantEvent: "Warning InvalidEndpoint",
		},
		"a wrong key": {
			objects: world(), err: answers("InvalidClientTokenId"), want: "False InvalidSourceCredentials", wantCalls: 1, wantEvent: "Warning InvalidSourceCredentials",
		},
		"an ambient source that has nothing": {
			objects: world(ambient), err: &failure.SourceError{Err: errors.New("no role")}, want: "False InvalidSourceCredentials", wantCalls: 1, wantEvent: "Warning InvalidSourceCredentials",
		},
		"a caller that may not": {objects: world(), err: answers("AccessDenied"), want: "False AccessDenied", wantCalls: 1, wantEvent: "Warning AccessDenied"},
		"a disabled region":     {objects: world(), err: answers("RegionDisabledException"), want: "False RegionDisabled", wantCalls: 1, wantEvent: "Warning RegionDisabled"},
		"a wrong clock":         {objects: world(), err: answers("RequestExpired"), want: "False ClockSkew", wantCalls: 1, wantEvent: "Warning ClockSkew"},
		"a busy STS":            {objects: world(), err: answers("Throttling"), want: "False Throttled", wantCalls: 1, wantEvent: "Warning Throttled"},
		"no STS at all":         {objects: world(), err: errors.New("connection refused"), want: "False STSUnreachable", wantCalls: 1, wantEvent: "Warning STSUnreachable"},
		"an STS that fails":     {objects: world(), err: answers("InternalFailure"), want: "False STSError", wantCalls: 1, wantEvent: "Warning STSError"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tc.objects...)
			f.sts.callerErr = tc.err
			if tc.forbidden {
				f.forbidSecrets()
			}
			got, _ := f.verify()
			f.Expect(states(got.Status.Conditions)).To(HaveKeyWithValue("Ready", tc.want))
			f.Expect(f.sts.callers).To(Equal(tc.wantCalls))
			f.Expect(f.told()).To(Equal([]string{tc.wantEvent}))
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
		"GetCallerIdentity":     {answers("AccessDenied"), &v1alpha1.FailedCall{Call: "GetCallerIdentity"}},
		"a hop":                 {&failure.HopError{RoleARN: hub, Err: answers("AccessDenied")}, &v1alpha1.FailedCall{Call: "AssumeRole", RoleARN: hub}},
		"no source credentials": {&failure.SourceError{Err: errors.New("no role")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, world()...)
			f.sts.callerErr = tc.err
			first, _ := f.verify()
			f.Expect(first.Status.FailedCall).To(Equal(tc.want))
			f.later(time.Minute)
			again, _ := f.verify()
			f.Expect(f.sts.callers).To(Equal(2))
			f.Expect(again.ResourceVersion).To(Equal(first.ResourceVersion), "the same failure is the same status")
			f.sts.callerErr = nil
			f.later(time.Minute)
			verified, _ := f.verify()
			f.Expect(verified.Status.FailedCall).To(BeNil())
		})
	}
}

func TestIdentityIsVerifiedOncePerInterval(t *testing.T) {
	f := newFixture(t, world()...)
	_, result := f.verify()
	f.Expect(result.RequeueAfter).To(And(BeNumerically(">", verifyInterval*9/10), BeNumerically("<=", verifyInterval)))
	f.requests.writes = nil

	f.verify()
	f.identities.backoff = backoff{} // as after a restart
	_, result = f.verify()
	f.Expect(f.sts.callers).To(Equal(1))
	f.Expect(f.requests.writes).To(BeEmpty())

	f.clock.SetTime(start.Add(result.RequeueAfter))
	f.verify()
	f.Expect(f.sts.callers).To(Equal(2))
	f.Expect(f.requests.writes).To(BeEmpty())

	f.update(changed(f.source(), func(s *corev1.Secret) { s.Data["AWS_ACCESS_KEY_ID"] = []byte("AKIANEW") }))
	got, _ := f.verify()
	f.Expect(f.sts.callers).To(Equal(3))
	f.Expect(got.Status.ObservedSecretVersion).To(Equal(f.source().ResourceVersion))
}

func TestAFailingIdentityKeepsItsStatusAndIsAskedMoreAndMoreSlowly(t *testing.T) {
	f := newFixture(t, world()...)
	f.sts.callerErr = answers("Throttling")
	var last time.Duration
	for i := range 5 {
		_, result := f.verify()
		f.Expect(result.RequeueAfter).To(BeNumerically(">", last))
		last = result.RequeueAfter
		f.Expect(f.sts.callers).To(Equal(i + 1))
		f.verify()
		f.Expect(f.sts.callers).To(Equal(i + 1))
		f.clock.SetTime(f.clock.Now().Add(last))
	}
	f.Expect(f.requests.writes).To(Equal([]string{"update status ClusterIdentity"}))
	f.Expect(f.told()).To(HaveLen(1))
}

func TestAnIdentityThatCannotBeVerifiedStillIssues(t *testing.T) {
	f := newFixture(t, world()...)
	f.sts.callerErr = answers("AccessDenied")
	f.verify()
	got, _ := f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
}

func TestIdentityFollowsTheClockOfSTS(t *testing.T) {
	for name, tc := range map[string]struct {
		ahead time.Duration
		want  string
	}{
		"clocks that agree":                      {0, "True InSync"},
		"clocks that differ a little":            {-time.Minute, "True InSync"},
		"an operator whose clock is behind":      {10 * time.Minute, "False ClockSkew"},
		"an operator whose clock is ahead":       {-10 * time.Minute, "False ClockSkew"},
		"an operator whose clock is a day ahead": {-24 * time.Hour, "False ClockSkew"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, world()...)
			f.sts.ahead = tc.ahead
			got, _ := f.verify()
			f.Expect(states(got.Status.Conditions)).To(Equal(map[string]string{"Ready": "True Verified", "ClockInSync": tc.want}))

			credential, result := f.reconcile()
			f.Expect(credential.Status.LastRefreshTime.Time).To(BeTemporally("==", start.Add(tc.ahead)))
			f.Expect(result.RequeueAfter).To(Equal(credential.Status.NextRefreshTime.Sub(start.Add(tc.ahead))))
			f.Expect(states(credential.Status.Conditions)["Ready"]).To(Equal("True Issued"))
			f.clock.SetTime(start.Add(result.RequeueAfter - time.Second))
			f.reconcile()
			f.Expect(f.sts.issued).To(HaveLen(1))
			f.clock.SetTime(start.Add(result.RequeueAfter))
			f.reconcile()
			f.Expect(f.sts.issued).To(HaveLen(2))
		})
	}
}

func TestNothingIsSaidOfAClockThatIsNotKnown(t *testing.T) {
	f := newFixture(t, without(bootstrap(), world())...)
	got, _ := f.verify()
	f.Expect(states(got.Status.Conditions)).To(Equal(map[string]string{"Ready": "False SecretNotFound"}))
}

func TestAnAmbientConfigurationThatCannotBeReadIsLookedAtAgain(t *testing.T) {
	t.Setenv("AWS_PROFILE", "absent")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "credentials"))
	f := newFixture(t, world(changed(defaultIdentity(), func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Source = v1alpha1.ClusterIdentitySource{Ambient: &v1alpha1.AmbientSource{}}
	}))...)
	got, result := f.verify()
	f.Expect(states(got.Status.Conditions)).To(HaveKeyWithValue("Ready", "False InvalidSourceCredentials"))
	f.Expect(result.RequeueAfter).To(Equal(failure.MaxWait))
	credential, result := f.reconcile()
	f.Expect(firstBad(credential.Status.Conditions)).To(HavePrefix("Authorized=False IdentityNotReady"))
	f.Expect(result.RequeueAfter).To(Equal(failure.MaxWait))
}

func TestAfterARestartASkewIsMeasuredAnew(t *testing.T) {
	f := newFixture(t, world()...)
	f.sts.ahead = 10 * time.Minute
	f.verify()
	f.identities.backoff = backoff{}
	f.verify()
	f.Expect(f.sts.callers).To(Equal(2))
}
