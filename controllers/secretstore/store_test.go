package secretstore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/secretstore"
)

var (
	start    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	secrets  = schema.GroupResource{Resource: "secrets"}
	readerID = types.NamespacedName{Namespace: "shop", Name: "s3-reader"}
)

// fixture is a Store on a fake client that handles UIDs as an API server does.
type fixture struct {
	*WithT
	t      *testing.T
	client client.Client
	store  *secretstore.Store
	// writes are the verbs of the writes.
	writes []string
	// pages are the namespaces of the pages of Secrets that were read, empty for all namespaces.
	pages []string
	// before runs before a write, and may reject it.
	before func(verb string) error
	// listed runs after a page of Secrets is read, and may fail.
	listed func() error
	uids   int
	reads  int // of Secrets
	paused bool
}

func newFixture(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	f := &fixture{WithT: NewWithT(t), t: t}
	scheme := runtime.NewScheme()
	f.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	f.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	f.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithReturnManagedFields().WithGlobalResourceVersionCounter().
		WithIndex(secretstore.Metadata(), secretstore.OwnerIndex, secretstore.IndexOwner).
		WithInterceptorFuncs(f.apiServer()).Build()
	f.restart()
	return f
}

// restart creates a new Store. Its client reads metadata as the cache holds it.
func (f *fixture) restart() {
	f.t.Helper()
	stored, ok := f.client.(client.WithWatch)
	f.Expect(ok).To(BeTrue())
	cached := interceptor.NewClient(stored, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, name client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if err := c.Get(ctx, name, o, options...); err != nil {
				return err
			}
			_, err := secretstore.TrimForCache(o)
			return err
		},
	})
	reader := interceptor.NewClient(stored, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, name client.ObjectKey, o client.Object, options ...client.GetOption) error {
			f.reads++
			return c.Get(ctx, name, o, options...)
		},
		List: f.list,
	})
	f.store = &secretstore.Store{Client: cached, APIReader: reader}
}

// list reads a page, which the fake client does not.
func (f *fixture) list(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
	requested := (&client.ListOptions{}).ApplyOptions(options)
	f.pages = append(f.pages, requested.Namespace)
	if err := c.List(ctx, list, &client.ListOptions{Namespace: requested.Namespace, LabelSelector: requested.LabelSelector}); err != nil {
		return err
	}
	page, ok := list.(*corev1.SecretList)
	f.Expect(ok).To(BeTrue())
	from, _ := strconv.Atoi(requested.Continue)
	if to := from + int(requested.Limit); to < len(page.Items) {
		page.Items, page.Continue = page.Items[:to], strconv.Itoa(to)
	}
	page.Items = page.Items[from:]
	if f.listed == nil {
		return nil
	}
	return f.listed()
}

// apiServer adds what the fake client lacks: UIDs, immutable types, and preconditions of deletes.
func (f *fixture) apiServer() interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if err := f.write("create"); err != nil {
				return err
			}
			f.uids++
			o.SetUID(types.UID(fmt.Sprintf("uid-%d", f.uids)))
			return c.Create(ctx, o, options...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.UpdateOption) error {
			if err := f.write("update"); err != nil {
				return err
			}
			updated, stored := o.(*corev1.Secret), &corev1.Secret{}
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), stored); err == nil && updated.Type != stored.Type {
				return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Secret").GroupKind(), stored.Name, field.ErrorList{field.Invalid(field.NewPath("type"), updated.Type, "field is immutable")})
			}
			return c.Update(ctx, o, options...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			if err := f.write("delete"); err != nil {
				return err
			}
			requested := (&client.DeleteOptions{}).ApplyOptions(options)
			stored := &corev1.Secret{}
			err := c.Get(ctx, client.ObjectKeyFromObject(o), stored)
			if err == nil && requested.Preconditions != nil && *requested.Preconditions.UID != stored.UID {
				return apierrors.NewConflict(secrets, stored.Name, errors.New("Precondition failed: UID in precondition"))
			}
			return c.Delete(ctx, o, options...)
		},
	}
}

func (f *fixture) write(verb string) error {
	if f.paused {
		return nil
	}
	f.writes = append(f.writes, verb)
	if f.before == nil {
		return nil
	}
	f.paused = true
	defer func() { f.paused = false }()
	return f.before(verb)
}

// asOthers runs requests of another client.
func (f *fixture) asOthers(do func(ctx context.Context, c client.Client) error) {
	f.t.Helper()
	was := f.paused
	f.paused = true
	defer func() { f.paused = was }()
	f.Expect(do(f.t.Context(), f.client)).To(Succeed())
}

func (f *fixture) create(s *corev1.Secret) {
	f.t.Helper()
	f.asOthers(func(ctx context.Context, c client.Client) error {
		return c.Create(ctx, s, client.FieldOwner("kubectl"))
	})
}

