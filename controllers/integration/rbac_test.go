package integration_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/hack/stsemulator"
)

// All other tests run the operator with its ServiceAccount, and so show that its permissions suffice. This test shows the denied ones.
func TestOperatorHasOnlyRequiredPermissions(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	operator, err := client.New(h.asOperator(), client.Options{Scheme: admin.Scheme()})
	h.Expect(err).NotTo(HaveOccurred())
	for permission, want := range map[string]bool{
		"create v1/secrets":                                     true,
		"create authentication.k8s.io/tokenreviews":             true, // to authenticate clients of metrics
		"update sts.rolecredential.dev/rolecredentials/status":  true,
		"deletecollection v1/secrets":                           false,
		"get v1/configmaps":                                     false,
		"patch apps/deployments":                                true, // the optional ClusterRole for spec.rollout
		"patch argoproj.io/rollouts":                            true,
		"list v1/pods":                                          true,
		"list apps/deployments":                                 false,
		"watch v1/pods":                                         false,
		"delete v1/pods":                                        false,
		"update apps/deployments":                               false,
		"create apps/deployments":                               false,
		"patch apps/deployments/scale":                          false,
		"patch apps/replicasets":                                false,
		"create v1/pods":                                        false,
		"update v1/namespaces":                                  false,
		"create v1/serviceaccounts/token":                       true, // for AssumeRoleWithWebIdentity
		"get v1/serviceaccounts":                                false,
		"impersonate v1/users":                                  false,
		"update sts.rolecredential.dev/rolecredentials":         false,
		"delete sts.rolecredential.dev/rolecredentials":         false,
		"update sts.rolecredential.dev/clusteridentities":       false,
		"create rbac.authorization.k8s.io/clusterrolebindings":  false,
		"escalate rbac.authorization.k8s.io/clusterroles":       false,
		"update apiextensions.k8s.io/customresourcedefinitions": false,
		"get coordination.k8s.io/leases":                        false, // allowed only in the operator's namespace
		"*":                                                     false,
	} {
		verb, resource, _ := strings.Cut(permission, " ")
		group, resource, _ := strings.Cut(resource, "/")
		resource, subresource, _ := strings.Cut(resource, "/")
		if group == corev1.SchemeGroupVersion.Version {
			group = ""
		}
		if permission == "*" {
			group, resource = "*", "*"
		}
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: "default", Verb: verb, Group: group, Resource: resource, Subresource: subresource},
		}}
		h.Expect(operator.Create(h.ctx, review)).To(Succeed())
		h.Expect(review.Status.Allowed).To(Equal(want), permission)
	}
}
