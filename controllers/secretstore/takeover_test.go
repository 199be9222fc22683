package secretstore_test

import (
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/secretstore"
)

// takeOver takes over the Secret as it is observed now.
func (f *fixture) takeOver() (secretstore.Observed, error) {
	f.t.Helper()
	return f.store.TakeOver(f.t.Context(), owner(), f.observe(), v1alpha1.SecretTemplate{})
}

// settingsOwner is an owner that does not control the Secret.
var settingsOwner = metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "settings", UID: "settings-uid"}

func TestTakeOverIsOneWriteOfTheOwnerAndTheRecord(t *testing.T) {
	for name, left := range map[string]*corev1.Secret{
		"without an owner":              foreign(recordOf("RoleCredential/s3-reader")),
		"with a former controller":      foreign(recordOf("RoleCredential/s3-reader"), controlledBy("former-uid")),
		"with a record without a name":  foreign(recordOf(""), controlledBy("former-uid")),
		"that is immutable":             foreign(recordOf("RoleCredential/s3-reader"), func(s *corev1.Secret) { s.Immutable = new(true) }),
		"with an owner that is present": foreign(recordOf("RoleCredential/s3-reader"), func(s *corev1.Secret) { s.OwnerReferences = append(s.OwnerReferences, settingsOwner) }),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.create(left.DeepCopy())
			before := f.stored()
			observed, err := f.takeOver()
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(f.writes).To(Equal([]string{"update"}))
			after := f.stored()
			f.Expect(after.UID).To(Equal(before.UID))
			f.Expect(after.Data).To(Equal(before.Data))
			f.Expect(after.Labels).To(Equal(before.Labels))
			f.Expect(after.Annotations).To(HaveKeyWithValue("note", "mine"))
			f.Expect(after.OwnerReferences).To(ContainElement(ownedBy("owner-uid")))
			f.Expect(after.OwnerReferences).NotTo(ContainElement(ownedBy("former-uid")))
			f.Expect(metav1.IsControlledBy(after, owner())).To(BeTrue())

			want := content(1).Record
			f.Expect(observed.Ownership).To(Equal(reissue.Ours))
			f.Expect(*observed.Record).To(Equal(want))
			f.Expect(*f.observe().Record).To(Equal(want), "the record names the credential from now on")
		})
	}
}

func TestTakeOverKeepsOwnersThatAreNotControllers(t *testing.T) {
	f := newFixture(t)
	f.create(foreign(recordOf("RoleCredential/s3-reader"), controlledBy("former-uid"), func(s *corev1.Secret) { s.OwnerReferences = append(s.OwnerReferences, settingsOwner) }))
	_, err := f.takeOver()
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(f.stored().OwnerReferences).To(Equal([]metav1.OwnerReference{settingsOwner, ownedBy("owner-uid")}))
}

func TestTakenOverSecretIsRefreshedAndPruned(t *testing.T) {
	f := newFixture(t)
	f.create(foreign(recordOf("RoleCredential/s3-reader")))
	observed, err := f.takeOver()
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(f.store.Write(t.Context(), owner(), readerID.Name, observed, content(2))).To(Succeed())
	f.Expect(f.writes).To(Equal([]string{"update", "update"}))
	f.Expect(*f.observe().Record).To(Equal(content(2).Record))
	f.Expect(f.store.Prune(t.Context(), owner(), "elsewhere")).To(Succeed())
	f.Expect(f.stored()).To(BeNil())
}

func TestTakeOverOfASecretThatChangesMeanwhile(t *testing.T) {
	for name, tc := range map[string]struct {
		race func(*fixture)
		want reissue.Ownership
	}{
		"it is edited":            {func(f *fixture) { f.edit(func(s *corev1.Secret) { s.Labels["team"] = "shop" }) }, reissue.Former},
		"it is deleted":           {(*fixture).delete, reissue.Absent},
		"a foreign one comes":     {func(f *fixture) { f.delete(); f.create(foreign()) }, reissue.Foreign},
		"its data is overwritten": {func(f *fixture) { f.edit(func(s *corev1.Secret) { s.Data = nil }) }, reissue.Foreign},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.create(foreign(recordOf("RoleCredential/s3-reader")))
			f.before = func(string) error {
				f.before = nil
				tc.race(f)
				return nil
			}
			_, err := f.takeOver()
			f.Expect(err).To(Satisfy(func(err error) bool { return apierrors.IsConflict(err) || apierrors.IsNotFound(err) }), "the reconciler retries")
			f.Expect(f.writes).To(Equal([]string{"update"}))
			f.Expect(f.observe().Ownership).To(Equal(tc.want))
		})
	}
}

func TestRejectedTakeOverLeavesTheSecret(t *testing.T) {
	f := newFixture(t)
	f.create(foreign(recordOf("RoleCredential/s3-reader")))
	before := f.stored()
	refused := apierrors.NewForbidden(secrets, "s3-reader", errors.New("a policy"))
	f.before = func(string) error { return refused }
	observed, err := f.takeOver()
	f.Expect(err).To(MatchError(refused))
	f.Expect(observed.Record).NotTo(BeNil(), "the Secret still holds a valid credential")
	f.Expect(f.writes).To(Equal([]string{"update"}))
	f.Expect(f.stored()).To(Equal(before))
}

