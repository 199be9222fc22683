package credential

import (
	"encoding/json"
	"errors"
	"fmt"
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
	"rolecredential.dev/operator/controllers/backoff"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
)

// Each case reconciles a credential without a Secret once.
func TestFirstReconcileReportsConditions(t *testing.T) {
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
		"a valid credential": {
			objects: testkit.World(), want: [3]string{allowed, "True Issued", "True Issued"}, wantCalls: 1, wantEvents: []string{"Normal Issued"},
		},
		"an identity that does not exist": {
			objects: testkit.Without(testkit.DefaultIdentity(), testkit.World()), want: [3]string{"False IdentityNotFound", notAttempted, notIssued},
			wantEvents: []string{"Warning IdentityNotFound"}, wantSaying: "There is no ClusterIdentity default.",
		},
		"an identity whose Secret does not exist": {
			objects: testkit.Without(testkit.Bootstrap(), testkit.World()), want: [3]string{"False IdentityNotReady", notAttempted, notIssued},
			wantEvents: []string{"Warning IdentityNotReady"}, wantSaying: "There is no Secret rolecredential-system/bootstrap.",
		},
		"a namespace without a rule": {
			objects: testkit.World(testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) { (*i.Spec.Allow)[0].Namespaces = []string{"other"} })),
			want:    [3]string{"False NotAllowed", notAttempted, notIssued}, wantEvents: []string{"Warning NotAllowed"}, wantSaying: `namespace "shop"`,
		},
		"a duration over the rule's maximum": {
			objects: testkit.World(testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Duration = &metav1.Duration{Duration: 3 * time.Hour} })),
			want:    [3]string{"False DurationNotAllowed", notAttempted, notIssued}, wantEvents: []string{"Warning DurationNotAllowed"}, wantSaying: "at most 2h0m0s",
		},
		"a foreign Secret of that name": {
			objects: testkit.World(testkit.ForeignSecret()), want: [3]string{allowed, notAttempted, "False SecretConflict"},
			wantEvents: []string{"Warning SecretConflict"}, wantSaying: "",
		},
		"a policy that is not JSON": {
			objects: testkit.World(testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Policy = `{"Version": }` })),
			want:    [3]string{allowed, "False MalformedPolicy", notIssued}, wantEvents: []string{"Warning MalformedPolicy"}, wantSaying: "is not JSON",
		},
		"an invalid label for the Secret": {
			objects: testkit.World(testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Labels = map[string]string{"not a key": "x"} })),
			want:    [3]string{allowed, notAttempted, "False InvalidTemplate"}, wantEvents: []string{"Warning InvalidTemplate"},
		},
		"an invalid template in a namespace that no rule names": {
			objects: testkit.World(
				testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) { (*i.Spec.Allow)[0].Namespaces = []string{"other"} }),
				testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) {
					c.Spec.Secret.Data = map[string]v1alpha1.DataTemplate{"key": "{{.Nowhere}}"}
				})),
			want: [3]string{"False NotAllowed", notAttempted, notIssued}, wantEvents: []string{"Warning NotAllowed"},
		},
		"a suspended credential": {
			objects: testkit.World(testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true })),
			want:    [3]string{allowed, notAttempted, "False Suspended"}, wantEvents: []string{"Warning Suspended"},
		},
		"a Secret that the API server rejects": {
			objects: testkit.World(), fail: func(verb string, object client.Object) error {
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
		c := cases["a Secret that the API server rejects"]
		c.fail, c.stsErr, c.wantSaying = nil, testkit.STSError(code), ""
		c.want, c.wantEvents = [3]string{allowed, "False " + reason, notIssued}, []string{"Warning " + reason}
		cases["an STS error "+code] = c
	}
	unreachable := cases["an STS error AccessDenied"]
	unreachable.stsErr, unreachable.want[1], unreachable.wantEvents = errors.New("dial tcp: connection refused"), "False STSUnreachable", []string{"Warning STSUnreachable"}
	cases["an unreachable STS"] = unreachable

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tc.objects...)
			f.STS.Err, f.Requests.Fail = tc.stsErr, tc.fail
			got, _ := f.reconcile()
			want := map[string]string{"Authorized": tc.want[0], "Issued": tc.want[1], "Ready": tc.want[2]}
			if diff := cmp.Diff(want, testkit.States(got.Status.Conditions)); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			f.Expect(f.STS.Issued).To(HaveLen(tc.wantCalls))
			f.Expect(f.Events()).To(Equal(tc.wantEvents))
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
		"the role":                 {testkit.STSError("AccessDenied"), &v1alpha1.FailedCall{Call: "AssumeRole", RoleARN: "arn:aws:iam::123456789012:role/S3Reader"}},
		"a hop":                    {&reason.HopError{RoleARN: hub, Err: testkit.STSError("AccessDenied")}, &v1alpha1.FailedCall{Call: "AssumeRole", RoleARN: hub}},
		"a hop with a token":       {&reason.HopError{RoleARN: hub, Call: v1alpha1.CallAssumeRoleWithWebIdentity, Err: testkit.STSError("AccessDenied")}, &v1alpha1.FailedCall{Call: "AssumeRoleWithWebIdentity", RoleARN: hub}},
		"no source credentials":    {&reason.SourceError{Err: errors.New("none")}, nil},
		"no service account token": {&reason.TokenError{Reason: v1alpha1.ReasonTokenNotIssued, Message: "None.", Err: errors.New("none")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			f.STS.Err = tc.err
			first, _ := f.reconcile()
			f.Expect(first.Status.FailedCall).To(Equal(tc.want))
			f.Advance(time.Minute)
			second, _ := f.reconcile()
			f.Expect(f.STS.Issued).To(HaveLen(2))
			f.Expect(second.ResourceVersion).To(Equal(first.ResourceVersion), "the same failure is the same status")
			f.STS.Err = nil
			f.Advance(time.Minute)
			issued, _ := f.reconcile()
			f.Expect(issued.Status.FailedCall).To(BeNil())
		})
	}
}

