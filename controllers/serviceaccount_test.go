package controllers

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/failure"
)

// byToken is the default identity with service accounts' tokens for its source.
func byToken(change ...func(*v1alpha1.ClusterIdentity)) *v1alpha1.ClusterIdentity {
	return changed(defaultIdentity(), func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Source = v1alpha1.ClusterIdentitySource{ServiceAccount: &v1alpha1.ServiceAccountSource{Audience: "sts.amazonaws.com"}}
		for _, c := range change {
			c(i)
		}
	})
}

// ownIdentity is the shop's own identity, with the shop's own access key.
func ownIdentity() *v1alpha1.Identity {
	return &v1alpha1.Identity{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own", UID: "own-uid", Generation: 1},
		Spec: v1alpha1.IdentitySpec{
			IdentitySettings: v1alpha1.IdentitySettings{Region: "eu-west-1"},

			Source: v1alpha1.IdentitySource{AccessKey: &v1alpha1.LocalAccessKeySource{SecretRef: v1alpha1.LocalSecretReference{Name: "own-key"}}},
		},
	}
}

func ownKey() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own-key"},
		Data:       map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("AKIAOWN"), "AWS_SECRET_ACCESS_KEY": []byte("own-secret")},
	}
}

// ofOwn is the reader with the shop's own identity.
func ofOwn() *v1alpha1.RoleCredential {
	return changed(reader(), func(c *v1alpha1.RoleCredential) {
		c.Spec.IdentityRef = v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindIdentity, Name: "own"}
	})
}

func TestATokenOfTheServiceAccountThatTheCredentialNamesGoesWithTheCall(t *testing.T) {
	named := changed(reader(), func(c *v1alpha1.RoleCredential) { c.Spec.ServiceAccountName = "reader" })
	for name, tc := range map[string]struct {
		objects []client.Object
		want    string
	}{
		"the one that it names":     {world(byToken(), named), "shop:reader for sts.amazonaws.com"},
		"default, if it names none": {world(byToken()), "shop:default for sts.amazonaws.com"},
		"with the identity's audience": {
			world(byToken(func(i *v1alpha1.ClusterIdentity) { i.Spec.Source.ServiceAccount.Audience = "sts.example" }), named), "shop:reader for sts.example",
		},
		"of the namespace's own identity": {
			world(ofOwn(), changed(ownIdentity(), func(i *v1alpha1.Identity) {
				i.Spec.Source = v1alpha1.IdentitySource{ServiceAccount: &v1alpha1.ServiceAccountSource{}}
			})), "shop:default for sts.amazonaws.com",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tc.objects...)
			got, _ := f.reconcile()
			f.Expect(firstBad(got.Status.Conditions)).To(HavePrefix("Ready=True Issued"))
			f.Expect(f.tokens.asked).To(HaveLen(2)) // the first tells what the API server's own audience is
			f.Expect(f.tokens.asked[1]).To(Equal(tc.want))
			f.Expect(f.sts.tokens).To(Equal([]string{"token of " + tc.want}))
		})
	}
}

func TestATokenIsKeptForNoLongerThanItLives(t *testing.T) {
	f := newFixture(t, world(byToken())...)
	f.reconcile()
	for _, step := range []struct {
		after time.Duration
		asked int // in all
	}{{7 * time.Minute, 2}, {9 * time.Minute, 3}} {
		f.clock.SetTime(start.Add(step.after))
		f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) {
			c.Annotations = map[string]string{v1alpha1.RefreshAnnotation: step.after.String()}
		}))
		f.reconcile()
		f.Expect(f.tokens.asked).To(HaveLen(step.asked))
	}
	f.Expect(f.sts.tokens).To(HaveLen(3))
}

func TestATokenThatSTSRefusesIsNotShownAgain(t *testing.T) {
	f := newFixture(t, world(byToken())...)
	f.sts.err = answers("InvalidIdentityToken")
	got, result := f.reconcile()
	f.Expect(firstBad(got.Status.Conditions)).To(And(
		HavePrefix("Issued=False InvalidSourceCredentials"), ContainSubstring("rejected the token of system:serviceaccount:shop:default (ClusterIdentity default)")))
	f.sts.err = nil
	f.clock.SetTime(start.Add(result.RequeueAfter))
	got, _ = f.reconcile()
	f.Expect(states(got.Status.Conditions)["Ready"]).To(Equal("True Issued"))
	f.Expect(f.tokens.asked).To(HaveLen(3))
}

