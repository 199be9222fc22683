package rollout_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/rollout"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

func TestReportReturnsTheMostUrgentProblem(t *testing.T) {
	reader := func(kind, name string, state rollout.State, why string) rollout.Reader {
		return rollout.Reader{Ref: rollout.Ref{Kind: kind, Name: name}, State: state, Problem: why, Expires: after(window)}
	}
	fresh := reader("Deployment", "fresh", rollout.Fresh, "")
	outdated := reader("Deployment", "waits", rollout.Outdated, "")
	updates := reader("StatefulSet", "updates", rollout.Updating, "")
	blocked := reader("Deployment", "blocked", rollout.Blocked, "is paused")
	pod := reader("Pod", "job-x", rollout.Blocked, "is not owned by a workload that can be restarted")
	missing := reader("Rollout", "missing", rollout.Missing, "")
	contended := reader("Deployment", "contended", rollout.Contended, "")
	refused := reader("DaemonSet", "refused", rollout.Denied, "")
	const restarting = "The operator restarts the workloads whose pods use a previous credential of Secret s3-reader, a few at a time, before it expires."
	for name, tc := range map[string]struct {
		at      time.Duration
		readers []rollout.Reader
		want    string
	}{
		"there are no workloads": {0, nil, "True RolledOut: All running pods use the current credential of Secret s3-reader."},
		"all are fresh":          {0, []rollout.Reader{fresh, fresh}, "True RolledOut: All running pods use the current credential of Secret s3-reader."},
		"one waits":              {0, []rollout.Reader{fresh, outdated}, "False Restarting: " + restarting},
		"one is being restarted": {0, []rollout.Reader{updates, fresh}, "False Restarting: " + restarting},
		"one does not exist":     {0, []rollout.Reader{outdated, missing}, "False TargetNotFound: spec.rollout.targets contains workloads that do not exist in this namespace: Rollout missing. Create them, or remove them from targets."},
		"some cannot be restarted": {
			0, []rollout.Reader{missing, pod, blocked, updates},
			"False PodsOutdated: Pods use a previous credential of Secret s3-reader, and fail after it expires: Deployment blocked is paused, Pod job-x is not owned by a workload that can be restarted. Resume or restart these workloads manually.",
		},
		"some are late": {
			window, []rollout.Reader{outdated, updates},
			"False PodsOutdated: Pods use a previous credential of Secret s3-reader, and fail after it expires: Deployment waits was not restarted in time, StatefulSet updates was not restarted in time. Resume or restart these workloads manually.",
		},
		"another writer removes the annotation": {
			0, []rollout.Reader{blocked, contended},
			"False Contended: Another writer keeps undoing the restart of Deployment contended, so the operator does not restart these again before the next refresh. It removes the annotation sts.rolecredential.dev/credentials, or changes spec.restartAt of a Rollout. " +
				"Find the writer (kubectl get --show-managed-fields), and configure it to ignore these fields. In Argo CD, set managedFieldsManagers: [rolecredential-rollout] in the Application's ignoreDifferences, and RespectIgnoreDifferences=true in its syncOptions.",
		},
		"the operator may not restart one": {
			0, []rollout.Reader{contended, refused},
			"False Forbidden: The operator may not restart DaemonSet refused. Bind ClusterRole rolecredential-rollout-role: Helm value rbac.rollout=true, or the Kustomize component rollout. Or remove spec.rollout. See the event for the error.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			said := func() string {
				v := rollout.Report(after(tc.at), "s3-reader", tc.readers)
				return fmt.Sprintf("%s %s: %s", v.Status, v.Reason, v.Message)
			}
			g.Expect(said()).To(Equal(tc.want))
			slices.Reverse(tc.readers)
			g.Expect(said()).To(Equal(tc.want), "in another order")
		})
	}
}