func TestIssueWritesSecretAndStatus(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	got, result := f.reconcile()

	written := f.Secret()
	f.Expect(written.Data).To(Equal(map[string][]byte{
		"AWS_ACCESS_KEY_ID": []byte("ASIAA"), "AWS_SECRET_ACCESS_KEY": []byte("secret-A"), "AWS_SESSION_TOKEN": []byte("token-A"),
	}))
	f.Expect(metav1.IsControlledBy(written, got)).To(BeTrue())
	f.Expect(written.OwnerReferences[0].BlockOwnerDeletion).To(BeNil())

	next := testkit.Start.Add(time.Hour).Add(-20 * time.Minute)
	f.Expect(got.Status.NextRefreshTime.Time).To(BeTemporally("~", next, 4*time.Minute))
	f.Expect(got.Status.NextRefreshTime.Time).To(BeTemporally("<=", next))
	f.Expect(result.RequeueAfter).To(Equal(got.Status.NextRefreshTime.Sub(testkit.Start)))
	got.Status.Conditions, got.Status.NextRefreshTime = nil, nil
	size := int32(7)
	want := v1alpha1.RoleCredentialStatus{CredentialStatus: v1alpha1.CredentialStatus{
		ObservedGeneration: 1, SecretName: "s3-reader", AccessKeyID: "ASIAA", PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader",
		PackedPolicySize: &size, Expiration: at(testkit.Start.Add(time.Hour)), LastRefreshTime: at(testkit.Start),
	}}
	if diff := cmp.Diff(want, got.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	f.Expect(f.Requests.Writes).To(Equal([]string{"create Secret", "update status RoleCredential"}))
}

func TestIdleReconcileCausesNoCallsAndWrites(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.Requests.Writes, f.STS.Issued = nil, nil
	f.Events()
	f.credentials.backoff = backoff.Calls{} // as after a restart
	f.Clock.SetTime(testkit.Start.Add(10 * time.Minute))
	got, result := f.reconcile()
	f.Expect(f.Requests.Writes).To(BeEmpty())
	f.Expect(f.STS.Issued).To(BeEmpty())
	f.Expect(f.Events()).To(BeEmpty())
	f.Expect(result.RequeueAfter).To(Equal(got.Status.NextRefreshTime.Sub(testkit.Start.Add(10 * time.Minute))))
}

func TestIdleCredentialIsRequeuedEachHour(t *testing.T) {
	f := newFixture(t, testkit.World(testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) { (*i.Spec.Allow)[0].MaxDuration = nil }),
		testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Duration = &metav1.Duration{Duration: 12 * time.Hour} }))...)
	_, result := f.reconcile()
	f.Expect(result.RequeueAfter).To(Equal(time.Hour))
	f.Requests.Writes = nil
	f.Clock.SetTime(testkit.Start.Add(time.Hour))
	_, result = f.reconcile()
	f.Expect(result.RequeueAfter).To(Equal(time.Hour))
	f.Expect(f.Requests.Writes).To(BeEmpty())
	f.Expect(f.STS.Issued).To(HaveLen(1))
}