func (f *fixture) delete() {
	f.t.Helper()
	f.asOthers(func(ctx context.Context, c client.Client) error { return c.Delete(ctx, f.stored()) })
}

// edit changes the Secret as another client.
func (f *fixture) edit(change func(*corev1.Secret)) {
	f.t.Helper()
	s := f.stored()
	change(s)
	f.asOthers(func(ctx context.Context, c client.Client) error {
		return c.Update(ctx, s, client.FieldOwner("kubectl"))
	})
}

// stored returns the Secret, nil if there is none.
func (f *fixture) stored() *corev1.Secret {
	f.t.Helper()
	s := &corev1.Secret{}
	err := f.client.Get(f.t.Context(), readerID, s)
	f.Expect(client.IgnoreNotFound(err)).To(Succeed())
	if err != nil {
		return nil
	}
	return s
}

func (f *fixture) observe() secretstore.Observed {
	f.t.Helper()
	observed, err := f.store.Observe(f.t.Context(), owner(), readerID.Name, v1alpha1.SecretTemplate{}, false)
	f.Expect(err).NotTo(HaveOccurred())
	return observed
}

// put observes the Secret and writes the content.
func (f *fixture) put(c secretstore.Content) {
	f.t.Helper()
	f.Expect(f.store.Write(f.t.Context(), owner(), readerID.Name, f.observe(), c)).To(Succeed())
}

func owner() *v1alpha1.RoleCredential {
	return &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader", UID: "owner-uid"}}
}

func ownedBy(uid types.UID) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: "sts.rolecredential.dev/v1alpha1", Kind: "RoleCredential", Name: "s3-reader", UID: uid, Controller: new(true),
	}
}

// content returns the content of the nth issue.
func content(n int, change ...func(*secretstore.Content)) secretstore.Content {
	c := secretstore.Content{
		Data: map[string][]byte{
			"AWS_ACCESS_KEY_ID": fmt.Appendf(nil, "ASIA%d", n), "AWS_SECRET_ACCESS_KEY": fmt.Appendf(nil, "secret-%d", n), "AWS_SESSION_TOKEN": fmt.Appendf(nil, "token-%d", n),
		},
		Record: reissue.Record{
			Credential: "RoleCredential/s3-reader", RequestHash: "request", IssuerHash: "issuer", TemplateHash: "template",
			IssuedAt: start.Add(time.Duration(n) * time.Hour), Expiration: start.Add(time.Duration(n+1) * time.Hour), AccessKeyID: fmt.Sprintf("ASIA%d", n),
		},
	}
	for _, f := range change {
		f(&c)
	}
	c.Record = c.Record.WithChecksum(c.Data)
	return c
}

// template sets the template of a content, and its hash.
func template(hash string, labels, annotations map[string]string) func(*secretstore.Content) {
	return func(c *secretstore.Content) {
		c.Template = v1alpha1.SecretTemplate{Labels: labels, Annotations: annotations}
		c.Record.TemplateHash = hash
	}
}

// foreign returns a Secret that does not belong to the credential.
func foreign(change ...func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader", Labels: map[string]string{"app": "other"}, Annotations: map[string]string{"note": "mine"}},
		Data:       map[string][]byte{"password": []byte("theirs"), "AWS_ACCESS_KEY_ID": []byte("theirs")},
		Type:       corev1.SecretTypeOpaque,
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func adopted(s *corev1.Secret) {
	s.Annotations[v1alpha1.AdoptAnnotation] = "RoleCredential/s3-reader"
}

// recordOf makes a Secret one that the operator wrote for a credential, without an owner reference. Records of earlier releases have
// no credential.
func recordOf(credential string) func(*corev1.Secret) {
	return func(s *corev1.Secret) {
		c := content(1, func(c *secretstore.Content) { c.Record.Credential = credential })
		s.Data = c.Data
		s.Labels = map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}
		maps.Copy(s.Annotations, c.Record.Annotations())
	}
}

// controlledBy gives a Secret a controller, changed.
func controlledBy(uid types.UID, change ...func(*metav1.OwnerReference)) func(*corev1.Secret) {
	return func(s *corev1.Secret) {
		owner := ownedBy(uid)
		for _, c := range change {
			c(&owner)
		}
		s.OwnerReferences = append(s.OwnerReferences, owner)
	}
}

