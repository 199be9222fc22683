package controllers

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
)

func answers(code string) error {
	return &smithy.GenericAPIError{Code: code, Message: "as STS words it"}
}

// strangers is a Secret of the reader's Secret's name that is not its own.
func strangers() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader", Labels: map[string]string{"of": "another"}}, Data: map[string][]byte{"password": []byte("theirs")}}
}

// What one reconcile of a credential that has no Secret leads to.
func TestTheFirstReconcileReports(t *testing.T) {
	allowed, notAttempted, notIssued := "True Allowed", "Unknown NotAttempted", "False NotIssued"
	cases := map[string]struct {
		objects    []client.Object
		stsErr     error
		fail       func(verb string, object client.Object) error
		want       [3]string // Authorized, Issued, Ready
		wantCalls  int
		wantEvents []string
		wantSaying string // in the message of the first condition that is not True
	}{
		"a credential where all is well": {
			objects: world(), want: [3]string{allowed, "True Issued", "True Issued"}, wantCalls: 1, wantEvents: []string{"Normal Issued"},
		},
		"an identity that does not exist": {
			objects: without(defaultIdentity(), world()), want: [3]string{"False IdentityNotFound", notAttempted, notIssued},
			wantEvents: []string{"Warning IdentityNotFound"}, wantSaying: "There is no ClusterIdentity default.",
		},
		"an identity whose Secret does not exist": {
			objects: without(bootstrap(), world()), want: [3]string{"False IdentityNotReady", notAttempted, notIssued},
			wantEvents: []string{"Warning IdentityNotReady"}, wantSaying: "There is no Secret rolecredential-system/bootstrap.",
		},
		"a namespace that no rule names": {
			objects: world(changed(defaultIdentity(), func(i *v1alpha1.ClusterIdentity) { (*i.Spec.Allow)[0].Namespaces = []string{"other"} })),
			want:    [3]string{"False NotAllowed", notAttempted, notIssued}, wantEvents: []string{"Warning NotAllowed"}, wantSaying: `namespace "shop"`,
		},
		"a duration longer than the rule's": {
			objects: world(changed(reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Duration = &metav1.Duration{Duration: 3 * time.Hour} })),
			want:    [3]string{"False DurationNotAllowed", notAttempted, notIssued}, wantEvents: []string{"Warning DurationNotAllowed"}, wantSaying: "at most 2h0m0s",
		},
		"a Secret of that name that is another's": {
			objects: world(strangers()), want: [3]string{allowed, notAttempted, "False SecretConflict"},
			wantEvents: []string{"Warning SecretConflict"}, wantSaying: "",
		},
		"a policy that is not JSON": {
			objects: world(changed(reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Policy = `{"Version": }` })),
			want:    [3]string{allowed, "False MalformedPolicy", notIssued}, wantEvents: []string{"Warning MalformedPolicy"}, wantSaying: "is not JSON",
		},
		"a label that no Secret can have": {
			objects: world(changed(reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Labels = map[string]string{"not a key": "x"} })),
			want:    [3]string{allowed, notAttempted, "False InvalidTemplate"}, wantEvents: []string{"Warning InvalidTemplate"},
		},
		"a credential that is suspended from the start": {
			objects: world(changed(reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true })),
			want:    [3]string{allowed, notAttempted, "False Suspended"}, wantEvents: []string{"Warning Suspended"},
		},
		"a Secret that the API server refuses": {
			objects: world(), fail: func(verb string, object client.Object) error {
				if verb == "create" {
					return apierrors.NewForbidden(corev1.Resource("secrets"), object.GetName(), errors.New("exceeded quota"))
				}
				return nil
			},
			want: [3]string{allowed, "False SecretNotWritten", notIssued}, wantCalls: 1, wantEvents: []string{"Warning SecretNotWritten"}, wantSaying: "(Forbidden)",
		},
	}
	for code, reason := range map[string]string{
		"AccessDenied": "AccessDenied", "InvalidClientTokenId": "InvalidSourceCredentials", "ValidationError": "InvalidRequest", "PackedPolicyTooLarge": "PolicyTooLarge",
		"MalformedPolicyDocument": "MalformedPolicy", "RegionDisabledException": "RegionDisabled", "RequestExpired": "ClockSkew", "Throttling": "Throttled", "InternalFailure": "STSError",
	} {
		c := cases["a Secret that the API server refuses"]
		c.fail, c.stsErr, c.wantSaying = nil, answers(code), ""
		c.want, c.wantEvents = [3]string{allowed, "False " + reason, notIssued}, []string{"Warning " + reason}
		cases["an STS that answers "+code] = c
	}
	unreachable := cases["an STS that answers AccessDenied"]
	unreachable.stsErr, unreachable.want[1], unreachable.wantEvents = errors.New("dial tcp: connection refused"), "False STSUnreachable", []string{"Warning STSUnreachable"}
	cases["an STS that cannot be reached"] = unreachable

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tc.objects...)
			f.sts.err, f.requests.fail = tc.stsErr, tc.fail
			got, _ := f.reconcile()
			want := map[string]string{"Authorized": tc.want[0], "Issued": tc.want[1], "Ready": tc.want[2]}
			if diff := cmp.Diff(want, states(got.Status.Conditions)); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			f.Expect(f.sts.issued).To(HaveLen(tc.wantCalls))
			f.Expect(f.told()).To(Equal(tc.wantEvents))
			for _, c := range got.Status.Conditions {
				if c.Status == metav1.ConditionFalse {
					f.Expect(c.Message).To(ContainSubstring(tc.wantSaying))
					break
				}
			}
		})
	}
}