// An earlier version of the operator recorded the issue time from a Date header that was 5 hours behind.
func TestRecordWithWrongDateIsRefreshedAndNotReadyAfterExpiry(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.Update(testkit.Changed(f.Secret(), func(s *corev1.Secret) {
		record, ok := reissue.ParseRecord(s.Annotations)
		f.Expect(ok).To(BeTrue())
		record.IssuedAt = record.IssuedAt.Add(-5 * time.Hour)
		maps.Copy(s.Annotations, record.WithChecksum(s.Data).Annotations())
	}))
	f.STS.Err = testkit.STSError("InternalFailure")
	got, _ := f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(2), "it is due at once")
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Clock.SetTime(testkit.Start.Add(time.Hour))
	got, _ = f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("False Expired"))
}

func TestRefreshCostsOneCallTwoWritesAndNoEvent(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	_, result := f.reconcile()
	f.Requests.Writes = nil
	f.Events()
	f.Clock.SetTime(testkit.Start.Add(result.RequeueAfter))
	got, _ := f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(2))
	f.Expect(f.Requests.Writes).To(Equal([]string{"update Secret", "update status RoleCredential"}))
	f.Expect(f.Events()).To(BeEmpty())
	f.Expect(got.Status.AccessKeyID).To(Equal("ASIAB"))
	f.Expect(f.Secret().Data["AWS_SESSION_TOKEN"]).To(BeEquivalentTo("token-B"))
}

func TestSpecChangesAndRequestsCauseReissue(t *testing.T) {
	f := newFixture(t, testkit.World()...)
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
		{"the refresh request removed", func(c *v1alpha1.RoleCredential) { delete(c.Annotations, v1alpha1.RefreshAnnotation) }, 0},
		{"another role", func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN += "2" }, 1},
		{"a label on the Secret", func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Labels = map[string]string{"a": "b"} }, 1},
		{"another refreshBefore", func(c *v1alpha1.RoleCredential) { c.Spec.RefreshBefore = &metav1.Duration{Duration: 5 * time.Minute} }, 0},
		{"a suspension", func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true }, 0},
		{"another role while suspended", func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN += "3" }, 0},
		{"the end of the suspension", func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = false }, 1},
	} {
		before := len(f.STS.Issued)
		c := f.Credential()
		step.change(c)
		f.Update(c)
		f.reconcile()
		f.Expect(len(f.STS.Issued)-before).To(Equal(step.want), step.name)
	}
	f.Expect(f.Credential().Status.LastHandledRefreshRequest).To(BeEmpty())
}

