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
		return rollout.Reader{Ref: rollout.Ref{Kind: kind, Name: name}, State: state, Why: why, Expires: after(window)}
	}
	fresh := reader("Deployment", "fresh", rollout.Fresh, "")
	waits := reader("Deployment", "waits", rollout.Outdated, "")
	updates := reader("StatefulSet", "updates", rollout.Updating, "")
	held := reader("Deployment", "held", rollout.Held, "is paused")
	pod := reader("Pod", "job-x", rollout.Held, "is not owned by a workload that can be restarted")
	missing := reader("Rollout", "missing", rollout.Missing, "")
	contended := reader("Deployment", "contended", rollout.Contended, "")
	refused := reader("DaemonSet", "refused", rollout.Refused, "")
	const restarting = "The operator restarts the workloads whose pods use a previous credential of Secret s3-reader, a few at a time, before it expires."
	for name, tc := range map[string]struct {
		at      time.Duration
		readers []rollout.Reader
		want    string
	}{
		"there are no workloads": {0, nil, "True RolledOut: All running pods use the current credential of Secret s3-reader."},
		"all are fresh":          {0, []rollout.Reader{fresh, fresh}, "True RolledOut: All running pods use the current credential of Secret s3-reader."},
		"one waits":              {0, []rollout.Reader{fresh, waits}, "False Restarting: " + restarting},
		"one is being restarted": {0, []rollout.Reader{updates, fresh}, "False Restarting: " + restarting},
		"one does not exist":     {0, []rollout.Reader{waits, missing}, "False TargetNotFound: spec.rollout.targets contains workloads that do not exist in this namespace: Rollout missing. Create them, or remove them from targets."},
		"some cannot be restarted": {
			0, []rollout.Reader{missing, pod, held, updates},
			"False PodsOutdated: Pods use a previous credential of Secret s3-reader, and fail after it expires: Deployment held is paused, Pod job-x is not owned by a workload that can be restarted. Resume or restart these workloads manually.",
		},
		"some are late": {
			window, []rollout.Reader{waits, updates},
			"False PodsOutdated: Pods use a previous credential of Secret s3-reader, and fail after it expires: Deployment waits was not restarted in time, StatefulSet updates was not restarted in time. Resume or restart these workloads manually.",
		},
		"something takes the annotation back": {
			0, []rollout.Reader{held, contended},
			"False Contended: Another writer keeps undoing the restart of Deployment contended, so the operator does not restart these again before the next refresh. It removes the annotation sts.rolecredential.dev/credentials, or changes spec.restartAt of a Rollout. " +
				"Find the writer (kubectl get --show-managed-fields), and configure it to ignore these fields. In Argo CD, set managedFieldsManagers: [rolecredential-rollout] in the Application's ignoreDifferences, and RespectIgnoreDifferences=true in its syncOptions.",
		},
		"the operator may not restart one": {
			0, []rollout.Reader{contended, refused},
			"False Forbidden: The API server denied the operator the restart of DaemonSet refused. Apply config/rbac/rollout_role.yaml and its binding, or remove spec.rollout. See the event for the error.",
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
		readers = append(readers, rollout.Reader{Ref: rollout.Ref{Kind: "Deployment", Name: fmt.Sprintf("web-%02d", i)}, State: rollout.Held, Why: "is paused"})
	}
	NewWithT(t).Expect(rollout.Report(issuedAt, "s3-reader", readers).Message).To(And(
		ContainSubstring("Deployment web-00 is paused, "), ContainSubstring("Deployment web-09 is paused, and 30 more."), Not(ContainSubstring("web-10"))))
}

func TestForbiddenReportsMissingPermissions(t *testing.T) {
	v := rollout.Forbidden()
	NewWithT(t).Expect(v.Reason).To(Equal(v1alpha1.ReasonForbidden))
	NewWithT(t).Expect(v.Message).To(ContainSubstring("Apply config/rbac/rollout_role.yaml and its binding"))
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

func TestPlaces(t *testing.T) {
	g := NewWithT(t)
	p := &rollout.Places{Max: 2}
	g.Expect(p.Take("a")).To(BeTrue())
	g.Expect(p.Take("a")).To(BeTrue(), "it has one already")
	g.Expect(p.Free()).To(Equal(1))
	g.Expect(p.Take("b")).To(BeTrue())
	g.Expect(p.Take("c")).To(BeFalse())
	p.Hold("d") // it was under way before
	g.Expect(p.Free()).To(BeZero())
	g.Expect(p.Taken()).To(Equal(3))
	g.Expect(p.Release("a")).To(BeTrue())
	g.Expect(p.Release("a")).To(BeFalse())
	g.Expect(p.Take("c")).To(BeFalse(), "there is still one too many")
	g.Expect(p.Release("d")).To(BeTrue())
	g.Expect(p.Take("c")).To(BeTrue())
}

func TestNoPlaceIsFreeUntilAllCredentialsAreChecked(t *testing.T) {
	g := NewWithT(t)
	p := &rollout.Places{Max: 2}
	p.Await("RoleCredential shop/a")
	p.Await("SessionCredential shop/a")
	p.MarkChecked("RoleCredential shop/a")
	g.Expect(p.Free()).To(BeZero())
	g.Expect(p.Take("web")).To(BeFalse())
	p.Hold("api")
	p.MarkChecked("SessionCredential shop/a")
	g.Expect(p.Free()).To(Equal(1))
}