func TestStatusNamesTheFailedCallWhileIssuedIsFalse(t *testing.T) {
	const hub = "arn:aws:iam::210987654321:role/Hub"
	for name, tc := range map[string]struct {
		err  error
		want *v1alpha1.FailedCall
	}{
		"the role itself":          {answers("AccessDenied"), &v1alpha1.FailedCall{Call: "AssumeRole", RoleARN: "arn:aws:iam::123456789012:role/S3Reader"}},
		"a hop":                    {&failure.HopError{RoleARN: hub, Err: answers("AccessDenied")}, &v1alpha1.FailedCall{Call: "AssumeRole", RoleARN: hub}},
		"a hop, by a token":        {&failure.HopError{RoleARN: hub, WebIdentity: true, Err: answers("AccessDenied")}, &v1alpha1.FailedCall{Call: "AssumeRoleWithWebIdentity", RoleARN: hub}},
		"no source credentials":    {&failure.SourceError{Err: errors.New("none")}, nil},
		"no service account token": {&failure.TokenError{Message: "None.", Err: errors.New("none")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, world()...)
			f.sts.err = tc.err
			first, _ := f.reconcile()
			f.Expect(first.Status.FailedCall).To(Equal(tc.want))
			f.later(time.Minute)
			again, _ := f.reconcile()
			f.Expect(f.sts.issued).To(HaveLen(2))
			f.Expect(again.ResourceVersion).To(Equal(first.ResourceVersion), "the same failure is the same status")
			f.sts.err = nil
			f.later(time.Minute)
			issued, _ := f.reconcile()
			f.Expect(issued.Status.FailedCall).To(BeNil())
		})
	}
}