func TestOwnershipOfASecret(t *testing.T) {
	const self = "RoleCredential/s3-reader"
	for name, tc := range map[string]struct {
		stored *corev1.Secret
		want   reissue.Ownership
	}{
		"there is none": {nil, reissue.Absent},
		"it is foreign": {foreign(), reissue.Foreign},
		"it has no owner, and its record names the credential":                {foreign(recordOf(self)), reissue.Former},
		"it has no owner, and its record names no credential":                 {foreign(recordOf("")), reissue.Foreign},
		"it has no owner, and its record names another credential":            {foreign(recordOf("RoleCredential/other")), reissue.Foreign},
		"it has no owner, and its record names another kind":                  {foreign(recordOf("SessionCredential/s3-reader")), reissue.Foreign},
		"a former credential controls it, and its record names it":            {foreign(recordOf(self), controlledBy("former-uid")), reissue.Former},
		"a former credential controls it, and its record names no credential": {foreign(recordOf(""), controlledBy("former-uid")), reissue.Former},
		"a former credential controls it, and its record names another":       {foreign(recordOf("RoleCredential/other"), controlledBy("former-uid")), reissue.Foreign},
		"another credential controls it": {
			foreign(recordOf(self), controlledBy("other-uid", func(o *metav1.OwnerReference) { o.Name = "other" })), reissue.Foreign,
		},
		"a credential of another kind controls it": {
			foreign(recordOf(self), controlledBy("other-uid", func(o *metav1.OwnerReference) { o.Kind = "SessionCredential" })), reissue.Foreign,
		},
		"an object of another group controls it": {
			foreign(recordOf(self), controlledBy("other-uid", func(o *metav1.OwnerReference) { o.APIVersion = "example.com/v1" })), reissue.Foreign,
		},
		"its record names the credential, and its data was edited": {
			foreign(recordOf(self), func(s *corev1.Secret) { s.Data["AWS_ACCESS_KEY_ID"] = []byte("edited") }), reissue.Foreign,
		},
		"its record names the credential, and the label is missing": {
			foreign(recordOf(self), func(s *corev1.Secret) { s.Labels = nil }), reissue.Foreign,
		},
		"its record was edited to name the credential": {
			foreign(recordOf("RoleCredential/other"), func(s *corev1.Secret) { s.Annotations["sts.rolecredential.dev/credential"] = self }), reissue.Foreign,
		},
		"it is owned, but not controlled, by the credential": {
			foreign(func(s *corev1.Secret) {
				s.OwnerReferences = []metav1.OwnerReference{ownedBy("owner-uid")}
				s.OwnerReferences[0].Controller = nil
			}), reissue.Foreign,
		},
		"it may adopt it": {foreign(adopted), reissue.Adopted},
		"it may adopt it, and the operator wrote it": {foreign(recordOf(""), adopted), reissue.Adopted},
		"the annotation names another credential": {
			foreign(func(s *corev1.Secret) { s.Annotations[v1alpha1.AdoptAnnotation] = "RoleCredential/other" }), reissue.Foreign,
		},
		"the annotation names another kind": {
			foreign(func(s *corev1.Secret) { s.Annotations[v1alpha1.AdoptAnnotation] = "SessionCredential/s3-reader" }), reissue.Foreign,
		},
		"the annotation is empty":      {foreign(func(s *corev1.Secret) { s.Annotations[v1alpha1.AdoptAnnotation] = "" }), reissue.Foreign},
		"the annotation is a wildcard": {foreign(func(s *corev1.Secret) { s.Annotations[v1alpha1.AdoptAnnotation] = "*" }), reissue.Foreign},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if tc.stored != nil {
				f.create(tc.stored)
			}
			observed := f.observe()
			f.Expect(observed.Ownership).To(Equal(tc.want))
			f.Expect(observed.Record != nil).To(Equal(tc.want == reissue.Former), "only owned Secrets have a record")
		})
	}
}

