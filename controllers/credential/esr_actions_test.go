package credential

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
)

// action is something that others than the operator do.
type action struct {
	name     string
	possible func(*world) bool
	do       func(*world)
}

// actions are all that others do, before any request of the operator and between its reconciles.
var actions = []action{
	{"another client edits the Secret's data", (*world).ownsMutable, editSecret(func(_ *world, s *corev1.Secret) { s.Data["AWS_SESSION_TOKEN"] = []byte("edited") })},
	{"another client edits the record", (*world).owns, editSecret(func(w *world, s *corev1.Secret) {
		s.Annotations["sts.rolecredential.dev/expiration"] = w.stsNow().Add(100 * time.Hour).UTC().Format(time.RFC3339)
	})},
	{"another client removes the Secret's owner", (*world).owns, editSecret(func(_ *world, s *corev1.Secret) { s.OwnerReferences = nil })},
	{"another client labels the Secret", (*world).owns, editSecret(func(_ *world, s *corev1.Secret) { s.Labels["team"] = "shop" })},
	{"another client removes the operator's label", (*world).owns, editSecret(func(_ *world, s *corev1.Secret) { delete(s.Labels, v1alpha1.ManagedByLabel) })},
	{"another client makes the Secret immutable", (*world).ownsMutable, editSecret(func(_ *world, s *corev1.Secret) { s.Immutable = new(true) })},
	{"another client deletes the Secret", func(w *world) bool { return w.secret() != nil }, func(w *world) { w.remove(objectKey{"Secret", w.secretKey()}) }},
	{"another client replaces the Secret", always, func(w *world) { w.replaceSecret("") }},
	{"another client replaces the Secret and consents to adoption", always, func(w *world) { w.replaceSecret("RoleCredential/s3-reader") }},
	{"the garbage collector runs", func(w *world) bool { return len(w.garbage()) > 0 }, (*world).collectGarbage},

	{"a user changes the role", (*world).exists, editSpec(func(_ *world, c *v1alpha1.RoleCredential) {
		c.Spec.RoleARN = other(c.Spec.RoleARN, testkit.Reader().Spec.RoleARN, "arn:aws:iam::123456789012:role/S3Writer")
	})},
	{"a user renames the Secret", (*world).exists, editSpec(func(_ *world, c *v1alpha1.RoleCredential) {
		c.Spec.Secret.Name = other(c.Spec.Secret.Name, "", "renamed")
	})},
	{"a user changes the formats", (*world).exists, editSpec(func(_ *world, c *v1alpha1.RoleCredential) {
		c.Spec.Secret.Formats = []v1alpha1.Format{v1alpha1.FormatEnv, v1alpha1.FormatRegion}[:3-max(1, len(c.Spec.Secret.Formats))]
	})},
	{"a user breaks the template, or repairs it", (*world).exists, editSpec(func(_ *world, c *v1alpha1.RoleCredential) {
		if broken := map[string]v1alpha1.DataTemplate{"text": "{{ .Unknown }}"}; c.Spec.Secret.Data == nil {
			c.Spec.Secret.Data = broken
		} else {
			c.Spec.Secret.Data = nil
		}
	})},
	{"a user requests a refresh", (*world).exists, editSpec(func(w *world, c *v1alpha1.RoleCredential) {
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, v1alpha1.RefreshAnnotation, strconv.Itoa(w.last))
	})},
	{"a user suspends the credential, or resumes it", (*world).exists, editSpec(func(_ *world, c *v1alpha1.RoleCredential) { c.Spec.Suspend = !c.Spec.Suspend })},
	{"a user deletes the credential", (*world).exists, func(w *world) { w.remove(objectKey{"RoleCredential", credentialKey}) }},
	{"a user deletes the credential and creates it again", (*world).exists, func(w *world) { w.recreate() }},
	{"a user creates the credential", func(w *world) bool { return !w.exists() }, func(w *world) { w.put(testkit.Reader()) }},
	{"a user deletes the namespace", func(w *world) bool { return !w.terminating() }, func(w *world) {
		namespace := testkit.NamespaceShop()
		namespace.DeletionTimestamp = &metav1.Time{Time: w.clock.Now()}
		w.put(namespace)
	}},

	{"an administrator withdraws the rule, or gives it back", (*world).hasIdentity, editIdentity(func(i *v1alpha1.ClusterIdentity) {
		rule := &(*i.Spec.Allow)[0]
		rule.Namespaces = []string{other(rule.Namespaces[0], "shop", "other")}
	})},
	{"an administrator changes the endpoint", (*world).hasIdentity, editIdentity(func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Endpoint = other(i.Spec.Endpoint, "", "https://sts.example.internal")
	})},
	{"an administrator deletes the identity", (*world).hasIdentity, func(w *world) { w.remove(keyOf(testkit.DefaultIdentity())) }},
	{"an administrator creates the identity", func(w *world) bool { return !w.hasIdentity() }, func(w *world) { w.put(testkit.DefaultIdentity()) }},
	{"an administrator rotates the source's key", always, func(w *world) {
		source := testkit.Bootstrap()
		source.Data["AWS_ACCESS_KEY_ID"] = []byte("AKIAROTATED")
		w.put(source)
	}},
	{"an administrator deletes the source's Secret", (*world).hasSource, func(w *world) { w.remove(keyOf(testkit.Bootstrap())) }},
	{"the role's trust policy denies the calls, or allows them again", always, func(w *world) { w.distrusts = !w.distrusts }},
	{"a user deletes the MFA device's Secret", func(w *world) bool { return w.objects[keyOf(seedSecret(""))] != nil }, func(w *world) { w.remove(keyOf(seedSecret(""))) }},
	{"a user breaks the MFA device's seed", (*world).hasSeed, func(w *world) { w.put(seedSecret("1")) }},
	{"a user creates the MFA device's Secret", func(w *world) bool { return w.usesMFA() && !w.hasSeed() }, func(w *world) { w.put(seedSecret(deviceSeed)) }},
}

