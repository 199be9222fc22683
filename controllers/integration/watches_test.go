package integration_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

func TestChangedSecretIsRepairedWithOneCall(t *testing.T) {
	for name, change := range map[string]func(h *harness, secret *corev1.Secret){
		"deleted": func(h *harness, s *corev1.Secret) { h.Expect(admin.Delete(h.ctx, s)).To(Succeed()) },
		"with a key edited by hand": func(h *harness, s *corev1.Secret) {
			s.Data["AWS_SECRET_ACCESS_KEY"] = []byte("edited")
			h.Expect(admin.Update(h.ctx, s)).To(Succeed())
		},
		"with a key removed": func(h *harness, s *corev1.Secret) {
			delete(s.Data, "AWS_SESSION_TOKEN")
			h.Expect(admin.Update(h.ctx, s)).To(Succeed())
		},
		"with a key added": func(h *harness, s *corev1.Secret) {
			s.Data["AWS_ENDPOINT_URL"] = []byte("https://elsewhere.example")
			h.Expect(admin.Update(h.ctx, s)).To(Succeed())
		},
		"without the managed-by label": func(h *harness, s *corev1.Secret) {
			delete(s.Labels, v1alpha1.ManagedByLabel)
			h.Expect(admin.Update(h.ctx, s)).To(Succeed())
		},
		"with a later expiration in its record": func(h *harness, s *corev1.Secret) {
			s.Annotations["sts.rolecredential.dev/expiration"] = "2999-01-01T00:00:00Z"
			h.Expect(admin.Update(h.ctx, s)).To(Succeed())
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, stsemulator.Options{})
			h.start()
			namespace := h.namespace(nil)
			created := h.credential(namespace, "repaired", h.identity())
			h.eventually(created, "Ready", "True Issued")
			change(h, h.secret(namespace, "repaired"))
			h.Eventually(func() string {
				if secret := h.secret(namespace, "repaired"); secret != nil && len(secret.Data) == 3 && secret.Labels[v1alpha1.ManagedByLabel] != "" {
					return string(secret.Data["AWS_ACCESS_KEY_ID"])
				}
				return ""
			}).WithTimeout(waitLimit).Should(Equal(h.lastIssued(2)))
			h.eventually(created, "Ready", "True Issued")
			h.Expect(h.issues()).To(Equal(2))
		})
	}
}

// lastIssued waits for the nth issue, and returns its access key ID.
func (h *harness) lastIssued(n int) string {
	h.t.Helper()
	// The emulator records the session with the response, after the call.
	h.Eventually(func() int { return len(h.sts.Sessions()) }).WithTimeout(waitLimit).Should(BeNumerically(">=", n))
	return h.sts.Sessions()[n-1].AccessKeyID
}

func TestForeignSecretBlocksCredentialUntilItIsDeleted(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "taken"}, Data: map[string][]byte{"password": []byte("theirs")}}
	h.Expect(admin.Create(h.ctx, foreign)).To(Succeed())
	created := h.credential(namespace, "taken", h.identity())
	h.eventually(created, "Ready", "False SecretConflict")
	h.Expect(h.secret(namespace, "taken")).To(Equal(foreign))
	h.stop()
	before := h.reconciles()
	h.start()
	h.Eventually(h.reconciles).WithTimeout(waitLimit).Should(BeNumerically(">", before))

	h.Expect(admin.Delete(h.ctx, foreign)).To(Succeed())
	h.refresh(created, "1") // sooner than the check each minute
	h.eventually(created, "Ready", "True Issued")
	h.Expect(h.issues()).To(Equal(2), "STS was called once before the operator found the foreign Secret, and once after its deletion")
}

func TestAnnotatedSecretIsAdopted(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "moved"}, Data: map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("AKIAOLD"), "old": []byte("x")}}
	h.Expect(admin.Create(h.ctx, foreign)).To(Succeed())
	created := h.credential(namespace, "moved", h.identity())
	h.eventually(created, "Ready", "False SecretConflict")
	metav1.SetMetaDataAnnotation(&foreign.ObjectMeta, v1alpha1.AdoptAnnotation, "RoleCredential/moved")
	h.Expect(admin.Update(h.ctx, foreign)).To(Succeed())
	h.refresh(created, "1") // sooner than the check each minute
	h.eventually(created, "Ready", "True Issued")
	adopted := h.secret(namespace, "moved")
	h.Expect(adopted.UID).To(Equal(foreign.UID))
	h.Expect(adopted.Data).To(HaveLen(3))
}