func TestRecordCountsOnlyIfItMatchesTheSecret(t *testing.T) {
	const prefix = "sts.rolecredential.dev/"
	for name, tc := range map[string]struct {
		edit func(*corev1.Secret)
		want bool
	}{
		"it is as it was written":            {func(*corev1.Secret) {}, true},
		"another client added a label":       {func(s *corev1.Secret) { s.Labels["app"] = "shop" }, true},
		"another client added an annotation": {func(s *corev1.Secret) { s.Annotations["note"] = "x" }, true},
		"a value was edited":                 {func(s *corev1.Secret) { s.Data["AWS_ACCESS_KEY_ID"] = []byte("other") }, false},
		"a value was emptied":                {func(s *corev1.Secret) { s.Data["AWS_SESSION_TOKEN"] = nil }, false},
		"a key was removed":                  {func(s *corev1.Secret) { delete(s.Data, "AWS_SESSION_TOKEN") }, false},
		"a key was added":                    {func(s *corev1.Secret) { s.Data["other"] = []byte("x") }, false},
		"all data was removed":               {func(s *corev1.Secret) { s.Data = nil }, false},
		"the operator's label was removed":   {func(s *corev1.Secret) { delete(s.Labels, v1alpha1.ManagedByLabel) }, false},
		"another tool's label replaced it":   {func(s *corev1.Secret) { s.Labels[v1alpha1.ManagedByLabel] = "Helm" }, false},
		"its annotations were removed":       {func(s *corev1.Secret) { s.Annotations = nil }, false},
		"the checksum was edited":            {func(s *corev1.Secret) { s.Annotations[prefix+"seal"] = "x" }, false},
		"the checksum was removed":           {func(s *corev1.Secret) { delete(s.Annotations, prefix+"seal") }, false},
		"the expiration was postponed":       {func(s *corev1.Secret) { s.Annotations[prefix+"expiration"] = "2999-01-01T00:00:00Z" }, false},
		"the expiration is no time":          {func(s *corev1.Secret) { s.Annotations[prefix+"expiration"] = "never" }, false},
		"the time of issue was removed":      {func(s *corev1.Secret) { delete(s.Annotations, prefix+"issued-at") }, false},
	} {
		for when, restarts := range map[string]bool{"": false, ", and the operator restarted": true} {
			t.Run(name+when, func(t *testing.T) {
				f := newFixture(t)
				f.put(content(1))
				f.edit(tc.edit)
				if restarts {
					f.restart()
				}
				observed := f.observe()
				f.Expect(observed.Ownership).To(Equal(reissue.Ours))
				if !tc.want {
					f.Expect(observed.Record).To(BeNil())
					return
				}
				f.Expect(*observed.Record).To(Equal(content(1).Record))
			})
		}
	}
}

func TestUnmodifiedSecretIsNotRead(t *testing.T) {
	f := newFixture(t)
	f.put(content(1))
	f.reads = 0
	f.Expect(f.observe().Record).NotTo(BeNil())
	f.restart()
	f.Expect(f.observe().Record).NotTo(BeNil())
	f.put(content(2))
	f.Expect(f.observe().Record).NotTo(BeNil())
	f.Expect(f.reads).To(BeZero())

	f.edit(func(s *corev1.Secret) { s.Annotations["note"] = "x" })
	f.put(content(3))
	f.Expect(f.reads).To(Equal(1), "a refresh reads a Secret that has annotations of others, which stay, and are not cached")
}

func TestRemovedTemplateMetadataIsNoticed(t *testing.T) {
	c := content(1, template("t", map[string]string{"app": "shop"}, map[string]string{"note": "x"}))
	for name, edit := range map[string]func(*corev1.Secret){
		"a label":               func(s *corev1.Secret) { delete(s.Labels, "app") },
		"a label's value":       func(s *corev1.Secret) { s.Labels["app"] = "bank" },
		"an annotation":         func(s *corev1.Secret) { delete(s.Annotations, "note") },
		"an annotation's value": func(s *corev1.Secret) { s.Annotations["note"] = "" },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.put(c)
			f.edit(edit)
			observed, err := f.store.Observe(t.Context(), owner(), readerID.Name, c.Template, false)
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(observed.Record).To(BeNil())
		})
	}
}

func TestReadErrorIsNotTakenForAbsence(t *testing.T) {
	f := newFixture(t)
	down := errors.New("connection refused")
	f.store.APIReader = interceptor.NewClient(f.client.(client.WithWatch), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return down
		},
	})
	_, err := f.store.Observe(t.Context(), owner(), readerID.Name, v1alpha1.SecretTemplate{}, false)
	f.Expect(err).To(MatchError(down))
	f.Expect(f.store.Write(t.Context(), owner(), readerID.Name, secretstore.Observed{}, content(1))).To(Succeed(), "a write without a race reads nothing")
}

func TestFirstWriteCreatesTheSecret(t *testing.T) {
	f := newFixture(t)
	c := content(1, template("t", map[string]string{"app": "shop"}, map[string]string{"note": "x"}))
	f.put(c)
	f.Expect(f.writes).To(Equal([]string{"create"}))
	s := f.stored()
	f.Expect(s.Data).To(Equal(c.Data))
	f.Expect(s.Type).To(Equal(corev1.SecretTypeOpaque))
	f.Expect(s.Labels).To(Equal(map[string]string{"app": "shop", "app.kubernetes.io/managed-by": "rolecredential"}))
	annotations := c.Record.Annotations()
	annotations["note"] = "x"
	f.Expect(s.Annotations).To(Equal(annotations))
	f.Expect(s.OwnerReferences).To(Equal([]metav1.OwnerReference{ownedBy("owner-uid")}))
	f.Expect(s.Finalizers).To(BeEmpty())
	f.Expect(s.ManagedFields).To(ConsistOf(HaveField("Manager", secretstore.FieldManager)))
	f.Expect(f.observe().Record).To(Equal(&c.Record))
}