func TestAnIssuedCredentialIsInTheSecretAndTheStatus(t *testing.T) {
	f := newFixture(t, world()...)
	got, result := f.reconcile()

	written := f.secret()
	f.Expect(written.Data).To(Equal(map[string][]byte{
		"AWS_ACCESS_KEY_ID": []byte("ASIAA"), "AWS_SECRET_ACCESS_KEY": []byte("secret-A"), "AWS_SESSION_TOKEN": []byte("token-A"),
	}))
	f.Expect(metav1.IsControlledBy(written, got)).To(BeTrue())
	f.Expect(written.OwnerReferences[0].BlockOwnerDeletion).To(BeNil())

	next := start.Add(time.Hour).Add(-20 * time.Minute)
	f.Expect(got.Status.NextRefreshTime.Time).To(BeTemporally("~", next, 4*time.Minute))
	f.Expect(got.Status.NextRefreshTime.Time).To(BeTemporally("<=", next))
	f.Expect(result.RequeueAfter).To(Equal(got.Status.NextRefreshTime.Sub(start)))
	got.Status.Conditions, got.Status.NextRefreshTime = nil, nil
	size := int32(7)
	want := v1alpha1.RoleCredentialStatus{CredentialStatus: v1alpha1.CredentialStatus{
		ObservedGeneration: 1, SecretName: "s3-reader", AccessKeyID: "ASIAA", PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader",
		PackedPolicySize: &size, Expiration: at(start.Add(time.Hour)), LastRefreshTime: at(start),
	}}
	if diff := cmp.Diff(want, got.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	f.Expect(f.requests.writes).To(Equal([]string{"create Secret", "update status RoleCredential"}))
}

func TestAnIdleCredentialCostsNothing(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	f.requests.writes, f.sts.issued = nil, nil
	f.told()
	f.credentials.backoff = backoff{} // as after a restart
	f.clock.SetTime(start.Add(10 * time.Minute))
	got, result := f.reconcile()
	f.Expect(f.requests.writes).To(BeEmpty())
	f.Expect(f.sts.issued).To(BeEmpty())
	f.Expect(f.told()).To(BeEmpty())
	f.Expect(result.RequeueAfter).To(Equal(got.Status.NextRefreshTime.Sub(start.Add(10 * time.Minute))))
}

func TestCredentialIsLookedAtEachHourWithoutACallOrAWrite(t *testing.T) {
	f := newFixture(t, world(changed(defaultIdentity(), func(i *v1alpha1.ClusterIdentity) { (*i.Spec.Allow)[0].MaxDuration = nil }),
		changed(reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Duration = &metav1.Duration{Duration: 12 * time.Hour} }))...)
	_, result := f.reconcile()
	f.Expect(result.RequeueAfter).To(Equal(time.Hour))
	f.requests.writes = nil
	f.clock.SetTime(start.Add(time.Hour))
	_, result = f.reconcile()
	f.Expect(result.RequeueAfter).To(Equal(time.Hour))
	f.Expect(f.requests.writes).To(BeEmpty())
	f.Expect(f.sts.issued).To(HaveLen(1))
}

// A record of an earlier version of the operator, which took the time of issue from a Date header that was 5 hours behind.
func TestCredentialStrandedByAWrongDateIsRefreshedAndNotReadyPastItsExpiry(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	f.update(changed(f.secret(), func(s *corev1.Secret) {
		record, ok := credential.ParseRecord(s.Annotations)
		f.Expect(ok).To(BeTrue())
		record.IssuedAt = record.IssuedAt.Add(-5 * time.Hour)
		maps.Copy(s.Annotations, record.WithChecksum(s.Data).Annotations())
	}))
	f.sts.err = answers("InternalFailure")
	got, _ := f.reconcile()
	f.Expect(f.sts.issued).To(HaveLen(2), "it is due at once")
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.clock.SetTime(start.Add(time.Hour))
	got, _ = f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("False Expired"))
}

func TestADueCredentialIsRefreshedWithOneCallTwoWritesAndNoEvent(t *testing.T) {
	f := newFixture(t, world()...)
	_, result := f.reconcile()
	f.requests.writes = nil
	f.told()
	f.clock.SetTime(start.Add(result.RequeueAfter))
	got, _ := f.reconcile()
	f.Expect(f.sts.issued).To(HaveLen(2))
	f.Expect(f.requests.writes).To(Equal([]string{"update Secret", "update status RoleCredential"}))
	f.Expect(f.told()).To(BeEmpty())
	f.Expect(got.Status.AccessKeyID).To(Equal("ASIAB"))
	f.Expect(f.secret().Data["AWS_SESSION_TOKEN"]).To(BeEquivalentTo("token-B"))
}

func TestWhatMakesACredentialDue(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	for _, step := range []struct {
		name   string
		change func(c *v1alpha1.RoleCredential)
		want   int
	}{
		{"nothing", func(*v1alpha1.RoleCredential) {}, 0},
		{"a refresh request", func(c *v1alpha1.RoleCredential) {
			metav1.SetMetaDataAnnotation(&c.ObjectMeta, v1alpha1.RefreshAnnotation, "1")
		}, 1},
		{"the same refresh request", func(*v1alpha1.RoleCredential) {}, 0},
		{"another refresh request", func(c *v1alpha1.RoleCredential) {
			metav1.SetMetaDataAnnotation(&c.ObjectMeta, v1alpha1.RefreshAnnotation, "2")
		}, 1},
		{"no refresh request any more", func(c *v1alpha1.RoleCredential) { delete(c.Annotations, v1alpha1.RefreshAnnotation) }, 0},
		{"another role", func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN += "2" }, 1},
		{"a label on the Secret", func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Labels = map[string]string{"a": "b"} }, 1},
		{"another refreshBefore", func(c *v1alpha1.RoleCredential) { c.Spec.RefreshBefore = &metav1.Duration{Duration: 5 * time.Minute} }, 0},
		{"a suspension", func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true }, 0},
		{"another role, suspended", func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN += "3" }, 0},
		{"the end of the suspension", func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = false }, 1},
	} {
		before := len(f.sts.issued)
		c := f.credential()
		step.change(c)
		f.update(c)
		f.reconcile()
		f.Expect(len(f.sts.issued)-before).To(Equal(step.want), step.name)
	}
	f.Expect(f.credential().Status.LastHandledRefreshRequest).To(BeEmpty())
}

