package integration_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientfeatures "k8s.io/client-go/features"
	clientfeaturestesting "k8s.io/client-go/features/testing"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/controllers/rollout"
	"rolecredential.dev/operator/controllers/rollout/readers"
	"rolecredential.dev/operator/hack/stsemulator"
)

// operations maps each permission of config/complete, as "verb group/resource", to the operation that requires it.
var operations = map[string]string{
	"list sts.rolecredential.dev/rolecredentials":      "listing RoleCredentials on a server without streaming lists",
	"list sts.rolecredential.dev/sessioncredentials":   "listing SessionCredentials on such a server",
	"list sts.rolecredential.dev/federatedcredentials": "listing FederatedCredentials on such a server",
	"list sts.rolecredential.dev/identities":           "listing Identities on such a server",
	"list sts.rolecredential.dev/clusteridentities":    "listing ClusterIdentities on such a server",
	"list /namespaces": "listing the labels of namespaces on such a server",
	"list /secrets":    "verifying owned Secrets after a start, and listing their metadata on such a server",

	"watch sts.rolecredential.dev/rolecredentials":      "watching RoleCredentials",
	"watch sts.rolecredential.dev/sessioncredentials":   "watching SessionCredentials",
	"watch sts.rolecredential.dev/federatedcredentials": "watching FederatedCredentials",
	"watch sts.rolecredential.dev/identities":           "watching Identities",
	"watch sts.rolecredential.dev/clusteridentities":    "watching ClusterIdentities",
	"watch /namespaces":                                 "watching labels of namespaces",
	"watch /secrets":                                    "watching edited, deleted or rotated Secrets",

	"update sts.rolecredential.dev/rolecredentials/status":      "reporting the status of a RoleCredential",
	"update sts.rolecredential.dev/sessioncredentials/status":   "reporting the status of a SessionCredential",
	"update sts.rolecredential.dev/federatedcredentials/status": "reporting the status of a FederatedCredential",
	"update sts.rolecredential.dev/identities/status":           "reporting the caller of an Identity",
	"update sts.rolecredential.dev/clusteridentities/status":    "reporting the caller of a ClusterIdentity",

	"get /secrets":    "reading the access key of an identity, and the owner of a Secret",
	"create /secrets": "the first issue",
	"update /secrets": "a refresh",
	"delete /secrets": "deleting the Secret with the former name",

	"create events.k8s.io/events": "recording an event",
	"patch events.k8s.io/events":  "recording a series of equal events",

	"create /serviceaccounts/token": "a token for AssumeRoleWithWebIdentity",

	"create coordination.k8s.io/leases": "creating the lease",
	"get coordination.k8s.io/leases":    "reading the leader",
	"update coordination.k8s.io/leases": "renewing the lease",
	"create /events":                    "recording the leader",

	"create authentication.k8s.io/tokenreviews":        "authenticating a client of metrics",
	"create authorization.k8s.io/subjectaccessreviews": "authorizing a client of metrics",

	"list /pods":                 "reading the credentials that pods started with",
	"get apps/deployments":       "a rollout of a Deployment",
	"patch apps/deployments":     "restarting a Deployment",
	"get apps/statefulsets":      "a rollout of a StatefulSet",
	"patch apps/statefulsets":    "restarting a StatefulSet",
	"get apps/daemonsets":        "a rollout of a DaemonSet",
	"patch apps/daemonsets":      "restarting a DaemonSet",
	"get argoproj.io/rollouts":   "a rollout of an Argo Rollout",
	"patch argoproj.io/rollouts": "restarting an Argo Rollout",
}

// The test removes each permission of the operator in turn. The API server then forbids the operation that requires it. With all
// permissions, it forbids nothing. So no permission is missing, and none is unused.
func TestOperatorNeedsEachPermission(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.argo()
	permissions := h.permissions()
	h.Expect(slices.Sorted(maps.Keys(permissions))).To(Equal(slices.Sorted(maps.Keys(operations))), "each permission has an operation")
	t.Run("with all permissions", func(t *testing.T) {
		denied := forbiddenRequests(t, permissions, "")
		NewWithT(t).Expect(denied).To(BeEmpty())
	})
	for _, grant := range slices.Sorted(maps.Keys(permissions)) {
		t.Run(operations[grant]+" requires "+grant, func(t *testing.T) {
			if strings.HasPrefix(grant, "list ") {
				clientfeaturestesting.SetFeatureDuringTest(t, clientfeatures.WatchListClient, false)
			}
			NewWithT(t).Expect(forbiddenRequests(t, permissions, grant)).To(ContainElement(grant))
		})
	}
}