func TestRefreshIsOneWrite(t *testing.T) {
	f := newFixture(t)
	f.put(content(1))
	uid := f.stored().UID
	for n := 2; n <= 4; n++ {
		f.writes = nil
		f.put(content(n))
		f.Expect(f.writes).To(Equal([]string{"update"}))
		s := f.stored()
		f.Expect(s.Data).To(Equal(content(n).Data))
		f.Expect(s.UID).To(Equal(uid))
		f.Expect(s.OwnerReferences).To(Equal([]metav1.OwnerReference{ownedBy("owner-uid")}))
		f.Expect(*f.observe().Record).To(Equal(content(n).Record))
	}
}

func TestTemplateCannotOverrideTheOperatorsMetadata(t *testing.T) {
	f := newFixture(t)
	for n := 1; n <= 2; n++ {
		f.put(content(n, template("t", map[string]string{v1alpha1.ManagedByLabel: "me"}, map[string]string{"sts.rolecredential.dev/seal": "x"})))
		f.Expect(f.stored().Labels).To(HaveKeyWithValue(v1alpha1.ManagedByLabel, v1alpha1.ManagedByValue))
		f.Expect(f.observe().Record).NotTo(BeNil())
	}
}

func TestMetadataOfOthersIsKept(t *testing.T) {
	f := newFixture(t)
	f.put(content(1))
	f.edit(func(s *corev1.Secret) {
		s.Labels["team"], s.Annotations["reloader"], s.Finalizers = "shop", "on", []string{"example.com/backup"}
	})
	for n := 2; n <= 3; n++ {
		f.put(content(n, template(fmt.Sprint(n), map[string]string{"app": "shop"}, nil)))
	}
	s := f.stored()
	f.Expect(s.Labels).To(Equal(map[string]string{"team": "shop", "app": "shop", v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}))
	f.Expect(s.Annotations).To(HaveKeyWithValue("reloader", "on"))
	f.Expect(s.Finalizers).To(Equal([]string{"example.com/backup"}))
}

func TestStaleTemplateMetadataIsRemoved(t *testing.T) {
	with := template("with", map[string]string{"app": "shop", "tier": "1"}, map[string]string{"note": "x"})
	less := template("less", map[string]string{"tier": "2"}, nil)
	for name, tc := range map[string]struct{ before func(*fixture) }{
		"that came with the first write": {func(f *fixture) { f.put(content(1, with)) }},
		"that came with a later write": {func(f *fixture) {
			f.put(content(1, less))
			f.put(content(2, with))
		}},
		"that came, was refreshed, and went once before": {func(f *fixture) {
			f.put(content(1, with))
			f.put(content(2, with))
			f.put(content(3, less))
			f.put(content(4, with))
			f.put(content(5, with))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			tc.before(f)
			f.Expect(f.stored().Labels).To(HaveKeyWithValue("app", "shop"))
			f.edit(func(s *corev1.Secret) { s.Labels["team"] = "theirs" })
			f.put(content(9, less))
			s := f.stored()
			f.Expect(s.Labels).To(Equal(map[string]string{"tier": "2", "team": "theirs", v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}))
			f.Expect(s.Annotations).To(Equal(content(9, less).Record.Annotations()))
			f.Expect(s.Data).To(Equal(content(9).Data))
		})
	}
}

func TestTamperedSecretIsRepaired(t *testing.T) {
	for name, edit := range map[string]func(*corev1.Secret){
		"a value":                           func(s *corev1.Secret) { s.Data["AWS_ACCESS_KEY_ID"] = []byte("other") },
		"a key removed":                     func(s *corev1.Secret) { delete(s.Data, "AWS_SESSION_TOKEN") },
		"a key added":                       func(s *corev1.Secret) { s.Data["other"] = []byte("x") },
		"all data":                          func(s *corev1.Secret) { s.Data = nil },
		"the operator's label":              func(s *corev1.Secret) { delete(s.Labels, v1alpha1.ManagedByLabel) },
		"the operator's annotations":        func(s *corev1.Secret) { s.Annotations = nil },
		"another of all":                    func(s *corev1.Secret) { s.Data = map[string][]byte{"other": nil}; s.Labels = nil; s.Annotations = nil },
		"the value of the operator's label": func(s *corev1.Secret) { s.Labels[v1alpha1.ManagedByLabel] = "Helm" },
	} {
		for n := range 3 { // after the first write, and after later ones
			t.Run(fmt.Sprintf("%s, after %d refreshes", name, n), func(t *testing.T) {
				f := newFixture(t)
				for i := range n + 1 {
					f.put(content(i))
				}
				f.edit(edit)
				f.Expect(f.observe().Record).To(BeNil())
				f.put(content(9))
				f.Expect(f.stored().Data).To(Equal(content(9).Data))
				f.Expect(*f.observe().Record).To(Equal(content(9).Record))
				f.writes = nil
				f.put(content(10))
				f.Expect(f.writes).To(Equal([]string{"update"}), "the next refresh is one write again")
			})
		}
	}
}