func TestFiveFailuresInARowLeaveTheStatusByteEqualAndTheManagerIdle(t *testing.T) {
	f := newFixture(t, world()...)
	var first []byte
	var waits []time.Duration
	for i := range 5 {
		f.sts.err = &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRole", Err: fmt.Errorf("https response error StatusCode: 403, RequestID: %d-%d, %w",
			i, i*i, &smithy.GenericAPIError{Code: "AccessDenied", Message: fmt.Sprintf("User: arn:aws:sts::210987654321:assumed-role/x/%d is not authorized", i)})}
		got, result := f.reconcile()
		f.Expect(f.sts.issued).To(HaveLen(i + 1))
		status, err := json.Marshal(got.Status)
		f.Expect(err).NotTo(HaveOccurred())
		if i == 0 {
			first = status
			f.requests.writes = nil
			f.Expect(f.told()).To(Equal([]string{"Warning AccessDenied"}))
		}
		f.Expect(status).To(Equal(first))

		// Whatever wakes it meanwhile, nothing is asked and nothing written until the wait is over.
		f.clock.SetTime(f.clock.Now().Add(result.RequeueAfter - time.Second))
		_, again := f.reconcile()
		f.Expect(again.RequeueAfter).To(Equal(time.Second))
		f.Expect(f.sts.issued).To(HaveLen(i + 1))
		f.clock.SetTime(f.clock.Now().Add(time.Second))
		waits = append(waits, result.RequeueAfter)
	}
	f.Expect(f.requests.writes).To(BeEmpty())
	f.Expect(f.told()).To(BeEmpty())
	for i := 1; i < len(waits); i++ {
		f.Expect(waits[i]).To(BeNumerically("~", 2*waits[i-1], time.Second))
	}
	f.sts.err = nil
	got, _ := f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.told()).To(Equal([]string{"Normal Issued"}))
}

func TestAChangeOfWhatAFailureDependsOnIsTriedAtOnce(t *testing.T) {
	for name, change := range map[string]func(f *fixture){
		"the credential's spec": func(f *fixture) {
			f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.ExternalID = "k8s" }))
		},
		"what the Secret is to look like": func(f *fixture) {
			f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Labels = map[string]string{"app": "shop"} }))
		},
		"a refresh request": func(f *fixture) {
			f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) {
				metav1.SetMetaDataAnnotation(&c.ObjectMeta, v1alpha1.RefreshAnnotation, "now")
			}))
		},
		"the identity's spec": func(f *fixture) {
			f.update(changed(f.identity(), func(i *v1alpha1.ClusterIdentity) { i.Generation = 2 }))
		},
		"the source's Secret": func(f *fixture) {
			f.update(changed(f.source(), func(s *corev1.Secret) { s.Data["AWS_ACCESS_KEY_ID"] = []byte("AKIANEW") }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, world()...)
			f.sts.err = answers("AccessDenied")
			f.reconcile()
			f.sts.err = nil
			change(f)
			got, _ := f.reconcile()
			f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
		})
	}
}

func TestFirstFailureOfANewSpecIsRetriedAfterTheFirstBackoffStep(t *testing.T) {
	f := newFixture(t, world()...)
	f.sts.err = answers("AccessDenied")
	_, first := f.reconcile()
	wait := first.RequeueAfter
	for range 8 {
		f.clock.SetTime(f.clock.Now().Add(wait))
		_, result := f.reconcile()
		wait = result.RequeueAfter
	}
	f.Expect(wait).To(BeNumerically(">=", failure.MaxWait))
	f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.ExternalID, c.Generation = "k8s", 2 }))
	_, result := f.reconcile()
	f.Expect(f.sts.issued).To(HaveLen(10))
	f.Expect(result.RequeueAfter).To(Equal(first.RequeueAfter))
}

