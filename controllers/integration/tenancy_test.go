package integration_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/hack/stsemulator"
)

// Roles that a rule allows to one of the two namespaces.
const (
	shopRole = "arn:aws:iam::123456789012:role/bench-shop"
	bankRole = "arn:aws:iam::123456789012:role/bench-bank"
)

// attack has an operator, two namespaces, and the client of a tenant with the role edit in one of them.
type attack struct {
	*harness
	tenant     client.Client
	shop, bank string // the tenant's namespace, and another namespace
	// by allows each namespace one role, for at most an hour and with the default session name.
	by    *v1alpha1.ClusterIdentity
	calls int // of STS, before the case
}

func newAttack(t *testing.T) *attack {
	t.Helper()
	h := newHarness(t, stsemulator.Options{})
	h.start()
	a := &attack{harness: h, shop: h.namespace(nil), bank: h.namespace(nil)}
	a.tenant = h.editorOf(a.shop)
	hour := &metav1.Duration{Duration: defaultDuration}
	a.by = h.identity(func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Allow = &[]v1alpha1.AllowRule{
			{Namespaces: []string{a.shop}, RoleARNs: []string{shopRole}, MaxDuration: hour},
			{Namespaces: []string{a.bank}, RoleARNs: []string{bankRole}, MaxDuration: hour},
		}
	})
	h.eventually(a.by, "Ready", "True Verified")
	return a
}

// editorOf returns a client with the permissions of the ClusterRole edit in a namespace. No controller aggregates that role here, so
// editorOf binds its parts, with the roles of the manifests.
func (h *harness) editorOf(namespace string) client.Client {
	h.t.Helper()
	const user = "mallory"
	var parts rbacv1.ClusterRoleList
	for _, role := range []string{"edit", "view"} {
		var labelled rbacv1.ClusterRoleList
		h.Expect(admin.List(h.ctx, &labelled, client.MatchingLabels{"rbac.authorization.k8s.io/aggregate-to-" + role: "true"})).To(Succeed())
		parts.Items = append(parts.Items, labelled.Items...)
	}
	for _, part := range parts.Items {
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "mallory-"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: part.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
		}
		h.Expect(admin.Create(h.ctx, binding)).To(Succeed())
	}
	config := rest.CopyConfig(adminConfig)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	tenant, err := client.New(config, client.Options{Scheme: admin.Scheme()})
	h.Expect(err).NotTo(HaveOccurred())
	return tenant
}

// forCase returns a copy of the attack for one case.
func (a *attack) forCase(t *testing.T) *attack {
	h := *a.harness
	h.WithT, h.t, h.ctx = NewWithT(t), t, t.Context()
	c := *a
	c.harness, c.calls = &h, len(a.sts.Calls())
	t.Cleanup(func() {
		for _, namespace := range []string{c.shop, c.bank} {
			for _, kind := range []client.Object{&v1alpha1.RoleCredential{}, &v1alpha1.SessionCredential{}, &v1alpha1.FederatedCredential{}, &v1alpha1.Identity{}} {
				h.Expect(admin.DeleteAllOf(context.Background(), kind, client.InNamespace(namespace))).To(Succeed())
			}
		}
	})
	return &c
}

// issueCalls returns the STS calls of the case, without GetCallerIdentity.
func (a *attack) issueCalls() (calls []stsemulator.Call) {
	for _, call := range a.sts.Calls()[a.calls:] {
		if call.Action != "GetCallerIdentity" {
			calls = append(calls, call)
		}
	}
	return calls
}

func (a *attack) expectNoCalls() {
	a.t.Helper()
	a.Expect(a.issueCalls()).To(BeEmpty())
}

// create creates a RoleCredential for the shop's role as the tenant.
func (a *attack) create(name string, change ...func(*v1alpha1.RoleCredential)) *v1alpha1.RoleCredential {
	a.t.Helper()
	created := roleCredential(a.shop, name, a.by.Name)
	created.Spec.RoleARN = shopRole
	for _, f := range change {
		f(created)
	}
	a.Expect(a.tenant.Create(a.ctx, created)).To(Succeed())
	return created
}

// createReady creates a RoleCredential as the tenant, and waits until it is Ready.
func (a *attack) createReady(name string, change ...func(*v1alpha1.RoleCredential)) *v1alpha1.RoleCredential {
	a.t.Helper()
	created := a.create(name, change...)
	a.eventually(created, "Ready", "True Issued")
	a.calls = len(a.sts.Calls())
	return created
}

