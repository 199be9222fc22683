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

// issuedRecord returns the record of a credential that was issued at testkit.Start.
func issuedRecord() *reissue.Record {
	return &reissue.Record{
		IssuedAt: testkit.Start, Expiration: testkit.Start.Add(untilExpiry), AccessKeyID: "ASIAEXAMPLE",
		PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader", PackedPolicySize: ptr.To[int32](7), RefreshRequest: "monday",
	}
}

// readyResult returns the result of a reconcile one minute after the issue, with changes.
func readyResult(change ...func(*result)) result {
	r := result{
		now: testkit.Start.Add(time.Minute), identity: "ClusterIdentity default", secret: "s3-reader",
		record: issuedRecord(), current: true, refreshAt: testkit.Start.Add(untilRefresh),
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func withoutRecord(r *result)  { r.record, r.current, r.refreshAt = nil, false, time.Time{} }
func outdated(r *result)       { r.current = false }
func expired(r *result)        { r.now = testkit.Start.Add(untilExpiry) }
func dueAfterExpiry(r *result) { r.refreshAt = testkit.Start.Add(untilExpiry + time.Second) }
func due(r *result)            { r.now = testkit.Start.Add(50 * time.Minute) }
func suspended(r *result)      { r.suspended = true }

func denied(r *result) {
	r.authorizationErr = &reason.Error{Condition: v1alpha1.ConditionAuthorized, Reason: v1alpha1.ReasonNotAllowed, Message: "No rule."}
}

func failed(r *result) {
	r.issueErr = &reason.Error{Condition: v1alpha1.ConditionIssued, Reason: v1alpha1.ReasonThrottled, Message: "Too often.", Retry: reason.Backoff}
	r.retryAt = r.now.Add(10 * time.Second)
}

func failedPermanently(r *result) {
	r.issueErr = &reason.Error{Condition: v1alpha1.ConditionIssued, Reason: v1alpha1.ReasonMalformedPolicy, Message: "No JSON.", Retry: reason.Never}
}

func conflicting(r *result) { r.secretErr = foreign("s3-reader", "RoleCredential", "s3-reader", "") }

func invalidTemplate(r *result) {
	r.secretErr = &reason.Error{Condition: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonInvalidTemplate, Message: "No label."}
}

func TestResultDecidesConditionsAndNextReconcile(t *testing.T) {
	const never = time.Duration(0)
	for name, tc := range map[string]struct {
		outcome    result
		authorized string
		issued     string
		ready      string
		next       time.Duration // from the issue
		refreshes  bool          // whether the status reports a next refresh time
	}{
		"it is ready": {
			readyResult(), "True Allowed", "True Issued", "True Issued", untilRefresh, true,
		},
		"a refresh fails": {
			readyResult(due, failed), "True Allowed", "False Throttled", "True Issued", 50*time.Minute + 10*time.Second, true,
		},
		"a refresh fails, and the expiry comes before the retry": {
			readyResult(func(r *result) { r.now = testkit.Start.Add(untilExpiry - 3*time.Second) }, failed), "True Allowed", "False Throttled", "True Issued", untilExpiry, true,
		},
		"it is due only after its expiry": {
			readyResult(dueAfterExpiry), "True Allowed", "True Issued", "True Issued", untilExpiry, true,
		},
		"it expired, and is due later": {
			readyResult(dueAfterExpiry, expired), "True Allowed", "True Issued", "False Expired", untilExpiry + time.Second, true,
		},
		"a requested refresh fails": {
			readyResult(failed), "True Allowed", "False Throttled", "True Issued", time.Minute + 10*time.Second, true,
		},
		"it expired, and a refresh fails": {
			readyResult(expired, failed), "True Allowed", "False Throttled", "False Expired", untilExpiry + 10*time.Second, true,
		},
		"nothing is issued, and STS fails": {
			readyResult(withoutRecord, failed), "True Allowed", "False Throttled", "False NotIssued", time.Minute + 10*time.Second, false,
		},
		"nothing is issued, and the spec is invalid": {
			readyResult(withoutRecord, failedPermanently), "True Allowed", "False MalformedPolicy", "False NotIssued", never, false,
		},
		"the spec changed, and STS fails": {
			readyResult(outdated, failed), "True Allowed", "False Throttled", "False Outdated", time.Minute + 10*time.Second, true,
		},

		"nothing is issued, and it is denied": {
			readyResult(withoutRecord, denied), "False NotAllowed", "Unknown NotAttempted", "False NotIssued", never, false,
		},
		"it is denied": {
			readyResult(denied), "False NotAllowed", "True Issued", "True Issued", untilExpiry, false,
		},
		"it is denied, and due": {
			readyResult(due, denied), "False NotAllowed", "True Issued", "True Issued", untilExpiry, false,
		},
		"it is denied, and expired": {
			readyResult(expired, denied), "False NotAllowed", "True Issued", "False Expired", never, false,
		},
		"the spec changed, and it is denied": {
			readyResult(outdated, denied), "False NotAllowed", "Unknown NotAttempted", "False Outdated", untilExpiry, false,
		},
		"the spec changed, and it is denied and invalid": {
			readyResult(outdated, denied, failedPermanently), "False NotAllowed", "False MalformedPolicy", "False Outdated", untilExpiry, false,
		},

		"the Secret is foreign": {
			readyResult(withoutRecord, conflicting), "True Allowed", "Unknown NotAttempted", "False SecretConflict", never, false,
		},
		"the Secret is foreign, and it is denied": {
			readyResult(withoutRecord, conflicting, denied), "False NotAllowed", "Unknown NotAttempted", "False SecretConflict", never, false,
		},
		"a foreign Secret was created during the call": {
			readyResult(withoutRecord, conflicting, func(r *result) { r.retryAt = r.now.Add(reason.MinWait) }),
			"True Allowed", "Unknown NotAttempted", "False SecretConflict", time.Minute + reason.MinWait, false,
		},
		"the template is invalid": {
			readyResult(outdated, invalidTemplate), "True Allowed", "Unknown NotAttempted", "False InvalidTemplate", untilExpiry, false,
		},

		"it is suspended": {
			readyResult(suspended), "True Allowed", "True Issued", "True Suspended", untilExpiry, false,
		},
		"it is suspended, and due": {
			readyResult(due, suspended), "True Allowed", "True Issued", "True Suspended", untilExpiry, false,
		},
		"it is suspended, and expired": {
			readyResult(expired, suspended), "True Allowed", "True Issued", "False Suspended", never, false,
		},
		"it is suspended, and the spec changed": {
			readyResult(outdated, suspended), "True Allowed", "Unknown NotAttempted", "False Suspended", untilExpiry, false,
		},
		"it is suspended, and nothing is issued": {
			readyResult(withoutRecord, suspended), "True Allowed", "Unknown NotAttempted", "False Suspended", never, false,
		},
		"it is suspended, and denied": {
			readyResult(suspended, denied), "False NotAllowed", "True Issued", "True Suspended", untilExpiry, false,
		},
		"it is suspended, and the Secret is foreign": {
			readyResult(withoutRecord, suspended, conflicting), "True Allowed", "Unknown NotAttempted", "False SecretConflict", never, false,
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
			tc.outcome.applyTo(&status, 1, testkit.Start)
			g.Expect(status.NextRefreshTime != nil).To(Equal(tc.refreshes))
		})
	}
}

func TestConditionMessagesOfResults(t *testing.T) {
	for name, tc := range map[string]struct {
		outcome                   result
		authorized, issued, ready string
	}{
		"it is ready": {
			outcome:    readyResult(),
			authorized: "ClusterIdentity default allows the request.",
			issued:     "STS issued credentials for this spec.",
			ready:      "Secret s3-reader holds valid credentials of this spec.",
		},
		"nothing is issued, because it is denied": {
			outcome:    readyResult(withoutRecord, denied),
			authorized: "No rule.",
			issued:     "STS was not called for this spec: see the condition Authorized.",
			ready:      "Secret s3-reader holds no credential yet: see the condition Authorized.",
		},
		"it expired, because STS fails": {
			outcome:    readyResult(expired, failed),
			authorized: "ClusterIdentity default allows the request.",
			issued:     "Too often.",
			ready:      "The credential in Secret s3-reader has expired: see the condition Issued.",
		},
		"it is of an earlier spec, because STS fails": {
			outcome:    readyResult(outdated, failed),
			authorized: "ClusterIdentity default allows the request.",
			issued:     "Too often.",
			ready:      "Secret s3-reader holds valid credentials, but of an earlier spec: see the condition Issued.",
		},
		"nothing is issued, because the Secret is foreign": {
			outcome:    readyResult(withoutRecord, conflicting),
			authorized: "ClusterIdentity default allows the request.",
			issued:     "STS was not called for this spec: see the condition Ready.",
			ready: "Secret s3-reader exists and does not belong to this RoleCredential. The operator does not change it. Delete it, choose another " +
				"spec.secret.name, or let the operator adopt it with the annotation sts.rolecredential.dev/adopt: RoleCredential/s3-reader.",
		},
		"it is suspended and valid": {
			outcome:    readyResult(suspended),
			authorized: "ClusterIdentity default allows the request.",
			issued:     "STS issued credentials for this spec.",
			ready:      "Secret s3-reader holds valid credentials of this spec. They are not refreshed: spec.suspend is set.",
		},
		"it is suspended and expired": {
			outcome:    readyResult(expired, suspended),
			authorized: "ClusterIdentity default allows the request.",
			issued:     "STS issued credentials for this spec.",
			ready:      "The credential in Secret s3-reader has expired: spec.suspend is set.",
		},
		"it is suspended, and nothing is issued": {
			outcome:    readyResult(withoutRecord, suspended),
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
	readyResult().applyTo(&status, 3, testkit.Start)
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
	readyResult().applyTo(&status, 3, testkit.Start)
	readyResult(withoutRecord, conflicting).applyTo(&status, 4, testkit.Start.Add(time.Minute))
	status.Conditions = nil
	g.Expect(status).To(Equal(v1alpha1.CredentialStatus{ObservedGeneration: 4}))
}

func TestSameFailureKeepsStatusUnchanged(t *testing.T) {
	g := NewWithT(t)
	var status v1alpha1.CredentialStatus
	readyResult(due, failed).applyTo(&status, 3, testkit.Start)
	first := status.DeepCopy()
	for n := range 5 {
		readyResult(due, failed, func(r *result) {
			r.now = r.now.Add(time.Duration(n) * time.Minute)
			r.retryAt = r.now.Add(time.Minute)
		}).applyTo(&status, 3, testkit.Start.Add(time.Duration(n)*time.Minute))
		g.Expect(&status).To(Equal(first))
	}
}

func TestTransitionTimeChangesOnlyWithStatusOfCondition(t *testing.T) {
	g := NewWithT(t)
	var status v1alpha1.CredentialStatus
	readyResult().applyTo(&status, 3, testkit.Start)
	readyResult(due, failed, func(r *result) { r.now = r.now.Add(time.Millisecond) }).applyTo(&status, 4, testkit.Start.Add(50*time.Minute+time.Millisecond))
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
	r := readyResult(denied, failed, conflicting)
	g.Expect(r.failure(v1alpha1.ConditionAuthorized)).To(BeIdenticalTo(r.authorizationErr))
	g.Expect(r.failure(v1alpha1.ConditionIssued)).To(BeIdenticalTo(r.issueErr))
	g.Expect(r.failure(v1alpha1.ConditionReady)).To(BeIdenticalTo(r.secretErr))
	for _, conditionType := range []string{v1alpha1.ConditionAuthorized, v1alpha1.ConditionIssued, v1alpha1.ConditionReady} {
		g.Expect(readyResult().failure(conditionType)).To(BeNil())
	}
}