func TestOwnWriteIsRecognized(t *testing.T) {
	f := newFixture(t)
	known := func() bool { return f.store.IsCurrent(f.stored()) }
	f.put(content(1))
	f.Expect(known()).To(BeTrue())
	f.restart()
	f.Expect(known()).To(BeFalse())
	f.observe()
	f.Expect(known()).To(BeTrue())
	f.edit(func(s *corev1.Secret) { s.Labels["app"] = "another" })
	f.Expect(known()).To(BeFalse())
	f.put(content(2))
	f.Expect(known()).To(BeTrue())
	f.delete()
	f.create(foreign())
	f.Expect(known()).To(BeFalse())
}

func TestAdoptedSecretBecomesOwned(t *testing.T) {
	f := newFixture(t)
	f.create(foreign(adopted))
	c := content(1, template("t", map[string]string{"tier": "1"}, nil))
	f.put(c)
	s := f.stored()
	f.Expect(s.Data).To(Equal(c.Data), "the old data is gone")
	f.Expect(s.Labels).To(Equal(map[string]string{"app": "other", "tier": "1", v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}))
	f.Expect(s.Annotations).To(HaveKeyWithValue("note", "mine"))
	f.Expect(s.Annotations).NotTo(HaveKey(v1alpha1.AdoptAnnotation))
	f.Expect(s.OwnerReferences).To(Equal([]metav1.OwnerReference{ownedBy("owner-uid")}))
	f.Expect(*f.observe().Record).To(Equal(c.Record))
	f.writes = nil
	f.put(content(2, template("t", map[string]string{"tier": "1"}, nil)))
	f.Expect(f.writes).To(Equal([]string{"update"}))
}

func TestAdoptedSecretKeepsItsType(t *testing.T) {
	f := newFixture(t)
	f.create(foreign(adopted, func(s *corev1.Secret) { s.Type = "example.com/aws" }))
	f.put(content(1))
	for n := 2; n <= 3; n++ {
		f.put(content(n))
		f.Expect(f.stored().Type).To(BeEquivalentTo("example.com/aws")) // the API server takes no other
		f.Expect(f.stored().Data).To(Equal(content(n).Data))
		f.restart()
	}
}

func TestAdoptionRemovesAnotherRecord(t *testing.T) {
	f := newFixture(t)
	f.create(foreign(adopted, func(s *corev1.Secret) { s.Annotations["sts.rolecredential.dev/refresh-request"] = "copied along" }))
	f.put(content(1))
	f.Expect(*f.observe().Record).To(Equal(content(1).Record))
}

func TestForeignSecretIsNotWritten(t *testing.T) {
	f := newFixture(t)
	f.create(foreign())
	before := f.stored()
	f.Expect(f.store.Write(t.Context(), owner(), readerID.Name, f.observe(), content(1))).To(MatchError(secretstore.ErrForeign))
	f.Expect(f.writes).To(BeEmpty())
	f.Expect(f.stored()).To(Equal(before))
}