func TestRepeatedFailuresBackOffAndKeepStatusUnchanged(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	var first []byte
	var delays []time.Duration
	for i := range 5 {
		f.STS.Err = &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRole", Err: fmt.Errorf("https response error StatusCode: 403, RequestID: %d-%d, %w",
			i, i*i, &smithy.GenericAPIError{Code: "AccessDenied", Message: fmt.Sprintf("User: arn:aws:sts::210987654321:assumed-role/x/%d is not authorized", i)})}
		got, result := f.reconcile()
		f.Expect(f.STS.Issued).To(HaveLen(i + 1))
		status, err := json.Marshal(got.Status)
		f.Expect(err).NotTo(HaveOccurred())
		if i == 0 {
			first = status
			f.Requests.Writes = nil
			f.Expect(f.Events()).To(Equal([]string{"Warning AccessDenied"}))
		}
		f.Expect(status).To(Equal(first))

		// A reconcile before the retry causes no call and no write.
		f.Clock.SetTime(f.Clock.Now().Add(result.RequeueAfter - time.Second))
		_, second := f.reconcile()
		f.Expect(second.RequeueAfter).To(Equal(time.Second))
		f.Expect(f.STS.Issued).To(HaveLen(i + 1))
		f.Clock.SetTime(f.Clock.Now().Add(time.Second))
		delays = append(delays, result.RequeueAfter)
	}
	f.Expect(f.Requests.Writes).To(BeEmpty())
	f.Expect(f.Events()).To(BeEmpty())
	for i := 1; i < len(delays); i++ {
		f.Expect(delays[i]).To(BeNumerically("~", 2*delays[i-1], time.Second))
	}
	f.STS.Err = nil
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.Events()).To(Equal([]string{"Normal Issued"}))
}

func TestChangedInputIsRetriedAtOnce(t *testing.T) {
	for name, change := range map[string]func(f *fixture){
		"the credential's spec": func(f *fixture) {
			f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.ExternalID = "k8s" }))
		},
		"the Secret template": func(f *fixture) {
			f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Labels = map[string]string{"app": "shop"} }))
		},
		"a refresh request": func(f *fixture) {
			f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) {
				metav1.SetMetaDataAnnotation(&c.ObjectMeta, v1alpha1.RefreshAnnotation, "now")
			}))
		},
		"the identity's spec": func(f *fixture) {
			f.Update(testkit.Changed(f.Identity(), func(i *v1alpha1.ClusterIdentity) { i.Generation = 2 }))
		},
		"the source's Secret": func(f *fixture) {
			f.Update(testkit.Changed(f.Source(), func(s *corev1.Secret) { s.Data["AWS_ACCESS_KEY_ID"] = []byte("AKIANEW") }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			f.STS.Err = testkit.STSError("AccessDenied")
			f.reconcile()
			f.STS.Err = nil
			change(f)
			got, _ := f.reconcile()
			f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
		})
	}
}

func TestFirstFailureOfANewSpecIsRetriedAfterTheFirstBackoffStep(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.STS.Err = testkit.STSError("AccessDenied")
	_, first := f.reconcile()
	wait := first.RequeueAfter
	for range 8 {
		f.Clock.SetTime(f.Clock.Now().Add(wait))
		_, result := f.reconcile()
		wait = result.RequeueAfter
	}
	f.Expect(wait).To(BeNumerically(">=", reason.MaxWait))
	f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.ExternalID, c.Generation = "k8s", 2 }))
	_, result := f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(10))
	f.Expect(result.RequeueAfter).To(Equal(first.RequeueAfter))
}