func TestAnOldValidCredentialStaysInPlace(t *testing.T) {
	cases := map[string]struct {
		change    func(f *fixture)
		wantReady string
		want      string // the condition that says why
		reason    string
	}{
		"while a refresh fails": {
			change:    func(f *fixture) { f.sts.err = answers("Throttling"); f.clock.SetTime(start.Add(50 * time.Minute)) },
			wantReady: "True Issued", want: "Issued", reason: "False Throttled",
		},
		"when the rule is taken away": {
			change: func(f *fixture) {
				f.update(changed(f.identity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.Allow = &[]v1alpha1.AllowRule{} }))
			},
			wantReady: "True Issued", want: "Authorized", reason: "False NotAllowed",
		},
		"when the identity is deleted": {
			change:    func(f *fixture) { f.Expect(f.client.Delete(f.t.Context(), defaultIdentity())).To(Succeed()) },
			wantReady: "True Issued", want: "Authorized", reason: "False IdentityNotFound",
		},
		"while the new spec is refused": {
			change: func(f *fixture) {
				f.sts.err = answers("AccessDenied")
				f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN += "2" }))
			},
			wantReady: "False Outdated", want: "Issued", reason: "False AccessDenied",
		},
		"while it is suspended": {
			change: func(f *fixture) {
				f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true }))
			},
			wantReady: "True Suspended", want: "Issued", reason: "True Issued",
		},
		"while a refreshed Secret cannot be written": {
			change: func(f *fixture) {
				f.clock.SetTime(start.Add(50 * time.Minute))
				f.requests.fail = func(verb string, _ client.Object) error {
					if verb == "update" {
						return apierrors.NewInternalError(errors.New("etcd is away"))
					}
					return nil
				}
			},
			wantReady: "True Issued", want: "Issued", reason: "False SecretNotWritten",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, world()...)
			f.reconcile()
			before := f.secret()
			tc.change(f)
			got, result := f.reconcile()
			f.Expect(states(got.Status.Conditions)).To(And(HaveKeyWithValue("Ready", tc.wantReady), HaveKeyWithValue(tc.want, tc.reason)))
			f.Expect(f.secret()).To(Equal(before))
			f.Expect(got.Status.Expiration.Time).To(BeTemporally("==", start.Add(time.Hour)))

			// It is looked at again at its expiry at the latest, and then is not Ready.
			f.Expect(result.RequeueAfter).To(And(BeNumerically(">", 0), BeNumerically("<=", start.Add(time.Hour).Sub(f.clock.Now()))))
			f.clock.SetTime(start.Add(time.Hour))
			f.sts.err = answers("Throttling")
			got, _ = f.reconcile()
			f.Expect(states(got.Status.Conditions)["Ready"]).To(BeElementOf("False Expired", "False Suspended"))
		})
	}
}

func TestACredentialThatHasExpiredIsNotReadyWhileSTSIsAsked(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	f.requests.writes = nil
	f.clock.SetTime(start.Add(time.Hour))
	f.sts.before = func() {
		f.Expect(states(f.credential().Status.Conditions)).To(Equal(map[string]string{"Authorized": "True Allowed", "Issued": "True Issued", "Ready": "False Expired"}))
	}
	got, _ := f.reconcile()
	f.Expect(f.sts.issued).To(HaveLen(2))
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.requests.writes).To(Equal([]string{"update status RoleCredential", "update Secret", "update status RoleCredential"}))
}

func TestReadyIsFalseBeforeACallIfTheSecretHoldsNothingValid(t *testing.T) {
	for want, happens := range map[string]func(*fixture){
		"True Issued":     func(f *fixture) { f.later(40 * time.Minute) },
		"False Expired":   func(f *fixture) { f.later(time.Hour) },
		"False NotIssued": func(f *fixture) { f.Expect(f.client.Delete(f.t.Context(), f.secret())).To(Succeed()) },
		"False NotIssued after an edit": func(f *fixture) {
			f.update(changed(f.secret(), func(s *corev1.Secret) { s.Data["AWS_SECRET_ACCESS_KEY"] = []byte("of something else") }))
		},
	} {
		t.Run(want, func(t *testing.T) {
			f := newFixture(t, world()...)
			f.reconcile()
			happens(f)
			called := false
			f.sts.before = func() {
				called = true
				f.Expect(want).To(HavePrefix(states(f.credential().Status.Conditions)["Ready"]))
			}
			f.reconcile()
			f.Expect(called).To(BeTrue())
		})
	}
}

