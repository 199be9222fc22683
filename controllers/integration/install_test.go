package integration_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

// createNamespaces creates namespaces, and deletes their credentials and Secrets at the end of the test.
func (h *harness) createNamespaces(names ...string) {
	h.t.Helper()
	for _, name := range names {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		h.Expect(client.IgnoreAlreadyExists(admin.Create(h.ctx, namespace))).To(Succeed())
		h.t.Cleanup(func() {
			ctx := context.Background()
			h.Expect(admin.DeleteAllOf(ctx, &v1alpha1.RoleCredential{}, client.InNamespace(name))).To(Succeed())
			if h.stop != nil {
				h.stop()
			}
			h.Expect(admin.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(name))).To(Succeed())
			h.Expect(admin.DeleteAllOf(ctx, &rbacv1.RoleBinding{}, client.InNamespace(name))).To(Succeed())
		})
	}
}

func manifests(name string) string { return filepath.Join("..", "..", "config", name) }

func TestAPIServerAcceptsManifests(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.createNamespaces("team-a", "team-b") // the namespaces of config/namespaced
	for _, name := range []string{"default", "complete", "namespaced"} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			output, err := kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-k", manifests(name))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(output).To(ContainSubstring("deployment.apps/rolecredential-manager serverside-applied (server dry run)"))
			g.Expect(output).NotTo(ContainSubstring("Warning"))
		})
	}
}

// Pod Security admission enforces the standard on Pods, not on Deployments.
func TestManagerPodMeetsRestrictedPodSecurityStandard(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	var deployments appsv1.DeploymentList
	h.Expect(admin.List(h.ctx, &deployments, client.InNamespace(operatorNamespace))).To(Succeed())
	h.Expect(deployments.Items).To(HaveLen(1))
	own := &corev1.Namespace{}
	h.Expect(admin.Get(h.ctx, client.ObjectKey{Name: operatorNamespace}, own)).To(Succeed())
	// No controller updates the usage of the ResourceQuota in the operator's namespace, so that the API server rejects Pods there.
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: own.Labels}}
	h.Expect(admin.Create(h.ctx, namespace)).To(Succeed())
	h.Expect(admin.Create(h.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "rolecredential-manager"}})).To(Succeed())

	pod := func() *corev1.Pod {
		template := deployments.Items[0].Spec.Template.DeepCopy()
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "manager", Labels: template.Labels}, Spec: template.Spec}
	}
	h.Expect(admin.Create(h.ctx, pod(), client.DryRunAll)).To(Succeed())
	for name, weaken := range map[string]func(*corev1.Container){
		"with more privileges": func(c *corev1.Container) { c.SecurityContext.AllowPrivilegeEscalation = new(true) },
		"with a capability":    func(c *corev1.Container) { c.SecurityContext.Capabilities.Drop = nil },
		"as root":              func(c *corev1.Container) { c.SecurityContext.RunAsUser = new(int64(0)) },
		"without a seccomp mask": func(c *corev1.Container) {
			c.SecurityContext.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
		},
	} {
		weakened := pod()
		weaken(&weakened.Spec.Containers[0])
		h.Expect(admin.Create(h.ctx, weakened, client.DryRunAll)).To(MatchError(ContainSubstring(`violates PodSecurity "restricted:latest"`)), name)
	}
	container := pod().Spec.Containers[0]
	h.Expect(*container.SecurityContext.ReadOnlyRootFilesystem).To(BeTrue()) // not part of the standard
}

// installNamespaced installs config/namespaced instead of config/complete, and restores config/complete at the end of the test.
func (h *harness) installNamespaced() {
	h.t.Helper()
	_, err := kubectl("apply", "--server-side", "--force-conflicts", "-k", manifests("namespaced"))
	h.Expect(err).NotTo(HaveOccurred())
	// The bindings of config/complete that config/namespaced does not have.
	_, err = kubectl("delete", "clusterrolebinding", "rolecredential-manager-rolebinding", "rolecredential-serviceaccount-token-rolebinding", "rolecredential-rollout-rolebinding")
	h.Expect(err).NotTo(HaveOccurred())
	h.t.Cleanup(func() {
		_, err := kubectl("delete", "-f", filepath.Join(manifests("namespaced"), "roles.yaml"))
		h.Expect(err).NotTo(HaveOccurred())
		_, err = kubectl("apply", "--server-side", "--force-conflicts", "-k", manifests("complete"))
		h.Expect(err).NotTo(HaveOccurred())
	})
}