func TestValidSecretIsKeptOnFailure(t *testing.T) {
	cases := map[string]struct {
		change    func(f *fixture)
		wantReady string
		want      string // the condition with the cause
		reason    string
	}{
		"while a refresh fails": {
			change: func(f *fixture) {
				f.STS.Err = testkit.STSError("Throttling")
				f.Clock.SetTime(testkit.Start.Add(50 * time.Minute))
			},
			wantReady: "True Issued", want: "Issued", reason: "False Throttled",
		},
		"when the rule is removed": {
			change: func(f *fixture) {
				f.Update(testkit.Changed(f.Identity(), func(i *v1alpha1.ClusterIdentity) { i.Spec.Allow = &[]v1alpha1.AllowRule{} }))
			},
			wantReady: "True Issued", want: "Authorized", reason: "False NotAllowed",
		},
		"when the identity is deleted": {
			change:    func(f *fixture) { f.Expect(f.Client.Delete(f.T.Context(), testkit.DefaultIdentity())).To(Succeed()) },
			wantReady: "True Issued", want: "Authorized", reason: "False IdentityNotFound",
		},
		"while STS denies the new spec": {
			change: func(f *fixture) {
				f.STS.Err = testkit.STSError("AccessDenied")
				f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN += "2" }))
			},
			wantReady: "False Outdated", want: "Issued", reason: "False AccessDenied",
		},
		"while it is suspended": {
			change: func(f *fixture) {
				f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true }))
			},
			wantReady: "True Suspended", want: "Issued", reason: "True Issued",
		},
		"while a refreshed Secret cannot be written": {
			change: func(f *fixture) {
				f.Clock.SetTime(testkit.Start.Add(50 * time.Minute))
				f.Requests.Fail = func(verb string, _ client.Object) error {
					if verb == "update" {
						return apierrors.NewInternalError(errors.New("etcd is unavailable"))
					}
					return nil
				}
			},
			wantReady: "True Issued", want: "Issued", reason: "False SecretNotWritten",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			f.reconcile()
			before := f.Secret()
			tc.change(f)
			got, result := f.reconcile()
			f.Expect(testkit.States(got.Status.Conditions)).To(And(HaveKeyWithValue("Ready", tc.wantReady), HaveKeyWithValue(tc.want, tc.reason)))
			f.Expect(f.Secret()).To(Equal(before))
			f.Expect(got.Status.Expiration.Time).To(BeTemporally("==", testkit.Start.Add(time.Hour)))

			// A requeue at the expiry at the latest sets Ready to False.
			f.Expect(result.RequeueAfter).To(And(BeNumerically(">", 0), BeNumerically("<=", testkit.Start.Add(time.Hour).Sub(f.Clock.Now()))))
			f.Clock.SetTime(testkit.Start.Add(time.Hour))
			f.STS.Err = testkit.STSError("Throttling")
			got, _ = f.reconcile()
			f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(BeElementOf("False Expired", "False Suspended"))
		})
	}
}

func TestExpiredCredentialIsNotReadyDuringCall(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.Requests.Writes = nil
	f.Clock.SetTime(testkit.Start.Add(time.Hour))
	f.STS.Before = func() {
		f.Expect(testkit.States(f.Credential().Status.Conditions)).To(Equal(map[string]string{"Authorized": "True Allowed", "Issued": "True Issued", "Ready": "False Expired"}))
	}
	got, _ := f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(2))
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.Requests.Writes).To(Equal([]string{"update status RoleCredential", "update Secret", "update status RoleCredential"}))
}

func TestReadyIsFalseDuringCallWithoutValidSecret(t *testing.T) {
	for want, change := range map[string]func(*fixture){
		"True Issued":     func(f *fixture) { f.Advance(40 * time.Minute) },
		"False Expired":   func(f *fixture) { f.Advance(time.Hour) },
		"False NotIssued": func(f *fixture) { f.Expect(f.Client.Delete(f.T.Context(), f.Secret())).To(Succeed()) },
		"False NotIssued after an edit": func(f *fixture) {
			f.Update(testkit.Changed(f.Secret(), func(s *corev1.Secret) { s.Data["AWS_SECRET_ACCESS_KEY"] = []byte("edited") }))
		},
	} {
		t.Run(want, func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			f.reconcile()
			change(f)
			called := false
			f.STS.Before = func() {
				called = true
				f.Expect(want).To(HavePrefix(testkit.States(f.Credential().Status.Conditions)["Ready"]))
			}
			f.reconcile()
			f.Expect(called).To(BeTrue())
		})
	}
}

func TestReadyIsFalseWhileWaitingWithoutValidSecret(t *testing.T) {
	for want, change := range map[string]func(*fixture){
		"False Expired":   func(f *fixture) { f.Clock.SetTime(testkit.Start.Add(time.Hour)) },
		"False NotIssued": func(f *fixture) { f.Expect(f.Client.Delete(t.Context(), f.Secret())).To(Succeed()) },
	} {
		f := newFixture(t, testkit.World()...)
		f.reconcile()
		change(f)
		f.spend(2)
		got, _ := f.reconcile()
		f.Expect(f.STS.Issued).To(HaveLen(1))
		f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal(want))
	}
}