func TestReadyIsFalseWhileACredentialWithNothingValidWaits(t *testing.T) {
	for want, happens := range map[string]func(*fixture){
		"False Expired":   func(f *fixture) { f.clock.SetTime(start.Add(time.Hour)) },
		"False NotIssued": func(f *fixture) { f.Expect(f.client.Delete(t.Context(), f.secret())).To(Succeed()) },
	} {
		f := newFixture(t, world()...)
		f.reconcile()
		happens(f)
		f.spend(2)
		got, _ := f.reconcile()
		f.Expect(f.sts.issued).To(HaveLen(1))
		f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal(want))
	}
}

func TestASecretThatIsNotOursIsLeftByteForByteAlone(t *testing.T) {
	f := newFixture(t, world(strangers())...)
	before := f.secret()
	got, result := f.reconcile()
	f.Expect(f.secret()).To(Equal(before))
	f.Expect(f.sts.issued).To(BeEmpty())
	f.Expect(message(got.Status.Conditions, "Ready")).To(ContainSubstring(v1alpha1.AdoptAnnotation + ": RoleCredential/s3-reader"))
	f.Expect(result.RequeueAfter).To(BeNumerically("<=", conflictRecheck))

	f.Expect(f.client.Delete(t.Context(), before)).To(Succeed())
	got, _ = f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
}

func TestASecretThatAStrangerTakesDuringTheCallIsLeftAlone(t *testing.T) {
	f := newFixture(t, world()...)
	f.sts.before = func() { f.Expect(f.client.Create(t.Context(), strangers())).To(Succeed()) }
	got, _ := f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("False SecretConflict"))
	f.Expect(f.secret().Data).To(Equal(strangers().Data))
}

func TestASecretHandedOverIsTakenOver(t *testing.T) {
	f := newFixture(t, world(changed(strangers(), func(s *corev1.Secret) {
		s.Annotations = map[string]string{v1alpha1.AdoptAnnotation: "RoleCredential/s3-reader"}
	}))...)
	got, _ := f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	taken := f.secret()
	f.Expect(taken.Data).To(HaveLen(3))
	f.Expect(taken.Labels).To(HaveKeyWithValue("of", "another"))
	f.Expect(taken.Annotations).NotTo(HaveKey(v1alpha1.AdoptAnnotation))
}

func TestASecretThatIsUndoneAgainAndAgainIsMendedMoreSlowly(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	undo := func() (map[string]string, time.Duration) {
		f.update(changed(f.secret(), func(s *corev1.Secret) { s.Data["AWS_ACCESS_KEY_ID"] = []byte("edited") }))
		got, result := f.reconcile()
		return states(got.Status.Conditions), result.RequeueAfter
	}
	got, _ := undo()
	f.Expect(got["Ready"]).To(Equal("True Issued"))
	f.Expect(f.sts.issued).To(HaveLen(2))
	got, wait := undo()
	f.Expect(got["Ready"]).To(Equal("False SecretConflict"))
	f.Expect(f.sts.issued).To(HaveLen(2))
	f.clock.SetTime(f.clock.Now().Add(wait))
	ready, _ := f.reconcile()
	f.Expect(states(ready.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.sts.issued).To(HaveLen(3))
}

func TestRecordBeyondTheBoundsOfSTSIsReissued(t *testing.T) {
	for name, edit := range map[string]map[string]string{
		"an ARN of 3,000 characters":             {"principal-arn": strings.Repeat("a", 3000)},
		"an access key id of 3,000 characters":   {"access-key-id": strings.Repeat("A", 3000)},
		"a refresh request of 3,000 characters":  {"refresh-request": strings.Repeat("x", 3000)},
		"an expiration in the year 2999":         {"expiration": "2999-01-01T00:00:00Z"},
		"a time of issue in the year 2":          {"issued-at": "0002-01-01T00:00:00Z"},
		"a whole life in the year 2999":          {"issued-at": "2999-01-01T00:00:00Z", "expiration": "2999-01-01T01:00:00Z"},
		"a previous expiration in the year 2999": {"previous-issued-at": "2026-11-23T11:00:00Z", "previous-expiration": "2999-01-01T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, world()...)
			f.reconcile()
			f.forge(edit)
			got, _ := f.reconcile()
			f.Expect(f.sts.issued).To(HaveLen(2))
			f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
			f.Expect(got.Status.Expiration.Time).To(BeTemporally("==", start.Add(time.Hour)))
			f.Expect(len(f.secret().Annotations["sts.rolecredential.dev/principal-arn"])).To(BeNumerically("<", 100))
			f.Expect(f.secret().Annotations).NotTo(HaveKey("sts.rolecredential.dev/previous-expiration"))
		})
	}
}