func TestRaces(t *testing.T) {
	replaced := func(by *corev1.Secret) func(*fixture) {
		return func(f *fixture) {
			f.delete()
			f.create(by)
		}
	}
	other := template("other", map[string]string{"a": "b"}, nil)
	ours := foreign(recordOf(""), controlledBy("owner-uid"))
	for name, tc := range map[string]struct {
		before  func(*fixture) // before it is observed
		race    func(*fixture) // what happens before the first write
		content secretstore.Content
		foreign bool
	}{
		"a foreign Secret appears":                                 {race: func(f *fixture) { f.create(foreign()) }, content: content(9), foreign: true},
		"one with a record appears":                                {race: func(f *fixture) { f.create(foreign(recordOf(""))) }, content: content(9), foreign: true},
		"one that a former credential left appears":                {race: func(f *fixture) { f.create(foreign(recordOf("RoleCredential/s3-reader"))) }, content: content(9)},
		"one of a former credential appears":                       {race: func(f *fixture) { f.create(foreign(recordOf(""), controlledBy("former-uid"))) }, content: content(9)},
		"an owned one appears":                                     {race: func(f *fixture) { f.create(ours.DeepCopy()) }, content: content(9)},
		"one to adopt appears":                                     {race: func(f *fixture) { f.create(foreign(adopted)) }, content: content(9)},
		"the owned Secret is deleted":                              {before: func(f *fixture) { f.put(content(1)) }, race: (*fixture).delete, content: content(9)},
		"the owned Secret is deleted, and the template is another": {before: func(f *fixture) { f.put(content(1)) }, race: (*fixture).delete, content: content(9, other)},
		"the owned Secret is replaced by a foreign one":            {before: func(f *fixture) { f.put(content(1)) }, race: replaced(foreign()), content: content(9), foreign: true},
		"the owned Secret is replaced by a foreign one, and the template is another": {
			before: func(f *fixture) { f.put(content(1)) }, race: replaced(foreign()), content: content(9, other), foreign: true,
		},
		"the owned Secret is replaced by another owned one": {before: func(f *fixture) { f.put(content(1)) }, race: replaced(ours.DeepCopy()), content: content(9)},
		"the owned Secret is edited": {
			before: func(f *fixture) { f.put(content(1)) }, race: func(f *fixture) { f.edit(func(s *corev1.Secret) { s.Labels["team"] = "shop" }) }, content: content(9),
		},
		"the owned Secret is edited, and the template is another": {
			before: func(f *fixture) { f.put(content(1)) }, race: func(f *fixture) { f.edit(func(s *corev1.Secret) { s.Labels["team"] = "shop" }) }, content: content(9, other),
		},
		"the owned Secret loses its owner reference": {
			before: func(f *fixture) { f.put(content(1)) }, race: func(f *fixture) { f.edit(func(s *corev1.Secret) { s.OwnerReferences = nil }) }, content: content(9),
		},
		"the owned Secret gets another controller": {
			before: func(f *fixture) { f.put(content(1)) },
			race: func(f *fixture) {
				f.edit(func(s *corev1.Secret) { s.OwnerReferences[0].Name, s.OwnerReferences[0].UID = "other", "other-uid" })
			},
			content: content(9, other),
			foreign: true,
		},
		"the consent to adopt is withdrawn": {
			before:  func(f *fixture) { f.create(foreign(adopted)) },
			race:    func(f *fixture) { f.edit(func(s *corev1.Secret) { delete(s.Annotations, v1alpha1.AdoptAnnotation) }) },
			content: content(9), foreign: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if tc.before != nil {
				tc.before(f)
			}
			observed := f.observe()
			f.before = func(string) error {
				f.before = nil
				tc.race(f)
				return nil
			}
			err := f.store.Write(t.Context(), owner(), readerID.Name, observed, tc.content)
			if tc.foreign {
				f.Expect(err).To(MatchError(secretstore.ErrForeign))
				f.Expect(f.stored().Data).NotTo(HaveKeyWithValue("AWS_ACCESS_KEY_ID", []byte("ASIA9")), "it was not written")
				f.Expect(f.observe().Ownership).To(Equal(reissue.Foreign))
				return
			}
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(f.stored().Data).To(Equal(tc.content.Data))
			f.Expect(*f.observe().Record).To(Equal(tc.content.Record))
			f.Expect(f.stored().OwnerReferences).To(Equal([]metav1.OwnerReference{ownedBy("owner-uid")}))
		})
	}
}

func TestForeignSecretThatAppearsIsUnchanged(t *testing.T) {
	f := newFixture(t)
	var before *corev1.Secret
	f.before = func(string) error {
		f.before = nil
		f.create(foreign())
		before = f.stored()
		return nil
	}
	f.Expect(f.store.Write(t.Context(), owner(), readerID.Name, secretstore.Observed{}, content(1))).To(MatchError(secretstore.ErrForeign))
	f.Expect(f.stored()).To(Equal(before))
}

func TestRacesAreRetriedThreeTimes(t *testing.T) {
	f := newFixture(t)
	f.put(content(1))
	f.writes = nil
	conflict := apierrors.NewConflict(secrets, "s3-reader", errors.New("modified"))
	f.before = func(string) error { return conflict }
	f.Expect(f.store.Write(t.Context(), owner(), readerID.Name, f.observe(), content(2))).To(MatchError(conflict))
	f.Expect(f.writes).To(Equal([]string{"update", "update", "update"}))
}

func TestRejectedWriteIsNotRetried(t *testing.T) {
	refused := apierrors.NewForbidden(secrets, "s3-reader", errors.New("quota"))
	for name, stands := range map[string]bool{"a create": false, "an apply": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if stands {
				f.put(content(1))
			}
			f.writes = nil
			before := f.stored()
			f.before = func(string) error { return refused }
			f.Expect(f.store.Write(t.Context(), owner(), readerID.Name, f.observe(), content(2))).To(MatchError(refused))
			f.Expect(f.writes).To(HaveLen(1))
			f.Expect(f.stored()).To(Equal(before))
		})
	}
}