func TestReportLimitsTheNumberOfNames(t *testing.T) {
	var readers []rollout.Reader
	for i := range 40 {
		readers = append(readers, rollout.Reader{Ref: rollout.Ref{Kind: "Deployment", Name: fmt.Sprintf("web-%02d", i)}, State: rollout.Blocked, Problem: "is paused"})
	}
	NewWithT(t).Expect(rollout.Report(issuedAt, "s3-reader", readers).Message).To(And(
		ContainSubstring("Deployment web-00 is paused, "), ContainSubstring("Deployment web-09 is paused, and 30 more."), Not(ContainSubstring("web-10"))))
}

func TestUndiscoveredExplainsWhatToDo(t *testing.T) {
	g := NewWithT(t)
	v := rollout.Undiscovered(false)
	g.Expect(v.Reason).To(Equal(v1alpha1.ReasonForbidden))
	g.Expect(v.Message).To(ContainSubstring("Bind ClusterRole rolecredential-rollout-role: Helm value rbac.rollout=true, or the Kustomize component rollout."))
	v = rollout.Undiscovered(true)
	g.Expect(v.Reason).To(Equal(v1alpha1.ReasonDiscoveryTooLarge))
	g.Expect(v.Message).To(And(ContainSubstring("exceed 32 MiB"), ContainSubstring("spec.rollout.targets")))
}

func TestStampRoundTrips(t *testing.T) {
	g := NewWithT(t)
	stamp := readers.Stamp{"s3-reader": "ASIANEW", "a.b-c": `"odd", =id`}
	g.Expect(stamp.String()).To(Equal(`{"a.b-c":"\"odd\", =id","s3-reader":"ASIANEW"}`))
	g.Expect(readers.ParseStamp(map[string]string{v1alpha1.CredentialsAnnotation: stamp.String()})).To(Equal(stamp))
	for _, annotations := range []map[string]string{nil, {"other": "{}"}, {v1alpha1.CredentialsAnnotation: "ASIANEW"}, {v1alpha1.CredentialsAnnotation: `{"a":1}`}} {
		g.Expect(readers.ParseStamp(annotations)["s3-reader"]).To(BeEmpty())
	}
}

func TestSlotsLimitRestartsOfTheClusterAndOfANamespace(t *testing.T) {
	g := NewWithT(t)
	s, now := &rollout.Slots{Max: 5}, issuedAt
	acquire := func(namespace, name string) bool {
		_, ok := s.Acquire(namespace, rollout.Ref{Kind: "Deployment", Name: name}, rollout.Restart{Credential: namespace, ID: name}, now)
		return ok
	}
	for i := range 3 {
		g.Expect(acquire("shop", fmt.Sprint("web-", i))).To(BeTrue())
	}
	g.Expect(acquire("shop", "web-0")).To(BeTrue(), "it holds a slot already")
	g.Expect(acquire("shop", "web-3")).To(BeFalse(), "the share of the namespace is used up")
	g.Expect(acquire("bank", "web-0")).To(BeTrue())
	g.Expect(acquire("bank", "web-1")).To(BeTrue())
	g.Expect(acquire("lab", "web")).To(BeFalse(), "all slots are used")
	g.Expect(s.Taken(now)).To(Equal(5))

	s.Set("bank", rollout.Ref{Kind: "Deployment", Name: "web-0"}, rollout.Restart{})
	g.Expect(s.Restarts("bank")).To(HaveLen(1))
	g.Expect(acquire("lab", "web")).To(BeTrue())
	s.Forget("shop", "shop")
	g.Expect(s.Restarts("shop")).To(BeEmpty())
	g.Expect(s.Taken(now)).To(Equal(2))

	now = now.Add(14 * time.Minute)
	g.Expect(acquire("lab", "web")).To(BeTrue())
	g.Expect(s.Taken(now)).To(Equal(2))
	now = now.Add(time.Minute)
	g.Expect(s.Taken(now)).To(BeZero(), "the deadline has passed, and a second restart does not move it")
}

func TestNamespaceMayAlwaysHoldOneSlot(t *testing.T) {
	s := &rollout.Slots{Max: 1}
	_, ok := s.Acquire("shop", web, rollout.Restart{}, issuedAt)
	NewWithT(t).Expect(ok).To(BeTrue())
}
