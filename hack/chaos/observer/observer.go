package observer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Wanted is a credential as it was asked for, and so what its Secret must hold.
type Wanted struct {
	Kind, Namespace, Name string
	// Identity is the name of its identity, of which and of whose bucket the Weather tells.
	Identity string
	// Action is the call of STS, RoleARN the role that was asked for, if any, and PrincipalARN who the session is.
	Action, RoleARN, PrincipalARN string
}

// Key names the credential, in the Weather too.
func (w Wanted) Key() string { return w.Kind + " " + w.Namespace + "/" + w.Name }

// Limits are how long things may take. They are generous: a slow machine breaks none.
type Limits struct {
	// Honest is how long Ready=True may stand on what is no longer good, and Settle how long after a fault of the API server or of the
	// leader that counts.
	Honest, Settle time.Duration
	// Tenth is added to a tenth of a credential's life.
	Tenth time.Duration
}

// Options are what an Observer is told.
type Options struct {
	Ledger  *Ledger
	Weather *Weather
	Limits  Limits
	// Holder is the URL of STS's admin endpoint that tells whose a credential is.
	Holder string
	// STSNow is the time by the clock of STS.
	STSNow func() time.Time
}

// Observer keeps what it saw of each credential, and checks it all the time.
type Observer struct {
	Options

	mu sync.Mutex
	// credentials are by the namespace and name of their Secrets.
	credentials map[types.NamespacedName]*credential
	// owners tells which object was given a session first.
	owners map[string]string
	// foreign are the Secrets that are not the operator's, by UID, at the version that they were made at; edited is the content that
	// was written by others than the operator.
	foreign map[types.UID]string
	edited  map[string]bool
	// Issued counts the sessions seen in Secrets.
	issued int
}

// credential is one as it was seen last.
type credential struct {
	Wanted
	uid     types.UID
	ready   bool
	seen    bool // its status
	session *session
	// fault is why the Secret is no good, empty if it is. One that is mixed is told of as such, and held against nothing else.
	fault string
	mixed bool
	// badSince is since when Ready=True stands on what is no good.
	badSince time.Time
	// dueSince is since when the session is in its last third, and best how long STS could be reached in that, at a stretch.
	dueSince time.Time
	best     time.Duration
	expired  bool
}

type session struct {
	Action      string    `json:"action"`
	AccessKeyID string    `json:"accessKeyID"`
	ARN         string    `json:"arn"`
	RoleARN     string    `json:"roleARN"`
	Issued      time.Time `json:"issued"`
	Expiration  time.Time `json:"expiration"`
}

// New returns an Observer that expects nothing yet.
func New(options Options) *Observer {
	return &Observer{
		Options: options, credentials: map[types.NamespacedName]*credential{}, owners: map[string]string{},
		foreign: map[types.UID]string{}, edited: map[string]bool{},
	}
}

// Expect says that there are these credentials.
func (o *Observer) Expect(wanted ...Wanted) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range wanted {
		o.credentials[types.NamespacedName{Namespace: w.Namespace, Name: w.Name}] = &credential{Wanted: w, fault: "there is no Secret"}
	}
}

// Forget says that these are there no longer.
func (o *Observer) Forget(wanted ...Wanted) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range wanted {
		delete(o.credentials, types.NamespacedName{Namespace: w.Namespace, Name: w.Name})
	}
}

// Foreign says that a Secret is not the operator's, and must stay at a version.
func (o *Observer) Foreign(uid types.UID, version string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.foreign[uid] = version
}

// Released says that a foreign Secret is about to go.
func (o *Observer) Released(uid types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.foreign, uid)
}