func TestPruneDeletesOwnedSecretsOfOtherNames(t *testing.T) {
	of := func(uid types.UID) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.OwnerReferences = []metav1.OwnerReference{ownedBy(uid)} }
	}
	named := func(namespace, name string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Namespace, s.Name = namespace, name }
	}
	for name, tc := range map[string]struct {
		secret *corev1.Secret
		want   bool
	}{
		"the Secret that is kept":                {foreign(of("owner-uid"), named("shop", "s3-reader")), false},
		"the owner's Secret of a former name":    {foreign(of("owner-uid"), named("shop", "former")), true},
		"another credential's Secret":            {foreign(of("other-uid"), named("shop", "former")), false},
		"an orphaned Secret":                     {foreign(named("shop", "former")), false},
		"another namespace's Secret":             {foreign(of("owner-uid"), named("bank", "former")), false},
		"a Secret that it owns but not controls": {foreign(of("owner-uid"), named("shop", "former"), func(s *corev1.Secret) { s.OwnerReferences[0].Controller = nil }), false},
		"a Secret that it may adopt":             {foreign(adopted, named("shop", "former")), false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.create(tc.secret)
			f.Expect(f.store.Prune(t.Context(), owner(), "s3-reader")).To(Succeed())
			err := f.client.Get(t.Context(), client.ObjectKeyFromObject(tc.secret), &corev1.Secret{})
			f.Expect(apierrors.IsNotFound(err)).To(Equal(tc.want))
		})
	}
}

func TestPruneOfASecretThatChanged(t *testing.T) {
	former := func() *corev1.Secret {
		return foreign(func(s *corev1.Secret) { s.OwnerReferences = []metav1.OwnerReference{ownedBy("owner-uid")} })
	}
	t.Run("it is gone already", func(t *testing.T) {
		f := newFixture(t)
		f.create(former())
		f.before = func(string) error { f.delete(); return nil }
		f.Expect(f.store.Prune(t.Context(), owner(), "other")).To(Succeed())
	})
	t.Run("a foreign Secret took its place", func(t *testing.T) {
		f := newFixture(t)
		f.create(former())
		f.before = func(string) error { f.delete(); f.create(foreign()); return nil }
		f.Expect(f.store.Prune(t.Context(), owner(), "other")).To(Succeed())
		f.Expect(f.stored()).NotTo(BeNil())
	})
	t.Run("it lost its owner", func(t *testing.T) {
		f := newFixture(t)
		f.create(former())
		f.before = func(string) error { f.edit(func(s *corev1.Secret) { s.OwnerReferences = nil }); return nil }
		f.Expect(f.store.Prune(t.Context(), owner(), "other")).To(Succeed())
		f.Expect(f.stored()).NotTo(BeNil())
		f.Expect(f.writes).To(HaveLen(1))
	})
	t.Run("it was labelled", func(t *testing.T) {
		f := newFixture(t)
		f.create(former())
		label := sync.OnceFunc(func() { f.edit(func(s *corev1.Secret) { s.Labels = map[string]string{"team": "shop"} }) })
		f.before = func(string) error { label(); return nil }
		f.Expect(f.store.Prune(t.Context(), owner(), "other")).To(Succeed())
		f.Expect(f.stored()).To(BeNil())
	})
	t.Run("the API server refuses it", func(t *testing.T) {
		f := newFixture(t)
		f.create(former())
		refused := apierrors.NewForbidden(secrets, "s3-reader", errors.New("no"))
		f.before = func(string) error { return refused }
		f.Expect(f.store.Prune(t.Context(), owner(), "other")).To(MatchError(refused))
	})
}

func TestIndexOmitsSecretsWithTheNameOfTheirController(t *testing.T) {
	g := NewWithT(t)
	owned := foreign(func(s *corev1.Secret) { s.OwnerReferences = []metav1.OwnerReference{ownedBy("owner-uid")} })
	g.Expect(secretstore.IndexOwner(foreign())).To(BeEmpty())
	g.Expect(secretstore.IndexOwner(owned)).To(BeEmpty())
	owned.Name = "former"
	g.Expect(secretstore.IndexOwner(owned)).To(Equal([]string{"owner-uid"}))
}

func TestPruneDeletesTheSecretWithTheOwnersName(t *testing.T) {
	for name, tc := range map[string]struct {
		uid  types.UID
		want bool
	}{"if the owner controls it": {"owner-uid", true}, "unless another controls it": {"other-uid", false}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.create(foreign(func(s *corev1.Secret) { s.OwnerReferences = []metav1.OwnerReference{ownedBy(tc.uid)} }))
			f.Expect(f.store.Prune(t.Context(), owner(), "another")).To(Succeed())
			f.Expect(apierrors.IsNotFound(f.client.Get(t.Context(), readerID, &corev1.Secret{}))).To(Equal(tc.want))
		})
	}
}