// createVictim creates a credential in the bank, and waits until it is Ready.
func (a *attack) createVictim(name string) *v1alpha1.RoleCredential {
	a.t.Helper()
	created := a.credential(a.bank, name, a.by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = bankRole })
	a.eventually(created, "Ready", "True Issued")
	a.calls = len(a.sts.Calls())
	return created
}

// expectDenied creates objects as the tenant. Each must have the wanted condition, no Secret and no STS call.
func (a *attack) expectDenied(conditionType, want string, objects ...client.Object) {
	a.t.Helper()
	for _, object := range objects {
		a.Expect(a.tenant.Create(a.ctx, object)).To(Succeed())
	}
	for _, object := range objects {
		a.eventually(object, conditionType, want)
		if _, ok := object.(request.Object); ok {
			a.Expect(a.secret(object.GetNamespace(), object.GetName())).To(BeNil())
		}
	}
	a.expectNoCalls()
}

// manifest returns an object of the operator's API group in the tenant's namespace.
func (a *attack) manifest(kind, name, spec string) *unstructured.Unstructured {
	a.t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{}}
	var fields map[string]any
	a.Expect(yaml.Unmarshal([]byte(spec), &fields)).To(Succeed())
	object.SetAPIVersion(v1alpha1.GroupVersion.String())
	object.SetKind(kind)
	object.SetNamespace(a.shop)
	object.SetName(name)
	object.Object["spec"] = fields
	return object
}

// expectRejected expects a validation error of the API server for an object of the tenant.
func (a *attack) expectRejected(object *unstructured.Unstructured, wantErr string) {
	a.t.Helper()
	err := a.tenant.Create(a.ctx, object, client.FieldValidation("Strict"))
	a.Expect(err).To(MatchError(ContainSubstring(wantErr)))
	a.Expect(apierrors.IsForbidden(err)).To(BeFalse(), "the error comes from validation, not from RBAC")
}

// expectForbidden expects an RBAC error for the tenant.
func (a *attack) expectForbidden(err error) {
	a.t.Helper()
	a.Expect(err).To(MatchError(ContainSubstring(`User "mallory" cannot`)))
	a.Expect(apierrors.IsForbidden(err)).To(BeTrue())
}

// The tenant has the role edit in one namespace. The names of the cases are the rows of docs/tenancy.md.
func TestTenantEscalationsFail(t *testing.T) {
	a := newAttack(t)
	a.forCase(t).createReady("allowed") // otherwise the cases could fail for another cause
	for _, cases := range []map[string]func(*attack){apiServerRejects, operatorDenies, operatorIgnores} {
		for name, escalate := range cases {
			t.Run(name, func(t *testing.T) { escalate(a.forCase(t)) })
		}
	}
}

func TestEachEscalationIsDocumented(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "tenancy.md"))
	g.Expect(err).NotTo(HaveOccurred())
	_, section, found := strings.Cut(string(page), "\n## What a tenant may try\n")
	g.Expect(found).To(BeTrue())
	section, _, _ = strings.Cut(section, "\n## ")
	rows := map[string]bool{}
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, " | "); strings.HasPrefix(line, "| ") && len(cells) == 3 {
			rows[strings.TrimPrefix(cells[0], "| ")] = true
		}
	}
	tried := map[string]bool{}
	for _, cases := range []map[string]func(*attack){apiServerRejects, operatorDenies, operatorIgnores} {
		for name := range cases {
			g.Expect(rows).To(HaveKey(name))
			tried[name] = true
		}
	}
	g.Expect(len(tried)).To(BeNumerically(">=", 30))
	maps.DeleteFunc(rows, func(name string, _ bool) bool {
		return tried[name] || strings.HasPrefix(name, "Tried") || strings.HasPrefix(name, "---")
	})
	g.Expect(rows).To(BeEmpty(), "rows without a case")
}

// copyOf returns a Secret with the labels, annotations and data of one that the operator wrote.
func copyOf(namespace, name string, like *corev1.Secret) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: maps.Clone(like.Labels), Annotations: maps.Clone(like.Annotations)},
		Data:       maps.Clone(like.Data),
	}
}
