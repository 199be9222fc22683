package credential

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/testkit"
)

const (
	untilRefresh = 40 * time.Minute
	untilExpiry  = time.Hour
)

// held is what a Secret holds that was issued at the testkit.Start.
func held() *reissue.Record {
	return &reissue.Record{
		IssuedAt: testkit.Start, Expiration: testkit.Start.Add(untilExpiry), AccessKeyID: "ASIAEXAMPLE",
		PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader", PackedPolicySize: ptr.To[int32](7), RefreshRequest: "monday",
	}
}

// well is the outcome of a reconcile, a while after the issue, that found nothing to do.
func well(change ...func(*result)) result {
	o := result{
		now: testkit.Start.Add(time.Minute), identity: "ClusterIdentity default", secret: "s3-reader",
		record: held(), current: true, refreshAt: testkit.Start.Add(untilRefresh),
	}
	for _, c := range change {
		c(&o)
	}
	return o
}

func nothingHeld(o *result) { o.record, o.current, o.refreshAt = nil, false, time.Time{} }
func outdated(o *result)    { o.current = false }
func expired(o *result)     { o.now = testkit.Start.Add(untilExpiry) }
func late(o *result)        { o.refreshAt = testkit.Start.Add(untilExpiry + time.Second) }
func overdue(o *result)     { o.now = testkit.Start.Add(50 * time.Minute) }
func suspended(o *result)   { o.suspended = true }

func denied(o *result) {
	o.authorizationErr = &reason.Error{Condition: v1alpha1.ConditionAuthorized, Reason: v1alpha1.ReasonNotAllowed, Message: "No rule."}
}

func failed(o *result) {
	o.issueErr = &reason.Error{Condition: v1alpha1.ConditionIssued, Reason: v1alpha1.ReasonThrottled, Message: "Too often.", Retry: reason.Backoff}
	o.retryAt = o.now.Add(10 * time.Second)
}

func failedForGood(o *result) {
	o.issueErr = &reason.Error{Condition: v1alpha1.ConditionIssued, Reason: v1alpha1.ReasonMalformedPolicy, Message: "No JSON.", Retry: reason.Never}
}

func unwritable(o *result) { o.secretErr = foreign("s3-reader", "RoleCredential", "s3-reader", "") }

func invalidTemplate(o *result) {
	o.secretErr = &reason.Error{Condition: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonInvalidTemplate, Message: "No label."}
}