// Edited says that somebody else than the operator is about to write this into a Secret.
func (o *Observer) Edited(uid types.UID, data map[string][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.edited[content(uid, data)] = true
}

func content(uid types.UID, data map[string][]byte) string {
	return string(uid) + " " + string(bytes.Join([][]byte{data[keyID], data[secretKey], data[token]}, []byte{0}))
}

// What a Secret holds.
const (
	keyID     = "AWS_ACCESS_KEY_ID"
	secretKey = "AWS_SECRET_ACCESS_KEY"
	token     = "AWS_SESSION_TOKEN"
)

// SawSecret takes note of a Secret as it is now.
func (o *Observer) SawSecret(ctx context.Context, secret *corev1.Secret) {
	o.mu.Lock()
	version, foreign := o.foreign[secret.UID]
	known := o.credentials[types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}]
	edited := o.edited[content(secret.UID, secret.Data)]
	taken := foreign && version != secret.ResourceVersion
	ours := known != nil && known.owns(secret) && (!foreign || taken)
	o.mu.Unlock()
	if foreign {
		o.Ledger.Holds(Untouched, !taken, func() string {
			return fmt.Sprintf("foreign Secret %s/%s was changed by %s", secret.Namespace, secret.Name, lastWriter(secret))
		})
	}
	if taken {
		o.Released(secret.UID) // it has been told of, and is judged by what it was made
	}
	if known == nil {
		return
	}
	var found *session
	fault := "the Secret is foreign"
	switch {
	case ours && edited:
		fault = "the Secret was edited"
	case ours:
		found, fault = o.judge(ctx, known, secret)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hold(known, found, fault)
	known.mixed = ours && !edited && found == nil
}

// owns tells whether a Secret is the credential's. Of whose object is not seen yet, the name counts.
func (c *credential) owns(secret *corev1.Secret) bool {
	owner := metav1.GetControllerOf(secret)
	return owner != nil && owner.Kind == c.Kind && owner.Name == c.Name && (!c.seen || owner.UID == c.uid)
}

// judge finds out whose the content of a Secret is, and says what is wrong with it.
func (o *Observer) judge(ctx context.Context, c *credential, secret *corev1.Secret) (*session, string) {
	found, err := o.holder(ctx, secret.Data)
	if ctx.Err() != nil {
		return nil, "the observer ends"
	}
	if err == nil {
		err = o.suits(c, found)
	}
	o.Ledger.Holds(Whole, err == nil, func() string { return fmt.Sprintf("Secret of %s: %s", c.Key(), err) })
	if err != nil {
		return nil, err.Error()
	}
	return found, ""
}

// suits tells whether a session is what the credential asked for, and no other's.
func (o *Observer) suits(c *credential, s *session) error {
	if s.Action != c.Action || s.RoleARN != c.RoleARN || s.ARN != c.PrincipalARN {
		return fmt.Errorf("it holds a session of %s by %s, for %q", s.ARN, s.Action, s.RoleARN)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	first, taken := o.owners[s.AccessKeyID]
	if taken && first != c.Key() {
		return fmt.Errorf("it holds the session %s, which was given to %s", s.AccessKeyID, first)
	}
	o.owners[s.AccessKeyID] = c.Key()
	return nil
}

// holder asks STS whose the three keys are.
func (o *Observer) holder(ctx context.Context, data map[string][]byte) (*session, error) {
	body, err := json.Marshal(map[string]string{"accessKeyID": string(data[keyID]), "secretAccessKey": string(data[secretKey]), "sessionToken": string(data[token])})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.Holder, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its keys are not of one session: %s is answered %s", data[keyID], response.Status)
	}
	found := &session{}
	return found, json.NewDecoder(response.Body).Decode(found)
}

// hold notes what a credential's Secret holds now. The end of one session's time there is a check of how it was refreshed.
func (o *Observer) hold(c *credential, found *session, fault string) {
	if c.session != nil && (found == nil || found.AccessKeyID != c.session.AccessKeyID) {
		c.dueSince, c.best, c.expired = time.Time{}, 0, false
	}
	if found != nil && (c.session == nil || found.AccessKeyID != c.session.AccessKeyID) {
		o.issued++
	}
	c.session, c.fault = found, fault
}

// LostSecret takes note that there is none of a name.
func (o *Observer) LostSecret(name types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c := o.credentials[name]; c != nil {
		o.hold(c, nil, "there is no Secret")
		c.mixed = false
	}
}

// SawCredential takes note of a credential's status.
func (o *Observer) SawCredential(object *unstructured.Unstructured) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.credentials[types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}]
	if c == nil || c.Kind != object.GetKind() {
		return
	}
	c.uid, c.seen = object.GetUID(), true
	c.ready = ready(object)
}

