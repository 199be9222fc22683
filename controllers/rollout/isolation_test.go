package rollout_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/rollout"
	"rolecredential.dev/operator/controllers/testkit"
)

// attack creates a credential in namespace lab with a forged record, and five Deployments that never settle and have
// the credential's stamp already.
func (f *rolloutFixture) attack(authorized bool) types.NamespacedName {
	f.T.Helper()
	attacker := testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) {
		c.Namespace, c.Name, c.UID = "lab", "hold", "attacker-uid"
		c.Spec.Rollout = &v1alpha1.Rollout{}
		for i := range 5 {
			c.Spec.Rollout.Targets = append(c.Spec.Rollout.Targets, v1alpha1.WorkloadReference{Kind: v1alpha1.WorkloadDeployment, Name: fmt.Sprint("h", i)})
		}
	})
	f.Expect(f.Client.Create(f.T.Context(), attacker)).To(Succeed())
	if authorized {
		meta.SetStatusCondition(&attacker.Status.Conditions, metav1.Condition{Type: "Authorized", Status: "True", Reason: "Allowed", ObservedGeneration: 1})
		meta.SetStatusCondition(&attacker.Status.Conditions, metav1.Condition{Type: "RolledOut", Status: "False", Reason: "Restarting", ObservedGeneration: 1})
		f.Expect(f.Client.Status().Update(f.T.Context(), attacker)).To(Succeed())
	}
	record := reissue.Record{AccessKeyID: "ASIAX", IssuedAt: f.Clock.Now().Add(-time.Hour), Expiration: f.Clock.Now().Add(20 * time.Hour)}.WithChecksum(nil)
	f.Expect(f.Client.Create(f.T.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: "lab", Name: "hold", Annotations: record.Annotations(),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "RoleCredential", Name: "hold", UID: "attacker-uid", Controller: new(true)}},
	}})).To(Succeed())
	for i := range 5 {
		d := readingPod(fmt.Sprint("h", i), "hold")
		d.Namespace, d.Status = "lab", appsv1.DeploymentStatus{}
		d.Spec.Template.Annotations = map[string]string{v1alpha1.CredentialsAnnotation: `{"hold":"ASIAX"}`}
		f.Expect(f.Client.Create(f.T.Context(), d)).To(Succeed())
	}
	return client.ObjectKeyFromObject(attacker)
}

func TestForgedStampsInOneNamespaceDoNotDelayRestartsInAnother(t *testing.T) {
	for name, authorized := range map[string]bool{"the attacker is not authorized": false, "the attacker is authorized": true} {
		t.Run(name, func(t *testing.T) {
			f := newRolloutFixture(t, testkit.World(discovering())...)
			f.run("web")
			f.reconcile()
			f.refresh()
			attacker := f.attack(authorized)
			touch := func() { // any change counts as progress of a Deployment
				for i := range 5 {
					d := &appsv1.Deployment{}
					f.Expect(f.Client.Get(t.Context(), client.ObjectKey{Namespace: "lab", Name: fmt.Sprint("h", i)}, d)).To(Succeed())
					d.Generation++
					f.Expect(f.Client.Update(t.Context(), d)).To(Succeed())
				}
				_, err := f.rollouts.Reconcile(t.Context(), reconcile.Request{NamespacedName: attacker})
				f.Expect(err).NotTo(HaveOccurred())
			}
			f.restartManager()
			touch()
			f.until(func(state string) bool {
				touch()
				f.Expect(state).NotTo(Equal("False PodsOutdated"), "the restart was not in time")
				return f.stamp("web") != ""
			})
		})
	}
}

// fatPods returns pods of a megabyte each.
func fatPods(n int) (pods []client.Object) {
	for i := range n {
		p := pod(fmt.Sprintf("fat-%03d", i), "fat", nil)
		p.Spec.Containers[0].Args = []string{strings.Repeat("A", 1<<20)}
		pods = append(pods, p)
	}
	return pods
}

func TestDiscoveryReadsSmallPagesUpToALimit(t *testing.T) {
	g := NewWithT(t)
	largest, read := 0, 0
	c, _ := cluster(t, interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
		pods, o := list.(*corev1.PodList), (&client.ListOptions{}).ApplyOptions(options)
		if err := c.List(ctx, pods); err != nil {
			return err
		}
		from, _ := strconv.Atoi(o.Continue)
		to := min(len(pods.Items), from+int(o.Limit))
		if to < len(pods.Items) {
			pods.Continue = strconv.Itoa(to)
		}
		pods.Items = pods.Items[from:to]
		largest = max(largest, len(pods.Items))
		for i := range pods.Items {
			read += pods.Items[i].Size()
		}
		return nil
	}}, fatPods(60)...)
	_, err := c.Discover(t.Context(), refreshed(), discover)
	g.Expect(err).To(MatchError(ContainSubstring("too large")))
	g.Expect(largest).To(BeNumerically("<=", 20))
	g.Expect(read).To(BeNumerically("<", 32<<20+20*(1<<20+1024)), "the limit and a page")
}