func TestNamespacedManagerReconcilesOnlyItsNamespaces(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.createNamespaces("team-a", "team-b", "elsewhere")
	h.installNamespaced()
	by := h.identity(func(i *v1alpha1.ClusterIdentity) {
		*i.Spec.Allow = []v1alpha1.AllowRule{{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"aws-roles": "yes"}}, RoleARNs: []string{"*"},
		}}
	})
	outside := h.credential("elsewhere", "reader", by)
	inside := []*v1alpha1.RoleCredential{h.credential("team-a", "reader", by), h.credential("team-b", "reader", by)}
	h.start("team-a", "team-b")
	for _, created := range inside {
		h.eventually(created, "Authorized", "False NotAllowed")
	}
	// Namespaces are cluster-scoped: the manager watches all of them.
	for _, name := range []string{"team-a", "team-b", "elsewhere"} {
		update(h, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, func(n *corev1.Namespace) {
			n.Labels = map[string]string{"aws-roles": "yes"}
		})
	}
	for _, created := range inside {
		h.eventually(created, "Ready", "True Issued")
		h.refresh(created, "1")
	}
	for _, created := range inside {
		h.Eventually(func() string { h.state(created, "Ready")(); return created.Status.LastHandledRefreshRequest }).WithTimeout(waitLimit).Should(Equal("1"))
	}
	// The watch of Secrets reports the deletion, and the operator reissues.
	h.Expect(admin.Delete(h.ctx, h.secret("team-a", "reader"))).To(Succeed())
	h.Eventually(func() *corev1.Secret { return h.secret("team-a", "reader") }).WithTimeout(waitLimit).ShouldNot(BeNil())
	h.Eventually(h.events(by)).WithTimeout(waitLimit).Should(ContainElement("Normal Verified"))

	h.Expect(admin.Get(h.ctx, client.ObjectKeyFromObject(outside), outside)).To(Succeed())
	h.Expect(outside.Status).To(Equal(v1alpha1.RoleCredential{}.Status))
	h.Expect(h.secret("elsewhere", "reader")).To(BeNil())
	h.Expect(h.issues()).To(Equal(5)) // two issues, two refreshes, and one reissue

	// The identity reports a Secret that the operator may not read.
	far := h.identity(func(i *v1alpha1.ClusterIdentity) {
		i.Name, i.Spec.Source.AccessKey.SecretRef = "far", v1alpha1.SecretReference{Namespace: "elsewhere", Name: "key"}
	})
	h.eventually(far, "Ready", "False SecretForbidden")
}

func TestNamespacedManagerHasNoPermissionsInOtherNamespaces(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.createNamespaces("team-a", "team-b", "elsewhere")
	h.installNamespaced()
	operator, err := client.New(h.asOperator(), client.Options{Scheme: admin.Scheme()})
	h.Expect(err).NotTo(HaveOccurred())
	canI := func(namespace, verb, group, resource string) bool {
		resource, subresource, _ := strings.Cut(resource, "/")
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: group, Resource: resource, Subresource: subresource},
		}}
		h.Expect(operator.Create(h.ctx, review)).To(Succeed())
		return review.Status.Allowed
	}
	allowed := map[string][]string{ // beside the permissions in watched namespaces
		operatorNamespace: {"get /secrets", "list /secrets", "watch /secrets"},
		"default":         {"create events.k8s.io/events", "patch events.k8s.io/events"},
	}
	const managerRole = "rolecredential-manager-role"
	for _, name := range []string{managerRole, "rolecredential-serviceaccount-token-role", "rolecredential-rollout-role"} { // the last two are not bound
		role := &rbacv1.ClusterRole{}
		h.Expect(admin.Get(h.ctx, client.ObjectKey{Name: name}, role)).To(Succeed())
		for _, namespace := range []string{"team-a", "team-b", "elsewhere", "kube-system", "default", operatorNamespace, ""} {
			for _, rule := range role.Rules {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						want := name == managerRole && strings.HasPrefix(namespace, "team-") || slices.Contains(allowed[namespace], verb+" "+rule.APIGroups[0]+"/"+resource)
						h.Expect(canI(namespace, verb, rule.APIGroups[0], resource)).To(Equal(want), "%s %s in %q", verb, resource, namespace)
					}
				}
			}
		}
	}
}