// permissions returns the operator's permissions, each with a rule that grants only it.
func (h *harness) permissions() map[string]permission {
	h.t.Helper()
	text, err := kubectl("kustomize", manifests("complete"))
	h.Expect(err).NotTo(HaveOccurred())
	rules, bound := map[string][]rbacv1.PolicyRule{}, map[string]bool{}
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		var object struct {
			metav1.TypeMeta   `json:",inline"`
			metav1.ObjectMeta `json:"metadata"`
			Rules             []rbacv1.PolicyRule
			RoleRef           rbacv1.RoleRef
			Subjects          []rbacv1.Subject
		}
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			break
		}
		h.Expect(err).NotTo(HaveOccurred())
		switch object.Kind {
		case "ClusterRole", "Role":
			rules[object.Kind+" "+object.Name] = object.Rules
		case "ClusterRoleBinding", "RoleBinding":
			h.Expect(object.Subjects).To(Equal([]rbacv1.Subject{{Kind: "ServiceAccount", Namespace: operatorNamespace, Name: "rolecredential-manager"}}))
			bound[object.RoleRef.Kind+" "+object.RoleRef.Name] = true
		}
	}
	found := map[string]permission{}
	for role := range bound {
		for _, rule := range rules[role] {
			h.Expect(rule.NonResourceURLs).To(BeEmpty())
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						grant := verb + " " + group + "/" + resource
						h.Expect(found).NotTo(HaveKey(grant), "a second rule grants it")
						found[grant] = permission{strings.HasPrefix(role, "Role "), rbacv1.PolicyRule{
							APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}, ResourceNames: rule.ResourceNames,
						}}
					}
				}
			}
		}
	}
	return found
}

// permission is a rule with one verb, for the operator's namespace or for the cluster.
type permission struct {
	namespaced bool
	rule       rbacv1.PolicyRule
}

// forbiddenRequests runs an operator with all permissions except one, or with all if without is empty, and returns the permissions that
// the API server denied it. It stops at the first denial of the missing permission.
func forbiddenRequests(t *testing.T, all map[string]permission, without string) []string {
	t.Helper()
	op := &restrictedOperator{harness: newHarness(t, stsemulator.Options{TokenClock: clock.RealClock{}}), awaited: without}
	op.stopAtDenial()
	op.stop = func() {}
	op.options.AllowNamespacedEndpoints = true
	op.config = op.configWithPermissions(all, without)
	for _, step := range []func(){op.elect, op.scrape, op.restartAll, op.issueAll} {
		if op.running.Err() == nil {
			step()
		}
	}
	denied := op.denials.list()
	if without != "" { // a manager that waits for its caches does not stop, so it gets the permission
		op.restorePermission(all[without])
		op.Expect(op.cache.WaitForCacheSync(op.ctx)).To(BeTrue())
	}
	op.stop()
	return denied
}

// restrictedOperator is an operator with its own ServiceAccount and permissions.
type restrictedOperator struct {
	*harness
	// running is cancelled at the awaited denial.
	running context.Context
	config  *rest.Config
	denials denials
	awaited string
	// clusterRole has its permissions for the cluster.
	clusterRole *rbacv1.ClusterRole
}

// stopAtDenial cancels running at the awaited denial, or after a timeout.
func (op *restrictedOperator) stopAtDenial() {
	var end context.CancelFunc
	op.running, end = context.WithTimeout(op.ctx, 2*waitLimit)
	op.t.Cleanup(end)
	op.denials.awaited, op.denials.cancel = op.awaited, end
}

// restorePermission grants the missing permission.
func (op *restrictedOperator) restorePermission(permission permission) {
	op.t.Helper()
	op.clusterRole.Rules = append(op.clusterRole.Rules, permission.rule)
	op.Expect(admin.Update(op.ctx, op.clusterRole)).To(Succeed())
}

// waitFor waits until done returns true, or until the awaited denial.
func (op *restrictedOperator) waitFor(done func() bool) {
	op.t.Helper()
	_ = wait.PollUntilContextCancel(op.running, 20*time.Millisecond, true, func(context.Context) (bool, error) { return done(), nil })
	if errors.Is(op.running.Err(), context.DeadlineExceeded) {
		op.t.Fatal("timed out without the awaited denial")
	}
}

// hasState returns a function that reports whether a condition is "status reason".
func (op *restrictedOperator) hasState(object client.Object, conditionType, want string) func() bool {
	return func() bool { return op.state(object, conditionType)() == want }
}

