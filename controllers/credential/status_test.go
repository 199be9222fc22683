package credential

import (
	"context"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
)

// beforeStatusWrite runs change just before the next write of the Reader's status.
func (f *fixture) beforeStatusWrite(change func()) {
	f.Requests.Fail = func(verb string, object client.Object) error {
		if verb == "update status" && testkit.KindName(object) == "RoleCredential" {
			f.Requests.Fail = nil
			change()
		}
		return nil
	}
}

func generations(conditions []metav1.Condition) (generations []int64) {
	for _, c := range conditions {
		generations = append(generations, c.ObservedGeneration)
	}
	return slices.Compact(generations)
}

func TestStatusConflictDoesNotMixTwoGenerationsOfASpec(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.reconcile()
	f.Clock.SetTime(testkit.Start.Add(time.Hour)) // Ready becomes False before the STS call
	f.beforeStatusWrite(func() {
		f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) {
			c.Generation, c.Spec.RoleARN, c.Spec.Secret.Labels = 2, "arn:aws:iam::123456789012:role/Other", map[string]string{"spec": "new"}
		}))
	})
	f.STS.Before = func() {
		f.Expect(testkit.States(f.Credential().Status.Conditions)["Ready"]).To(Equal("False Expired"), "the write succeeds after the conflict")
	}
	got, _ := f.reconcile()
	f.Expect(f.STS.Issued).To(HaveLen(2))
	f.Expect(f.STS.Issued[1].RoleARN).To(Equal(testkit.Reader().Spec.RoleARN))
	f.Expect(f.Secret().Labels).NotTo(HaveKey("spec"), "the Secret is written from the spec that STS was called for")
	f.Expect(got.Status.ObservedGeneration).To(BeEquivalentTo(1))
	f.Expect(generations(got.Status.Conditions)).To(Equal([]int64{1}))
	f.Expect(got.Spec.RoleARN).To(HaveSuffix("Other"), "the new spec is unchanged")

	f.STS.Before = nil
	got, _ = f.reconcile()
	f.Expect(f.STS.Issued[2].RoleARN).To(HaveSuffix("Other"))
	f.Expect(got.Status.ObservedGeneration).To(BeEquivalentTo(2))
	f.Expect(generations(got.Status.Conditions)).To(Equal([]int64{2}))
}

func TestStatusConflictKeepsConditionsOfOtherWriters(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	rolledOut := metav1.Condition{Type: v1alpha1.ConditionRolledOut, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRolledOut, ObservedGeneration: 1, LastTransitionTime: metav1.NewTime(testkit.Start)}
	f.beforeStatusWrite(func() {
		c := f.Credential()
		c.Status.Conditions = append(c.Status.Conditions, rolledOut)
		f.Expect(f.Client.Status().Update(t.Context(), c)).To(Succeed())
	})
	got, _ := f.reconcile()
	f.Expect(testkit.States(got.Status.Conditions)).To(Equal(map[string]string{
		"Authorized": "True Allowed", "Issued": "True Issued", "Ready": "True Issued", "RolledOut": "True RolledOut",
	}))
	f.Expect(f.Events()).To(Equal([]string{"Normal Issued"}))
}

func TestStatusIsNotWrittenOverTheReportOfANewerGeneration(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.beforeStatusWrite(func() { // as another manager that took over the lease
		c := f.Credential()
		c.Generation = 2
		f.Update(c)
		c.Status.ObservedGeneration = 2
		f.Expect(f.Client.Status().Update(t.Context(), c)).To(Succeed())
	})
	got, _ := f.reconcile()
	f.Expect(got.Status.ObservedGeneration).To(BeEquivalentTo(2))
	f.Expect(got.Status.Conditions).To(BeEmpty())
	f.Expect(f.Events()).To(BeEmpty())
}

// laggingCache is a client whose cache shows neither the first status nor the Secret.
type laggingCache struct{ client.Client }

func (c laggingCache) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if testkit.KindName(object) == "Secret" {
		return apierrors.NewNotFound(corev1.Resource("secrets"), key.Name)
	}
	err := c.Client.Get(ctx, key, object, options...)
	if cred, ok := object.(*v1alpha1.RoleCredential); ok {
		cred.Status = v1alpha1.RoleCredentialStatus{}
	}
	return err
}

func TestCredentialIsIssuedOnceWhileTheCacheIsBehind(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.credentials.Client, f.credentials.Secrets.Client = laggingCache{f.Operator}, laggingCache{f.Operator}
	f.Requests.Fail = func(verb string, object client.Object) error {
		if verb == "update status" {
			return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("rolecredentials").GroupResource(), object.GetName(), nil)
		}
		return nil
	}
	for range 3 {
		_, err := f.credentials.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(testkit.Reader())})
		f.Expect(apierrors.IsConflict(err)).To(BeTrue())
	}
	f.Expect(f.STS.Issued).To(HaveLen(1))
}

func TestStatusIsNotWrittenToARecreatedCredential(t *testing.T) {
	f := newFixture(t, testkit.World()...)
	f.beforeStatusWrite(func() {
		f.Expect(f.Client.Delete(t.Context(), testkit.Reader())).To(Succeed())
		f.Expect(f.Client.Create(t.Context(), testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.UID = types.UID("another") }))).To(Succeed())
	})
	got, _ := f.reconcile()
	f.Expect(got.Status).To(BeZero())
	f.Expect(f.Events()).To(BeEmpty())
}