func ready(object *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, _ := c.(map[string]any)
		return condition["type"] == "Ready" && condition["status"] == "True"
	})
}

// Interval is how often all is looked at.
const Interval = 250 * time.Millisecond

// Watch looks at all credentials until the context ends. A machine that holds it up holds up the operator too: then nothing is
// held against that for a while.
func (o *Observer) Watch(ctx context.Context) {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if time.Since(last) > 8*Interval {
			o.Weather.Gust(OfMachine)
		}
		last = time.Now()
		o.look()
	}
}

func (o *Observer) look() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now, stsNow := time.Now(), o.STSNow()
	for _, c := range o.credentials {
		o.honest(c, now, stsNow)
		o.alive(c, now, stsNow)
	}
}

func (c *credential) good(stsNow time.Time) bool {
	return c.session != nil && stsNow.Before(c.session.Expiration)
}

// honest checks that Ready=True does not stand on what is no good.
func (o *Observer) honest(c *credential, now, stsNow time.Time) {
	if !c.ready || c.good(stsNow) || c.mixed {
		c.badSince = time.Time{}
		return
	}
	if c.badSince.IsZero() {
		c.badSince = now
	}
	calm, ok := o.Weather.Calm(OfAPI, OfLeader, OfMachine, OfView)
	if !ok {
		return
	}
	since := now.Sub(later(c.badSince, calm.Add(o.Limits.Settle)))
	if since < 0 {
		return
	}
	o.Ledger.Check(Honest, since.Seconds(), o.Limits.Honest.Seconds(), func() string {
		return fmt.Sprintf("%s: for %s though %s", c.Key(), round(since), c.trouble(stsNow))
	})
}

// trouble says what is wrong with a Secret.
func (c *credential) trouble(stsNow time.Time) string {
	if c.session != nil {
		return fmt.Sprintf("%s expired %s ago", c.session.AccessKeyID, round(stsNow.Sub(c.session.Expiration)))
	}
	return c.fault
}

// alive checks that what expires could not have been refreshed.
func (o *Observer) alive(c *credential, now, stsNow time.Time) {
	if c.session == nil || c.expired {
		return
	}
	life := c.session.Expiration.Sub(c.session.Issued)
	if stsNow.Before(c.session.Expiration.Add(-life / 3)) {
		c.dueSince, c.best = time.Time{}, 0
		return
	}
	if c.dueSince.IsZero() {
		c.dueSince = now
	}
	if calm, ok := o.Weather.Calm(OfSTS, OfAPI, OfLeader, OfMachine, OfView, "identity "+c.Identity, BucketOf(c.Identity)); ok {
		c.best = max(c.best, now.Sub(later(c.dueSince, calm)))
	}
	if stsNow.Before(c.session.Expiration) {
		return
	}
	c.expired = true
	limit := life/10 + o.Limits.Tenth
	o.Ledger.Check(Alive, c.best.Seconds(), limit.Seconds(), func() string {
		return fmt.Sprintf("%s: expired after STS could be reached for %s; %s may be", c.Key(), round(c.best), round(limit))
	})
}

// Issued is how many sessions were seen in Secrets.
func (o *Observer) Issued() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.issued
}

// Unready lists the credentials that are not Ready with a good Secret, and why.
func (o *Observer) Unready() (names []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	stsNow := o.STSNow()
	for _, c := range o.credentials {
		switch {
		case c.mixed:
		case !c.good(stsNow):
			names = append(names, c.Key()+": "+c.trouble(stsNow))
		case !c.ready:
			names = append(names, c.Key()+": it is not Ready")
		}
	}
	slices.Sort(names)
	return names
}

// lastWriter is who wrote a Secret last, as the API server tells.
func lastWriter(secret *corev1.Secret) string {
	writer, at := "nobody that is known", time.Time{}
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
