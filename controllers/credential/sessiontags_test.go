package credential

import (
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
)

// The hop's session has the same transitive tag as a session of EKS Pod Identity (EKS User Guide, 'Grant Pods access to AWS resources
// based on tags').
func TestConflictWithTransitiveTagsOfCallerIsExplained(t *testing.T) {
	by := everything(func(i *v1alpha1.ClusterIdentity) {
		i.Spec.SessionTags = &v1alpha1.SessionTags{ClusterName: "prod-eu"}
		i.Spec.Chain = []v1alpha1.Hop{{
			RoleARN: "arn:aws:iam::210987654321:role/Hub",
			Tags:    []v1alpha1.Tag{{Key: "kubernetes-namespace", Value: new("rolecredential-system")}}, TransitiveTagKeys: []string{"kubernetes-namespace"},
		}}
	})
	f := newFixture(t, testkit.World(sourceOfTheChain(), by, assuming("arn:aws:iam::123456789012:role/Entry"))...)
	f.emulate(worldOf("aws"))
	got, _ := f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(And(
		HavePrefix("Issued=False InvalidRequest"), ContainSubstring("(InvalidParameterValue, HTTP 400)"), ContainSubstring("--disable-session-tags"),
	))

	f.Update(testkit.Changed(f.Identity(), func(i *v1alpha1.ClusterIdentity) { i.Generation, i.Spec.SessionTags = 2, nil }))
	got, _ = f.reconcile()
	f.Expect(testkit.FirstProblem(got.Status.Conditions)).To(HavePrefix("Ready=True Issued"))
}