func TestAnotherSecretNameRemovesTheOldSecretOnceTheNewOneStands(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	f.sts.err = answers("Throttling")
	f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Name = "elsewhere"; c.Generation = 2 }))
	f.reconcile()
	f.Expect(f.secret()).NotTo(BeNil())

	f.sts.err = nil
	f.clock.SetTime(start.Add(10 * time.Minute))
	got, _ := f.reconcile()
	f.Expect(got.Status.SecretName).To(Equal("elsewhere"))
	f.Expect(f.secret()).To(BeNil())
}

func TestWhatIsOnItsWayOutGetsNothing(t *testing.T) {
	now := metav1.NewTime(start)
	for name, objects := range map[string][]client.Object{
		"a credential being deleted": world(changed(reader(), func(c *v1alpha1.RoleCredential) {
			c.DeletionTimestamp, c.Finalizers = &now, []string{"foregroundDeletion"}
		})),
		"a namespace being deleted": world(changed(namespaceShop(), func(n *corev1.Namespace) { n.DeletionTimestamp, n.Finalizers = &now, []string{"kubernetes"} })),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, objects...)
			_, result := f.reconcile()
			f.Expect(result.RequeueAfter).To(BeZero())
			f.Expect(f.sts.issued).To(BeEmpty())
			f.Expect(f.requests.writes).To(BeEmpty())
		})
	}
}

// A reason that no test here expects is one that nobody has seen.
func TestEveryReasonOfTheAPIIsExpectedByATest(t *testing.T) {
	g := NewWithT(t)
	var tests strings.Builder
	for _, file := range []string{"reconciler_test.go", "identity_test.go", "kinds_test.go", "mfa_test.go", "partition_test.go", "rollout_test.go", "serviceaccount_test.go"} {
		text, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		tests.Write(text)
	}
	api, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "api", "v1alpha1", "conditions.go"), nil, 0)
	g.Expect(err).NotTo(HaveOccurred())
	reasons := 0
	for name, object := range api.Scope.Objects {
		if strings.HasPrefix(name, "Reason") {
			reasons++
			value := object.Decl.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value
			g.Expect(tests.String()).To(MatchRegexp(`"[^"\n]*(True|False|Unknown) `+strings.Trim(value, `"`)+`"|: "`+strings.Trim(value, `"`)+`"`), name)
		}
	}
	g.Expect(reasons).To(BeNumerically(">", 25))
}

func TestAWarningIsGivenOnceWhenPoliciesAndTagsFillWhatSTSPacks(t *testing.T) {
	f := newFixture(t, world()...)
	f.sts.packed = 80
	f.reconcile()
	f.Expect(f.told()).To(Equal([]string{"Normal Issued", "Warning PackedPolicySize"}))
	f.clock.SetTime(start.Add(50 * time.Minute))
	f.reconcile()
	f.Expect(f.sts.issued).To(HaveLen(2))
	f.Expect(f.told()).To(BeEmpty())
}

func TestAFormerSecretThatStaysHoldsNothingBack(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	f.requests.fail = refuseDeletes
	f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Name = "elsewhere" }))
	got, result := f.reconcile()
	f.Expect(got.Status.SecretName).To(Equal("elsewhere"))
	f.Expect(result.RequeueAfter).To(Equal(pruneRetry))
	f.requests.fail = nil
	_, result = f.reconcile()
	f.Expect(f.secret()).To(BeNil())
	f.Expect(result.RequeueAfter).To(BeNumerically(">", 30*time.Minute))
}