func TestATokenThatCannotBeHad(t *testing.T) {
	resource := corev1.Resource("serviceaccounts")
	for name, tc := range map[string]struct {
		err      error
		audience string
		want     string
	}{
		"of no service account":             {err: apierrors.NewNotFound(resource, "default"), want: "Service account default does not exist in this namespace."},
		"that the operator may not ask for": {err: apierrors.NewForbidden(resource, "default", errors.New("RBAC")), want: "Install its ClusterRole for serviceaccounts/token"},
		"that the API server does not give": {err: errors.New("connection refused"), want: "issued no token for the service account default"},
		"for the API server's own audience": {audience: apiAudience, want: "Set source.serviceAccount.audience of the identity to another audience, such as sts.amazonaws.com. Add that to the client IDs of the IAM OIDC provider, and to the condition on aud"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, world(byToken(func(i *v1alpha1.ClusterIdentity) {
				if tc.audience != "" {
					i.Spec.Source.ServiceAccount.Audience = tc.audience
				}
			}))...)
			f.tokens.err = tc.err
			got, result := f.reconcile()
			f.Expect(states(got.Status.Conditions)).To(Equal(map[string]string{"Authorized": "True Allowed", "Issued": "False TokenNotIssued", "Ready": "False NotIssued"}))
			f.Expect(firstBad(got.Status.Conditions)).To(And(ContainSubstring(tc.want), HaveSuffix("STS was not called.")))
			f.Expect(firstBad(got.Status.Conditions)).NotTo(ContainSubstring("token of shop"))
			f.Expect(f.sts.issued).To(BeEmpty())
			f.Expect(result.RequeueAfter).To(BeNumerically("<=", failure.MaxWait))
			f.Expect(result.RequeueAfter).To(BeNumerically(">", 0))
		})
	}
}

func TestWhatAssumeRoleWithWebIdentityDoesNotTakeIsRefused(t *testing.T) {
	for field, set := range map[string]func(*v1alpha1.RoleCredentialSpec){
		"externalID":     func(s *v1alpha1.RoleCredentialSpec) { s.ExternalID = "k8s" },
		"sourceIdentity": func(s *v1alpha1.RoleCredentialSpec) { s.SourceIdentity = "alice" },
		"tags":           func(s *v1alpha1.RoleCredentialSpec) { s.Tags = []v1alpha1.Tag{{Key: "team", Value: new("shop")}} },
		"mfa":            func(s *v1alpha1.RoleCredentialSpec) { s.MFA = device() },
	} {
		t.Run(field, func(t *testing.T) {
			asks := changed(reader(), func(c *v1alpha1.RoleCredential) { set(&c.Spec) })
			f := newFixture(t, world(byToken(), asks, seedSecret(deviceSeed))...)
			got, result := f.reconcile()
			f.Expect(firstBad(got.Status.Conditions)).To(And(HavePrefix("Issued=False UnsupportedField"), ContainSubstring("has no parameter for spec."+field+".")))
			f.Expect(f.tokens.asked).To(BeEmpty())
			f.Expect(f.sts.issued).To(BeEmpty())
			f.Expect(result.RequeueAfter).To(BeZero())
		})
	}
}

func TestAnotherServiceAccountIsAnotherRequest(t *testing.T) {
	f := newFixture(t, world(byToken())...)
	f.reconcile()
	f.update(changed(f.credential(), func(c *v1alpha1.RoleCredential) { c.Spec.ServiceAccountName = "other" }))
	f.reconcile()
	f.Expect(f.sts.tokens).To(Equal([]string{"token of shop:default for sts.amazonaws.com", "token of shop:other for sts.amazonaws.com"}))
}