func TestForeignSecretIsNotChanged(t *testing.T) {
	f := newFixture(t, testkit.World(testkit.ForeignSecret())...)
	before := f.Secret()
	got, result := f.reconcile()
	f.Expect(f.Secret()).To(Equal(before))
	f.Expect(f.STS.Issued).To(BeEmpty())
	f.Expect(testkit.Message(got.Status.Conditions, "Ready")).To(ContainSubstring(v1alpha1.AdoptAnnotation + ": RoleCredential/s3-reader"))
	f.Expect(result.RequeueAfter).To(BeNumerically("<=", secretRecheck))

	f.Expect(f.Client.Delete(t.Context(), before)).To(Succeed())
	got, _ = f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
}

func TestForeignSecretCreatedDuringCallIsNotChanged(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.STS.Before = func() { f.Expect(f.Client.Create(t.Context(), testkit.ForeignSecret())).To(Succeed()) }
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("False SecretConflict"))
	f.Expect(f.Secret().Data).To(Equal(testkit.ForeignSecret().Data))
}

func TestAnnotatedForeignSecretIsAdopted(t *testing.T) {
	f := newFixture(t, testkit.World(testkit.Changed(testkit.ForeignSecret(), func(s *corev1.Secret) {
		s.Annotations = map[string]string{v1alpha1.AdoptAnnotation: "RoleCredential/s3-reader"}
	}))...)
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	adopted := f.Secret()
	f.Expect(adopted.Data).To(HaveLen(3))
	f.Expect(adopted.Labels).To(HaveKeyWithValue("of", "another"))
	f.Expect(adopted.Annotations).NotTo(HaveKey(v1alpha1.AdoptAnnotation))
}

func TestRepeatedlyTamperedSecretIsRepairedWithBackoff(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	tamper := func() (map[string]string, time.Duration) {
		f.Update(testkit.Changed(f.Secret(), func(s *corev1.Secret) { s.Data["AWS_ACCESS_KEY_ID"] = []byte("edited") }))
		got, result := f.reconcile()
		return testkit.States(got.Status.Conditions), result.RequeueAfter
	}
	got, _ := tamper()
	f.Expect(got["Ready"]).To(Equal("True Issued"))
	f.Expect(f.STS.Issued).To(HaveLen(2))
	got, wait := tamper()
	f.Expect(got["Ready"]).To(Equal("False SecretConflict"))
	f.Expect(f.STS.Issued).To(HaveLen(2))
	f.Clock.SetTime(f.Clock.Now().Add(wait))
	ready, _ := f.reconcile()
	f.Expect(testkit.States(ready.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.STS.Issued).To(HaveLen(3))
}

func TestRenameDoesNotWaitForAnotherWriterOfTheOldSecret(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	for range 2 {
		f.Update(testkit.Changed(f.Secret(), func(s *corev1.Secret) { s.Data["AWS_ACCESS_KEY_ID"] = []byte("edited") }))
		f.reconcile()
	}
	f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Name = "elsewhere" }))
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.STS.Issued).To(HaveLen(3))
}

func TestRecordBeyondTheBoundsOfSTSIsReissued(t *testing.T) {
	for name, edit := range map[string]map[string]string{
		"an ARN of 3,000 characters":             {"principal-arn": strings.Repeat("a", 3000)},
		"an access key id of 3,000 characters":   {"access-key-id": strings.Repeat("A", 3000)},
		"a refresh request of 3,000 characters":  {"refresh-request": strings.Repeat("x", 3000)},
		"an expiration in the year 2999":         {"expiration": "2999-01-01T00:00:00Z"},
		"a time of issue in the year 2":          {"issued-at": "0002-01-01T00:00:00Z"},
		"both times in the year 2999":            {"issued-at": "2999-01-01T00:00:00Z", "expiration": "2999-01-01T01:00:00Z"},
		"a previous expiration in the year 2999": {"previous-issued-at": "2026-11-23T11:00:00Z", "previous-expiration": "2999-01-01T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			f.reconcile()
			f.Forge(edit)
			got, _ := f.reconcile()
			f.Expect(f.STS.Issued).To(HaveLen(2))
			f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
			f.Expect(got.Status.Expiration.Time).To(BeTemporally("==", testkit.Start.Add(time.Hour)))
			f.Expect(len(f.Secret().Annotations["sts.rolecredential.dev/principal-arn"])).To(BeNumerically("<", 100))
			f.Expect(f.Secret().Annotations).NotTo(HaveKey("sts.rolecredential.dev/previous-expiration"))
		})
	}
}