func TestResultDecidesConditionsAndNextReconcile(t *testing.T) {
	const never = time.Duration(0)
	for name, tc := range map[string]struct {
		outcome    result
		authorized string
		issued     string
		ready      string
		next       time.Duration // from the issue
		refreshes  bool          // whether a time of the next refresh is told
	}{
		"all is well": {
			well(), "True Allowed", "True Issued", "True Issued", untilRefresh, true,
		},
		"all is well, and a refresh fails": {
			well(overdue, failed), "True Allowed", "False Throttled", "True Issued", 50*time.Minute + 10*time.Second, true,
		},
		"a refresh fails, and the end comes before the next try": {
			well(func(o *result) { o.now = testkit.Start.Add(untilExpiry - 3*time.Second) }, failed), "True Allowed", "False Throttled", "True Issued", untilExpiry, true,
		},
		"it is due only after its end": {
			well(late), "True Allowed", "True Issued", "True Issued", untilExpiry, true,
		},
		"it expired, and is due after that": {
			well(late, expired), "True Allowed", "True Issued", "False Expired", untilExpiry + time.Second, true,
		},
		"a refresh on demand fails before its time": {
			well(failed), "True Allowed", "False Throttled", "True Issued", time.Minute + 10*time.Second, true,
		},
		"it expired, and a refresh fails": {
			well(expired, failed), "True Allowed", "False Throttled", "False Expired", untilExpiry + 10*time.Second, true,
		},
		"nothing was issued yet, and STS fails": {
			well(nothingHeld, failed), "True Allowed", "False Throttled", "False NotIssued", time.Minute + 10*time.Second, false,
		},
		"nothing was issued yet, and the spec can never be": {
			well(nothingHeld, failedForGood), "True Allowed", "False MalformedPolicy", "False NotIssued", never, false,
		},
		"the spec changed, and STS fails": {
			well(outdated, failed), "True Allowed", "False Throttled", "False Outdated", time.Minute + 10*time.Second, true,
		},

		"nothing was issued yet, and it is denied": {
			well(nothingHeld, denied), "False NotAllowed", "Unknown NotAttempted", "False NotIssued", never, false,
		},
		"it is denied from now on": {
			well(denied), "False NotAllowed", "True Issued", "True Issued", untilExpiry, false,
		},
		"it is denied, and due": {
			well(overdue, denied), "False NotAllowed", "True Issued", "True Issued", untilExpiry, false,
		},
		"it is denied, and expired": {
			well(expired, denied), "False NotAllowed", "True Issued", "False Expired", never, false,
		},
		"the spec changed to what is denied": {
			well(outdated, denied), "False NotAllowed", "Unknown NotAttempted", "False Outdated", untilExpiry, false,
		},
		"the spec changed to what is denied, and can never be": {
			well(outdated, denied, failedForGood), "False NotAllowed", "False MalformedPolicy", "False Outdated", untilExpiry, false,
		},

		"the Secret is a stranger's": {
			well(nothingHeld, unwritable), "True Allowed", "Unknown NotAttempted", "False SecretConflict", never, false,
		},
		"the Secret is a stranger's, and it is denied": {
			well(nothingHeld, unwritable, denied), "False NotAllowed", "Unknown NotAttempted", "False SecretConflict", never, false,
		},
		"the Secret became a stranger's during the call": {
			well(nothingHeld, unwritable, func(o *result) { o.retryAt = o.now.Add(reason.MinWait) }),
			"True Allowed", "Unknown NotAttempted", "False SecretConflict", time.Minute + reason.MinWait, false,
		},
		"the template became what cannot be": {
			well(outdated, invalidTemplate), "True Allowed", "Unknown NotAttempted", "False InvalidTemplate", untilExpiry, false,
		},

		"it is suspended": {
			well(suspended), "True Allowed", "True Issued", "True Suspended", untilExpiry, false,
		},
		"it is suspended, and due": {
			well(overdue, suspended), "True Allowed", "True Issued", "True Suspended", untilExpiry, false,
		},
		"it is suspended, and expired": {
			well(expired, suspended), "True Allowed", "True Issued", "False Suspended", never, false,
		},
		"it is suspended, and the spec changed": {
			well(outdated, suspended), "True Allowed", "Unknown NotAttempted", "False Suspended", untilExpiry, false,
		},
		"it is suspended before anything was issued": {
			well(nothingHeld, suspended), "True Allowed", "Unknown NotAttempted", "False Suspended", never, false,
		},
		"it is suspended, and denied": {
			well(suspended, denied), "False NotAllowed", "True Issued", "True Suspended", untilExpiry, false,
		},
		"it is suspended, and the Secret is a stranger's": {
			well(nothingHeld, suspended, unwritable), "True Allowed", "Unknown NotAttempted", "False SecretConflict", never, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := map[string]string{}
			for _, c := range tc.outcome.conditions() {
				got[c.Type] = string(c.Status) + " " + c.Reason
				g.Expect(c.Message).NotTo(BeEmpty())
			}
			g.Expect(got).To(Equal(map[string]string{"Authorized": tc.authorized, "Issued": tc.issued, "Ready": tc.ready}))
			next := tc.outcome.next()
			if tc.next == never {
				g.Expect(next).To(BeZero())
			} else {
				g.Expect(next.Sub(testkit.Start)).To(Equal(tc.next))
				g.Expect(next).To(BeTemporally(">", tc.outcome.now))
			}
			var status v1alpha1.CredentialStatus
			tc.outcome.report(&status, 1, testkit.Start)
			g.Expect(status.NextRefreshTime != nil).To(Equal(tc.refreshes))
		})
	}
}

func TestConditionMessagesOfResults(t *testing.T) {
	for name, tc := range map[string]struct {
		outcome                   result
		authorized, issued, ready string
	}{
		"all is well": {
			outcome:    well(),
			authorized: "ClusterIdentity default allows the request.",
			issued:     "STS issued credentials for this spec.",
			ready:      "Secret s3-reader holds valid credentials of this spec.",
		},
		"nothing was issued, for it is denied": {
			outcome:    well(nothingHeld, denied),
			authorized: "No rule.",
			issued:     "STS was not called for this spec: see the condition Authorized.",
			ready:      "Secret s3-reader holds no credential yet: see the condition Authorized.",
		},
		"it expired, for STS fails": {
			outcome:    well(expired, failed),
			authorized: "ClusterIdentity default allows the request.",
			issued:     "Too often.",
			ready:      "The credential in Secret s3-reader has expired: see the condition Issued.",
		},
		"it is of an earlier spec, for STS fails": {
			outcome:    well(outdated, failed),
			authorized: "ClusterIdentity default allows the request.",
			issued:     "Too often.",
			ready:      "Secret s3-reader holds valid credentials, but of an earlier spec: see the condition Issued.",
		},
		"nothing was issued, for the Secret is a stranger's": {
			outcome:    well(nothingHeld, unwritable),
			authorized: "ClusterIdentity default allows the request.",
			issued:     "STS was not called for this spec: see the condition Ready.",
			ready: "Secret s3-reader exists and does not belong to this RoleCredential. The operator does not change it. Delete it, choose another " +
				"spec.secret.name, or let the operator adopt it with the annotation sts.rolecredential.dev/adopt: RoleCredential/s3-reader.",
		},
		"it is suspended and still good": {
			outcome:    well(suspended),
			authorized: "ClusterIdentity default allows the request.",
			issued:     "STS issued credentials for this spec.",
			ready:      "Secret s3-reader holds valid credentials of this spec. They are not refreshed: spec.suspend is set.",
		},
		"it is suspended and expired": {
			outcome:    well(expired, suspended),
			authorized: "ClusterIdentity default allows the request.",
			issued:     "STS issued credentials for this spec.",
			ready:      "The credential in Secret s3-reader has expired: spec.suspend is set.",
		},
		"it is suspended before anything was issued": {
			outcome:    well(nothingHeld, suspended),
			authorized: "ClusterIdentity default allows the request.",
			issued:     "STS was not called for this spec: spec.suspend is set.",
			ready:      "Secret s3-reader holds no credential yet: spec.suspend is set.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			conditions := tc.outcome.conditions()
			g.Expect([]string{conditions[0].Message, conditions[1].Message, conditions[2].Message}).To(Equal([]string{tc.authorized, tc.issued, tc.ready}))
		})
	}
}