func TestUndeletableFormerSecretNeitherDelaysNorHastensTheRetryOfARefresh(t *testing.T) {
	for name, undeletable := range map[string]bool{"the former Secret is deleted": false, "the API server refuses to delete the former Secret": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, world()...)
			f.reconcile()
			if undeletable {
				f.requests.fail = refuseDeletes
			}
			f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Name, c.Generation = "elsewhere", 2 }))
			f.reconcile()
			f.sts.err = answers("AccessDenied") // a failure of the credential's own
			f.clock.SetTime(start.Add(50 * time.Minute))
			expiry := start.Add(time.Hour)
			calls := len(f.sts.issued)
			var retries []time.Duration // since the first failure
			for f.clock.Now().Before(expiry) {
				_, result := f.reconcile()
				if len(f.sts.issued) > calls {
					calls = len(f.sts.issued)
					retries = append(retries, f.clock.Now().Sub(start.Add(50*time.Minute)))
				}
				f.Expect(result.RequeueAfter).To(And(BeNumerically(">", 0), BeNumerically("<=", expiry.Sub(f.clock.Now()))), "no retry after the expiry")
				f.clock.SetTime(f.clock.Now().Add(result.RequeueAfter))
			}
			want, at := []time.Duration{0}, time.Duration(0)
			for n := 1; ; n++ {
				if at += failure.Wait(n, 10*time.Minute-at, credential.Spread("shop/s3-reader")); at >= 10*time.Minute {
					break
				}
				want = append(want, at)
			}
			f.Expect(retries).To(Equal(want))
		})
	}
}

func TestUndeletableFormerSecretShowsInReady(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	f.requests.fail = refuseDeletes
	f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Name, c.Generation = "elsewhere", 2 }))
	got, _ := f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(message(got.Status.Conditions, "Ready")).To(HaveSuffix("The operator cannot delete a Secret of an earlier spec.secret.name (Forbidden). Check admission policies and the operator's RBAC in this namespace; the manager's log holds the error."))
	f.requests.writes = nil
	f.clock.SetTime(f.clock.Now().Add(pruneRetry))
	f.reconcile()
	f.Expect(f.requests.writes).To(Equal([]string{"delete Secret"}), "the status stays as it is")
	f.requests.fail = nil
	f.clock.SetTime(f.clock.Now().Add(pruneRetry))
	got, _ = f.reconcile()
	f.Expect(message(got.Status.Conditions, "Ready")).To(Equal("Secret elsewhere holds valid credentials of this spec."))
}

func refuseDeletes(verb string, _ client.Object) error {
	if verb == "delete" {
		return apierrors.NewForbidden(corev1.Resource("secrets"), "s3-reader", errors.New("an admission webhook"))
	}
	return nil
}

func TestAnImmutableSecretCostsNoCall(t *testing.T) {
	f := newFixture(t, world()...)
	f.reconcile()
	f.update(changed(f.secret(), func(s *corev1.Secret) { s.Immutable = new(true) }))
	f.clock.SetTime(start.Add(50 * time.Minute))
	got, _ := f.reconcile()
	f.Expect(firstBad(got.Status.Conditions)).To(And(HavePrefix("Ready=False SecretConflict"), ContainSubstring("is immutable")))
	f.Expect(f.sts.issued).To(HaveLen(1))
}

// Two identities may have one caller. A policy that rests on the tags which one of them stamps cannot tell that the other does
// not.
func TestWhoAskedCannotBeForgedWithAnIdentityThatStampsNothing(t *testing.T) {
	for _, key := range []string{"kubernetes-namespace", "Kubernetes-Namespace", "kubernetes-cluster", "kubernetes-name", "kubernetes-uid", "KUBERNETES-KIND", "\u212aubernetes-namespace"} {
		t.Run(key, func(t *testing.T) {
			f := newFixture(t, world(ownIdentity(), ownKey())...)
			forged := []v1alpha1.Tag{{Key: key, Value: new("bank")}}
			for _, object := range []Object{
				reconcileKind(f, roleCredential, changed(reader(), func(c *v1alpha1.RoleCredential) { c.Name, c.Spec.Tags = "forged", forged })),
				reconcileKind(f, roleCredential, changed(ofOwn(), func(c *v1alpha1.RoleCredential) { c.Name, c.Spec.Tags = "own", forged })),
				reconcileKind(f, federatedCredential, changed(federated(), func(c *v1alpha1.FederatedCredential) {
					c.Spec.IdentityRef, c.Spec.Tags = ofOwn().Spec.IdentityRef, forged
				})),
			} {
				f.Expect(firstBad(object.Report().Conditions)).To(And(HavePrefix("Issued=False InvalidTags"), ContainSubstring("says who asked, and is the identity's to stamp")))
			}
			f.Expect(f.sts.issued).To(BeEmpty())
		})
	}
}