// verifyOwn lets the shop's own identity go the way once.
func (f *fixture) verifyOwn() *v1alpha1.Identity {
	f.t.Helper()
	of := f.identities
	r := &IdentityReconciler[*v1alpha1.Identity]{
		New: func() *v1alpha1.Identity { return &v1alpha1.Identity{} }, Client: of.Client, Identities: of.Identities, Limits: of.Limits, Events: of.Events, Metrics: of.Metrics, Clock: of.Clock,
	}
	key := client.ObjectKeyFromObject(ownIdentity())
	_, err := r.Reconcile(f.t.Context(), reconcile.Request{NamespacedName: key})
	f.Expect(err).NotTo(HaveOccurred())
	got := &v1alpha1.Identity{}
	f.Expect(f.client.Get(f.t.Context(), key, got)).To(Succeed())
	return got
}

func TestANamespacesOwnIdentityReports(t *testing.T) {
	with := func(change func(*v1alpha1.Identity)) *v1alpha1.Identity { return changed(ownIdentity(), change) }
	for name, tc := range map[string]struct {
		objects   []client.Object
		endpoints bool // are allowed
		want      string
		wantCalls int
	}{
		"a caller that STS knows":                 {objects: world(ownIdentity(), ownKey()), want: "True Verified", wantCalls: 1},
		"a key that is another namespace's":       {objects: world(ownIdentity(), changed(ownKey(), func(s *corev1.Secret) { s.Namespace = "bank" })), want: "False SecretNotFound"},
		"an endpoint":                             {objects: world(with(func(i *v1alpha1.Identity) { i.Spec.Endpoint = "https://sts.example" }), ownKey()), want: "False InvalidEndpoint"},
		"an endpoint where the operator takes it": {objects: world(with(func(i *v1alpha1.Identity) { i.Spec.Endpoint = "https://sts.example" }), ownKey()), endpoints: true, want: "True Verified", wantCalls: 1},
		"service accounts, who have no caller of their own to ask for": {
			objects: world(with(func(i *v1alpha1.Identity) {
				i.Spec.Source = v1alpha1.IdentitySource{ServiceAccount: &v1alpha1.ServiceAccountSource{}}
			})), want: "True NotVerifiable",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tc.objects...)
			f.identities.Identities.AllowNamespacedEndpoints = tc.endpoints
			f.Expect(states(f.verifyOwn().Status.Conditions)).To(HaveKeyWithValue("Ready", tc.want))
			f.Expect(f.sts.callers).To(Equal(tc.wantCalls))
		})
	}
}

func TestANamespaceMayDoAllThatItsOwnIdentityCan(t *testing.T) {
	asks := changed(ofOwn(), func(c *v1alpha1.RoleCredential) {
		c.Spec.RoleARN, c.Spec.SessionName, c.Spec.Duration = "arn:aws:iam::999999999999:role/any", "any-name", &metav1.Duration{Duration: 12 * time.Hour}
	})
	f := newFixture(t, without(defaultIdentity(), world(ownIdentity(), ownKey(), asks))...)
	got, _ := f.reconcile()
	f.Expect(firstBad(got.Status.Conditions)).To(HavePrefix("Ready=True Issued"))
	f.Expect(message(got.Status.Conditions, "Authorized")).To(Equal("Identity own allows the request."))

	own := v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindIdentity, Name: "own"}
	user := changed(session(), func(c *v1alpha1.SessionCredential) { c.Spec.IdentityRef = own })
	f.Expect(firstBad(reconcileKind(f, sessionCredential, user).Status.Conditions)).To(HavePrefix("Ready=True Issued"))
	narrower := changed(federated(), func(c *v1alpha1.FederatedCredential) { c.Spec.IdentityRef = own })
	f.Expect(firstBad(reconcileKind(f, federatedCredential, narrower).Status.Conditions)).To(HavePrefix("Ready=True Issued"))
}

func TestAnotherNamespacesIdentityIsNotThere(t *testing.T) {
	f := newFixture(t, world(ofOwn(), changed(ownIdentity(), func(i *v1alpha1.Identity) { i.Namespace = "bank" }), ownKey())...)
	got, _ := f.reconcile()
	f.Expect(firstBad(got.Status.Conditions)).To(Equal("Authorized=False IdentityNotFound: There is no Identity own. Create it, or change spec.identityRef."))
}