// configWithPermissions returns a config for a new ServiceAccount with all permissions except one.
func (op *restrictedOperator) configWithPermissions(all map[string]permission, without string) *rest.Config {
	op.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, GenerateName: "least-"}}
	op.Expect(admin.Create(op.ctx, account)).To(Succeed())
	clusterRole := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: account.Name}}
	op.clusterRole = clusterRole
	own := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: account.Name}}
	for grant, permission := range all {
		switch {
		case grant == without:
		case permission.namespaced:
			own.Rules = append(own.Rules, permission.rule)
		default:
			clusterRole.Rules = append(clusterRole.Rules, permission.rule)
		}
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: operatorNamespace, Name: account.Name}}
	for _, object := range []client.Object{
		clusterRole, own,
		&rbacv1.ClusterRoleBinding{ObjectMeta: clusterRole.ObjectMeta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: account.Name}},
		&rbacv1.RoleBinding{ObjectMeta: own.ObjectMeta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account.Name}},
	} {
		op.Expect(admin.Create(op.ctx, object)).To(Succeed())
		op.t.Cleanup(func() { op.Expect(admin.Delete(context.Background(), object)).To(Succeed()) })
	}
	op.t.Cleanup(func() { op.Expect(admin.Delete(context.Background(), account)).To(Succeed()) })
	config := op.configFor(account)
	// The API server's authorizer sees new bindings after a delay.
	probe, err := client.New(config, client.Options{Scheme: admin.Scheme()})
	op.Expect(err).NotTo(HaveOccurred())
	op.Eventually(func() bool {
		for grant, permission := range all {
			if grant != without && !op.canI(probe, permission) {
				return false
			}
		}
		return true
	}).WithTimeout(waitLimit).Should(BeTrue())
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return op.denials.wrap(next) })
	return config
}

// canI reports whether the API server allows a client the permission.
func (h *harness) canI(asClient client.Client, permission permission) bool {
	h.t.Helper()
	resource, subresource, _ := strings.Cut(permission.rule.Resources[0], "/")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Namespace: operatorNamespace, Verb: permission.rule.Verbs[0], Group: permission.rule.APIGroups[0], Resource: resource, Subresource: subresource,
		Name: strings.Join(permission.rule.ResourceNames, ""),
	}}}
	h.Expect(asClient.Create(h.ctx, review)).To(Succeed())
	return review.Status.Allowed
}

// elect starts the manager, and waits until it is the leader and has renewed its lease.
func (op *restrictedOperator) elect() {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: "rolecredential.dev"}}
	op.Expect(client.IgnoreNotFound(admin.Delete(op.ctx, lease))).To(Succeed())
	op.startAs(op.config, func(o *ctrl.Options) {
		o.LeaderElection, o.LeaderElectionID, o.LeaderElectionNamespace, o.LeaderElectionReleaseOnCancel = true, lease.Name, lease.Namespace, true
		o.GracefulShutdownTimeout = new(time.Duration(0)) // otherwise shutdown waits for controllers whose caches never sync
		o.LeaseDuration, o.RenewDeadline, o.RetryPeriod = new(time.Minute), new(40*time.Second), new(100*time.Millisecond)
	}, controllers.Options{})
	op.waitFor(func() bool {
		err := admin.Get(op.ctx, client.ObjectKeyFromObject(lease), lease)
		return err == nil && lease.Spec.RenewTime != nil && lease.Spec.RenewTime.After(lease.Spec.AcquireTime.Time)
	})
	op.waitFor(func() bool {
		var events corev1.EventList
		op.Expect(admin.List(op.ctx, &events, client.InNamespace(operatorNamespace))).To(Succeed())
		return slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.Kind == "Lease" && e.Reason == "LeaderElection" && lease.Spec.HolderIdentity != nil && strings.HasPrefix(e.Message, *lease.Spec.HolderIdentity)
		})
	})
}

// scrape requests metrics with a ServiceAccount that RBAC does not allow to get them.
func (op *restrictedOperator) scrape() {
	connection, err := rest.HTTPClientFor(op.config)
	op.Expect(err).NotTo(HaveOccurred())
	filter, err := filters.WithAuthenticationAndAuthorization(op.config, connection)
	op.Expect(err).NotTo(HaveOccurred())
	handler, err := filter(ctrl.Log, http.NotFoundHandler())
	op.Expect(err).NotTo(HaveOccurred())
	request := httptest.NewRequestWithContext(op.ctx, http.MethodGet, "/metrics", http.NoBody)
	request.Header.Set("Authorization", "Bearer "+op.config.BearerToken)
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	if op.awaited == "" {
		op.Expect(response.Code).To(Equal(http.StatusForbidden))
	}
}