func TestChangedDependencyEnqueuesCredential(t *testing.T) {
	for name, tc := range map[string]struct {
		identity func(*v1alpha1.ClusterIdentity)
		change   func(h *harness, by *v1alpha1.ClusterIdentity)
		want     string
		repair   func(h *harness, namespace string, by *v1alpha1.ClusterIdentity)
	}{
		"a rule that is added": {
			identity: func(i *v1alpha1.ClusterIdentity) { i.Spec.Allow = &[]v1alpha1.AllowRule{} },
			want:     "False NotAllowed",
			repair: func(h *harness, namespace string, by *v1alpha1.ClusterIdentity) {
				update(h, by, func(i *v1alpha1.ClusterIdentity) {
					i.Spec.Allow = &[]v1alpha1.AllowRule{{Namespaces: []string{namespace}, RoleARNs: []string{readerRole}}}
				})
			},
		},
		"a label on the namespace": {
			identity: func(i *v1alpha1.ClusterIdentity) {
				i.Spec.Allow = &[]v1alpha1.AllowRule{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"aws": "yes"}}, RoleARNs: []string{"*"}}}
			},
			want: "False NotAllowed",
			repair: func(h *harness, namespace string, _ *v1alpha1.ClusterIdentity) {
				update(h, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, func(n *corev1.Namespace) { n.Labels["aws"] = "yes" })
			},
		},
		"the identity itself": {
			change: func(h *harness, by *v1alpha1.ClusterIdentity) { h.Expect(admin.Delete(h.ctx, by)).To(Succeed()) },
			want:   "False IdentityNotFound",
			repair: func(h *harness, _ string, by *v1alpha1.ClusterIdentity) {
				by.ResourceVersion, by.UID = "", ""
				h.Expect(admin.Create(h.ctx, by)).To(Succeed())
			},
		},
		"the identity's Secret": {
			change: func(h *harness, by *v1alpha1.ClusterIdentity) {
				h.Expect(admin.Delete(h.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: by.Name}})).To(Succeed())
			},
			want: "False IdentityNotReady",
			repair: func(h *harness, _ string, by *v1alpha1.ClusterIdentity) {
				h.putKey(by.Name, h.sts.AccessKeys(operatorARN)[0])
			},
		},
		"a key in the identity's Secret": {
			change: func(h *harness, by *v1alpha1.ClusterIdentity) {
				h.putKey(by.Name, stsemulator.AccessKey{ID: "AKIAIOSFODNN7EXAMPLE"})
			},
			want: "False IdentityNotReady",
			repair: func(h *harness, _ string, by *v1alpha1.ClusterIdentity) {
				h.putKey(by.Name, h.sts.AccessKeys(operatorARN)[0])
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, stsemulator.Options{})
			h.start()
			namespace := h.namespace(nil)
			by := h.identity(func(i *v1alpha1.ClusterIdentity) {
				if tc.identity != nil {
					tc.identity(i)
				}
			})
			if tc.change != nil {
				tc.change(h, by)
			}
			created := h.credential(namespace, "waits", by)
			h.eventually(created, "Authorized", tc.want)
			h.Expect(h.secret(namespace, "waits")).To(BeNil())
			tc.repair(h, namespace, by)
			h.eventually(created, "Ready", "True Issued")
		})
	}
}

func TestRotatedSourceKeyCausesNoFailedCall(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	by := h.identity()
	h.eventually(by, "Ready", "True Verified")
	created := h.credential(namespace, "rotated", by)
	h.eventually(created, "Ready", "True Issued")

	oldKey := h.sts.AccessKeys(operatorARN)[0]
	newKey, err := h.sts.CreateAccessKey(operatorARN)
	h.Expect(err).NotTo(HaveOccurred())
	h.putKey(by.Name, newKey)
	h.Eventually(func() string { return h.sts.Calls()[len(h.sts.Calls())-1].AccessKeyID }).WithTimeout(waitLimit).Should(Equal(newKey.ID)) // GetCallerIdentity
	h.Expect(h.sts.DeleteAccessKey(oldKey.ID)).To(Succeed())
	h.refresh(created, "now")
	h.Eventually(func() string { h.state(created, "Ready")(); return created.Status.LastHandledRefreshRequest }).WithTimeout(waitLimit).Should(Equal("now"))
	for _, call := range h.sts.Calls() {
		h.Expect(call.Code).To(BeEmpty())
	}
}

func TestCredentialRecoversWhenSourceKeyIsCorrected(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	by := h.identity()
	h.putKey(by.Name, stsemulator.AccessKey{ID: h.sts.AccessKeys(operatorARN)[0].ID, Secret: "wrong"})
	created := h.credential(h.namespace(nil), "heals", by)
	h.eventually(created, "Issued", "False InvalidSourceCredentials")
	h.eventually(by, "Ready", "False InvalidSourceCredentials")
	h.putKey(by.Name, h.sts.AccessKeys(operatorARN)[0])
	h.eventually(created, "Ready", "True Issued")
	h.eventually(by, "Ready", "True Verified")
}
