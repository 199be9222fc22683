package observer

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Expected is a credential as its spec defines it, and so the session that its Secret must contain.
type Expected struct {
	Kind, Namespace, Name string
	// Identity is the name of its identity.
	Identity string
	// Action is the STS call, RoleARN the requested role, if any, and PrincipalARN the principal of the session.
	Action, RoleARN, PrincipalARN string
}

// Key names the credential in reports.
func (e Expected) Key() string { return e.Kind + " " + e.Namespace + "/" + e.Name }

func (e Expected) secretName() types.NamespacedName {
	return types.NamespacedName{Namespace: e.Namespace, Name: e.Name}
}

// Limits are the bounds of the checks. They are generous, so that a slow machine breaks none.
type Limits struct {
	// ReadyLag bounds how long Ready may stay True with an unusable Secret. It counts from Settle after a fault of the API server or a
	// change of leaders.
	ReadyLag, Settle time.Duration
	// RefreshSlack is added to a tenth of a credential's lifetime.
	RefreshSlack time.Duration
}

// Options configure an Observer.
type Options struct {
	Results     *Results
	Disruptions *Disruptions
	Limits      Limits
	// SessionURL is the URL of the emulator's admin endpoint that returns the session of a set of keys.
	SessionURL string
	// STSNow returns the time of STS's clock.
	STSNow func() time.Time
}

// Observer stores the observed state of each credential, and checks it repeatedly.
type Observer struct {
	Options

	mu sync.Mutex
	// credentials are by the namespace and name of their Secrets.
	credentials map[types.NamespacedName]*credential
	// owners are the first credential that each session was seen in, by access key ID.
	owners map[string]string
	// foreign are the resource versions at which foreign Secrets were created, by UID.
	foreign map[types.UID]string
	// edited are the contents of Secrets that this program wrote.
	edited map[string]bool
	// issued counts the sessions seen in Secrets.
	issued int
}

// credential is the last observed state of a credential.
type credential struct {
	Expected
	uid   types.UID
	ready bool
	// statusSeen is whether its status was read.
	statusSeen bool
	session    *session
	// defect is why the Secret is unusable, empty if it is usable.
	defect string
	// inconsistent is whether the Secret broke SecretConsistent. Other invariants are not checked then.
	inconsistent bool
	// falseReadySince is since when Ready is True with an unusable Secret.
	falseReadySince time.Time
	// dueSince is since when the session is in its last third.
	dueSince time.Time
	// longestReach is the longest time without a disruption while the refresh was due.
	longestReach time.Duration
	expired      bool
}

// New returns an Observer without credentials.
func New(options Options) *Observer {
	return &Observer{
		Options: options, credentials: map[types.NamespacedName]*credential{}, owners: map[string]string{},
		foreign: map[types.UID]string{}, edited: map[string]bool{},
	}
}

const noSecret = "there is no Secret"

// Expect adds credentials.
func (o *Observer) Expect(expected ...Expected) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range expected {
		o.credentials[e.secretName()] = &credential{Expected: e, defect: noSecret}
	}
}

// Forget removes credentials.
func (o *Observer) Forget(expected ...Expected) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range expected {
		delete(o.credentials, e.secretName())
	}
}

// ForeignCreated records that a Secret is foreign, and must stay at a resource version.
func (o *Observer) ForeignCreated(uid types.UID, version string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.foreign[uid] = version
}

// ForeignReleased records that a foreign Secret may change from now on.
func (o *Observer) ForeignReleased(uid types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.foreign, uid)
}

// ExpectEdit records that this program is about to write a content into a Secret.
func (o *Observer) ExpectEdit(uid types.UID, data map[string][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.edited[contentKey(uid, data)] = true
}

func contentKey(uid types.UID, data map[string][]byte) string {
	return string(uid) + " " + string(bytes.Join([][]byte{data[keyID], data[secretKey], data[token]}, []byte{0}))
}

// The data keys of a Secret.
const (
	keyID     = "AWS_ACCESS_KEY_ID"
	secretKey = "AWS_SECRET_ACCESS_KEY"
	token     = "AWS_SESSION_TOKEN"
)

// SecretObserved records the present content of a Secret.
func (o *Observer) SecretObserved(ctx context.Context, secret *corev1.Secret) {
	o.mu.Lock()
	version, foreign := o.foreign[secret.UID]
	known := o.credentials[types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}]
	edited := o.edited[contentKey(secret.UID, secret.Data)]
	changed := foreign && version != secret.ResourceVersion
	owned := known != nil && known.owns(secret) && (!foreign || changed)
	o.mu.Unlock()
	if foreign {
		o.Results.CheckTrue(ForeignUnchanged, !changed, func() string {
			return fmt.Sprintf("foreign Secret %s/%s was changed by %s", secret.Namespace, secret.Name, lastWriter(secret))
		})
	}
	if changed {
		o.ForeignReleased(secret.UID) // the breach is reported once
	}
	if known == nil {
		return
	}
	var found *session
	defect := "the Secret is foreign"
	switch {
	case owned && edited:
		defect = "the Secret was edited"
	case owned:
		found, defect = o.inspect(ctx, known, secret)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.setSession(known, found, defect)
	known.inconsistent = owned && !edited && found == nil
}

// owns returns whether a Secret is owned by the credential. Until its status is read, the owner's name decides.
func (c *credential) owns(secret *corev1.Secret) bool {
	owner := metav1.GetControllerOf(secret)
	return owner != nil && owner.Kind == c.Kind && owner.Name == c.Name && (!c.statusSeen || owner.UID == c.uid)
}

// setSession records the session in a credential's Secret, nil for none. A new session starts the check of its refresh.
func (o *Observer) setSession(c *credential, found *session, defect string) {
	if c.session != nil && (found == nil || found.AccessKeyID != c.session.AccessKeyID) {
		c.dueSince, c.longestReach, c.expired = time.Time{}, 0, false
	}
	if found != nil && (c.session == nil || found.AccessKeyID != c.session.AccessKeyID) {
		o.issued++
	}
	c.session, c.defect = found, defect
}

// SecretAbsent records that there is no Secret of a name.
func (o *Observer) SecretAbsent(name types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c := o.credentials[name]; c != nil {
		o.setSession(c, nil, noSecret)
		c.inconsistent = false
	}
}

// CredentialObserved records a credential's status.
func (o *Observer) CredentialObserved(object *unstructured.Unstructured) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.credentials[types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}]
	if c == nil || c.Kind != object.GetKind() {
		return
	}
	c.uid, c.statusSeen = object.GetUID(), true
	c.ready = isReady(object)
}

func isReady(object *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, _ := c.(map[string]any)
		return condition["type"] == "Ready" && condition["status"] == "True"
	})
}

// Issued returns how many sessions were seen in Secrets.
func (o *Observer) Issued() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.issued
}

// Unready lists the credentials that are not Ready with a usable Secret, each with the reason.
func (o *Observer) Unready() (names []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	stsNow := o.STSNow()
	for _, c := range o.credentials {
		switch {
		case c.inconsistent:
		case !c.usable(stsNow):
			names = append(names, c.Key()+": "+c.describeDefect(stsNow))
		case !c.ready:
			names = append(names, c.Key()+": it is not Ready")
		}
	}
	slices.Sort(names)
	return names
}

// lastWriter returns the field manager that wrote a Secret last.
func lastWriter(secret *corev1.Secret) string {
	writer, at := "an unknown writer", time.Time{}
	for _, entry := range secret.ManagedFields {
		if entry.Time != nil && !entry.Time.Time.Before(at) {
			writer, at = entry.Manager, entry.Time.Time
		}
	}
	return writer
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