func TestFormerSecretIsDeletedAfterNewSecretIsWritten(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.STS.Err = testkit.STSError("Throttling")
	f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Name = "elsewhere"; c.Generation = 2 }))
	f.reconcile()
	f.Expect(f.Secret()).NotTo(BeNil())

	f.STS.Err = nil
	f.Clock.SetTime(testkit.Start.Add(10 * time.Minute))
	got, _ := f.reconcile()
	f.Expect(got.Status.SecretName).To(Equal("elsewhere"))
	f.Expect(f.Secret()).To(BeNil())
}

func TestTerminatingCredentialCausesNoCallsAndWrites(t *testing.T) {
	now := metav1.NewTime(testkit.Start)
	for name, objects := range map[string][]client.Object{
		"a credential being deleted": testkit.World(testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) {
			c.DeletionTimestamp, c.Finalizers = &now, []string{"foregroundDeletion"}
		})),
		"a namespace being deleted": testkit.World(testkit.Changed(testkit.NamespaceShop(), func(n *corev1.Namespace) { n.DeletionTimestamp, n.Finalizers = &now, []string{"kubernetes"} })),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, objects...)
			_, result := f.reconcile()
			f.Expect(result.RequeueAfter).To(BeZero())
			f.Expect(f.STS.Issued).To(BeEmpty())
			f.Expect(f.Requests.Writes).To(BeEmpty())
		})
	}
}

// Each reason of the API must occur in the expectation of a test.
func TestEachReasonIsExpectedByATest(t *testing.T) {
	g := NewWithT(t)
	var tests strings.Builder
	files, err := filepath.Glob("../*/*_test.go")
	g.Expect(err).NotTo(HaveOccurred())
	for _, file := range files {
		text, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		tests.Write(text)
	}
	for _, reason := range testkit.AllReasons(t, "../..") {
		g.Expect(tests.String()).To(MatchRegexp(`"[^"\n]*(True|False|Unknown) ` + reason + `"|: "` + reason + `"`))
	}
}

func TestPackedPolicySizeIsWarnedOfOnce(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.STS.PackedPolicySize = 80
	f.reconcile()
	f.Expect(f.Events()).To(Equal([]string{"Normal Issued", "Warning PackedPolicySize"}))
	f.Clock.SetTime(testkit.Start.Add(50 * time.Minute))
	f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(2))
	f.Expect(f.Events()).To(BeEmpty())
}

func TestUndeletableFormerSecretDoesNotBlockIssue(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.Requests.Fail = refuseDeletes
	f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Name = "elsewhere" }))
	got, result := f.reconcile()
	f.Expect(got.Status.SecretName).To(Equal("elsewhere"))
	f.Expect(result.RequeueAfter).To(Equal(pruneRetry))
	f.Requests.Fail = nil
	_, result = f.reconcile()
	f.Expect(f.Secret()).To(BeNil())
	f.Expect(result.RequeueAfter).To(BeNumerically(">", 30*time.Minute))
}