// restartAll discovers and restarts a workload of each kind.
func (op *restrictedOperator) restartAll() {
	namespace := op.namespace(nil)
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "a"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "c"}}}}
	selector := &metav1.LabelSelector{MatchLabels: template.Labels}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "a"}
	for _, object := range []client.Object{
		&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}},
		&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template}},
		&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}},
		argoRollout(namespace, "a", "a-secret"),
		&corev1.Pod{ObjectMeta: meta, Spec: template.Spec},
	} {
		op.Expect(admin.Create(op.ctx, object)).To(Succeed())
	}
	operator, err := client.New(op.config, client.Options{Scheme: admin.Scheme()})
	op.Expect(err).NotTo(HaveOccurred())
	cluster := rollout.Cluster{APIReader: operator, Writer: operator}
	of, discover := rollout.Credential{Namespace: namespace, Secret: "a-secret"}, v1alpha1.Rollout{Discover: true}
	check := func(err error) {
		if op.awaited == "" || !apierrors.IsForbidden(err) {
			op.Expect(err).NotTo(HaveOccurred())
		}
	}
	for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet", "Rollout"} {
		workload, err := cluster.Get(op.ctx, namespace, rollout.Ref{Kind: kind, Name: "a"})
		check(err)
		if err == nil {
			op.Expect(workload).NotTo(BeNil(), kind)
			check(cluster.Restart(op.ctx, namespace, *workload, readers.Stamp{"a-secret": "ASIA"}, clock.RealClock{}.Now()))
		}
	}
	_, err = cluster.Discover(op.ctx, of, discover)
	check(err)
}

// issueAll creates credentials of each kind with each kind of identity. It then refreshes one, changes its labels, and renames its Secret.
func (op *restrictedOperator) issueAll() {
	namespace := op.namespace(nil)
	provider, _ := op.trustAPIServer()
	by := op.identity(func(i *v1alpha1.ClusterIdentity) {
		(*i.Spec.Allow)[0].Calls = []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken}
	})
	tokens := op.identity(func(i *v1alpha1.ClusterIdentity) { i.Name += "-tokens"; useTokens(i) })
	op.serviceAccount(namespace, "reader")
	credential := op.credential(namespace, "role", by)
	own := &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "session"}}
	own.Spec.IdentityRef.Name = by.Name
	federated := &v1alpha1.FederatedCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "federated"}}
	federated.Spec.IdentityRef.Name, federated.Spec.Policy = by.Name, `{"Statement":[]}`
	op.putKeyIn(namespace, "key", op.sts.AccessKeys(operatorARN)[0])
	namespaced := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "theirs"}}
	namespaced.Spec.Region, namespaced.Spec.Endpoint = "eu-west-1", op.endpoint.URL
	namespaced.Spec.Source.AccessKey = &v1alpha1.LocalAccessKeySource{SecretRef: v1alpha1.LocalSecretReference{Name: "key"}}
	for _, object := range []client.Object{own, federated, namespaced} {
		op.Expect(admin.Create(op.ctx, object)).To(Succeed())
	}
	role := op.putWebIdentityRole("Token", provider, namespace, "reader")
	token := roleCredential(namespace, "token", tokens.Name)
	token.Spec.ServiceAccountName, token.Spec.RoleARN = "reader", role
	op.Expect(admin.Create(op.ctx, token)).To(Succeed())
	for _, object := range []client.Object{credential, own, federated, token} {
		op.waitFor(op.hasState(object, "Ready", "True Issued"))
	}
	op.waitFor(op.hasState(namespaced, "Ready", "True Verified"))

	change := func(f func(*v1alpha1.RoleCredential)) {
		op.waitFor(func() bool {
			if err := admin.Get(op.ctx, client.ObjectKeyFromObject(credential), credential); err != nil {
				return false
			}
			f(credential)
			return admin.Update(op.ctx, credential) == nil
		})
	}
	change(func(c *v1alpha1.RoleCredential) { c.Annotations = map[string]string{v1alpha1.RefreshAnnotation: "1"} })
	op.waitFor(op.refreshHandled(credential, "1"))
	change(func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Labels = map[string]string{"team": "shop"} })
	op.waitFor(func() bool { s := op.secret(namespace, "role"); return s != nil && s.Labels["team"] == "shop" })
	change(func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Name = "other" })
	op.waitFor(func() bool { return op.secret(namespace, "role") == nil && op.secret(namespace, "other") != nil })
}

