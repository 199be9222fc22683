package identity_test

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
)

func TestTagsThatPoliciesCannotRelyOnAreRejected(t *testing.T) {
	tagged := func(key string) []v1alpha1.Hop {
		return []v1alpha1.Hop{{RoleARN: roleNamed("first")}, {RoleARN: roleNamed("second"), Tags: []v1alpha1.Tag{{Key: key, Value: new("shop")}}}}
	}
	withTag := func(key string) *v1alpha1.Identity {
		return changed(byToken(), func(i *v1alpha1.Identity) { i.Spec.Chain = tagged(key) })
	}
	for name, tc := range map[string]struct {
		identity              identity.Object
		wantReason, wantTexts string // empty if it is valid
	}{
		"sessionTags of a ClusterIdentity with tokens of service accounts": {
			withKey(func(i *v1alpha1.ClusterIdentity) {
				i.Spec.Source = v1alpha1.ClusterIdentitySource{ServiceAccount: &v1alpha1.ServiceAccountSource{}}
				i.Spec.Chain, i.Spec.SessionTags = tagged("team"), &v1alpha1.SessionTags{ClusterName: "prod"}
			}), v1alpha1.ReasonInvalidRequest, "spec.sessionTags does not work with source.serviceAccount: a namespace can call STS with its own token and any tags.",
		},
		"sessionTags of a ClusterIdentity with an access key": {identity: withKey(func(i *v1alpha1.ClusterIdentity) { i.Spec.SessionTags = &v1alpha1.SessionTags{ClusterName: "prod"} })},
		"a reserved tag in a hop of an Identity":              {withTag("kubernetes-namespace"), v1alpha1.ReasonInvalidTags, "spec.chain[1].tags is invalid: "},
		"a reserved tag in other case":                        {withTag("Kubernetes-UID"), v1alpha1.ReasonInvalidTags, "spec.chain[1].tags is invalid: "},
		"another tag in a hop of an Identity":                 {identity: withTag("team")},
		"a reserved tag in a hop of a ClusterIdentity":        {identity: withKey(func(i *v1alpha1.ClusterIdentity) { i.Spec.Chain = tagged("kubernetes-namespace") })},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, operatorKey())
			f.exists(tc.identity)
			_, problem, err := f.resolver.ResolveObject(t.Context(), tc.identity, types.NamespacedName{Namespace: "shop", Name: "reader"})
			f.Expect(err).NotTo(HaveOccurred())
			if tc.wantReason == "" {
				f.Expect(problem).To(BeNil())
				return
			}
			f.Expect(problem).To(And(HaveField("Condition", v1alpha1.ConditionReady), HaveField("Reason", tc.wantReason), HaveField("Message", HavePrefix(tc.wantTexts))))
		})
	}
}

func TestHopsAreNamedAfterTheirIdentity(t *testing.T) {
	chain := []v1alpha1.Hop{{RoleARN: roleNamed("first")}, {RoleARN: roleNamed("second"), SessionName: "own-name"}}
	cluster := withKey(func(i *v1alpha1.ClusterIdentity) { i.Spec.Chain = chain })
	namespaced := changed(byToken(), func(i *v1alpha1.Identity) { i.Spec.Chain = chain })
	for name, tc := range map[string]struct {
		identity identity.Object
		want     []string
	}{
		"a ClusterIdentity": {cluster, []string{"rolecredential.default", "own-name"}},
		"an Identity":       {namespaced, []string{"rolecredential.shop.own", "own-name"}},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := withTokens(t)
			f.Expect(f.client.Create(t.Context(), operatorKey())).To(Succeed())
			f.configure(tc.identity).Keys()
			var names []string
			for _, hop := range f.hops {
				names = append(names, hop.SessionName)
			}
			f.Expect(names).To(Equal(tc.want))
		})
	}
}