func TestAdoptionRemovesCopiesOfTheOldData(t *testing.T) {
	const key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	for name, tc := range map[string]struct {
		value string
		stays bool
	}{
		"what kubectl apply keeps":          {value: `{"apiVersion":"v1","data":{"key":"d0phbHJYVXRuRkVNSS9LN01ERU5HL2JQeFJmaUNZRVhBTVBMRUtFWQ=="},"kind":"Secret"}`},
		"the text itself":                   {value: "key=" + key},
		"the text in base64":                {value: "d0phbHJYVXRuRkVNSS9LN01ERU5HL2JQeFJmaUNZRVhBTVBMRUtFWQ=="},
		"a compressed copy, as Fleet keeps": {value: "H4sI" + strings.Repeat("A", 125)},
		"a note":                            {value: "owned by team shop", stays: true},
		"a note that has a short value":     {value: "on port 5432", stays: true},
		"a list of names":                   {value: strings.Repeat("shop,", 25), stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.create(foreign(adopted, func(s *corev1.Secret) {
				s.Data = map[string][]byte{"AWS_SECRET_ACCESS_KEY": []byte(key), "port": []byte("5432"), "empty": nil}
				s.Annotations["example.com/annotation"] = tc.value
			}))
			f.put(content(1))
			if tc.stays {
				f.Expect(f.stored().Annotations).To(HaveKeyWithValue("example.com/annotation", tc.value))
			} else {
				f.Expect(f.stored().Annotations).NotTo(HaveKey("example.com/annotation"))
			}
		})
	}
}

func TestAdoptionKeepsAnnotationsOfTheTemplate(t *testing.T) {
	f := newFixture(t)
	f.create(foreign(adopted))
	long := strings.Repeat("shop,", 100)
	f.put(content(1, template("t", nil, map[string]string{"reflector": long})))
	f.Expect(f.stored().Annotations).To(HaveKeyWithValue("reflector", long))
}

func TestCacheHoldsNoAnnotationThatTheOperatorDoesNotRead(t *testing.T) {
	const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
	for name, owned := range map[string]bool{"of a Secret of a credential": true, "of any other Secret": false} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.put(content(1))
			f.edit(func(s *corev1.Secret) {
				s.Labels["team"], s.Annotations[lastApplied], s.Annotations["sts.rolecredential.dev/adopt"] = "shop", "AKIAOLD", "AKIAOLD"
				if !owned {
					s.OwnerReferences, s.Finalizers = []metav1.OwnerReference{settingsOwner}, []string{"example.com/AKIAOLD"}
				}
			})
			cached := secretstore.Metadata()
			f.Expect(f.store.Client.Get(t.Context(), readerID, cached)).To(Succeed())
			f.Expect(cached.Labels).To(BeNil())
			f.Expect(cached.ManagedFields).To(BeNil())
			f.Expect(cached.Annotations).To(HaveKeyWithValue("sts.rolecredential.dev/credential", "RoleCredential/s3-reader"))
			record := []string{"cache-others", "cache-keys"}
			if owned {
				record = append(record, reissue.RecordKeys...)
			} else {
				record = append(record, "sts.rolecredential.dev/credential")
				f.Expect(cached.OwnerReferences).To(BeNil())
				f.Expect(cached.Finalizers).To(BeNil())
			}
			for key := range cached.Annotations {
				f.Expect(record).To(ContainElement(Or(Equal(key), WithTransform(func(prefix string) bool { return strings.HasPrefix(key, prefix+"-") }, BeTrue()))), key)
			}

			once := cached.DeepCopy()
			_, err := secretstore.TrimForCache(cached)
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(cached).To(Equal(once), "an informer may apply a transform twice")
		})
	}
}

func TestSecretWithTemplateMetadataIsNotRead(t *testing.T) {
	c := content(1, template("t", map[string]string{"app": "shop"}, map[string]string{"note": "x"}))
	f := newFixture(t)
	f.put(c)
	f.restart()
	f.reads = 0
	observed, err := f.store.Observe(t.Context(), owner(), readerID.Name, c.Template, false)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(observed.Record).NotTo(BeNil())
	next := content(2, template("t", c.Template.Labels, c.Template.Annotations))
	f.Expect(f.store.Write(t.Context(), owner(), readerID.Name, observed, next)).To(Succeed())
	f.Expect(f.reads).To(BeZero())
	f.Expect(f.stored().Labels).To(Equal(map[string]string{"app": "shop", v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}))
	f.Expect(f.stored().Annotations).To(HaveKeyWithValue("note", "x"))
}

// An annotation of the old record would not match the checksum of the new one.
func TestRefreshRemovesAnnotationsThatTheNewRecordLacks(t *testing.T) {
	f := newFixture(t)
	f.put(content(1, func(c *secretstore.Content) { c.Record.RefreshRequest = "monday" }))
	f.put(content(2))
	f.Expect(f.stored().Annotations).NotTo(HaveKey("sts.rolecredential.dev/refresh-request"))
	f.restart()
	f.Expect(f.observe().Record).NotTo(BeNil())
}

func TestCredentialOfASecret(t *testing.T) {
	for name, tc := range map[string]struct {
		secret *corev1.Secret
		kind   string
		want   string
	}{
		"a credential controls it":                                        {foreign(controlledBy("owner-uid")), "RoleCredential", "s3-reader"},
		"a credential of another kind controls it":                        {foreign(controlledBy("owner-uid")), "SessionCredential", ""},
		"another object controls it, and its record names one":            {foreign(recordOf("RoleCredential/s3-reader"), controlledBy("uid", func(o *metav1.OwnerReference) { o.APIVersion = "v1" })), "RoleCredential", ""},
		"no object controls it, and its record names one":                 {foreign(recordOf("RoleCredential/s3-reader")), "RoleCredential", "s3-reader"},
		"no object controls it, and its record names one of another kind": {foreign(recordOf("RoleCredential/s3-reader")), "SessionCredential", ""},
		"no object controls it, and it has no record":                     {foreign(), "RoleCredential", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, ok := secretstore.CredentialOf(tc.kind, tc.secret)
			g.Expect(ok).To(Equal(tc.want != ""))
			if ok {
				g.Expect(got).To(Equal(tc.want))
			}
		})
	}
}