// denials records the permissions that the API server denied.
type denials struct {
	mu       sync.Mutex
	observed map[string]bool
	awaited  string
	cancel   context.CancelFunc
}

// forbiddenMessage is the API server's message.
var forbiddenMessage = regexp.MustCompile(`cannot (\w+) resource \\?"([^"\\]+)\\?" in API group \\?"([^"\\]*)\\?"`)

func (r *denials) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.observed))
}

// wrap returns a transport that records denials.
func (r *denials) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(request)
		if err != nil || response.StatusCode != http.StatusForbidden {
			return response, err
		}
		body, err := io.ReadAll(response.Body)
		response.Body = io.NopCloser(bytes.NewReader(body))
		found := forbiddenMessage.FindStringSubmatch(string(body))
		grant := cmp.Or(strings.Join(found, ""), string(body))
		if found != nil {
			grant = found[1] + " " + found[3] + "/" + found[2]
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.observed == nil {
			r.observed = map[string]bool{}
		}
		r.observed[grant] = true
		if grant == r.awaited {
			r.cancel()
		}
		return response, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The operator also needs each permission of config/namespaced outside of the watched namespaces.
func TestNamespacedManagerNeedsEachPermissionInOtherNamespaces(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.createNamespaces("team-a", "team-b")
	h.installNamespaced()
	text, err := os.ReadFile(filepath.Join(manifests("namespaced"), "roles.yaml"))
	h.Expect(err).NotTo(HaveOccurred())
	grants := 0
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		var role rbacv1.Role
		err := decoder.Decode(&role)
		if errors.Is(err, io.EOF) {
			break
		}
		h.Expect(err).NotTo(HaveOccurred())
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				grants++
				t.Run(verb+" "+rule.Resources[0]+" in "+role.Namespace, func(t *testing.T) { runWithoutVerb(t, role, rule, verb) })
			}
		}
	}
	h.Expect(grants).To(Equal(5))
}

// runWithoutVerb removes a verb from an installed role, and waits until the API server denies it to the operator.
func runWithoutVerb(t *testing.T, role rbacv1.Role, rule rbacv1.PolicyRule, verb string) {
	t.Helper()
	if verb == "list" {
		clientfeaturestesting.SetFeatureDuringTest(t, clientfeatures.WatchListClient, false)
	}
	grant := verb + " " + rule.APIGroups[0] + "/" + rule.Resources[0]
	op := &restrictedOperator{harness: newHarness(t, stsemulator.Options{}), awaited: grant}
	op.stopAtDenial()

	set := func(verbs []string) {
		update(op.harness, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: role.Namespace, Name: role.Name}}, func(r *rbacv1.Role) {
			r.Rules = nil
			if rule.Verbs = verbs; len(verbs) > 0 {
				r.Rules = []rbacv1.PolicyRule{rule}
			}
		})
	}
	all := rule.Verbs
	set(slices.DeleteFunc(slices.Clone(all), func(v string) bool { return v == verb }))
	t.Cleanup(func() {
		op.ctx = context.Background()
		set(all)
	})
	config := op.asOperator()
	probe, err := client.New(config, client.Options{Scheme: admin.Scheme()})
	op.Expect(err).NotTo(HaveOccurred())
	op.Eventually(func() bool {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: role.Namespace, Verb: verb, Group: rule.APIGroups[0], Resource: rule.Resources[0],
		}}}
		op.Expect(probe.Create(op.ctx, review)).To(Succeed())
		return review.Status.Allowed
	}).WithTimeout(waitLimit).Should(BeFalse())
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return op.denials.wrap(next) })
	op.startAs(config, func(*ctrl.Options) {}, controllers.Options{Namespaces: []string{"team-a", "team-b"}})
	op.repeatEvent(op.identity())
	op.waitFor(func() bool { return false }) // only the denial stops it
	op.stop()
	op.Expect(op.denials.list()).To(ContainElement(grant))
}

// refreshHandled returns a function that reports whether the operator handled a refresh request.
func (op *restrictedOperator) refreshHandled(credential *v1alpha1.RoleCredential, request string) func() bool {
	return func() bool {
		err := admin.Get(op.ctx, client.ObjectKeyFromObject(credential), credential)
		return err == nil && credential.Status.LastHandledRefreshRequest == request
	}
}