var actionsByName = func() map[string]func(*world) {
	byName := map[string]func(*world){}
	for _, a := range actions {
		byName[a.name] = a.do
	}
	return byName
}()

func always(*world) bool { return true }

// other returns the one of two values that is not the present one.
func other(present, first, second string) string {
	if present == first {
		return second
	}
	return first
}

// editSecret edits the credential's Secret.
func editSecret(edit func(*world, *corev1.Secret)) func(*world) {
	return func(w *world) {
		edited := w.secret().DeepCopy()
		edit(w, edited)
		w.put(edited)
	}
}

func editSpec(edit func(*world, *v1alpha1.RoleCredential)) func(*world) {
	return func(w *world) {
		edited := w.credential().DeepCopy()
		edit(w, edited)
		w.put(edited)
	}
}

func editIdentity(edit func(*v1alpha1.ClusterIdentity)) func(*world) {
	return func(w *world) {
		edited := w.identity().DeepCopy()
		edit(edited)
		w.put(edited)
	}
}

// replaceSecret replaces the credential's Secret by a foreign one. Its owner consents to the adoption by a credential, if adopter is not
// empty.
func (w *world) replaceSecret(adopter string) {
	foreign := testkit.ForeignSecret()
	foreign.Name = w.secretKey().Name
	if adopter != "" {
		foreign.Annotations = map[string]string{v1alpha1.AdoptAnnotation: adopter}
	}
	w.remove(keyOf(foreign))
	w.put(foreign)
}

// recreate deletes the credential, and creates one with the same spec.
func (w *world) recreate() {
	again := testkit.Reader()
	again.Spec = *w.credential().Spec.DeepCopy()
	w.remove(keyOf(again))
	w.put(again)
}

// garbage returns the Secrets whose controller does not exist.
func (w *world) garbage() (all []*corev1.Secret) {
	for _, secret := range w.secrets(credentialKey.Namespace) {
		controller, owner := metav1.GetControllerOfNoCopy(secret), w.credential()
		if controller != nil && (owner == nil || controller.UID != owner.UID) {
			all = append(all, secret)
		}
	}
	return all
}

// collectGarbage does what kube-controller-manager does.
func (w *world) collectGarbage() {
	for _, secret := range w.garbage() {
		w.remove(keyOf(secret))
	}
}

func (w *world) credential() *v1alpha1.RoleCredential {
	found, _ := w.objects[objectKey{"RoleCredential", credentialKey}].(*v1alpha1.RoleCredential)
	return found
}

func (w *world) identity() *v1alpha1.ClusterIdentity {
	found, _ := w.objects[keyOf(testkit.DefaultIdentity())].(*v1alpha1.ClusterIdentity)
	return found
}

// secretKey is the key of the Secret that the credential names.
func (w *world) secretKey() client.ObjectKey {
	key := credentialKey
	if found := w.credential(); found != nil {
		key.Name = request.SecretName(found)
	}
	return key
}

func (w *world) secret() *corev1.Secret {
	found, _ := w.objects[objectKey{"Secret", w.secretKey()}].(*corev1.Secret)
	return found
}

func (w *world) exists() bool      { return w.credential() != nil }
func (w *world) hasIdentity() bool { return w.identity() != nil }
func (w *world) hasSource() bool   { return w.objects[keyOf(testkit.Bootstrap())] != nil }
func (w *world) usesMFA() bool     { return w.exists() && w.credential().Spec.MFA != nil }

// hasSeed reports whether the MFA device's Secret holds its seed.
func (w *world) hasSeed() bool {
	secret, ok := w.objects[keyOf(seedSecret(""))].(*corev1.Secret)
	return ok && string(secret.Data["seed"]) == deviceSeed
}

func (w *world) terminating() bool {
	return !w.objects[keyOf(testkit.NamespaceShop())].GetDeletionTimestamp().IsZero()
}

// owns reports whether the credential's Secret exists and a credential of its name controls it.
func (w *world) owns() bool {
	secret := w.secret()
	if secret == nil {
		return false
	}
	controller := metav1.GetControllerOfNoCopy(secret)
	return controller != nil && controller.Kind == "RoleCredential" && controller.Name == credentialKey.Name
}

func (w *world) ownsMutable() bool { return w.owns() && w.secret().Immutable == nil }