func TestStatusReportsRecordOfSecret(t *testing.T) {
	g := NewWithT(t)
	var status v1alpha1.CredentialStatus
	well().report(&status, 3, testkit.Start)
	g.Expect(status.Conditions).To(HaveLen(3))
	for _, c := range status.Conditions {
		g.Expect(c.ObservedGeneration).To(BeEquivalentTo(3))
		g.Expect(c.LastTransitionTime.Time).To(Equal(testkit.Start)) // by the operator's own clock
	}
	status.Conditions = nil
	g.Expect(status).To(Equal(v1alpha1.CredentialStatus{
		ObservedGeneration: 3,
		SecretName:         "s3-reader",
		AccessKeyID:        "ASIAEXAMPLE",
		PrincipalARN:       "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader",
		PackedPolicySize:   ptr.To[int32](7),
		Expiration:         &metav1.Time{Time: testkit.Start.Add(untilExpiry)},
		LastRefreshTime:    &metav1.Time{Time: testkit.Start},
		NextRefreshTime:    &metav1.Time{Time: testkit.Start.Add(untilRefresh)},

		LastHandledRefreshRequest: "monday",
	}))
}

func TestStatusDropsFieldsWithoutRecord(t *testing.T) {
	g := NewWithT(t)
	var status v1alpha1.CredentialStatus
	well().report(&status, 3, testkit.Start)
	well(nothingHeld, unwritable).report(&status, 4, testkit.Start.Add(time.Minute))
	status.Conditions = nil
	g.Expect(status).To(Equal(v1alpha1.CredentialStatus{ObservedGeneration: 4}))
}

func TestSameFailureKeepsStatusUnchanged(t *testing.T) {
	g := NewWithT(t)
	var status v1alpha1.CredentialStatus
	well(overdue, failed).report(&status, 3, testkit.Start)
	first := status.DeepCopy()
	for n := range 5 {
		well(overdue, failed, func(o *result) {
			o.now = o.now.Add(time.Duration(n) * time.Minute)
			o.retryAt = o.now.Add(time.Minute)
		}).report(&status, 3, testkit.Start.Add(time.Duration(n)*time.Minute))
		g.Expect(&status).To(Equal(first))
	}
}

func TestTransitionTimeChangesOnlyWithStatusOfCondition(t *testing.T) {
	g := NewWithT(t)
	var status v1alpha1.CredentialStatus
	well().report(&status, 3, testkit.Start)
	well(overdue, failed, func(o *result) { o.now = o.now.Add(time.Millisecond) }).report(&status, 4, testkit.Start.Add(50*time.Minute+time.Millisecond))
	for _, c := range status.Conditions {
		g.Expect(c.ObservedGeneration).To(BeEquivalentTo(4))
		want := testkit.Start
		if c.Type == v1alpha1.ConditionIssued {
			want = testkit.Start.Add(50 * time.Minute)
		}
		g.Expect(c.LastTransitionTime.Time).To(Equal(want), c.Type)
	}
}

func TestFailureReturnsErrorOfCondition(t *testing.T) {
	g := NewWithT(t)
	o := well(denied, failed, unwritable)
	g.Expect(o.failure(v1alpha1.ConditionAuthorized)).To(BeIdenticalTo(o.authorizationErr))
	g.Expect(o.failure(v1alpha1.ConditionIssued)).To(BeIdenticalTo(o.issueErr))
	g.Expect(o.failure(v1alpha1.ConditionReady)).To(BeIdenticalTo(o.secretErr))
	for _, conditionType := range []string{v1alpha1.ConditionAuthorized, v1alpha1.ConditionIssued, v1alpha1.ConditionReady} {
		g.Expect(well().failure(conditionType)).To(BeNil())
	}
}