func TestNamespaceTooLargeForDiscoveryIsReportedAndItsTargetsAreRestarted(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.run("web")
	for _, fat := range fatPods(33) {
		f.Expect(f.Client.Create(t.Context(), fat)).To(Succeed())
	}
	f.reconcile()
	f.refresh()
	state, wait := f.roll()
	f.Expect(state).To(Equal("False DiscoveryTooLarge"))
	f.Expect(wait).To(Equal(5 * time.Minute))
	f.Expect(testkit.Message(f.Credential().Status.Conditions, "RolledOut")).To(ContainSubstring("exceed 32 MiB"))
	f.Expect(f.Events()).To(Equal([]string{"Warning DiscoveryTooLarge"}))

	f.Update(testkit.Changed(f.Credential(), func(c *v1alpha1.RoleCredential) {
		c.Spec.Rollout = naming(v1alpha1.WorkloadReference{Kind: "Deployment", Name: "web"}, v1alpha1.WorkloadReference{Kind: "Deployment", Name: "missing"}).Spec.Rollout
	}))
	f.until(func(string) bool { return f.stamp("web") != "" })
}

func TestNamespaceWaitsAfterASlowPass(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.run("web")
	f.reconcile()
	f.refresh()
	f.refuse = func(string) error {
		f.Clock.SetTime(f.Clock.Now().Add(time.Second))
		return nil
	}
	f.roll()
	f.reads = nil
	state, wait := f.roll()
	f.Expect(state).To(Equal("False Restarting"), "the condition stays")
	f.Expect(wait).To(Equal(9 * time.Second))
	f.Expect(f.reads).To(BeEmpty())
	f.Clock.SetTime(f.Clock.Now().Add(wait))
	f.roll()
	f.Expect(f.reads).NotTo(BeEmpty())
}

func TestRestartHoldsItsSlotUntilADeadline(t *testing.T) {
	f := newRolloutFixture(t, testkit.World(discovering())...)
	f.run("web")
	f.reconcile()
	f.refresh()
	f.until(func(string) bool { return f.stamp("web") != "" })
	f.begin("web")
	begun := f.Clock.Now()
	f.until(func(string) bool {
		d := f.deployment("web")
		d.Generation++ // each change of the spec looks like progress
		f.Expect(f.Client.Update(t.Context(), d)).To(Succeed())
		return f.rollouts.Slots.Taken(f.Clock.Now()) == 0
	})
	f.Expect(f.Clock.Since(begun)).To(BeNumerically("~", 15*time.Minute, 10*time.Second))
	f.Expect(testkit.Message(f.Credential().Status.Conditions, "RolledOut")).To(ContainSubstring("Deployment web was restarted, but not all of its pods were replaced"))
	f.Expect(f.metric("rolecredential_rollouts_total", "Stalled")).To(Equal(1.0))
}

// Each colluding namespace starts a restart whenever it can, and none of these restarts is complete before its deadline.
func TestColludingNamespacesDelayAnotherByMinutes(t *testing.T) {
	for _, colluding := range []int{2, 5, 20} {
		t.Run(fmt.Sprint(colluding, " namespaces"), func(t *testing.T) {
			g := NewWithT(t)
			s, now, restarts := &rollout.Slots{Max: 5}, issuedAt, 0
			acquire := func(namespace string) bool {
				restarts++
				_, ok := s.Acquire(namespace, rollout.Ref{Kind: "Deployment", Name: fmt.Sprint(restarts)}, rollout.Restart{Credential: namespace}, now)
				return ok
			}
			pass := func() {
				now = now.Add(10 * time.Second)
				for i := range 3 * colluding {
					acquire(fmt.Sprint("lab-", i%colluding))
				}
			}
			for range 3 {
				for begun := now; now.Sub(begun) < 20*time.Minute; {
					pass()
				}
				waitingSince := now
				for !acquire("shop") {
					for range 3 { // it tries every 30 seconds
						pass()
					}
					g.Expect(now.Sub(waitingSince)).To(BeNumerically("<=", 3*time.Minute+30*time.Second))
				}
			}
		})
	}
}

func TestNamespaceThatNoLongerWaitsForASlotLosesItsClaim(t *testing.T) {
	g := NewWithT(t)
	s, now := &rollout.Slots{Max: 1}, issuedAt
	acquire := func(namespace string, after time.Duration) bool {
		now = now.Add(after)
		_, ok := s.Acquire(namespace, web, rollout.Restart{Credential: namespace}, now)
		return ok
	}
	g.Expect(acquire("bank", 0)).To(BeTrue())
	g.Expect(acquire("lab", time.Second)).To(BeFalse())
	g.Expect(acquire("shop", time.Second)).To(BeFalse())
	s.Forget("bank", "bank")
	g.Expect(acquire("shop", 30*time.Second)).To(BeFalse(), "the slot is reserved for lab")
	g.Expect(acquire("shop", 30*time.Second)).To(BeTrue(), "lab has not tried for a minute")
	s.Forget("shop", "shop")
	g.Expect(acquire("lab", time.Second)).To(BeTrue(), "no other namespace waits")
}