func TestUndeletableFormerSecretNeitherDelaysNorHastensTheRetryOfARefresh(t *testing.T) {
	for name, undeletable := range map[string]bool{"the former Secret is deleted": false, "the API server refuses to delete the former Secret": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testkit.World()...)
			f.reconcile()
			if undeletable {
				f.Requests.Fail = refuseDeletes
			}
			f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Name, c.Generation = "elsewhere", 2 }))
			f.reconcile()
			f.STS.Err = testkit.STSError("AccessDenied") // not a failure of the whole identity
			f.Clock.SetTime(testkit.Start.Add(50 * time.Minute))
			expiry := testkit.Start.Add(time.Hour)
			calls := len(f.STS.Issued)
			var retries []time.Duration // since the first failure
			for f.Clock.Now().Before(expiry) {
				_, result := f.reconcile()
				if len(f.STS.Issued) > calls {
					calls = len(f.STS.Issued)
					retries = append(retries, f.Clock.Now().Sub(testkit.Start.Add(50*time.Minute)))
				}
				f.Expect(result.RequeueAfter).To(And(BeNumerically(">", 0), BeNumerically("<=", expiry.Sub(f.Clock.Now()))), "no retry after the expiry")
				f.Clock.SetTime(f.Clock.Now().Add(result.RequeueAfter))
			}
			want, at := []time.Duration{0}, time.Duration(0)
			for n := 1; ; n++ {
				if at += reason.Wait(n, 10*time.Minute-at, reissue.Spread("shop/s3-reader")); at >= 10*time.Minute {
					break
				}
				want = append(want, at)
			}
			f.Expect(retries).To(Equal(want))
		})
	}
}

func TestUndeletableFormerSecretShowsInReady(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.Requests.Fail = refuseDeletes
	f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Name, c.Generation = "elsewhere", 2 }))
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(testkit.Message(got.Status.Conditions, "Ready")).To(HaveSuffix("The operator cannot delete a Secret of an earlier spec.secret.name (Forbidden). Check admission policies and the operator's RBAC in this namespace; the manager's log holds the error."))
	f.Requests.Writes = nil
	f.Clock.SetTime(f.Clock.Now().Add(pruneRetry))
	f.reconcile()
	f.Expect(f.Requests.Writes).To(Equal([]string{"delete Secret"}), "the status does not change")
	f.Requests.Fail = nil
	f.Clock.SetTime(f.Clock.Now().Add(pruneRetry))
	got, _ = f.reconcile()
	f.Expect(testkit.Message(got.Status.Conditions, "Ready")).To(Equal("Secret elsewhere holds valid credentials of this spec."))
}

func refuseDeletes(verb string, _ client.Object) error {
	if verb == "delete" {
		return apierrors.NewForbidden(corev1.Resource("secrets"), "s3-reader", errors.New("denied by an admission webhook"))
	}
	return nil
}

func TestAnImmutableSecretCostsNoCall(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.Update(testkit.Changed(f.Secret(), func(s *corev1.Secret) { s.Immutable = new(true) }))
	f.Clock.SetTime(testkit.Start.Add(50 * time.Minute))
	got, _ := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(And(HavePrefix("Ready=False SecretConflict"), ContainSubstring("is immutable")))
	f.Expect(f.STS.Issued).To(HaveLen(1))
}

// Two identities may have the same caller, one with and one without sessionTags. A policy that checks the tags cannot distinguish them.
func TestReservedTagsAreRejectedWithoutSessionTags(t *testing.T) {
	for _, key := range []string{"kubernetes-namespace", "Kubernetes-Namespace", "kubernetes-cluster", "kubernetes-name", "kubernetes-uid", "KUBERNETES-KIND", "\u212aubernetes-namespace"} {
		t.Run(key, func(t *testing.T) {
			f := newFixture(t, testkit.World(ownIdentity(), ownKey())...)
			forged := []v1alpha1.Tag{{Key: key, Value: new("bank")}}
			for _, object := range []request.Object{
				reconcileKind(f, request.RoleCredential, testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Name, c.Spec.Tags = "forged", forged })),
				reconcileKind(f, request.RoleCredential, testkit.Changed(ofOwn(), func(c *v1alpha1.RoleCredential) { c.Name, c.Spec.Tags = "own", forged })),
				reconcileKind(f, request.FederatedCredential, testkit.Changed(federated(), func(c *v1alpha1.FederatedCredential) {
					c.Spec.IdentityRef, c.Spec.Tags = ofOwn().Spec.IdentityRef, forged
				})),
			} {
				f.Expect(testkit.FirstProblem(object.Report().Conditions)).To(And(HavePrefix("Issued=False InvalidTags"), ContainSubstring("is reserved for the identity, which sets it")))
			}
			f.Expect(f.STS.Issued).To(BeEmpty())
		})
	}
}
